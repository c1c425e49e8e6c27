/* What asyncio's functions do with a future of whichever kind: ours directly, anything else by the method's name. */
#ifndef PA_CORE_FUTURE_ANY_H
#define PA_CORE_FUTURE_ANY_H

#include "rt/state.h"

/* isfuture(obj), done(), cancelled(): 1, 0 or -1. */
int pa_any_is_future(pa_state *st, PyObject *obj);
int pa_any_done(pa_state *st, PyObject *future);
int pa_any_cancelled(pa_state *st, PyObject *future);
/* result() and exception(): new, or NULL with what they raise. */
PyObject *pa_any_result(pa_state *st, PyObject *future);
PyObject *pa_any_exception(pa_state *st, PyObject *future);
/* _make_cancelled_error() and _cancel_message: new, or NULL with an exception. */
PyObject *pa_any_cancelled_error(pa_state *st, PyObject *future);
PyObject *pa_any_cancel_message(pa_state *st, PyObject *future);
/* futures._get_loop(): new, or NULL with an exception. */
PyObject *pa_any_loop(pa_state *st, PyObject *future);
/* set_result(), set_exception(): 0 or -1. */
int pa_any_set_result(pa_state *st, PyObject *future, PyObject *result);
int pa_any_set_exception(pa_state *st, PyObject *future, PyObject *exception);
/* cancel(msg=msg), without an argument where msg is NULL: 1, 0 or -1. */
int pa_any_cancel(pa_state *st, PyObject *future, PyObject *msg);
/* add_done_callback(fn) and remove_done_callback(fn): 0 or -1. */
int pa_any_add_callback(pa_state *st, PyObject *future, PyObject *fn);
/* add_done_callback(fn) where `context` is a copy of the current one, for several futures: native ones share it. 0 or -1. */
int pa_any_add_callback_in(pa_state *st, PyObject *future, PyObject *fn, PyObject *context);
int pa_any_remove_callback(pa_state *st, PyObject *future, PyObject *fn);
/* task.cancelling(), task.uncancel(): the number, or -1 with an exception. */
long pa_any_cancelling(pa_state *st, PyObject *task);
long pa_any_uncancel(pa_state *st, PyObject *task);
/* future._log_destroy_pending = False. 0 or -1. */
int pa_any_hush(pa_state *st, PyObject *future);
/* future_add_to_awaited_by(future, waiter) and future_discard_from_awaited_by(): nothing before 3.14 or where `waiter` is NULL. 0 or -1. */
int pa_any_add_awaited_by(pa_state *st, PyObject *future, PyObject *waiter);
int pa_any_discard_awaited_by(pa_state *st, PyObject *future, PyObject *waiter);

#endif
