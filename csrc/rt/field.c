/* See field.h. */
#include "rt/field.h"

#define FIELD(self, closure) ((PyObject **)((char *)(self) + (Py_ssize_t)(intptr_t)(closure)))
#define FLAG(self, closure) ((bool *)((char *)(self) + (Py_ssize_t)(intptr_t)(closure)))

static int refuse_deletion(void)
{
    PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
    return -1;
}

PyObject *pa_field_get(PyObject *self, void *closure)
{
    PyObject *value = *FIELD(self, closure);
    return Py_NewRef(value != NULL ? value : Py_None);
}

int pa_field_set(PyObject *self, PyObject *value, void *closure)
{
    if (value == NULL)
        return refuse_deletion();
    PyObject *old = *FIELD(self, closure);
    *FIELD(self, closure) = value != Py_None ? Py_NewRef(value) : NULL;
    Py_XDECREF(old);
    return 0;
}

PyObject *pa_flag_get(PyObject *self, void *closure) { return PyBool_FromLong(*FLAG(self, closure)); }

int pa_flag_set(PyObject *self, PyObject *value, void *closure)
{
    if (value == NULL)
        return refuse_deletion();
    int truth = PyObject_IsTrue(value);
    if (truth < 0)
        return -1;
    *FLAG(self, closure) = truth != 0;
    return 0;
}
