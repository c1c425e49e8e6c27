/* Reports to the loop's exception handler. The handler itself (set_exception_handler, default_exception_handler) is asyncio's code. */
#include "core/loop_impl.h"
#include "rt/error.h"

#include <stdarg.h>

static int add_pairs(PyObject *context, va_list pairs)
{
    const char *key;
    while ((key = va_arg(pairs, const char *)) != NULL) {
        PyObject *value = va_arg(pairs, PyObject *);
        if (PyDict_SetItemString(context, key, value) < 0)
            return -1;
    }
    return 0;
}

static int call_handler(PyObject *loop, PyObject *context)
{
    PyObject *name = PyUnicode_InternFromString("call_exception_handler");
    PyObject *result = name != NULL ? PyObject_CallMethodOneArg(loop, name, context) : NULL;
    Py_XDECREF(name);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

static PyObject *make_context(PyObject *message, PyObject *exception)
{
    PyObject *context = PyDict_New();
    if (context == NULL || PyDict_SetItemString(context, "message", message) < 0 ||
        (exception != NULL && PyDict_SetItemString(context, "exception", exception) < 0))
        Py_CLEAR(context);
    return context;
}

int pa_loop_report(PyObject *loop, PyObject *exception, const char *message, ...)
{
    PyObject *taken = exception == NULL ? pa_err_take() : Py_NewRef(exception);
    PyObject *text = PyUnicode_FromString(message);
    PyObject *context = text != NULL ? make_context(text, taken) : NULL;
    int rc = -1;
    if (context != NULL) {
        va_list pairs;
        va_start(pairs, message);
        rc = add_pairs(context, pairs);
        va_end(pairs);
    }
    if (rc == 0)
        rc = call_handler(loop, context);
    Py_XDECREF(context);
    Py_XDECREF(text);
    Py_XDECREF(taken);
    if (rc < 0 && !pa_error_is_exit()) {
        /* Only an overridden call_exception_handler, or want of memory, gets here; there is nobody left to tell but the interpreter. */
        PyErr_WriteUnraisable(loop);
        rc = 0;
    }
    return rc;
}

/* Newer asyncios show the arguments only in debug mode, and have a keyword for it. 0, 1 or -1. */
static int formats_by_debug(PyObject *function)
{
    PyObject *code = PyObject_GetAttrString(function, "__code__");
    PyObject *count = code != NULL ? PyObject_GetAttrString(code, "co_kwonlyargcount") : NULL;
    long n = count != NULL ? PyLong_AsLong(count) : -1;
    Py_XDECREF(count);
    Py_XDECREF(code);
    return n < 0 && PyErr_Occurred() ? -1 : n > 0;
}

/* The callback as asyncio describes it. loop: NULL if the handle has none, which is an error where the loop is asked. New. */
static PyObject *describe_callback(pa_state *st, PyObject *loop, PyObject *handle)
{
    PyObject *callback = PyObject_GetAttr(handle, st->names._callback), *debug = NULL, *text = NULL;
    PyObject *args = callback != NULL ? PyObject_GetAttr(handle, st->names._args) : NULL;
    if (args == NULL) {
        Py_XDECREF(callback);
        return NULL;
    }
    int by_debug = formats_by_debug(st->format_callback);
    if (by_debug == 0)
        text = PyObject_CallFunctionObjArgs(st->format_callback, callback, args, NULL);
    if (by_debug > 0 && loop != NULL)
        debug = PyObject_CallMethodNoArgs(loop, st->names.get_debug);
    else if (by_debug > 0)
        debug = PyObject_GetAttr(handle, st->names._loop);
    if (debug != NULL) {
        PyObject *keywords = PyTuple_Pack(1, st->names.debug);
        PyObject *in[] = {callback, args, debug};
        text = keywords != NULL ? PyObject_Vectorcall(st->format_callback, in, 2, keywords) : NULL;
        Py_XDECREF(keywords);
    }
    Py_XDECREF(debug);
    Py_DECREF(args);
    Py_DECREF(callback);
    return text;
}

int pa_handle_report(PyObject *loop, PyObject *handle)
{
    if (pa_error_is_exit())
        return -1;
    pa_state *st = pa_state_of_type(Py_TYPE(handle));
    PyObject *exception = pa_err_take(), *callback = describe_callback(st, loop, handle);
    PyObject *traceback = NULL, *message = NULL, *context = NULL;
    int rc = -1;
    if (callback == NULL || (message = PyUnicode_FromFormat("Exception in callback %S", callback)) == NULL ||
        (context = make_context(message, exception)) == NULL || PyDict_SetItemString(context, "handle", handle) < 0)
        goto done;
    if ((traceback = PyObject_GetAttrString(handle, "_source_traceback")) == NULL)
        goto done;
    int traced = PyObject_IsTrue(traceback);
    if (traced < 0 || (traced && PyDict_SetItemString(context, "source_traceback", traceback) < 0))
        goto done;
    if (loop != NULL)
        rc = call_handler(loop, context);
    else
        Py_XDECREF(PyObject_GetAttr(handle, st->names._loop)); /* raises */
done:
    Py_XDECREF(context);
    Py_XDECREF(message);
    Py_XDECREF(callback);
    Py_XDECREF(traceback);
    Py_XDECREF(exception);
    return rc;
}

