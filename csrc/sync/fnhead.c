/* See fnhead.h. */
#include "sync/fnhead.h"

#define DEF(fn) (PA_FNHEAD(fn)->def)

void pa_fnhead_init(PyObject *fn, PyObject *owner, const pa_corofn_def *def, vectorcallfunc of_function, vectorcallfunc of_method)
{
    pa_fnhead *head = PA_FNHEAD(fn);
    head->vectorcall = PyType_Check(owner) ? of_method : of_function;
    head->def = def;
    head->owner = Py_NewRef(owner);
    head->weakrefs = NULL;
}

int pa_fnhead_refuse_self(PyObject *fn, PyObject *self)
{
    PyErr_Format(PyExc_TypeError, "%s() is a method of %s objects: it does not apply to a '%s' object", DEF(fn)->qualname,
                 ((PyTypeObject *)PA_FNHEAD(fn)->owner)->tp_name, Py_TYPE(self)->tp_name);
    return -1;
}

/* ---- What inspect asks ---- */

PyObject *pa_fnhead_get_name(PyObject *fn, void *unused) { return PyUnicode_FromString(DEF(fn)->name); }

PyObject *pa_fnhead_get_qualname(PyObject *fn, void *unused) { return PyUnicode_FromString(DEF(fn)->qualname); }

PyObject *pa_fnhead_get_module(PyObject *fn, void *unused) { return PyUnicode_FromString("pyasync"); }

/* The docstring without the signature. */
PyObject *pa_fnhead_get_doc(PyObject *fn, void *unused)
{
    const char *doc = DEF(fn)->doc, *end = doc != NULL ? strstr(doc, "\n--\n\n") : NULL;
    if (doc == NULL)
        Py_RETURN_NONE;
    return PyUnicode_FromString(end != NULL ? end + strlen("\n--\n\n") : doc);
}

/* The signature's parentheses, or None. */
PyObject *pa_fnhead_get_text_signature(PyObject *fn, void *unused)
{
    const char *doc = DEF(fn)->doc, *start = doc != NULL ? strchr(doc, '(') : NULL, *end = doc != NULL ? strstr(doc, "\n--\n\n") : NULL;
    return start != NULL && end != NULL ? PyUnicode_FromStringAndSize(start, end - start) : Py_NewRef(Py_None);
}

PyObject *pa_fnhead_repr(PyObject *fn) { return PyUnicode_FromFormat("<function %s at %p>", DEF(fn)->qualname, fn); }

/* A function is found by its name, a method as its type's attribute. */
static PyObject *reduce(PyObject *fn, PyObject *unused)
{
    PyObject *owner = PA_FNHEAD(fn)->owner;
    if (!PyType_Check(owner))
        return PyUnicode_FromString(DEF(fn)->qualname);
    PyObject *builtins = PyImport_ImportModule("builtins");
    PyObject *getattr = builtins != NULL ? PyObject_GetAttrString(builtins, "getattr") : NULL;
    PyObject *result = getattr != NULL ? Py_BuildValue("N(Os)", getattr, owner, DEF(fn)->name) : NULL;
    Py_XDECREF(builtins);
    return result;
}

PyMethodDef pa_fnhead_methods[] = {
    {"__reduce__", reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
