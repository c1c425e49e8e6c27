/* Handle and TimerHandle: C subclasses of asyncio's that use the base's slots as their fields (D1b). See core/handle.c. */
#ifndef PA_CORE_HANDLE_H
#define PA_CORE_HANDLE_H

#include "core/loop.h"

/* A Handle for callback(*args) in `context` (NULL: a copy of the current one). args: a tuple, borrowed. New. */
PyObject *pa_handle_new(pa_loop *loop, PyObject *callback, PyObject *args, PyObject *context);

/* What Handle._run does: the callback in its context; an exception goes to the loop's handler. 0; -1 with SystemExit/KeyboardInterrupt. */
int pa_handle_run(pa_loop *loop, PyObject *handle);

int pa_handle_cancelled(pa_state *st, PyObject *handle);

#endif
