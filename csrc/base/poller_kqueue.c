/* The poller of macOS and the BSDs.
 *
 * Reading and writing are two filters, each registered, reported and removed by itself: one wait may report a descriptor twice,
 * once per bit. Adding a filter that is there only renews it, so every wanted filter is added each time; that also picks up a
 * descriptor number that was closed and used again. Closing a descriptor removes its filters. An end-of-file or an error arrives as
 * EV_EOF on each filter registered, hence as every bit asked for. Belongs to the loop's thread. */
#include "base/sys.h"

#include "base/poller.h"

#ifdef PA_SYS_HAVE_KQUEUE
#include <errno.h>
#include <sys/event.h>

#define BATCH 256 /* events one wait can report */

struct pa_poller {
    int fd;
    struct kevent events[BATCH];
};

static int kqueue_open(pa_poller **out)
{
    pa_poller *poller = pa_sys_malloc(sizeof(*poller));
    if (poller == NULL) return -ENOMEM;
    poller->fd = pa_sys_kqueue();
    if (poller->fd < 0) {
        int err = poller->fd;
        pa_sys_free(poller);
        return err;
    }
    *out = poller;
    return 0;
}

static void kqueue_close(pa_poller *poller)
{
    pa_sys_close(poller->fd);
    pa_sys_free(poller);
}

static int kqueue_fileno(const pa_poller *poller) { return poller->fd; }

/* One change a call: with more, an error would not say which of them it was. EINTR comes after the change was made. */
static int change(pa_poller *poller, int fd, unsigned bit, bool add)
{
    struct kevent event = {
        .ident = (uintptr_t)fd,
        .filter = bit == PA_POLL_IN ? EVFILT_READ : EVFILT_WRITE,
        .flags = add ? EV_ADD : EV_DELETE,
    };
    int err = pa_sys_kevent(poller->fd, &event, 1, NULL, 0, 0);
    if (err == -EINTR || (!add && (err == -ENOENT || err == -EBADF))) return 0;
    return err < 0 ? err : 0;
}

static int kqueue_set(pa_poller *poller, int fd, unsigned was, unsigned want)
{
    int err;
    if (fd < 0) return want ? -EBADF : 0;
    if (want & PA_POLL_IN && (err = change(poller, fd, PA_POLL_IN, true)) < 0) return err;
    if (want & PA_POLL_OUT && (err = change(poller, fd, PA_POLL_OUT, true)) < 0) {
        if (want & ~was & PA_POLL_IN) (void)change(poller, fd, PA_POLL_IN, false); /* all or nothing */
        return err;
    }
    if (was & ~want & PA_POLL_IN && (err = change(poller, fd, PA_POLL_IN, false)) < 0) return err;
    if (was & ~want & PA_POLL_OUT && (err = change(poller, fd, PA_POLL_OUT, false)) < 0) return err;
    return 0;
}

static int kqueue_wait_events(pa_poller *poller, int64_t timeout_ns, pa_poll_event *events, int max)
{
    int count = pa_sys_kevent(poller->fd, NULL, 0, poller->events, max < BATCH ? max : BATCH, timeout_ns);
    for (int i = 0; i < count; i++) {
        events[i].fd = (int)poller->events[i].ident;
        events[i].events = poller->events[i].filter == EVFILT_READ ? PA_POLL_IN : PA_POLL_OUT;
        events[i].tag = 0;
    }
    return count;
}

const pa_poller_ops pa_poller_kqueue = {
    .name = "kqueue",
    .open = kqueue_open,
    .close = kqueue_close,
    .fileno = kqueue_fileno,
    .set = kqueue_set,
    .wait = kqueue_wait_events,
};
#endif
