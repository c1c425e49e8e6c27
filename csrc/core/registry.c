/* Which native tasks there are, for asyncio.all_tasks().
 *
 * Tasks that are not done form an intrusive list in the module state; the list owns nothing, a task leaves it when it is done or is
 * finalized. From 3.14 on CPython keeps a list of its own, into which _asyncio._register_task puts real subclasses of asyncio.Task; they
 * leave it when they are finalized, as asyncio's own do. Until 3.13 asyncio has a WeakSet, whose class pyasync/_registry.py replaces by
 * one that asks _native_tasks() here.
 */
#include "core/registry.h"
#include "core/future_impl.h"

static PyObject *task_of_link(pa_state *st, pa_link *link)
{
    return (PyObject *)((char *)PA_LINK_OWNER(link, pa_task, link) - st->aio_Task->tp_basicsize);
}

static int call_asyncio(PyObject *function, PyObject *task)
{
    PyObject *result = PyObject_CallOneArg(function, task);
    if (result == NULL)
        return -1;
    Py_DECREF(result);
    return 0;
}

int pa_registry_add(pa_state *st, PyObject *task, pa_link *link)
{
    if (!pa_link_is_linked(link))
        pa_list_append(&st->tasks, link);
    return PA_HAS_SWAP_CURRENT_TASK ? call_asyncio(st->register_task, task) : 0;
}

void pa_registry_remove(pa_state *st, PyObject *task, pa_link *link)
{
    pa_link_remove(link);
    if (!PA_HAS_SWAP_CURRENT_TASK || st->unregister_task == NULL)
        return;
    PyObject *raised = pa_err_take();
    if (call_asyncio(st->unregister_task, task) < 0)
        PyErr_WriteUnraisable(task);
    pa_err_restore(raised);
}

static PyObject *list_tasks(pa_state *st)
{
    PyObject *list = PyList_New(0);
    if (list == NULL)
        return NULL;
    /* appending may collect garbage, and so change the list of tasks: first the length, then room for all, then the objects */
    Py_ssize_t n = 0;
    for (pa_link *link = st->tasks.next; link != &st->tasks; link = link->next)
        n++;
    PyObject **tasks = PyMem_Malloc(sizeof(PyObject *) * (size_t)(n + 1));
    if (tasks == NULL) {
        Py_DECREF(list);
        return PyErr_NoMemory();
    }
    n = 0;
    for (pa_link *link = st->tasks.next; link != &st->tasks; link = link->next)
        tasks[n++] = Py_NewRef(task_of_link(st, link));
    int rc = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        if (rc == 0)
            rc = PyList_Append(list, tasks[i]);
        Py_DECREF(tasks[i]);
    }
    PyMem_Free(tasks);
    if (rc < 0)
        Py_CLEAR(list);
    return list;
}

PyDoc_STRVAR(native_tasks_doc, "_native_tasks($module, /)\n--\n\nThe native tasks that are not done, oldest first.");
static PyObject *native_tasks(PyObject *module, PyObject *unused) { return list_tasks(pa_state_of_module(module)); }

PyDoc_STRVAR(take_native_tasks_doc, "_take_native_tasks($module, /)\n--\n\n"
             "The same, and forget them: the caller registers them elsewhere.");
static PyObject *take_native_tasks(PyObject *module, PyObject *unused)
{
    pa_state *st = pa_state_of_module(module);
    PyObject *list = list_tasks(st);
    for (Py_ssize_t i = 0; list != NULL && i < PyList_GET_SIZE(list); i++) {
        pa_task *t = pa_task_find(PyList_GET_ITEM(list, i));
        pa_link_remove(&t->link);
    }
    return list;
}

static PyMethodDef registry_functions[] = {
    {"_native_tasks", native_tasks, METH_NOARGS, native_tasks_doc},
    {"_take_native_tasks", take_native_tasks, METH_NOARGS, take_native_tasks_doc},
    {NULL, NULL, 0, NULL},
};

int pa_registry_setup(PyObject *module, pa_state *st) { return PyModule_AddFunctions(module, registry_functions); }
