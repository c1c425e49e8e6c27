/* See override.h. A class's version changes whenever something is set on it or on one of its bases, and when other things happen to it
 * that do not concern us (a class derived from it): so a new version means looking again, not that something is overridden.
 */
#include "rt/override.h"

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
        Py_XDECREF(value);
        if (rc < 0 || value != original)
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
