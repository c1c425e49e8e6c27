/* See traits.h. */
#include "sync/traits.h"

static int take_trait(pa_state *st, PyObject *name, int holds)
{
    static const char *const names[] = {
#define PA_TRAIT(name) #name,
        PA_TRAITS(PA_TRAIT)
#undef PA_TRAIT
    };
    for (unsigned i = 0; i < PA_TRAITS_LEN; i++)
        if (PyUnicode_CompareWithASCIIString(name, names[i]) == 0) {
            st->traits = holds ? st->traits | 1u << i : st->traits & ~(1u << i);
            return 0;
        }
    PyErr_Format(PyExc_ValueError, "no trait is called %R", name);
    return -1;
}

static int take_traits(pa_state *st, PyObject *pairs)
{
    PyObject *list = PySequence_Fast(pairs, "traits must be a sequence");
    int rc = list != NULL ? 0 : -1;
    for (Py_ssize_t i = 0; rc == 0 && i < PySequence_Fast_GET_SIZE(list); i++) {
        PyObject *name;
        int holds;
        rc = PyArg_ParseTuple(PySequence_Fast_GET_ITEM(list, i), "Up", &name, &holds) ? take_trait(st, name, holds) : -1;
    }
    Py_XDECREF(list);
    return rc;
}

int pa_class_take(PyObject *class, const char *const *names, PyTypeObject **place, PyObject **methods)
{
    PyObject *originals = pa_override_originals((PyTypeObject *)class, NULL, names);
    if (originals == NULL)
        return -1;
    Py_XSETREF(*methods, originals);
    Py_XSETREF(*place, (PyTypeObject *)Py_NewRef(class));
    return 0;
}

static int take_classes(pa_state *st, PyObject *timeout, PyObject *group)
{
    static const char *const of_timeout[] = {"reschedule", "_on_timeout", NULL};
    static const char *const of_group[] = {"_abort", "_on_task_done", "_is_base_error", "cancel", NULL};
    return pa_class_take(timeout, of_timeout, &st->joined_Timeout, &st->timeout_methods) < 0
               ? -1
               : pa_class_take(group, of_group, &st->joined_TaskGroup, &st->taskgroup_methods);
}

int pa_traits_setattr(PyObject *self, PyObject *name, PyObject *value, PyObject *methods, bool *assigned)
{
    if (PyObject_GenericSetAttr(self, name, value) < 0)
        return -1;
    int known = methods != NULL ? PyDict_Contains(methods, name) : 0;
    if (known > 0)
        *assigned = true;
    return known < 0 ? -1 : 0;
}

PyDoc_STRVAR(use_waiting_doc, "_use_waiting($module, /, *, Timeout, TaskGroup, traits)\n--\n\n"
             "Name the classes made of native types, and what the running asyncio does: pairs of a\nname and a bool.");
static PyObject *use_waiting(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"Timeout", "TaskGroup", "traits", NULL};
    pa_state *st = pa_state_of_module(module);
    PyObject *timeout, *group, *traits;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$O!O!O:_use_waiting", names, &PyType_Type, &timeout, &PyType_Type, &group, &traits) ||
        take_traits(st, traits) < 0 || take_classes(st, timeout, group) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(own_methods_doc, "_own_methods($module, class, /)\n--\n\n"
             "Give the class methods of its own, the same as those of the native type it derives from,\nwhich are called faster; return it.");
static PyObject *own_methods(PyObject *module, PyObject *class)
{
    if (!PyType_Check(class))
        return PyErr_Format(PyExc_TypeError, "_own_methods() takes a class, not %R", class);
    return pa_override_own_methods(module, (PyTypeObject *)class) == 0 ? Py_NewRef(class) : NULL;
}

static PyMethodDef functions[] = {
    {"_own_methods", own_methods, METH_O, own_methods_doc},
    {"_use_waiting", (PyCFunction)(void (*)(void))use_waiting, METH_VARARGS | METH_KEYWORDS, use_waiting_doc},
    {NULL, NULL, 0, NULL},
};

int pa_traits_setup(PyObject *module, pa_state *st) { return PyModule_AddFunctions(module, functions); }
