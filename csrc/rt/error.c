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
