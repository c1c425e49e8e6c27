/* Futures and what a task shares with them. See core/future.c for the layout (D1). */
#ifndef PA_CORE_FUTURE_H
#define PA_CORE_FUTURE_H

#include "core/loop.h"

/* A pending future of a native loop: what loop.create_future() returns. New. */
PyObject *pa_future_new(pa_loop *loop);

/* For futures made by pa_future_new (exact type). InvalidStateError as asyncio if already done. 0 or -1. */
int pa_future_set_result(PyObject *future, PyObject *result);
int pa_future_set_exception(PyObject *future, PyObject *exception); /* an exception instance */
/* set_result/set_exception unless it is done (cancelled meanwhile): then nothing. 0 or -1. */
int pa_future_resolve(PyObject *future, PyObject *result);
int pa_future_reject(PyObject *future, PyObject *exception);
int pa_future_done(PyObject *future);
/* add_done_callback(callback, context=context), of a pending one. 0 or -1 with MemoryError. */
int pa_future_when_done(PyObject *future, PyObject *callback, PyObject *context);

/* Frees what is kept for reuse. */
void pa_future_free_lists(pa_state *st);

int pa_future_setup(PyObject *module, pa_state *st);

#endif
