/* Queue, PriorityQueue, LifoQueue: what lies in them, and two queues of futures, of those who want something out of it (getters) and
 * into it (putters). The classes that programs see derive from these and asyncio's; repr, shutdown() and whatever is not hot is asyncio's
 * own code there, which finds the attributes it knows.
 *
 * put() and get() wait for a turn, not for an item: whoever is woken looks again, and waits again if a newcomer was faster. One that is
 * cancelled after it was woken wakes the next.
 *
 * What a subclass overrides (_init, _put, _get, qsize, full, ...) is called by its name. The items lie in a real deque or list, `_queue`,
 * since programs look at them; anything else that is put there is used through the methods that asyncio's code would call.
 */
#include "sync/queue.h"
#include "rt/args.h"
#include "rt/call.h"
#include "sync/bound.h"
#include "sync/corofn.h"
#include "sync/waiters.h"

#include <stdbool.h>

typedef enum { FIFO, PRIORITY, LIFO } order;

typedef struct {
    PyObject_HEAD
    pa_bound bound;
    PyObject *maxsize;      /* NULL: __init__ did not run */
    Py_ssize_t limit;       /* the same; 0: unlimited; -1: not an int of moderate size */
    PyObject *items;        /* `_queue`; NULL: not assigned */
    PyObject *getters, *putters;
    PyObject *finished;     /* the event `_finished`, made when somebody joins or looks; set while `unfinished` is 0 */
    Py_ssize_t unfinished;
    uint8_t order;
    char plain;             /* `items` is exactly the deque or list that _init makes */
    char is_shutdown;
} queue;

enum {
    GET_LOOP = 1,
    INIT = 2,
    PUT = 4,
    GET = 8,
    QSIZE = 16,
    EMPTY = 32,
    FULL = 64,
    PUT_NOWAIT = 128,
    GET_NOWAIT = 256,
    WAKEUP_NEXT = 512,
};

#define OVERRIDES(st)                                                                                                              \
    {                                                                                                                              \
        {(st)->names._get_loop, GET_LOOP}, {(st)->names._init, INIT}, {(st)->names._put, PUT}, {(st)->names._get, GET},            \
            {(st)->names.qsize, QSIZE}, {(st)->names.empty, EMPTY}, {(st)->names.full, FULL},                                      \
            {(st)->names.put_nowait, PUT_NOWAIT}, {(st)->names.get_nowait, GET_NOWAIT}, {(st)->names._wakeup_next, WAKEUP_NEXT},   \
            {NULL, 0},                                                                                                             \
    }

static unsigned find_overrides(PyObject *self)
{
    pa_state *st = PA_BOUND(self)->st;
    const pa_override names[] = OVERRIDES(st);
    PyTypeObject *native = ((queue *)self)->order == FIFO ? st->Queue : ((queue *)self)->order == LIFO ? st->LifoQueue : st->PriorityQueue;
    return pa_bound_find_overrides(self, native, names);
}

static int queue_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    const pa_override names[] = OVERRIDES(PA_BOUND(self)->st);
    return pa_bound_setattr(self, name, value, names);
}

static inline bool replaced(PyObject *self, unsigned bit) { return (PA_BOUND_OVERRIDES(self, find_overrides) & bit) != 0; }

/* Of a plain queue: nothing of it is overridden, and `items` is what _init makes. */
static inline bool is_plain(PyObject *self) { return ((queue *)self)->plain && PA_BOUND_OVERRIDES(self, find_overrides) == 0; }

static PyObject *items_of(PyObject *self)
{
    PyObject *items = ((queue *)self)->items;
    if (items == NULL)
        PyErr_Format(PyExc_AttributeError, "'%s' object has no attribute '_queue'", Py_TYPE(self)->tp_name);
    return items;
}

/* ---- How much lies in it ---- */

static Py_ssize_t native_qsize(PyObject *self)
{
    PyObject *items = Py_XNewRef(items_of(self)); /* its __len__ may assign another */
    Py_ssize_t size = items != NULL ? PyObject_Size(items) : -1;
    Py_XDECREF(items);
    return size;
}

/* 1, 0 or -1. */
static int native_empty(PyObject *self)
{
    PyObject *items = items_of(self);
    if (items == NULL)
        return -1;
    if (((queue *)self)->plain)
        return Py_SIZE(items) == 0;
    int truth = pa_call_truth(Py_NewRef(items));
    return truth < 0 ? -1 : !truth;
}

/* The same with a maxsize that is not an ordinary int, or a qsize() that is not ours. */
static int full_by_objects(PyObject *self)
{
    queue *q = (queue *)self;
    if (q->maxsize == NULL) {
        PyErr_Format(PyExc_AttributeError, "'%s' object has no attribute '_maxsize'", Py_TYPE(self)->tp_name);
        return -1;
    }
    PyObject *maxsize = Py_NewRef(q->maxsize), *zero = PyLong_FromLong(0), *size = NULL;
    int rc = zero != NULL ? PyObject_RichCompareBool(maxsize, zero, Py_LE) : -1;
    if (rc == 0) {
        size = replaced(self, QSIZE) ? PyObject_CallMethodNoArgs(self, q->bound.st->names.qsize) : PyLong_FromSsize_t(native_qsize(self));
        rc = size != NULL && !PyErr_Occurred() ? PyObject_RichCompareBool(size, maxsize, Py_GE) : -1;
    } else if (rc > 0) {
        rc = 0;
    }
    Py_DECREF(maxsize);
    Py_XDECREF(zero);
    Py_XDECREF(size);
    return rc;
}

static int native_full(PyObject *self)
{
    queue *q = (queue *)self;
    if (q->limit == 0 && q->maxsize != NULL)
        return 0;
    if (q->limit < 0 || q->maxsize == NULL || replaced(self, QSIZE))
        return full_by_objects(self);
    Py_ssize_t size = native_qsize(self);
    return size < 0 ? -1 : size >= q->limit;
}

static int is_empty(PyObject *self)
{
    if (is_plain(self))
        return Py_SIZE(((queue *)self)->items) == 0;
    return replaced(self, EMPTY) ? pa_call_truth(PyObject_CallMethodNoArgs(self, PA_BOUND(self)->st->names.empty)) : native_empty(self);
}

static int is_full(PyObject *self)
{
    queue *q = (queue *)self;
    if (q->limit >= 0 && q->maxsize != NULL && is_plain(self))
        return q->limit > 0 && Py_SIZE(q->items) >= q->limit;
    return replaced(self, FULL) ? pa_call_truth(PyObject_CallMethodNoArgs(self, PA_BOUND(self)->st->names.full)) : native_full(self);
}

/* ---- Putting in and taking out ---- */

static int done(PyObject *result)
{
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* deque.append and popleft, which are C functions of one argument and of none: without the call's ado. */
static PyObject *call_deque(PyObject *method, int flags, PyObject *deque, PyObject *arg)
{
    if (Py_IS_TYPE(method, &PyMethodDescr_Type)) {
        PyMethodDef *def = ((PyMethodDescrObject *)method)->d_method;
        if (def->ml_flags == flags)
            return def->ml_meth(deque, arg);
    }
    PyObject *args[] = {deque, arg};
    return PyObject_Vectorcall(method, args, arg != NULL ? 2 : 1, NULL);
}

static int native_put(PyObject *self, PyObject *item)
{
    queue *q = (queue *)self;
    pa_state *st = q->bound.st;
    PyObject *items = items_of(self);
    if (items == NULL)
        return -1;
    if (q->order == LIFO && q->plain)
        return PyList_Append(items, item);
    items = Py_NewRef(items);
    PyObject *args[] = {items, item}, *result;
    if (q->order == PRIORITY)
        result = PyObject_Vectorcall(st->heappush, args, 2, NULL);
    else
        result = q->plain ? call_deque(st->deque_append, METH_O, items, item) : PyObject_CallMethodOneArg(items, st->names.append, item);
    Py_DECREF(items);
    return done(result);
}

static PyObject *native_get(PyObject *self)
{
    queue *q = (queue *)self;
    pa_state *st = q->bound.st;
    PyObject *items = items_of(self), *item;
    if (items == NULL)
        return NULL;
    Py_INCREF(items);
    if (q->order == PRIORITY)
        item = PyObject_CallOneArg(st->heappop, items);
    else if (q->order == LIFO)
        item = PyObject_CallMethodNoArgs(items, st->names.pop);
    else
        item = q->plain ? call_deque(st->deque_popleft, METH_NOARGS, items, NULL) : PyObject_CallMethodNoArgs(items, st->names.popleft);
    Py_DECREF(items);
    return item;
}

/* The oldest of them that still waits is woken. `waiters` is borrowed, NULL for none. 0 or -1. */
static int native_wakeup_next(pa_state *st, PyObject *waiters)
{
    PyObject *future;
    int rc = 0;
    Py_XINCREF(waiters);
    while (rc == 0 && (future = pa_waiters_pop(waiters)) != NULL) {
        rc = pa_waiter_wake(st, future, Py_None);
        Py_DECREF(future);
    }
    Py_XDECREF(waiters);
    return rc < 0 ? -1 : 0;
}

static int wakeup_next(PyObject *self, PyObject **waiters)
{
    pa_state *st = PA_BOUND(self)->st;
    if (!replaced(self, WAKEUP_NEXT))
        return pa_waiters_len(*waiters) > 0 ? native_wakeup_next(st, *waiters) : 0;
    PyObject *shown = pa_bound_show_waiters(self, waiters, 1);
    PyObject *result = shown != NULL ? PyObject_CallMethodOneArg(self, st->names._wakeup_next, shown) : NULL;
    Py_XDECREF(shown);
    return done(result);
}

/* ---- Unfinished tasks ---- */

/* The event, of the class that programs see. New. */
static PyObject *finished_event(PyObject *self)
{
    queue *q = (queue *)self;
    if (q->finished == NULL) {
        PyObject *made = PyObject_CallNoArgs(q->bound.st->visible_event);
        if (made == NULL || (q->unfinished == 0 && done(PyObject_CallMethodNoArgs(made, q->bound.st->names.set)) < 0)) {
            Py_XDECREF(made);
            return NULL;
        }
        Py_XSETREF(q->finished, made);
    }
    return Py_NewRef(q->finished);
}

/* _finished.set() or .clear(). 0 or -1. */
static int tell_finished(PyObject *self, PyObject *method)
{
    queue *q = (queue *)self;
    if (q->finished == NULL)
        return 0;
    PyObject *finished = Py_NewRef(q->finished);
    int rc = done(PyObject_CallMethodNoArgs(finished, method));
    Py_DECREF(finished);
    return rc;
}

/* ---- put_nowait() and get_nowait() ---- */

static int raise_if_shutdown(PyObject *self)
{
    pa_state *st = PA_BOUND(self)->st;
    if (!((queue *)self)->is_shutdown || st->QueueShutDown == NULL)
        return 0;
    PyErr_SetNone(st->QueueShutDown);
    return -1;
}

static int native_put_nowait(PyObject *self, PyObject *item)
{
    queue *q = (queue *)self;
    pa_state *st = q->bound.st;
    if (raise_if_shutdown(self) < 0)
        return -1;
    int full = is_full(self);
    if (full != 0) {
        if (full > 0)
            PyErr_SetNone(st->QueueFull);
        return -1;
    }
    if ((replaced(self, PUT) ? done(PyObject_CallMethodOneArg(self, st->names._put, item)) : native_put(self, item)) < 0)
        return -1;
    q->unfinished++;
    return tell_finished(self, st->names.clear) < 0 ? -1 : wakeup_next(self, &q->getters);
}

static PyObject *native_get_nowait(PyObject *self)
{
    queue *q = (queue *)self;
    pa_state *st = q->bound.st;
    int empty = is_empty(self);
    if (empty != 0) {
        if (empty > 0 && raise_if_shutdown(self) == 0)
            PyErr_SetNone(st->QueueEmpty);
        return NULL;
    }
    PyObject *item = replaced(self, GET) ? PyObject_CallMethodNoArgs(self, st->names._get) : native_get(self);
    if (item != NULL && wakeup_next(self, &q->putters) < 0)
        Py_CLEAR(item);
    return item;
}

/* ---- put(), get(), join() ---- */

enum { START, WOKEN };

/* Waits in the queue for a turn. */
static PySendResult wait_in(pa_op *op, PyObject **waiters)
{
    PyObject *future = pa_bound_future(op->self, replaced(op->self, GET_LOOP));
    if (future == NULL)
        return PYGEN_ERROR;
    Py_XSETREF(op->b, future);
    op->step = WOKEN;
    return pa_bound_push(op->self, waiters, future) < 0 ? PYGEN_ERROR : pa_op_wait(op, future);
}

/* It does not wait any more, and will not take its turn: if it was woken, the next one is. `blocked` says whether there is nothing to be
 * done for anybody. 0 or -1. */
static int give_up(pa_op *op, PyObject **waiters, int (*blocked)(PyObject *))
{
    pa_state *st = op->st;
    if (pa_waiter_cancel(st, op->b) < 0)
        return -1;
    if (*waiters != NULL)
        (void)pa_waiters_remove(*waiters, op->b);
    int rc = blocked(op->self);
    if (rc != 0)
        return rc < 0 ? -1 : 0;
    pa_waiter_state state = pa_waiter_look(st, op->b);
    if (state == PA_WAITER_ERROR)
        return -1;
    return state != PA_WAITER_CANCELLED ? wakeup_next(op->self, waiters) : 0;
}

/* put() and get() of the usual queue, a FIFO of which nothing is overridden, when there is room or an item: what the steps below come to
 * then, in one. No code of a program's runs in a deque. */
static PySendResult put_at_once(pa_op *op, PyObject **result)
{
    queue *q = (queue *)op->self;
    if (done(call_deque(op->st->deque_append, METH_O, q->items, op->a)) < 0)
        return PYGEN_ERROR;
    q->unfinished++;
    if ((q->finished != NULL && tell_finished(op->self, op->st->names.clear) < 0) ||
        (pa_waiters_len(q->getters) > 0 && native_wakeup_next(op->st, q->getters) < 0))
        return PYGEN_ERROR;
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static PySendResult get_at_once(pa_op *op, PyObject **result)
{
    queue *q = (queue *)op->self;
    PyObject *item = call_deque(op->st->deque_popleft, METH_NOARGS, q->items, NULL);
    if (item != NULL && pa_waiters_len(q->putters) > 0 && native_wakeup_next(op->st, q->putters) < 0)
        Py_CLEAR(item);
    *result = item;
    return item != NULL ? PYGEN_RETURN : PYGEN_ERROR;
}

static PySendResult put_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    PyObject *self = op->self;
    PyObject **putters = &((queue *)self)->putters;
    queue *q = (queue *)self;
    if (thrown != NULL)
        return give_up(op, putters, is_full) < 0 ? PYGEN_ERROR : pa_op_raise(thrown);
    if (q->order == FIFO && q->limit >= 0 && q->maxsize != NULL && !q->is_shutdown && is_plain(self) &&
        (q->limit == 0 || Py_SIZE(q->items) < q->limit))
        return put_at_once(op, result);
    int full = is_full(self);
    if (full > 0)
        return raise_if_shutdown(self) < 0 ? PYGEN_ERROR : wait_in(op, putters);
    if (full < 0)
        return PYGEN_ERROR;
    if (replaced(self, PUT_NOWAIT))
        *result = PyObject_CallMethodOneArg(self, op->st->names.put_nowait, op->a);
    else
        *result = native_put_nowait(self, op->a) == 0 ? Py_NewRef(Py_None) : NULL;
    return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
}

static void put_abandon(pa_op *op) { (void)give_up(op, &((queue *)op->self)->putters, is_full); }

static PySendResult get_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    PyObject *self = op->self;
    PyObject **getters = &((queue *)self)->getters;
    if (thrown != NULL)
        return give_up(op, getters, is_empty) < 0 ? PYGEN_ERROR : pa_op_raise(thrown);
    if (((queue *)self)->order == FIFO && is_plain(self) && Py_SIZE(((queue *)self)->items) > 0)
        return get_at_once(op, result);
    int empty = is_empty(self);
    if (empty > 0 && ((queue *)self)->is_shutdown && op->st->QueueShutDown != NULL && (empty = is_empty(self)) > 0)
        return raise_if_shutdown(self) < 0 ? PYGEN_ERROR : wait_in(op, getters);
    if (empty > 0)
        return wait_in(op, getters);
    if (empty < 0)
        return PYGEN_ERROR;
    *result = replaced(self, GET_NOWAIT) ? PyObject_CallMethodNoArgs(self, op->st->names.get_nowait) : native_get_nowait(self);
    return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
}

static void get_abandon(pa_op *op) { (void)give_up(op, &((queue *)op->self)->getters, is_empty); }

static PySendResult join_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    if (thrown != NULL)
        return pa_op_raise(thrown);
    if (op->step == START && ((queue *)op->self)->unfinished > 0) {
        PyObject *finished = finished_event(op->self);
        PyObject *wait = finished != NULL ? PyObject_CallMethodNoArgs(finished, op->st->names.wait) : NULL;
        op->step = WOKEN;
        PySendResult how = wait != NULL ? pa_op_await(op, wait) : PYGEN_ERROR;
        Py_XDECREF(finished);
        Py_XDECREF(wait);
        return how;
    }
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static const pa_op_kind put_kind = {"put", "Queue.put", put_run, put_abandon};
static const pa_op_kind get_kind = {"get", "Queue.get", get_run, get_abandon};
static const pa_op_kind join_kind = {"join", "Queue.join", join_run, NULL};

PyObject *pa_queue_get(PyObject *self) { return pa_op_new(PA_BOUND(self)->st, &get_kind, self); }

int pa_queue_put(PyObject *self, PyObject *item) { return native_put_nowait(self, item); }

static const char *const item_names[] = {"item", NULL};

static PyObject *queue_put(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const pa_signature sig = {"put", item_names, 1, 1};
    PyObject *item = pa_args_one(self, &sig, args, nargs, kwnames);
    PyObject *op = item != NULL ? pa_op_new(PA_BOUND(self)->st, &put_kind, self) : NULL;
    if (op != NULL)
        ((pa_op *)op)->a = Py_NewRef(item);
    return op;
}

static PyObject *queue_get(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return pa_args_none(self, "get", args, nargs, kwnames) < 0 ? NULL : pa_op_new(PA_BOUND(self)->st, &get_kind, self);
}

static PyObject *queue_join(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return pa_args_none(self, "join", args, nargs, kwnames) < 0 ? NULL : pa_op_new(PA_BOUND(self)->st, &join_kind, self);
}

static const pa_corofn_def queue_coroutines[] = {
    {"put", "Queue.put", queue_put, "put($self, /, item)\n--\n\nPut an item into the queue; if it is full, wait until there is room."},
    {"get", "Queue.get", queue_get, "get($self, /)\n--\n\nRemove and return an item; if there is none, wait for one."},
    {"join", "Queue.join", queue_join,
     "join($self, /)\n--\n\nBlock until task_done() was called for every item that was put into the queue."},
    {NULL, NULL, NULL, NULL},
};

/* ---- Methods ---- */

static PyObject *queue_put_nowait(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const pa_signature sig = {"put_nowait", item_names, 1, 1};
    PyObject *item = pa_args_one(self, &sig, args, nargs, kwnames);
    if (item == NULL || native_put_nowait(self, item) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *queue_get_nowait(PyObject *self, PyObject *unused) { return native_get_nowait(self); }

static PyObject *queue_task_done(PyObject *self, PyObject *unused)
{
    queue *q = (queue *)self;
    if (q->unfinished <= 0) {
        PyErr_SetString(PyExc_ValueError, "task_done() called too many times");
        return NULL;
    }
    if (--q->unfinished == 0 && tell_finished(self, q->bound.st->names.set) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *queue_qsize(PyObject *self, PyObject *unused)
{
    Py_ssize_t size = native_qsize(self);
    return size < 0 ? NULL : PyLong_FromSsize_t(size);
}

static PyObject *queue_empty(PyObject *self, PyObject *unused)
{
    int rc = native_empty(self);
    return rc < 0 ? NULL : PyBool_FromLong(rc);
}

static PyObject *queue_full(PyObject *self, PyObject *unused)
{
    int rc = native_full(self);
    return rc < 0 ? NULL : PyBool_FromLong(rc);
}

static PyObject *queue_put_item(PyObject *self, PyObject *item)
{
    if (native_put(self, item) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *queue_get_item(PyObject *self, PyObject *unused) { return native_get(self); }

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
    int rc = native_wakeup_next(st, own);
    Py_DECREF(own);
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- Making one ---- */

static void assign_items(queue *q, PyObject *items)
{
    PyTypeObject *type = Py_TYPE(items);
    q->plain = q->order == FIFO ? type == q->bound.st->deque : type == &PyList_Type;
    Py_XSETREF(q->items, Py_NewRef(items));
}

static int assign_maxsize(queue *q, PyObject *maxsize)
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
    return 0;
}

static PyObject *queue_init_items(PyObject *self, PyObject *maxsize)
{
    queue *q = (queue *)self;
    PyObject *items = q->order == FIFO ? PyObject_CallNoArgs((PyObject *)q->bound.st->deque) : PyList_New(0);
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
    queue *q = (queue *)self;
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
        rc = done(replaced(self, INIT) ? PyObject_CallMethodOneArg(self, q->bound.st->names._init, maxsize) : queue_init_items(self, maxsize));
        q->is_shutdown = 0;
    }
    Py_XDECREF(maxsize);
    return rc;
}

/* A class may derive from several: the first that gives it _put and _get decides. */
static order order_of(pa_state *st, PyTypeObject *type)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(type->tp_mro); i++) {
        PyTypeObject *class = (PyTypeObject *)PyTuple_GET_ITEM(type->tp_mro, i);
        if (class == st->PriorityQueue || class == st->LifoQueue)
            return class == st->LifoQueue ? LIFO : PRIORITY;
    }
    return FIFO;
}

static PyObject *queue_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *self = pa_bound_new(type, args, kwargs);
    if (self != NULL) {
        pa_state *st = PA_BOUND(self)->st;
        ((queue *)self)->order = order_of(st, type);
    }
    return self;
}

/* ---- Attributes ---- */

static PyObject *get_maxsize(PyObject *self, void *unused)
{
    PyObject *maxsize = ((queue *)self)->maxsize;
    if (maxsize == NULL)
        PyErr_Format(PyExc_AttributeError, "'%s' object has no attribute '_maxsize'", Py_TYPE(self)->tp_name);
    return Py_XNewRef(maxsize);
}

static int set_maxsize(PyObject *self, PyObject *value, void *unused)
{
    return value == NULL ? pa_err_cannot_delete(self, "_maxsize") : assign_maxsize((queue *)self, value);
}

static PyObject *get_items(PyObject *self, void *unused) { return Py_XNewRef(items_of(self)); }

static int set_items(PyObject *self, PyObject *value, void *unused)
{
    if (value == NULL)
        return pa_err_cannot_delete(self, "_queue");
    assign_items((queue *)self, value);
    return 0;
}

static PyObject *get_getters(PyObject *self, void *unused) { return pa_bound_show_waiters(self, &((queue *)self)->getters, 1); }

static int set_getters(PyObject *self, PyObject *value, void *unused)
{
    return pa_bound_assign_waiters(self, &((queue *)self)->getters, value);
}

static PyObject *get_putters(PyObject *self, void *unused) { return pa_bound_show_waiters(self, &((queue *)self)->putters, 1); }

static int set_putters(PyObject *self, PyObject *value, void *unused)
{
    return pa_bound_assign_waiters(self, &((queue *)self)->putters, value);
}

static PyObject *get_finished(PyObject *self, void *unused) { return finished_event(self); }

static int set_finished(PyObject *self, PyObject *value, void *unused)
{
    Py_XSETREF(((queue *)self)->finished, Py_XNewRef(value));
    return 0;
}

/* ---- Setup ---- */

static int queue_traverse(PyObject *self, visitproc visit, void *arg)
{
    queue *q = (queue *)self;
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
    queue *q = (queue *)self;
    q->plain = 0; /* should C code still get at it while the collector takes its surroundings apart */
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
    {"_unfinished_tasks", Py_T_PYSSIZET, offsetof(queue, unfinished), 0, NULL},
    {"_is_shutdown", Py_T_BOOL, offsetof(queue, is_shutdown), 0, NULL},
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
    PyType_Spec spec = {name, sizeof(queue), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | (base == NULL ? Py_TPFLAGS_HAVE_GC : 0), slots};
    *out = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, (PyObject *)base);
    return *out == NULL || pa_type_add_methods(*out, item_methods) < 0 ? -1 : PyModule_AddType(module, *out);
}

static int import_what_is_used(pa_state *st)
{
    PyObject *deque;
    if (pa_import_from("collections", "deque", &deque) < 0)
        return -1;
    st->deque = (PyTypeObject *)deque;
    if ((st->deque_append = PyObject_GetAttrString(deque, "append")) == NULL ||
        (st->deque_popleft = PyObject_GetAttrString(deque, "popleft")) == NULL ||
        pa_import_from("heapq", "heappush", &st->heappush) < 0 || pa_import_from("heapq", "heappop", &st->heappop) < 0 ||
        pa_import_from("asyncio.queues", "QueueEmpty", &st->QueueEmpty) < 0 ||
        pa_import_from("asyncio.queues", "QueueFull", &st->QueueFull) < 0)
        return -1;
    return PA_HAS_QUEUE_SHUTDOWN ? pa_import_from("asyncio.queues", "QueueShutDown", &st->QueueShutDown) : 0;
}

int pa_queue_setup(PyObject *module, pa_state *st)
{
    if (import_what_is_used(st) < 0 || make_type(module, "pyasync._core.Queue", queue_slots, NULL, &st->Queue) < 0 ||
        pa_corofn_add_methods(st, st->Queue, queue_coroutines) < 0 ||
        make_type(module, "pyasync._core.PriorityQueue", priority_slots, st->Queue, &st->PriorityQueue) < 0)
        return -1;
    return make_type(module, "pyasync._core.LifoQueue", lifo_slots, st->Queue, &st->LifoQueue);
}
