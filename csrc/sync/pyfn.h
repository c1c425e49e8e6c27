/* Functions in C in the place of Python functions of asyncio's that are not `async def`: create_task(), gather(), shield(), ... As
 * attributes of a class they bind, and they have the `__code__` of the Python function whose place they take. Tracers (ddtrace) wrap a
 * function by giving it other code: that goes to the Python function, and while it has other code than asyncio gave it, it is what a call
 * reaches, however it was rewritten. */
#ifndef PA_SYNC_PYFN_H
#define PA_SYNC_PYFN_H

#include "sync/corofn.h"

/* Adds functions to the module, which take the place of those of the same name in the Python module `home`. 0 or -1. */
int pa_pyfn_add_functions(pa_state *st, PyObject *module, const char *home, const pa_corofn_def *defs);
/* Adds one method to a type of ours, in the place of `original`'s of the same name. 0 or -1. */
int pa_pyfn_add_method(pa_state *st, PyTypeObject *type, PyObject *original, const pa_corofn_def *def);

int pa_pyfn_setup(PyObject *module, pa_state *st);

#endif
