/* What corofn.c and corofn_method.c share. */
#ifndef PA_SYNC_COROFN_IMPL_H
#define PA_SYNC_COROFN_IMPL_H

#include "sync/corofn.h"

/* corofn.c: calls the coroutine function `function`, a method, as `self`'s. `self` is alive for the call. New. */
PyObject *pa_corofn_call_bound(PyObject *function, PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);

/* corofn_method.c */
PyObject *pa_corofn_bind(pa_state *st, PyObject *function, PyObject *self); /* new */
int pa_corofn_method_setup(PyObject *module, pa_state *st);

#endif
