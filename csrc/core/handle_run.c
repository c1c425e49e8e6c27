/* Running handles: the callback in its context, what it raises to the loop's exception handler.
 *
 * The callback may do anything to its handle, so that what is needed of it is owned meanwhile.
 */
#include "core/loop_impl.h"
#include "rt/error.h"

#define FIELD(obj, name) PA_HANDLE_FIELD(obj, st->handle.name)

int pa_handle_raise_missing(PyObject *self, const char *name)
{
    PyErr_Format(PyExc_AttributeError, "'%s' object has no attribute '%s'", Py_TYPE(self)->tp_name, name);
    return -1;
}

int pa_handle_truth_of_cancelled(pa_state *st, PyObject *handle)
{
    PyObject *value = FIELD(handle, cancelled);
    if (value == Py_False || value == Py_True)
        return value == Py_True;
    if (value == NULL)
        return pa_handle_raise_missing(handle, "_cancelled");
    Py_INCREF(value);
    int truth = PyObject_IsTrue(value);
    Py_DECREF(value);
    return truth;
}

static PyObject *call_foreign_context(PyObject *context, PyObject *callable, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *run = PyObject_GetAttrString(context, "run"), *list = NULL, *result = NULL;
    if (run == NULL || (list = PyTuple_New(nargs + 1)) == NULL)
        goto done;
    PyTuple_SET_ITEM(list, 0, Py_NewRef(callable));
    for (Py_ssize_t i = 0; i < nargs; i++)
        PyTuple_SET_ITEM(list, i + 1, Py_NewRef(args[i]));
    result = PyObject_CallObject(run, list);
done:
    Py_XDECREF(run);
    Py_XDECREF(list);
    return result;
}

PyObject *pa_call_in_context(PyObject *context, PyObject *callable, PyObject *const *args, Py_ssize_t nargs)
{
    if (context == NULL)
        return PyObject_Vectorcall(callable, args, (size_t)nargs, NULL);
    if (!PyContext_CheckExact(context))
        return call_foreign_context(context, callable, args, nargs);
    if (PyContext_Enter(context) < 0)
        return NULL;
    /* A copy with a free place before it spares a bound method one of its own. */
    PyObject *stack[7];
    PyObject *result;
    if (nargs < (Py_ssize_t)Py_ARRAY_LENGTH(stack)) {
        for (Py_ssize_t i = 0; i < nargs; i++)
            stack[i + 1] = args[i];
        result = PyObject_Vectorcall(callable, stack + 1, (size_t)nargs | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    } else {
        result = PyObject_Vectorcall(callable, args, (size_t)nargs, NULL);
    }
    if (PyContext_Exit(context) < 0)
        Py_CLEAR(result);
    return result;
}

/* callback(*args) as `_context.run(_callback, *_args)` does it, with the fields as they are now. New. */
static PyObject *call_callback(pa_state *st, PyObject *handle)
{
    PyObject *callback = Py_XNewRef(FIELD(handle, callback)), *args = Py_XNewRef(FIELD(handle, args));
    PyObject *context = Py_XNewRef(FIELD(handle, context)), *result = NULL;
    if (callback == NULL || args == NULL || context == NULL) {
        (void)pa_handle_raise_missing(handle, callback == NULL ? "_callback" : args == NULL ? "_args" : "_context");
    } else if (PyTuple_CheckExact(args)) {
        result = pa_call_in_context(context, callback, &PyTuple_GET_ITEM(args, 0), PyTuple_GET_SIZE(args));
    } else {
        PyObject *list = PySequence_Tuple(args);
        if (list != NULL)
            result = pa_call_in_context(context, callback, &PyTuple_GET_ITEM(list, 0), PyTuple_GET_SIZE(list));
        Py_XDECREF(list);
    }
    Py_XDECREF(callback);
    Py_XDECREF(args);
    Py_XDECREF(context);
    return result;
}

static int call_and_report(pa_state *st, PyObject *loop, PyObject *handle)
{
    PyObject *result = call_callback(st, handle);
    if (result != NULL) {
        Py_DECREF(result);
        return 0;
    }
    return pa_handle_report(loop, handle);
}

bool pa_handle_is_shared(pa_state *st, PyObject *handle)
{
    return Py_TYPE(handle) != st->Handle && st->ThreadSafeHandle != st->Handle && PyObject_TypeCheck(handle, st->ThreadSafeHandle);
}

int pa_handle_run_native(pa_state *st, PyObject *loop, PyObject *handle)
{
    if (!pa_handle_is_shared(st, handle))
        return call_and_report(st, loop, handle);
    if (pa_handle_wait(st, handle) < 0)
        return -1;
    int cancelled = pa_handle_truth_of_cancelled(st, handle);
    if (cancelled != 0)
        return cancelled < 0 ? -1 : 0;
    pa_handle_run_record run;
    pa_handle_run_begin(st, handle, &run);
    int rc = call_and_report(st, loop, handle);
    pa_handle_run_end(st, &run);
    return rc;
}

int pa_handle_run(pa_loop *loop, PyObject *handle)
{
    pa_state *st = loop->st;
    if (pa_handle_is_exact(st, handle) && !(loop->over.bits & PA_OVER_HANDLE_RUN))
        return pa_handle_run_native(st, (PyObject *)loop, handle);
    PyObject *result;
    if (pa_handle_is_exact(st, handle)) /* somebody traces asyncio.Handle._run */
        result = PyObject_CallMethodOneArg((PyObject *)st->aio_Handle, st->names._run, handle);
    else
        result = PyObject_CallMethodNoArgs(handle, st->names._run);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* Whether only the ring's entry knows of it. Then nobody can tell whether it ends before its callback runs or after. */
static bool is_unseen(pa_loop *loop, PyObject *handle)
{
    pa_state *st = loop->st;
    if (Py_REFCNT(handle) != 1 || Py_TYPE(handle) != st->Handle)
        return false;
    PyObject *callback = FIELD(handle, callback), *args = FIELD(handle, args), *context = FIELD(handle, context);
    Py_ssize_t weak_list = st->Handle->tp_weaklistoffset;
    return callback != NULL && args != NULL && PyTuple_CheckExact(args) && context != NULL && PyContext_CheckExact(context) &&
           FIELD(handle, loop) == (PyObject *)loop && FIELD(handle, cancelled) == Py_False && FIELD(handle, repr) == Py_None &&
           FIELD(handle, source_traceback) == Py_None && (weak_list == 0 || *(PyObject **)((char *)handle + weak_list) == NULL);
}

/* What the callback raised is told of as of a Handle like the one that was there. 0 or -1. */
static int report_unseen(pa_loop *loop, PyObject *callback, PyObject *args, PyObject *context)
{
    pa_state *st = loop->st;
    PyObject *raised = pa_err_take(), *handle = pa_handle_new(loop, callback, args, context);
    if (handle == NULL) {
        Py_XDECREF(raised);
        return -1;
    }
    Py_SETREF(FIELD(handle, source_traceback), Py_NewRef(Py_None)); /* that one was made before the callback turned debug mode on */
    pa_err_restore(raised);
    int rc = pa_handle_report((PyObject *)loop, handle);
    Py_DECREF(handle);
    return rc;
}

int pa_handle_run_last(pa_loop *loop, PyObject **handle)
{
    pa_state *st = loop->st;
    if (loop->debug || loop->over.bits & PA_OVER_HANDLE_RUN || !is_unseen(loop, *handle))
        return 1;
    PyObject *self = *handle, *callback = FIELD(self, callback), *args = FIELD(self, args), *context = FIELD(self, context);
    *handle = NULL;
    pa_handle_reuse(loop, self);
    PyObject *result = pa_call_in_context(context, callback, &PyTuple_GET_ITEM(args, 0), PyTuple_GET_SIZE(args));
    int rc = 0;
    if (result != NULL)
        Py_DECREF(result);
    else
        rc = report_unseen(loop, callback, args, context);
    PyObject *raised = rc < 0 ? pa_err_take() : NULL;
    Py_DECREF(callback);
    Py_DECREF(args);
    Py_DECREF(context);
    if (rc < 0)
        pa_err_restore(raised);
    return rc;
}

int pa_handle_cancelled(pa_state *st, PyObject *handle)
{
    if (pa_handle_is_exact(st, handle))
        return pa_handle_truth_of_cancelled(st, handle);
    PyObject *value = PyObject_GetAttr(handle, st->names._cancelled);
    if (value == NULL)
        return -1;
    int truth = PyObject_IsTrue(value);
    Py_DECREF(value);
    return truth;
}
