/* Lock: a flag, and a queue of futures of those who want it. The class that programs see derives from this one and asyncio.Lock.
 *
 * release() wakes the first in the queue, who stays there until it runs: a newcomer sees that somebody is before it and queues up. So
 * the order is the order of asking. A waiter that is cancelled after it was woken passes the turn on.
 */
#include "sync/lock.h"
#include "rt/args.h"
#include "rt/error.h"
#include "sync/bound.h"
#include "sync/corofn.h"
#include "sync/waiters.h"

#include <stdbool.h>

typedef struct {
    PyObject_HEAD
    pa_bound bound;
    PyObject *waiters; /* made when the first one waits */
    char locked;
} lock;

enum { GET_LOOP = 1, ACQUIRE = 2, RELEASE = 4, WAKE_UP_FIRST = 8, LOCKED = 16 };

#define OVERRIDES(st)                                                                                                              \
    {                                                                                                                              \
        {(st)->names._get_loop, GET_LOOP}, {(st)->names.acquire, ACQUIRE}, {(st)->names.release, RELEASE},                          \
            {(st)->names._wake_up_first, WAKE_UP_FIRST}, {(st)->names.locked, LOCKED}, {NULL, 0},                                  \
    }

static unsigned find_overrides(PyObject *self)
{
    pa_state *st = PA_BOUND(self)->st;
    const pa_override names[] = OVERRIDES(st);
    return pa_bound_find_overrides(self, st->Lock, names);
}

static int lock_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    const pa_override names[] = OVERRIDES(PA_BOUND(self)->st);
    return pa_bound_setattr(self, name, value, names);
}

static inline unsigned overrides(PyObject *self) { return PA_BOUND_OVERRIDES(self, find_overrides); }

/* ---- acquire() and release() ---- */

/* The first in the queue will run and take the lock. 0 or -1. */
static int wake_up_first(PyObject *self)
{
    lock *l = (lock *)self;
    if (overrides(self) & WAKE_UP_FIRST) {
        PyObject *result = PyObject_CallMethodNoArgs(self, l->bound.st->names._wake_up_first);
        Py_XDECREF(result);
        return result != NULL ? 0 : -1;
    }
    if (pa_waiters_len(l->waiters) == 0)
        return 0;
    PyObject *first = Py_NewRef(pa_waiters_at(l->waiters, 0));
    int rc = pa_waiter_wake(l->bound.st, first, Py_True);
    Py_DECREF(first);
    return rc < 0 ? -1 : 0;
}

/* Whether nobody is waiting any more: 1, 0 or -1. */
static int all_cancelled(lock *l)
{
    PyObject *waiters = Py_XNewRef(l->waiters);
    int rc = 1;
    for (size_t i = 0; rc > 0 && i < pa_waiters_len(waiters); i++) {
        PyObject *future = Py_NewRef(pa_waiters_at(waiters, i));
        pa_waiter_state state = pa_waiter_look(l->bound.st, future);
        Py_DECREF(future);
        rc = state == PA_WAITER_ERROR ? -1 : state == PA_WAITER_CANCELLED;
    }
    Py_XDECREF(waiters);
    return rc;
}

int pa_lock_try(PyObject *self)
{
    lock *l = (lock *)self;
    int free = l->locked ? 0 : pa_waiters_len(l->waiters) == 0 ? 1 : all_cancelled(l);
    if (free > 0)
        l->locked = 1;
    return free;
}

static PySendResult begin_acquire(pa_op *op)
{
    lock *l = (lock *)op->self;
    int taken = pa_lock_try(op->self);
    if (taken != 0)
        return taken < 0 ? PYGEN_ERROR : PYGEN_RETURN;
    PyObject *future = pa_bound_future(op->self, overrides(op->self) & GET_LOOP);
    if (future == NULL)
        return PYGEN_ERROR;
    op->a = future;
    op->step = 1;
    return pa_bound_push(op->self, &l->waiters, future) < 0 ? PYGEN_ERROR : pa_op_wait(op, future);
}

static void leave(pa_op *op)
{
    lock *l = (lock *)op->self;
    if (l->waiters != NULL)
        (void)pa_waiters_remove(l->waiters, op->a);
}

/* The body of acquire() without its result. */
static PySendResult do_acquire(pa_op *op, PyObject *thrown)
{
    if (op->step == 0)
        return begin_acquire(op);
    lock *l = (lock *)op->self;
    leave(op);
    if (thrown == NULL) {
        l->locked = 1;
        return PYGEN_RETURN;
    }
    if (PyErr_GivenExceptionMatches(thrown, l->bound.st->CancelledError) && !l->locked) {
        PyObject *before = pa_error_handle(thrown);
        int rc = wake_up_first(op->self);
        pa_error_handled(before);
        if (rc < 0)
            return PYGEN_ERROR;
    }
    return pa_op_raise(thrown);
}

static PySendResult acquire_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    PySendResult how = do_acquire(op, thrown);
    if (how == PYGEN_RETURN)
        *result = Py_NewRef(Py_True);
    return how;
}

static const pa_op_kind acquire_kind = {"acquire", "Lock.acquire", acquire_run, leave};

int pa_lock_release(PyObject *self)
{
    lock *l = (lock *)self;
    if (!l->locked) {
        PyErr_SetString(PyExc_RuntimeError, "Lock is not acquired.");
        return -1;
    }
    l->locked = 0;
    return wake_up_first(self);
}

/* ---- async with ---- */

static bool nobody_waits(const lock *l) { return pa_waiters_len(l->waiters) == 0; }

/* Taking a free lock that nobody waits for, and giving it back, is what the general bodies below come to then, in one. */
static PySendResult enter_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    lock *l = (lock *)op->self;
    unsigned replaced = overrides(op->self) & ACQUIRE;
    if (op->step != 0 || replaced || l->locked || !nobody_waits(l))
        return pa_with_enter(op, thrown, result, replaced, do_acquire);
    l->locked = 1;
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static void enter_abandon(pa_op *op)
{
    if (op->step != PA_WITH_THEIRS)
        leave(op);
}

static PySendResult exit_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    lock *l = (lock *)op->self;
    unsigned replaced = overrides(op->self) & (RELEASE | WAKE_UP_FIRST);
    if (replaced || !l->locked || !nobody_waits(l))
        return pa_with_exit(op, result, replaced & RELEASE, pa_lock_release);
    l->locked = 0;
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static const pa_op_kind enter_kind = {"__aenter__", PA_WITH_ENTER, enter_run, enter_abandon};
static const pa_op_kind exit_kind = {"__aexit__", PA_WITH_EXIT, exit_run, NULL};

PyObject *pa_lock_acquire(PyObject *self) { return pa_op_new(PA_BOUND(self)->st, &acquire_kind, self); }

static PyObject *lock_acquire(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return pa_args_none(self, "acquire", args, nargs, kwnames) < 0 ? NULL : pa_lock_acquire(self);
}

static PyObject *lock_enter(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return pa_with_enter_op(self, &enter_kind, args, nargs, kwnames);
}

static PyObject *lock_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return pa_with_exit_op(self, &exit_kind, args, nargs, kwnames);
}

static const pa_corofn_def lock_coroutines[] = {
    {"acquire", "Lock.acquire", lock_acquire,
     "acquire($self, /)\n--\n\nAcquire the lock: wait until it is unlocked, lock it and return True."},
    {"__aenter__", PA_WITH_ENTER, lock_enter, "__aenter__($self, /)\n--\n\n"},
    {"__aexit__", PA_WITH_EXIT, lock_exit, "__aexit__($self, /, exc_type, exc, tb)\n--\n\n"},
    {NULL, NULL, NULL, NULL},
};

/* ---- Methods ---- */

static PyObject *lock_release(PyObject *self, PyObject *unused)
{
    if (pa_lock_release(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *lock_wake_up_first(PyObject *self, PyObject *unused)
{
    lock *l = (lock *)self;
    if (pa_waiters_len(l->waiters) > 0) {
        PyObject *first = Py_NewRef(pa_waiters_at(l->waiters, 0));
        int rc = pa_waiter_wake(l->bound.st, first, Py_True);
        Py_DECREF(first);
        if (rc < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}

int pa_lock_is_locked(PyObject *self) { return ((lock *)self)->locked; }

int pa_lock_is_plain(pa_state *st, PyObject *obj)
{
    return PyObject_TypeCheck(obj, st->Lock) && (overrides(obj) & (ACQUIRE | RELEASE | LOCKED)) == 0;
}

static PyObject *lock_locked(PyObject *self, PyObject *unused) { return PyBool_FromLong(((lock *)self)->locked); }

static PyObject *lock_repr(PyObject *self)
{
    return pa_bound_repr(self, PyUnicode_FromString(((lock *)self)->locked ? "locked" : "unlocked"), pa_waiters_len(((lock *)self)->waiters));
}

static int lock_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {NULL};
    static const pa_signature sig = {"__init__", names, 0, 0};
    PyObject *given[1];
    if (pa_args_parse_tuple(self, &sig, args, kwargs, given) < 0)
        return -1;
    Py_CLEAR(((lock *)self)->waiters);
    ((lock *)self)->locked = 0;
    return 0;
}

static PyObject *get_waiters(PyObject *self, void *unused) { return pa_bound_show_waiters(self, &((lock *)self)->waiters, 0); }

static int set_waiters(PyObject *self, PyObject *value, void *unused)
{
    return pa_bound_assign_waiters(self, &((lock *)self)->waiters, value);
}

/* ---- Setup ---- */

static int lock_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(PA_BOUND(self)->loop);
    Py_VISIT(((lock *)self)->waiters);
    return 0;
}

static int lock_clear(PyObject *self)
{
    Py_CLEAR(PA_BOUND(self)->loop);
    Py_CLEAR(((lock *)self)->waiters);
    return 0;
}

static void lock_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    (void)lock_clear(self);
    pa_bound_free(self);
}

PA_NO_ARGS(lock_locked, locked)
PA_NO_ARGS(lock_release, release)

static PyMethodDef lock_methods[] = {
    {"locked", PA_NO_ARGS_METHOD(lock_locked, locked), "locked($self, /)\n--\n\nReturn True if lock is acquired."},
    {"release", PA_NO_ARGS_METHOD(lock_release, release),
     "release($self, /)\n--\n\nUnlock the lock; the first who waits for it gets it.\n\nRaises RuntimeError if it is not locked."},
    {"_wake_up_first", lock_wake_up_first, METH_NOARGS, "_wake_up_first($self, /)\n--\n\n"},
    {"_get_loop", pa_bound_get_loop_method, METH_NOARGS, "_get_loop($self, /)\n--\n\n"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef lock_getset[] = {
    {"_waiters", get_waiters, set_waiters, NULL, NULL},
    {"_loop", pa_bound_get_loop, pa_bound_set_loop, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef lock_members[] = {
    {"_locked", Py_T_BOOL, offsetof(lock, locked), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot lock_slots[] = {
    {Py_tp_doc, (void *)"Lock()\n--\n\nA mutual exclusion lock for tasks: asyncio.Lock in C."},
    {Py_tp_new, pa_bound_new},
    {Py_tp_init, lock_init},
    {Py_tp_repr, lock_repr},
    {Py_tp_setattro, lock_setattro},
    {Py_tp_dealloc, lock_dealloc},
    {Py_tp_traverse, lock_traverse},
    {Py_tp_clear, lock_clear},
    {Py_tp_methods, lock_methods},
    {Py_tp_getset, lock_getset},
    {Py_tp_members, lock_members},
    {0, NULL},
};

int pa_lock_setup(PyObject *module, pa_state *st)
{
    PyType_Spec spec = {"pyasync._core.Lock", sizeof(lock), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, lock_slots};
    st->Lock = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return st->Lock == NULL || pa_corofn_add_methods(st, st->Lock, lock_coroutines) < 0 ? -1 : PyModule_AddType(module, st->Lock);
}
