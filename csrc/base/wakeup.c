/* The wakeup of wakeup.h. The loop's thread opens, drains and closes it; signal() may come from anywhere while it is open, and
 * keeping it open meanwhile is the callers' business. Both descriptors are one exactly when it is an eventfd. */
#include "base/wakeup.h"

#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>

static bool is_eventfd(const pa_wakeup *wakeup) { return wakeup->read_fd == wakeup->write_fd; }

int pa_wakeup_open(pa_wakeup *wakeup)
{
    wakeup->read_fd = wakeup->write_fd = -1;
#ifdef PA_SYS_HAVE_EVENTFD
    int fd = pa_sys_eventfd(0);
    if (fd >= 0) {
        wakeup->read_fd = wakeup->write_fd = fd;
        return 0;
    }
    if (fd != -ENOSYS) return fd; /* a kernel or a sandbox without it gets a pipe */
#endif
    int fds[2];
    int err = pa_sys_pipe2(fds, O_NONBLOCK);
    if (err < 0) return err;
    wakeup->read_fd = fds[0];
    wakeup->write_fd = fds[1];
    return 0;
}

void pa_wakeup_close(pa_wakeup *wakeup)
{
    int read_fd = wakeup->read_fd, write_fd = wakeup->write_fd;
    wakeup->read_fd = wakeup->write_fd = -1;
    if (read_fd >= 0) pa_sys_close(read_fd);
    if (write_fd >= 0 && write_fd != read_fd) pa_sys_close(write_fd);
}

int pa_wakeup_signal(const pa_wakeup *wakeup)
{
    static const uint64_t one = 1;
    int saved = errno; /* of the code that a signal interrupted */
    ssize_t n = pa_sys_write(wakeup->write_fd, &one, is_eventfd(wakeup) ? sizeof(one) : 1);
    errno = saved;
    /* A full pipe or counter is readable already. */
    return n >= 0 || n == -EAGAIN || n == -EWOULDBLOCK ? 0 : (int)n;
}

int pa_wakeup_drain(const pa_wakeup *wakeup)
{
    char rubbish[1024]; /* an eventfd gives 8 bytes, and at once everything */
    ssize_t n;
    do {
        n = pa_sys_read(wakeup->read_fd, rubbish, sizeof(rubbish));
    } while (n == (ssize_t)sizeof(rubbish));
    return n >= 0 || n == -EAGAIN || n == -EWOULDBLOCK ? 0 : (int)n;
}
