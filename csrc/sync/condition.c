/* Condition: a lock and a queue of futures of those who gave it up to be notified. The class that programs see derives from this one and
 * asyncio.Condition.
 *
 * wait() gets the lock back before it ends, whatever happens to it meanwhile. Newer Pythons pass a notification on when the wait ends with
 * an error after all, and raise the CancelledError that came rather than a new one: pa_state.condition_renotifies.
 *
 * The lock may be any object with acquire, release and locked. As in asyncio these three are the condition's own attributes, too, and may
 * be assigned to; a native lock nobody touched is used directly.
 */
#include "sync/condition.h"
#include "rt/args.h"
#include "rt/call.h"
#include "rt/error.h"
#include "sync/bound.h"
#include "sync/corofn.h"
#include "sync/lock.h"
#include "sync/waiters.h"

typedef struct {
    PyObject_HEAD
    pa_bound bound;
    PyObject *lock;    /* NULL: __init__ did not run */
    PyObject *waiters; /* made when the first one waits */
    PyObject *acquire, *release, *locked; /* assigned ones; NULL: the lock's */
} condition;

enum { GET_LOOP = 1, METHODS = 2, WAIT = 4, NOTIFY = 8, NOTIFY_PRIVATE = 16 };

#define OVERRIDES(st)                                                                                                              \
    {                                                                                                                              \
        {(st)->names._get_loop, GET_LOOP}, {(st)->names.acquire, METHODS}, {(st)->names.release, METHODS},                          \
            {(st)->names.locked, METHODS}, {(st)->names.wait, WAIT}, {(st)->names.notify, NOTIFY},                                 \
            {(st)->names._notify, NOTIFY_PRIVATE}, {NULL, 0},                                                                      \
    }

static unsigned find_overrides(PyObject *self)
{
    pa_state *st = PA_BOUND(self)->st;
    const pa_override names[] = OVERRIDES(st);
    return pa_bound_find_overrides(self, st->Condition, names);
}

static int condition_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    const pa_override names[] = OVERRIDES(PA_BOUND(self)->st);
    return pa_bound_setattr(self, name, value, names);
}

static inline unsigned overrides(PyObject *self) { return PA_BOUND_OVERRIDES(self, find_overrides); }

/* ---- The lock ---- */

/* The lock, borrowed, if it may be used directly; else NULL. */
static PyObject *plain_lock(PyObject *self)
{
    condition *c = (condition *)self;
    return c->lock != NULL && !(overrides(self) & METHODS) && pa_lock_is_plain(c->bound.st, c->lock) ? c->lock : NULL;
}

int pa_condition_is_plain(pa_state *st, PyObject *obj)
{
    return PyObject_TypeCheck(obj, st->Condition) && overrides(obj) == 0 && plain_lock(obj) != NULL;
}

PyObject *pa_condition_lock(PyObject *self) { return ((condition *)self)->lock; }

/* 1, 0 or -1. */
static int is_locked(PyObject *self)
{
    PyObject *lock = plain_lock(self);
    if (lock != NULL)
        return pa_lock_is_locked(lock);
    PyObject *answer = PyObject_CallMethodNoArgs(self, PA_BOUND(self)->st->names.locked);
    int truth = answer != NULL ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    return truth;
}

static int do_release(PyObject *self)
{
    PyObject *lock = Py_XNewRef(plain_lock(self));
    int rc;
    if (lock != NULL) {
        rc = pa_lock_release(lock);
        Py_DECREF(lock);
        return rc;
    }
    PyObject *result = PyObject_CallMethodNoArgs(self, PA_BOUND(self)->st->names.release);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* To await self.acquire(). */
static PySendResult await_acquire(pa_op *op)
{
    PyObject *lock = plain_lock(op->self);
    PyObject *acquire = lock != NULL ? pa_lock_acquire(lock) : PyObject_CallMethodNoArgs(op->self, op->st->names.acquire);
    PySendResult how = acquire != NULL ? pa_op_await(op, acquire) : PYGEN_ERROR;
    Py_XDECREF(acquire);
    return how;
}

/* ---- notify() ---- */

/* Whether `index` < n, where n is whatever the caller gave. 1, 0 or -1. */
static int is_below(size_t index, PyObject *n)
{
    int overflow = 1;
    long limit = PyLong_CheckExact(n) ? PyLong_AsLongAndOverflow(n, &overflow) : 0;
    if (!overflow)
        return limit > 0 && index < (size_t)limit;
    PyObject *number = PyLong_FromSize_t(index);
    int rc = number != NULL ? PyObject_RichCompareBool(number, n, Py_GE) : -1;
    Py_XDECREF(number);
    return rc < 0 ? -1 : !rc;
}

/* Wakes the first n that still wait. 0 or -1. */
static int native_notify(PyObject *self, PyObject *n)
{
    condition *c = (condition *)self;
    PyObject *waiters = Py_XNewRef(c->waiters);
    size_t woken = 0;
    int rc = 1;
    for (size_t i = 0; i < pa_waiters_len(waiters) && (rc = is_below(woken, n)) > 0; i++) {
        PyObject *future = Py_NewRef(pa_waiters_at(waiters, i));
        rc = pa_waiter_wake(c->bound.st, future, Py_False);
        Py_DECREF(future);
        if (rc < 0)
            break;
        woken += (size_t)rc;
    }
    Py_XDECREF(waiters);
    return rc < 0 ? -1 : 0;
}

static int checked_notify(PyObject *self, PyObject *n)
{
    pa_state *st = PA_BOUND(self)->st;
    int locked = is_locked(self);
    if (locked == 0)
        PyErr_SetString(PyExc_RuntimeError, "cannot notify on un-acquired lock");
    if (locked <= 0)
        return -1;
    if (!st->condition_renotifies || !(overrides(self) & NOTIFY_PRIVATE))
        return native_notify(self, n);
    PyObject *result = PyObject_CallMethodOneArg(self, st->names._notify, n);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* What is raised now leaves wait(): somebody else may have to be told instead. */
static PySendResult fail_wait(pa_op *op)
{
    if (!op->st->condition_renotifies)
        return PYGEN_ERROR;
    PyObject *raised = pa_err_take(), *one = PyLong_FromLong(1), *result = NULL, *before = pa_error_handle(raised);
    int rc = one == NULL ? -1 : 0;
    if (rc == 0 && (overrides(op->self) & NOTIFY_PRIVATE))
        rc = (result = PyObject_CallMethodOneArg(op->self, op->st->names._notify, one)) != NULL ? 0 : -1;
    else if (rc == 0)
        rc = native_notify(op->self, one);
    pa_error_handled(before);
    Py_XDECREF(result);
    Py_XDECREF(one);
    if (rc == 0)
        pa_err_restore(raised);
    else
        Py_XDECREF(raised);
    return PYGEN_ERROR;
}

/* ---- wait() ---- */

enum { START, WAITING, ACQUIRING }; /* op->step. op->a: the future; op->b: how the wait failed; op->c: the CancelledError of an acquire() */

static PySendResult reacquire(pa_op *op)
{
    op->step = ACQUIRING;
    PySendResult how = await_acquire(op);
    return how == PYGEN_ERROR ? fail_wait(op) : how;
}

/* A future in the queue. 0 or -1. */
static int queue_up(pa_op *op)
{
    op->a = pa_bound_future(op->self, overrides(op->self) & GET_LOOP);
    return op->a == NULL ? -1 : 0;
}

static PySendResult begin_wait(pa_op *op)
{
    condition *c = (condition *)op->self;
    int locked = is_locked(op->self);
    if (locked == 0)
        PyErr_SetString(PyExc_RuntimeError, "cannot wait on un-acquired lock");
    if (locked <= 0 || (op->st->condition_renotifies && queue_up(op) < 0) || do_release(op->self) < 0)
        return PYGEN_ERROR;
    op->step = WAITING;
    if (!op->st->condition_renotifies && queue_up(op) < 0) {
        op->b = pa_err_take();
        return reacquire(op);
    }
    return pa_bound_push(op->self, &c->waiters, op->a) < 0 ? PYGEN_ERROR : pa_op_wait(op, op->a);
}

/* After the wait, while op->b is handled: until the lock is taken. */
static PySendResult go_on(pa_op *op, PyObject *thrown, PyObject **result)
{
    PyObject *cancelled = op->st->CancelledError;
    if (op->step == WAITING) {
        if (((condition *)op->self)->waiters != NULL)
            (void)pa_waiters_remove(((condition *)op->self)->waiters, op->a);
        return reacquire(op);
    }
    if (thrown != NULL) {
        if (!PyErr_GivenExceptionMatches(thrown, cancelled)) {
            pa_error_reraise(thrown);
            return fail_wait(op);
        }
        Py_XSETREF(op->c, Py_NewRef(thrown));
        return reacquire(op);
    }
    if (op->c != NULL && !op->st->condition_renotifies)
        PyErr_SetNone(cancelled);
    else if (op->c != NULL)
        pa_error_reraise(op->c);
    else if (op->b != NULL)
        (void)pa_op_raise(op->b);
    if (PyErr_Occurred())
        return fail_wait(op);
    *result = Py_NewRef(Py_True);
    return PYGEN_RETURN;
}

static PySendResult wait_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    if (op->step == START)
        return begin_wait(op);
    if (op->step == WAITING)
        op->b = Py_XNewRef(thrown);
    PyObject *before = pa_error_handle(op->b);
    PySendResult how = go_on(op, thrown, result);
    pa_error_handled(before);
    return how;
}

/* op->a: the predicate; step 1: it waits. */
static PySendResult wait_for_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    if (thrown != NULL)
        return pa_op_raise(thrown);
    PyObject *answer = PyObject_CallNoArgs(op->a);
    int truth = answer != NULL ? PyObject_IsTrue(answer) : -1;
    if (truth > 0) {
        *result = answer;
        return PYGEN_RETURN;
    }
    Py_XDECREF(answer);
    PyObject *wait = truth == 0 ? PyObject_CallMethodNoArgs(op->self, op->st->names.wait) : NULL;
    PySendResult how = wait != NULL ? pa_op_await(op, wait) : PYGEN_ERROR;
    Py_XDECREF(wait);
    return how;
}

/* ---- async with ---- */

static PySendResult enter_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    if (thrown != NULL)
        return pa_op_raise(thrown);
    if (op->step == 0) {
        op->step = 1;
        return await_acquire(op);
    }
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static PySendResult exit_run(pa_op *op, PyObject *thrown, PyObject **result) { return pa_with_exit(op, result, 0, do_release); }

static const pa_op_kind wait_kind = {"wait", "Condition.wait", wait_run, NULL};
static const pa_op_kind wait_for_kind = {"wait_for", "Condition.wait_for", wait_for_run, NULL};
static const pa_op_kind enter_kind = {"__aenter__", PA_WITH_ENTER, enter_run, NULL};
static const pa_op_kind exit_kind = {"__aexit__", PA_WITH_EXIT, exit_run, NULL};

PyObject *pa_condition_wait(PyObject *self) { return pa_op_new(PA_BOUND(self)->st, &wait_kind, self); }

static PyObject *condition_wait(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return pa_args_none(self, "wait", args, nargs, kwnames) < 0 ? NULL : pa_condition_wait(self);
}

static PyObject *condition_wait_for(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"predicate", NULL};
    static const pa_signature sig = {"wait_for", names, 1, 1};
    PyObject *predicate = pa_args_one(self, &sig, args, nargs, kwnames);
    PyObject *op = predicate != NULL ? pa_op_new(PA_BOUND(self)->st, &wait_for_kind, self) : NULL;
    if (op != NULL)
        ((pa_op *)op)->a = Py_NewRef(predicate);
    return op;
}

static PyObject *condition_enter(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return pa_with_enter_op(self, &enter_kind, args, nargs, kwnames);
}

static PyObject *condition_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return pa_with_exit_op(self, &exit_kind, args, nargs, kwnames);
}

static const pa_corofn_def condition_coroutines[] = {
    {"wait", "Condition.wait", condition_wait,
     "wait($self, /)\n--\n\nRelease the lock, wait to be notified, acquire it again and return True.\n\n"
     "Raises RuntimeError if the lock is not acquired. It may return without a\nnotification: check again what was waited for."},
    {"wait_for", "Condition.wait_for", condition_wait_for,
     "wait_for($self, /, predicate)\n--\n\nWait until the predicate, which is called without arguments, gives a true value;\nreturn that."},
    {"__aenter__", PA_WITH_ENTER, condition_enter, "__aenter__($self, /)\n--\n\n"},
    {"__aexit__", PA_WITH_EXIT, condition_exit, "__aexit__($self, /, exc_type, exc, tb)\n--\n\n"},
    {NULL, NULL, NULL, NULL},
};

/* ---- Methods ---- */

static PyObject *condition_notify(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"n", NULL};
    static const pa_signature sig = {"notify", names, 1, 0};
    PyObject *given[1];
    if (pa_args_parse(self, &sig, args, nargs, kwnames, given) < 0)
        return NULL;
    PyObject *n = given[0] != NULL ? Py_NewRef(given[0]) : PyLong_FromLong(1);
    int rc = n != NULL ? checked_notify(self, n) : -1;
    Py_XDECREF(n);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *condition_notify_private(PyObject *self, PyObject *n) { return native_notify(self, n) < 0 ? NULL : Py_NewRef(Py_None); }

int pa_condition_notify_all(PyObject *self)
{
    PyObject *n = PyLong_FromSize_t(pa_waiters_len(((condition *)self)->waiters));
    int rc = -1;
    if (n != NULL && (overrides(self) & NOTIFY))
        rc = pa_call_nothing(PyObject_CallMethodOneArg(self, PA_BOUND(self)->st->names.notify, n));
    else if (n != NULL)
        rc = checked_notify(self, n);
    Py_XDECREF(n);
    return rc;
}

static PyObject *condition_notify_all(PyObject *self, PyObject *unused) { return pa_call_none(pa_condition_notify_all(self)); }

static PyObject *condition_repr(PyObject *self)
{
    int locked = is_locked(self);
    if (locked < 0)
        return NULL;
    return pa_bound_repr(self, PyUnicode_FromString(locked ? "locked" : "unlocked"), pa_waiters_len(((condition *)self)->waiters));
}

/* asyncio assigns the lock's three methods to the condition, where they hide those of a class. Here they are attributes already, and it
 * is only done where a class has others; but what is no lock is refused. 0 or -1. */
static int take_methods(PyObject *self, PyObject *lock)
{
    pa_state *st = PA_BOUND(self)->st;
    PyObject *names[] = {st->names.locked, st->names.acquire, st->names.release};
    int hides = overrides(self) & METHODS;
    for (size_t i = 0; (hides || !pa_lock_is_plain(st, lock)) && i < Py_ARRAY_LENGTH(names); i++) {
        PyObject *method = PyObject_GetAttr(lock, names[i]);
        int rc = method == NULL ? -1 : hides ? PyObject_SetAttr(self, names[i], method) : 0;
        Py_XDECREF(method);
        if (rc < 0)
            return -1;
    }
    return 0;
}

static int condition_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"lock", NULL};
    static const pa_signature sig = {"__init__", names, 1, 0};
    condition *c = (condition *)self;
    PyObject *given[1];
    if (pa_args_parse_tuple(self, &sig, args, kwargs, given) < 0)
        return -1;
    PyObject *lock = given[0] != NULL && given[0] != Py_None ? Py_NewRef(given[0]) : PyObject_CallNoArgs(c->bound.st->visible_lock);
    if (lock == NULL)
        return -1;
    Py_XSETREF(c->lock, Py_NewRef(lock));
    Py_CLEAR(c->acquire);
    Py_CLEAR(c->release);
    Py_CLEAR(c->locked);
    int rc = take_methods(self, lock);
    Py_DECREF(lock);
    if (rc < 0)
        return -1;
    Py_CLEAR(c->waiters);
    return 0;
}

/* ---- Attributes ---- */

static PyObject *get_waiters(PyObject *self, void *unused) { return pa_bound_show_waiters(self, &((condition *)self)->waiters, 1); }

static int set_waiters(PyObject *self, PyObject *value, void *unused)
{
    return pa_bound_assign_waiters(self, &((condition *)self)->waiters, value);
}

/* acquire, release, locked: `closure` is where the field lies. */
static PyObject *get_method(PyObject *self, void *closure)
{
    condition *c = (condition *)self;
    size_t offset = (size_t)closure;
    PyObject *assigned = *(PyObject **)((char *)self + offset);
    if (assigned != NULL)
        return Py_NewRef(assigned);
    PyObject *name = offset == offsetof(condition, acquire)   ? c->bound.st->names.acquire
                     : offset == offsetof(condition, release) ? c->bound.st->names.release
                                                              : c->bound.st->names.locked;
    if (c->lock == NULL) {
        PyErr_Format(PyExc_AttributeError, "'%s' object has no attribute '%U'", Py_TYPE(self)->tp_name, name);
        return NULL;
    }
    return PyObject_GetAttr(c->lock, name);
}

static int set_method(PyObject *self, PyObject *value, void *closure)
{
    Py_XSETREF(*(PyObject **)((char *)self + (size_t)closure), Py_XNewRef(value));
    return 0;
}

/* ---- Setup ---- */

static int condition_traverse(PyObject *self, visitproc visit, void *arg)
{
    condition *c = (condition *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(c->bound.loop);
    Py_VISIT(c->lock);
    Py_VISIT(c->waiters);
    Py_VISIT(c->acquire);
    Py_VISIT(c->release);
    Py_VISIT(c->locked);
    return 0;
}

static int condition_clear(PyObject *self)
{
    condition *c = (condition *)self;
    Py_CLEAR(c->bound.loop);
    Py_CLEAR(c->lock);
    Py_CLEAR(c->waiters);
    Py_CLEAR(c->acquire);
    Py_CLEAR(c->release);
    Py_CLEAR(c->locked);
    return 0;
}

static void condition_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    (void)condition_clear(self);
    pa_bound_free(self);
}

PA_NO_ARGS(condition_notify_all, notify_all)

static PyMethodDef condition_methods[] = {
    {"notify", PA_WITH_KEYWORDS(condition_notify),
     "notify($self, /, n=1)\n--\n\nWake the first n tasks that wait.\n\nRaises RuntimeError if the lock is not acquired."},
    {"notify_all", PA_NO_ARGS_METHOD(condition_notify_all, notify_all), "notify_all($self, /)\n--\n\nWake all tasks that wait."},
    {"_notify", condition_notify_private, METH_O, "_notify($self, n, /)\n--\n\n"},
    {"_get_loop", pa_bound_get_loop_method, METH_NOARGS, "_get_loop($self, /)\n--\n\n"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef condition_getset[] = {
    {"_waiters", get_waiters, set_waiters, NULL, NULL},
    {"_loop", pa_bound_get_loop, pa_bound_set_loop, NULL, NULL},
    {"acquire", get_method, set_method, "The lock's acquire().", (void *)offsetof(condition, acquire)},
    {"release", get_method, set_method, "The lock's release().", (void *)offsetof(condition, release)},
    {"locked", get_method, set_method, "The lock's locked().", (void *)offsetof(condition, locked)},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef condition_members[] = {
    {"_lock", Py_T_OBJECT_EX, offsetof(condition, lock), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot condition_slots[] = {
    {Py_tp_doc, (void *)"Condition(lock=None)\n--\n\nA lock that can be given up until somebody notifies: asyncio.Condition in C."},
    {Py_tp_new, pa_bound_new},
    {Py_tp_init, condition_init},
    {Py_tp_repr, condition_repr},
    {Py_tp_setattro, condition_setattro},
    {Py_tp_dealloc, condition_dealloc},
    {Py_tp_traverse, condition_traverse},
    {Py_tp_clear, condition_clear},
    {Py_tp_methods, condition_methods},
    {Py_tp_getset, condition_getset},
    {Py_tp_members, condition_members},
    {0, NULL},
};

int pa_condition_setup(PyObject *module, pa_state *st)
{
    PyType_Spec spec = {"pyasync._core.Condition", sizeof(condition), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
                        condition_slots};
    st->Condition = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return st->Condition == NULL || pa_corofn_add_methods(st, st->Condition, condition_coroutines) < 0
               ? -1
               : PyModule_AddType(module, st->Condition);
}
