/* See override.h. A class's version changes whenever something is set on it or on one of its bases, and when other things happen to it
 * that do not concern us (a class derived from it): so a new version means looking again, not that something is overridden.
 */
#include "rt/override.h"

#include <string.h>

bool pa_override_same(PyObject *mine, PyObject *ours)
{
    if (mine == ours || mine == NULL || ours == NULL)
        return mine == ours;
    return Py_IS_TYPE(mine, &PyMethodDescr_Type) && Py_IS_TYPE(ours, &PyMethodDescr_Type) &&
           ((PyMethodDescrObject *)mine)->d_method == ((PyMethodDescrObject *)ours)->d_method;
}

/* The C methods of `base` that the class does not define itself. Those in underscores are not called by their names. */
static int own_methods_of(PyTypeObject *class, PyObject *dict, PyTypeObject *base)
{
    PyObject *theirs = PyObject_GetAttrString((PyObject *)base, "__dict__"), *items = theirs != NULL ? PyMapping_Items(theirs) : NULL;
    int rc = items != NULL ? 0 : -1;
    for (Py_ssize_t i = 0; rc >= 0 && i < PyList_GET_SIZE(items); i++) {
        PyObject *name = PyTuple_GET_ITEM(PyList_GET_ITEM(items, i), 0), *value = PyTuple_GET_ITEM(PyList_GET_ITEM(items, i), 1);
        if (!Py_IS_TYPE(value, &PyMethodDescr_Type) || strncmp(((PyMethodDescrObject *)value)->d_method->ml_name, "__", 2) == 0 ||
            (rc = PySequence_Contains(dict, name)) != 0)
            continue;
        PyObject *method = PyDescr_NewMethod(class, ((PyMethodDescrObject *)value)->d_method);
        rc = method != NULL ? PyObject_SetAttr((PyObject *)class, name, method) : -1;
        Py_XDECREF(method);
    }
    Py_XDECREF(items);
    Py_XDECREF(theirs);
    return rc < 0 ? -1 : 0;
}

int pa_override_own_methods(PyObject *module, PyTypeObject *class)
{
    PyObject *dict = PyObject_GetAttrString((PyObject *)class, "__dict__"), *mro = Py_XNewRef(class->tp_mro);
    int rc = dict != NULL && mro != NULL ? 0 : -1;
    for (Py_ssize_t i = 1; rc == 0 && i < PyTuple_GET_SIZE(mro); i++) {
        PyTypeObject *base = (PyTypeObject *)PyTuple_GET_ITEM(mro, i);
        if (!(base->tp_flags & Py_TPFLAGS_HEAPTYPE) || ((PyHeapTypeObject *)base)->ht_module != module)
            break; /* what comes now may be patched, and then it is to be found */
        rc = own_methods_of(class, dict, base);
    }
    Py_XDECREF(mro);
    Py_XDECREF(dict);
    return rc;
}

PyObject *pa_override_originals(PyTypeObject *type, PyObject *fallback, const char *const *names)
{
    PyObject *found = PyDict_New();
    for (; found != NULL && *names != NULL; names++) {
        PyObject *name = PyUnicode_InternFromString(*names), *value = NULL;
        int rc = name != NULL ? pa_getattr_optional((PyObject *)type, name, &value) : -1;
        if (rc == 0 && fallback != NULL)
            rc = (value = PyObject_GetAttr(fallback, name)) != NULL ? 1 : -1;
        if (rc < 0 || (rc > 0 && PyDict_SetItem(found, name, value) < 0))
            Py_CLEAR(found);
        Py_XDECREF(name);
        Py_XDECREF(value);
    }
    return found;
}

/* 1, 0 or -1. */
static int class_has(PyTypeObject *type, PyObject *originals)
{
    Py_ssize_t pos = 0;
    PyObject *name, *original;
    while (PyDict_Next(originals, &pos, &name, &original)) {
        PyObject *value;
        int rc = pa_getattr_optional((PyObject *)type, name, &value);
        bool same = rc >= 0 && pa_override_same(value, original);
        Py_XDECREF(value);
        if (!same)
            return rc < 0 ? -1 : 0;
    }
    return 1;
}

bool pa_override_look(PyTypeObject *type, PyObject *originals, pa_override_cache *cache)
{
    PyObject *raised = pa_err_take();
    int rc = originals != NULL ? class_has(type, originals) : 0;
    if (rc < 0)
        PyErr_Clear(); /* a metaclass in the way: asyncio's methods will meet it */
    pa_err_restore(raised);
    pa_type_assign_version(type);
    *cache = (pa_override_cache){type, type->tp_version_tag, rc > 0};
    return cache->none;
}

PyObject *pa_override_code(PyObject *function)
{
    if (!PyFunction_Check(function))
        return Py_NewRef(Py_None);
    PyObject *code = Py_NewRef(PyFunction_GET_CODE(function)), *consts = PyObject_GetAttrString(code, "co_consts");
    /* A wrapper is a constant that no compiler makes. */
    bool rewritten = false;
    for (Py_ssize_t i = 0; consts != NULL && i < PyTuple_GET_SIZE(consts); i++)
        rewritten |= PyCallable_Check(PyTuple_GET_ITEM(consts, i));
    if (consts == NULL)
        Py_CLEAR(code);
    else if (rewritten)
        Py_SETREF(code, Py_NewRef(Py_None));
    Py_XDECREF(consts);
    return code;
}
