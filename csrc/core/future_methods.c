/* The methods and attributes of futures as users see them; what they do is in future.c.
 *
 * Each may be called on a half-made object (no __init__ yet) and on one that has not our fields: then it raises what asyncio raises, or
 * TypeError.
 */
#include "core/future_impl.h"
#include "rt/args.h"

/* ---- Methods ---- */

/* result() and exception() of a future without __init__: InvalidStateError, for once. */
static pa_future *get_for_result(PyObject *self)
{
    pa_future *f = pa_future_get(self);
    if (f == NULL || f->loop != NULL)
        return f;
    PyErr_SetString(f->st->InvalidStateError, "Future object is not initialized.");
    return NULL;
}

PyDoc_STRVAR(future_result_doc, "result($self, /)\n--\n\n"
             "Return the result of the future.\n\n"
             "Raises its exception if it has one, CancelledError if it was cancelled and\nInvalidStateError if it is not done yet.");
static PyObject *future_result(PyObject *self, PyObject *unused)
{
    pa_future *f = get_for_result(self);
    PyObject *value;
    int rc = f != NULL ? pa_future_fetch(f, &value) : -1;
    if (rc <= 0)
        return rc < 0 ? NULL : value;
    PyErr_SetObject((PyObject *)Py_TYPE(value), value);
    Py_DECREF(value);
    return NULL;
}

PyDoc_STRVAR(future_exception_doc, "exception($self, /)\n--\n\n"
             "Return the exception that was set on this future, or None.\n\n"
             "Raises CancelledError if it was cancelled and InvalidStateError if it is not\ndone yet.");
static PyObject *future_exception(PyObject *self, PyObject *unused)
{
    pa_future *f = get_for_result(self);
    if (f == NULL)
        return NULL;
    if (f->state == PA_FUTURE_CANCELLED) {
        pa_future_raise_cancelled(f);
        return NULL;
    }
    if (f->state == PA_FUTURE_PENDING) {
        PyErr_SetString(f->st->InvalidStateError, "Exception is not set.");
        return NULL;
    }
    f->log_tb = 0;
    return Py_NewRef(f->failed ? f->value : Py_None);
}

PyDoc_STRVAR(future_set_result_doc, "set_result($self, result, /)\n--\n\n"
             "Mark the future done and set its result.\n\nRaises InvalidStateError if it is done already.");
static PyObject *future_set_result(PyObject *self, PyObject *result)
{
    pa_future *f = pa_future_get_alive(self);
    if (f == NULL)
        return NULL;
    if ((f->state == PA_FUTURE_PENDING ? pa_future_do_result(self, f, result) : pa_future_raise_invalid_state(f)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(future_set_exception_doc, "set_exception($self, exception, /)\n--\n\n"
             "Mark the future done and set an exception.\n\nRaises InvalidStateError if it is done already.");
static PyObject *future_set_exception(PyObject *self, PyObject *exception)
{
    pa_future *f = pa_future_get_alive(self);
    if (f == NULL || pa_future_do_exception(self, f, exception) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(future_add_done_callback_doc, "add_done_callback($self, fn, /, *, context=<unrepresentable>)\n--\n\n"
             "Call fn(future) in `context` once the future is done.\n\n"
             "If it is done already, the call is scheduled with call_soon. Without a context\nthe call runs in a copy of the current one.");
static PyObject *future_add_done_callback(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"", "context", NULL}; /* fn has no name */
    static const pa_signature sig = {"add_done_callback", names, 1, 1};
    if (nargs != 1)
        return pa_args_refuse(self, sig.name, args, nargs, kwnames);
    PyObject *given[2];
    if (pa_args_parse(self, &sig, args, nargs, kwnames, given) < 0)
        return NULL;
    pa_future *f = pa_future_get(self);
    if (f == NULL)
        return NULL;
    if (f->loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "uninitialized Future object");
        return NULL;
    }
    PyObject *context = given[1] != NULL ? Py_NewRef(given[1]) : PyContext_CopyCurrent();
    if (context == NULL)
        return NULL;
    int rc = f->state == PA_FUTURE_PENDING ? pa_callbacks_append(f, args[0], context) : pa_future_call_soon(f, args[0], self, context);
    Py_DECREF(context);
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(future_remove_done_callback_doc, "remove_done_callback($self, fn, /)\n--\n\n"
             "Remove every callback that equals fn and return how many there were.");
static PyObject *future_remove_done_callback(PyObject *self, PyObject *fn)
{
    pa_future *f = pa_future_get_alive(self);
    Py_ssize_t removed = f != NULL ? pa_callbacks_remove(f, fn) : -1;
    return removed < 0 ? NULL : PyLong_FromSsize_t(removed);
}

PyDoc_STRVAR(future_cancel_doc, "cancel($self, /, msg=None)\n--\n\n"
             "Cancel the future and schedule its callbacks.\n\nReturn False if it is done already, True otherwise.");
static PyObject *future_cancel(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"msg", NULL};
    static const pa_signature sig = {"cancel", names, 1, 0};
    PyObject *given[1];
    pa_future *f = pa_args_parse(self, &sig, args, nargs, kwnames, given) == 0 ? pa_future_get_alive(self) : NULL;
    if (f == NULL)
        return NULL;
    int rc = pa_future_do_cancel(self, f, given[0] != NULL ? given[0] : Py_None);
    return rc < 0 ? NULL : PyBool_FromLong(rc);
}

PyDoc_STRVAR(future_cancelled_doc, "cancelled($self, /)\n--\n\nReturn True if the future was cancelled.");
static PyObject *future_cancelled(PyObject *self, PyObject *unused)
{
    pa_future *f = pa_future_get(self);
    return f != NULL ? PyBool_FromLong(f->state == PA_FUTURE_CANCELLED) : NULL;
}

PyDoc_STRVAR(future_done_doc, "done($self, /)\n--\n\nReturn True if the future has a result or an exception or was cancelled.");
static PyObject *future_done(PyObject *self, PyObject *unused)
{
    pa_future *f = pa_future_get(self);
    return f != NULL ? PyBool_FromLong(f->state != PA_FUTURE_PENDING) : NULL;
}

PyDoc_STRVAR(future_get_loop_doc, "get_loop($self, /)\n--\n\nReturn the event loop the future belongs to.");
static PyObject *future_get_loop(PyObject *self, PyObject *unused)
{
    pa_future *f = pa_future_get_alive(self);
    return f != NULL ? Py_NewRef(f->loop) : NULL;
}

PyDoc_STRVAR(future_make_cancelled_error_doc, "_make_cancelled_error($self, /)\n--\n\n"
             "Create the CancelledError to raise if the future is cancelled.\n\nA saved one is handed out once.");
static PyObject *future_make_cancelled_error(PyObject *self, PyObject *unused)
{
    pa_future *f = pa_future_get(self);
    return f != NULL ? pa_future_cancelled_error(f) : NULL;
}

PyObject *pa_future_repr(PyObject *self)
{
    pa_future *f = pa_future_get_alive(self);
    return f != NULL ? PyObject_CallOneArg(f->st->future_repr, self) : NULL;
}

/* ---- Attributes ---- */

static PyObject *or_none(PyObject *obj) { return Py_NewRef(obj != NULL ? obj : Py_None); }

static PyObject *get_state(PyObject *self, void *unused)
{
    pa_future *f = pa_future_get_alive(self);
    if (f == NULL)
        return NULL;
    return Py_NewRef(f->state == PA_FUTURE_PENDING     ? f->st->names.PENDING
                     : f->state == PA_FUTURE_CANCELLED ? f->st->names.CANCELLED
                                                       : f->st->names.FINISHED);
}

static PyObject *get_blocking(PyObject *self, void *unused)
{
    pa_future *f = pa_future_get(self);
    return f != NULL ? PyBool_FromLong(f->blocking) : NULL;
}

static int set_blocking(PyObject *self, PyObject *value, void *unused)
{
    pa_future *f = pa_future_get_alive(self);
    if (f == NULL)
        return -1;
    if (value == NULL)
        return pa_err_cannot_delete(self, "_asyncio_future_blocking");
    int truth = PyObject_IsTrue(value);
    if (truth < 0)
        return -1;
    f->blocking = (uint8_t)truth;
    return 0;
}

static PyObject *get_loop(PyObject *self, void *unused)
{
    pa_future *f = pa_future_get(self);
    return f != NULL ? Py_NewRef(f->loop != NULL ? f->loop : Py_None) : NULL;
}

static PyObject *get_callbacks(PyObject *self, void *unused)
{
    pa_future *f = pa_future_get_alive(self);
    return f != NULL ? pa_callbacks_list(f) : NULL;
}

/* `value` where it is what `failed` says, else None. */
static PyObject *get_value(PyObject *self, int failed)
{
    pa_future *f = pa_future_get_alive(self);
    return f != NULL ? Py_NewRef(f->value != NULL && f->failed == failed ? f->value : Py_None) : NULL;
}

static PyObject *get_result(PyObject *self, void *unused) { return get_value(self, 0); }

static PyObject *get_exception(PyObject *self, void *unused) { return get_value(self, 1); }

static PyObject *get_source_traceback(PyObject *self, void *unused)
{
    pa_future *f = pa_future_get(self);
    return f != NULL ? or_none(PA_FUTURE_RARE(f, source_tb)) : NULL;
}

static PyObject *get_cancel_message(PyObject *self, void *unused)
{
    pa_future *f = pa_future_get(self);
    return f != NULL ? pa_future_cancel_msg(f) : NULL;
}

static int set_cancel_message(PyObject *self, PyObject *value, void *unused)
{
    pa_future *f = pa_future_get(self);
    if (f == NULL)
        return -1;
    if (value == NULL)
        return pa_err_cannot_delete(self, "_cancel_message");
    return pa_future_set_cancel_msg(f, value);
}

static PyObject *get_log_traceback(PyObject *self, void *unused)
{
    pa_future *f = pa_future_get_alive(self);
    return f != NULL ? PyBool_FromLong(f->log_tb) : NULL;
}

static int set_log_traceback(PyObject *self, PyObject *value, void *unused)
{
    pa_future *f = pa_future_get(self);
    if (f == NULL)
        return -1;
    if (value == NULL)
        return pa_err_cannot_delete(self, "_log_traceback");
    int truth = PyObject_IsTrue(value);
    if (truth < 0)
        return -1;
    if (truth) {
        PyErr_SetString(PyExc_ValueError, "_log_traceback can only be set to False");
        return -1;
    }
    f->log_tb = 0;
    return 0;
}

#if PA_HAS_CALL_GRAPH
/* Who awaits this: what asyncio noted in the base's field, and the native tasks in the callback list. None as long as nobody ever did. */
static PyObject *get_awaited_by(PyObject *self, void *unused)
{
    pa_future *f = pa_future_get(self);
    if (f == NULL)
        return NULL;
    descrgetfunc get = Py_TYPE(f->st->base_awaited_by)->tp_descr_get;
    PyObject *noted = get(f->st->base_awaited_by, self, (PyObject *)Py_TYPE(self));
    if (noted == NULL)
        return NULL;
    if (noted == Py_None && !f->was_awaited)
        return noted;
    PyObject *result = NULL, *set = PySet_New(noted == Py_None ? NULL : noted);
    Py_DECREF(noted);
    if (set != NULL && pa_callbacks_tasks(f, set) == 0)
        result = PyFrozenSet_New(set);
    Py_XDECREF(set);
    return result;
}
#endif

/* ---- Tables ---- */

/* Those whose asyncio's are not of METH_NOARGS or METH_O, on some version. */
PA_NO_ARGS(future_exception, exception)
PA_NO_ARGS(future_get_loop, get_loop)
PA_ONE_ARG(future_set_result, set_result)
PA_ONE_ARG(future_set_exception, set_exception)
PA_ONE_ARG(future_remove_done_callback, remove_done_callback)

PyMethodDef pa_future_methods[] = {
    {"result", future_result, METH_NOARGS, future_result_doc},
    {"exception", PA_NO_ARGS_METHOD(future_exception, exception), future_exception_doc},
    {"set_result", PA_ONE_ARG_METHOD(future_set_result, set_result), future_set_result_doc},
    {"set_exception", PA_ONE_ARG_METHOD(future_set_exception, set_exception), future_set_exception_doc},
    {"add_done_callback", PA_WITH_KEYWORDS(future_add_done_callback),
     future_add_done_callback_doc},
    {"remove_done_callback", PA_ONE_ARG_METHOD(future_remove_done_callback, remove_done_callback), future_remove_done_callback_doc},
    {"cancel", PA_WITH_KEYWORDS(future_cancel), future_cancel_doc},
    {"cancelled", future_cancelled, METH_NOARGS, future_cancelled_doc},
    {"done", future_done, METH_NOARGS, future_done_doc},
    {"get_loop", PA_NO_ARGS_METHOD(future_get_loop, get_loop), future_get_loop_doc},
    {"_make_cancelled_error", future_make_cancelled_error, METH_NOARGS, future_make_cancelled_error_doc},
    {NULL, NULL, 0, NULL},
};

PyGetSetDef pa_future_getset[] = {
    {"_state", get_state, NULL, NULL, NULL},
    {"_asyncio_future_blocking", get_blocking, set_blocking, NULL, NULL},
    {"_loop", get_loop, NULL, NULL, NULL},
    {"_callbacks", get_callbacks, NULL, NULL, NULL},
    {"_result", get_result, NULL, NULL, NULL},
    {"_exception", get_exception, NULL, NULL, NULL},
    {"_source_traceback", get_source_traceback, NULL, NULL, NULL},
    {"_cancel_message", get_cancel_message, set_cancel_message, NULL, NULL},
    {"_log_traceback", get_log_traceback, set_log_traceback, NULL, NULL},
#if PA_HAS_CALL_GRAPH
    {"_asyncio_awaited_by", get_awaited_by, NULL, NULL, NULL},
#endif
    {NULL, NULL, NULL, NULL, NULL},
};
