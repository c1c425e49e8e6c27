/* shield(): an outer future that takes over the inner one's outcome, and whose cancellation does not reach it.
 *
 * Two observers, one on each future: while the inner one is pending it holds the outer one; the outer one's takes the inner one's away
 * when nobody waits any more. From 3.14 on a third one, which comes first on the inner future, takes back who awaits it.
 *
 * Without a running loop asyncio's own function does it, and where a tracer rewrote that.
 */
#include "sync/shield.h"
#include "sync/ensure.h"
#include "sync/observer.h"
#include "sync/originals.h"
#include "sync/pyfn.h"
#include "core/future_any.h"
#include "core/loop_calls.h"
#include "rt/args.h"

/* outer.cancelled(), where the inner future is done by now. 1, 0 or -1. */
static int is_abandoned(pa_state *st, PyObject *outer, PyObject *inner)
{
    int abandoned = pa_any_cancelled(st, outer);
    if (abandoned <= 0 || PA_HAS_CALL_GRAPH)
        return abandoned;
    int cancelled = pa_any_cancelled(st, inner);
    if (cancelled != 0)
        return cancelled < 0 ? -1 : 1;
    PyObject *exc = pa_any_exception(st, inner); /* which counts as retrieved */
    Py_XDECREF(exc);
    return exc != NULL ? 1 : -1;
}

/* a: the outer future. */
static int inner_done(pa_observer *self, PyObject *inner)
{
    pa_state *st = self->st;
    if (self->a == NULL)
        return 0; /* the garbage collector took it apart */
    PyObject *outer = Py_NewRef(self->a);
    int rc = is_abandoned(st, outer, inner);
    if (rc != 0) {
        Py_DECREF(outer);
        return rc < 0 ? -1 : 0;
    }
    if ((rc = pa_any_cancelled(st, inner)) > 0) {
        rc = pa_any_cancel(st, outer, NULL);
    } else if (rc == 0) {
        PyObject *exc = pa_any_exception(st, inner), *result = NULL;
        rc = exc == NULL ? -1 : exc != Py_None ? pa_any_set_exception(st, outer, exc)
                              : (result = pa_any_result(st, inner)) != NULL ? pa_any_set_result(st, outer, result) : -1;
        Py_XDECREF(result);
        Py_XDECREF(exc);
    }
    Py_DECREF(outer);
    return rc < 0 ? -1 : 0;
}

/* a: the task that awaits. */
static int inner_left(pa_observer *self, PyObject *inner) { return pa_any_discard_awaited_by(self->st, inner, self->a); }

/* a: the inner future, b: its observer, c: the other one, which knows the task. */
static int outer_done(pa_observer *self, PyObject *outer)
{
    pa_state *st = self->st;
    if (self->a == NULL)
        return 0;
    PyObject *inner = Py_NewRef(self->a), *observer = Py_NewRef(self->b), *left = Py_XNewRef(self->c);
    int rc = pa_any_done(st, inner);
    if (rc == 0) {
        rc = pa_any_remove_callback(st, inner, observer);
        if (rc == 0 && left != NULL && (rc = pa_any_remove_callback(st, inner, left)) == 0)
            rc = inner_left((pa_observer *)left, inner);
    }
    Py_XDECREF(left);
    Py_DECREF(observer);
    Py_DECREF(inner);
    return rc < 0 ? -1 : 0;
}

static const pa_observer_kind inner_kind = {"_inner_done_callback", "shield.<locals>._inner_done_callback", inner_done};
static const pa_observer_kind outer_kind = {"_outer_done_callback", "shield.<locals>._outer_done_callback", outer_done};
static const pa_observer_kind left_kind = {"_clear_awaited_by_callback", "shield.<locals>._clear_awaited_by_callback", inner_left};

/* From 3.14 on, in a task: the observer that takes back that the task awaits `inner`; NULL elsewhere. 0 or -1. */
static int note_task(pa_state *st, PyObject *loop, PyObject *inner, pa_observer **left)
{
    PyObject *task = NULL;
    *left = NULL;
    if (!PA_HAS_CALL_GRAPH)
        return 0;
    int rc = pa_calls_current_task(st, loop, &task);
    if (rc == 0 && task != NULL) {
        rc = pa_any_add_awaited_by(st, inner, task);
        if (rc == 0 && (*left = pa_observer_new(st, &left_kind, task, NULL, NULL)) == NULL)
            rc = -1;
    }
    Py_XDECREF(task);
    return rc;
}

static PyObject *shield_pending(pa_state *st, PyObject *inner)
{
    pa_observer *left = NULL, *inside = NULL, *outside = NULL;
    PyObject *loop = pa_any_loop(st, inner), *outer = loop != NULL ? pa_calls_create_future(st, loop) : NULL;
    int rc = -1;
    if (outer == NULL || note_task(st, loop, inner, &left) < 0 ||
        (inside = pa_observer_new(st, &inner_kind, outer, NULL, NULL)) == NULL ||
        (outside = pa_observer_new(st, &outer_kind, inner, (PyObject *)inside, (PyObject *)left)) == NULL)
        goto done;
    if ((left == NULL || pa_any_add_callback(st, inner, (PyObject *)left) == 0) &&
        pa_any_add_callback(st, inner, (PyObject *)inside) == 0 && pa_any_add_callback(st, outer, (PyObject *)outside) == 0)
        rc = 0;
done:
    if (rc < 0)
        Py_CLEAR(outer);
    Py_XDECREF(outside);
    Py_XDECREF(inside);
    Py_XDECREF(left);
    Py_XDECREF(loop);
    return outer;
}

static PyObject *leave_to_asyncio(PyObject *function, PyObject *arg)
{
    Py_INCREF(function);
    PyObject *result = PyObject_CallOneArg(function, arg);
    Py_DECREF(function);
    return result;
}

PyDoc_STRVAR(shield_doc, "shield(arg)\n--\n\n"
             "Return a future with the outcome of an awaitable that the future's cancellation\ndoes not reach.\n\n"
             "A coroutine becomes a task; keep a reference to it, the loop has only a weak one.\nIf the awaitable itself is cancelled, "
             "so is the future.");
static PyObject *shield(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"arg", NULL};
    static const pa_signature sig = {"shield", names, 1, 1};
    pa_state *st = pa_state_of_module(module);
    PyObject *arg = pa_args_one(module, &sig, args, nargs, kwnames), *running;
    if (arg == NULL || pa_calls_running(st, &running) < 0)
        return NULL;
    int stands = running != NULL ? pa_original_stands(st, PA_ORIGINAL_SHIELD) : 0;
    Py_XDECREF(running);
    if (stands <= 0)
        return stands < 0 ? NULL : leave_to_asyncio(running == NULL ? st->shield : pa_original_function(st, PA_ORIGINAL_SHIELD), arg);
    PyObject *inner = pa_ensure_future(st, arg, NULL);
    int done = inner != NULL ? pa_any_done(st, inner) : -1;
    if (done > 0)
        return inner;
    PyObject *outer = done == 0 ? shield_pending(st, inner) : NULL;
    Py_XDECREF(inner);
    return outer;
}

static const pa_corofn_def functions[] = {
    {"shield", "shield", shield, shield_doc},
    {NULL, NULL, NULL, NULL},
};

int pa_shield_setup(PyObject *module, pa_state *st) { return pa_pyfn_add_functions(st, module, "asyncio.tasks", functions); }
