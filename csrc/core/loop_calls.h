/* What asyncio's functions ask of a loop of whichever kind, by the method's name: overridden methods are called like any other. */
#ifndef PA_CORE_LOOP_CALLS_H
#define PA_CORE_LOOP_CALLS_H

#include "core/loop.h"

/* events._get_running_loop(): new reference in *loop, NULL where none runs. 0 or -1. */
int pa_calls_running(pa_state *st, PyObject **loop);
/* events.get_running_loop(): new, or NULL with RuntimeError. */
PyObject *pa_calls_need_running(pa_state *st);
/* current_task(loop): new reference in *task, NULL for none. 0 or -1. */
int pa_calls_current_task(pa_state *st, PyObject *loop, PyObject **task);

/* loop.create_future(), loop.create_task(coro), loop.call_soon(callback), loop.call_at(when, callback) and
 * loop.call_later(delay, callback, first, second), whose `second` may be NULL. New, or NULL with an exception. */
PyObject *pa_calls_create_future(pa_state *st, PyObject *loop);
PyObject *pa_calls_create_task(pa_state *st, PyObject *loop, PyObject *coro);
PyObject *pa_calls_soon(pa_state *st, PyObject *loop, PyObject *callback);
PyObject *pa_calls_at(pa_state *st, PyObject *loop, PyObject *when, PyObject *callback);
PyObject *pa_calls_later(pa_state *st, PyObject *loop, PyObject *delay, PyObject *callback, PyObject *first, PyObject *second);
/* handle.cancel(). 0 or -1. */
int pa_calls_cancel(pa_state *st, PyObject *handle);

#endif
