/* Arguments of METH_FASTCALL|METH_KEYWORDS functions (and of tp_init). What they refuse, they refuse in the words of asyncio's function
 * of that name: pyasync/arguments.py. */
#ifndef PA_RT_ARGS_H
#define PA_RT_ARGS_H

#include "rt/compat.h"

/* One C signature: def name(p0, p1, ..., *, k0, k1, ...) with the first `required` parameters mandatory. */
typedef struct {
    const char *name;         /* in asyncio's class or module */
    const char *const *names; /* positional-or-keyword ones, then keyword-only ones; NULL-terminated */
    int positional;           /* how many may be given by position */
    int required;             /* how many of the positional ones must be given */
} pa_signature;

#define PA_ARGS_MAX 16

/* Raises the TypeError for such a call, always NULL. self: the module, the instance, or its class where there is no instance. */
PyObject *pa_args_refuse(PyObject *self, const char *name, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);

int pa_args_parse_any(PyObject *self, const pa_signature *sig, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, PyObject **out);

/* Fills out[i] with a borrowed reference, or NULL where the argument was not given. 0, or -1 with TypeError. */
static inline int pa_args_parse(PyObject *self, const pa_signature *sig, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                                PyObject **out)
{
    if (kwnames != NULL || nargs < sig->required || nargs > sig->positional)
        return pa_args_parse_any(self, sig, args, nargs, kwnames, out);
    Py_ssize_t i = 0;
    for (; i < nargs; i++)
        out[i] = args[i];
    for (; sig->names[i] != NULL; i++)
        out[i] = NULL;
    return 0;
}

/* The only argument of a function that takes one, by position or by name. Borrowed, or NULL with TypeError. */
static inline PyObject *pa_args_one(PyObject *self, const pa_signature *sig, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *only;
    if (nargs == 1 && kwnames == NULL)
        return args[0];
    return pa_args_parse_any(self, sig, args, nargs, kwnames, &only) == 0 ? only : NULL;
}

/* What a function that takes nothing does about arguments. 0, or -1 with TypeError. */
static inline int pa_args_none(PyObject *self, const char *name, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    if (nargs == 0 && (kwnames == NULL || PyTuple_GET_SIZE(kwnames) == 0))
        return 0;
    (void)pa_args_refuse(self, name, args, nargs, kwnames);
    return -1;
}

/* As pa_args_parse(), from tp_init's tuple and dict. */
int pa_args_parse_tuple(PyObject *self, const pa_signature *sig, PyObject *args, PyObject *kwargs, PyObject **out);

/* For a PyMethodDef: the function and its flags. */
#define PA_WITH_KEYWORDS(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS

/* The same for a function as of METH_NOARGS whose counterpart is in Python: with those flags the interpreter would complain itself, in
 * the words it has for functions in C. PA_NO_ARGS() defines what PA_NO_ARGS_METHOD() names. */
#define PA_NO_ARGS(function, name)                                                                                                  \
    static PyObject *function##_as_##name(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)               \
    {                                                                                                                               \
        return pa_args_none(self, #name, args, nargs, kwnames) == 0 ? function(self, NULL) : NULL;                                  \
    }
#define PA_NO_ARGS_METHOD(function, name) PA_WITH_KEYWORDS(function##_as_##name)

/* And as of METH_O. */
#define PA_ONE_ARG(function, name)                                                                                                  \
    static PyObject *function##_as_##name(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)               \
    {                                                                                                                               \
        return nargs == 1 && kwnames == NULL ? function(self, args[0]) : pa_args_refuse(self, #name, args, nargs, kwnames);         \
    }
#define PA_ONE_ARG_METHOD(function, name) PA_WITH_KEYWORDS(function##_as_##name)

#endif
