/* Handle and TimerHandle: C subclasses of asyncio's that use the base's slots as their fields (D1b). See core/handle.c. */
#ifndef PA_CORE_HANDLE_H
#define PA_CORE_HANDLE_H

#include "core/loop.h"

/* A Handle for callback(*args) in `context` (NULL: a copy of the current one). args: a tuple, borrowed. New. */
PyObject *pa_handle_new(pa_loop *loop, PyObject *callback, PyObject *args, PyObject *context);

/* What Handle._run does: the callback in its context; an exception goes to the loop's handler. 0; -1 with SystemExit/KeyboardInterrupt. */
int pa_handle_run(pa_loop *loop, PyObject *handle);

int pa_handle_cancelled(pa_state *st, PyObject *handle);

/* ---- Handles that threads share: core/handle_threads.c ---- */

typedef struct { /* one call of such a handle, in the frame that makes it */
    pa_link link;
    PyObject *handle; /* borrowed: the caller's */
    unsigned long thread;
} pa_handle_run_record;

void pa_handle_run_begin(pa_state *st, PyObject *handle, pa_handle_run_record *run);
void pa_handle_run_end(pa_state *st, pa_handle_run_record *run);

/* Returns when no other thread is running the handle. 0; -1 with what a signal handler raised meanwhile, or MemoryError. */
int pa_handle_wait(pa_state *st, PyObject *handle);

#endif
