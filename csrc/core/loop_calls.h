/* What asyncio's functions ask of a loop of whichever kind: directly of a native one whose method nobody replaced, else by the method's
 * name. All of it is for the loop's thread. */
#ifndef PA_CORE_LOOP_CALLS_H
#define PA_CORE_LOOP_CALLS_H

#include "core/loop.h"

/* events._get_running_loop(): new reference in *loop, NULL where none runs. 0 or -1. */
int pa_calls_running(pa_state *st, PyObject **loop);
/* events.get_running_loop(): new, or NULL with RuntimeError. */
PyObject *pa_calls_need_running(pa_state *st);
/* current_task(loop): new reference in *task, NULL for none. 0 or -1. */
int pa_calls_current_task(pa_state *st, PyObject *loop, PyObject **task);
/* Of what has to run in a task: as above, but then asyncio.tasks.current_task() is asked, whatever it is by now. */
int pa_calls_need_task(pa_state *st, PyObject *loop, PyObject **task);

/* loop.create_future(), loop.create_task(coro), loop.time() + delay, loop.call_soon(callback), loop.call_at(when, callback) and
 * loop.call_later(delay, callback, first, second), whose `second`, or both, may be NULL. New, or NULL with an exception. */
PyObject *pa_calls_create_future(pa_state *st, PyObject *loop);
PyObject *pa_calls_create_task(pa_state *st, PyObject *loop, PyObject *coro);
PyObject *pa_calls_time_plus(pa_state *st, PyObject *loop, PyObject *delay);
/* Whether create_task(coro) and create_task(coro, name=None) are the same: nobody's factory or override can tell. */
int pa_calls_takes_name(pa_state *st, PyObject *loop);
/* Which signature a create_task of asyncio's has: 0 for (coro, *, name, context), 1 for (coro, **kwargs), 2 for all of them; or -1. */
int pa_create_task_variant(PyObject *function);
/* delay <= 0. 1, 0 or -1. */
int pa_calls_is_over(PyObject *delay);
/* when <= loop.time(). 1, 0 or -1. */
double pa_calls_clock(void); /* loop.time() of a native loop where nobody replaced it */
int pa_calls_is_due(pa_state *st, PyObject *loop, PyObject *when);
PyObject *pa_calls_soon(pa_state *st, PyObject *loop, PyObject *callback);
PyObject *pa_calls_at(pa_state *st, PyObject *loop, PyObject *when, PyObject *callback);
PyObject *pa_calls_later(pa_state *st, PyObject *loop, PyObject *delay, PyObject *callback, PyObject *first, PyObject *second);
/* handle.cancel(). 0 or -1. */
int pa_calls_cancel(pa_state *st, PyObject *handle);

#endif
