/* TaskGroup.create_task(): makes the task as the running asyncio does, and takes it into the group. See taskgroup.c. */
#include "sync/taskgroup_impl.h"
#include "core/future_any.h"
#include "core/loop_calls.h"
#include "rt/args.h"
#include "rt/call.h"

/* RuntimeError where the group takes no tasks; the coroutine will not run then. */
static int check_open(pa_group *g, PyObject *coro)
{
    const char *why = NULL;
    int some = g->entered && g->exiting ? pa_group_has_tasks(g) : 1;
    if (some < 0)
        return -1;
    if (!g->entered)
        why = "has not been entered";
    else if (!some)
        why = "is finished";
    else if (g->aborting)
        why = "is shutting down";
    if (why == NULL)
        return 0;
    if (PA_HAS_TRAIT(g->st, group_closes_refused) && pa_call_nothing(PyObject_CallMethodNoArgs(coro, g->st->names.close)) < 0)
        return -1;
    PyErr_Format(PyExc_RuntimeError, "TaskGroup %R %s", g, why);
    return -1;
}

/* self._tasks.add(task) */
static int add_task(pa_group *g, PyObject *task)
{
    PyObject *tasks = pa_group_own(g->tasks);
    int rc = PySet_CheckExact(tasks) ? PySet_Add(tasks, task) : pa_call_nothing(PyObject_CallMethod(tasks, "add", "O", task));
    Py_DECREF(tasks);
    return rc;
}

/* task.add_done_callback(self._on_task_done) */
static int observe_task(pa_group *g, PyObject *task)
{
    PyObject *callback = pa_group_callback(g);
    int rc = callback != NULL ? pa_any_add_callback(g->st, task, callback) : -1;
    Py_XDECREF(callback);
    return rc;
}

/* It belongs to the group from now on. */
static int adopt(pa_group *g, PyObject *task)
{
    pa_state *st = g->st;
    int done = PA_HAS_TRAIT(st, group_takes_done_at_once) ? pa_any_done(st, task) : 0;
    if (done < 0)
        return -1;
    PyObject *parent = Py_XNewRef(g->parent);
    int rc = pa_any_add_awaited_by(st, task, parent);
    Py_XDECREF(parent);
    if (rc < 0)
        return -1;
    if (done)
        return pa_group_has_own_methods(g) ? pa_group_task_done(g, task)
                                           : pa_call_nothing(PyObject_CallMethodOneArg((PyObject *)g, st->names._on_task_done, task));
    /* until 3.11 in the other order, which shows where one of them fails */
    rc = PA_HAS_EAGER_TASKS ? add_task(g, task) : observe_task(g, task);
    if (rc == 0)
        rc = PA_HAS_EAGER_TASKS ? observe_task(g, task) : add_task(g, task);
    if (rc < 0 || !g->aborting || !PA_HAS_TRAIT(st, group_cancels_late))
        return rc;
    /* an eager task ended the group before it was in it */
    done = pa_any_done(st, task);
    return done != 0 ? (done < 0 ? -1 : 0) : pa_any_cancel(st, task, NULL) < 0 ? -1 : 0;
}

/* Until 3.13 the arguments are named: out[0] the coroutine, [1] name, [2] context; what loop.create_task gets of them. New. */
static PyObject *make_named(pa_group *g, PyObject *const *given)
{
    pa_state *st = g->st;
    PyObject *loop = pa_group_own(g->loop), *task = NULL, *name = given[1] != NULL ? given[1] : Py_None;
    PyObject *args[] = {NULL, loop, given[0], name, given[2]};
    PyObject *keywords = NULL;
    int named = PA_HAS_TRAIT(st, group_passes_name), context = given[2] != NULL && given[2] != Py_None;
    if (!named)
        args[3] = given[2];
    if (named && context)
        keywords = PyTuple_Pack(2, st->names.name, st->names.context);
    else
        keywords = named ? PyTuple_Pack(1, st->names.name) : context ? Py_NewRef(st->kw_context) : PyTuple_New(0);
    if (keywords != NULL)
        task = PyObject_VectorcallMethod(st->names.create_task, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, keywords);
    if (task != NULL && !named && name != Py_None && pa_call_nothing(PyObject_CallMethodOneArg(task, st->names.set_name, name)) < 0)
        Py_CLEAR(task);
    Py_XDECREF(keywords);
    Py_DECREF(loop);
    return task;
}

/* From 3.14 on whatever is named goes to loop.create_task. `args`: the coroutine, then the values. New. */
static PyObject *make_with_all(pa_group *g, PyObject *coro, PyObject *const *values, PyObject *kwnames)
{
    Py_ssize_t n = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    PyObject *few[8], **args = n + 2 <= 8 ? few : PyMem_Malloc((size_t)(n + 2) * sizeof(*args));
    if (args == NULL)
        return PyErr_NoMemory();
    args[0] = pa_group_own(g->loop);
    args[1] = coro;
    for (Py_ssize_t i = 0; i < n; i++)
        args[i + 2] = values[i];
    PyObject *task = PyObject_VectorcallMethod(g->st->names.create_task, args, 2, kwnames);
    Py_DECREF(args[0]);
    if (args != few)
        PyMem_Free(args);
    return task;
}

static PyObject *finish_create(pa_group *g, PyObject *task)
{
    if (task != NULL && adopt(g, task) < 0)
        Py_CLEAR(task);
    return task;
}

/* Only a coroutine. New. */
static PyObject *make_alone(pa_group *g, PyObject *coro)
{
    PyObject *loop = pa_group_own(g->loop), *task = pa_calls_create_task(g->st, loop, coro);
    Py_DECREF(loop);
    return task;
}

PyObject *pa_group_create_task(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"coro", "name", "context", NULL};
    static const pa_signature sig = {"create_task", names, 1, 1};
    pa_group *g = (pa_group *)self;
    PyObject *given[3];
    if (pa_args_parse(self, &sig, args, nargs, kwnames, given) < 0 || check_open(g, given[0]) < 0)
        return NULL;
    int alone = nargs == 1 && kwnames == NULL;
    if (alone && PA_HAS_TRAIT(g->st, group_passes_name))
        alone = g->loop != NULL && pa_calls_takes_name(g->st, g->loop);
    return finish_create(g, alone ? make_alone(g, given[0]) : make_named(g, given));
}

PyObject *pa_group_create_task_with_all(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    pa_group *g = (pa_group *)self;
    if (nargs == 1 && kwnames == NULL)
        return check_open(g, args[0]) < 0 ? NULL : finish_create(g, make_alone(g, args[0]));
    /* coro by name, alone or among others: rare enough to be taken out of a dict */
    Py_ssize_t at = -1, n = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    for (Py_ssize_t i = 0; i < n; i++)
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, i), "coro") == 0)
            at = i;
    if (nargs + (at >= 0) != 1)
        return pa_args_refuse(self, "create_task", args, nargs, kwnames);
    if (nargs == 1)
        return check_open(g, args[0]) < 0 ? NULL : finish_create(g, make_with_all(g, args[0], args + 1, kwnames));
    PyObject *coro = args[at];
    if (check_open(g, coro) < 0)
        return NULL;
    PyObject *rest = PyTuple_New(n - 1), *task = NULL;
    PyObject **values = PyMem_Malloc((size_t)n * sizeof(*values));
    if (rest != NULL && values != NULL) {
        for (Py_ssize_t i = 0, j = 0; i < n; i++)
            if (i != at) {
                values[j] = args[i];
                PyTuple_SET_ITEM(rest, j++, Py_NewRef(PyTuple_GET_ITEM(kwnames, i)));
            }
        task = make_with_all(g, coro, values, rest);
    } else if (values == NULL) {
        PyErr_NoMemory();
    }
    PyMem_Free(values);
    Py_XDECREF(rest);
    return finish_create(g, task);
}
