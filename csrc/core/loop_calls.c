/* See loop_calls.h. */
#include "core/loop_calls.h"
#include "core/loop_impl.h"
#include "core/task.h"

#include <math.h>

/* What a function that somebody has put in events._get_running_loop's place says (trio-asyncio does, whose loop never is the one that
 * runs as far as CPython knows). New; None where nobody has. */
static PyObject *running_by_patch(pa_state *st)
{
    PyObject *function = PyObject_GetAttr(st->events, st->names._get_running_loop);
    PyObject *loop = NULL;
    if (function != NULL)
        loop = function == st->get_running_loop ? Py_NewRef(Py_None) : PyObject_CallNoArgs(function);
    Py_XDECREF(function);
    return loop;
}

/* events._get_running_loop(), which is a C function that takes nothing: without the call's ado. */
static PyObject *ask_running(pa_state *st)
{
    PyObject *function = st->get_running_loop;
    if (PyCFunction_CheckExact(function) && PyCFunction_GET_FLAGS(function) == METH_NOARGS)
        return PyCFunction_GET_FUNCTION(function)(PyCFunction_GET_SELF(function), NULL);
    return PyObject_CallNoArgs(function);
}

int pa_calls_running(pa_state *st, PyObject **loop)
{
    *loop = ask_running(st);
    if (*loop == Py_None)        /* where a loop runs nobody is asked for another one */
        Py_SETREF(*loop, running_by_patch(st));
    if (*loop == NULL)
        return -1;
    if (*loop == Py_None)
        Py_CLEAR(*loop);
    return 0;
}

PyObject *pa_calls_need_running(pa_state *st)
{
    PyObject *loop;
    if (pa_calls_running(st, &loop) == 0 && loop == NULL)
        PyErr_SetString(PyExc_RuntimeError, "no running event loop");
    return loop;
}

int pa_calls_current_task(pa_state *st, PyObject *loop, PyObject **task)
{
    if (!PA_HAS_SWAP_CURRENT_TASK) {
        if (pa_dict_get(st->current_tasks, loop, task) < 0)
            return -1;
    } else if ((*task = PyObject_CallOneArg(st->current_task, loop)) == NULL) {
        return -1;
    }
    if (*task == Py_None)
        Py_CLEAR(*task);
    return 0;
}

/* Tasks in Python are in lists of their own from 3.14 on, so that whoever uses them puts the functions in Python into asyncio.tasks. */
int pa_calls_need_task(pa_state *st, PyObject *loop, PyObject **task)
{
    if (pa_calls_current_task(st, loop, task) < 0)
        return -1;
    if (*task != NULL)
        return 0;
    if ((*task = PyObject_CallMethodNoArgs(st->asyncio_tasks, st->names.current_task)) == NULL)
        return -1;
    if (*task == Py_None)
        Py_CLEAR(*task);
    return 0;
}

/* The loop, if it is ours and has its own methods where `bits` are, and is not in debug mode, which looks at every call. Borrowed. */
static pa_loop *plain(pa_state *st, PyObject *loop, unsigned bits)
{
    pa_loop *native = pa_loop_from(st, loop);
    return native != NULL && !native->debug && !(pa_loop_overrides(native) & bits) ? native : NULL;
}

PyObject *pa_calls_create_future(pa_state *st, PyObject *loop)
{
    pa_loop *native = plain(st, loop, PA_OVER_CREATE_FUTURE);
    return native != NULL ? pa_future_new(native) : PyObject_CallMethodNoArgs(loop, st->names.create_future);
}

/* The loop, if it makes tasks as we know it. */
static pa_loop *makes_tasks(pa_state *st, PyObject *loop)
{
    pa_loop *native = plain(st, loop, PA_OVER_CREATE_TASK | PA_OVER_OWN_CREATE_TASK | PA_OVER_SCHEDULING);
    return native != NULL && native->task_factory == NULL && !native->closed && !pa_loop_traces_tasks(st) ? native : NULL;
}

int pa_calls_takes_name(pa_state *st, PyObject *loop) { return makes_tasks(st, loop) != NULL; }

PyObject *pa_calls_create_task(pa_state *st, PyObject *loop, PyObject *coro)
{
    pa_loop *native = makes_tasks(st, loop);
    if (native != NULL)
        return pa_task_new(native, coro, NULL, NULL, 0);
    return PyObject_CallMethodOneArg(loop, st->names.create_task, coro);
}

double pa_calls_clock(void) { return (double)pa_sys_clock() / 1e9; }

PyObject *pa_calls_time_plus(pa_state *st, PyObject *loop, PyObject *delay)
{
    PyObject *now = plain(st, loop, PA_OVER_TIME) != NULL ? PyFloat_FromDouble(pa_calls_clock())
                                                            : PyObject_CallMethodNoArgs(loop, st->names.time);
    PyObject *when = now != NULL ? PyNumber_Add(now, delay) : NULL;
    Py_XDECREF(now);
    return when;
}

int pa_calls_is_over(PyObject *delay)
{
    if (PyFloat_CheckExact(delay))
        return PyFloat_AS_DOUBLE(delay) <= 0.0;
    if (PyLong_CheckExact(delay)) {
        int overflow;
        long whole = PyLong_AsLongAndOverflow(delay, &overflow);
        return overflow != 0 ? overflow < 0 : whole <= 0;
    }
    PyObject *zero = PyLong_FromLong(0);
    int rc = zero != NULL ? PyObject_RichCompareBool(delay, zero, Py_LE) : -1;
    Py_XDECREF(zero);
    return rc;
}

int pa_calls_is_due(pa_state *st, PyObject *loop, PyObject *when)
{
    if (PyFloat_CheckExact(when) && plain(st, loop, PA_OVER_TIME) != NULL)
        return PyFloat_AS_DOUBLE(when) <= pa_calls_clock();
    PyObject *now = PyObject_CallMethodNoArgs(loop, st->names.time);
    int due = now != NULL ? PyObject_RichCompareBool(when, now, Py_LE) : -1;
    Py_XDECREF(now);
    return due;
}

PyObject *pa_calls_soon(pa_state *st, PyObject *loop, PyObject *callback)
{
    return PyObject_CallMethodOneArg(loop, st->names.call_soon, callback);
}

/* A TimerHandle in the heap; steals `args`. New. */
static PyObject *add_timer(pa_loop *loop, PyObject *when_object, double when, PyObject *callback, PyObject *args)
{
    PyObject *timer = args != NULL ? pa_timer_new(loop, when_object, when, callback, args, NULL) : NULL;
    if (timer != NULL && pa_loop_schedule(loop, timer) < 0)
        Py_CLEAR(timer);
    Py_XDECREF(args);
    return timer;
}

PyObject *pa_calls_at(pa_state *st, PyObject *loop, PyObject *when, PyObject *callback)
{
    pa_loop *native = PyFloat_CheckExact(when) && !isnan(PyFloat_AS_DOUBLE(when))
                          ? plain(st, loop, PA_OVER_CALL_AT | PA_OVER_SCHEDULING) : NULL;
    if (native != NULL && !native->closed)
        return add_timer(native, when, PyFloat_AS_DOUBLE(when), callback, PyTuple_New(0));
    PyObject *args[] = {NULL, loop, when, callback};
    return PyObject_VectorcallMethod(st->names.call_at, args + 1, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
}

PyObject *pa_calls_later(pa_state *st, PyObject *loop, PyObject *delay, PyObject *callback, PyObject *first, PyObject *second)
{
    pa_loop *native = PyFloat_CheckExact(delay)
                          ? plain(st, loop, PA_OVER_CALL_LATER | PA_OVER_CALL_AT | PA_OVER_TIME | PA_OVER_SCHEDULING) : NULL;
    if (native != NULL && !native->closed && !isnan(PyFloat_AS_DOUBLE(delay)))
        return add_timer(native, NULL, pa_calls_clock() + PyFloat_AS_DOUBLE(delay), callback,
                         PyTuple_Pack(second != NULL ? 2 : first != NULL ? 1 : 0, first, second));
    PyObject *args[] = {NULL, loop, delay, callback, first, second};
    size_t nargs = second != NULL ? 5 : first != NULL ? 4 : 3;
    return PyObject_VectorcallMethod(st->names.call_later, args + 1, nargs | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
}

int pa_calls_cancel(pa_state *st, PyObject *handle)
{
    if (Py_TYPE(handle) == st->TimerHandle)
        return pa_timer_cancel(st, handle);
    PyObject *result = PyObject_CallMethodNoArgs(handle, st->names.cancel);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}
