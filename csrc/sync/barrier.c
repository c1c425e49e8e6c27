/* Barrier: a state and a count, behind a condition that tells of their changes. The class that programs see derives from this one and
 * asyncio.Barrier, whose repr() and properties read the attributes.
 *
 * As in asyncio everybody takes the condition's lock, and waits by the condition: so the order in which tasks leave is that of its queue.
 * A native condition that nobody touched is used directly. With any other, in a subclass, or where a method was replaced, asyncio's own
 * coroutine functions do the work, on the same attributes.
 */
#include "sync/barrier.h"
#include "sync/bound.h"
#include "sync/condition.h"
#include "sync/corofn.h"
#include "sync/lock.h"
#include "sync/traits.h"
#include "rt/args.h"
#include "rt/call.h"

/* In the order of asyncio.locks._BarrierState. */
enum { FILLING, DRAINING, RESETTING, BROKEN, STATES };

typedef struct {
    PyObject_HEAD
    pa_bound bound;
    PyObject *cond;    /* NULL: __init__ did not run */
    PyObject *parties; /* what was given */
    Py_ssize_t wanted; /* the same; -1: no int of moderate size */
    Py_ssize_t count;  /* how many are inside, waiting or on their way out */
    int state;
} barrier;

#define ASSIGNED 1u

static int barrier_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    pa_state *st = PA_BOUND(self)->st;
    const pa_override names[] = {{st->names.wait, ASSIGNED},  {st->names._block, ASSIGNED}, {st->names._release, ASSIGNED},
                                 {st->names._wait, ASSIGNED}, {st->names._exit, ASSIGNED},  {NULL, 0}};
    return pa_bound_setattr(self, name, value, names);
}

/* Whether asyncio's methods, which are ours, are all there is to it. */
static int is_plain(PyObject *self)
{
    barrier *b = (barrier *)self;
    pa_state *st = b->bound.st;
    if (Py_TYPE(self) != st->Barrier &&
        (Py_TYPE(self) != st->joined_Barrier || !pa_override_none(Py_TYPE(self), st->barrier_methods, &st->barrier_overrides)))
        return 0;
    return b->bound.assigned == 0 && b->wanted > 0 && b->cond != NULL && pa_condition_is_plain(st, b->cond);
}

/* ---- What all operations do: op->a is the condition, op->b its lock ---- */

enum { START, ENTERING, BLOCKED, WAITING, THEIRS }; /* op->step */

/* asyncio's coroutine function `name` does it. */
static PySendResult await_theirs(pa_op *op, PyObject *name)
{
    PyObject *function = PyObject_GetAttr(op->st->aio_Barrier, name);
    PyObject *coro = function != NULL ? PyObject_CallOneArg(function, op->self) : NULL;
    PySendResult how = coro != NULL ? pa_op_await(op, coro) : PYGEN_ERROR;
    op->step = THEIRS;
    Py_XDECREF(coro);
    Py_XDECREF(function);
    return how;
}

/* PYGEN_RETURN: the lock is taken. */
static PySendResult enter(pa_op *op)
{
    op->a = Py_NewRef(((barrier *)op->self)->cond);
    op->b = Py_NewRef(pa_condition_lock(op->a));
    int taken = pa_lock_try(op->b);
    if (taken != 0)
        return taken < 0 ? PYGEN_ERROR : PYGEN_RETURN;
    PyObject *acquire = pa_lock_acquire(op->b);
    PySendResult how = acquire != NULL ? pa_op_await(op, acquire) : PYGEN_ERROR;
    op->step = ENTERING;
    Py_XDECREF(acquire);
    return how;
}

/* Releases the lock, whatever is raised. */
static PySendResult leave(pa_op *op, PySendResult how)
{
    PyObject *raised = how == PYGEN_ERROR ? pa_err_take() : NULL;
    if (pa_lock_release(op->b) < 0) {
        Py_XDECREF(raised);
        return PYGEN_ERROR;
    }
    if (raised != NULL)
        pa_err_restore(raised);
    return how;
}

static PySendResult wait_for_change(pa_op *op, int step)
{
    PyObject *wait = pa_condition_wait(op->a);
    PySendResult how = wait != NULL ? pa_op_await(op, wait) : PYGEN_ERROR;
    op->step = step;
    Py_XDECREF(wait);
    return how;
}

static PySendResult raise_broken(pa_op *op, const char *text)
{
    PyErr_SetString(op->st->BrokenBarrierError, text);
    return PYGEN_ERROR;
}

/* ---- wait() ---- */

/* It has been counted and goes: the last one opens the barrier for the next round. op->number: its index. */
static PySendResult go_out(pa_op *op, PySendResult how, PyObject **result)
{
    barrier *b = (barrier *)op->self;
    PyObject *raised = how == PYGEN_ERROR ? pa_err_take() : NULL;
    if (--b->count == 0) {
        if (b->state == RESETTING || b->state == DRAINING)
            b->state = FILLING;
        if (pa_condition_notify_all(op->a) < 0) {
            Py_XDECREF(raised);
            return leave(op, PYGEN_ERROR);
        }
    }
    if (raised != NULL)
        pa_err_restore(raised);
    else if ((*result = PyLong_FromLongLong(op->number)) == NULL)
        how = PYGEN_ERROR;
    how = leave(op, how);
    if (how == PYGEN_ERROR)
        Py_CLEAR(*result);
    return how;
}

/* It has been counted and is not the last to come. */
static PySendResult stay(pa_op *op, PyObject **result)
{
    barrier *b = (barrier *)op->self;
    PySendResult how = PYGEN_RETURN;
    if (b->state == FILLING && (how = wait_for_change(op, WAITING)) == PYGEN_NEXT)
        return how;
    if (how == PYGEN_RETURN && (b->state == BROKEN || b->state == RESETTING))
        how = raise_broken(op, "Abort or reset of barrier");
    return go_out(op, how, result);
}

/* It has the lock. */
static PySendResult go_in(pa_op *op, PyObject **result)
{
    barrier *b = (barrier *)op->self;
    if (b->state == DRAINING || b->state == RESETTING) {
        PySendResult how = wait_for_change(op, BLOCKED);
        return how == PYGEN_ERROR ? leave(op, how) : how;
    }
    if (b->state == BROKEN)
        return leave(op, raise_broken(op, "Barrier aborted"));
    op->number = b->count++;
    if (op->number + 1 != b->wanted)
        return stay(op, result);
    b->state = DRAINING;
    return go_out(op, pa_condition_notify_all(op->a) < 0 ? PYGEN_ERROR : PYGEN_RETURN, result);
}

static PySendResult wait_on(pa_op *op, PyObject *thrown, PyObject **result)
{
    switch (op->step) {
    case START: {
        PySendResult how = enter(op);
        return how == PYGEN_RETURN ? go_in(op, result) : how;
    }
    case ENTERING:
        return thrown != NULL ? pa_op_raise(thrown) : go_in(op, result);
    case BLOCKED:
        return thrown != NULL ? leave(op, pa_op_raise(thrown)) : go_in(op, result);
    case WAITING:
        return thrown != NULL ? go_out(op, pa_op_raise(thrown), result) : stay(op, result);
    default:
        if (thrown != NULL)
            return pa_op_raise(thrown);
        *result = pa_op_outcome(op);
        return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
    }
}

static PySendResult wait_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    return op->step == START && !is_plain(op->self) ? await_theirs(op, op->st->names.wait) : wait_on(op, thrown, result);
}

/* async with: `await self.wait()`. */
static PySendResult enter_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    if (op->step != START || is_plain(op->self))
        return wait_on(op, thrown, result);
    PyObject *wait = PyObject_CallMethodNoArgs(op->self, op->st->names.wait);
    PySendResult how = wait != NULL ? pa_op_await(op, wait) : PYGEN_ERROR;
    op->step = THEIRS;
    Py_XDECREF(wait);
    return how;
}

static PySendResult exit_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

/* ---- reset() and abort() ---- */

/* op->number: 1 for abort(). */
static PySendResult change_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    barrier *b = (barrier *)op->self;
    if (op->step == START) {
        if (!is_plain(op->self))
            return await_theirs(op, op->number ? op->st->names.abort : op->st->names.reset);
        PySendResult how = enter(op);
        if (how != PYGEN_RETURN)
            return how;
    } else if (thrown != NULL) {
        return pa_op_raise(thrown);
    }
    *result = Py_NewRef(Py_None);
    if (op->step == THEIRS)
        return PYGEN_RETURN;
    b->state = op->number ? BROKEN : b->count > 0 ? RESETTING : FILLING;
    PySendResult how = leave(op, pa_condition_notify_all(op->a) < 0 ? PYGEN_ERROR : PYGEN_RETURN);
    if (how == PYGEN_ERROR)
        Py_CLEAR(*result);
    return how;
}

static const pa_op_kind wait_kind = {"wait", "Barrier.wait", wait_run, NULL};
static const pa_op_kind enter_kind = {"__aenter__", "Barrier.__aenter__", enter_run, NULL};
static const pa_op_kind exit_kind = {"__aexit__", "Barrier.__aexit__", exit_run, NULL};
static const pa_op_kind reset_kind = {"reset", "Barrier.reset", change_run, NULL};
static const pa_op_kind abort_kind = {"abort", "Barrier.abort", change_run, NULL};

static PyObject *new_op(PyObject *self, const pa_op_kind *kind, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return pa_args_none(self, kind->name, args, nargs, kwnames) < 0 ? NULL : pa_op_new(PA_BOUND(self)->st, kind, self);
}

static PyObject *barrier_wait(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return new_op(self, &wait_kind, args, nargs, kwnames);
}

static PyObject *barrier_enter(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return new_op(self, &enter_kind, args, nargs, kwnames);
}

/* Any positional arguments. */
static PyObject *barrier_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return kwnames != NULL ? pa_args_refuse(self, "__aexit__", args, nargs, kwnames) : new_op(self, &exit_kind, args, 0, NULL);
}

static PyObject *barrier_reset(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return new_op(self, &reset_kind, args, nargs, kwnames);
}

static PyObject *barrier_abort(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *op = new_op(self, &abort_kind, args, nargs, kwnames);
    if (op != NULL)
        ((pa_op *)op)->number = 1;
    return op;
}

static const pa_corofn_def barrier_coroutines[] = {
    {"wait", "Barrier.wait", barrier_wait,
     "wait($self, /)\n--\n\nWait until as many tasks wait as the barrier has parties; return this one's number, from 0.\n\n"
     "BrokenBarrierError if the barrier is, or meanwhile gets, broken or reset."},
    {"__aenter__", "Barrier.__aenter__", barrier_enter, "__aenter__($self, /)\n--\n\n"},
    {"__aexit__", "Barrier.__aexit__", barrier_exit, "__aexit__($self, /, *args)\n--\n\n"},
    {"reset", "Barrier.reset", barrier_reset, "reset($self, /)\n--\n\nBegin anew: tasks that wait get a BrokenBarrierError."},
    {"abort", "Barrier.abort", barrier_abort,
     "abort($self, /)\n--\n\nBreak the barrier: tasks that wait, or will, get a BrokenBarrierError."},
    {NULL, NULL, NULL, NULL},
};

/* ---- Lifecycle ---- */

static void take_parties(barrier *b, PyObject *parties)
{
    b->wanted = PyLong_CheckExact(parties) ? PyLong_AsSsize_t(parties) : -1;
    if (b->wanted == -1)
        PyErr_Clear(); /* too many to be counted here; asyncio's code can */
    Py_XSETREF(b->parties, Py_NewRef(parties));
}

static int barrier_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"parties", NULL};
    static const pa_signature sig = {"__init__", names, 1, 1};
    barrier *b = (barrier *)self;
    pa_state *st = b->bound.st;
    PyObject *given[1];
    if (pa_args_parse_tuple(self, &sig, args, kwargs, given) < 0)
        return -1;
    take_parties(b, given[0]);
    if (b->wanted < 1 && pa_call_nothing(PyObject_CallMethod(st->aio_Barrier, "__init__", "OO", self, given[0])) < 0)
        return -1;
    PyObject *cond = PyObject_CallNoArgs(st->visible_condition);
    if (cond == NULL)
        return -1;
    Py_XSETREF(b->cond, cond);
    b->count = 0;
    b->state = FILLING;
    return 0;
}

static int barrier_traverse(PyObject *self, visitproc visit, void *arg)
{
    barrier *b = (barrier *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(b->bound.loop);
    Py_VISIT(b->cond);
    Py_VISIT(b->parties);
    return 0;
}

static int barrier_clear(PyObject *self)
{
    barrier *b = (barrier *)self;
    Py_CLEAR(b->bound.loop);
    Py_CLEAR(b->cond);
    Py_CLEAR(b->parties);
    return 0;
}

static void barrier_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    (void)barrier_clear(self);
    pa_bound_free(self);
}

/* ---- Attributes ---- */

static PyObject *get_state(PyObject *self, void *unused)
{
    return Py_NewRef(PyTuple_GET_ITEM(PA_BOUND(self)->st->barrier_states, ((barrier *)self)->state));
}

static int set_state(PyObject *self, PyObject *value, void *unused)
{
    PyObject *states = PA_BOUND(self)->st->barrier_states;
    for (int i = 0; i < STATES; i++)
        if (value == PyTuple_GET_ITEM(states, i)) {
            ((barrier *)self)->state = i;
            return 0;
        }
    PyErr_SetString(PyExc_TypeError, "_state must be one of asyncio.locks._BarrierState");
    return -1;
}

static PyObject *get_parties(PyObject *self, void *unused)
{
    PyObject *parties = ((barrier *)self)->parties;
    if (parties == NULL)
        PyErr_SetString(PyExc_AttributeError, "_parties");
    return Py_XNewRef(parties);
}

static int set_parties(PyObject *self, PyObject *value, void *unused)
{
    if (value == NULL)
        return pa_err_cannot_delete(self, "_parties");
    take_parties((barrier *)self, value);
    return 0;
}

static PyMethodDef barrier_methods[] = {
    {"_get_loop", pa_bound_get_loop_method, METH_NOARGS, "_get_loop($self, /)\n--\n\n"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef barrier_getset[] = {
    {"_state", get_state, set_state, NULL, NULL},
    {"_parties", get_parties, set_parties, NULL, NULL},
    {"_loop", pa_bound_get_loop, pa_bound_set_loop, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef barrier_members[] = {
    {"_cond", Py_T_OBJECT_EX, offsetof(barrier, cond), 0, NULL},
    {"_count", Py_T_PYSSIZET, offsetof(barrier, count), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot barrier_slots[] = {
    {Py_tp_doc, (void *)"Barrier(parties)\n--\n\nWhere a number of tasks wait for each other: the native half of pyasync.Barrier."},
    {Py_tp_new, pa_bound_new},
    {Py_tp_init, barrier_init},
    {Py_tp_setattro, barrier_setattro},
    {Py_tp_dealloc, barrier_dealloc},
    {Py_tp_traverse, barrier_traverse},
    {Py_tp_clear, barrier_clear},
    {Py_tp_methods, barrier_methods},
    {Py_tp_getset, barrier_getset},
    {Py_tp_members, barrier_members},
    {0, NULL},
};

/* The members of asyncio's enumeration. 0 or -1. */
static int import_states(pa_state *st)
{
    static const char *const names[STATES] = {"FILLING", "DRAINING", "RESETTING", "BROKEN"};
    PyObject *class;
    if (pa_import_from("asyncio.locks", "_BarrierState", &class) < 0)
        return -1;
    PyObject *states = PyTuple_New(STATES);
    for (int i = 0; states != NULL && i < STATES; i++) {
        PyObject *member = PyObject_GetAttrString(class, names[i]);
        if (member == NULL)
            Py_CLEAR(states);
        else
            PyTuple_SET_ITEM(states, i, member);
    }
    Py_DECREF(class);
    st->barrier_states = states;
    return states != NULL ? 0 : -1;
}

int pa_barrier_setup(PyObject *module, pa_state *st)
{
    PyType_Spec spec = {"pyasync._core.Barrier", sizeof(barrier), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
                        barrier_slots};
    if (import_states(st) < 0 || pa_import_from("asyncio.locks", "Barrier", &st->aio_Barrier) < 0 ||
        pa_import_from("asyncio", "BrokenBarrierError", &st->BrokenBarrierError) < 0)
        return -1;
    st->Barrier = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return st->Barrier == NULL || pa_corofn_add_methods(st, st->Barrier, barrier_coroutines) < 0 ? -1
                                                                                                : PyModule_AddType(module, st->Barrier);
}
