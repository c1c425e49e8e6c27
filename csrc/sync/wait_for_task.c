/* wait_for() as it is on 3.11: a coroutine runs in a task of its own, whose end, or the time-out, resolves a future that is awaited. When
 * the time is over or the caller is cancelled, the task is cancelled and its end awaited, however long that takes.
 *
 * As in asyncio a caller that is cancelled when the task is done already gets its result all the same: the cancellation is lost.
 */
#include "sync/wait_for.h"
#include "sync/ensure.h"
#include "sync/wait.h"
#include "core/future_any.h"
#include "core/loop_calls.h"

/* op->step. op->self: the future, op->a: its callback, op->b: the timer's handle; none of them before it waits. op->c: the CancelledError
 * that ended the wait. At the start op->a is what shall be awaited, op->b the time-out. */
enum { START, UNLIMITED, WAITING, CANCELLED, TIMED_OUT };

/* The wait is over. Keeps what is raised now; if nothing is, *result (owned) goes to the caller. */
static PySendResult leave(pa_op *op, PyObject *value, PyObject **result)
{
    PyObject *raised = value == NULL ? pa_err_take() : NULL;
    if (op->b != NULL && pa_calls_cancel(op->st, op->b) < 0) {
        Py_XDECREF(raised);
        Py_XDECREF(value);
        return PYGEN_ERROR;
    }
    if (value == NULL) {
        pa_err_restore(raised);
        return PYGEN_ERROR;
    }
    *result = value;
    return PYGEN_RETURN;
}

/* What is raised now was raised while `handled` was being handled. */
static void chain_to(PyObject *handled)
{
    PyObject *raised = pa_err_take(), *before = PyErr_GetHandledException();
    PyErr_SetHandledException(handled);
    PyErr_SetObject((PyObject *)Py_TYPE(raised), raised);
    PyErr_SetHandledException(before);
    Py_XDECREF(before);
    Py_DECREF(raised);
}

/* fut.result(), where a CancelledError means that the time is over. New, or NULL. */
static PyObject *result_in_time(pa_op *op)
{
    PyObject *value = pa_any_result(op->st, op->self);
    if (value != NULL || !PyErr_ExceptionMatches(op->st->CancelledError))
        return value;
    PyObject *cancelled = pa_err_take(), *error = PyObject_CallNoArgs(PyExc_TimeoutError);
    if (error != NULL) {
        PyException_SetCause(error, Py_NewRef(cancelled));
        PyException_SetContext(error, Py_NewRef(cancelled));
        pa_err_restore(error);
    }
    Py_DECREF(cancelled);
    return NULL;
}

/* Makes the future's end release a new one, and waits for that. With `cancel` it is cancelled in between. */
static PySendResult wait_for_end(pa_op *op, PyObject *waiter, int cancel)
{
    pa_state *st = op->st;
    PyObject *observer = (PyObject *)pa_releaser_new(st, waiter);
    if (observer == NULL)
        return PYGEN_ERROR;
    Py_XSETREF(op->a, observer);
    if (pa_any_add_callback(st, op->self, observer) < 0)
        return PYGEN_ERROR;
    if (cancel && pa_any_cancel(st, op->self, NULL) < 0) {
        PyObject *raised = pa_err_take();
        if (pa_any_remove_callback(st, op->self, op->a) < 0)
            Py_XDECREF(raised);
        else
            pa_err_restore(raised);
        return PYGEN_ERROR;
    }
    return pa_op_wait(op, waiter);
}

/* asyncio's _cancel_and_wait(); `step` is what comes after. */
static PySendResult cancel_and_wait(pa_op *op, int step)
{
    PyObject *loop = pa_calls_need_running(op->st), *waiter = loop != NULL ? pa_calls_create_future(op->st, loop) : NULL;
    op->step = step;
    PySendResult how = waiter != NULL ? wait_for_end(op, waiter, 1) : PYGEN_ERROR;
    Py_XDECREF(waiter);
    Py_XDECREF(loop);
    return how;
}

/* There is no time at all: only what is done already has a result. op->self is the future. */
static PySendResult begin_too_late(pa_op *op, PyObject **result)
{
    int done = pa_any_done(op->st, op->self);
    if (done == 0)
        return cancel_and_wait(op, TIMED_OUT);
    *result = done > 0 ? pa_any_result(op->st, op->self) : NULL;
    return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
}

/* `timeout`: how long. op->a is what shall be awaited. */
static PySendResult begin_in_time(pa_op *op, PyObject *loop, PyObject *timeout)
{
    pa_state *st = op->st;
    PyObject *waiter = pa_calls_create_future(st, loop);
    PySendResult how = PYGEN_ERROR;
    if (waiter != NULL && (op->b = pa_release_later(st, loop, timeout, waiter)) != NULL &&
        (op->self = pa_ensure_future(st, op->a, loop)) != NULL) {
        op->step = WAITING;
        how = wait_for_end(op, waiter, 0);
    }
    Py_XDECREF(waiter);
    return how;
}

static PySendResult start(pa_op *op, PyObject **result)
{
    PyObject *loop = pa_calls_need_running(op->st), *timeout = op->b;
    if (loop == NULL)
        return PYGEN_ERROR;
    PySendResult how = PYGEN_ERROR;
    if (timeout == Py_None) {
        op->step = UNLIMITED;
        how = pa_op_await(op, op->a);
    } else {
        int at_once = pa_calls_is_over(timeout);
        op->b = NULL;
        if (at_once == 0)
            how = begin_in_time(op, loop, timeout);
        else if (at_once > 0 && (op->self = pa_ensure_future(op->st, op->a, loop)) != NULL)
            how = begin_too_late(op, result);
        Py_DECREF(timeout);
    }
    Py_DECREF(loop);
    return how;
}

/* The future is done or the time is over; or the caller is cancelled, with `thrown`. */
static PySendResult end_wait(pa_op *op, PyObject *thrown, PyObject **result)
{
    int done = pa_any_done(op->st, op->self);
    PySendResult how = PYGEN_ERROR;
    if (done > 0) {
        PyObject *value = pa_any_result(op->st, op->self);
        if (value == NULL && thrown != NULL)
            chain_to(thrown);
        return leave(op, value, result);
    }
    if (done == 0 && pa_any_remove_callback(op->st, op->self, op->a) == 0) {
        Py_XSETREF(op->c, Py_XNewRef(thrown));
        how = cancel_and_wait(op, thrown != NULL ? CANCELLED : TIMED_OUT);
    }
    if (how == PYGEN_ERROR && thrown != NULL)
        chain_to(thrown);
    return how == PYGEN_ERROR ? leave(op, NULL, result) : how;
}

/* The future has ended after its cancellation, or the wait for that was given up. */
static PySendResult end_cancelled(pa_op *op, PyObject *thrown, PyObject **result)
{
    PyObject *value = NULL;
    if (pa_any_remove_callback(op->st, op->self, op->a) < 0)
        return leave(op, NULL, result);
    if (thrown != NULL) {
        (void)pa_op_raise(thrown);
        if (op->step == CANCELLED)
            chain_to(op->c);
    } else if (op->step == CANCELLED) {
        (void)pa_op_raise(op->c);
    } else {
        value = result_in_time(op);
    }
    return leave(op, value, result);
}

PySendResult pa_wait_for_task_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    switch (op->step) {
    case START:
        return start(op, result);
    case UNLIMITED:
        if (thrown != NULL)
            return pa_op_raise(thrown);
        *result = pa_op_outcome(op);
        return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
    case WAITING:
        if (thrown == NULL || PyErr_GivenExceptionMatches(thrown, op->st->CancelledError))
            return end_wait(op, thrown, result);
        (void)pa_op_raise(thrown);
        return leave(op, NULL, result);
    default:
        return end_cancelled(op, thrown, result);
    }
}
