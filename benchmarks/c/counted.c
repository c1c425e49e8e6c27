/* Switches callgrind's counting on and off from inside the measured process, so that neither the start of the interpreter
 * nor a case's warm-up is in the count, and all of that runs at a speed that can be borne. Outside of valgrind both
 * functions do nothing.
 *
 *     counted.start(), counted.stop()
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <valgrind/callgrind.h>

static PyObject *start(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    CALLGRIND_START_INSTRUMENTATION;
    Py_RETURN_NONE;
}

static PyObject *stop(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    CALLGRIND_STOP_INSTRUMENTATION;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"start", start, METH_NOARGS, NULL},
    {"stop", stop, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "counted", .m_size = -1, .m_methods = methods};

PyMODINIT_FUNC PyInit_counted(void)
{
    return PyModule_Create(&definition);
}
