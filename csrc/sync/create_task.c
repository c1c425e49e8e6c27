/* create_task(): a coroutine as a task of the running loop. Natively done is create_task(coro) on a loop of ours that makes tasks as we
 * know it; a name, a context, a factory, an override, debug mode (whose tracebacks show asyncio's function), another loop or none at all
 * are left to asyncio's own function, st->create_task, whose ways and signature differ between versions.
 */
#include "sync/create_task.h"
#include "sync/pyfn.h"
#include "core/loop_calls.h"

static PyObject *create_task(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    pa_state *st = pa_state_of_module(module);
    if (nargs == 1 && kwnames == NULL) {
        PyObject *loop;
        if (pa_calls_running(st, &loop) < 0)
            return NULL;
        if (loop != NULL && pa_calls_takes_name(st, loop)) {
            PyObject *task = pa_calls_create_task(st, loop, args[0]);
            Py_DECREF(loop);
            return task;
        }
        Py_XDECREF(loop);
    }
    PyObject *function = Py_NewRef(st->create_task);
    PyObject *result = PyObject_Vectorcall(function, args, (size_t)nargs, kwnames);
    Py_DECREF(function);
    return result;
}

#define TEXT "Start a coroutine as a task of the running loop, and return the task.\n\n"                                               \
             "RuntimeError if no loop runs, TypeError for what is no coroutine."

static const pa_corofn_def variants[][2] = {
    {{"create_task", "create_task", create_task, "create_task(coro, *, name=None, context=None)\n--\n\n" TEXT}, {NULL, NULL, NULL, NULL}},
    {{"create_task", "create_task", create_task, "create_task(coro, **kwargs)\n--\n\n" TEXT}, {NULL, NULL, NULL, NULL}},
    {{"create_task", "create_task", create_task, "create_task(coro, *, name=None, context=None, **kwargs)\n--\n\n" TEXT},
     {NULL, NULL, NULL, NULL}},
};

int pa_create_task_setup(PyObject *module, pa_state *st)
{
    PyObject *tasks = PyImport_ImportModule("asyncio.tasks");
    st->create_task = tasks != NULL ? PyObject_GetAttr(tasks, st->names.create_task) : NULL;
    Py_XDECREF(tasks);
    int which = st->create_task != NULL ? pa_create_task_variant(st->create_task) : -1;
    return which < 0 ? -1 : pa_pyfn_add_functions(st, module, "asyncio.tasks", variants[which]);
}
