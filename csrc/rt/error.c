/* See error.h. */
#include "rt/error.h"
#include <errno.h>
#include <string.h>

PyObject *pa_error_from_errno(ssize_t rc)
{
    errno = (int)-rc;
    return PyErr_SetFromErrno(PyExc_OSError);
}

PyObject *pa_error_from_rc(int rc)
{
    return rc == -ENOMEM ? PyErr_NoMemory() : pa_error_from_errno(rc);
}

PyObject *pa_error_new(int rc, const char *suffix)
{
    return PyObject_CallFunction(PyExc_OSError, "iN", -rc, PyUnicode_FromFormat("%s%s", strerror(-rc), suffix));
}

int pa_error_is_exit(void)
{
    return PyErr_ExceptionMatches(PyExc_SystemExit) || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
}

void pa_raise_any(PyObject *exc)
{
    if (PyExceptionInstance_Check(exc))
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
    else if (PyExceptionClass_Check(exc))
        PyErr_SetNone(exc);
    else
        PyErr_SetString(PyExc_TypeError, "exceptions must derive from BaseException");
}

/* PyErr_GetHandledException() looks further out than PyErr_SetHandledException() puts: what is not this frame's would stay behind in it. */
PyObject *pa_error_handle(PyObject *exc)
{
    PyThreadState *thread = PyThreadState_Get();
    PyObject *before = thread->exc_info->exc_value;
    if (exc != NULL)
        thread->exc_info->exc_value = Py_NewRef(exc);
    else
        Py_XINCREF(before);
    return before;
}

void pa_error_handled(PyObject *before)
{
    PyThreadState *thread = PyThreadState_Get();
    PyObject *handled = thread->exc_info->exc_value;
    thread->exc_info->exc_value = before;
    Py_XDECREF(handled);
}

void pa_error_reraise(PyObject *exc)
{
    PyObject *context = PyException_GetContext(exc);
    if (context == NULL)
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
    else
        pa_err_restore(Py_NewRef(exc));
    Py_XDECREF(context);
}
