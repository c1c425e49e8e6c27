/* See originals.h. st->originals holds for each of them what pyasync.overlays found: (module or class, name, function, code, what install()
 * puts in its place). The code is None where somebody had changed the function before; then it never stands.
 */
#include "sync/originals.h"

enum { HOME, NAME, FUNCTION, CODE, NATIVE, FIELDS };

static PyObject *field(pa_state *st, pa_original which, int i)
{
    return PyTuple_GET_ITEM(PyTuple_GET_ITEM(st->originals, (Py_ssize_t)which), i);
}

PyObject *pa_original_now(pa_state *st, pa_original which) { return PyObject_GetAttr(field(st, which, HOME), field(st, which, NAME)); }

PyObject *pa_original_function(pa_state *st, pa_original which) { return field(st, which, FUNCTION); }

int pa_original_stands(pa_state *st, pa_original which)
{
    PyObject *function = field(st, which, FUNCTION), *now = pa_original_now(st, which);
    if (now == NULL)
        return -1;
    Py_DECREF(now);
    return (now == function || now == field(st, which, NATIVE)) && PyFunction_Check(function) &&
           PyFunction_GET_CODE(function) == field(st, which, CODE);
}

static int is_complete(PyObject *originals)
{
    int complete = PyTuple_GET_SIZE(originals) == PA_ORIGINALS_LEN;
    for (Py_ssize_t i = 0; complete && i < PA_ORIGINALS_LEN; i++) {
        PyObject *entry = PyTuple_GET_ITEM(originals, i);
        complete = PyTuple_CheckExact(entry) && PyTuple_GET_SIZE(entry) == FIELDS && PyUnicode_Check(PyTuple_GET_ITEM(entry, NAME));
    }
    return complete;
}

PyDoc_STRVAR(use_originals_doc, "_use_originals($module, originals, /)\n--\n\n"
             "Name the functions of asyncio's that programs replace: a tuple of (home, name, function,\ncode, native).");
static PyObject *use_originals(PyObject *module, PyObject *originals)
{
    if (!PyTuple_CheckExact(originals) || !is_complete(originals)) {
        PyErr_SetString(PyExc_TypeError, "_use_originals() takes a tuple of (home, name, function, code, native)");
        return NULL;
    }
    Py_XSETREF(pa_state_of_module(module)->originals, Py_NewRef(originals));
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"_use_originals", use_originals, METH_O, use_originals_doc},
    {NULL, NULL, 0, NULL},
};

int pa_originals_setup(PyObject *module, pa_state *st) { return PyModule_AddFunctions(module, functions); }
