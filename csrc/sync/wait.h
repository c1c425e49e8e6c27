/* wait(), and what it shares with wait_for(): a future of one's own that somebody else's end, or a time-out, resolves. */
#ifndef PA_SYNC_WAIT_H
#define PA_SYNC_WAIT_H

#include "sync/observer.h"

/* if not waiter.done(): waiter.set_result(None). 0 or -1. */
int pa_release_waiter(pa_state *st, PyObject *waiter);
/* The callback of futures that does so: new. */
pa_observer *pa_releaser_new(pa_state *st, PyObject *waiter);
/* loop.call_later(delay, _release_waiter, waiter): new. */
PyObject *pa_release_later(pa_state *st, PyObject *loop, PyObject *delay, PyObject *waiter);

int pa_wait_setup(PyObject *module, pa_state *st);

#endif
