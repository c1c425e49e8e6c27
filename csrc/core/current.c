/* Which task runs on a loop, as asyncio.current_task() and stdlib tasks see it.
 *
 * Until 3.13 that is an entry loop -> task in the dict _asyncio._current_tasks; from 3.14 on CPython keeps it in the thread state, where
 * only the running loop may have one. Setting and deleting it around every step would cost more than many steps do. So after a step on
 * a native loop the entry is left as it is, "stale", and the next step only overwrites it. Before anything foreign runs (a stdlib task
 * refuses to start while another is current, and current_task() must answer None in callbacks) the loop calls pa_current_flush, which
 * deletes it.
 *
 * `current` in the loop's struct is the task of such a stale entry, and NULL while there is none. It outlives a tick only if the next
 * one follows without any foreign code in between.
 */
#include "core/loop_impl.h"
#include "rt/dict_slot.h"

static int call_asyncio(PyObject *function, PyObject *loop, PyObject *task)
{
    PyObject *args[] = {NULL, loop, task};
    PyObject *result = PyObject_Vectorcall(function, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    if (result == NULL)
        return -1;
    Py_DECREF(result);
    return 0;
}

#if PA_HAS_SWAP_CURRENT_TASK

static int enter(pa_state *st, PyObject *loop, PyObject *task) { return call_asyncio(st->enter_task, loop, task); }

/* New reference to the task that was current (NULL: none) in *previous; task NULL: none from now on. */
static int exchange(pa_state *st, PyObject *loop, PyObject *task, PyObject **previous)
{
    PyObject *args[] = {NULL, loop, task != NULL ? task : Py_None};
    PyObject *former = PyObject_Vectorcall(st->swap_current_task, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    if (former == NULL)
        return -1;
    if (former == Py_None)
        Py_CLEAR(former);
    *previous = former;
    return 0;
}

static int erase(pa_state *st, PyObject *loop)
{
    PyObject *former;
    if (exchange(st, loop, NULL, &former) < 0) {
        /* RuntimeError: it is not this thread's running loop any more, so its entry went with the run */
        if (!PyErr_ExceptionMatches(PyExc_RuntimeError))
            return -1;
        PyErr_Clear();
        return 0;
    }
    Py_XDECREF(former);
    return 0;
}

static int overwrite(pa_state *st, PyObject *loop, PyObject *task)
{
    PyObject *former;
    if (exchange(st, loop, task, &former) < 0)
        return -1;
    Py_XDECREF(former);
    return 0;
}

#else

static int erase(pa_state *st, PyObject *loop)
{
    if (PyDict_DelItem(st->current_tasks, loop) == 0)
        return 0;
    if (!PyErr_ExceptionMatches(PyExc_KeyError))
        return -1;
    PyErr_Clear();
    return 0;
}

static int overwrite(pa_state *st, PyObject *loop, PyObject *task) { return PyDict_SetItem(st->current_tasks, loop, task); }

static int exchange(pa_state *st, PyObject *loop, PyObject *task, PyObject **previous)
{
    if (pa_dict_get(st->current_tasks, loop, previous) < 0)
        return -1;
    if (*previous == Py_None)
        Py_CLEAR(*previous);
    int rc = task != NULL ? overwrite(st, loop, task) : erase(st, loop);
    if (rc < 0)
        Py_CLEAR(*previous);
    return rc;
}

/* _asyncio._enter_task, without the call. Not by PyDict_SetDefault: where it runs out of memory, 3.13.0 counts an entry that it did not
 * make, and a later garbage collection or resize of the dict crashes. */
static int enter(pa_state *st, PyObject *loop, PyObject *task)
{
    PyObject *current = NULL;
    if (PyDict_GET_SIZE(st->current_tasks) > 0 && pa_dict_get(st->current_tasks, loop, &current) < 0)
        return -1;
    int rc = -1;
    if (current == NULL || current == Py_None)
        rc = overwrite(st, loop, task);
    else
        PyErr_Format(PyExc_RuntimeError, "Cannot enter into task %R while another task %R is being executed.", task, current);
    Py_XDECREF(current);
    return rc;
}

#endif

/* overwrite() for every other step: at the place where the entry was found last time, if it still is there. */
static int replace(pa_state *st, pa_loop *loop, PyObject *task)
{
    PyObject **slot = PA_KNOWS_DICT_ENTRIES ? pa_dict_slot(st->current_tasks, (PyObject *)loop, &loop->current_hint) : NULL;
    if (slot == NULL)
        return overwrite(st, (PyObject *)loop, task);
    Py_SETREF(*slot, Py_NewRef(task));
    return 0;
}

static int is_stale(const pa_loop *loop) { return loop != NULL && loop->current != NULL; }

int pa_current_enter(pa_state *st, PyObject *loop, pa_loop *native, PyObject *task)
{
    /* Ours and the entry's: it ends now, and with it what it holds, and no task is current then. */
    if (is_stale(native) && Py_REFCNT(native->current) == 2 && pa_current_flush(native) < 0)
        return -1;
    if (!is_stale(native))
        return enter(st, loop, task);
    PyObject *stale = native->current;
    native->current = NULL;
    int rc = stale != task ? replace(st, native, task) : 0;
    Py_DECREF(stale);
    return rc;
}

int pa_current_leave(pa_state *st, PyObject *loop, pa_loop *native, PyObject *task)
{
    if (native != NULL) {
        Py_XSETREF(native->current, Py_NewRef(task));
        return 0;
    }
    PyObject *raised = pa_err_take();
    int rc = call_asyncio(st->leave_task, loop, task);
    if (raised == NULL)
        return rc;
    if (rc == 0) {
        pa_err_restore(raised);
        return 0;
    }
    PyObject *second = pa_err_take();
    PyException_SetContext(second, raised);
    pa_err_restore(second);
    return -1;
}

int pa_current_flush(pa_loop *loop)
{
    if (!is_stale(loop))
        return 0;
    Py_CLEAR(loop->current);
    PyObject *raised = pa_err_take();
    int rc = erase(loop->st, (PyObject *)loop);
    if (raised == NULL)
        return rc;
    if (rc < 0)
        PyErr_WriteUnraisable((PyObject *)loop);
    pa_err_restore(raised);
    return 0;
}

int pa_current_swap(pa_state *st, PyObject *loop, pa_loop *native, PyObject *task, PyObject **previous)
{
    *previous = NULL;
    if (is_stale(native) && pa_current_flush(native) < 0)
        return -1;
    return exchange(st, loop, task, previous);
}
