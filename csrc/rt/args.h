/* Arguments of METH_FASTCALL|METH_KEYWORDS functions (and of tp_init), with the error texts of Python functions. */
#ifndef PA_RT_ARGS_H
#define PA_RT_ARGS_H

#include "rt/compat.h"

/* One C signature: def fname(p0, p1, ..., *, k0, k1, ...) with the first `required` parameters mandatory. */
typedef struct {
    const char *fname;
    const char *const *names; /* positional-or-keyword ones, then keyword-only ones; NULL-terminated */
    int positional;           /* how many may be given by position */
    int required;             /* how many of the positional ones must be given */
} pa_signature;

#define PA_ARGS_MAX 16

int pa_args_parse_any(const pa_signature *sig, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, PyObject **out);

/* Fills out[i] with a borrowed reference, or NULL where the argument was not given. 0, or -1 with TypeError. */
static inline int pa_args_parse(const pa_signature *sig, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, PyObject **out)
{
    if (kwnames != NULL || nargs < sig->required || nargs > sig->positional)
        return pa_args_parse_any(sig, args, nargs, kwnames, out);
    Py_ssize_t i = 0;
    for (; i < nargs; i++)
        out[i] = args[i];
    for (; sig->names[i] != NULL; i++)
        out[i] = NULL;
    return 0;
}

/* The only argument of a function that takes one, by position or by name. Borrowed, or NULL with TypeError. */
static inline PyObject *pa_args_one(const pa_signature *sig, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *only;
    if (nargs == 1 && kwnames == NULL)
        return args[0];
    return pa_args_parse_any(sig, args, nargs, kwnames, &only) == 0 ? only : NULL;
}

/* As pa_args_parse(), from tp_init's tuple and dict. */
int pa_args_parse_tuple(const pa_signature *sig, PyObject *args, PyObject *kwargs, PyObject **out);

#endif
