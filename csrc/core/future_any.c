/* See future_any.h. Native types are recognised by their exact type: a subclass may have overridden what would be called. */
#include "core/future_any.h"
#include "core/future_impl.h"
#include "rt/call.h"

/* The fields of a native future or task whose methods are nobody else's and that is initialised, or NULL. */
static pa_future *plain(PyObject *obj)
{
    pa_future *f = pa_future_is_exact(obj) ? pa_future_find(obj) : NULL;
    return f != NULL && f->loop != NULL ? f : NULL;
}

int pa_any_is_future(pa_state *st, PyObject *obj)
{
    if (pa_future_is_exact(obj))
        return 1;
    return PyCoro_CheckExact(obj) ? 0 : pa_call_truth(PyObject_CallOneArg(st->isfuture, obj));
}

int pa_any_done(pa_state *st, PyObject *future)
{
    pa_future *f = plain(future);
    return f != NULL ? f->state != PA_FUTURE_PENDING : pa_call_truth(PyObject_CallMethodNoArgs(future, st->names.done));
}

int pa_any_cancelled(pa_state *st, PyObject *future)
{
    pa_future *f = plain(future);
    return f != NULL ? f->state == PA_FUTURE_CANCELLED : pa_call_truth(PyObject_CallMethodNoArgs(future, st->names.cancelled));
}

PyObject *pa_any_result(pa_state *st, PyObject *future)
{
    pa_future *f = plain(future);
    if (f == NULL)
        return PyObject_CallMethodNoArgs(future, st->names.result);
    PyObject *value;
    int rc = pa_future_fetch(f, &value);
    if (rc <= 0)
        return rc < 0 ? NULL : value;
    PyErr_SetObject((PyObject *)Py_TYPE(value), value);
    Py_DECREF(value);
    return NULL;
}

PyObject *pa_any_exception(pa_state *st, PyObject *future)
{
    pa_future *f = plain(future);
    if (f == NULL || f->state != PA_FUTURE_FINISHED)
        return PyObject_CallMethodNoArgs(future, st->names.exception);
    f->log_tb = 0;
    return Py_NewRef(f->failed ? f->value : Py_None);
}

PyObject *pa_any_cancelled_error(pa_state *st, PyObject *future)
{
    pa_future *f = plain(future);
    return f != NULL ? pa_future_cancelled_error(f) : PyObject_CallMethodNoArgs(future, st->names._make_cancelled_error);
}

PyObject *pa_any_cancel_message(pa_state *st, PyObject *future)
{
    pa_future *f = plain(future);
    if (f != NULL)
        return pa_future_cancel_msg(f);
    return PyObject_GetAttr(future, st->names._cancel_message);
}

PyObject *pa_any_loop(pa_state *st, PyObject *future)
{
    pa_future *f = plain(future);
    if (f != NULL)
        return Py_NewRef(f->loop);
    PyObject *get_loop;
    int rc = pa_getattr_optional(future, st->names.get_loop, &get_loop);
    if (rc <= 0)
        return rc < 0 ? NULL : PyObject_GetAttr(future, st->names._loop);
    PyObject *loop = PyObject_CallNoArgs(get_loop);
    Py_DECREF(get_loop);
    return loop;
}

int pa_any_set_result(pa_state *st, PyObject *future, PyObject *result)
{
    pa_future *f = plain(future);
    if (f != NULL && !f->is_task)
        return pa_future_set_result(future, result);
    return pa_call_nothing(PyObject_CallMethodOneArg(future, st->names.set_result, result));
}

int pa_any_set_exception(pa_state *st, PyObject *future, PyObject *exception)
{
    pa_future *f = plain(future);
    if (f != NULL && !f->is_task)
        return pa_future_do_exception(future, f, exception);
    return pa_call_nothing(PyObject_CallMethodOneArg(future, st->names.set_exception, exception));
}

int pa_any_cancel(pa_state *st, PyObject *future, PyObject *msg)
{
    PyTypeObject *type = Py_TYPE(future);
    if (type == st->Future || type == st->Task) {
        pa_future *f = pa_future_get_alive(future);
        PyObject *text = msg != NULL ? msg : Py_None;
        if (f == NULL)
            return -1;
        if (!f->is_task)
            return pa_future_do_cancel(future, f, text);
        if (Py_EnterRecursiveCall(" while calling a Python object") < 0)
            return -1;
        int rc = pa_task_do_cancel(future, (pa_task *)f, text);
        Py_LeaveRecursiveCall();
        return rc;
    }
    if (msg == NULL)
        return pa_call_truth(PyObject_CallMethodNoArgs(future, st->names.cancel));
    PyObject *args[] = {NULL, future, msg};
    return pa_call_truth(PyObject_VectorcallMethod(st->names.cancel, args + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, st->kw_msg));
}

int pa_any_add_callback(pa_state *st, PyObject *future, PyObject *fn)
{
    pa_future *f = plain(future);
    if (f == NULL)
        return pa_call_nothing(PyObject_CallMethodOneArg(future, st->names.add_done_callback, fn));
    PyObject *context = PyContext_CopyCurrent();
    int rc = context != NULL ? pa_any_add_callback_in(st, future, fn, context) : -1;
    Py_XDECREF(context);
    return rc;
}

int pa_any_add_callback_in(pa_state *st, PyObject *future, PyObject *fn, PyObject *context)
{
    pa_future *f = plain(future);
    if (f != NULL)
        return f->state == PA_FUTURE_PENDING ? pa_callbacks_append(f, fn, context) : pa_future_call_soon(f, fn, future, context);
    return pa_call_nothing(PyObject_CallMethodOneArg(future, st->names.add_done_callback, fn));
}

int pa_any_remove_callback(pa_state *st, PyObject *future, PyObject *fn)
{
    pa_future *f = plain(future);
    if (f != NULL)
        return pa_callbacks_remove(f, fn) < 0 ? -1 : 0;
    return pa_call_nothing(PyObject_CallMethodOneArg(future, st->names.remove_done_callback, fn));
}

static long count_of(PyObject *value)
{
    long count = value != NULL ? PyLong_AsLong(value) : -1;
    Py_XDECREF(value);
    return count;
}

long pa_any_cancelling(pa_state *st, PyObject *task)
{
    if (Py_TYPE(task) == st->Task)
        return pa_task_find(task)->future.cancels;
    return count_of(PyObject_CallMethodNoArgs(task, st->names.cancelling));
}

long pa_any_uncancel(pa_state *st, PyObject *task)
{
    if (Py_TYPE(task) == st->Task)
        return pa_task_do_uncancel(pa_task_find(task));
    return count_of(PyObject_CallMethodNoArgs(task, st->names.uncancel));
}

int pa_any_hush(pa_state *st, PyObject *future)
{
    pa_task *t = plain(future) != NULL ? pa_task_find(future) : NULL;
    if (t == NULL)
        return PyObject_SetAttr(future, st->names._log_destroy_pending, Py_False);
    t->future.log_destroy = 0;
    return 0;
}

static int note(PyObject *function, PyObject *future, PyObject *waiter)
{
    if (!PA_HAS_CALL_GRAPH || waiter == NULL)
        return 0;
    PyObject *args[] = {NULL, future, waiter};
    return pa_call_nothing(PyObject_Vectorcall(function, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL));
}

int pa_any_add_awaited_by(pa_state *st, PyObject *future, PyObject *waiter) { return note(st->awaited_by_add, future, waiter); }

int pa_any_discard_awaited_by(pa_state *st, PyObject *future, PyObject *waiter) { return note(st->awaited_by_discard, future, waiter); }
