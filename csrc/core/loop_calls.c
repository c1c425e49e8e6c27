/* See loop_calls.h. */
#include "core/loop_calls.h"

int pa_calls_running(pa_state *st, PyObject **loop)
{
    *loop = PyObject_CallNoArgs(st->get_running_loop);
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

PyObject *pa_calls_create_future(pa_state *st, PyObject *loop) { return PyObject_CallMethodNoArgs(loop, st->names.create_future); }

PyObject *pa_calls_create_task(pa_state *st, PyObject *loop, PyObject *coro)
{
    return PyObject_CallMethodOneArg(loop, st->names.create_task, coro);
}

PyObject *pa_calls_soon(pa_state *st, PyObject *loop, PyObject *callback)
{
    return PyObject_CallMethodOneArg(loop, st->names.call_soon, callback);
}

PyObject *pa_calls_at(pa_state *st, PyObject *loop, PyObject *when, PyObject *callback)
{
    PyObject *args[] = {loop, when, callback};
    return PyObject_VectorcallMethod(st->names.call_at, args, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
}

PyObject *pa_calls_later(pa_state *st, PyObject *loop, PyObject *delay, PyObject *callback, PyObject *first, PyObject *second)
{
    PyObject *args[] = {loop, delay, callback, first, second};
    return PyObject_VectorcallMethod(st->names.call_later, args, (second != NULL ? 5 : 4) | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
}

int pa_calls_cancel(pa_state *st, PyObject *handle)
{
    PyObject *result = PyObject_CallMethodNoArgs(handle, st->names.cancel);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}
