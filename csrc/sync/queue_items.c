/* What lies in a queue: how much it is, putting in and taking out without waiting, and whom that wakes.
 *
 * What a subclass overrides (_put, _get, qsize, full, ...) is called by its name. The items lie in a real deque or list, `_queue`,
 * since programs look at them; anything else that is put there is used through the methods that asyncio's code would call.
 */
#include "sync/queue_impl.h"
#include "rt/call.h"
#include "sync/waiters.h"

PyObject *pa_queue_items(PyObject *self)
{
    PyObject *items = ((pa_queue *)self)->items;
    if (items == NULL)
        PyErr_Format(PyExc_AttributeError, "'%s' object has no attribute '_queue'", Py_TYPE(self)->tp_name);
    return items;
}

/* ---- How much lies in it ---- */

Py_ssize_t pa_queue_qsize(PyObject *self)
{
    PyObject *items = Py_XNewRef(pa_queue_items(self)); /* its __len__ may assign another */
    Py_ssize_t size = items != NULL ? PyObject_Size(items) : -1;
    Py_XDECREF(items);
    return size;
}

int pa_queue_native_empty(PyObject *self)
{
    PyObject *items = pa_queue_items(self);
    if (items == NULL)
        return -1;
    if (((pa_queue *)self)->plain)
        return Py_SIZE(items) == 0;
    int truth = pa_call_truth(Py_NewRef(items));
    return truth < 0 ? -1 : !truth;
}

/* The same with a maxsize that is not an ordinary int, or a qsize() that is not ours. */
static int full_by_objects(PyObject *self)
{
    pa_queue *q = (pa_queue *)self;
    if (q->maxsize == NULL) {
        PyErr_Format(PyExc_AttributeError, "'%s' object has no attribute '_maxsize'", Py_TYPE(self)->tp_name);
        return -1;
    }
    PyObject *maxsize = Py_NewRef(q->maxsize), *zero = PyLong_FromLong(0), *size = NULL;
    int rc = zero != NULL ? PyObject_RichCompareBool(maxsize, zero, Py_LE) : -1;
    if (rc == 0) {
        size = pa_queue_replaced(self, PA_QUEUE_QSIZE) ? PyObject_CallMethodNoArgs(self, q->bound.st->names.qsize)
                                                       : PyLong_FromSsize_t(pa_queue_qsize(self));
        rc = size != NULL && !PyErr_Occurred() ? PyObject_RichCompareBool(size, maxsize, Py_GE) : -1;
    } else if (rc > 0) {
        rc = 0;
    }
    Py_DECREF(maxsize);
    Py_XDECREF(zero);
    Py_XDECREF(size);
    return rc;
}

int pa_queue_native_full(PyObject *self)
{
    pa_queue *q = (pa_queue *)self;
    if (q->limit == 0 && q->maxsize != NULL)
        return 0;
    if (q->limit < 0 || q->maxsize == NULL || pa_queue_replaced(self, PA_QUEUE_QSIZE))
        return full_by_objects(self);
    Py_ssize_t size = pa_queue_qsize(self);
    return size < 0 ? -1 : size >= q->limit;
}

int pa_queue_is_empty(PyObject *self)
{
    if (pa_queue_is_plain(self))
        return Py_SIZE(((pa_queue *)self)->items) == 0;
    if (pa_queue_replaced(self, PA_QUEUE_EMPTY))
        return pa_call_truth(PyObject_CallMethodNoArgs(self, PA_BOUND(self)->st->names.empty));
    return pa_queue_native_empty(self);
}

int pa_queue_is_full(PyObject *self)
{
    pa_queue *q = (pa_queue *)self;
    if (q->limit >= 0 && q->maxsize != NULL && pa_queue_is_plain(self))
        return q->limit > 0 && Py_SIZE(q->items) >= q->limit;
    if (pa_queue_replaced(self, PA_QUEUE_FULL))
        return pa_call_truth(PyObject_CallMethodNoArgs(self, PA_BOUND(self)->st->names.full));
    return pa_queue_native_full(self);
}

/* ---- Putting in and taking out ---- */

int pa_queue_native_put(PyObject *self, PyObject *item)
{
    pa_queue *q = (pa_queue *)self;
    pa_state *st = q->bound.st;
    PyObject *items = pa_queue_items(self);
    if (items == NULL)
        return -1;
    if (q->order == PA_QUEUE_LIFO && q->plain)
        return PyList_Append(items, item);
    items = Py_NewRef(items);
    PyObject *args[] = {items, item}, *result;
    if (q->order == PA_QUEUE_PRIORITY)
        result = PyObject_Vectorcall(st->heappush, args, 2, NULL);
    else
        result = q->plain ? st->deque_append(items, item)
                          : PyObject_CallMethodOneArg(items, st->names.append, item);
    Py_DECREF(items);
    return pa_call_nothing(result);
}

PyObject *pa_queue_native_get(PyObject *self)
{
    pa_queue *q = (pa_queue *)self;
    pa_state *st = q->bound.st;
    PyObject *items = pa_queue_items(self), *item;
    if (items == NULL)
        return NULL;
    Py_INCREF(items);
    if (q->order == PA_QUEUE_PRIORITY)
        item = PyObject_CallOneArg(st->heappop, items);
    else if (q->order == PA_QUEUE_LIFO)
        item = PyObject_CallMethodNoArgs(items, st->names.pop);
    else
        item = q->plain ? st->deque_popleft(items, NULL)
                        : PyObject_CallMethodNoArgs(items, st->names.popleft);
    Py_DECREF(items);
    return item;
}

int pa_queue_native_wakeup_next(pa_state *st, PyObject *waiters)
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

int pa_queue_wakeup_next(PyObject *self, PyObject **waiters)
{
    pa_state *st = PA_BOUND(self)->st;
    if (!pa_queue_replaced(self, PA_QUEUE_WAKEUP_NEXT))
        return pa_waiters_len(*waiters) > 0 ? pa_queue_native_wakeup_next(st, *waiters) : 0;
    PyObject *shown = pa_bound_show_waiters(self, waiters, 1);
    PyObject *result = shown != NULL ? PyObject_CallMethodOneArg(self, st->names._wakeup_next, shown) : NULL;
    Py_XDECREF(shown);
    return pa_call_nothing(result);
}

/* ---- Unfinished tasks ---- */

PyObject *pa_queue_finished(PyObject *self)
{
    pa_queue *q = (pa_queue *)self;
    if (q->finished == NULL) {
        PyObject *made = PyObject_CallNoArgs(q->bound.st->visible_event);
        if (made == NULL || (q->unfinished == 0 && pa_call_nothing(PyObject_CallMethodNoArgs(made, q->bound.st->names.set)) < 0)) {
            Py_XDECREF(made);
            return NULL;
        }
        Py_XSETREF(q->finished, made);
    }
    return Py_NewRef(q->finished);
}

int pa_queue_tell_finished(PyObject *self, PyObject *method)
{
    pa_queue *q = (pa_queue *)self;
    if (q->finished == NULL)
        return 0;
    PyObject *finished = Py_NewRef(q->finished);
    int rc = pa_call_nothing(PyObject_CallMethodNoArgs(finished, method));
    Py_DECREF(finished);
    return rc;
}

/* ---- put_nowait() and get_nowait() ---- */

int pa_queue_raise_if_shutdown(PyObject *self)
{
    pa_state *st = PA_BOUND(self)->st;
    if (!((pa_queue *)self)->is_shutdown || st->QueueShutDown == NULL)
        return 0;
    PyErr_SetNone(st->QueueShutDown);
    return -1;
}

int pa_queue_put(PyObject *self, PyObject *item)
{
    pa_queue *q = (pa_queue *)self;
    pa_state *st = q->bound.st;
    if (pa_queue_raise_if_shutdown(self) < 0)
        return -1;
    int full = pa_queue_is_full(self);
    if (full != 0) {
        if (full > 0)
            PyErr_SetNone(st->QueueFull);
        return -1;
    }
    int rc = pa_queue_replaced(self, PA_QUEUE_PUT) ? pa_call_nothing(PyObject_CallMethodOneArg(self, st->names._put, item))
                                                   : pa_queue_native_put(self, item);
    if (rc < 0)
        return -1;
    q->unfinished++;
    return pa_queue_tell_finished(self, st->names.clear) < 0 ? -1 : pa_queue_wakeup_next(self, &q->getters);
}

PyObject *pa_queue_get_nowait(PyObject *self)
{
    pa_queue *q = (pa_queue *)self;
    pa_state *st = q->bound.st;
    int empty = pa_queue_is_empty(self);
    if (empty != 0) {
        if (empty > 0 && pa_queue_raise_if_shutdown(self) == 0)
            PyErr_SetNone(st->QueueEmpty);
        return NULL;
    }
    PyObject *item = pa_queue_replaced(self, PA_QUEUE_GET) ? PyObject_CallMethodNoArgs(self, st->names._get) : pa_queue_native_get(self);
    if (item != NULL && pa_queue_wakeup_next(self, &q->putters) < 0)
        Py_CLEAR(item);
    return item;
}
