/* Timeout: cancels the task that entered it when its time has come, and makes a TimeoutError of that cancellation.
 *
 * What users see is pyasync.Timeout, class Timeout(_core.Timeout, asyncio.Timeout): repr() and the search for a CancelledError among an
 * exception's contexts are asyncio's. Methods that a subclass overrides, or a patch replaces, are called by name. Native code uses
 * instances of the C half alone.
 *
 * The deadline's handle owns the callback, which owns the Timeout, which owns the handle: __aexit__, or the callback, ends that.
 */
#include "sync/timeout.h"
#include "sync/corofn.h"
#include "sync/op.h"
#include "sync/traits.h"
#include "core/future_any.h"
#include "core/loop_calls.h"
#include "rt/args.h"

/* In the order of asyncio.timeouts._State. */
enum { CREATED, ENTERED, EXPIRING, EXPIRED, EXITED, STATES };

typedef struct {
    PyObject_HEAD
    pa_state *st;
    PyObject *when;    /* NULL before __init__ */
    PyObject *handle;  /* of the deadline; NULL for None */
    PyObject *task;    /* NULL until it is entered */
    long cancelling;   /* how often the task had been cancelled when it entered */
    int state;
} timeout_object;

static int has_own_methods(timeout_object *t)
{
    return pa_is_plain((PyObject *)t, t->st->Timeout, t->st->joined_Timeout, t->st->timeout_version);
}

/* ---- Deadline ---- */

static PyObject *on_timeout(PyObject *self, PyObject *unused);

static PyMethodDef on_timeout_def = {"_on_timeout", on_timeout, METH_NOARGS, PyDoc_STR("_on_timeout($self, /)\n--\n\n")};

static int cancel_handle(timeout_object *t)
{
    PyObject *handle = Py_XNewRef(t->handle);
    int rc = handle != NULL ? pa_calls_cancel(t->st, handle) : 0;
    Py_XDECREF(handle);
    return rc;
}

/* Sets the deadline. It is entered. */
static int schedule(timeout_object *t, PyObject *when)
{
    pa_state *st = t->st;
    Py_XSETREF(t->when, Py_NewRef(when));
    if (cancel_handle(t) < 0)
        return -1;
    if (when == Py_None) {
        Py_CLEAR(t->handle);
        return 0;
    }
    PyObject *handle = NULL, *callback = NULL, *loop = pa_calls_need_running(st);
    int due = loop != NULL ? pa_calls_is_due(st, loop, when) : -1;
    if (due >= 0)
        callback = has_own_methods(t) ? PyCFunction_New(&on_timeout_def, (PyObject *)t)
                                      : PyObject_GetAttr((PyObject *)t, st->names._on_timeout);
    if (callback != NULL)
        handle = due ? pa_calls_soon(st, loop, callback) : pa_calls_at(st, loop, when, callback);
    Py_XDECREF(callback);
    Py_XDECREF(loop);
    if (handle == NULL)
        return -1;
    Py_XSETREF(t->handle, handle);
    return 0;
}

static PyObject *on_timeout(PyObject *self, PyObject *unused)
{
    timeout_object *t = (timeout_object *)self;
    if (t->state != ENTERED || t->task == NULL) {
        PyErr_SetNone(PyExc_AssertionError);
        return NULL;
    }
    PyObject *task = Py_NewRef(t->task);
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
    static const pa_signature sig = {"Timeout.reschedule", names, 1, 1};
    timeout_object *t = (timeout_object *)self;
    PyObject *when = pa_args_one(&sig, args, nargs, kwnames);
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

/* What `reschedule` is for this object. */
static int call_reschedule(timeout_object *t)
{
    PyObject *when = Py_NewRef(t->when != NULL ? t->when : Py_None);
    int rc;
    if (has_own_methods(t)) {
        rc = schedule(t, when);
    } else {
        PyObject *result = PyObject_CallMethodOneArg((PyObject *)t, t->st->names.reschedule, when);
        rc = result != NULL ? 0 : -1;
        Py_XDECREF(result);
    }
    Py_DECREF(when);
    return rc;
}

static int enter(timeout_object *t)
{
    pa_state *st = t->st;
    if (t->state != CREATED) {
        PyErr_SetString(PyExc_RuntimeError, "Timeout has already been entered");
        return -1;
    }
    PyObject *task = NULL, *loop = pa_calls_need_running(st);
    int rc = loop != NULL ? pa_calls_current_task(st, loop, &task) : -1;
    Py_XDECREF(loop);
    if (rc < 0)
        return -1;
    if (task == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Timeout should be used inside a task");
        return -1;
    }
    t->state = ENTERED;
    Py_XSETREF(t->task, task);
    t->cancelling = pa_any_cancelling(st, t->task);
    if (t->cancelling == -1 && PyErr_Occurred())
        return -1;
    return call_reschedule(t);
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

/* Timeout._insert_timeout_error for exc and, if it is a group, for what is in it. */
static int insert_timeout_error(pa_state *st, PyObject *exc)
{
    PyObject *result = PyObject_CallOneArg(st->insert_timeout_error, exc), *parts = NULL;
    int is_group = result != NULL ? PyObject_IsInstance(exc, st->ExceptionGroup) : -1, rc = is_group < 0 ? -1 : 0;
    Py_XDECREF(result);
    if (is_group <= 0)
        return rc;
    if ((parts = PyObject_GetAttrString(exc, "exceptions")) == NULL)
        return -1;
    Py_SETREF(parts, PySequence_Tuple(parts));
    rc = parts != NULL ? 0 : -1;
    for (Py_ssize_t i = 0; rc == 0 && i < PyTuple_GET_SIZE(parts); i++) {
        result = PyObject_CallOneArg(st->insert_timeout_error, PyTuple_GET_ITEM(parts, i));
        rc = result != NULL ? 0 : -1;
        Py_XDECREF(result);
    }
    Py_XDECREF(parts);
    return rc;
}

/* It expired, and nobody else cancelled the task: what becomes of the body's exception. */
static int convert(pa_state *st, PyObject *type, PyObject *exc, int handled)
{
    int cancelled = PA_HAS_TRAIT(st, timeout_takes_subclasses) ? PyObject_IsSubclass(type, st->CancelledError) : type == st->CancelledError;
    if (cancelled < 0)
        return -1;
    if (cancelled)
        return raise_timeout(exc, handled);
    return exc != Py_None && st->insert_timeout_error != NULL ? insert_timeout_error(st, exc) : 0;
}

/* type and exc as __aexit__ gets them. 0 or -1. */
static int leave(timeout_object *t, PyObject *type, PyObject *exc, int handled)
{
    if (t->state != ENTERED && t->state != EXPIRING) {
        PyErr_SetNone(PyExc_AssertionError);
        return -1;
    }
    if (t->handle != NULL) {
        if (cancel_handle(t) < 0)
            return -1;
        Py_CLEAR(t->handle);
    }
    if (t->state != EXPIRING) {
        t->state = EXITED;
        return 0;
    }
    t->state = EXPIRED;
    PyObject *task = Py_NewRef(t->task);
    long left = pa_any_uncancel(t->st, task);
    Py_DECREF(task);
    if (left == -1 && PyErr_Occurred())
        return -1;
    return left <= t->cancelling && type != Py_None ? convert(t->st, type, exc, handled) : 0;
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
    if (pa_corofn_no_args("Timeout.__aenter__", nargs, kwnames) < 0)
        return NULL;
    return pa_op_new(((timeout_object *)self)->st, &enter_kind, self);
}

static PyObject *aexit(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"exc_type", "exc_val", "exc_tb", NULL};
    static const pa_signature sig = {"Timeout.__aexit__", names, 3, 3};
    PyObject *given[3];
    if (pa_args_parse(&sig, args, nargs, kwnames, given) < 0)
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
    timeout_object *t = (timeout_object *)type->tp_alloc(type, 0);
    if (t != NULL)
        t->st = st;
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
    static const pa_signature sig = {"Timeout.__init__", names, 1, 1};
    timeout_object *t = (timeout_object *)self;
    PyObject *given[1];
    if (pa_args_parse_tuple(&sig, args, kwargs, given) < 0)
        return -1;
    t->state = CREATED;
    Py_CLEAR(t->handle);
    Py_CLEAR(t->task);
    Py_XSETREF(t->when, Py_NewRef(given[0]));
    return 0;
}

/* loop.time() + delay; None for None. New. */
static PyObject *deadline(pa_state *st, PyObject *delay)
{
    PyObject *when = NULL, *loop = pa_calls_need_running(st);
    if (loop == NULL || delay == Py_None) {
        Py_XDECREF(loop);
        return loop != NULL ? Py_NewRef(Py_None) : NULL;
    }
    when = pa_calls_time_plus(st, loop, delay);
    Py_DECREF(loop);
    return when;
}

PyObject *pa_timeout_begin(pa_state *st, PyObject *delay)
{
    PyObject *when = deadline(st, delay);
    timeout_object *t = when != NULL ? new_timeout(st, st->Timeout) : NULL;
    if (t == NULL) {
        Py_XDECREF(when);
        return NULL;
    }
    t->when = when;
    if (enter(t) < 0)
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
    PyObject_GC_UnTrack(self);
    (void)timeout_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- Methods and attributes ---- */

static PyObject *or_none(PyObject *obj) { return Py_NewRef(obj != NULL ? obj : Py_None); }

PyDoc_STRVAR(when_doc, "when($self, /)\n--\n\nReturn the deadline, in seconds on the loop's clock, or None.");
static PyObject *when(PyObject *self, PyObject *unused) { return or_none(((timeout_object *)self)->when); }

PyDoc_STRVAR(expired_doc, "expired($self, /)\n--\n\nReturn whether the deadline passed while the timeout was active.");
static PyObject *expired(PyObject *self, PyObject *unused)
{
    int state = ((timeout_object *)self)->state;
    return PyBool_FromLong(state == EXPIRING || state == EXPIRED);
}

static PyObject *get_state(PyObject *self, void *unused) { return Py_NewRef(state_object((timeout_object *)self)); }

static PyObject *get_when(PyObject *self, void *unused) { return or_none(((timeout_object *)self)->when); }

static PyObject *get_handle(PyObject *self, void *unused) { return or_none(((timeout_object *)self)->handle); }

static PyObject *get_task(PyObject *self, void *unused) { return or_none(((timeout_object *)self)->task); }

static PyObject *get_cancelling(PyObject *self, void *unused) { return PyLong_FromLong(((timeout_object *)self)->cancelling); }

static PyMethodDef timeout_methods[] = {
    {"when", when, METH_NOARGS, when_doc},
    {"expired", expired, METH_NOARGS, expired_doc},
    {"reschedule", (PyCFunction)(void (*)(void))reschedule, METH_FASTCALL | METH_KEYWORDS, reschedule_doc},
    {"_on_timeout", on_timeout, METH_NOARGS, PyDoc_STR("_on_timeout($self, /)\n--\n\n")},
    {NULL, NULL, 0, NULL},
};

static const pa_corofn_def timeout_corofns[] = {
    {"__aenter__", "Timeout.__aenter__", aenter, "__aenter__($self, /)\n--\n\n"},
    {"__aexit__", "Timeout.__aexit__", aexit, "__aexit__($self, /, exc_type, exc_val, exc_tb)\n--\n\n"},
    {NULL, NULL, NULL, NULL},
};

static PyGetSetDef timeout_getset[] = {
    {"_state", get_state, NULL, NULL, NULL},
    {"_when", get_when, NULL, NULL, NULL},
    {"_timeout_handler", get_handle, NULL, NULL, NULL},
    {"_task", get_task, NULL, NULL, NULL},
    {"_cancelling", get_cancelling, NULL, NULL, NULL},
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
    {Py_tp_methods, timeout_methods},
    {Py_tp_getset, timeout_getset},
    {0, NULL},
};

/* ---- timeout() and timeout_at() ---- */

/* Timeout(when) of the class that users see. Steals `when`. New. */
static PyObject *make_timeout(pa_state *st, PyObject *when)
{
    PyTypeObject *type = st->joined_Timeout != NULL ? st->joined_Timeout : st->Timeout;
    PyObject *result;
    if (type->tp_init == timeout_init) {
        timeout_object *t = new_timeout(st, type);
        if (t != NULL)
            t->when = Py_NewRef(when);
        result = (PyObject *)t;
    } else {
        result = PyObject_CallOneArg((PyObject *)type, when);
    }
    Py_DECREF(when);
    return result;
}

PyDoc_STRVAR(timeout_doc, "timeout($module, /, delay)\n--\n\n"
             "Return an asynchronous context manager that cancels its body after `delay` seconds\nand then raises TimeoutError; None for never.");
static PyObject *timeout(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"delay", NULL};
    static const pa_signature sig = {"timeout", names, 1, 1};
    pa_state *st = pa_state_of_module(module);
    PyObject *delay = pa_args_one(&sig, args, nargs, kwnames), *at = delay != NULL ? deadline(st, delay) : NULL;
    return at != NULL ? make_timeout(st, at) : NULL;
}

PyDoc_STRVAR(timeout_at_doc, "timeout_at($module, /, when)\n--\n\n"
             "As timeout(), with the deadline in seconds on the loop's clock, as loop.time() tells it.");
static PyObject *timeout_at(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"when", NULL};
    static const pa_signature sig = {"timeout_at", names, 1, 1};
    PyObject *at = pa_args_one(&sig, args, nargs, kwnames);
    return at != NULL ? make_timeout(pa_state_of_module(module), Py_NewRef(at)) : NULL;
}

static PyMethodDef functions[] = {
    {"timeout", (PyCFunction)(void (*)(void))timeout, METH_FASTCALL | METH_KEYWORDS, timeout_doc},
    {"timeout_at", (PyCFunction)(void (*)(void))timeout_at, METH_FASTCALL | METH_KEYWORDS, timeout_at_doc},
    {NULL, NULL, 0, NULL},
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
    st->Timeout = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    if (st->Timeout == NULL || import_states(st) < 0 || pa_corofn_add_methods(st, st->Timeout, timeout_corofns) < 0)
        return -1;
    return PyModule_AddFunctions(module, functions) < 0 ? -1 : PyModule_AddType(module, st->Timeout);
}
