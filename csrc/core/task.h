/* Tasks: what drives a coroutine. See core/task.c. */
#ifndef PA_CORE_TASK_H
#define PA_CORE_TASK_H

#include "core/future.h"

/* A Task on a native loop, scheduled (or eagerly started): what loop.create_task() makes without a task factory. name and context may
 * be NULL. New, or NULL with an exception. */
PyObject *pa_task_new(pa_loop *loop, PyObject *coro, PyObject *name, PyObject *context, int eager_start);

/* From the ready ring. The task is alive for the call (the ring's entry owns it). 0; -1 only with SystemExit, KeyboardInterrupt or what
 * asyncio lets out of a step (an exception that a Handle would report). */
int pa_task_step(pa_loop *loop, PyObject *task);
int pa_task_wakeup(pa_loop *loop, PyObject *task, PyObject *future);

/* The callables that stand for a scheduled step or wakeup where the user can see it (debug mode, _callbacks, _ready): new. They
 * compare equal for the same task, and their __self__ is the task. */
PyObject *pa_task_step_callable(PyObject *task);
PyObject *pa_task_wakeup_callable(PyObject *task);

/* The context in which the task runs: borrowed. */
PyObject *pa_task_context(PyObject *task);

int pa_task_setup(PyObject *module, pa_state *st);

#endif
