/* wait(): one observer is the callback of all futures; it counts them and resolves the future that wait() awaits.
 *
 * asyncio does this in wait(), which checks its arguments, and _wait(), which tracers wrap: what is put in the place of the latter is
 * called. The futures lie in a set, as in asyncio, so their callbacks are added and removed in a set's order.
 */
#include "sync/wait.h"
#include "sync/corofn.h"
#include "sync/ensure.h"
#include "sync/op.h"
#include "sync/originals.h"
#include "core/future_any.h"
#include "core/loop_calls.h"
#include "rt/args.h"
#include "rt/call.h"

/* ---- A future to be released ---- */

int pa_release_waiter(pa_state *st, PyObject *waiter)
{
    int done = pa_any_done(st, waiter);
    return done != 0 ? (done < 0 ? -1 : 0) : pa_any_set_result(st, waiter, Py_None);
}

/* a: the future. */
static int release(pa_observer *self, PyObject *future)
{
    if (self->a == NULL)
        return 0; /* the garbage collector took it apart */
    PyObject *waiter = Py_NewRef(self->a);
    int rc = pa_release_waiter(self->st, waiter);
    Py_DECREF(waiter);
    return rc;
}

static const pa_observer_kind release_kind = {"_release_waiter", "_release_waiter", release};

pa_observer *pa_releaser_new(pa_state *st, PyObject *waiter) { return pa_observer_new(st, &release_kind, waiter, NULL, NULL); }

PyObject *pa_release_later(pa_state *st, PyObject *loop, PyObject *delay, PyObject *waiter)
{
    return pa_calls_later(st, loop, delay, st->release_waiter, waiter, NULL);
}

/* ---- The futures' callback ---- */

enum { ALL_COMPLETED, FIRST_EXCEPTION, FIRST_COMPLETED, MODES };

static const char *const mode_names[MODES] = {"ALL_COMPLETED", "FIRST_EXCEPTION", "FIRST_COMPLETED"};

/* Whether an exception ended it. 1, 0 or -1. */
static int has_failed(pa_state *st, PyObject *future)
{
    int cancelled = pa_any_cancelled(st, future);
    if (cancelled != 0)
        return cancelled < 0 ? -1 : 0;
    PyObject *exc = pa_any_exception(st, future);
    Py_XDECREF(exc);
    return exc == NULL ? -1 : exc != Py_None;
}

/* a: the future that wait() awaits; b: the timer's handle or NULL; c: who waits, from 3.14 on; count: how many are not done; flag: the
 * mode. */
static int one_completed(pa_observer *self, PyObject *future)
{
    pa_state *st = self->st;
    self->count--;
    int enough = self->count <= 0 || self->flag == FIRST_COMPLETED ? 1 : self->flag == FIRST_EXCEPTION ? has_failed(st, future) : 0;
    if (enough > 0 && self->a != NULL) {
        PyObject *waiter = Py_NewRef(self->a), *handle = Py_XNewRef(self->b);
        enough = (handle == NULL || pa_calls_cancel(st, handle) == 0) && pa_release_waiter(st, waiter) == 0 ? 1 : -1;
        Py_XDECREF(handle);
        Py_DECREF(waiter);
    }
    return enough < 0 ? -1 : pa_any_discard_awaited_by(st, future, self->c);
}

static const pa_observer_kind completion_kind = {"_on_completion", "_wait.<locals>._on_completion", one_completed};

/* ---- wait() ---- */

enum { START, WAITING, PATCHED }; /* op->step */

/* The mode that a given return_when means, or -1. */
static int find_mode(PyObject *given)
{
    /* asyncio's own constants come here, which are strings: cheaper to compare than to keep */
    for (int i = 0; PyUnicode_CheckExact(given) && i < MODES; i++)
        if (PyUnicode_CompareWithASCIIString(given, mode_names[i]) == 0)
            return i;
    for (int i = 0; i < MODES; i++) {
        PyObject *name = PyUnicode_FromString(mode_names[i]);
        int equal = name != NULL ? PyObject_RichCompareBool(given, name, Py_EQ) : -1;
        Py_XDECREF(name);
        if (equal != 0)
            return equal < 0 ? -1 : i;
    }
    PyErr_Format(PyExc_ValueError, "Invalid return_when value: %S", given);
    return -1;
}

static int refuse_single(PyObject *fs)
{
    PyObject *name = PyType_GetName(Py_TYPE(fs));
    if (name != NULL)
        PyErr_Format(PyExc_TypeError, "expect a list of futures, not %U", name);
    Py_XDECREF(name);
    return -1;
}

/* What was given may be waited for: 0, or -1 with TypeError or ValueError. */
static int check_collection(pa_state *st, PyObject *fs)
{
    int single = pa_any_is_future(st, fs);
    if (single == 0)
        single = pa_is_coroutine(st, fs);
    if (single != 0)
        return single > 0 ? refuse_single(fs) : -1;
    int some = PyObject_IsTrue(fs);
    if (some == 0)
        PyErr_SetString(PyExc_ValueError, "Set of Tasks/Futures is empty.");
    return some > 0 ? 0 : -1;
}

static int refuse_coroutines(pa_state *st, PyObject *list)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
        int coroutine = pa_is_coroutine(st, PyList_GET_ITEM(list, i));
        if (coroutine > 0)
            PyErr_SetString(PyExc_TypeError, "Passing coroutines is forbidden, use tasks explicitly.");
        if (coroutine != 0)
            return -1;
    }
    return 0;
}

/* op->self: the list of futures; op->a: the observer; op->b: the timer's handle or NULL. It is over. 0 or -1. */
static int leave(pa_op *op)
{
    pa_state *st = op->st;
    pa_observer *observer = (pa_observer *)op->a;
    if (op->b != NULL && pa_calls_cancel(st, op->b) < 0)
        return -1;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(op->self); i++) {
        PyObject *future = PyList_GET_ITEM(op->self, i);
        if (pa_any_remove_callback(st, future, op->a) < 0 || pa_any_discard_awaited_by(st, future, observer->c) < 0)
            return -1;
    }
    return 0;
}

/* (done, pending). New. */
static PyObject *sort_out(pa_state *st, PyObject *list)
{
    PyObject *done = PySet_New(NULL), *pending = PySet_New(NULL), *both = NULL;
    int rc = done != NULL && pending != NULL ? 0 : -1;
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(list); i++) {
        PyObject *future = PyList_GET_ITEM(list, i);
        int is_done = pa_any_done(st, future);
        rc = is_done < 0 ? -1 : PySet_Add(is_done ? done : pending, future);
    }
    if (rc == 0)
        both = PyTuple_Pack(2, done, pending);
    Py_XDECREF(done);
    Py_XDECREF(pending);
    return both;
}

/* Each future of the list gets the observer, all in copies of one context. 0 or -1. */
static int observe_all(pa_state *st, PyObject *list, pa_observer *observer)
{
    PyObject *context = PyContext_CopyCurrent(); /* each callback would copy the same */
    int rc = context != NULL ? 0 : -1;
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(list); i++) {
        PyObject *future = PyList_GET_ITEM(list, i);
        rc = pa_any_add_callback_in(st, future, (PyObject *)observer, context);
        if (rc == 0)
            rc = pa_any_add_awaited_by(st, future, observer->c);
    }
    Py_XDECREF(context);
    return rc;
}

/* op->self: the list; op->a: the time-out; `loop` runs. */
static PySendResult begin(pa_op *op, PyObject *loop, int mode)
{
    pa_state *st = op->st;
    PyObject *waiter = pa_calls_create_future(st, loop), *task = NULL, *timeout = op->a;
    pa_observer *observer = NULL;
    PySendResult how = PYGEN_ERROR;
    Py_CLEAR(op->b); /* return_when: now the timer's place */
    if (waiter == NULL || (timeout != Py_None && (op->b = pa_release_later(st, loop, timeout, waiter)) == NULL) ||
        (PA_HAS_CALL_GRAPH && pa_calls_current_task(st, loop, &task) < 0) ||
        (observer = pa_observer_new(st, &completion_kind, waiter, op->b, task)) == NULL)
        goto done;
    observer->count = PyList_GET_SIZE(op->self);
    observer->flag = mode;
    op->a = (PyObject *)observer;
    Py_DECREF(timeout);
    if (observe_all(st, op->self, observer) == 0) {
        op->step = WAITING;
        how = pa_op_wait(op, waiter);
    }
done:
    Py_XDECREF(task);
    Py_XDECREF(waiter);
    return how;
}

/* What somebody put in the place of asyncio's _wait(). */
static PySendResult call_patched(pa_op *op, PyObject *set, PyObject *loop)
{
    PyObject *function = pa_original_now(op->st, PA_ORIGINAL_WAIT);
    PyObject *coro = function != NULL ? PyObject_CallFunctionObjArgs(function, set, op->a, op->b, loop, NULL) : NULL;
    op->step = PATCHED;
    PySendResult how = coro != NULL ? pa_op_await(op, coro) : PYGEN_ERROR;
    Py_XDECREF(coro);
    Py_XDECREF(function);
    return how;
}

/* op->self: what was given, op->a: the time-out, op->b: return_when. */
static PySendResult start(pa_op *op)
{
    pa_state *st = op->st;
    PyObject *set = NULL, *list = NULL, *loop = NULL;
    PySendResult how = PYGEN_ERROR;
    int mode, stands;
    if (check_collection(st, op->self) < 0 || (mode = find_mode(op->b)) < 0 || (set = PySet_New(op->self)) == NULL ||
        (list = PySequence_List(set)) == NULL || refuse_coroutines(st, list) < 0 || (loop = pa_calls_need_running(st)) == NULL ||
        (stands = pa_original_stands(st, PA_ORIGINAL_WAIT)) < 0)
        goto done;
    if (!stands) {
        how = call_patched(op, set, loop);
    } else if (PyList_GET_SIZE(list) == 0) { /* what was given counts as something, and gives nothing */
        PyErr_SetString(PyExc_AssertionError, "Set of Futures is empty.");
    } else {
        Py_SETREF(op->self, Py_NewRef(list));
        how = begin(op, loop, mode);
    }
done:
    Py_XDECREF(loop);
    Py_XDECREF(list);
    Py_XDECREF(set);
    return how;
}

static PySendResult wait_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    if (op->step == START)
        return start(op);
    if (op->step == WAITING && leave(op) < 0)
        return PYGEN_ERROR;
    if (thrown != NULL)
        return pa_op_raise(thrown);
    *result = op->step == PATCHED ? pa_op_outcome(op) : sort_out(op->st, op->self);
    return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
}

static const pa_op_kind wait_kind = {"wait", "wait", wait_run, NULL};

static PyObject *wait_call(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"fs", "timeout", "return_when", NULL};
    static const pa_signature sig = {"wait", names, 1, 1};
    pa_state *st = pa_state_of_module(module);
    PyObject *given[3];
    if (pa_args_parse(module, &sig, args, nargs, kwnames, given) < 0)
        return NULL;
    pa_op *op = (pa_op *)pa_op_new(st, &wait_kind, given[0]);
    if (op != NULL) {
        op->a = Py_NewRef(given[1] != NULL ? given[1] : Py_None);
        op->b = Py_NewRef(given[2] != NULL ? given[2] : st->names.ALL_COMPLETED);
    }
    return (PyObject *)op;
}

/* ---- Setup ---- */

static PyObject *release_waiter(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1) {
        PyErr_SetString(PyExc_TypeError, "_release_waiter() missing 1 required positional argument: 'waiter'");
        return NULL;
    }
    return pa_call_none(pa_release_waiter(pa_state_of_module(module), args[0]));
}

PyDoc_STRVAR(wait_doc, "wait(fs, *, timeout=None, return_when='ALL_COMPLETED')\n--\n\n"
             "Wait for futures and tasks, at most `timeout` seconds, and return two sets: those that are done and those that are not.\n\n"
             "It waits for all of them, for the first that is done (FIRST_COMPLETED) or the first that\nraises (FIRST_EXCEPTION). "
             "TypeError for coroutines, ValueError for no futures at all. The time-out\nraises nothing and cancels nothing.");

static const pa_corofn_def corofns[] = {
    {"wait", "wait", wait_call, wait_doc},
    {NULL, NULL, NULL, NULL},
};

static PyMethodDef functions[] = {
    {"_release_waiter", (PyCFunction)(void (*)(void))release_waiter, METH_FASTCALL,
     PyDoc_STR("_release_waiter($module, waiter, /, *args)\n--\n\nSet the result of a future unless it is done.")},
    {NULL, NULL, 0, NULL},
};

int pa_wait_setup(PyObject *module, pa_state *st)
{
    if (PyModule_AddFunctions(module, functions) < 0 || pa_corofn_add_functions(st, module, corofns) < 0)
        return -1;
    st->release_waiter = PyObject_GetAttrString(module, functions[0].ml_name);
    return st->release_waiter != NULL ? 0 : -1;
}
