/* What an operation waits for.
 *
 * A native future is handed to the task as FutureIter does it: its blocking flag set, the future returned. For anything else
 * the operation drives the iterator of `__await__` as the interpreter drives it in a coroutine. Either way `run` sees only the outcome.
 *
 * What cannot be awaited (no __await__, or one that raises) ends the wait before it began: `run` is told as of any other exception at the
 * wait, so that it undoes what it did for it.
 */
#include "sync/op_impl.h"
#include "core/future_impl.h"

/* Steals `waiter`. */
static PySendResult begin_wait(pa_op *op, PyObject *waiter, int waits_for)
{
    PyObject *before = op->waiter, *outcome = op->outcome;
    op->waiter = waiter;
    op->outcome = NULL;
    op->waits_for = (uint8_t)waits_for;
    Py_XDECREF(before);
    Py_XDECREF(outcome);
    return PYGEN_NEXT;
}

/* Whether the interpreter awaits `obj` itself: a coroutine, or a generator that types.coroutine() made one. 1, 0 or -1. */
static int is_coroutine(pa_op *op, PyObject *obj)
{
    if (PyCoro_CheckExact(obj))
        return 1;
    if (!PyGen_CheckExact(obj))
        return 0;
    PyObject *code = PyObject_GetAttr(obj, op->st->names.gi_code);
    if (code == NULL)
        return -1;
    int answer = PyCode_Check(code) && (((PyCodeObject *)code)->co_flags & CO_ITERABLE_COROUTINE);
    Py_DECREF(code);
    return answer;
}

/* A coroutine that somebody awaits already. 0, or -1 with RuntimeError. */
static int check_not_awaited(pa_op *op, PyObject *coro)
{
    if (!PyCoro_CheckExact(coro))
        return 0;
    const PyGetSetDef *cr_await = op->st->cr_await; /* without looking it up by its name */
    PyObject *inner = cr_await->get(coro, cr_await->closure);
    int free = inner == Py_None;
    Py_XDECREF(inner);
    if (inner != NULL && !free)
        PyErr_SetString(PyExc_RuntimeError, "coroutine is being awaited already");
    return free ? 0 : -1;
}

/* What the interpreter would iterate over for `await obj`. New. */
static PyObject *await_iterator(pa_op *op, PyObject *obj)
{
    int itself = is_coroutine(op, obj);
    if (itself != 0)
        return itself > 0 && check_not_awaited(op, obj) == 0 ? Py_NewRef(obj) : NULL;
    PyAsyncMethods *async = Py_TYPE(obj)->tp_as_async;
    if (async == NULL || async->am_await == NULL) {
        pa_err_cannot_await(obj);
        return NULL;
    }
    PyObject *iterator = async->am_await(obj);
    if (iterator == NULL)
        return NULL;
    itself = is_coroutine(op, iterator);
    if (itself == 0 && PyIter_Check(iterator))
        return iterator;
    if (itself >= 0)
        pa_err_bad_await(obj, iterator, itself);
    Py_DECREF(iterator);
    return NULL;
}

PySendResult pa_op_await(pa_op *op, PyObject *awaitable)
{
    if (pa_future_is_exact(awaitable))
        return pa_op_wait(op, awaitable);
    PyObject *iterator = await_iterator(op, awaitable);
    return iterator != NULL ? begin_wait(op, iterator, PA_OP_ITERATOR) : begin_wait(op, pa_err_take(), PA_OP_ERROR);
}

PySendResult pa_op_wait(pa_op *op, PyObject *future)
{
    if (!pa_future_is_exact(future))
        return pa_op_await(op, future);
    return begin_wait(op, Py_NewRef(future), PA_OP_FUTURE);
}

/* The waiter is None then, and the outcome NULL until it was yielded. */
PySendResult pa_op_yield(pa_op *op) { return begin_wait(op, Py_NewRef(Py_None), PA_OP_FUTURE); }

PyObject *pa_op_outcome(pa_op *op)
{
    if (op->waiter == Py_None)
        return Py_NewRef(Py_None);
    if (op->waits_for == PA_OP_ITERATOR)
        return Py_NewRef(op->outcome);
    PyObject *value;
    int rc = pa_future_fetch(pa_future_find(op->waiter), &value);
    if (rc <= 0)
        return rc < 0 ? NULL : value;
    pa_err_restore(value);
    return NULL;
}

PySendResult pa_op_raise(PyObject *thrown)
{
    pa_err_restore(Py_NewRef(thrown));
    return PYGEN_ERROR;
}

static PyObject *stop_value(PyObject *stop)
{
    PyObject *value = ((PyStopIterationObject *)stop)->value;
    return Py_NewRef(value != NULL ? value : Py_None);
}

/* One look at the future it waits for. PYGEN_NEXT: *yielded (new) is for the task; PYGEN_RETURN: the wait is over, with *exc (owned; set
 * by the caller if it was thrown in) or well. */
static PySendResult look_at_future(pa_op *op, PyObject **exc, PyObject **yielded)
{
    if (op->waiter == Py_None) {
        if (*exc != NULL || op->outcome != NULL)
            return PYGEN_RETURN;
        op->outcome = Py_NewRef(Py_None);
        *yielded = Py_NewRef(Py_None);
        return PYGEN_NEXT;
    }
    if (*exc != NULL) {
        if (PyErr_GivenExceptionMatches(*exc, PyExc_StopIteration)) { /* the iterator of a future would raise it: that is a result */
            op->outcome = stop_value(*exc);
            op->waits_for = PA_OP_ITERATOR;
            Py_CLEAR(*exc);
        }
        return PYGEN_RETURN;
    }
    pa_future *f = pa_future_find(op->waiter);
    if (f->state != PA_FUTURE_PENDING) {
        PyObject *value = NULL;
        if (f->state == PA_FUTURE_CANCELLED || f->failed) {
            int rc = pa_future_fetch(f, &value);
            *exc = rc > 0 ? value : pa_err_take();
        }
        return PYGEN_RETURN;
    }
    if (!f->blocking) {
        f->blocking = 1;
        *yielded = Py_NewRef(op->waiter);
        return PYGEN_NEXT;
    }
    PyErr_SetString(PyExc_RuntimeError, f->loop != NULL ? "await wasn't used with future" : "Future object is not initialized.");
    *exc = pa_err_take();
    return PYGEN_RETURN;
}

/* The iterator's throw(*exc), or its close() for a GeneratorExit. Takes *exc, unless it has no throw. */
static PySendResult throw_into_iterator(pa_op *op, PyObject **exc, PyObject **value)
{
    PyObject *method, *iterator = op->waiter;
    int leaves = PyErr_GivenExceptionMatches(*exc, PyExc_GeneratorExit);
    int found = pa_getattr_optional(iterator, leaves ? op->st->names.close : op->st->names.throw, &method);
    if (found < 0 && leaves) { /* as the interpreter does it */
        PyErr_WriteUnraisable(iterator);
        found = 0;
    }
    if (found == 0)
        return PYGEN_RETURN; /* raised here */
    if (found < 0) {
        Py_CLEAR(*exc);
        return PYGEN_ERROR;
    }
    if (leaves) {
        *value = PyObject_CallNoArgs(method);
        Py_DECREF(method);
        if (*value != NULL) {
            Py_CLEAR(*value);
            return PYGEN_RETURN;
        }
        Py_CLEAR(*exc);
        return PYGEN_ERROR;
    }
    PyObject *thrown = *exc;
    *exc = NULL;
    *value = PyObject_CallOneArg(method, thrown);
    Py_DECREF(thrown);
    Py_DECREF(method);
    if (*value != NULL)
        return PYGEN_NEXT;
    if (!PyErr_ExceptionMatches(PyExc_StopIteration))
        return PYGEN_ERROR;
    PyObject *stop = pa_err_take();
    *value = stop_value(stop);
    Py_DECREF(stop);
    return PYGEN_RETURN;
}

static PySendResult enter_iterator(pa_op *op, PyObject *sent, PyObject **exc, PyObject **value)
{
    if (*exc != NULL)
        return throw_into_iterator(op, exc, value);
    return PyIter_Send(op->waiter, sent, value);
}

/* The same for an iterator, which gets what is sent or thrown. */
static PySendResult drive_iterator(pa_op *op, PyObject *sent, PyObject **exc, PyObject **yielded)
{
    PyObject *value = NULL;
    PySendResult how = PYGEN_ERROR;
    if (PyCoro_CheckExact(op->waiter)) { /* whose frame counts as a recursion */
        how = enter_iterator(op, sent, exc, &value);
    } else if (Py_EnterRecursiveCall(" while calling a Python object") == 0) {
        how = enter_iterator(op, sent, exc, &value);
        Py_LeaveRecursiveCall();
    } else {
        Py_CLEAR(*exc);
    }
    if (how == PYGEN_NEXT)
        *yielded = value;
    else if (how == PYGEN_ERROR)
        *exc = pa_err_take();
    else if (*exc == NULL)
        op->outcome = value;
    if (PA_AWAIT_TAKES_STOP && *exc != NULL && PyErr_GivenExceptionMatches(*exc, PyExc_StopIteration)) {
        op->outcome = stop_value(*exc);
        Py_CLEAR(*exc);
    }
    return how == PYGEN_NEXT ? PYGEN_NEXT : PYGEN_RETURN;
}

PySendResult pa_op_go_on_waiting(pa_op *op, PyObject *sent, PyObject **exc, PyObject **yielded)
{
    if (op->waits_for == PA_OP_FUTURE)
        return look_at_future(op, exc, yielded);
    if (op->waits_for == PA_OP_ITERATOR)
        return drive_iterator(op, sent, exc, yielded);
    *exc = op->waiter;
    op->waiter = NULL;
    return PYGEN_RETURN;
}
