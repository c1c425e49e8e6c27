/* wait_for(). */
#ifndef PA_SYNC_WAIT_FOR_H
#define PA_SYNC_WAIT_FOR_H

#include "sync/op.h"

/* ---- wait_for_task.c ---- */
/* The body of wait_for() where it runs a coroutine in a new task. */
PySendResult pa_wait_for_task_run(pa_op *op, PyObject *thrown, PyObject **result);

int pa_wait_for_setup(PyObject *module, pa_state *st);

#endif
