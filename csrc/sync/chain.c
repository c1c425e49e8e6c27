/* What asyncio's _chain_future() does between a thread and a loop.
 *
 * A concurrent.futures.Future calls its callbacks in whichever thread ends it (or adds them too late). So `arrive` runs in a worker thread
 * and does nothing but put `take_over` into the loop's inbox; that runs in the loop and copies the outcome. The other direction needs no
 * thread's help: `hand_over` runs in the loop, and the concurrent future has a lock of its own.
 *
 * The outcome of an exact concurrent.futures.Future that is finished does not change any more: it is read from its attributes, without the
 * four rounds of locking that its methods cost.
 */
#include "sync/chain.h"
#include "sync/observer.h"
#include "sync/originals.h"
#include "sync/traits.h"
#include "core/future_any.h"
#include "core/loop_calls.h"
#include "rt/call.h"

/* ---- The outcome of a concurrent future ---- */

/* Attributes of one that is finished, new references; 1. 0 where asyncio's code has to ask its methods; -1. */
static int peek(pa_state *st, PyObject *concurrent, PyObject **exc, PyObject **result)
{
    PyTypeObject *type = Py_TYPE(concurrent);
    if (type != st->ConcurrentFuture || st->concurrent_version == 0 || type->tp_version_tag != st->concurrent_version)
        return 0; /* not its own methods, as far as we know them */
    PyObject *state = PyObject_GetAttr(concurrent, st->names._state);
    int finished = state != NULL ? PyUnicode_Check(state) && PyUnicode_CompareWithASCIIString(state, "FINISHED") == 0 : -1;
    Py_XDECREF(state);
    if (finished <= 0)
        return finished;
    *exc = PyObject_GetAttr(concurrent, st->names._exception);
    *result = *exc != NULL ? PyObject_GetAttr(concurrent, st->names._result) : NULL;
    if (*result != NULL)
        return 1;
    Py_CLEAR(*exc);
    return -1;
}

/* An exception of one kind of future as the other kind has it: new. */
static PyObject *convert(pa_state *st, PyObject *exc) { return PyObject_CallOneArg(st->convert_future_exc, exc); }

/* What asyncio's _copy_future_state() does, and it itself where it has to be. 0 or -1. */
static int copy_state(pa_state *st, PyObject *concurrent, PyObject *future)
{
    PyObject *exc = NULL, *result = NULL;
    int finished = peek(st, concurrent, &exc, &result);
    if (finished <= 0)
        return finished < 0 ? -1 : pa_call_nothing(PyObject_CallFunctionObjArgs(st->copy_future_state, concurrent, future, NULL));
    int rc = pa_any_cancelled(st, future), done = rc == 0 ? pa_any_done(st, future) : 0;
    if (rc == 0 && done > 0 && st->asserts) {
        PyErr_SetNone(PyExc_AssertionError);
        rc = -1;
    } else if (rc == 0 && done >= 0 && exc != Py_None) {
        PyObject *converted = convert(st, exc);
        rc = converted != NULL ? pa_any_set_exception(st, future, converted) : -1;
        Py_XDECREF(converted);
    } else if (rc == 0) {
        rc = done >= 0 ? pa_any_set_result(st, future, result) : -1;
    }
    Py_DECREF(exc);
    Py_DECREF(result);
    return rc < 0 ? -1 : 0;
}

/* ---- From a thread to a loop ---- */

/* a: the future. `concurrent` is done; we are in the loop. */
static int take_over(pa_observer *self, PyObject *concurrent)
{
    if (self->a == NULL)
        return 0; /* the garbage collector took it apart */
    PyObject *future = Py_NewRef(self->a);
    int rc = copy_state(self->st, concurrent, future);
    Py_DECREF(future);
    return rc;
}

static const pa_observer_kind take_over_kind = {"_set_state", "_chain_future.<locals>._set_state", take_over, 0};

static int is_closed(pa_state *st, PyObject *loop) { return pa_call_truth(PyObject_CallMethodNoArgs(loop, st->names.is_closed)); }

/* Whether `loop` runs in this thread, where that makes a difference. 1, 0 or -1. */
static int is_here(pa_state *st, PyObject *loop)
{
    PyObject *running;
    if (!PA_HAS_TRAIT(st, chain_asks_running))
        return 0;
    if (pa_calls_running(st, &running) < 0)
        return -1;
    Py_XDECREF(running);
    return running == loop;
}

static int tell_loop(pa_state *st, PyObject *loop, PyObject *future, PyObject *concurrent)
{
    pa_observer *observer = pa_observer_new(st, &take_over_kind, future, NULL, NULL);
    pa_loop *native = pa_loop_from(st, loop);
    int rc = -1;
    if (observer != NULL && native != NULL)
        rc = pa_loop_soon_threadsafe(native, (PyObject *)observer, concurrent);
    else if (observer != NULL)
        rc = pa_call_nothing(PyObject_CallMethodObjArgs(loop, st->names.call_soon_threadsafe, (PyObject *)observer, concurrent, NULL));
    Py_XDECREF(observer);
    return rc;
}

/* Is told to a future that may live no longer than its loop. */
static int arrived(pa_state *st, PyObject *loop, PyObject *future, PyObject *concurrent)
{
    int rc = pa_any_cancelled(st, future);
    if (rc > 0)
        rc = is_closed(st, loop);
    if (rc != 0)
        return rc < 0 ? -1 : 0;
    if ((rc = is_here(st, loop)) != 0)
        return rc < 0 ? -1 : copy_state(st, concurrent, future);
    if ((rc = is_closed(st, loop)) != 0)
        return rc < 0 ? -1 : 0;
    return tell_loop(st, loop, future, concurrent);
}

/* a: the future, b: its loop. `concurrent` is done; we are in any thread. */
static int arrive(pa_observer *self, PyObject *concurrent)
{
    if (self->a == NULL)
        return 0;
    PyObject *future = Py_NewRef(self->a), *loop = Py_NewRef(self->b);
    int rc = arrived(self->st, loop, future, concurrent);
    Py_DECREF(loop);
    Py_DECREF(future);
    return rc;
}

/* a: the concurrent future. The other one is done, cancelled perhaps. */
static int cancel_with(pa_observer *self, PyObject *future)
{
    pa_state *st = self->st;
    if (self->a == NULL)
        return 0;
    PyObject *concurrent = Py_NewRef(self->a);
    int rc = pa_any_cancelled(st, future);
    if (rc > 0)
        rc = pa_call_nothing(PyObject_CallMethodNoArgs(concurrent, st->names.cancel));
    Py_DECREF(concurrent);
    return rc;
}

static const pa_observer_kind arrive_kind = {"_call_set_state", "_chain_future.<locals>._call_set_state", arrive, 0};
static const pa_observer_kind cancel_with_kind = {"_call_check_cancel", "_chain_future.<locals>._call_check_cancel", cancel_with, 0};

/* What somebody put in the place of asyncio's _chain_future(). 0 or -1. */
static int chain_by_theirs(pa_state *st, PyObject *source, PyObject *destination)
{
    PyObject *function = pa_original_now(st, PA_ORIGINAL_CHAIN_FUTURE);
    int rc = function != NULL ? pa_call_nothing(PyObject_CallFunctionObjArgs(function, source, destination, NULL)) : -1;
    Py_XDECREF(function);
    return rc;
}

/* concurrent.add_done_callback(observer). 0 or -1. */
static int add_callback(pa_state *st, PyObject *concurrent, pa_observer *observer)
{
    return pa_call_nothing(PyObject_CallMethodOneArg(concurrent, st->names.add_done_callback, (PyObject *)observer));
}

static int follow(pa_state *st, PyObject *concurrent, PyObject *future)
{
    PyObject *loop = pa_any_loop(st, future);
    pa_observer *arriving = NULL, *cancelling = NULL;
    int rc = -1;
    if (loop != NULL && (cancelling = pa_observer_new(st, &cancel_with_kind, concurrent, NULL, NULL)) != NULL &&
        (arriving = pa_observer_new(st, &arrive_kind, future, loop, NULL)) != NULL &&
        pa_any_add_callback(st, future, (PyObject *)cancelling) == 0)
        rc = add_callback(st, concurrent, arriving);
    Py_XDECREF(arriving);
    Py_XDECREF(cancelling);
    Py_XDECREF(loop);
    return rc;
}

PyObject *pa_chain_wrap(pa_state *st, PyObject *concurrent, PyObject *loop)
{
    PyObject *future = pa_calls_create_future(st, loop);
    int stands = future != NULL ? pa_original_stands(st, PA_ORIGINAL_CHAIN_FUTURE) : -1;
    if (stands > 0 && (stands = pa_any_is_future(st, future)) > 0)
        stands = follow(st, concurrent, future);
    else if (stands == 0)
        stands = chain_by_theirs(st, concurrent, future); /* also for what is no future, which it refuses */
    if (stands < 0)
        Py_CLEAR(future);
    return future;
}

/* ---- From a loop to a thread ---- */

/* The outcome of `future`, which is done. 0 or -1. */
static int deliver(pa_state *st, PyObject *future, PyObject *concurrent)
{
    PyObject *exc = pa_any_exception(st, future), *value = NULL;
    int failed = exc != Py_None, rc = -1;
    if (exc != NULL && (value = failed ? convert(st, exc) : pa_any_result(st, future)) != NULL)
        rc = pa_call_nothing(PyObject_CallMethodOneArg(concurrent, failed ? st->names.set_exception : st->names.set_result, value));
    Py_XDECREF(value);
    Py_XDECREF(exc);
    return rc;
}

/* a: the concurrent future. `future` is done. */
static int hand_over(pa_observer *self, PyObject *future)
{
    pa_state *st = self->st;
    if (self->a == NULL)
        return 0;
    PyObject *concurrent = Py_NewRef(self->a);
    int rc = pa_any_cancelled(st, future);
    if (rc > 0)
        rc = pa_call_nothing(PyObject_CallMethodNoArgs(concurrent, st->names.cancel));
    if (rc == 0)
        rc = pa_call_truth(PyObject_CallMethodNoArgs(concurrent, st->names.set_running_or_notify_cancel));
    if (rc > 0)
        rc = deliver(st, future, concurrent);
    Py_DECREF(concurrent);
    return rc;
}

static int cancel_in_loop(pa_state *st, PyObject *future, PyObject *loop)
{
    int here = is_here(st, loop);
    if (here != 0)
        return here < 0 || pa_any_cancel(st, future, NULL) < 0 ? -1 : 0;
    PyObject *cancel = PyObject_GetAttr(future, st->names.cancel);
    int rc = cancel != NULL ? pa_call_nothing(PyObject_CallMethodOneArg(loop, st->names.call_soon_threadsafe, cancel)) : -1;
    Py_XDECREF(cancel);
    return rc;
}

/* a: the future, b: its loop. `concurrent` is done, cancelled perhaps; we are in any thread. */
static int cancel_lead(pa_observer *self, PyObject *concurrent)
{
    pa_state *st = self->st;
    if (self->a == NULL)
        return 0;
    PyObject *future = Py_NewRef(self->a), *loop = Py_NewRef(self->b);
    int rc = pa_call_truth(PyObject_CallMethodNoArgs(concurrent, st->names.cancelled));
    if (rc > 0)
        rc = cancel_in_loop(st, future, loop);
    Py_DECREF(loop);
    Py_DECREF(future);
    return rc;
}

static const pa_observer_kind hand_over_kind = {"_call_set_state", "_chain_future.<locals>._call_set_state", hand_over, 0};
static const pa_observer_kind cancel_lead_kind = {"_call_check_cancel", "_chain_future.<locals>._call_check_cancel", cancel_lead, 0};

int pa_chain_lead(pa_state *st, PyObject *future, PyObject *concurrent)
{
    int stands = pa_original_stands(st, PA_ORIGINAL_CHAIN_FUTURE);
    if (stands <= 0)
        return stands < 0 ? -1 : chain_by_theirs(st, future, concurrent);
    PyObject *loop = pa_any_loop(st, future);
    pa_observer *cancelling = NULL, *handing = NULL;
    int rc = -1;
    if (loop != NULL && (cancelling = pa_observer_new(st, &cancel_lead_kind, future, loop, NULL)) != NULL &&
        (handing = pa_observer_new(st, &hand_over_kind, concurrent, NULL, NULL)) != NULL && add_callback(st, concurrent, cancelling) == 0)
        rc = pa_any_add_callback(st, future, (PyObject *)handing);
    Py_XDECREF(handing);
    Py_XDECREF(cancelling);
    Py_XDECREF(loop);
    return rc;
}

int pa_chain_setup(PyObject *module, pa_state *st)
{
    PyObject *type;
    if (pa_import_from("asyncio.futures", "_convert_future_exc", &st->convert_future_exc) < 0 ||
        pa_import_from("asyncio.futures", "_copy_future_state", &st->copy_future_state) < 0 ||
        pa_import_from("concurrent.futures", "Future", &type) < 0)
        return -1;
    if (!PyType_Check(type)) {
        PyErr_SetString(PyExc_ImportError, "concurrent.futures.Future is not a type");
        Py_DECREF(type);
        return -1;
    }
    st->ConcurrentFuture = (PyTypeObject *)type;
    PyObject *doc = PyObject_GetAttrString(type, "__doc__"); /* until 3.11 a look-up is what gives a type its version */
    Py_XDECREF(doc);
    pa_type_assign_version(st->ConcurrentFuture);
    st->concurrent_version = st->ConcurrentFuture->tp_version_tag;
    return doc != NULL ? 0 : -1;
}
