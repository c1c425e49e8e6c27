/* The contract every poller backend fulfils: which descriptors are ready, level-triggered, with one blocking call.
 *
 * A poller belongs to one loop and to its thread; only set() may also come from another thread while wait() sleeps (asyncio allows
 * add_reader() so much), one at a time, and then has effect from the next wait at the latest. It knows descriptors and event bits,
 * nothing of Python, callbacks or owners: the loop keeps a table indexed by descriptor and passes the old and the new interest, so
 * that no backend needs a look-up of its own (except poll, which must give the kernel the whole list). Errors come back as -errno.
 */
#ifndef PA_BASE_POLLER_H
#define PA_BASE_POLLER_H

#include <stdbool.h>
#include <stdint.h>

/* Interest and readiness. An error or hang-up is reported as every bit that was asked for: the reader's recv or the writer's send
 * then returns the error itself, as with asyncio's selectors. */
enum { PA_POLL_IN = 1u, PA_POLL_OUT = 2u };

/* Beside other bits of interest, where the backend has `once`: what is ready is reported once, and nothing of the descriptor from then on
 * until set() is called for it again. Alone, as what was: it has been reported, and the kernel still has the descriptor, so that asking
 * for it again is the cheap one of the ways to ask. */
enum { PA_POLL_ONCE = 4u };

/* Beside IN, where the backend has `once`: something new is reported, and what was there when set() was called; not again what nobody used. */
enum { PA_POLL_EDGE = 8u };

/* From this bit on, where the backend has `once`: a number of 16 bits that the caller chose, and that comes back with what is reported. A
 * file that lives on in a duplicate, after its number was closed, goes on under the number it was told. */
enum { PA_POLL_TAG = 16 };

typedef struct {
    int fd;
    unsigned events; /* PA_POLL_* that are ready; never 0 */
    unsigned tag;    /* 0 where the backend has no `once` */
} pa_poll_event;

typedef struct pa_poller pa_poller; /* each backend's own struct */

typedef struct {
    const char *name; /* "epoll", "kqueue", "poll" */
    bool once;        /* whether it knows PA_POLL_ONCE, PA_POLL_EDGE and PA_POLL_TAG */

    /* 0, or -errno. *out is owned by the caller until close(). */
    int (*open)(pa_poller **out);
    void (*close)(pa_poller *poller);

    /* The kernel object's descriptor, or -1 where there is none (poll). */
    int (*fileno)(const pa_poller *poller);

    /* Change the interest in fd from `was` to `want` (0 = not registered). 0, or -errno (EPERM: a regular file on epoll; EBADF) and
     * nothing changed. Removing a descriptor that was closed behind our back succeeds. A number that was closed and stands for
     * another file by now is taken as that; only was == want == 0 asks nothing of the kernel, so passing the same interest again
     * registers the new file. */
    int (*set)(pa_poller *poller, int fd, unsigned was, unsigned want);

    /* Wait up to timeout_ns (0: do not block; negative: for ever) and fill at most `max` (> 0) events. Returns their number, 0 on
     * time-out, -EINTR on a signal, else -errno. Never returns before the time-out for want of resolution (rounds up), but a
     * time-out is cut to a day (PA_SYS_TIMEOUT_MAX): look at the clock again. A descriptor may come twice in one answer, with
     * different bits (kqueue), and one may come that is not registered any more (a duplicate keeps the file alive; epoll): pass
     * over it. More ready descriptors than fit come first in the next answers. Called without a thread state: must not touch
     * Python. */
    int (*wait)(pa_poller *poller, int64_t timeout_ns, pa_poll_event *events, int max);
} pa_poller_ops;

/* Each defined on the systems that have it; poll everywhere. */
extern const pa_poller_ops pa_poller_epoll, pa_poller_kqueue, pa_poller_poll;

/* The backends compiled in, best first, NULL-terminated. */
extern const pa_poller_ops *const pa_poller_backends[];

/* By name; NULL picks the best. Returns NULL when there is no such backend here. */
const pa_poller_ops *pa_poller_find(const char *name);

#endif
