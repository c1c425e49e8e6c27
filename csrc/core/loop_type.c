/* The type _core.EventLoop: making and ending, attributes, create_future and create_task, the method tables of the other loop_*.c.
 *
 * Users see pyasync.EventLoop, class EventLoop(_core.EventLoop, asyncio.BaseEventLoop) (pyasync/loop.py): what is not here is asyncio's
 * code. Its __init__ assigns the attributes below, its methods read them. The instance dict is a field of the struct, so that a changed
 * attribute is seen (loop_overrides.c).
 *
 * Everything is usable from __new__ on; the poller comes with _open(), which pyasync.EventLoop.__init__ calls.
 */
#include "core/deadline.h"
#include "core/loop_impl.h"
#include "core/task.h"
#include "rt/args.h"
#include "rt/error.h"

/* ---- What loop.h promises ---- */

pa_loop *pa_loop_from(pa_state *st, PyObject *obj)
{
    /* Our struct is the largest in the hierarchy, so every subclass has us in its chain of tp_base. */
    for (PyTypeObject *type = Py_TYPE(obj); type != NULL; type = type->tp_base)
        if (type == st->EventLoop)
            return (pa_loop *)obj;
    return NULL;
}

pa_state *pa_loop_state(pa_loop *loop) { return loop->st; }
PyObject *pa_loop_executor(pa_loop *loop, PyObject *given)
{
    if (loop->closed || loop->debug || (pa_loop_overrides(loop) & PA_OVER_SCHEDULING))
        return NULL;
    PyObject *own = loop->cold[PA_COLD_DEFAULT_EXECUTOR];
    if (given != Py_None)
        return given;
    return own != NULL && own != Py_None && loop->cold[PA_COLD_EXECUTOR_SHUTDOWN_CALLED] == Py_False ? own : NULL;
}

int pa_loop_is_closed(const pa_loop *loop) { return loop->closed; }
int pa_loop_is_debug(const pa_loop *loop) { return loop->debug; }
int pa_loop_is_running(const pa_loop *loop) { return loop->thread_id != NULL; }

/* ---- Lifecycle ---- */

static PyObject *loop_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    pa_state *st = pa_state_of_type(type);
    pa_loop *loop = st != NULL ? (pa_loop *)type->tp_alloc(type, 0) : NULL;
    if (loop == NULL)
        return NULL;
    loop->st = st;
    pa_ready_ring_init(&loop->ready);
    pa_ready_ring_init(&loop->inbox);
    pa_heap_init(&loop->timers);
    pa_link_init(&loop->deferred);
    pa_link_init(&loop->link);
    loop->wakeup = (pa_wakeup){.read_fd = -1, .write_fd = -1};
    pa_signals_init(loop);
    loop->slow_callback_duration = 0.1;
    loop->clock_resolution = 1e-9;
    return (PyObject *)loop;
}

static void drop_timers(pa_loop *loop)
{
    pa_heap_entry *first;
    while ((first = pa_heap_min(&loop->timers)) != NULL)
        if (first->owner != NULL)
            pa_deadline_drop((pa_deadline *)first);
        else
            Py_DECREF(pa_loop_take_timer(loop, first));
    pa_heap_free(&loop->timers);
    pa_heap_init(&loop->timers);
}

/* All callbacks that will not be called any more, and all descriptors. */
static void release(pa_loop *loop)
{
    pa_ready_ring inbox;
    pa_ring_drop(&loop->ready);
    pa_mutex_lock(&loop->inbox_lock);
    inbox = loop->inbox;
    pa_ready_ring_init(&loop->inbox);
    pa_mutex_unlock(&loop->inbox_lock);
    pa_ring_drop(&inbox);
    drop_timers(loop);
    Py_CLEAR(loop->scheduled_list);
    pa_loop_close_poller(loop);
    pa_signals_close(loop);
    pa_handle_free_list_clear(&loop->free_handles);
    pa_handle_free_list_clear(&loop->free_timers);
    pa_handle_free_list_clear(&loop->free_threadsafe);
}

static int traverse_ring(pa_ready_ring *ring, visitproc visit, void *arg)
{
    for (size_t i = 0; i < pa_ready_ring_len(ring); i++) {
        pa_ready *entry = pa_ready_ring_at(ring, i);
        Py_VISIT(entry->a);
        if (entry->kind == PA_READY_WAKEUP || entry->kind == PA_READY_CALLBACK)
            Py_VISIT((PyObject *)entry->b);
        Py_VISIT(entry->context);
    }
    return 0;
}

static int loop_traverse(PyObject *self, visitproc visit, void *arg)
{
    pa_loop *loop = (pa_loop *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(loop->dict);
    for (int i = 0; i < PA_COLD_LEN; i++)
        Py_VISIT(loop->cold[i]);
    Py_VISIT(loop->current);
    Py_VISIT(loop->signal_handlers);
    Py_VISIT(loop->thread_id);
    Py_VISIT(loop->task_factory);
    Py_VISIT(loop->debug_object);
    Py_VISIT(loop->current_handle);
    Py_VISIT(loop->selector);
    Py_VISIT(loop->scheduled_list);
    for (size_t i = 0; i < loop->timers.len; i++)
        Py_VISIT(loop->timers.items[i]->owner != NULL ? (PyObject *)loop->timers.items[i]->owner
                                                     : pa_timer_handle(loop->st, loop->timers.items[i]));
    int rc = traverse_ring(&loop->ready, visit, arg);
    if (rc == 0)
        rc = traverse_ring(&loop->inbox, visit, arg);
    return rc == 0 ? pa_loop_fds_traverse(loop, visit, arg) : rc;
}

static int loop_clear(PyObject *self)
{
    pa_loop *loop = (pa_loop *)self;
    release(loop);
    Py_CLEAR(loop->dict);
    for (int i = 0; i < PA_COLD_LEN; i++)
        Py_CLEAR(loop->cold[i]);
    Py_CLEAR(loop->current);
    Py_CLEAR(loop->signal_handlers);
    Py_CLEAR(loop->thread_id);
    Py_CLEAR(loop->task_factory);
    Py_CLEAR(loop->debug_object);
    Py_CLEAR(loop->current_handle);
    Py_CLEAR(loop->selector);
    return 0;
}

static void loop_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (((pa_loop *)self)->weakrefs != NULL)
        PyObject_ClearWeakRefs(self);
    loop_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* What enters or leaves the instance's dict may be a method's override. */
static int loop_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    pa_loop *loop = (pa_loop *)self;
    Py_ssize_t used = pa_loop_dict_used(loop);
    int rc = PyObject_GenericSetAttr(self, name, value);
    if (pa_loop_dict_used(loop) != used)
        loop->over.type_tag = 0;
    return rc;
}

static int refuse_second_init(const pa_loop *loop)
{
    if (loop->poller == NULL)
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "the event loop was initialised before");
    return -1;
}

static PyObject *loop_check_not_open(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (refuse_second_init((pa_loop *)self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *loop_open(PyObject *self, PyObject *name)
{
    pa_loop *loop = (pa_loop *)self;
    const char *text = NULL;
    if (name != Py_None && (text = PyUnicode_AsUTF8(name)) == NULL)
        return NULL;
    if (refuse_second_init(loop) < 0)
        return NULL;
    if (pa_loop_open_poller(loop, text) < 0)
        return NULL;
    return PyUnicode_FromString(loop->poller_ops->name);
}

static PyObject *loop_release(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    pa_loop *loop = (pa_loop *)self;
    loop->closed = true;
    release(loop);
    Py_CLEAR(loop->selector);
    Py_RETURN_NONE;
}

/* ---- Futures and tasks ---- */

static PyObject *loop_create_future(PyObject *self, PyObject *Py_UNUSED(ignored)) { return pa_future_new((pa_loop *)self); }

/* asyncio's own create_task: with a factory, replaced by a tracer, or for arguments that only it can refuse properly. New. */
static PyObject *inherited_create_task(pa_loop *loop, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *method = PyObject_GetAttr((PyObject *)loop->st->BaseEventLoop, loop->st->names.create_task);
    Py_ssize_t n = nargs + (kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0);
    PyObject **all = PyMem_Malloc((size_t)(n + 1) * sizeof(*all)), *task = NULL;
    if (all == NULL)
        PyErr_NoMemory();
    if (method != NULL && all != NULL) {
        all[0] = (PyObject *)loop;
        for (Py_ssize_t i = 0; i < n; i++)
            all[i + 1] = in[i];
        task = PyObject_Vectorcall(method, all, (size_t)nargs + 1, kwnames);
    }
    PyMem_Free(all);
    Py_XDECREF(method);
    return task;
}

typedef struct {
    PyObject *coro, *name, *context; /* borrowed; NULL where not given or None */
    int eager;
} task_args;

/* 1; 0 where an argument is not as expected; -1 with an exception. */
static int parse_task(pa_state *st, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames, task_args *out)
{
    *out = (task_args){.coro = nargs == 1 ? in[0] : NULL};
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *key = PyTuple_GET_ITEM(kwnames, i), *value = in[nargs + i];
        if (PyUnicode_CompareWithASCIIString(key, "name") == 0) {
            out->name = value != Py_None ? value : NULL;
        } else if (PyUnicode_CompareWithASCIIString(key, "context") == 0) {
            out->context = value != Py_None ? value : NULL;
        } else if (PyUnicode_CompareWithASCIIString(key, "coro") == 0 && nargs == 0) {
            out->coro = value;
        } else if (PyUnicode_CompareWithASCIIString(key, "eager_start") == 0 && st->create_task_takes_all) {
            if ((out->eager = PyObject_IsTrue(value)) < 0)
                return -1;
        } else {
            return 0;
        }
    }
    return nargs <= 1 && out->coro != NULL;
}

static PyObject *loop_create_task(PyObject *self, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames)
{
    pa_loop *loop = (pa_loop *)self;
    task_args task;
    unsigned over = pa_loop_overrides(loop);
    if (loop->task_factory != NULL || over & PA_OVER_CREATE_TASK || pa_loop_traces_tasks(loop->st))
        return inherited_create_task(loop, in, nargs, kwnames);
    int plain = parse_task(loop->st, in, nargs, kwnames, &task);
    if (plain <= 0)
        return plain < 0 ? NULL : inherited_create_task(loop, in, nargs, kwnames);
    if (pa_loop_check_closed(loop) < 0)
        return NULL;
    return pa_task_new(loop, task.coro, task.name, task.context, task.eager);
}

static PyObject *or_none(PyObject *obj) { return Py_NewRef(obj != NULL ? obj : Py_None); }

/* ---- State ---- */

static PyObject *loop_is_running(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(((pa_loop *)self)->thread_id != NULL);
}

static PyObject *loop_is_closed(PyObject *self, PyObject *Py_UNUSED(ignored)) { return PyBool_FromLong(((pa_loop *)self)->closed); }

static PyObject *get_debug(PyObject *self, void *Py_UNUSED(closure))
{
    pa_loop *loop = (pa_loop *)self;
    return loop->debug_object != NULL ? Py_NewRef(loop->debug_object) : PyBool_FromLong(loop->debug);
}

static PyObject *loop_get_debug(PyObject *self, PyObject *Py_UNUSED(ignored)) { return get_debug(self, NULL); }

/* The attributes that BaseEventLoop's code assigns. `closure` is the offset of a bool. */
static PyObject *get_flag(PyObject *self, void *offset) { return PyBool_FromLong(*((bool *)((char *)self + (size_t)offset))); }

static int refuse_delete(PyObject *value)
{
    if (value != NULL)
        return 0;
    PyErr_SetString(PyExc_AttributeError, "this attribute of an event loop cannot be deleted");
    return -1;
}

static int set_flag(PyObject *self, PyObject *value, void *offset)
{
    int truth = refuse_delete(value) < 0 ? -1 : PyObject_IsTrue(value);
    if (truth < 0)
        return -1;
    *((bool *)((char *)self + (size_t)offset)) = truth != 0;
    return 0;
}

/* Any object will do, and is given back. Its truth is asked once, here: one that cannot be told leaves everything as it was. */
static int set_debug(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    pa_loop *loop = (pa_loop *)self;
    int truth = refuse_delete(value) < 0 ? -1 : PyObject_IsTrue(value);
    if (truth < 0)
        return -1;
    loop->debug = truth != 0;
    Py_XSETREF(loop->debug_object, PyBool_Check(value) ? NULL : Py_NewRef(value));
    return 0;
}

/* `closure` is the offset of an object pointer, NULL for None. */
static PyObject *get_object(PyObject *self, void *offset) { return or_none(*(PyObject **)((char *)self + (size_t)offset)); }

static int set_object(PyObject *self, PyObject *value, void *offset)
{
    if (refuse_delete(value) < 0)
        return -1;
    PyObject **field = (PyObject **)((char *)self + (size_t)offset);
    Py_XSETREF(*field, value != Py_None ? Py_NewRef(value) : NULL);
    return 0;
}

static int set_thread_id(PyObject *self, PyObject *value, void *offset)
{
    pa_loop *loop = (pa_loop *)self;
    unsigned long ident = 0;
    if (refuse_delete(value) < 0)
        return -1;
    if (value != Py_None) {
        ident = PyLong_AsUnsignedLong(value);
        if (ident == (unsigned long)-1 && PyErr_Occurred())
            return -1;
    }
    loop->thread_ident = ident;
    return set_object(self, value, offset);
}

static PyObject *get_ready(PyObject *self, void *Py_UNUSED(closure)) { return pa_ready_view((pa_loop *)self); }

static int set_ready(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    return refuse_delete(value) < 0 ? -1 : pa_ready_assign((pa_loop *)self, value);
}

static PyObject *get_scheduled(PyObject *self, void *Py_UNUSED(closure)) { return pa_scheduled_list((pa_loop *)self); }

static int set_scheduled(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    return refuse_delete(value) < 0 ? -1 : pa_scheduled_assign((pa_loop *)self, value);
}

/* ---- Tables ---- */

#define FAST(function) (PyCFunction)(void (*)(void))(function)
#define OFFSET(field) ((void *)offsetof(pa_loop, field))
#define COLD(which) Py_T_OBJECT_EX, offsetof(pa_loop, cold) + (which) * sizeof(PyObject *), 0

PA_NO_ARGS(loop_create_future, create_future)
PA_NO_ARGS(loop_is_running, is_running)
PA_NO_ARGS(loop_is_closed, is_closed)
PA_NO_ARGS(loop_get_debug, get_debug)

static PyMethodDef loop_methods[] = {
    {"create_future", PA_NO_ARGS_METHOD(loop_create_future, create_future),
     PyDoc_STR("create_future($self, /)\n--\n\nCreate a Future object attached to the loop.")},
    {"is_running", PA_NO_ARGS_METHOD(loop_is_running, is_running), PyDoc_STR("is_running($self, /)\n--\n\nReturns True if the event loop is running.")},
    {"is_closed", PA_NO_ARGS_METHOD(loop_is_closed, is_closed), PyDoc_STR("is_closed($self, /)\n--\n\nReturns True if the event loop was closed.")},
    {"get_debug", PA_NO_ARGS_METHOD(loop_get_debug, get_debug), PyDoc_STR("get_debug($self, /)\n--\n\nWhether the loop is in debug mode.")},
    {"_check_not_open", loop_check_not_open, METH_NOARGS,
     PyDoc_STR("_check_not_open($self, /)\n--\n\nRuntimeError if it was initialised and not closed since.")},
    {"_open", loop_open, METH_O, PyDoc_STR("_open($self, name, /)\n--\n\nMake the poller of that name (None: the best). Its name.")},
    {"_release", loop_release, METH_NOARGS,
     PyDoc_STR("_release($self, /)\n--\n\nThe native part of close(): forget all callbacks, close all descriptors.")},
    {NULL},
};

/* create_task has asyncio's signature, which differs between versions. */
static const char create_task_doc[] = "create_task($self, coro, *, name=None, context=None)\n--\n\nSchedule a coroutine object.\n\n"
                                      "Return a task object.";
static const char create_task_all_doc[] = "create_task($self, coro, **kwargs)\n--\n\nSchedule or begin executing a coroutine object.\n\n"
                                          "Return a task object.";
static const char create_task_both_doc[] = "create_task($self, coro, *, name=None, context=None, **kwargs)\n--\n\n"
                                           "Schedule a coroutine object.\n\nReturn a task object.";

static PyMethodDef create_task_methods[] = {
    {"create_task", FAST(loop_create_task), METH_FASTCALL | METH_KEYWORDS, create_task_doc},
    {"create_task", FAST(loop_create_task), METH_FASTCALL | METH_KEYWORDS, create_task_all_doc},
    {"create_task", FAST(loop_create_task), METH_FASTCALL | METH_KEYWORDS, create_task_both_doc},
};

static PyMemberDef loop_members[] = {
    {"__dictoffset__", Py_T_PYSSIZET, offsetof(pa_loop, dict), Py_READONLY},
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(pa_loop, weakrefs), Py_READONLY},
    {"_clock_resolution", Py_T_DOUBLE, offsetof(pa_loop, clock_resolution), 0},
    {"slow_callback_duration", Py_T_DOUBLE, offsetof(pa_loop, slow_callback_duration), 0},
    {"_timer_cancelled_count", Py_T_PYSSIZET, offsetof(pa_loop, timer_cancelled_count), 0},
    {"_default_executor", COLD(PA_COLD_DEFAULT_EXECUTOR)},
    {"_executor_shutdown_called", COLD(PA_COLD_EXECUTOR_SHUTDOWN_CALLED)},
    {"_asyncgens", COLD(PA_COLD_ASYNCGENS)},
    {"_asyncgens_shutdown_called", COLD(PA_COLD_ASYNCGENS_SHUTDOWN_CALLED)},
    {"_exception_handler", COLD(PA_COLD_EXCEPTION_HANDLER)},
    {"_coroutine_origin_tracking_enabled", COLD(PA_COLD_ORIGIN_TRACKING_ENABLED)},
    {"_coroutine_origin_tracking_saved_depth", COLD(PA_COLD_ORIGIN_TRACKING_SAVED_DEPTH)},
    {"_old_agen_hooks", COLD(PA_COLD_OLD_AGEN_HOOKS)},
    {"_transports", COLD(PA_COLD_TRANSPORTS)},
    {"_unix_server_sockets", COLD(PA_COLD_UNIX_SERVER_SOCKETS)},
    {"_own_watcher", COLD(PA_COLD_WATCHER)},
    {"_internal_fds", Py_T_INT, offsetof(pa_loop, internal_fds), 0},
    {NULL},
};

static PyGetSetDef loop_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict},
    {"_closed", get_flag, set_flag, NULL, OFFSET(closed)},
    {"_stopping", get_flag, set_flag, NULL, OFFSET(stopping)},
    {"_debug", get_debug, set_debug},
    {"_thread_id", get_object, set_thread_id, NULL, OFFSET(thread_id)},
    {"_current_handle", get_object, set_object, NULL, OFFSET(current_handle)},
    {"_task_factory", get_object, set_object, NULL, OFFSET(task_factory)},
    {"_signal_handlers", get_object, set_object, NULL, OFFSET(signal_handlers)},
    {"_foreign_selector", get_object, set_object, NULL, OFFSET(selector)},
    {"_ready", get_ready, set_ready},
    {"_scheduled", get_scheduled, set_scheduled},
    {NULL},
};

static PyType_Slot loop_slots[] = {
    {Py_tp_doc, "The native half of pyasync.EventLoop."},
    {Py_tp_new, loop_new},
    {Py_tp_traverse, loop_traverse},
    {Py_tp_clear, loop_clear},
    {Py_tp_dealloc, loop_dealloc},
    {Py_tp_setattro, loop_setattro},
    {Py_tp_getattro, PyObject_GenericGetAttr},
    {Py_tp_methods, loop_methods},
    {Py_tp_members, loop_members},
    {Py_tp_getset, loop_getset},
    {0, NULL},
};

static PyType_Spec loop_spec = {
    .name = "pyasync._core.EventLoop",
    .basicsize = sizeof(pa_loop),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = loop_slots,
};

/* ---- Setup ---- */

int pa_create_task_variant(PyObject *function)
{
    PyObject *code = PyObject_GetAttrString(function, "__code__");
    PyObject *flags = code != NULL ? PyObject_GetAttrString(code, "co_flags") : NULL;
    PyObject *named = flags != NULL ? PyObject_GetAttrString(code, "co_kwonlyargcount") : NULL;
    int which = -1;
    if (named != NULL)
        which = !(PyLong_AsLong(flags) & CO_VARKEYWORDS) ? 0 : PyLong_AsLong(named) == 0 ? 1 : 2;
    Py_XDECREF(named);
    Py_XDECREF(flags);
    Py_XDECREF(code);
    return which;
}

static PyObject *after_fork_in_child(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    pa_state *st = pa_state_of_module(module);
    for (pa_link *link = st->loops.next; link != &st->loops; link = link->next)
        pa_loop_part_from_parent(PA_LINK_OWNER(link, pa_loop, link));
    Py_RETURN_NONE;
}

/* What is put off to the end of the tick is this process's to send: the child has a copy, and would send it again. */
static PyObject *before_fork(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    pa_state *st = pa_state_of_module(module);
    for (pa_link *link = st->loops.next; link != &st->loops; link = link->next) {
        pa_loop *loop = PA_LINK_OWNER(link, pa_loop, link);
        if (!loop->ticking || loop->thread_ident != PyThread_get_thread_ident())
            continue;
        Py_INCREF(loop); /* one loop at most runs in this thread */
        int rc = pa_loop_run_deferred(loop);
        Py_DECREF(loop);
        if (rc < 0)
            return NULL;
        break;
    }
    Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
    {"_before_fork", before_fork, METH_NOARGS, PyDoc_STR("_before_fork($module, /)\n--\n\nSends what is put off.")},
    {"_after_fork_in_child", after_fork_in_child, METH_NOARGS,
     PyDoc_STR("_after_fork_in_child($module, /)\n--\n\nGives every open loop descriptors that are not the parent's.")},
    {NULL},
};

/* os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child) */
static int register_at_fork(PyObject *module)
{
    PyObject *os = PyImport_ImportModule("os"), *function = NULL, *before = NULL, *keywords = NULL, *method = NULL, *args = NULL;
    PyObject *result = NULL;
    if (os == NULL || PyModule_AddFunctions(module, module_methods) < 0 ||
        (function = PyObject_GetAttrString(module, "_after_fork_in_child")) == NULL ||
        (before = PyObject_GetAttrString(module, "_before_fork")) == NULL ||
        (method = PyObject_GetAttrString(os, "register_at_fork")) == NULL || (args = PyTuple_New(0)) == NULL ||
        (keywords = Py_BuildValue("{sOsO}", "before", before, "after_in_child", function)) == NULL)
        goto done;
    result = PyObject_Call(method, args, keywords);
done:
    Py_XDECREF(os);
    Py_XDECREF(function);
    Py_XDECREF(before);
    Py_XDECREF(method);
    Py_XDECREF(args);
    Py_XDECREF(keywords);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

int pa_loop_setup(PyObject *module, pa_state *st)
{
    PyMethodDef *const tables[] = {pa_loop_sched_methods, pa_loop_run_methods, pa_loop_reader_methods, pa_loop_selector_methods,
                                   pa_loop_signal_methods};
    st->EventLoop = (PyTypeObject *)PyType_FromModuleAndSpec(module, &loop_spec, NULL);
    if (st->EventLoop == NULL || pa_views_setup(module, st) < 0 || register_at_fork(module) < 0)
        return -1;
    for (size_t i = 0; i < Py_ARRAY_LENGTH(tables); i++)
        if (pa_type_add_methods(st->EventLoop, tables[i]) < 0)
            return -1;
    if ((st->base_create_task = PyObject_GetAttr((PyObject *)st->BaseEventLoop, st->names.create_task)) == NULL ||
        (st->handle_run = PyObject_GetAttr((PyObject *)st->aio_Handle, st->names._run)) == NULL ||
        (st->base_create_task_code = pa_override_code(st->base_create_task)) == NULL ||
        (st->handle_run_code = pa_override_code(st->handle_run)) == NULL)
        return -1;
    int which = pa_create_task_variant(st->base_create_task);
    if (which < 0)
        return -1;
    st->create_task_takes_all = which != 0;
    PyObject *descr = PyDescr_NewMethod(st->EventLoop, &create_task_methods[which]);
    int rc = descr != NULL ? PyObject_SetAttr((PyObject *)st->EventLoop, st->names.create_task, descr) : -1;
    Py_XDECREF(descr);
    return rc < 0 ? -1 : PyModule_AddType(module, st->EventLoop);
}
