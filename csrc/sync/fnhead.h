/* What the two types of native functions have in common: coroutine functions (corofn.c) and those in the place of a Python function
 * (pyfn.c). The head of their objects, the check of a method's first argument, and what they answer to inspect, pickle and repr(). */
#ifndef PA_SYNC_FNHEAD_H
#define PA_SYNC_FNHEAD_H

#include "sync/corofn.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    const pa_corofn_def *def;
    PyObject *owner; /* the type of a method; the module of a function */
    PyObject *weakrefs;
} pa_fnhead;

#define PA_FNHEAD(op) ((pa_fnhead *)(op))

/* Fills a new object's head. */
void pa_fnhead_init(PyObject *fn, PyObject *owner, const pa_corofn_def *def, vectorcallfunc of_function, vectorcallfunc of_method);

int pa_fnhead_refuse_self(PyObject *fn, PyObject *self); /* raises TypeError: -1 */

/* Whether a method applies to `self`: 0, or -1 with TypeError. */
static inline int pa_fnhead_check_self(PyObject *fn, PyObject *self)
{
    PyTypeObject *owner = (PyTypeObject *)PA_FNHEAD(fn)->owner; /* usually the base of pyasync's class */
    return Py_TYPE(self)->tp_base == owner || PyObject_TypeCheck(self, owner) ? 0 : pa_fnhead_refuse_self(fn, self);
}

PyObject *pa_fnhead_get_text_signature(PyObject *fn, void *unused);
PyObject *pa_fnhead_repr(PyObject *fn);

/* The attributes that both have; the first of a table of getsets. */
#define PA_FNHEAD_GETSETS                                              \
    {"__name__", pa_fnhead_get_name, NULL, NULL, NULL},                \
    {"__qualname__", pa_fnhead_get_qualname, NULL, NULL, NULL},        \
    {"__module__", pa_fnhead_get_module, NULL, NULL, NULL},            \
    {"__doc__", pa_fnhead_get_doc, NULL, NULL, NULL},                  \
    {"__text_signature__", pa_fnhead_get_text_signature, NULL, NULL, NULL}

PyObject *pa_fnhead_get_name(PyObject *fn, void *unused);
PyObject *pa_fnhead_get_qualname(PyObject *fn, void *unused);
PyObject *pa_fnhead_get_module(PyObject *fn, void *unused);
PyObject *pa_fnhead_get_doc(PyObject *fn, void *unused);

/* __vectorcalloffset__ and __weaklistoffset__, for a table of members. */
#define PA_FNHEAD_MEMBERS                                                                                   \
    {"__vectorcalloffset__", Py_T_PYSSIZET, offsetof(pa_fnhead, vectorcall), Py_READONLY, NULL},            \
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(pa_fnhead, weakrefs), Py_READONLY, NULL}

extern PyMethodDef pa_fnhead_methods[];

#endif
