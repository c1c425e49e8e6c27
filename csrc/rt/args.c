/* See args.h. Keyword names are few, so a linear search by string comparison is as fast as any table. */
#include "rt/args.h"

static int count_names(const pa_signature *sig)
{
    int n = 0;
    while (sig->names[n] != NULL)
        n++;
    return n;
}

static int take_positional(const pa_signature *sig, PyObject *const *args, Py_ssize_t nargs, PyObject **out)
{
    if (nargs > sig->positional) {
        PyErr_Format(PyExc_TypeError, "%s() takes %s%d positional argument%s but %zd %s given", sig->fname,
                     sig->required == sig->positional ? "" : "at most ", sig->positional, sig->positional == 1 ? "" : "s", nargs,
                     nargs == 1 ? "was" : "were");
        return -1;
    }
    for (Py_ssize_t i = 0; i < nargs; i++)
        out[i] = args[i];
    return 0;
}

static int take_keyword(const pa_signature *sig, PyObject *name, PyObject *value, PyObject **out)
{
    if (!PyUnicode_Check(name)) {
        PyErr_SetString(PyExc_TypeError, "keywords must be strings");
        return -1;
    }
    for (int i = 0; sig->names[i] != NULL; i++) {
        if (PyUnicode_CompareWithASCIIString(name, sig->names[i]) != 0)
            continue;
        if (out[i] != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%U'", sig->fname, name);
            return -1;
        }
        out[i] = value;
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", sig->fname, name);
    return -1;
}

static int check_required(const pa_signature *sig, PyObject **out)
{
    for (int i = 0; i < sig->required; i++) {
        if (out[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() missing required argument '%s' (pos %d)", sig->fname, sig->names[i], i + 1);
            return -1;
        }
    }
    return 0;
}

int pa_args_parse_any(const pa_signature *sig, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, PyObject **out)
{
    memset(out, 0, sizeof(PyObject *) * (size_t)count_names(sig));
    if (take_positional(sig, args, nargs, out) < 0)
        return -1;
    Py_ssize_t nkw = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    for (Py_ssize_t i = 0; i < nkw; i++)
        if (take_keyword(sig, PyTuple_GET_ITEM(kwnames, i), args[nargs + i], out) < 0)
            return -1;
    return check_required(sig, out);
}

int pa_args_parse_tuple(const pa_signature *sig, PyObject *args, PyObject *kwargs, PyObject **out)
{
    memset(out, 0, sizeof(PyObject *) * (size_t)count_names(sig));
    if (take_positional(sig, &PyTuple_GET_ITEM(args, 0), PyTuple_GET_SIZE(args), out) < 0)
        return -1;
    Py_ssize_t pos = 0;
    PyObject *name, *value;
    while (kwargs != NULL && PyDict_Next(kwargs, &pos, &name, &value))
        if (take_keyword(sig, name, value, out) < 0)
            return -1;
    return check_required(sig, out);
}
