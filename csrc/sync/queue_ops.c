/* put(), get() and join() of a queue, the operations.
 *
 * put() and get() wait for a turn, not for an item: whoever is woken looks again, and waits again if a newcomer was faster. One that is
 * cancelled after it was woken wakes the next.
 */
#include "sync/queue_impl.h"
#include "rt/args.h"
#include "rt/call.h"
#include "rt/error.h"
#include "sync/waiters.h"

enum { START, WOKEN };

/* Waits in the queue for a turn. */
static PySendResult wait_in(pa_op *op, PyObject **waiters)
{
    PyObject *future = pa_bound_future(op->self, pa_queue_replaced(op->self, PA_QUEUE_GET_LOOP));
    if (future == NULL)
        return PYGEN_ERROR;
    Py_XSETREF(op->b, future);
    op->step = WOKEN;
    return pa_bound_push(op->self, waiters, future) < 0 ? PYGEN_ERROR : pa_op_wait(op, future);
}

/* It does not wait any more, since `thrown` came, and will not take its turn: if it was woken, the next one is. `blocked` says whether there
 * is nothing to be done for anybody. 0 or -1. */
static int do_give_up(pa_op *op, PyObject **waiters, int (*blocked)(PyObject *))
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
    return state != PA_WAITER_CANCELLED ? pa_queue_wakeup_next(op->self, waiters) : 0;
}

static PySendResult give_up(pa_op *op, PyObject *thrown, PyObject **waiters, int (*blocked)(PyObject *))
{
    PyObject *before = pa_error_handle(thrown);
    int rc = do_give_up(op, waiters, blocked);
    pa_error_handled(before);
    return rc < 0 ? PYGEN_ERROR : pa_op_raise(thrown);
}

/* put() and get() of the usual queue, of which nothing is overridden, when there is room or an item: what the steps below come to then,
 * in one, and apart from them, so that it saves no registers. */
static inline bool is_usual(PyObject *self)
{
    return ((pa_queue *)self)->usual && PA_BOUND_OVERRIDES(self, pa_queue_find_overrides) == 0;
}

static PySendResult put_at_once(pa_op *op, PyObject **result)
{
    pa_queue *q = (pa_queue *)op->self;
    if (pa_call_nothing(op->st->deque_append(q->items, op->a)) < 0)
        return PYGEN_ERROR;
    q->unfinished++;
    if ((q->finished != NULL && pa_queue_tell_finished(op->self, op->st->names.clear) < 0) ||
        (pa_waiters_len(q->getters) > 0 && pa_queue_native_wakeup_next(op->st, q->getters) < 0))
        return PYGEN_ERROR;
    *result = pa_constant_ref(Py_None);
    return PYGEN_RETURN;
}

static PySendResult get_at_once(pa_op *op, PyObject **result)
{
    pa_queue *q = (pa_queue *)op->self;
    PyObject *item = op->st->deque_popleft(q->items, NULL);
    if (item != NULL && pa_waiters_len(q->putters) > 0 && pa_queue_native_wakeup_next(op->st, q->putters) < 0)
        Py_CLEAR(item);
    *result = item;
    return item != NULL ? PYGEN_RETURN : PYGEN_ERROR;
}

Py_NO_INLINE static PySendResult put_by_steps(pa_op *op, PyObject *thrown, PyObject **result)
{
    PyObject *self = op->self;
    PyObject **putters = &((pa_queue *)self)->putters;
    if (thrown != NULL)
        return give_up(op, thrown, putters, pa_queue_is_full);
    int full = pa_queue_is_full(self);
    if (full > 0)
        return pa_queue_raise_if_shutdown(self) < 0 ? PYGEN_ERROR : wait_in(op, putters);
    if (full < 0)
        return PYGEN_ERROR;
    if (pa_queue_replaced(self, PA_QUEUE_PUT_NOWAIT))
        *result = PyObject_CallMethodOneArg(self, op->st->names.put_nowait, op->a);
    else
        *result = pa_queue_put(self, op->a) == 0 ? Py_NewRef(Py_None) : NULL;
    return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
}

static PySendResult put_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    pa_queue *q = (pa_queue *)op->self;
    if (thrown == NULL && is_usual(op->self) && !q->is_shutdown && (q->limit == 0 || Py_SIZE(q->items) < q->limit))
        return put_at_once(op, result);
    return put_by_steps(op, thrown, result);
}

Py_NO_INLINE static PySendResult get_by_steps(pa_op *op, PyObject *thrown, PyObject **result)
{
    PyObject *self = op->self;
    PyObject **getters = &((pa_queue *)self)->getters;
    if (thrown != NULL)
        return give_up(op, thrown, getters, pa_queue_is_empty);
    int empty = pa_queue_is_empty(self);
    if (empty > 0 && ((pa_queue *)self)->is_shutdown && op->st->QueueShutDown != NULL && (empty = pa_queue_is_empty(self)) > 0)
        return pa_queue_raise_if_shutdown(self) < 0 ? PYGEN_ERROR : wait_in(op, getters);
    if (empty > 0)
        return wait_in(op, getters);
    if (empty < 0)
        return PYGEN_ERROR;
    *result = pa_queue_replaced(self, PA_QUEUE_GET_NOWAIT) ? PyObject_CallMethodNoArgs(self, op->st->names.get_nowait)
                                                           : pa_queue_get_nowait(self);
    return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
}

static PySendResult get_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    if (thrown == NULL && is_usual(op->self) && Py_SIZE(((pa_queue *)op->self)->items) > 0)
        return get_at_once(op, result);
    return get_by_steps(op, thrown, result);
}

static PySendResult join_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    if (thrown != NULL)
        return pa_op_raise(thrown);
    if (op->step == START && ((pa_queue *)op->self)->unfinished > 0) {
        PyObject *finished = pa_queue_finished(op->self);
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

static const pa_op_kind put_kind = {"put", "Queue.put", put_run, NULL};
static const pa_op_kind get_kind = {"get", "Queue.get", get_run, NULL};
static const pa_op_kind join_kind = {"join", "Queue.join", join_run, NULL};

PyObject *pa_queue_get(PyObject *self) { return pa_op_new(PA_BOUND(self)->st, &get_kind, self); }

const char *const pa_queue_item_names[] = {"item", NULL};

static PyObject *queue_put(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const pa_signature sig = {"put", pa_queue_item_names, 1, 1};
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

const pa_corofn_def pa_queue_coroutines[] = {
    {"put", "Queue.put", queue_put, "put($self, /, item)\n--\n\nPut an item into the queue; if it is full, wait until there is room."},
    {"get", "Queue.get", queue_get, "get($self, /)\n--\n\nRemove and return an item; if there is none, wait for one."},
    {"join", "Queue.join", queue_join,
     "join($self, /)\n--\n\nBlock until task_done() was called for every item that was put into the queue."},
    {NULL, NULL, NULL, NULL},
};
