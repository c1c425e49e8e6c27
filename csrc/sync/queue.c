/* Queue, PriorityQueue, LifoQueue: the types. A queue is what lies in it (queue_items.c), and two queues of futures, of those who want
 * something out of it (getters) and into it (putters: queue_ops.c). The classes that programs see derive from these and asyncio's; repr,
 * shutdown() and whatever is not hot is asyncio's own code there, which finds the attributes it knows.
 */
#include "sync/queue_impl.h"
#include "rt/args.h"
#include "rt/call.h"
#include "sync/waiters.h"

/* ---- Overrides ---- */

#define OVERRIDES(st)                                                                                                              \
    {                                                                                                                              \
        {(st)->names._get_loop, PA_QUEUE_GET_LOOP}, {(st)->names._init, PA_QUEUE_INIT}, {(st)->names._put, PA_QUEUE_PUT},          \
            {(st)->names._get, PA_QUEUE_GET}, {(st)->names.qsize, PA_QUEUE_QSIZE}, {(st)->names.empty, PA_QUEUE_EMPTY},            \
            {(st)->names.full, PA_QUEUE_FULL}, {(st)->names.put_nowait, PA_QUEUE_PUT_NOWAIT},                                      \
            {(st)->names.get_nowait, PA_QUEUE_GET_NOWAIT}, {(st)->names._wakeup_next, PA_QUEUE_WAKEUP_NEXT}, {NULL, 0},            \
    }

unsigned pa_queue_find_overrides(PyObject *self)
{
    pa_state *st = PA_BOUND(self)->st;
    const pa_override names[] = OVERRIDES(st);
    int order = ((pa_queue *)self)->order;
    PyTypeObject *native = order == PA_QUEUE_FIFO ? st->Queue : order == PA_QUEUE_LIFO ? st->LifoQueue : st->PriorityQueue;
    return pa_bound_find_overrides(self, native, names);
}

static int queue_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    const pa_override names[] = OVERRIDES(PA_BOUND(self)->st);
    return pa_bound_setattr(self, name, value, names);
}


/* ---- Methods ---- */

static PyObject *queue_put_nowait(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const pa_signature sig = {"put_nowait", pa_queue_item_names, 1, 1};
    PyObject *item = pa_args_one(self, &sig, args, nargs, kwnames);
    if (item == NULL || pa_queue_put(self, item) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *queue_get_nowait(PyObject *self, PyObject *unused) { return pa_queue_get_nowait(self); }

static PyObject *queue_task_done(PyObject *self, PyObject *unused)
{
    pa_queue *q = (pa_queue *)self;
    if (q->unfinished <= 0) {
        PyErr_SetString(PyExc_ValueError, "task_done() called too many times");
        return NULL;
    }
    if (--q->unfinished == 0 && pa_queue_tell_finished(self, q->bound.st->names.set) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *queue_qsize(PyObject *self, PyObject *unused)
{
    Py_ssize_t size = pa_queue_qsize(self);
    return size < 0 ? NULL : PyLong_FromSsize_t(size);
}

static PyObject *queue_empty(PyObject *self, PyObject *unused)
{
    int rc = pa_queue_native_empty(self);
    return rc < 0 ? NULL : PyBool_FromLong(rc);
}

static PyObject *queue_full(PyObject *self, PyObject *unused)
{
    int rc = pa_queue_native_full(self);
    return rc < 0 ? NULL : PyBool_FromLong(rc);
}

static PyObject *queue_put_item(PyObject *self, PyObject *item)
{
    if (pa_queue_native_put(self, item) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *queue_get_item(PyObject *self, PyObject *unused) { return pa_queue_native_get(self); }

static PyObject *queue_wakeup_next(PyObject *self, PyObject *waiters)
{
    pa_state *st = PA_BOUND(self)->st;
    PyObject *own = Py_TYPE(waiters) == st->Waiters ? Py_NewRef(waiters) : NULL;
    if (own == NULL) { /* a deque that somebody keeps: futures are taken out of it one by one */
        int rc = 0, some;
        while (rc == 0 && (some = PyObject_IsTrue(waiters)) != 0) {
            PyObject *future = some > 0 ? PyObject_CallMethodNoArgs(waiters, st->names.popleft) : NULL;
            rc = future != NULL ? pa_waiter_wake(st, future, Py_None) : -1;
            Py_XDECREF(future);
        }
        if (rc < 0)
            return NULL;
        Py_RETURN_NONE;
    }
    int rc = pa_queue_native_wakeup_next(st, own);
    Py_DECREF(own);
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- Making one ---- */

static void note_usual(pa_queue *q) { q->usual = q->plain && q->order == PA_QUEUE_FIFO && q->limit >= 0 && q->maxsize != NULL; }

static void assign_items(pa_queue *q, PyObject *items)
{
    PyTypeObject *type = Py_TYPE(items);
    q->plain = q->order == PA_QUEUE_FIFO ? type == q->bound.st->deque : type == &PyList_Type;
    note_usual(q);
    Py_XSETREF(q->items, Py_NewRef(items));
}

static int assign_maxsize(pa_queue *q, PyObject *maxsize)
{
    Py_ssize_t limit = -1;
    if (PyLong_CheckExact(maxsize)) {
        int overflow;
        long value = PyLong_AsLongAndOverflow(maxsize, &overflow);
        if (value == -1 && !overflow && PyErr_Occurred())
            return -1;
        limit = overflow < 0 || value <= 0 ? 0 : overflow > 0 ? PY_SSIZE_T_MAX : value;
    }
    q->limit = limit;
    Py_XSETREF(q->maxsize, Py_NewRef(maxsize));
    note_usual(q);
    return 0;
}

static PyObject *queue_init_items(PyObject *self, PyObject *maxsize)
{
    pa_queue *q = (pa_queue *)self;
    PyObject *items = q->order == PA_QUEUE_FIFO ? PyObject_CallNoArgs((PyObject *)q->bound.st->deque) : PyList_New(0);
    if (items == NULL)
        return NULL;
    assign_items(q, items);
    Py_DECREF(items);
    Py_RETURN_NONE;
}

static int queue_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"maxsize", NULL};
    static const pa_signature sig = {"__init__", names, 1, 0};
    pa_queue *q = (pa_queue *)self;
    PyObject *given[1];
    if (pa_args_parse_tuple(self, &sig, args, kwargs, given) < 0)
        return -1;
    PyObject *maxsize = given[0] != NULL ? Py_NewRef(given[0]) : PyLong_FromLong(0);
    int rc = maxsize != NULL ? assign_maxsize(q, maxsize) : -1;
    if (rc == 0) {
        Py_CLEAR(q->getters);
        Py_CLEAR(q->putters);
        Py_CLEAR(q->finished);
        q->unfinished = 0;
        rc = pa_call_nothing(pa_queue_replaced(self, PA_QUEUE_INIT) ? PyObject_CallMethodOneArg(self, q->bound.st->names._init, maxsize)
                                                                    : queue_init_items(self, maxsize));
        q->is_shutdown = 0;
    }
    Py_XDECREF(maxsize);
    return rc;
}

/* A class may derive from several: the first that gives it _put and _get decides. */
static int order_of(pa_state *st, PyTypeObject *type)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(type->tp_mro); i++) {
        PyTypeObject *class = (PyTypeObject *)PyTuple_GET_ITEM(type->tp_mro, i);
        if (class == st->PriorityQueue || class == st->LifoQueue)
            return class == st->LifoQueue ? PA_QUEUE_LIFO : PA_QUEUE_PRIORITY;
    }
    return PA_QUEUE_FIFO;
}

static PyObject *queue_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *self = pa_bound_new(type, args, kwargs);
    if (self != NULL) {
        pa_state *st = PA_BOUND(self)->st;
        ((pa_queue *)self)->order = order_of(st, type);
    }
    return self;
}

/* ---- Attributes ---- */

static PyObject *get_maxsize(PyObject *self, void *unused)
{
    PyObject *maxsize = ((pa_queue *)self)->maxsize;
    if (maxsize == NULL)
        PyErr_Format(PyExc_AttributeError, "'%s' object has no attribute '_maxsize'", Py_TYPE(self)->tp_name);
    return Py_XNewRef(maxsize);
}

static int set_maxsize(PyObject *self, PyObject *value, void *unused)
{
    return value == NULL ? pa_err_cannot_delete(self, "_maxsize") : assign_maxsize((pa_queue *)self, value);
}

static PyObject *get_items(PyObject *self, void *unused) { return Py_XNewRef(pa_queue_items(self)); }

static int set_items(PyObject *self, PyObject *value, void *unused)
{
    if (value == NULL)
        return pa_err_cannot_delete(self, "_queue");
    assign_items((pa_queue *)self, value);
    return 0;
}

static PyObject *get_getters(PyObject *self, void *unused) { return pa_bound_show_waiters(self, &((pa_queue *)self)->getters, 1); }

static int set_getters(PyObject *self, PyObject *value, void *unused)
{
    return pa_bound_assign_waiters(self, &((pa_queue *)self)->getters, value);
}

static PyObject *get_putters(PyObject *self, void *unused) { return pa_bound_show_waiters(self, &((pa_queue *)self)->putters, 1); }

static int set_putters(PyObject *self, PyObject *value, void *unused)
{
    return pa_bound_assign_waiters(self, &((pa_queue *)self)->putters, value);
}

static PyObject *get_finished(PyObject *self, void *unused) { return pa_queue_finished(self); }

static int set_finished(PyObject *self, PyObject *value, void *unused)
{
    Py_XSETREF(((pa_queue *)self)->finished, Py_XNewRef(value));
    return 0;
}

/* ---- Setup ---- */

static int queue_traverse(PyObject *self, visitproc visit, void *arg)
{
    pa_queue *q = (pa_queue *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(q->bound.loop);
    Py_VISIT(q->maxsize);
    Py_VISIT(q->items);
    Py_VISIT(q->getters);
    Py_VISIT(q->putters);
    Py_VISIT(q->finished);
    return 0;
}

static int queue_clear(PyObject *self)
{
    pa_queue *q = (pa_queue *)self;
    q->plain = q->usual = 0; /* should C code still get at it while the collector takes its surroundings apart */
    Py_CLEAR(q->bound.loop);
    Py_CLEAR(q->maxsize);
    Py_CLEAR(q->items);
    Py_CLEAR(q->getters);
    Py_CLEAR(q->putters);
    Py_CLEAR(q->finished);
    return 0;
}

static void queue_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    (void)queue_clear(self);
    pa_bound_free(self);
}

PA_NO_ARGS(queue_get_nowait, get_nowait)
PA_NO_ARGS(queue_task_done, task_done)
PA_NO_ARGS(queue_qsize, qsize)
PA_NO_ARGS(queue_empty, empty)
PA_NO_ARGS(queue_full, full)

static PyMethodDef queue_methods[] = {
    {"put_nowait", PA_WITH_KEYWORDS(queue_put_nowait),
     "put_nowait($self, /, item)\n--\n\nPut an item into the queue.\n\nRaises QueueFull if there is no room."},
    {"get_nowait", PA_NO_ARGS_METHOD(queue_get_nowait, get_nowait),
     "get_nowait($self, /)\n--\n\nRemove and return an item.\n\nRaises QueueEmpty if there is none."},
    {"task_done", PA_NO_ARGS_METHOD(queue_task_done, task_done),
     "task_done($self, /)\n--\n\nSay that the work on an item that was taken out is complete.\n\n"
     "Raises ValueError if called more often than items were put in."},
    {"qsize", PA_NO_ARGS_METHOD(queue_qsize, qsize), "qsize($self, /)\n--\n\nNumber of items in the queue."},
    {"empty", PA_NO_ARGS_METHOD(queue_empty, empty), "empty($self, /)\n--\n\nReturn True if the queue is empty, False otherwise."},
    {"full", PA_NO_ARGS_METHOD(queue_full, full),
     "full($self, /)\n--\n\nReturn True if there are maxsize items in the queue.\n\nNever, if maxsize is 0."},
    {"_wakeup_next", queue_wakeup_next, METH_O, "_wakeup_next($self, waiters, /)\n--\n\n"},
    {"_get_loop", pa_bound_get_loop_method, METH_NOARGS, "_get_loop($self, /)\n--\n\n"},
    {NULL, NULL, 0, NULL},
};

/* Each of the three has these itself: an override is what is not the type's own. */
static PyMethodDef item_methods[] = {
    {"_init", queue_init_items, METH_O, "_init($self, maxsize, /)\n--\n\n"},
    {"_put", queue_put_item, METH_O, "_put($self, item, /)\n--\n\n"},
    {"_get", queue_get_item, METH_NOARGS, "_get($self, /)\n--\n\n"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef queue_getset[] = {
    {"_maxsize", get_maxsize, set_maxsize, NULL, NULL},
    {"_queue", get_items, set_items, NULL, NULL},
    {"_getters", get_getters, set_getters, NULL, NULL},
    {"_putters", get_putters, set_putters, NULL, NULL},
    {"_finished", get_finished, set_finished, NULL, NULL},
    {"_loop", pa_bound_get_loop, pa_bound_set_loop, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef queue_members[] = {
    {"_unfinished_tasks", Py_T_PYSSIZET, offsetof(pa_queue, unfinished), 0, NULL},
    {"_is_shutdown", Py_T_BOOL, offsetof(pa_queue, is_shutdown), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot queue_slots[] = {
    {Py_tp_doc, (void *)"Queue(maxsize=0)\n--\n\nA queue for tasks: asyncio.Queue in C."},
    {Py_tp_new, queue_new},
    {Py_tp_init, queue_init},
    {Py_tp_setattro, queue_setattro},
    {Py_tp_dealloc, queue_dealloc},
    {Py_tp_traverse, queue_traverse},
    {Py_tp_clear, queue_clear},
    {Py_tp_methods, queue_methods},
    {Py_tp_getset, queue_getset},
    {Py_tp_members, queue_members},
    {0, NULL},
};

static PyType_Slot priority_slots[] = {
    {Py_tp_doc, (void *)"PriorityQueue(maxsize=0)\n--\n\nA queue for tasks that gives the least item first."},
    {0, NULL},
};

static PyType_Slot lifo_slots[] = {
    {Py_tp_doc, (void *)"LifoQueue(maxsize=0)\n--\n\nA queue for tasks that gives the newest item first."},
    {0, NULL},
};

static int make_type(PyObject *module, const char *name, PyType_Slot *slots, PyTypeObject *base, PyTypeObject **out)
{
    unsigned flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | (base == NULL ? Py_TPFLAGS_HAVE_GC : 0);
    PyType_Spec spec = {name, sizeof(pa_queue), 0, flags, slots};
    *out = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, (PyObject *)base);
    return *out == NULL || pa_type_add_methods(*out, item_methods) < 0 ? -1 : PyModule_AddType(module, *out);
}

static int import_what_is_used(pa_state *st)
{
    PyObject *deque;
    if (pa_import_from("collections", "deque", &deque) < 0)
        return -1;
    st->deque = (PyTypeObject *)deque;
    if (pa_find_method(deque, "append", METH_O, &st->deque_append) < 0 ||
        pa_find_method(deque, "popleft", METH_NOARGS, &st->deque_popleft) < 0 ||
        pa_import_from("heapq", "heappush", &st->heappush) < 0 || pa_import_from("heapq", "heappop", &st->heappop) < 0 ||
        pa_import_from("asyncio.queues", "QueueEmpty", &st->QueueEmpty) < 0 ||
        pa_import_from("asyncio.queues", "QueueFull", &st->QueueFull) < 0)
        return -1;
    return PA_HAS_QUEUE_SHUTDOWN ? pa_import_from("asyncio.queues", "QueueShutDown", &st->QueueShutDown) : 0;
}

int pa_queue_setup(PyObject *module, pa_state *st)
{
    if (import_what_is_used(st) < 0 || make_type(module, "pyasync._core.Queue", queue_slots, NULL, &st->Queue) < 0 ||
        pa_corofn_add_methods(st, st->Queue, pa_queue_coroutines) < 0 ||
        make_type(module, "pyasync._core.PriorityQueue", priority_slots, st->Queue, &st->PriorityQueue) < 0)
        return -1;
    return make_type(module, "pyasync._core.LifoQueue", lifo_slots, st->Queue, &st->LifoQueue);
}
