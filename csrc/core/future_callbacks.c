/* Whom a future tells that it is done: callbacks in their contexts and native tasks, in the order they came.
 *
 * A native task that waits for a native future is an entry without a context: no wakeup object, no Handle. Such entries turn into the
 * (wakeup, context) pairs that asyncio shows only when somebody reads `_callbacks`; the wakeup objects of one task compare equal, so
 * remove_done_callback finds the entry by what was read.
 *
 * The list belongs to the future and owns what is in it. Comparing callbacks and scheduling them run foreign code that may change the
 * list or drop the future, so both work on what they took out of it first.
 */
#include "core/future_impl.h"
#include "core/task.h"

int pa_callbacks_append(pa_future *f, PyObject *fn, PyObject *context)
{
    if (f->first.fn == NULL) {
        f->first = (pa_callback){Py_NewRef(fn), Py_XNewRef(context)};
        return 0;
    }
    pa_callbacks *more = f->more;
    if (more == NULL || more->len == more->cap) {
        Py_ssize_t cap = more == NULL ? 4 : more->cap * 2;
        pa_callbacks *grown = PyMem_Realloc(more, sizeof(pa_callbacks) + (size_t)cap * sizeof(pa_callback));
        if (grown == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        if (more == NULL)
            grown->len = 0;
        grown->cap = cap;
        f->more = more = grown;
    }
    more->items[more->len++] = (pa_callback){Py_NewRef(fn), Py_XNewRef(context)};
    return 0;
}

static void drop_callback(pa_callback cb)
{
    Py_XDECREF(cb.fn);
    Py_XDECREF(cb.context);
}

static void drop_callbacks(pa_callbacks *more, Py_ssize_t from)
{
    if (more == NULL)
        return;
    for (Py_ssize_t i = from; i < more->len; i++)
        drop_callback(more->items[i]);
    PyMem_Free(more);
}

void pa_callbacks_clear(pa_future *f)
{
    pa_callback first = f->first;
    pa_callbacks *more = f->more;
    f->first = (pa_callback){NULL, NULL};
    f->more = NULL;
    drop_callback(first);
    drop_callbacks(more, 0);
}

int pa_callbacks_traverse(pa_future *f, visitproc visit, void *arg)
{
    Py_VISIT(f->first.fn);
    Py_VISIT(f->first.context);
    for (Py_ssize_t i = 0; f->more != NULL && i < f->more->len; i++) {
        Py_VISIT(f->more->items[i].fn);
        Py_VISIT(f->more->items[i].context);
    }
    return 0;
}

Py_ssize_t pa_callbacks_len(const pa_future *f)
{
    return (f->first.fn != NULL) + (f->more != NULL ? f->more->len : 0);
}

static pa_callback *callback_at(pa_future *f, Py_ssize_t i) { return i == 0 ? &f->first : &f->more->items[i - 1]; }

int pa_future_call_soon(pa_future *f, PyObject *fn, PyObject *arg, PyObject *context)
{
    /* a context that only looks like one is left to a Handle, which calls its run() */
    if (f->is_native && arg != NULL && PyContext_CheckExact(context))
        return pa_loop_soon_callback(pa_future_native(f), fn, arg, context);
    if (f->loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Future object is not initialized.");
        return -1;
    }
    PyObject *loop = Py_NewRef(f->loop);
    PyObject *args[] = {loop, fn, arg != NULL ? arg : context, context};
    PyObject *handle = PyObject_VectorcallMethod(f->st->names.call_soon, args, arg != NULL ? 3 : 2, f->st->kw_context);
    Py_DECREF(loop);
    if (handle == NULL)
        return -1;
    Py_DECREF(handle);
    return 0;
}

static int schedule_one(PyObject *self, pa_future *f, pa_callback cb)
{
    return cb.context == NULL ? pa_task_soon_wakeup(cb.fn, self) : pa_future_call_soon(f, cb.fn, self, cb.context);
}

/* As in asyncio a failing call_soon loses the callbacks behind it. */
int pa_callbacks_schedule(PyObject *self, pa_future *f)
{
    pa_callback first = f->first;
    pa_callbacks *more = f->more;
    if (first.fn == NULL)
        return 0;
    f->first = (pa_callback){NULL, NULL};
    f->more = NULL;
    int rc = schedule_one(self, f, first);
    drop_callback(first);
    if (more == NULL)
        return rc;
    Py_ssize_t i = 0;
    while (rc == 0 && i < more->len) {
        pa_callback cb = more->items[i++];
        rc = schedule_one(self, f, cb);
        drop_callback(cb);
    }
    drop_callbacks(more, i);
    return rc;
}

/* What asyncio would hold for the entry: its callable, and its context in *context. New references. */
static PyObject *shown_callable(pa_callback cb, PyObject **context)
{
    if (cb.context != NULL) {
        *context = Py_NewRef(cb.context);
        return Py_NewRef(cb.fn);
    }
    pa_task *t = pa_task_find(cb.fn);
    *context = Py_NewRef(t->context != NULL ? t->context : Py_None);
    PyObject *fn = pa_task_wakeup_callable(cb.fn);
    if (fn == NULL)
        Py_CLEAR(*context);
    return fn;
}

/* The entries at this moment, in an array of *n copies that own their objects. NULL with MemoryError. */
static pa_callback *copy_callbacks(pa_future *f, Py_ssize_t *n)
{
    *n = pa_callbacks_len(f);
    pa_callback *copy = PyMem_Malloc(sizeof(pa_callback) * (size_t)*n);
    if (copy == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < *n; i++) {
        pa_callback *cb = callback_at(f, i);
        copy[i] = (pa_callback){Py_NewRef(cb->fn), Py_XNewRef(cb->context)};
    }
    return copy;
}

static void free_copy(pa_callback *copy, Py_ssize_t n)
{
    for (Py_ssize_t i = 0; i < n; i++)
        drop_callback(copy[i]);
    PyMem_Free(copy);
}

PyObject *pa_callbacks_list(pa_future *f)
{
    if (f->first.fn == NULL)
        Py_RETURN_NONE;
    Py_ssize_t n;
    pa_callback *copy = copy_callbacks(f, &n);
    if (copy == NULL)
        return NULL;
    PyObject *list = PyList_New(n);
    for (Py_ssize_t i = 0; list != NULL && i < n; i++) {
        PyObject *context, *pair = NULL;
        PyObject *fn = shown_callable(copy[i], &context);
        if (fn != NULL) {
            pair = PyTuple_Pack(2, fn, context);
            Py_DECREF(fn);
            Py_DECREF(context);
        }
        if (pair == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, pair);
    }
    free_copy(copy, n);
    return list;
}

static int entry_equals(pa_callback cb, PyObject *fn)
{
    PyObject *context;
    PyObject *callable = shown_callable(cb, &context);
    if (callable == NULL)
        return -1;
    int rc = PyObject_RichCompareBool(callable, fn, Py_EQ);
    Py_DECREF(callable);
    Py_DECREF(context);
    return rc;
}

/* Takes the first entry made of the very objects of `cb` out of the list. 1, or 0 if it is gone by now. */
static int remove_entry(pa_future *f, pa_callback cb)
{
    Py_ssize_t n = pa_callbacks_len(f), i = 0;
    while (i < n && (callback_at(f, i)->fn != cb.fn || callback_at(f, i)->context != cb.context))
        i++;
    if (i == n)
        return 0;
    pa_callback removed = *callback_at(f, i);
    for (; i + 1 < n; i++)
        *callback_at(f, i) = *callback_at(f, i + 1);
    if (n == 1)
        f->first = (pa_callback){NULL, NULL};
    else
        f->more->len--;
    drop_callback(removed);
    return 1;
}

Py_ssize_t pa_callbacks_remove(pa_future *f, PyObject *fn)
{
    if (f->first.fn == NULL)
        return 0;
    Py_ssize_t n, removed = 0;
    pa_callback *copy = copy_callbacks(f, &n);
    if (copy == NULL)
        return -1;
    for (Py_ssize_t i = 0; i < n && removed == 0; i++) {
        int equal = entry_equals(copy[i], fn);
        if (equal < 0)
            removed = -1;
        else if (equal == 0) {
            drop_callback(copy[i]);
            copy[i] = (pa_callback){NULL, NULL};
        }
    }
    for (Py_ssize_t i = 0; i < n && removed >= 0; i++)
        if (copy[i].fn != NULL)
            removed += remove_entry(f, copy[i]);
    free_copy(copy, n);
    return removed;
}

int pa_callbacks_tasks(pa_future *f, PyObject *set)
{
    for (Py_ssize_t i = 0; i < pa_callbacks_len(f); i++) {
        pa_callback *cb = callback_at(f, i);
        if (cb->context != NULL)
            continue;
        PyObject *task = Py_NewRef(cb->fn);
        int rc = PySet_Add(set, task);
        Py_DECREF(task);
        if (rc < 0)
            return -1;
    }
    return 0;
}
