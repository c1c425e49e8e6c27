/* Semaphore and BoundedSemaphore: a number, and a queue of futures of those for whom it was too low. The classes that programs see derive
 * from these and asyncio's.
 *
 * Waking somebody takes one off the number at once, for them; whoever is cancelled after that gives it back. What happens to those behind
 * depends on the Python: see pa_state.semaphore_wakes_all. The number may be anything that can be counted with, infinity for instance.
 */
#include "sync/semaphore.h"
#include "rt/args.h"
#include "rt/call.h"
#include "rt/error.h"
#include "sync/bound.h"
#include "sync/corofn.h"
#include "sync/waiters.h"

typedef struct {
    PyObject_HEAD
    pa_bound bound;
    PyObject *waiters; /* made when the first one waits */
    PyObject *value;   /* NULL: __init__ did not run */
    PyObject *limit;   /* `_bound_value` of a BoundedSemaphore */
} semaphore;

enum { GET_LOOP = 1, ACQUIRE = 2, RELEASE = 4, LOCKED = 8, WAKE_UP_NEXT = 16 };

#define OVERRIDES(st)                                                                                                              \
    {                                                                                                                              \
        {(st)->names._get_loop, GET_LOOP}, {(st)->names.acquire, ACQUIRE}, {(st)->names.release, RELEASE},                          \
            {(st)->names.locked, LOCKED}, {(st)->names._wake_up_next, WAKE_UP_NEXT}, {NULL, 0},                                    \
    }

static unsigned find_overrides(PyObject *self)
{
    pa_state *st = PA_BOUND(self)->st;
    const pa_override names[] = OVERRIDES(st);
    PyTypeObject *native = PyObject_TypeCheck(self, st->BoundedSemaphore) ? st->BoundedSemaphore : st->Semaphore;
    return pa_bound_find_overrides(self, native, names);
}

static int semaphore_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    const pa_override names[] = OVERRIDES(PA_BOUND(self)->st);
    return pa_bound_setattr(self, name, value, names);
}

static inline unsigned overrides(PyObject *self) { return PA_BOUND_OVERRIDES(self, find_overrides); }

/* ---- The number ---- */

static PyObject *value_of(PyObject *self)
{
    PyObject *value = ((semaphore *)self)->value;
    if (value == NULL)
        PyErr_Format(PyExc_AttributeError, "'%s' object has no attribute '_value'", Py_TYPE(self)->tp_name);
    return value;
}

/* Whether an ordinary int fits: then it is in *out. */
static int as_long(PyObject *value, long *out)
{
    int overflow = 1;
    if (PyLong_CheckExact(value))
        *out = PyLong_AsLongAndOverflow(value, &overflow);
    return !overflow && *out < LONG_MAX && *out > LONG_MIN;
}

static int add(PyObject *self, int delta)
{
    PyObject *value = value_of(self), *sum;
    long number;
    if (value == NULL)
        return -1;
    if (as_long(value, &number)) {
        sum = PyLong_FromLong(number + delta);
    } else {
        PyObject *one = PyLong_FromLong(1);
        Py_INCREF(value);
        sum = one == NULL ? NULL : delta > 0 ? PyNumber_Add(value, one) : PyNumber_Subtract(value, one);
        Py_DECREF(value);
        Py_XDECREF(one);
    }
    if (sum == NULL)
        return -1;
    Py_XSETREF(((semaphore *)self)->value, sum);
    return 0;
}

/* value <op> 0: 1, 0 or -1. */
static int compare(PyObject *value, int op)
{
    long number;
    if (as_long(value, &number))
        return op == Py_EQ ? number == 0 : op == Py_GT ? number > 0 : number < 0;
    PyObject *zero = PyLong_FromLong(0);
    int rc = zero != NULL ? PyObject_RichCompareBool(value, zero, op) : -1;
    Py_XDECREF(zero);
    return rc;
}

static int compare_value(PyObject *self, int op)
{
    PyObject *value = Py_XNewRef(value_of(self));
    int rc = value != NULL ? compare(value, op) : -1;
    Py_XDECREF(value);
    return rc;
}

/* ---- acquire() and release() ---- */

/* Whether acquire() would have to wait: also if somebody else waits already. 1, 0 or -1. */
static int native_locked(PyObject *self)
{
    semaphore *s = (semaphore *)self;
    int rc = compare_value(self, Py_EQ);
    PyObject *waiters = Py_XNewRef(s->waiters);
    for (size_t i = 0; rc == 0 && i < pa_waiters_len(waiters); i++) {
        PyObject *future = Py_NewRef(pa_waiters_at(waiters, i));
        pa_waiter_state state = pa_waiter_look(s->bound.st, future);
        Py_DECREF(future);
        rc = state == PA_WAITER_ERROR ? -1 : state != PA_WAITER_CANCELLED;
    }
    Py_XDECREF(waiters);
    return rc;
}

static int is_locked(PyObject *self)
{
    return overrides(self) & LOCKED ? pa_call_truth(PyObject_CallMethodNoArgs(self, PA_BOUND(self)->st->names.locked)) : native_locked(self);
}

/* The first that still waits gets one. 1; 0 if there is nobody; or -1. */
static int native_wake_up_next(PyObject *self)
{
    semaphore *s = (semaphore *)self;
    PyObject *waiters = Py_XNewRef(s->waiters);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < pa_waiters_len(waiters); i++) {
        PyObject *future = Py_NewRef(pa_waiters_at(waiters, i));
        pa_waiter_state state = pa_waiter_look(s->bound.st, future);
        if (state == PA_WAITER_PENDING)
            rc = add(self, -1) < 0 || pa_waiter_wake(s->bound.st, future, Py_True) < 0 ? -1 : 1;
        else if (state == PA_WAITER_ERROR)
            rc = -1;
        Py_DECREF(future);
    }
    Py_XDECREF(waiters);
    return rc;
}

static int wake_up_next(PyObject *self)
{
    return overrides(self) & WAKE_UP_NEXT ? pa_call_truth(PyObject_CallMethodNoArgs(self, PA_BOUND(self)->st->names._wake_up_next))
                                          : native_wake_up_next(self);
}

/* Those who came meanwhile had to queue up although there was enough. 0 or -1. */
static int wake_up_all(PyObject *self)
{
    int rc;
    while ((rc = compare_value(self, Py_GT)) > 0 && (rc = wake_up_next(self)) > 0)
        ;
    return rc < 0 ? -1 : 0;
}

static PySendResult begin_acquire(pa_op *op)
{
    PyObject *self = op->self;
    int locked = is_locked(self);
    if (locked < 0)
        return PYGEN_ERROR;
    if (!locked)
        return add(self, -1) < 0 ? PYGEN_ERROR : PYGEN_RETURN;
    PyObject *future = pa_bound_future(self, overrides(self) & GET_LOOP);
    if (future == NULL)
        return PYGEN_ERROR;
    op->a = future;
    op->step = 1;
    return pa_bound_push(self, &((semaphore *)self)->waiters, future) < 0 ? PYGEN_ERROR : pa_op_wait(op, future);
}

/* On a CancelledError at the wait: what it was given goes back. 0 or -1. */
static int give_back(pa_op *op)
{
    pa_waiter_state state = pa_waiter_look(op->st, op->a);
    if (state == PA_WAITER_ERROR)
        return -1;
    if (op->st->semaphore_wakes_all)
        return state == PA_WAITER_DONE ? add(op->self, 1) : 0;
    if (state == PA_WAITER_CANCELLED)
        return 0;
    return add(op->self, 1) < 0 || wake_up_next(op->self) < 0 ? -1 : 0;
}

/* The wait is over, well or with `thrown`. 0 or -1. */
static int end_wait(pa_op *op, PyObject *thrown)
{
    PyObject *self = op->self;
    if (((semaphore *)self)->waiters != NULL)
        (void)pa_waiters_remove(((semaphore *)self)->waiters, op->a);
    if (thrown != NULL && PyErr_GivenExceptionMatches(thrown, op->st->CancelledError) && give_back(op) < 0)
        return -1;
    if (op->st->semaphore_wakes_all)
        return wake_up_all(self);
    int rc = thrown == NULL ? compare_value(self, Py_GT) : 0;
    return rc < 0 || (rc > 0 && wake_up_next(self) < 0) ? -1 : 0;
}

/* The body of acquire() without its result. */
static PySendResult do_acquire(pa_op *op, PyObject *thrown)
{
    if (op->step == 0)
        return begin_acquire(op);
    PyObject *before = pa_error_handle(thrown);
    int rc = end_wait(op, thrown);
    pa_error_handled(before);
    if (rc < 0)
        return PYGEN_ERROR;
    return thrown != NULL ? pa_op_raise(thrown) : PYGEN_RETURN;
}

static PySendResult acquire_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    PySendResult how = do_acquire(op, thrown);
    if (how == PYGEN_RETURN)
        *result = Py_NewRef(Py_True);
    return how;
}

static int do_release(PyObject *self)
{
    semaphore *s = (semaphore *)self;
    PyObject *value = value_of(self);
    if (value == NULL)
        return -1;
    if (s->limit != NULL) {
        PyObject *limit = Py_NewRef(s->limit);
        Py_INCREF(value);
        int over = PyObject_RichCompareBool(value, limit, Py_GE);
        Py_DECREF(value);
        Py_DECREF(limit);
        if (over > 0)
            PyErr_SetString(PyExc_ValueError, "BoundedSemaphore released too many times");
        if (over != 0)
            return -1;
    }
    return add(self, 1) < 0 || wake_up_next(self) < 0 ? -1 : 0;
}

static PySendResult enter_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    return pa_with_enter(op, thrown, result, overrides(op->self) & ACQUIRE, do_acquire);
}

static PySendResult exit_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    return pa_with_exit(op, result, overrides(op->self) & RELEASE, do_release);
}

static const pa_op_kind acquire_kind = {"acquire", "Semaphore.acquire", acquire_run, NULL};
static const pa_op_kind enter_kind = {"__aenter__", PA_WITH_ENTER, enter_run, NULL};
static const pa_op_kind exit_kind = {"__aexit__", PA_WITH_EXIT, exit_run, NULL};

static PyObject *semaphore_acquire(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return pa_args_none(self, "acquire", args, nargs, kwnames) < 0 ? NULL : pa_op_new(PA_BOUND(self)->st, &acquire_kind, self);
}

static PyObject *semaphore_enter(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return pa_with_enter_op(self, &enter_kind, args, nargs, kwnames);
}

static PyObject *semaphore_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return pa_with_exit_op(self, &exit_kind, args, nargs, kwnames);
}

static const pa_corofn_def semaphore_coroutines[] = {
    {"acquire", "Semaphore.acquire", semaphore_acquire,
     "acquire($self, /)\n--\n\nTake one off the counter and return True; while it is zero, wait."},
    {"__aenter__", PA_WITH_ENTER, semaphore_enter, "__aenter__($self, /)\n--\n\n"},
    {"__aexit__", PA_WITH_EXIT, semaphore_exit, "__aexit__($self, /, exc_type, exc, tb)\n--\n\n"},
    {NULL, NULL, NULL, NULL},
};

/* ---- Methods ---- */

static PyObject *semaphore_release(PyObject *self, PyObject *unused)
{
    if (do_release(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *semaphore_locked(PyObject *self, PyObject *unused)
{
    int rc = native_locked(self);
    return rc < 0 ? NULL : PyBool_FromLong(rc);
}

static PyObject *semaphore_wake_up_next(PyObject *self, PyObject *unused)
{
    int rc = native_wake_up_next(self);
    if (rc < 0)
        return NULL;
    return PA_BOUND(self)->st->semaphore_wakes_all ? PyBool_FromLong(rc) : Py_NewRef(Py_None);
}

static PyObject *semaphore_repr(PyObject *self)
{
    int locked = is_locked(self);
    PyObject *value = locked >= 0 ? value_of(self) : NULL;
    if (value == NULL)
        return NULL;
    PyObject *extra = locked ? PyUnicode_FromString("locked") : PyUnicode_FromFormat("unlocked, value:%S", value);
    return pa_bound_repr(self, extra, pa_waiters_len(((semaphore *)self)->waiters));
}

static int init(PyObject *self, PyObject *args, PyObject *kwargs, int bounded)
{
    static const char *const names[] = {"value", NULL};
    static const pa_signature sig = {"__init__", names, 1, 0};
    semaphore *s = (semaphore *)self;
    PyObject *given[1];
    if (pa_args_parse_tuple(self, &sig, args, kwargs, given) < 0)
        return -1;
    PyObject *value = given[0] != NULL ? Py_NewRef(given[0]) : PyLong_FromLong(1);
    int negative = value != NULL ? compare(value, Py_LT) : -1;
    if (negative > 0)
        PyErr_SetString(PyExc_ValueError, "Semaphore initial value must be >= 0");
    if (negative == 0) {
        if (bounded)
            Py_XSETREF(s->limit, Py_NewRef(value));
        Py_CLEAR(s->waiters);
        Py_XSETREF(s->value, Py_NewRef(value));
    }
    Py_XDECREF(value);
    return negative == 0 ? 0 : -1;
}

static int semaphore_init(PyObject *self, PyObject *args, PyObject *kwargs) { return init(self, args, kwargs, 0); }

static int bounded_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return init(self, args, kwargs, 1);
}

static PyObject *get_waiters(PyObject *self, void *unused) { return pa_bound_show_waiters(self, &((semaphore *)self)->waiters, 0); }

static int set_waiters(PyObject *self, PyObject *value, void *unused)
{
    return pa_bound_assign_waiters(self, &((semaphore *)self)->waiters, value);
}

/* ---- Setup ---- */

static int semaphore_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(PA_BOUND(self)->loop);
    Py_VISIT(((semaphore *)self)->waiters);
    Py_VISIT(((semaphore *)self)->value);
    Py_VISIT(((semaphore *)self)->limit);
    return 0;
}

static int semaphore_clear(PyObject *self)
{
    Py_CLEAR(PA_BOUND(self)->loop);
    Py_CLEAR(((semaphore *)self)->waiters);
    Py_CLEAR(((semaphore *)self)->value);
    Py_CLEAR(((semaphore *)self)->limit);
    return 0;
}

static void semaphore_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    (void)semaphore_clear(self);
    pa_bound_free(self);
}

PA_NO_ARGS(semaphore_locked, locked)
PA_NO_ARGS(semaphore_release, release)

static PyMethodDef semaphore_methods[] = {
    {"locked", PA_NO_ARGS_METHOD(semaphore_locked, locked),
     "locked($self, /)\n--\n\nReturn True if the semaphore cannot be acquired immediately."},
    {"release", PA_NO_ARGS_METHOD(semaphore_release, release),
     "release($self, /)\n--\n\nAdd one to the counter; if somebody waits for that, the first is woken."},
    {"_wake_up_next", semaphore_wake_up_next, METH_NOARGS, "_wake_up_next($self, /)\n--\n\n"},
    {"_get_loop", pa_bound_get_loop_method, METH_NOARGS, "_get_loop($self, /)\n--\n\n"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef semaphore_getset[] = {
    {"_waiters", get_waiters, set_waiters, NULL, NULL},
    {"_loop", pa_bound_get_loop, pa_bound_set_loop, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef semaphore_members[] = {
    {"_value", Py_T_OBJECT_EX, offsetof(semaphore, value), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMemberDef bounded_members[] = {
    {"_bound_value", Py_T_OBJECT_EX, offsetof(semaphore, limit), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot semaphore_slots[] = {
    {Py_tp_doc, (void *)"Semaphore(value=1)\n--\n\nA counter that tasks take from: asyncio.Semaphore in C."},
    {Py_tp_new, pa_bound_new},
    {Py_tp_init, semaphore_init},
    {Py_tp_repr, semaphore_repr},
    {Py_tp_setattro, semaphore_setattro},
    {Py_tp_dealloc, semaphore_dealloc},
    {Py_tp_traverse, semaphore_traverse},
    {Py_tp_clear, semaphore_clear},
    {Py_tp_methods, semaphore_methods},
    {Py_tp_getset, semaphore_getset},
    {Py_tp_members, semaphore_members},
    {0, NULL},
};

static PyType_Slot bounded_slots[] = {
    {Py_tp_doc, (void *)"BoundedSemaphore(value=1)\n--\n\nA semaphore that must not be released more often than acquired."},
    {Py_tp_init, bounded_init},
    {Py_tp_members, bounded_members},
    {0, NULL},
};

int pa_semaphore_setup(PyObject *module, pa_state *st)
{
    PyType_Spec spec = {"pyasync._core.Semaphore", sizeof(semaphore), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
                        semaphore_slots};
    PyType_Spec bounded = {"pyasync._core.BoundedSemaphore", sizeof(semaphore), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, bounded_slots};
    st->Semaphore = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    if (st->Semaphore == NULL || pa_corofn_add_methods(st, st->Semaphore, semaphore_coroutines) < 0)
        return -1;
    st->BoundedSemaphore = (PyTypeObject *)PyType_FromModuleAndSpec(module, &bounded, (PyObject *)st->Semaphore);
    if (st->BoundedSemaphore == NULL)
        return -1;
    return PyModule_AddType(module, st->Semaphore) < 0 ? -1 : PyModule_AddType(module, st->BoundedSemaphore);
}
