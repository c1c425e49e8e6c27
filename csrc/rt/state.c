/* Making, visiting and clearing the module state. */
#include "rt/state.h"

static int intern_names(pa_state *st)
{
#define PA_NAME(name)                                              \
    if ((st->names.name = PyUnicode_InternFromString(#name)) == NULL) \
        return -1;
#include "rt/names.def"
#undef PA_NAME
    return 0;
}

/* attribute `name` of module `module_name`, new; `required` says whether its absence is an error or gives NULL. */
static int import_object(const char *module_name, const char *name, int required, PyObject **out)
{
    PyObject *module = PyImport_ImportModule(module_name);
    if (module == NULL)
        return -1;
    *out = PyObject_GetAttrString(module, name);
    Py_DECREF(module);
    if (*out != NULL)
        return 0;
    if (required || !PyErr_ExceptionMatches(PyExc_AttributeError))
        return -1;
    PyErr_Clear();
    return 0;
}

static int import_type(const char *module_name, const char *name, PyTypeObject **out)
{
    PyObject *obj;
    if (import_object(module_name, name, 1, &obj) < 0)
        return -1;
    if (!PyType_Check(obj)) {
        PyErr_Format(PyExc_ImportError, "%s.%s is not a type but %R", module_name, name, obj);
        Py_DECREF(obj);
        return -1;
    }
    *out = (PyTypeObject *)obj;
    return 0;
}

static int import_asyncio(pa_state *st)
{
    if (import_type("_asyncio", "Future", &st->aio_Future) < 0 || import_type("_asyncio", "Task", &st->aio_Task) < 0 ||
        import_type("asyncio.events", "Handle", &st->aio_Handle) < 0 ||
        import_type("asyncio.events", "TimerHandle", &st->aio_TimerHandle) < 0 ||
        import_type("asyncio.transports", "Transport", &st->aio_Transport) < 0)
        return -1;
    const struct {
        const char *module, *name;
        int required;
        PyObject **out;
    } objects[] = {
        {"asyncio.base_events", "BaseEventLoop", 1, &st->BaseEventLoop},
        {"asyncio.base_events", "_format_handle", 1, &st->format_handle},
        {"asyncio.format_helpers", "_format_callback_source", 1, &st->format_callback},
        {"signal", "set_wakeup_fd", 1, &st->set_wakeup_fd},
        {"asyncio.exceptions", "CancelledError", 1, &st->CancelledError},
        {"asyncio.exceptions", "InvalidStateError", 1, &st->InvalidStateError},
        {"asyncio.events", "_get_running_loop", 1, &st->get_running_loop},
        {"asyncio.events", "_set_running_loop", 1, &st->set_running_loop},
        {"asyncio.events", "get_event_loop", 1, &st->get_event_loop},
        {"asyncio.format_helpers", "extract_stack", 1, &st->extract_stack},
        {"traceback", "extract_stack", 1, &st->traceback_extract},
        {"asyncio.base_futures", "_future_repr", 1, &st->future_repr},
        {"asyncio.base_tasks", "_task_repr", 1, &st->task_repr},
        {"asyncio.base_tasks", "_task_get_stack", 1, &st->task_get_stack},
        {"asyncio.base_tasks", "_task_print_stack", 1, &st->task_print_stack},
        {"asyncio.coroutines", "iscoroutine", 1, &st->iscoroutine},
        {"asyncio.base_futures", "isfuture", 1, &st->isfuture},
        {"weakref", "WeakValueDictionary", 1, &st->WeakValueDictionary},
        {"builtins", "ExceptionGroup", 1, &st->ExceptionGroup},
        {"asyncio", "base_events", 1, &st->base_events},
        {"asyncio", "events", 1, &st->events},
        {"asyncio", "tasks", 1, &st->asyncio_tasks},
        {"asyncio", "selector_events", 1, &st->selector_events},
        {"_asyncio", "_current_tasks", !PA_HAS_SWAP_CURRENT_TASK, &st->current_tasks},
        {"_asyncio", "_swap_current_task", PA_HAS_SWAP_CURRENT_TASK, &st->swap_current_task},
        {"_asyncio", "current_task", PA_HAS_SWAP_CURRENT_TASK, &st->current_task},
        {"_asyncio", "_register_task", 1, &st->register_task},
        {"_asyncio", "_unregister_task", 1, &st->unregister_task},
        {"_asyncio", "_enter_task", 1, &st->enter_task},
        {"_asyncio", "_leave_task", 1, &st->leave_task},
        {"_asyncio", "future_add_to_awaited_by", PA_HAS_CALL_GRAPH, &st->awaited_by_add},
        {"_asyncio", "future_discard_from_awaited_by", PA_HAS_CALL_GRAPH, &st->awaited_by_discard},
    };
    for (size_t i = 0; i < Py_ARRAY_LENGTH(objects); i++)
        if (import_object(objects[i].module, objects[i].name, objects[i].required, objects[i].out) < 0)
            return -1;
    return 0;
}

/* sys.flags.optimize: what asyncio's modules were compiled with. */
static int take_optimization(pa_state *st)
{
    PyObject *flags = PySys_GetObject("flags"), *level = flags != NULL ? PyObject_GetAttrString(flags, "optimize") : NULL;
    int optimized = level != NULL ? PyObject_IsTrue(level) : -1;
    Py_XDECREF(level);
    st->asserts = optimized == 0;
    if (flags == NULL)
        PyErr_SetString(PyExc_RuntimeError, "lost sys.flags");
    return optimized < 0 ? -1 : 0;
}

int pa_state_setup(PyObject *module, pa_state *st)
{
    pa_link_init(&st->tasks);
    pa_link_init(&st->loops);
    pa_link_init(&st->handle_runs);
    pa_link_init(&st->handle_waits);
    if (intern_names(st) < 0 || take_optimization(st) < 0)
        return -1;
    if ((st->kw_context = PyTuple_Pack(1, st->names.context)) == NULL || (st->kw_msg = PyTuple_Pack(1, st->names.msg)) == NULL ||
        (st->kw_loop = PyTuple_Pack(1, st->names.loop)) == NULL)
        return -1;
    return import_asyncio(st);
}

int pa_state_traverse(pa_state *st, visitproc visit, void *arg)
{
#define PA_TYPE(name) Py_VISIT(st->name);
#define PA_OBJECT(name) Py_VISIT(st->name);
#include "rt/state.def"
#undef PA_TYPE
#undef PA_OBJECT
    return 0;
}

int pa_state_clear(pa_state *st)
{
    /* tasks may be destroyed after the state: none may point at its head of the list */
    while (st->tasks.next != NULL && pa_link_is_linked(&st->tasks))
        pa_link_remove(st->tasks.next);
    PyMem_RawFree(st->tls_scratch.data);
    st->tls_scratch.data = NULL;
    st->tls_scratch.cap = 0;
#define PA_TYPE(name) Py_CLEAR(st->name);
#define PA_OBJECT(name) Py_CLEAR(st->name);
#include "rt/state.def"
#undef PA_TYPE
#undef PA_OBJECT
#define PA_NAME(name) Py_CLEAR(st->names.name);
#include "rt/names.def"
#undef PA_NAME
    return 0;
}

int pa_type_add_methods(PyTypeObject *type, PyMethodDef *methods)
{
    for (PyMethodDef *def = methods; def->ml_name != NULL; def++) {
        PyObject *descr = PyDescr_NewMethod(type, def);
        if (descr == NULL)
            return -1;
        int rc = PyObject_SetAttrString((PyObject *)type, def->ml_name, descr);
        Py_DECREF(descr);
        if (rc < 0)
            return -1;
    }
    return 0;
}

int pa_type_add_getsets(PyTypeObject *type, PyGetSetDef *defs)
{
    for (PyGetSetDef *def = defs; def->name != NULL; def++) {
        PyObject *descr = PyDescr_NewGetSet(type, def);
        int rc = descr != NULL ? PyObject_SetAttrString((PyObject *)type, def->name, descr) : -1;
        Py_XDECREF(descr);
        if (rc < 0)
            return -1;
    }
    return 0;
}

int pa_find_method(PyObject *type, const char *name, int flags, PyCFunction *function)
{
    PyObject *descr = PyObject_GetAttrString(type, name);
    if (descr == NULL)
        return -1;
    const PyMethodDef *def = Py_IS_TYPE(descr, &PyMethodDescr_Type) ? ((PyMethodDescrObject *)descr)->d_method : NULL;
    int found = def != NULL && def->ml_flags == flags;
    if (found)
        *function = def->ml_meth;
    else
        PyErr_Format(PyExc_ImportError, "%s has no method %s() in C", ((PyTypeObject *)type)->tp_name, name);
    Py_DECREF(descr);
    return found ? 0 : -1;
}

int pa_import_from(const char *module_name, const char *name, PyObject **out)
{
    PyObject *module = PyImport_ImportModule(module_name);
    if (module == NULL)
        return -1;
    *out = PyObject_GetAttrString(module, name);
    Py_DECREF(module);
    return *out != NULL ? 0 : -1;
}
