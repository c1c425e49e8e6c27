/* pyasync._core._fault_set(), _fault_count() and _fault_reset(), for tests/faults: only in builds with PA_FAULTS. The orders belong to
 * the process, not to the module: they stand in base/sys.c. */
#include "rt/faults.h"

#ifdef PA_FAULTS
#include "base/sys.h"
#include "rt/error.h"

static PyObject *fault_set(PyObject *module, PyObject *args)
{
    const char *call;
    long nth, limit = 0;
    int err;
    if (!PyArg_ParseTuple(args, "sli|l:_fault_set", &call, &nth, &err, &limit))
        return NULL;
    int rc = pa_sys_fault_set(call, nth, err, limit);
    if (rc < 0)
        return pa_error_from_rc(rc);
    Py_RETURN_NONE;
}

static PyObject *fault_count(PyObject *module, PyObject *args)
{
    const char *call;
    if (!PyArg_ParseTuple(args, "s:_fault_count", &call))
        return NULL;
    long count = pa_sys_fault_count(call);
    return count < 0 ? pa_error_from_rc((int)count) : PyLong_FromLong(count);
}

static PyObject *fault_reset(PyObject *module, PyObject *unused)
{
    pa_sys_fault_reset();
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"_fault_set", fault_set, METH_VARARGS,
     PyDoc_STR("_fault_set(call, nth, err, limit=0)\n--\n\nMake the nth following system call of that name fail with errno `err`, or, "
               "with err 0,\nmove `limit` bytes at most. A negative nth means that one and all after it.")},
    {"_fault_count", fault_count, METH_VARARGS,
     PyDoc_STR("_fault_count(call)\n--\n\nHow often it was called since the start or the last reset.")},
    {"_fault_reset", fault_reset, METH_NOARGS, PyDoc_STR("_fault_reset()\n--\n\nForget every order and count.")},
    {NULL},
};

int pa_faults_setup(PyObject *module, pa_state *st) { return PyModule_AddFunctions(module, methods); }
#endif
