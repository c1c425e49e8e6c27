/* Scheduling: the ready ring, the inbox for other threads, timers, and the methods that fill them.
 *
 * Invariants:
 *  - The inbox is newer than the ring: whoever appends to the ring moves the inbox over first, so that the order in which callbacks
 *    were scheduled is the order in which they run, whoever scheduled them.
 *  - A ring entry owns its objects; it leaves the ring before what it stands for is called.
 *  - call_soon_threadsafe is the only way in for other threads. It writes the wakeup only if the loop may be asleep, under the lock
 *    under which the loop goes to sleep and is closed, so that no wakeup is lost and none is written to a reused descriptor.
 *  - A timer in the heap: `_scheduled` is True and timer.loop is set.
 */
#include "core/deadline.h"
#include "core/loop_impl.h"
#include "core/task.h"
#include "rt/args.h"
#include "rt/error.h"

#include <math.h>

/* ---- Entries ---- */

void pa_ready_drop(pa_ready *entry)
{
    Py_CLEAR(entry->a);
    if (entry->kind == PA_READY_WAKEUP || entry->kind == PA_READY_CALLBACK)
        Py_XDECREF((PyObject *)entry->b);
    entry->b = NULL;
    Py_CLEAR(entry->context);
}

void pa_ring_drop(pa_ready_ring *ring)
{
    while (pa_ready_ring_len(ring) > 0) {
        pa_ready entry = pa_ready_ring_pop(ring);
        pa_ready_drop(&entry);
    }
    pa_ready_ring_free(ring);
}

int pa_loop_drain_inbox(pa_loop *loop)
{
    int rc = 0;
    pa_mutex_lock(&loop->inbox_lock);
    while (rc == 0 && pa_ready_ring_len(&loop->inbox) > 0) {
        rc = pa_ready_ring_push(&loop->ready, *pa_ready_ring_at(&loop->inbox, 0));
        if (rc == 0)
            pa_ready_ring_pop(&loop->inbox);
    }
    pa_mutex_unlock(&loop->inbox_lock);
    if (rc < 0)
        PyErr_NoMemory();
    return rc < 0 ? -1 : 0;
}

int pa_loop_push(pa_loop *loop, pa_ready entry)
{
    if (pa_ready_ring_len(&loop->inbox) > 0 && pa_loop_drain_inbox(loop) < 0) {
        pa_ready_drop(&entry);
        return -1;
    }
    if (pa_ready_ring_push(&loop->ready, entry) < 0) {
        pa_ready_drop(&entry);
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* The Handle that asyncio would have made for this entry. New. */
static PyObject *make_handle(pa_loop *loop, const pa_ready *entry)
{
    PyObject *callable = NULL, *args = NULL, *context = NULL, *handle = NULL;
    switch ((pa_ready_kind)entry->kind) {
    case PA_READY_HANDLE:
        return Py_NewRef(entry->a);
    case PA_READY_STEP:
        callable = pa_task_step_callable(entry->a);
        args = PyTuple_New(0);
        context = Py_NewRef(pa_task_context(entry->a));
        break;
    case PA_READY_WAKEUP:
        callable = pa_task_wakeup_callable(entry->a);
        args = PyTuple_Pack(1, (PyObject *)entry->b);
        context = Py_NewRef(pa_task_context(entry->a));
        break;
    case PA_READY_CALLBACK:
        callable = Py_NewRef(entry->a);
        args = PyTuple_Pack(1, (PyObject *)entry->b);
        context = entry->context != NULL ? Py_NewRef(entry->context) : PyContext_CopyCurrent();
        break;
    case PA_READY_IO:
        callable = pa_watch_callable(loop, entry);
        args = PyTuple_New(0);
        pa_watch *watch = entry->b;
        context = watch->context != NULL ? Py_NewRef(watch->context) : PyContext_CopyCurrent();
        break;
    }
    if (callable != NULL && args != NULL && context != NULL)
        handle = pa_handle_new(loop, callable, args, context);
    Py_XDECREF(callable);
    Py_XDECREF(args);
    Py_XDECREF(context);
    return handle;
}

PyObject *pa_ready_handle(pa_loop *loop, pa_ready *entry)
{
    if (entry->kind == PA_READY_HANDLE)
        return entry->a;
    PyObject *handle = make_handle(loop, entry);
    if (handle == NULL)
        return NULL;
    pa_ready old = *entry;
    *entry = (pa_ready){.kind = PA_READY_HANDLE, .a = handle};
    pa_ready_drop(&old);
    return handle;
}

/* ---- Checks ---- */

static int call_check(pa_loop *loop, PyObject *name)
{
    PyObject *result = PyObject_CallMethodNoArgs((PyObject *)loop, name);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

static int raise_if_closed(pa_loop *loop)
{
    if (!loop->closed)
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
    return -1;
}

int pa_loop_check_closed(pa_loop *loop)
{
    return pa_loop_overrides(loop) & PA_OVER_SCHEDULING ? call_check(loop, loop->st->names._check_closed) : raise_if_closed(loop);
}

/* What debug mode asks of a callback, in asyncio's words: `method` is the name the user called. `thread`: check that, too. */
static int check_in_debug(pa_loop *loop, PyObject *callback, const char *method, bool thread)
{
    if (!loop->debug)
        return 0;
    if (thread && call_check(loop, loop->st->names._check_thread) < 0)
        return -1;
    PyObject *result = PyObject_CallMethod((PyObject *)loop, "_check_callback", "Os", callback, method);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

static PyObject *sched_check_closed(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (raise_if_closed((pa_loop *)self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *sched_check_thread(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    pa_loop *loop = (pa_loop *)self;
    if (loop->thread_id != NULL && PyThread_get_thread_ident() != loop->thread_ident) {
        PyErr_SetString(PyExc_RuntimeError, "Non-thread-safe operation invoked on an event loop other than the current one");
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- call_soon ---- */

/* The Handle goes to the end of the ring. 0 or -1. */
static int add(pa_loop *loop, PyObject *handle)
{
    return pa_loop_push(loop, (pa_ready){.kind = PA_READY_HANDLE, .a = Py_NewRef(handle)});
}

/* A Handle for the call, at the end of the ring. New. */
static PyObject *append_handle(pa_loop *loop, PyObject *callback, PyObject *args, PyObject *context)
{
    PyObject *handle = pa_handle_new(loop, callback, args, context);
    if (handle != NULL && add(loop, handle) < 0)
        Py_CLEAR(handle);
    return handle;
}

/* Where the parts of call_soon may be overridden. New. */
static PyObject *schedule(pa_loop *loop, PyObject *callback, PyObject *args, PyObject *context)
{
    if (!(pa_loop_overrides(loop) & PA_OVER_SCHEDULING))
        return append_handle(loop, callback, args, context);
    return PyObject_CallMethodObjArgs((PyObject *)loop, loop->st->names._call_soon, callback, args,
                                      context != NULL ? context : Py_None, NULL);
}

static bool take_keyword(const char *first, PyObject *name, PyObject *value, pa_callback_args *out)
{
    PyObject **place;
    if (PyUnicode_CompareWithASCIIString(name, "context") == 0) {
        out->context = value != Py_None ? value : NULL;
        return true;
    }
    if (PyUnicode_CompareWithASCIIString(name, "callback") == 0) {
        place = &out->callback;
    } else if (first != NULL && PyUnicode_CompareWithASCIIString(name, first) == 0) {
        place = &out->first;
    } else {
        return false;
    }
    if (*place != NULL)
        return false;
    *place = value;
    return true;
}

int pa_callback_parse(PyObject *self, const char *name, const char *first, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames,
                      pa_callback_args *out)
{
    Py_ssize_t used = 0;
    *out = (pa_callback_args){0};
    if (first != NULL && used < nargs)
        out->first = in[used++];
    if (used < nargs)
        out->callback = in[used++];
    bool fits = true;
    for (Py_ssize_t i = 0; fits && kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++)
        fits = take_keyword(first, PyTuple_GET_ITEM(kwnames, i), in[nargs + i], out);
    if (!fits || (first != NULL && out->first == NULL) || out->callback == NULL) {
        (void)pa_args_refuse(self, name, in, nargs, kwnames);
        return -1;
    }
    if ((out->args = PyTuple_New(nargs - used)) == NULL)
        return -1;
    for (Py_ssize_t i = used; i < nargs; i++)
        PyTuple_SET_ITEM(out->args, i - used, Py_NewRef(in[i]));
    return 0;
}

/* Whether this is (callback) or (callback, arg), as most calls are, and nothing else is asked for. */
static inline bool is_plain_call(pa_loop *loop, Py_ssize_t nargs, PyObject *kwnames)
{
    return kwnames == NULL && (nargs == 1 || nargs == 2) && !loop->debug && !loop->closed &&
           !(pa_loop_overrides(loop) & (PA_OVER_SCHEDULING | PA_OVER_WRITE_TO_SELF));
}

/* The tuple of arguments of such a call. New. */
static inline PyObject *plain_args(PyObject *const *in, Py_ssize_t nargs)
{
    PyObject *args = PyTuple_New(nargs - 1);
    if (args != NULL && nargs > 1)
        PyTuple_SET_ITEM(args, 0, Py_NewRef(in[1]));
    return args;
}

static PyObject *call_soon_plainly(pa_loop *loop, PyObject *const *in, Py_ssize_t nargs)
{
    PyObject *args = plain_args(in, nargs), *handle = args != NULL ? append_handle(loop, in[0], args, NULL) : NULL;
    Py_XDECREF(args);
    return handle;
}

static PyObject *sched_call_soon(PyObject *self, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames)
{
    pa_loop *loop = (pa_loop *)self;
    pa_callback_args call;
    if (is_plain_call(loop, nargs, kwnames))
        return call_soon_plainly(loop, in, nargs);
    if (pa_callback_parse(self, "call_soon", NULL, in, nargs, kwnames, &call) < 0)
        return NULL;
    PyObject *handle = NULL;
    if (!loop->debug && !(pa_loop_overrides(loop) & PA_OVER_SCHEDULING)) {
        if (raise_if_closed(loop) == 0)
            handle = append_handle(loop, call.callback, call.args, call.context);
    } else if (pa_loop_check_closed(loop) == 0 && check_in_debug(loop, call.callback, "call_soon", true) == 0) {
        handle = schedule(loop, call.callback, call.args, call.context);
    }
    Py_DECREF(call.args);
    return handle;
}

static PyObject *sched_call_soon_inner(PyObject *self, PyObject *const *in, Py_ssize_t nargs)
{
    if (nargs != 3)
        return PyErr_Format(PyExc_TypeError, "BaseEventLoop._call_soon() takes 4 positional arguments but %zd were given", nargs + 1);
    return append_handle((pa_loop *)self, in[0], in[1], in[2] != Py_None ? in[2] : NULL);
}

static inline void take_references(const pa_ready *entry)
{
    Py_INCREF(entry->a);
    Py_XINCREF((PyObject *)entry->b);
    Py_XINCREF(entry->context);
}

/* For native callers: what lies in `entry` (its references are borrowed) goes to the ring without a Handle. */
static int soon_visibly(pa_loop *loop, const pa_ready *entry);

static inline int soon(pa_loop *loop, pa_ready entry)
{
    if (loop->debug || (pa_loop_overrides(loop) & (PA_OVER_CALL_SOON | PA_OVER_SCHEDULING)))
        return soon_visibly(loop, &entry);
    if (raise_if_closed(loop) < 0)
        return -1;
    take_references(&entry);
    return pa_loop_push(loop, entry);
}

/* The user may see the difference: call_soon with the Handle's parts. */
static int soon_visibly(pa_loop *loop, const pa_ready *entry)
{
    pa_state *st = loop->st;
    PyObject *callable, *context, *result = NULL;
    if (entry->kind == PA_READY_CALLBACK) {
        callable = Py_NewRef(entry->a);
        context = entry->context != NULL ? Py_NewRef(entry->context) : Py_NewRef(Py_None);
    } else {
        callable = entry->kind == PA_READY_STEP ? pa_task_step_callable(entry->a) : pa_task_wakeup_callable(entry->a);
        context = callable != NULL ? Py_NewRef(pa_task_context(entry->a)) : NULL;
    }
    PyObject *keywords = PyTuple_Pack(1, st->names.context);
    if (callable != NULL && context != NULL && keywords != NULL) {
        PyObject *in[4] = {(PyObject *)loop, callable};
        size_t n = 2;
        if (entry->b != NULL)
            in[n++] = entry->b;
        in[n] = context;
        result = PyObject_VectorcallMethod(st->names.call_soon, in, n, keywords);
    }
    Py_XDECREF(keywords);
    Py_XDECREF(context);
    Py_XDECREF(callable);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

int pa_loop_soon_step(pa_loop *loop, PyObject *task) { return soon(loop, (pa_ready){.kind = PA_READY_STEP, .a = task}); }

int pa_loop_soon_wakeup(pa_loop *loop, PyObject *task, PyObject *future)
{
    return soon(loop, (pa_ready){.kind = PA_READY_WAKEUP, .a = task, .b = future});
}

int pa_loop_soon_callback(pa_loop *loop, PyObject *callback, PyObject *arg, PyObject *context)
{
    return soon(loop, (pa_ready){.kind = PA_READY_CALLBACK, .a = callback, .b = arg, .context = context});
}

/* ---- From other threads ---- */

/* 0 or -errno. */
static int signal_wakeup(pa_loop *loop)
{
    return loop->poller != NULL && loop->wakeup.write_fd >= 0 ? pa_wakeup_signal(&loop->wakeup) : 0;
}

int pa_loop_wake(pa_loop *loop)
{
    int rc = signal_wakeup(loop);
    if (rc < 0)
        pa_error_from_rc(rc);
    return rc < 0 ? -1 : 0;
}

/* The loop runs in this very thread, hence is awake: even a signal handler is called between two instructions of Python code or where
 * the loop asks for it, before it decides whether to wait. */
static bool is_own_thread(const pa_loop *loop)
{
    return loop->thread_id != NULL && !loop->sleeping && !loop->closed && PyThread_get_thread_ident() == loop->thread_ident;
}

/* Puts the entry into the inbox, which takes new references, and wakes the loop if it may be asleep. Nothing is raised under the lock:
 * raising makes objects, which may collect garbage, and a finalizer may call call_soon_threadsafe. */
static int post(pa_loop *loop, pa_ready entry)
{
    int rc = 0;
    pa_mutex_lock(&loop->inbox_lock);
    bool closed = loop->closed;
    bool pushed = !closed && pa_ready_ring_push(&loop->inbox, entry) == 0;
    if (pushed) {
        take_references(&entry);
        if (loop->sleeping) {
            loop->sleeping = false; /* once is enough until it sleeps again */
            rc = signal_wakeup(loop);
        }
    }
    pa_mutex_unlock(&loop->inbox_lock);
    if (closed)
        return raise_if_closed(loop);
    if (!pushed)
        PyErr_NoMemory();
    else if (rc < 0)
        pa_error_from_rc(rc);
    return pushed && rc == 0 ? 0 : -1;
}

/* A Handle for the call, in the ring if this is the loop's thread, else in the inbox. New. */
static PyObject *append_threadsafe(pa_loop *loop, PyObject *callback, PyObject *args, PyObject *context)
{
    PyObject *handle = pa_handle_new_threadsafe(loop, callback, args, context);
    if (handle != NULL && (is_own_thread(loop) ? add(loop, handle) : post(loop, (pa_ready){.kind = PA_READY_HANDLE, .a = handle})) < 0)
        Py_CLEAR(handle);
    return handle;
}

static PyObject *call_threadsafe_plainly(pa_loop *loop, PyObject *const *in, Py_ssize_t nargs)
{
    PyObject *args = plain_args(in, nargs), *handle = args != NULL ? append_threadsafe(loop, in[0], args, NULL) : NULL;
    Py_XDECREF(args);
    return handle;
}

static PyObject *sched_call_soon_threadsafe(PyObject *self, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames)
{
    pa_loop *loop = (pa_loop *)self;
    pa_state *st = loop->st;
    pa_callback_args call;
    if (is_plain_call(loop, nargs, kwnames))
        return call_threadsafe_plainly(loop, in, nargs);
    if (pa_callback_parse(self, "call_soon_threadsafe", NULL, in, nargs, kwnames, &call) < 0)
        return NULL;
    PyObject *handle = NULL;
    if (pa_loop_check_closed(loop) < 0 || check_in_debug(loop, call.callback, "call_soon_threadsafe", false) < 0)
        goto done;
    unsigned over = pa_loop_overrides(loop);
    if (over & PA_OVER_SCHEDULING)
        handle = schedule(loop, call.callback, call.args, call.context);
    else
        handle = append_threadsafe(loop, call.callback, call.args, call.context);
    if (handle != NULL && over & (PA_OVER_SCHEDULING | PA_OVER_WRITE_TO_SELF) && call_check(loop, st->names._write_to_self) < 0)
        Py_CLEAR(handle);
done:
    Py_DECREF(call.args);
    return handle;
}

int pa_loop_soon_threadsafe(pa_loop *loop, PyObject *callback, PyObject *arg)
{
    if (loop->debug || (pa_loop_overrides(loop) & (PA_OVER_SOON_THREADSAFE | PA_OVER_SCHEDULING | PA_OVER_WRITE_TO_SELF))) {
        PyObject *result = PyObject_CallMethodObjArgs((PyObject *)loop, loop->st->names.call_soon_threadsafe, callback, arg, NULL);
        Py_XDECREF(result);
        return result != NULL ? 0 : -1;
    }
    PyObject *context = PyContext_CopyCurrent(); /* this thread's */
    if (context == NULL)
        return -1;
    pa_ready entry = {.kind = PA_READY_CALLBACK, .a = callback, .b = arg, .context = context};
    int rc;
    if (!is_own_thread(loop)) {
        rc = post(loop, entry);
    } else if ((rc = raise_if_closed(loop)) == 0) {
        take_references(&entry);
        rc = pa_loop_push(loop, entry);
    }
    Py_DECREF(context);
    return rc;
}

static PyObject *sched_write_to_self(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (pa_loop_wake((pa_loop *)self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static int add_callback(pa_loop *loop, PyObject *handle)
{
    int cancelled = pa_handle_cancelled(loop->st, handle);
    if (cancelled != 0)
        return cancelled < 0 ? -1 : 0;
    return add(loop, handle);
}

static PyObject *sched_add_callback(PyObject *self, PyObject *handle)
{
    if (add_callback((pa_loop *)self, handle) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *sched_add_callback_signalsafe(PyObject *self, PyObject *handle)
{
    pa_state *st = ((pa_loop *)self)->st;
    PyObject *result = PyObject_CallMethodOneArg(self, st->names._add_callback, handle);
    if (result == NULL)
        return NULL;
    Py_DECREF(result);
    return PyObject_CallMethodNoArgs(self, st->names._write_to_self);
}

/* ---- Time and timers ---- */

static double monotonic(void) { return (double)pa_sys_clock() / 1e9; }

int pa_loop_now(pa_loop *loop, double *now)
{
    if (!(pa_loop_overrides(loop) & PA_OVER_TIME)) {
        *now = monotonic();
        return 0;
    }
    PyObject *value = PyObject_CallMethodNoArgs((PyObject *)loop, loop->st->names.time);
    *now = value != NULL ? PyFloat_AsDouble(value) : -1.0;
    Py_XDECREF(value);
    return *now == -1.0 && PyErr_Occurred() ? -1 : 0;
}

static PyObject *sched_time(PyObject *self, PyObject *Py_UNUSED(ignored)) { return PyFloat_FromDouble(monotonic()); }

static void set_scheduled(pa_state *st, PyObject *timer, PyObject *value)
{
    PyObject **field = &PA_HANDLE_FIELD(timer, st->handle.scheduled), *old = *field;
    *field = Py_NewRef(value);
    Py_XDECREF(old);
}

PyObject *pa_loop_take_timer(pa_loop *loop, pa_heap_entry *entry)
{
    pa_heap_remove(&loop->timers, entry);
    PyObject *timer = pa_timer_handle(loop->st, entry);
    pa_timer_of(loop->st, timer)->loop = NULL;
    set_scheduled(loop->st, timer, Py_False);
    return timer;
}

void pa_loop_unschedule(pa_state *st, PyObject *timer)
{
    pa_timer *inner = pa_timer_of(st, timer);
    if (inner->loop != NULL)
        Py_DECREF(pa_loop_take_timer(inner->loop, &inner->entry));
}

int pa_loop_schedule(pa_loop *loop, PyObject *timer)
{
    pa_timer *inner = pa_timer_of(loop->st, timer);
    if (inner->loop != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the timer is scheduled already");
        return -1;
    }
    if (pa_heap_push(&loop->timers, &inner->entry) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    Py_INCREF(timer);
    inner->loop = loop;
    set_scheduled(loop->st, timer, Py_True);
    return 0;
}

/* Whether a time that is no number can stand among those in the heap: asyncio compares it with the one that would be its parent.
 * 0, or -1 with TypeError. */
static int check_comparable(pa_loop *loop, PyObject *when)
{
    pa_heap_entry *entry = NULL;
    do { /* making a deadline's handle may change the heap */
        if (entry != NULL && pa_deadline_handle((pa_deadline *)entry) < 0)
            return -1;
        if (loop->timers.len == 0)
            return 0;
        entry = loop->timers.items[(loop->timers.len - 1) / 2];
    } while (entry->owner != NULL);
    PyObject *parent = PyObject_GetAttr(pa_timer_handle(loop->st, entry), loop->st->names._when);
    int rc = parent != NULL ? PyObject_RichCompareBool(when, parent, Py_LT) : -1;
    Py_XDECREF(parent);
    return rc < 0 ? -1 : 0;
}

int pa_loop_order_of(pa_loop *loop, PyObject *when, double *order)
{
    *order = PyFloat_AsDouble(when);
    if (*order == -1.0 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_Exception))
            return -1;
        PyErr_Clear();
        if (PyLong_Check(when)) {
            int overflow;
            (void)PyLong_AsLongAndOverflow(when, &overflow);
            *order = overflow < 0 ? -HUGE_VAL : HUGE_VAL;
            return 0;
        }
        *order = -HUGE_VAL;
        return check_comparable(loop, when);
    }
    if (isnan(*order))
        *order = -HUGE_VAL;
    return 0;
}

/* when_object: NULL for float(when), which is then given. New. */
static PyObject *schedule_at(pa_loop *loop, PyObject *when_object, double when, const pa_callback_args *call)
{
    if (pa_loop_check_closed(loop) < 0 || check_in_debug(loop, call->callback, "call_at", true) < 0)
        return NULL;
    if (when_object != NULL && pa_loop_order_of(loop, when_object, &when) < 0)
        return NULL;
    if (loop->closed) { /* by what the time was asked */
        (void)raise_if_closed(loop);
        return NULL;
    }
    PyObject *timer = pa_timer_new(loop, when_object, when, call->callback, call->args, call->context);
    if (timer != NULL && pa_loop_schedule(loop, timer) < 0)
        Py_CLEAR(timer);
    return timer;
}

/* self.call_at(when, callback, *args, context=context). New. */
static PyObject *call_overridden_at(pa_loop *loop, PyObject *when, const pa_callback_args *call)
{
    PyObject *method = PyObject_GetAttr((PyObject *)loop, loop->st->names.call_at), *in = NULL, *keywords = NULL, *timer = NULL;
    Py_ssize_t n = PyTuple_GET_SIZE(call->args);
    if (method == NULL || (in = PyTuple_New(n + 2)) == NULL || (keywords = PyDict_New()) == NULL)
        goto done;
    PyTuple_SET_ITEM(in, 0, Py_NewRef(when));
    PyTuple_SET_ITEM(in, 1, Py_NewRef(call->callback));
    for (Py_ssize_t i = 0; i < n; i++)
        PyTuple_SET_ITEM(in, i + 2, Py_NewRef(PyTuple_GET_ITEM(call->args, i)));
    if (PyDict_SetItem(keywords, loop->st->names.context, call->context != NULL ? call->context : Py_None) == 0)
        timer = PyObject_Call(method, in, keywords);
done:
    Py_XDECREF(method);
    Py_XDECREF(in);
    Py_XDECREF(keywords);
    return timer;
}

static PyObject *sched_call_at(PyObject *self, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames)
{
    pa_loop *loop = (pa_loop *)self;
    PyObject *timer = NULL;
    pa_callback_args call;
    if (pa_callback_parse(self, "call_at", "when", in, nargs, kwnames, &call) < 0)
        return NULL;
    if (call.first == Py_None)
        PyErr_SetString(PyExc_TypeError, "when cannot be None");
    else
        timer = schedule_at(loop, call.first, 0.0, &call);
    Py_DECREF(call.args);
    return timer;
}

/* The usual case: a float or a small int from now, on our own clock, with nothing overridden. */
static bool add_plain_delay(pa_loop *loop, PyObject *delay, double *when)
{
    if (pa_loop_overrides(loop) & (PA_OVER_TIME | PA_OVER_CALL_AT))
        return false;
    if (PyFloat_CheckExact(delay)) {
        *when = monotonic() + PyFloat_AS_DOUBLE(delay);
    } else if (PyLong_CheckExact(delay)) {
        int overflow;
        long seconds = PyLong_AsLongAndOverflow(delay, &overflow);
        if (overflow != 0 || seconds > INT32_MAX || seconds < INT32_MIN)
            return false;
        *when = monotonic() + (double)seconds;
    } else {
        return false;
    }
    return !isnan(*when);
}

/* loop.time() + delay, as Python would add them. New. */
static PyObject *add_delay(pa_loop *loop, PyObject *delay)
{
    if (!(pa_loop_overrides(loop) & PA_OVER_TIME)) {
        PyObject *now = PyFloat_FromDouble(monotonic()), *when = now != NULL ? PyNumber_Add(now, delay) : NULL;
        Py_XDECREF(now);
        return when;
    }
    PyObject *now = PyObject_CallMethodNoArgs((PyObject *)loop, loop->st->names.time);
    PyObject *when = now != NULL ? PyNumber_Add(now, delay) : NULL;
    Py_XDECREF(now);
    return when;
}

static PyObject *sched_call_later(PyObject *self, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames)
{
    pa_loop *loop = (pa_loop *)self;
    PyObject *when = NULL, *timer = NULL;
    pa_callback_args call;
    if (pa_callback_parse(self, "call_later", "delay", in, nargs, kwnames, &call) < 0)
        return NULL;
    if (call.first == Py_None) {
        PyErr_SetString(PyExc_TypeError, "delay must not be None");
        goto done;
    }
    double seconds;
    if (add_plain_delay(loop, call.first, &seconds)) {
        timer = schedule_at(loop, NULL, seconds, &call);
        goto done;
    }
    if ((when = add_delay(loop, call.first)) == NULL)
        goto done;
    timer = pa_loop_overrides(loop) & PA_OVER_CALL_AT ? call_overridden_at(loop, when, &call) : schedule_at(loop, when, 0.0, &call);
done:
    Py_XDECREF(when);
    Py_DECREF(call.args);
    return timer;
}

static PyObject *sched_timer_handle_cancelled(PyObject *self, PyObject *handle)
{
    pa_state *st = ((pa_loop *)self)->st;
    if (PyObject_TypeCheck(handle, st->TimerHandle))
        pa_loop_unschedule(st, handle);
    Py_RETURN_NONE;
}

/* ---- Tables ---- */

#define FAST(function) (PyCFunction)(void (*)(void))(function)

PA_NO_ARGS(sched_time, time)

PyMethodDef pa_loop_sched_methods[] = {
    {"call_soon", FAST(sched_call_soon), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("call_soon($self, callback, *args, context=None)\n--\n\n"
               "Arrange for a callback to be called as soon as possible.\n\n"
               "Callbacks are called in the order in which they were registered, each exactly once, with *args, in `context` or else\n"
               "in a copy of the current one. Returns a Handle. RuntimeError if the loop is closed.")},
    {"call_soon_threadsafe", FAST(sched_call_soon_threadsafe), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("call_soon_threadsafe($self, callback, *args, context=None)\n--\n\nLike call_soon(), from any thread.")},
    {"call_later", FAST(sched_call_later), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("call_later($self, delay, callback, *args, context=None)\n--\n\n"
               "Arrange for a callback to be called `delay` seconds from now. Returns a TimerHandle.")},
    {"call_at", FAST(sched_call_at), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("call_at($self, when, callback, *args, context=None)\n--\n\n"
               "Like call_later(), but at an absolute time, in seconds on the clock of time().")},
    {"time", PA_NO_ARGS_METHOD(sched_time, time),
     PyDoc_STR("time($self, /)\n--\n\nThe time on the loop's clock, in seconds: the one of time.monotonic().")},
    {"_call_soon", FAST(sched_call_soon_inner), METH_FASTCALL, PyDoc_STR("_call_soon($self, callback, args, context)\n--\n\n")},
    {"_add_callback", sched_add_callback, METH_O,
     PyDoc_STR("_add_callback($self, handle)\n--\n\nAdd a Handle to _ready unless it was cancelled.")},
    {"_add_callback_signalsafe", sched_add_callback_signalsafe, METH_O,
     PyDoc_STR("_add_callback_signalsafe($self, handle)\n--\n\nLike _add_callback() but called from a signal handler.")},
    {"_timer_handle_cancelled", sched_timer_handle_cancelled, METH_O,
     PyDoc_STR("_timer_handle_cancelled($self, handle)\n--\n\nNotification that a TimerHandle has been cancelled.")},
    {"_write_to_self", sched_write_to_self, METH_NOARGS,
     PyDoc_STR("_write_to_self($self, /)\n--\n\nWake the loop up. Any thread may call this.")},
    {"_check_closed", sched_check_closed, METH_NOARGS, PyDoc_STR("_check_closed($self, /)\n--\n\nRuntimeError if it is closed.")},
    {"_check_thread", sched_check_thread, METH_NOARGS,
     PyDoc_STR("_check_thread($self, /)\n--\n\nRuntimeError if the loop runs in another thread.")},
    {NULL},
};
