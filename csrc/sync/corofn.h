/* Functions and methods that are `async def` in asyncio and return operations here. They answer as coroutine functions do:
 * iscoroutinefunction() is True for them, mock makes an AsyncMock of them. */
#ifndef PA_SYNC_COROFN_H
#define PA_SYNC_COROFN_H

#include "rt/state.h"

/* As a METH_FASTCALL|METH_KEYWORDS function. `self` is the module for a function. */
typedef PyObject *(*pa_corofn_call)(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);

/* Lives as long as the process. */
typedef struct {
    const char *name;     /* NULL ends a list */
    const char *qualname; /* "Lock.acquire" */
    pa_corofn_call call;
    const char *doc;      /* "name($self, /)\n--\n\ntext", or NULL */
} pa_corofn_def;

/* Adds methods to a type of ours, functions to the module. 0 or -1. */
int pa_corofn_add_methods(pa_state *st, PyTypeObject *type, const pa_corofn_def *defs);
int pa_corofn_add_functions(pa_state *st, PyObject *module, const pa_corofn_def *defs);

/* Frees what is kept for reuse. */
void pa_corofn_free_lists(pa_state *st);

int pa_corofn_setup(PyObject *module, pa_state *st);

#endif
