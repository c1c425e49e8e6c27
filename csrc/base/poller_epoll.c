/* The poller of Linux.
 *
 * The kernel keeps registrations per open file, under the descriptor number it had then, and drops them when the last descriptor of
 * that file is closed. So whoever closes a registered descriptor leaves us with a table that is wrong in one of these ways:
 *  - the number is free, or stands for another file the kernel never heard of from us: MOD and DEL say ENOENT or EBADF (or EPERM,
 *    if that is a file that cannot be polled). DEL has nothing to do then; MOD becomes ADD.
 *  - the table was cleared, but the file lives on in a duplicate, and the number is used for it again: ADD says EEXIST and becomes
 *    MOD.
 *  - the file lives on in a duplicate, but the number is gone or another file's: it goes on being reported under that number, and
 *    nobody can stop it. asyncio has the same trouble; here the tag tells the loop that it is not what it asked for.
 *
 * A one-shot registration that has fired stays in the kernel, silent, until it is asked for again by MOD. So whoever waits for the same
 * descriptor again and again pays for one cheap call each time; and should its number stand for another file by then, MOD says so.
 *
 * What was asked for, and the tag, travel in the upper half of the event's 64 bits of user data, so that a hang-up can be reported as just that.
 * Belongs to the loop's thread. */
#include "base/sys.h"

#include "base/poller.h"

#ifdef PA_SYS_HAVE_EPOLL
#include <errno.h>
#include <sys/epoll.h>

#define BATCH 512 /* events one wait can report; the kernel serves the others first next time */

struct pa_poller {
    int fd;
    bool no_pwait2; /* the kernel, or a sandbox, does not have it */
    struct epoll_event events[BATCH];
};

static int epoll_open(pa_poller **out)
{
    pa_poller *poller = pa_sys_malloc(sizeof(*poller));
    if (poller == NULL) return -ENOMEM;
    poller->no_pwait2 = false;
    poller->fd = pa_sys_epoll_create1();
    if (poller->fd < 0) {
        int err = poller->fd;
        pa_sys_free(poller);
        return err;
    }
    *out = poller;
    return 0;
}

static void epoll_close(pa_poller *poller)
{
    pa_sys_close(poller->fd);
    pa_sys_free(poller);
}

static int epoll_fileno(const pa_poller *poller) { return poller->fd; }

static int epoll_set(pa_poller *poller, int fd, unsigned was, unsigned want)
{
    struct epoll_event event = {0};
    int err;
    if (want == 0) {
        if (was == 0) return 0;
        err = pa_sys_epoll_ctl(poller->fd, EPOLL_CTL_DEL, fd, &event);
        return err == -ENOENT || err == -EBADF || err == -EPERM ? 0 : err;
    }
    if (want & PA_POLL_IN) event.events |= EPOLLIN;
    if (want & PA_POLL_OUT) event.events |= EPOLLOUT;
    if (want & PA_POLL_ONCE) event.events |= EPOLLONESHOT;
    if (want & PA_POLL_EDGE) event.events |= EPOLLET;
    event.data.u64 = (uint64_t)want << 32 | (uint32_t)fd;
    if (was == 0) {
        err = pa_sys_epoll_ctl(poller->fd, EPOLL_CTL_ADD, fd, &event);
        if (err == -EEXIST) err = pa_sys_epoll_ctl(poller->fd, EPOLL_CTL_MOD, fd, &event);
    } else {
        err = pa_sys_epoll_ctl(poller->fd, EPOLL_CTL_MOD, fd, &event);
        if (err == -ENOENT) err = pa_sys_epoll_ctl(poller->fd, EPOLL_CTL_ADD, fd, &event);
    }
    return err;
}

/* pwait2 counts in nanoseconds; only a time-out that ends needs it. EPERM is how some sandboxes say ENOSYS. */
static int wait_ready(pa_poller *poller, int64_t timeout_ns, int max)
{
    if (timeout_ns > 0 && !poller->no_pwait2) {
        int count = pa_sys_epoll_pwait2(poller->fd, poller->events, max, timeout_ns);
        if (count != -ENOSYS && count != -EPERM) return count;
        poller->no_pwait2 = true;
    }
    return pa_sys_epoll_wait(poller->fd, poller->events, max, timeout_ns);
}

static int epoll_wait_events(pa_poller *poller, int64_t timeout_ns, pa_poll_event *events, int max)
{
    int count = wait_ready(poller, timeout_ns, max < BATCH ? max : BATCH);
    for (int i = 0; i < count; i++) {
        const struct epoll_event *event = &poller->events[i];
        unsigned ready = 0;
        if (event->events & ~(uint32_t)EPOLLOUT) ready |= PA_POLL_IN;
        if (event->events & ~(uint32_t)EPOLLIN) ready |= PA_POLL_OUT;
        events[i].fd = (int)(uint32_t)event->data.u64;
        events[i].events = ready & (unsigned)(event->data.u64 >> 32);
        events[i].tag = (unsigned)(event->data.u64 >> (32 + PA_POLL_TAG));
    }
    return count;
}

const pa_poller_ops pa_poller_epoll = {
    .name = "epoll",
    .once = true,
    .open = epoll_open,
    .close = epoll_close,
    .fileno = epoll_fileno,
    .set = epoll_set,
    .wait = epoll_wait_events,
};
#endif
