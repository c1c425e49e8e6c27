/* _ready and _scheduled as the user sees them.
 *
 * _ready is a view of the ring with a deque's methods. Entries without a Handle get one, in their place, when they are looked at: the
 * Handle one gets is the one that will run, and cancelling it works.
 *
 * _scheduled has to be a list, because code that replaces _run_once (nest_asyncio) pops it with heapq. It is a copy of the heap,
 * remembered; before the loop uses its timers again, or gives out the next copy, timers that have vanished from the list leave the
 * heap, and timers that have come enter it.
 */
#include "core/loop_impl.h"

#include <stdlib.h>

/* ---- _ready ---- */

typedef struct {
    PyObject_HEAD
    pa_loop *loop; /* owned */
} ready_view;

PyObject *pa_ready_view(pa_loop *loop)
{
    ready_view *view = PyObject_GC_New(ready_view, loop->st->ReadyView);
    if (view == NULL)
        return NULL;
    view->loop = (pa_loop *)Py_NewRef((PyObject *)loop);
    PyObject_GC_Track(view);
    return (PyObject *)view;
}

static int view_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT((PyObject *)((ready_view *)self)->loop);
    return 0;
}

static void view_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF((PyObject *)((ready_view *)self)->loop);
    type->tp_free(self);
    Py_DECREF(type);
}

/* The ring, everything that other threads added included. NULL with MemoryError. */
static pa_ready_ring *whole_ring(PyObject *self)
{
    pa_loop *loop = ((ready_view *)self)->loop;
    return pa_loop_drain_inbox(loop) == 0 ? &loop->ready : NULL;
}

/* The Handle of the i-th entry, in the entry's place if it still has one: making it may run a finalizer that schedules or takes, and
 * so move the ring. New. */
static PyObject *handle_at(pa_loop *loop, pa_ready_ring *ring, size_t i)
{
    pa_ready entry = *pa_ready_ring_at(ring, i), copy = entry;
    if (entry.kind == PA_READY_HANDLE)
        return Py_NewRef(entry.a);
    Py_INCREF(copy.a);
    if (copy.kind != PA_READY_IO)
        Py_XINCREF((PyObject *)copy.b);
    Py_XINCREF(copy.context);
    PyObject *handle = Py_XNewRef(pa_ready_handle(loop, &copy));
    for (size_t k = 0; handle != NULL && k < pa_ready_ring_len(ring); k++) {
        pa_ready *place = pa_ready_ring_at(ring, k);
        if (place->kind != entry.kind || place->a != entry.a || place->b != entry.b || place->context != entry.context)
            continue;
        *place = copy;
        copy = entry; /* what the ring owned is dropped, once it is not in it any more */
        break;
    }
    pa_ready_drop(&copy);
    return handle;
}

/* The Handles of all entries, oldest first. Making a Handle may run a finalizer that schedules or takes: look at the length anew. New. */
static PyObject *list_ready(PyObject *self)
{
    pa_ready_ring *ring = whole_ring(self);
    PyObject *list = ring != NULL ? PyList_New(0) : NULL;
    for (size_t i = 0; list != NULL && i < pa_ready_ring_len(ring); i++) {
        PyObject *handle = handle_at(((ready_view *)self)->loop, ring, i);
        if (handle == NULL || PyList_Append(list, handle) < 0)
            Py_CLEAR(list);
        Py_XDECREF(handle);
    }
    return list;
}

static Py_ssize_t view_length(PyObject *self)
{
    pa_ready_ring *ring = whole_ring(self);
    return ring != NULL ? (Py_ssize_t)pa_ready_ring_len(ring) : -1;
}

static PyObject *view_iter(PyObject *self)
{
    PyObject *list = list_ready(self), *iter = list != NULL ? PyObject_GetIter(list) : NULL;
    Py_XDECREF(list);
    return iter;
}

static PyObject *view_item(PyObject *self, Py_ssize_t i)
{
    pa_ready_ring *ring = whole_ring(self);
    if (ring == NULL)
        return NULL;
    if (i < 0 || (size_t)i >= pa_ready_ring_len(ring)) {
        PyErr_SetString(PyExc_IndexError, "deque index out of range");
        return NULL;
    }
    return handle_at(((ready_view *)self)->loop, ring, (size_t)i);
}

/* Takes the i-th entry out as a Handle. New. */
static PyObject *take(PyObject *self, pa_ready_ring *ring, size_t i)
{
    pa_loop *loop = ((ready_view *)self)->loop;
    pa_ready entry = pa_ready_ring_take(ring, i);
    PyObject *handle = Py_XNewRef(pa_ready_handle(loop, &entry));
    pa_ready_drop(&entry);
    return handle;
}

static int view_delete(PyObject *self, Py_ssize_t i, PyObject *value)
{
    pa_loop_ready_is_taken(((ready_view *)self)->loop);
    pa_ready_ring *ring = whole_ring(self);
    if (ring == NULL)
        return -1;
    if (i < 0 || (size_t)i >= pa_ready_ring_len(ring)) {
        PyErr_SetString(PyExc_IndexError, "deque index out of range");
        return -1;
    }
    pa_ready old = pa_ready_ring_take(ring, (size_t)i);
    pa_ready_drop(&old);
    if (value == NULL)
        return 0;
    if (pa_ready_ring_push(ring, (pa_ready){.kind = PA_READY_HANDLE, .a = value}) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    Py_INCREF(value);
    for (size_t last = pa_ready_ring_len(ring) - 1; last > (size_t)i; last--) {
        pa_ready swap = *pa_ready_ring_at(ring, last);
        *pa_ready_ring_at(ring, last) = *pa_ready_ring_at(ring, last - 1);
        *pa_ready_ring_at(ring, last - 1) = swap;
    }
    return 0;
}

static PyObject *view_append(PyObject *self, PyObject *handle)
{
    if (pa_loop_push(((ready_view *)self)->loop, (pa_ready){.kind = PA_READY_HANDLE, .a = Py_NewRef(handle)}) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *view_appendleft(PyObject *self, PyObject *handle)
{
    PyObject *result = view_append(self, handle);
    pa_ready_ring *ring = &((ready_view *)self)->loop->ready;
    for (size_t i = pa_ready_ring_len(ring) - 1; result != NULL && i > 0; i--) {
        pa_ready swap = *pa_ready_ring_at(ring, i);
        *pa_ready_ring_at(ring, i) = *pa_ready_ring_at(ring, i - 1);
        *pa_ready_ring_at(ring, i - 1) = swap;
    }
    return result;
}

static int extend(pa_loop *loop, PyObject *handles)
{
    PyObject *all = PySequence_Tuple(handles);
    int rc = all != NULL ? 0 : -1;
    for (Py_ssize_t i = 0; rc == 0 && i < PyTuple_GET_SIZE(all); i++)
        rc = pa_loop_push(loop, (pa_ready){.kind = PA_READY_HANDLE, .a = Py_NewRef(PyTuple_GET_ITEM(all, i))});
    Py_XDECREF(all);
    return rc;
}

static PyObject *view_extend(PyObject *self, PyObject *handles)
{
    if (extend(((ready_view *)self)->loop, handles) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *pop_at(PyObject *self, bool left)
{
    pa_loop_ready_is_taken(((ready_view *)self)->loop);
    pa_ready_ring *ring = whole_ring(self);
    if (ring == NULL)
        return NULL;
    size_t len = pa_ready_ring_len(ring);
    if (len == 0) {
        PyErr_SetString(PyExc_IndexError, "pop from an empty deque");
        return NULL;
    }
    return take(self, ring, left ? 0 : len - 1);
}

static PyObject *view_popleft(PyObject *self, PyObject *Py_UNUSED(ignored)) { return pop_at(self, true); }
static PyObject *view_pop(PyObject *self, PyObject *Py_UNUSED(ignored)) { return pop_at(self, false); }

static int clear_ready(pa_loop *loop)
{
    if (pa_loop_drain_inbox(loop) < 0)
        return -1;
    pa_loop_ready_is_taken(loop);
    for (size_t n = pa_ready_ring_len(&loop->ready); n > 0 && pa_ready_ring_len(&loop->ready) > 0; n--) {
        pa_ready entry = pa_ready_ring_pop(&loop->ready);
        pa_ready_drop(&entry);
    }
    return 0;
}

static PyObject *view_clear(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (clear_ready(((ready_view *)self)->loop) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *view_remove(PyObject *self, PyObject *handle)
{
    PyObject *list = list_ready(self);
    Py_ssize_t i = list != NULL ? PySequence_Index(list, handle) : -1;
    Py_XDECREF(list);
    if (i < 0 || view_delete(self, i, NULL) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *view_repr(PyObject *self)
{
    PyObject *list = list_ready(self), *repr = list != NULL ? PyUnicode_FromFormat("deque(%R)", list) : NULL;
    Py_XDECREF(list);
    return repr;
}

int pa_ready_assign(pa_loop *loop, PyObject *handles)
{
    if (Py_TYPE(handles) == loop->st->ReadyView && ((ready_view *)handles)->loop == loop)
        return 0;
    PyObject *all = PySequence_Tuple(handles);
    int rc = all != NULL ? clear_ready(loop) : -1;
    if (rc == 0)
        rc = extend(loop, all);
    Py_XDECREF(all);
    return rc;
}

/* What is rarely asked for is done by a deque of the Handles, which then takes the ring's place if that changed it. */
static PyObject *by_deque(PyObject *self, const char *name, PyObject *args, bool changes)
{
    pa_loop *loop = ((ready_view *)self)->loop;
    PyObject *list = list_ready(self), *collections = list != NULL ? PyImport_ImportModule("collections") : NULL;
    PyObject *deque = collections != NULL ? PyObject_CallMethod(collections, "deque", "O", list) : NULL;
    PyObject *method = deque != NULL ? PyObject_GetAttrString(deque, name) : NULL;
    PyObject *result = method != NULL ? PyObject_CallObject(method, args) : NULL;
    if (result != NULL && changes && pa_ready_assign(loop, deque) < 0)
        Py_CLEAR(result);
    Py_XDECREF(method);
    Py_XDECREF(deque);
    Py_XDECREF(collections);
    Py_XDECREF(list);
    return result;
}

static PyObject *view_extendleft(PyObject *self, PyObject *args) { return by_deque(self, "extendleft", args, true); }
static PyObject *view_insert(PyObject *self, PyObject *args) { return by_deque(self, "insert", args, true); }
static PyObject *view_rotate(PyObject *self, PyObject *args) { return by_deque(self, "rotate", args, true); }
static PyObject *view_reverse(PyObject *self, PyObject *args) { return by_deque(self, "reverse", args, true); }
static PyObject *view_copy(PyObject *self, PyObject *args) { return by_deque(self, "copy", args, false); }
static PyObject *view_index(PyObject *self, PyObject *args) { return by_deque(self, "index", args, false); }
static PyObject *view_count(PyObject *self, PyObject *args) { return by_deque(self, "count", args, false); }

static PyMethodDef view_methods[] = {
    {"append", view_append, METH_O, PyDoc_STR("append($self, handle, /)\n--\n\nAdd a Handle at the end.")},
    {"appendleft", view_appendleft, METH_O, PyDoc_STR("appendleft($self, handle, /)\n--\n\nAdd a Handle at the front.")},
    {"extend", view_extend, METH_O, PyDoc_STR("extend($self, handles, /)\n--\n\nAdd Handles at the end.")},
    {"popleft", view_popleft, METH_NOARGS, PyDoc_STR("popleft($self, /)\n--\n\nRemove and return the first Handle.")},
    {"pop", view_pop, METH_NOARGS, PyDoc_STR("pop($self, /)\n--\n\nRemove and return the last Handle.")},
    {"clear", view_clear, METH_NOARGS, PyDoc_STR("clear($self, /)\n--\n\nRemove all.")},
    {"extendleft", view_extendleft, METH_VARARGS,
     PyDoc_STR("extendleft($self, handles, /)\n--\n\nAdd Handles at the front, the last one first.")},
    {"insert", view_insert, METH_VARARGS, PyDoc_STR("insert($self, index, handle, /)\n--\n\nAdd a Handle before that place.")},
    {"rotate", view_rotate, METH_VARARGS, PyDoc_STR("rotate($self, n=1, /)\n--\n\nMove the last n Handles to the front.")},
    {"reverse", view_reverse, METH_VARARGS, PyDoc_STR("reverse($self, /)\n--\n\nTurn the order around.")},
    {"copy", view_copy, METH_VARARGS, PyDoc_STR("copy($self, /)\n--\n\nA deque of the Handles.")},
    {"index", view_index, METH_VARARGS, PyDoc_STR("index($self, handle, /)\n--\n\nWhere the first that equals `handle` is.")},
    {"count", view_count, METH_VARARGS, PyDoc_STR("count($self, handle, /)\n--\n\nHow many equal `handle`.")},
    {"remove", view_remove, METH_O, PyDoc_STR("remove($self, handle, /)\n--\n\nRemove the first that equals `handle`.")},
    {NULL},
};

static PyType_Slot view_slots[] = {
    {Py_tp_doc, "The callbacks that are ready to run: a live view with a deque's methods."},
    {Py_tp_traverse, view_traverse},
    {Py_tp_dealloc, view_dealloc},
    {Py_tp_iter, view_iter},
    {Py_tp_repr, view_repr},
    {Py_tp_methods, view_methods},
    {Py_sq_length, view_length},
    {Py_sq_item, view_item},
    {Py_sq_ass_item, view_delete},
    {0, NULL},
};

static PyType_Spec view_spec = {
    .name = "pyasync._core.ReadyView",
    .basicsize = sizeof(ready_view),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = view_slots,
};

/* ---- _scheduled ---- */

static int compare_entries(const void *a, const void *b)
{
    const pa_heap_entry *x = *(pa_heap_entry *const *)a, *y = *(pa_heap_entry *const *)b;
    if (x->when != y->when)
        return x->when < y->when ? -1 : 1;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* All timers in the order in which they will fire: new list. */
static PyObject *list_timers(pa_loop *loop)
{
    if (pa_loop_need_handles(loop) < 0)
        return NULL;
    size_t len = loop->timers.len;
    PyObject *list = NULL;
    pa_heap_entry **sorted = PyMem_Malloc((len > 0 ? len : 1) * sizeof(*sorted));
    if (sorted == NULL)
        return PyErr_NoMemory();
    for (size_t i = 0; i < len; i++)
        sorted[i] = loop->timers.items[i];
    qsort(sorted, len, sizeof(*sorted), compare_entries);
    for (size_t i = 0; i < len; i++)
        Py_INCREF(pa_timer_handle(loop->st, sorted[i])); /* making the list may run a finalizer that cancels some */
    if ((list = PyList_New((Py_ssize_t)len)) != NULL)
        for (size_t i = 0; i < len; i++)
            PyList_SET_ITEM(list, (Py_ssize_t)i, pa_timer_handle(loop->st, sorted[i]));
    else
        for (size_t i = 0; i < len; i++)
            Py_DECREF(pa_timer_handle(loop->st, sorted[i]));
    PyMem_Free(sorted);
    return list;
}

/* A timer that the user put into the list enters the heap. 0 or -1. */
static int enter(pa_loop *loop, PyObject *handle)
{
    pa_state *st = loop->st;
    if (!PyObject_TypeCheck(handle, st->TimerHandle)) {
        PyErr_Format(PyExc_TypeError, "_scheduled can hold only pyasync's TimerHandles, not %R", handle);
        return -1;
    }
    pa_timer *timer = pa_timer_of(st, handle);
    if (timer->loop != NULL || PA_HANDLE_FIELD(handle, st->handle.cancelled) != Py_False)
        return 0;
    PyObject *when = PyObject_GetAttr(handle, st->names._when);
    double order;
    int rc = when != NULL ? pa_loop_order_of(loop, when, &order) : -1;
    Py_XDECREF(when);
    if (rc < 0)
        return -1;
    if (timer->loop != NULL) /* by what was asked for the time */
        return 0;
    timer->entry.when = order;
    return pa_loop_schedule(loop, handle);
}

/* The set of the addresses of the tuple's items. New. */
static PyObject *addresses(PyObject *handles)
{
    PyObject *set = PySet_New(NULL);
    for (Py_ssize_t i = 0; set != NULL && i < PyTuple_GET_SIZE(handles); i++) {
        PyObject *id = PyLong_FromVoidPtr(PyTuple_GET_ITEM(handles, i));
        if (id == NULL || PySet_Add(set, id) < 0)
            Py_CLEAR(set);
        Py_XDECREF(id);
    }
    return set;
}

static int holds(PyObject *set, PyObject *handle)
{
    PyObject *id = PyLong_FromVoidPtr(handle);
    int found = id != NULL ? PySet_Contains(set, id) : -1;
    Py_XDECREF(id);
    return found;
}

/* A list held `before` (a tuple) and holds `now`: the heap follows. 0 or -1. */
static int reconcile(pa_loop *loop, PyObject *before, PyObject *now)
{
    PyObject *old = addresses(before), *kept = addresses(now);
    int rc = old != NULL && kept != NULL ? 0 : -1, found;
    for (Py_ssize_t i = 0; rc == 0 && i < PyTuple_GET_SIZE(before); i++) {
        if ((found = holds(kept, PyTuple_GET_ITEM(before, i))) == 0)
            pa_loop_unschedule(loop->st, PyTuple_GET_ITEM(before, i));
        rc = found < 0 ? -1 : 0;
    }
    for (Py_ssize_t i = 0; rc == 0 && i < PyTuple_GET_SIZE(now); i++) {
        if ((found = holds(old, PyTuple_GET_ITEM(now, i))) == 0)
            rc = enter(loop, PyTuple_GET_ITEM(now, i));
        else
            rc = found < 0 ? -1 : 0;
    }
    Py_XDECREF(old);
    Py_XDECREF(kept);
    return rc;
}

/* scheduled_list is a pair: the list, and a tuple of what it held at first. */
int pa_scheduled_sync(pa_loop *loop)
{
    PyObject *pair = loop->scheduled_list;
    if (pair == NULL)
        return 0;
    loop->scheduled_list = NULL;
    PyObject *before = PyTuple_GET_ITEM(pair, 1), *now = PyList_AsTuple(PyTuple_GET_ITEM(pair, 0));
    int rc = now != NULL ? reconcile(loop, before, now) : -1;
    Py_XDECREF(now);
    Py_DECREF(pair);
    return rc;
}

PyObject *pa_scheduled_list(pa_loop *loop)
{
    if (pa_scheduled_sync(loop) < 0)
        return NULL;
    PyObject *list = list_timers(loop), *copy = list != NULL ? PyList_AsTuple(list) : NULL;
    PyObject *pair = copy != NULL ? PyTuple_Pack(2, list, copy) : NULL;
    Py_XDECREF(copy);
    if (pair == NULL)
        Py_CLEAR(list);
    else
        Py_XSETREF(loop->scheduled_list, pair);
    return list;
}

int pa_scheduled_assign(pa_loop *loop, PyObject *handles)
{
    if (pa_scheduled_sync(loop) < 0)
        return -1;
    PyObject *list = list_timers(loop), *before = list != NULL ? PyList_AsTuple(list) : NULL;
    PyObject *now = before != NULL ? PySequence_Tuple(handles) : NULL;
    int rc = now != NULL ? reconcile(loop, before, now) : -1;
    Py_XDECREF(now);
    Py_XDECREF(before);
    Py_XDECREF(list);
    return rc;
}

int pa_views_setup(PyObject *module, pa_state *st)
{
    st->ReadyView = (PyTypeObject *)PyType_FromModuleAndSpec(module, &view_spec, NULL);
    return st->ReadyView != NULL ? 0 : -1;
}
