/* ensure_future(). */
#ifndef PA_SYNC_ENSURE_H
#define PA_SYNC_ENSURE_H

#include "rt/state.h"

/* ensure_future(arg, loop=loop); `loop` NULL for None. New, or NULL with an exception. */
PyObject *pa_ensure_future(pa_state *st, PyObject *arg, PyObject *loop);

/* iscoroutine(obj): 1, 0 or -1. */
int pa_is_coroutine(pa_state *st, PyObject *obj);

int pa_ensure_setup(PyObject *module, pa_state *st);

#endif
