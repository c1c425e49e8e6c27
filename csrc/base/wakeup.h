/* Waking a loop that sleeps in its poller, from any thread or from a signal handler: an eventfd where there is one, else a
 * non-blocking pipe. The descriptor is registered with the poller for PA_POLL_IN. Opening, draining and closing are the loop's
 * thread's; nobody may signal while it is being closed (a lock above sees to that), for the number may be another file's then. */
#ifndef PA_BASE_WAKEUP_H
#define PA_BASE_WAKEUP_H

typedef struct {
    int read_fd;  /* what the poller watches; -1 when closed */
    int write_fd; /* the same descriptor for an eventfd */
} pa_wakeup;

int pa_wakeup_open(pa_wakeup *wakeup);       /* 0 or -errno; both descriptors close-on-exec and non-blocking */
void pa_wakeup_close(pa_wakeup *wakeup);     /* idempotent */
int pa_wakeup_signal(const pa_wakeup *wakeup); /* any thread, async-signal-safe; 0 or -errno; already signalled is 0 */
int pa_wakeup_drain(const pa_wakeup *wakeup);  /* 0 or -errno; nothing to drain is 0 */

#endif
