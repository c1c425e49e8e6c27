/* Timeout, timeout(), timeout_at(). */
#ifndef PA_SYNC_TIMEOUT_H
#define PA_SYNC_TIMEOUT_H

#include "rt/state.h"

/* A Timeout with a deadline of `delay` (seconds; None for no deadline) from now on the running loop's clock, entered at once, for native
 * code: what `async with timeout(delay)` does before its body. New, or NULL with an exception. */
PyObject *pa_timeout_begin(pa_state *st, PyObject *delay);

/* What it does behind its body. `exc` (borrowed) is what the body raised, or NULL. 0 where that stays as it is, -1 with the TimeoutError
 * or another exception raised. */
int pa_timeout_end(PyObject *timeout, PyObject *exc);

/* Frees what is kept for reuse. */
void pa_timeout_free_lists(pa_state *st);

int pa_timeout_setup(PyObject *module, pa_state *st);

#endif
