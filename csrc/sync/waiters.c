/* The FIFO of futures, and what is done to a future that somebody waits for.
 *
 * A queue owns its futures. Waking one may run user code (a loop that is not ours, an overridden call_soon), which may change the queue:
 * whoever walks along it owns what it works on and looks at the length again.
 */
#include "sync/waiters.h"
#include "sync/traits.h"
#include "core/future_impl.h"

#define RING(self) (&((pa_waiters *)(self))->ring)

/* ---- For C ---- */

PyObject *pa_waiters_new(pa_state *st)
{
    pa_waiters *self = PyObject_GC_New(pa_waiters, st->Waiters);
    if (self == NULL)
        return NULL;
    pa_waiter_ring_init(&self->ring);
    self->changes = 0;
    self->weakrefs = NULL;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

int pa_waiters_push(PyObject *waiters, PyObject *future)
{
    if (pa_waiter_ring_push(RING(waiters), (pa_waiter){future}) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    Py_INCREF(future);
    ((pa_waiters *)waiters)->changes++;
    return 0;
}

PyObject *pa_waiters_pop(PyObject *waiters)
{
    if (pa_waiters_len(waiters) == 0)
        return NULL;
    ((pa_waiters *)waiters)->changes++;
    return pa_waiter_ring_pop(RING(waiters)).future;
}

int pa_waiters_remove(PyObject *waiters, PyObject *future)
{
    size_t n = pa_waiters_len(waiters), i = 0;
    while (i < n && pa_waiters_at(waiters, i) != future)
        i++;
    if (i == n)
        return 0;
    ((pa_waiters *)waiters)->changes++;
    Py_DECREF(pa_waiter_ring_take(RING(waiters), i).future);
    return 1;
}

/* future.name() as a truth value, or -1. */
static int ask(PyObject *future, PyObject *name)
{
    PyObject *answer = PyObject_CallMethodNoArgs(future, name);
    int truth = answer != NULL ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    return truth;
}

pa_waiter_state pa_waiter_look(pa_state *st, PyObject *future)
{
    if (pa_future_is_exact(future)) {
        pa_future *f = pa_future_find(future);
        return f->state == PA_FUTURE_PENDING     ? PA_WAITER_PENDING
               : f->state == PA_FUTURE_CANCELLED ? PA_WAITER_CANCELLED
                                                 : PA_WAITER_DONE;
    }
    int truth = ask(future, st->names.cancelled);
    if (truth != 0)
        return truth < 0 ? PA_WAITER_ERROR : PA_WAITER_CANCELLED;
    truth = ask(future, st->names.done);
    return truth < 0 ? PA_WAITER_ERROR : truth ? PA_WAITER_DONE : PA_WAITER_PENDING;
}

int pa_waiter_wake(pa_state *st, PyObject *future, PyObject *value)
{
    if (pa_future_is_exact(future) && !pa_future_find(future)->is_task) {
        pa_future *f = pa_future_find(future);
        if (f->state != PA_FUTURE_PENDING)
            return 0;
        return pa_future_do_result(future, f, value) < 0 ? -1 : 1;
    }
    int done = ask(future, st->names.done);
    if (done != 0)
        return done < 0 ? -1 : 0;
    PyObject *result = PyObject_CallMethodOneArg(future, st->names.set_result, value);
    Py_XDECREF(result);
    return result != NULL ? 1 : -1;
}

int pa_waiter_cancel(pa_state *st, PyObject *future)
{
    if (pa_future_is_exact(future) && !pa_future_find(future)->is_task)
        return pa_future_do_cancel(future, pa_future_find(future), Py_None) < 0 ? -1 : 0;
    PyObject *result = PyObject_CallMethodNoArgs(future, st->names.cancel);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* ---- For Python: a deque's methods ---- */

static PyObject *waiters_append(PyObject *self, PyObject *future)
{
    if (pa_waiters_push(self, future) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *waiters_popleft(PyObject *self, PyObject *unused)
{
    PyObject *future = pa_waiters_pop(self);
    if (future == NULL)
        PyErr_SetString(PyExc_IndexError, "pop from an empty deque");
    return future;
}

static PyObject *waiters_pop(PyObject *self, PyObject *unused)
{
    size_t n = pa_waiters_len(self);
    if (n == 0)
        return waiters_popleft(self, NULL);
    ((pa_waiters *)self)->changes++;
    return pa_waiter_ring_take(RING(self), n - 1).future;
}

static PyObject *waiters_list(PyObject *self)
{
    size_t n = pa_waiters_len(self);
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (size_t i = 0; list != NULL && i < n; i++)
        PyList_SET_ITEM(list, (Py_ssize_t)i, Py_NewRef(pa_waiters_at(self, i)));
    return list;
}

/* Where something equal to `value` lies; -1 if nowhere, -2 with an exception. */
static Py_ssize_t find_equal(PyObject *self, PyObject *value)
{
    size_t changes = ((pa_waiters *)self)->changes;
    for (size_t i = 0; i < pa_waiters_len(self); i++) {
        PyObject *item = Py_NewRef(pa_waiters_at(self, i));
        int equal = PyObject_RichCompareBool(item, value, Py_EQ);
        Py_DECREF(item);
        if (equal >= 0 && changes != ((pa_waiters *)self)->changes) {
            PyErr_SetString(PyExc_IndexError, "deque mutated during remove().");
            return -2;
        }
        if (equal != 0)
            return equal < 0 ? -2 : (Py_ssize_t)i;
    }
    return -1;
}

static PyObject *waiters_remove(PyObject *self, PyObject *value)
{
    Py_ssize_t i = find_equal(self, value);
    if (i < 0) {
        if (i == -1)
            PyErr_SetString(PyExc_ValueError, "deque.remove(x): x not in deque");
        return NULL;
    }
    ((pa_waiters *)self)->changes++;
    Py_DECREF(pa_waiter_ring_take(RING(self), (size_t)i).future);
    Py_RETURN_NONE;
}

static int waiters_contains(PyObject *self, PyObject *value)
{
    Py_ssize_t i = find_equal(self, value);
    return i == -2 ? -1 : i >= 0;
}

static int waiters_clear(PyObject *self)
{
    PyObject *future;
    while ((future = pa_waiters_pop(self)) != NULL)
        Py_DECREF(future);
    return 0;
}

static PyObject *waiters_clear_method(PyObject *self, PyObject *unused)
{
    (void)waiters_clear(self);
    Py_RETURN_NONE;
}

static Py_ssize_t waiters_length(PyObject *self) { return (Py_ssize_t)pa_waiters_len(self); }

static PyObject *waiters_item(PyObject *self, Py_ssize_t i)
{
    if (i < 0 || i >= waiters_length(self)) {
        PyErr_SetString(PyExc_IndexError, "deque index out of range");
        return NULL;
    }
    return Py_NewRef(pa_waiters_at(self, (size_t)i));
}

/* As a deque's, it would fail once the queue changes; an iterator over a copy cannot. */
static PyObject *waiters_iter(PyObject *self)
{
    PyObject *list = waiters_list(self);
    PyObject *iter = list != NULL ? PyObject_GetIter(list) : NULL;
    Py_XDECREF(list);
    return iter;
}

static PyObject *waiters_repr(PyObject *self)
{
    PyObject *list = waiters_list(self);
    PyObject *repr = list != NULL ? PyUnicode_FromFormat("deque(%R)", list) : NULL;
    Py_XDECREF(list);
    return repr;
}

PyObject *pa_waiters_from(pa_state *st, PyObject *iterable)
{
    PyObject *list = PySequence_List(iterable);
    PyObject *self = list != NULL ? pa_waiters_new(st) : NULL;
    for (Py_ssize_t i = 0; self != NULL && i < PyList_GET_SIZE(list); i++)
        if (pa_waiters_push(self, PyList_GET_ITEM(list, i)) < 0)
            Py_CLEAR(self);
    Py_XDECREF(list);
    return self;
}

/* ---- Setup ---- */

static int waiters_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    for (size_t i = 0; i < pa_waiters_len(self); i++)
        Py_VISIT(pa_waiters_at(self, i));
    return 0;
}

static void waiters_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (((pa_waiters *)self)->weakrefs != NULL)
        PyObject_ClearWeakRefs(self);
    (void)waiters_clear(self);
    pa_waiter_ring_free(RING(self));
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef waiters_methods[] = {
    {"append", waiters_append, METH_O, "Add a future at the end."},
    {"popleft", waiters_popleft, METH_NOARGS, "Remove and return the oldest future."},
    {"pop", waiters_pop, METH_NOARGS, "Remove and return the newest future."},
    {"remove", waiters_remove, METH_O, "Remove the first future that equals the given one."},
    {"clear", waiters_clear_method, METH_NOARGS, "Remove all futures."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef waiters_members[] = {
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(pa_waiters, weakrefs), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot waiters_slots[] = {
    {Py_tp_doc, (void *)"The futures that wait, the oldest first: a deque, as far as it goes."},
    {Py_tp_methods, waiters_methods},
    {Py_tp_members, waiters_members},
    {Py_tp_iter, waiters_iter},
    {Py_tp_repr, waiters_repr},
    {Py_tp_dealloc, waiters_dealloc},
    {Py_tp_traverse, waiters_traverse},
    {Py_tp_clear, waiters_clear},
    {Py_sq_length, waiters_length},
    {Py_sq_item, waiters_item},
    {Py_sq_contains, waiters_contains},
    {0, NULL},
};

PyDoc_STRVAR(use_classes_doc, "_use_classes($module, event, lock, condition, barrier, semaphore_wakes_all, condition_renotifies, /)\n--\n\n"
             "Make these classes what queues, conditions and barriers make, and say how the running asyncio behaves.");
static PyObject *use_classes(PyObject *module, PyObject *args)
{
    static const char *const of_barrier[] = {"wait", "_block", "_release", "_wait", "_exit", NULL};
    pa_state *st = pa_state_of_module(module);
    PyObject *event, *lock, *condition, *barrier;
    if (!PyArg_ParseTuple(args, "OOOO!pp", &event, &lock, &condition, &PyType_Type, &barrier, &st->semaphore_wakes_all,
                          &st->condition_renotifies) ||
        pa_class_take(barrier, of_barrier, &st->joined_Barrier, &st->barrier_methods) < 0)
        return NULL;
    Py_XSETREF(st->visible_condition, Py_NewRef(condition));
    Py_XSETREF(st->visible_event, Py_NewRef(event));
    Py_XSETREF(st->visible_lock, Py_NewRef(lock));
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"_use_classes", use_classes, METH_VARARGS, use_classes_doc},
    {NULL, NULL, 0, NULL},
};

int pa_waiters_setup(PyObject *module, pa_state *st)
{
    PyType_Spec spec = {"pyasync._core.Waiters", sizeof(pa_waiters), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                        waiters_slots};
    st->Waiters = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return st->Waiters != NULL ? PyModule_AddFunctions(module, functions) : -1;
}
