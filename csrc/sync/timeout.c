/* Timeout: cancels the task that entered it when its time has come, and makes a TimeoutError of that cancellation.
 *
 * What users see is pyasync.Timeout, class Timeout(_core.Timeout, asyncio.Timeout): repr() and the search for a CancelledError among an
 * exception's contexts are asyncio's. Methods that a subclass overrides, or a patch replaces, are called by name. Native code uses
 * instances of the C half alone, which come from a free list.
 *
 * The deadline is an entry of the loop's heap and no more (core/deadline.h) where the loop and the task are native and nobody replaced
 * anything; it becomes the TimerHandle `_timeout_handler` when somebody looks or when its time has come. Elsewhere it is a handle at once.
 *
 * The heap owns the Timeout, or the handle, which owns the callback, which owns the Timeout, which owns the handle: __aexit__, or the
 * callback, ends that. Programs may assign any field at any time.
 */
#include "sync/timeout.h"
#include "sync/corofn.h"
#include "sync/op.h"
#include "sync/pyfn.h"
#include "sync/traits.h"
#include "core/deadline.h"
#include "core/future_any.h"
#include "core/loop_calls.h"
#include "core/loop_impl.h"
#include "core/task.h"
#include "rt/args.h"
#include "rt/call.h"
#include "rt/field.h"

#include <math.h>

/* In the order of asyncio.timeouts._State. */
enum { CREATED, ENTERED, EXPIRING, EXPIRED, EXITED, STATES };

typedef struct {
    PyObject_HEAD
    pa_state *st;
    PyObject *when;    /* NULL: None or, with `timed`, float(seconds) */
    double seconds;    /* of a deadline that is a float: the same */
    PyObject *handle;  /* of the deadline; NULL for None */
    pa_deadline deadline;
    PyObject *task;    /* NULL until it is entered */
    long cancelling;   /* how often the task had been cancelled when it entered */
    uint8_t state;
    bool timed;
    bool assigned;     /* a method was assigned to the instance */
} timeout_object;

static bool has_own_methods(timeout_object *t)
{
    pa_state *st = t->st;
    return !t->assigned && (Py_TYPE(t) == st->Timeout || pa_override_none(Py_TYPE(t), st->timeout_methods, &st->timeout_overrides));
}

/* ---- Deadline ---- */

static PyObject *on_timeout(PyObject *self, PyObject *unused);

static PyMethodDef on_timeout_def = {"_on_timeout", on_timeout, METH_NOARGS, PyDoc_STR("_on_timeout($self, /)\n--\n\n")};

/* `_when`: new. */
static PyObject *when_of(timeout_object *t)
{
    if (t->when == NULL && t->timed)
        t->when = PyFloat_FromDouble(t->seconds);
    return t->when != NULL || !t->timed ? Py_NewRef(t->when != NULL ? t->when : Py_None) : NULL;
}

static void set_when(timeout_object *t, PyObject *when)
{
    t->timed = PyFloat_CheckExact(when);
    if (t->timed)
        t->seconds = PyFloat_AS_DOUBLE(when);
    Py_XSETREF(t->when, when != Py_None ? Py_NewRef(when) : NULL);
}

static int cancel_handle(timeout_object *t)
{
    pa_deadline_drop(&t->deadline);
    PyObject *handle = Py_XNewRef(t->handle);
    int rc = handle != NULL ? pa_calls_cancel(t->st, handle) : 0;
    Py_XDECREF(handle);
    return rc;
}

/* The callback of a TimerHandle: new. */
static PyObject *new_callback(timeout_object *t)
{
    return has_own_methods(t) ? PyCFunction_New(&on_timeout_def, (PyObject *)t) : PyObject_GetAttr((PyObject *)t, t->st->names._on_timeout);
}

/* See pa_state.deadline_to_handle. The callback is what it was when the deadline was set: ours. The context is what a handle made by the
 * task would have copied. */
static PyObject *deadline_to_handle(PyObject *owner, void *deadline)
{
    timeout_object *t = (timeout_object *)owner;
    pa_loop *loop = t->deadline.loop;
    PyObject *task_context = t->task != NULL && Py_IS_TYPE(t->task, t->st->Task) ? pa_task_context(t->task) : NULL, *handle = NULL;
    PyObject *context = task_context != NULL && PyContext_CheckExact(task_context) ? PyContext_Copy(task_context) : PyContext_CopyCurrent();
    PyObject *callback = context != NULL ? PyCFunction_New(&on_timeout_def, owner) : NULL, *args = callback != NULL ? PyTuple_New(0) : NULL;
    double seconds = t->deadline.entry.when; /* `_when` may have been assigned since */
    PyObject *when = args == NULL ? NULL : t->timed && t->seconds == seconds ? when_of(t) : PyFloat_FromDouble(seconds);
    if (when != NULL && (handle = pa_timer_new(loop, when, seconds, callback, args, context)) != NULL &&
        t->deadline.loop == loop && t->deadline.entry.when == seconds) /* nothing that ran meanwhile changed it */
        Py_XSETREF(t->handle, Py_NewRef(handle));
    Py_XDECREF(when);
    Py_XDECREF(args);
    Py_XDECREF(callback);
    Py_XDECREF(context);
    return handle;
}

/* The deadline as a bare entry of the heap: 1; 0 if it has to be a handle; -1. `ahead`: the deadline is known to lie in the future. */
static int set_lean(timeout_object *t, PyObject *loop, bool ahead)
{
    if (!t->timed || !isfinite(t->seconds) || t->task == NULL || !Py_IS_TYPE(t->task, t->st->Task) || !has_own_methods(t))
        return 0;
    pa_loop *native = pa_deadline_loop(t->st, loop);
    if (native == NULL || (!ahead && t->seconds <= pa_calls_clock()))
        return 0;
    Py_CLEAR(t->handle);
    if (t->deadline.loop != NULL) /* what went with the former handle has set it anew */
        return 1;
    return pa_deadline_set(&t->deadline, native, (PyObject *)t, t->seconds) < 0 ? -1 : 1;
}

/* The deadline becomes effective on the running loop. */
static int arm(timeout_object *t, PyObject *loop, bool ahead)
{
    pa_state *st = t->st;
    int lean = set_lean(t, loop, ahead);
    if (lean != 0)
        return lean < 0 ? -1 : 0;
    PyObject *handle = NULL, *callback = NULL, *when = when_of(t);
    int due = when != NULL ? pa_calls_is_due(st, loop, when) : -1;
    if (due >= 0)
        callback = new_callback(t);
    if (callback != NULL)
        handle = due ? pa_calls_soon(st, loop, callback) : pa_calls_at(st, loop, when, callback);
    Py_XDECREF(callback);
    Py_XDECREF(when);
    if (handle == NULL)
        return -1;
    Py_XSETREF(t->handle, handle);
    return 0;
}

/* Sets the deadline. It is entered. */
static int schedule(timeout_object *t, PyObject *when)
{
    set_when(t, when);
    if (cancel_handle(t) < 0)
        return -1;
    if (when == Py_None) {
        Py_CLEAR(t->handle);
        return 0;
    }
    PyObject *loop = pa_calls_need_running(t->st);
    int rc = loop != NULL ? arm(t, loop, false) : -1;
    Py_XDECREF(loop);
    return rc;
}

static PyObject *on_timeout(PyObject *self, PyObject *unused)
{
    timeout_object *t = (timeout_object *)self;
    if (t->state != ENTERED && t->st->asserts) {
        PyErr_SetNone(PyExc_AssertionError);
        return NULL;
    }
    PyObject *task = Py_NewRef(t->task != NULL ? t->task : Py_None);
    int rc = pa_any_cancel(t->st, task, NULL);
    Py_DECREF(task);
    if (rc < 0)
        return NULL;
    t->state = EXPIRING;
    Py_CLEAR(t->handle);
    Py_RETURN_NONE;
}

static PyObject *state_object(timeout_object *t) { return PyTuple_GET_ITEM(t->st->timeout_states, t->state); }

PyDoc_STRVAR(reschedule_doc, "reschedule($self, /, when)\n--\n\n"
             "Move the deadline to `when`, in seconds on the loop's clock; None for no deadline.\n\n"
             "RuntimeError if the timeout is not active.");
static PyObject *reschedule(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"when", NULL};
    static const pa_signature sig = {"reschedule", names, 1, 1};
    timeout_object *t = (timeout_object *)self;
    PyObject *when = pa_args_one(self, &sig, args, nargs, kwnames);
    if (when == NULL)
        return NULL;
    if (t->state == CREATED) {
        PyErr_SetString(PyExc_RuntimeError, "Timeout has not been entered");
        return NULL;
    }
    if (t->state != ENTERED) {
        PyObject *value = PyObject_GetAttrString(state_object(t), "value");
        if (value != NULL)
            PyErr_Format(PyExc_RuntimeError, "Cannot change state of %S Timeout", value);
        Py_XDECREF(value);
        return NULL;
    }
    if (schedule(t, when) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- Entering and leaving ---- */

/* self.reschedule(self._when), `loop` being the one that runs. */
static int call_reschedule(timeout_object *t, PyObject *loop)
{
    if (t->timed && has_own_methods(t) && t->handle == NULL && t->deadline.loop == NULL)
        return arm(t, loop, false);
    PyObject *when = when_of(t);
    if (when == NULL)
        return -1;
    int rc = has_own_methods(t) ? schedule(t, when)
                                : pa_call_nothing(PyObject_CallMethodOneArg((PyObject *)t, t->st->names.reschedule, when));
    Py_DECREF(when);
    return rc;
}

/* On the running loop, up to the deadline. */
static int begin(timeout_object *t, PyObject *loop)
{
    PyObject *task = NULL;
    if (pa_calls_need_task(t->st, loop, &task) < 0)
        return -1;
    if (task == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Timeout should be used inside a task");
        return -1;
    }
    t->state = ENTERED;
    Py_XSETREF(t->task, Py_NewRef(task));
    long cancelling = pa_any_cancelling(t->st, task);
    Py_DECREF(task);
    t->cancelling = cancelling;
    return cancelling == -1 && PyErr_Occurred() ? -1 : 0;
}

static int enter(timeout_object *t)
{
    if (t->state != CREATED) {
        PyErr_SetString(PyExc_RuntimeError, "Timeout has already been entered");
        return -1;
    }
    PyObject *loop = pa_calls_need_running(t->st);
    int rc = loop != NULL && begin(t, loop) == 0 ? call_reschedule(t, loop) : -1;
    Py_XDECREF(loop);
    return rc;
}

/* raise TimeoutError from exc. In an `async with` the interpreter handles exc meanwhile and makes it the context. */
static int raise_timeout(PyObject *exc, int handled)
{
    PyObject *error = PyObject_CallNoArgs(PyExc_TimeoutError);
    if (error == NULL)
        return -1;
    PyException_SetCause(error, exc != Py_None ? Py_NewRef(exc) : NULL);
    if (handled) {
        PyErr_SetObject(PyExc_TimeoutError, error);
        Py_DECREF(error);
    } else {
        PyException_SetContext(error, Py_NewRef(exc));
        pa_err_restore(error);
    }
    return -1;
}

/* self._insert_timeout_error(exc): of asyncio's class where `self` is of the C half alone. */
static int insert_into(timeout_object *t, PyObject *exc)
{
    pa_state *st = t->st;
    if (Py_TYPE(t) != st->Timeout)
        return pa_call_nothing(PyObject_CallMethodOneArg((PyObject *)t, st->names._insert_timeout_error, exc));
    return pa_call_nothing(PyObject_CallOneArg(st->insert_timeout_error, exc));
}

/* For exc and, if it is a group, for what is in it. */
static int insert_timeout_error(timeout_object *t, PyObject *exc)
{
    PyObject *parts = NULL;
    int is_group = insert_into(t, exc) == 0 ? PyObject_IsInstance(exc, t->st->ExceptionGroup) : -1, rc = is_group < 0 ? -1 : 0;
    if (is_group <= 0)
        return rc;
    if ((parts = PyObject_GetAttrString(exc, "exceptions")) == NULL)
        return -1;
    Py_SETREF(parts, PySequence_Tuple(parts));
    rc = parts != NULL ? 0 : -1;
    for (Py_ssize_t i = 0; rc == 0 && i < PyTuple_GET_SIZE(parts); i++) {
        PyObject *part = Py_NewRef(PyTuple_GET_ITEM(parts, i));
        rc = insert_into(t, part);
        Py_DECREF(part);
    }
    Py_XDECREF(parts);
    return rc;
}

/* It expired, and nobody else cancelled the task: what becomes of the body's exception. */
static int convert(timeout_object *t, PyObject *type, PyObject *exc, int handled)
{
    pa_state *st = t->st;
    int cancelled = PA_HAS_TRAIT(st, timeout_takes_subclasses) ? PyObject_IsSubclass(type, st->CancelledError) : type == st->CancelledError;
    if (cancelled < 0)
        return -1;
    if (cancelled)
        return raise_timeout(exc, handled);
    return exc != Py_None && st->insert_timeout_error != NULL ? insert_timeout_error(t, exc) : 0;
}

/* type and exc as __aexit__ gets them. 0 or -1. */
static int leave(timeout_object *t, PyObject *type, PyObject *exc, int handled)
{
    if (t->state != ENTERED && t->state != EXPIRING && t->st->asserts) {
        PyErr_SetNone(PyExc_AssertionError);
        return -1;
    }
    if (t->deadline.loop != NULL || t->handle != NULL) {
        if (cancel_handle(t) < 0)
            return -1;
        Py_CLEAR(t->handle);
    }
    if (t->state != EXPIRING) {
        if (t->state == ENTERED)
            t->state = EXITED;
        return 0;
    }
    t->state = EXPIRED;
    PyObject *task = Py_NewRef(t->task != NULL ? t->task : Py_None);
    long left = pa_any_uncancel(t->st, task);
    Py_DECREF(task);
    if (left == -1 && PyErr_Occurred())
        return -1;
    return left <= t->cancelling && type != Py_None ? convert(t, type, exc, handled) : 0;
}

static PySendResult enter_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    if (enter((timeout_object *)op->self) < 0)
        return PYGEN_ERROR;
    *result = Py_NewRef(op->self);
    return PYGEN_RETURN;
}

static PySendResult leave_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    if (leave((timeout_object *)op->self, op->a, op->b, 1) < 0)
        return PYGEN_ERROR;
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static const pa_op_kind enter_kind = {"__aenter__", "Timeout.__aenter__", enter_run, NULL};
static const pa_op_kind leave_kind = {"__aexit__", "Timeout.__aexit__", leave_run, NULL};

static PyObject *aenter(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    if (pa_args_none(self, "__aenter__", args, nargs, kwnames) < 0)
        return NULL;
    return pa_op_new(((timeout_object *)self)->st, &enter_kind, self);
}

static PyObject *aexit(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"exc_type", "exc_val", "exc_tb", NULL};
    static const pa_signature sig = {"__aexit__", names, 3, 3};
    PyObject *given[3];
    if (pa_args_parse(self, &sig, args, nargs, kwnames, given) < 0)
        return NULL;
    pa_op *op = (pa_op *)pa_op_new(((timeout_object *)self)->st, &leave_kind, self);
    if (op != NULL) {
        op->a = Py_NewRef(given[0]);
        op->b = Py_NewRef(given[1]);
    }
    return (PyObject *)op;
}

/* ---- Lifecycle ---- */

static timeout_object *new_timeout(pa_state *st, PyTypeObject *type)
{
    timeout_object *t = type == st->Timeout ? (timeout_object *)pa_free_take(&st->free_timeouts) : NULL;
    if (t != NULL) {
        memset((char *)t + sizeof(PyObject), 0, sizeof(*t) - sizeof(PyObject));
        pa_object_init((PyObject *)t, type);
        PyObject_GC_Track(t);
    } else {
        t = (timeout_object *)type->tp_alloc(type, 0);
    }
    if (t != NULL) {
        t->st = st;
        pa_deadline_init(&t->deadline);
    }
    return t;
}

static PyObject *timeout_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    pa_state *st = pa_state_of_type(type);
    return st != NULL ? (PyObject *)new_timeout(st, type) : NULL;
}

static int timeout_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"when", NULL};
    static const pa_signature sig = {"__init__", names, 1, 1};
    timeout_object *t = (timeout_object *)self;
    PyObject *given[1];
    if (pa_args_parse_tuple(self, &sig, args, kwargs, given) < 0)
        return -1;
    t->state = CREATED;
    pa_deadline_drop(&t->deadline);
    Py_CLEAR(t->handle);
    Py_CLEAR(t->task);
    set_when(t, given[0]);
    return 0;
}

/* Whether it is an int or a float: 1, and its value, which is as exact as loop.time() + number would be. An int that is too large is not. */
static int is_number(PyObject *number, double *value)
{
    int overflow = 1;
    if (PyFloat_CheckExact(number))
        *value = PyFloat_AS_DOUBLE(number);
    else if (!PyLong_CheckExact(number))
        return 0;
    else
        *value = (double)PyLong_AsLongAndOverflow(number, &overflow);
    return PyFloat_CheckExact(number) || (!overflow && fabs(*value) < 1e15);
}

/* The deadline of a new one: loop.time() + delay on the running loop; None for None. 1 if that lies ahead for certain, 0 or -1. */
static int set_delay(timeout_object *t, PyObject *loop, PyObject *delay)
{
    double seconds;
    if (delay == Py_None) /* as it is in a new one */
        return 0;
    if (is_number(delay, &seconds) && pa_deadline_loop(t->st, loop) != NULL) {
        double now = pa_calls_clock();
        t->seconds = now + seconds;
        t->timed = true;
        return t->seconds > now;
    }
    PyObject *when = pa_calls_time_plus(t->st, loop, delay);
    if (when == NULL)
        return -1;
    set_when(t, when);
    Py_DECREF(when);
    return 0;
}

PyObject *pa_timeout_begin(pa_state *st, PyObject *delay)
{
    PyObject *loop = pa_calls_need_running(st);
    timeout_object *t = loop != NULL ? new_timeout(st, st->Timeout) : NULL;
    int ahead = t != NULL ? set_delay(t, loop, delay) : -1, rc = -1;
    if (ahead >= 0 && (rc = begin(t, loop)) == 0 && delay != Py_None)
        rc = arm(t, loop, ahead);
    Py_XDECREF(loop);
    if (rc < 0)
        Py_CLEAR(t);
    return (PyObject *)t;
}

int pa_timeout_end(PyObject *timeout, PyObject *exc)
{
    return leave((timeout_object *)timeout, exc != NULL ? (PyObject *)Py_TYPE(exc) : Py_None, exc != NULL ? exc : Py_None, 0);
}

static int timeout_traverse(PyObject *self, visitproc visit, void *arg)
{
    timeout_object *t = (timeout_object *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(t->when);
    Py_VISIT(t->handle);
    Py_VISIT(t->task);
    return 0;
}

static int timeout_clear(PyObject *self)
{
    timeout_object *t = (timeout_object *)self;
    Py_CLEAR(t->when);
    Py_CLEAR(t->handle);
    Py_CLEAR(t->task);
    return 0;
}

static void timeout_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    pa_state *st = ((timeout_object *)self)->st;
    PyObject_GC_UnTrack(self);
    (void)timeout_clear(self);
    bool lives = ((PyHeapTypeObject *)type)->ht_module != NULL && st->Timeout == type; /* the collector clears types and states in any order */
    if (!lives || !pa_free_keep(&st->free_timeouts, self))
        type->tp_free(self);
    Py_DECREF(type);
}

void pa_timeout_free_lists(pa_state *st)
{
    PyObject *self;
    while ((self = pa_free_take(&st->free_timeouts)) != NULL)
        PyObject_GC_Del(self);
}

static int timeout_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    timeout_object *t = (timeout_object *)self;
    return pa_traits_setattr(self, name, value, t->st->timeout_methods, &t->assigned);
}

/* ---- Methods and attributes ---- */

PyDoc_STRVAR(when_doc, "when($self, /)\n--\n\nReturn the deadline, in seconds on the loop's clock, or None.");
static PyObject *when(PyObject *self, PyObject *unused) { return when_of((timeout_object *)self); }

PyDoc_STRVAR(expired_doc, "expired($self, /)\n--\n\nReturn whether the deadline passed while the timeout was active.");
static PyObject *expired(PyObject *self, PyObject *unused)
{
    int state = ((timeout_object *)self)->state;
    return PyBool_FromLong(state == EXPIRING || state == EXPIRED);
}

static PyObject *get_state(PyObject *self, void *unused) { return Py_NewRef(state_object((timeout_object *)self)); }

static int set_state(PyObject *self, PyObject *value, void *unused)
{
    timeout_object *t = (timeout_object *)self;
    for (int i = 0; i < STATES; i++)
        if (PyTuple_GET_ITEM(t->st->timeout_states, i) == value) {
            t->state = (uint8_t)i;
            return 0;
        }
    PyErr_SetString(PyExc_TypeError, "_state must be one of the states of a timeout");
    return -1;
}

static PyObject *get_when(PyObject *self, void *unused) { return when_of((timeout_object *)self); }

static int set_when_attribute(PyObject *self, PyObject *value, void *unused)
{
    if (value == NULL)
        return pa_err_cannot_delete(self, "_when");
    set_when((timeout_object *)self, value);
    return 0;
}

static PyObject *get_handle(PyObject *self, void *unused)
{
    timeout_object *t = (timeout_object *)self;
    if (t->deadline.loop != NULL && pa_deadline_handle(&t->deadline) < 0)
        return NULL;
    return Py_NewRef(t->handle != NULL ? t->handle : Py_None);
}

/* What asyncio would have forgotten goes on: the former handle stays in the heap. */
static int set_handle(PyObject *self, PyObject *value, void *closure)
{
    timeout_object *t = (timeout_object *)self;
    if (value != NULL && t->deadline.loop != NULL && pa_deadline_handle(&t->deadline) < 0)
        return -1;
    return pa_field_set(self, value, closure);
}

static PyObject *get_cancelling(PyObject *self, void *unused) { return PyLong_FromLong(((timeout_object *)self)->cancelling); }

static int set_cancelling(PyObject *self, PyObject *value, void *unused)
{
    if (value == NULL)
        return pa_err_cannot_delete(self, "_cancelling");
    long count = PyLong_AsLong(value);
    if (count == -1 && PyErr_Occurred())
        return -1;
    ((timeout_object *)self)->cancelling = count;
    return 0;
}

PA_NO_ARGS(when, when)
PA_NO_ARGS(expired, expired)

static PyMethodDef timeout_methods[] = {
    {"when", PA_NO_ARGS_METHOD(when, when), when_doc},
    {"expired", PA_NO_ARGS_METHOD(expired, expired), expired_doc},
    {"reschedule", PA_WITH_KEYWORDS(reschedule), reschedule_doc},
    {"_on_timeout", on_timeout, METH_NOARGS, PyDoc_STR("_on_timeout($self, /)\n--\n\n")},
    {NULL, NULL, 0, NULL},
};

static const pa_corofn_def timeout_corofns[] = {
    {"__aenter__", "Timeout.__aenter__", aenter, "__aenter__($self, /)\n--\n\n"},
    {"__aexit__", "Timeout.__aexit__", aexit, "__aexit__($self, /, exc_type, exc_val, exc_tb)\n--\n\n"},
    {NULL, NULL, NULL, NULL},
};

static PyGetSetDef timeout_getset[] = {
    {"_state", get_state, set_state, NULL, NULL},
    {"_when", get_when, set_when_attribute, NULL, NULL},
    {"_timeout_handler", get_handle, set_handle, NULL, (void *)(uintptr_t)offsetof(timeout_object, handle)},
    PA_FIELD("_task", timeout_object, task),
    {"_cancelling", get_cancelling, set_cancelling, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(timeout_type_doc, "Timeout(when)\n--\n\nThe native half of pyasync.Timeout.");

static PyType_Slot timeout_slots[] = {
    {Py_tp_doc, (void *)timeout_type_doc},
    {Py_tp_new, timeout_new},
    {Py_tp_init, timeout_init},
    {Py_tp_dealloc, timeout_dealloc},
    {Py_tp_traverse, timeout_traverse},
    {Py_tp_clear, timeout_clear},
    {Py_tp_setattro, timeout_setattro},
    {Py_tp_methods, timeout_methods},
    {Py_tp_getset, timeout_getset},
    {0, NULL},
};

/* ---- timeout() and timeout_at() ---- */

/* Of the class that users see, without __init__; NULL without an exception where that is not ours. New. */
static timeout_object *new_visible(pa_state *st)
{
    PyTypeObject *type = st->joined_Timeout != NULL ? st->joined_Timeout : st->Timeout;
    return type->tp_init == timeout_init && type->tp_new == timeout_new ? new_timeout(st, type) : NULL;
}

/* Timeout(when) of that class. New. */
static PyObject *call_visible(pa_state *st, PyObject *when)
{
    return when != NULL ? PyObject_CallOneArg((PyObject *)(st->joined_Timeout != NULL ? st->joined_Timeout : st->Timeout), when) : NULL;
}

PyDoc_STRVAR(timeout_doc, "timeout(delay)\n--\n\n"
             "Return an asynchronous context manager that cancels its body after `delay` seconds\nand then raises TimeoutError; None for never.");
static PyObject *timeout(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"delay", NULL};
    static const pa_signature sig = {"timeout", names, 1, 1};
    pa_state *st = pa_state_of_module(module);
    PyObject *delay = pa_args_one(module, &sig, args, nargs, kwnames), *loop = delay != NULL ? pa_calls_need_running(st) : NULL, *result = NULL;
    if (loop == NULL)
        return NULL;
    timeout_object *t = new_visible(st);
    if (t != NULL && set_delay(t, loop, delay) < 0) {
        Py_CLEAR(t);
    } else if (t == NULL && !PyErr_Occurred()) {
        PyObject *at = delay != Py_None ? pa_calls_time_plus(st, loop, delay) : Py_NewRef(Py_None);
        result = call_visible(st, at);
        Py_XDECREF(at);
    }
    Py_DECREF(loop);
    return t != NULL ? (PyObject *)t : result;
}

PyDoc_STRVAR(timeout_at_doc, "timeout_at(when)\n--\n\n"
             "As timeout(), with the deadline in seconds on the loop's clock, as loop.time() tells it.");
static PyObject *timeout_at(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"when", NULL};
    static const pa_signature sig = {"timeout_at", names, 1, 1};
    PyObject *at = pa_args_one(module, &sig, args, nargs, kwnames);
    pa_state *st = pa_state_of_module(module);
    timeout_object *t = at != NULL ? new_visible(st) : NULL;
    if (t != NULL)
        set_when(t, at);
    return t != NULL || PyErr_Occurred() ? (PyObject *)t : call_visible(st, at);
}

static const pa_corofn_def functions[] = {
    {"timeout", "timeout", timeout, timeout_doc},
    {"timeout_at", "timeout_at", timeout_at, timeout_at_doc},
    {NULL, NULL, NULL, NULL},
};

/* ---- Setup ---- */

static int import_states(pa_state *st)
{
    static const char *const names[STATES] = {"CREATED", "ENTERED", "EXPIRING", "EXPIRED", "EXITED"};
    PyObject *module = PyImport_ImportModule("asyncio.timeouts"), *states = NULL, *type = NULL;
    int rc = -1;
    if (module == NULL || (states = PyObject_GetAttrString(module, "_State")) == NULL ||
        (type = PyObject_GetAttrString(module, "Timeout")) == NULL || (st->timeout_states = PyTuple_New(STATES)) == NULL)
        goto done;
    for (int i = 0; i < STATES; i++) {
        PyObject *state = PyObject_GetAttrString(states, names[i]);
        if (state == NULL)
            goto done;
        PyTuple_SET_ITEM(st->timeout_states, i, state);
    }
    rc = pa_getattr_optional(type, st->names._insert_timeout_error, &st->insert_timeout_error) < 0 ? -1 : 0;
done:
    Py_XDECREF(type);
    Py_XDECREF(states);
    Py_XDECREF(module);
    return rc;
}

int pa_timeout_setup(PyObject *module, pa_state *st)
{
    PyType_Spec spec = {"pyasync._core.Timeout", sizeof(timeout_object), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, timeout_slots};
    st->deadline_to_handle = deadline_to_handle;
    st->Timeout = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    if (st->Timeout == NULL || import_states(st) < 0 || pa_corofn_add_methods(st, st->Timeout, timeout_corofns) < 0)
        return -1;
    return pa_pyfn_add_functions(st, module, "asyncio.timeouts", functions) < 0 ? -1 : PyModule_AddType(module, st->Timeout);
}
