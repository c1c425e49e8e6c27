/* See args.h. Keyword names are few, so a linear search by string comparison is as fast as any table. */
#include "rt/args.h"

#include <stdbool.h>

static PyObject *pack_keywords(PyObject *const *values, PyObject *kwnames)
{
    PyObject *kwargs = PyDict_New();
    for (Py_ssize_t i = 0; kwargs != NULL && kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++)
        if (PyDict_SetItem(kwargs, PyTuple_GET_ITEM(kwnames, i), values[i]) < 0)
            Py_CLEAR(kwargs);
    return kwargs;
}

/* The traceback is of how the complaint was found; asyncio's has nothing there. */
static void drop_traceback(void)
{
    PyObject *exc = pa_err_take();
    if (exc != NULL && PyException_SetTraceback(exc, Py_None) == 0)
        pa_err_restore(exc);
    else
        Py_XDECREF(exc);
}

static void refuse(PyObject *self, const char *name, PyObject *args, PyObject *kwargs)
{
    PyObject *module = args != NULL && kwargs != NULL ? PyImport_ImportModule("pyasync.arguments") : NULL;
    if (module == NULL)
        return;
    PyObject *nothing = PyObject_CallMethod(module, "refuse", "OsOO", self, name, args, kwargs);
    if (nothing == NULL)
        drop_traceback();
    else
        PyErr_Format(PyExc_SystemError, "%s() did not complain", name);
    Py_XDECREF(nothing);
    Py_DECREF(module);
}

PyObject *pa_args_refuse(PyObject *self, const char *name, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *kwargs = pack_keywords(args + nargs, kwnames), *tuple = PyTuple_New(nargs);
    for (Py_ssize_t i = 0; tuple != NULL && i < nargs; i++)
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    refuse(self, name, tuple, kwargs);
    Py_XDECREF(tuple);
    Py_XDECREF(kwargs);
    return NULL;
}

static bool take_positional(const pa_signature *sig, PyObject *const *args, Py_ssize_t nargs, PyObject **out)
{
    for (int i = 0; sig->names[i] != NULL; i++)
        out[i] = NULL;
    if (nargs > sig->positional)
        return false;
    for (Py_ssize_t i = 0; i < nargs; i++)
        out[i] = args[i];
    return true;
}

static bool take_keyword(const pa_signature *sig, PyObject *name, PyObject *value, PyObject **out)
{
    for (int i = 0; PyUnicode_Check(name) && sig->names[i] != NULL; i++) {
        if (PyUnicode_CompareWithASCIIString(name, sig->names[i]) != 0)
            continue;
        if (out[i] != NULL)
            return false;
        out[i] = value;
        return true;
    }
    return false;
}

static bool has_required(const pa_signature *sig, PyObject **out)
{
    for (int i = 0; i < sig->required; i++)
        if (out[i] == NULL)
            return false;
    return true;
}

int pa_args_parse_any(PyObject *self, const pa_signature *sig, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, PyObject **out)
{
    bool fits = take_positional(sig, args, nargs, out);
    for (Py_ssize_t i = 0; fits && kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++)
        fits = take_keyword(sig, PyTuple_GET_ITEM(kwnames, i), args[nargs + i], out);
    if (fits && has_required(sig, out))
        return 0;
    (void)pa_args_refuse(self, sig->name, args, nargs, kwnames);
    return -1;
}

int pa_args_parse_tuple(PyObject *self, const pa_signature *sig, PyObject *args, PyObject *kwargs, PyObject **out)
{
    bool fits = take_positional(sig, &PyTuple_GET_ITEM(args, 0), PyTuple_GET_SIZE(args), out);
    Py_ssize_t pos = 0;
    PyObject *name, *value, *none = NULL;
    while (fits && kwargs != NULL && PyDict_Next(kwargs, &pos, &name, &value))
        fits = take_keyword(sig, name, value, out);
    if (fits && has_required(sig, out))
        return 0;
    if (kwargs != NULL || (none = PyDict_New()) != NULL)
        refuse(self, sig->name, args, kwargs != NULL ? kwargs : none);
    Py_XDECREF(none);
    return -1;
}
