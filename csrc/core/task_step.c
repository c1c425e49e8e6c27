/* Steps: running a task's coroutine until it yields, and acting on what it yields, returns or raises.
 *
 * A coroutine that awaits a native future yields that future; the task then becomes an entry in the future's callback list, and the
 * completed future pushes the wakeup straight into the loop's ring. Anything else that looks like a future is treated by attribute, as
 * asyncio treats what is not exactly its own.
 *
 * The coroutine may do anything to its task, even complete or re-initialise it: what is needed after a call is owned or looked at again.
 */
#include "core/future_impl.h"
#include "core/registry.h"
#include "core/task.h"

/* Raises `second` (raised now) with `first` as its context, or `first` alone. Steals `first`. -1 if anything is raised, else 0. */
static int chain(PyObject *first)
{
    PyObject *second = pa_err_take();
    if (first == NULL || second == NULL) {
        pa_err_restore(first != NULL ? first : second);
        return first != NULL || second != NULL ? -1 : 0;
    }
    PyException_SetContext(second, first);
    pa_err_restore(second);
    return -1;
}

/* ---- Scheduling ---- */

static PyObject *new_step(PyObject *task, PyObject *exc);

int pa_task_soon_step(PyObject *self, pa_task *t, PyObject *exc)
{
    if (t->future.ring && exc == NULL)
        return pa_loop_soon_step(pa_future_native(&t->future), self);
    PyObject *step = new_step(self, exc);
    PyObject *context = Py_NewRef(t->context);
    int rc = step != NULL ? pa_future_call_soon(&t->future, step, NULL, context) : -1;
    Py_DECREF(context);
    Py_XDECREF(step);
    return rc;
}

int pa_task_soon_wakeup(PyObject *task, PyObject *future)
{
    pa_task *t = pa_task_find(task);
    if (t->future.ring)
        return pa_loop_soon_wakeup(pa_future_native(&t->future), task, future);
    if (t->future.loop == NULL)
        return 0; /* the garbage collector took the task apart: nobody is left to be woken */
    PyObject *wakeup = pa_task_wakeup_callable(task);
    PyObject *context = Py_NewRef(t->context);
    int rc = wakeup != NULL ? pa_future_call_soon(&t->future, wakeup, future, context) : -1;
    Py_DECREF(context);
    Py_XDECREF(wakeup);
    return rc;
}

/* What is raised now, an error of the coroutine's making, is thrown into it in the next step. 0 or -1. */
static int throw_soon(PyObject *self, pa_task *t)
{
    PyObject *exc = pa_err_take();
    int rc = pa_task_soon_step(self, t, exc);
    Py_DECREF(exc);
    return rc;
}

/* ---- What the coroutine yielded ---- */

static int fail_other_loop(PyObject *self, pa_task *t, PyObject *future)
{
    PyErr_Format(PyExc_RuntimeError, "Task %R got Future %R attached to a different loop", self, future);
    return throw_soon(self, t);
}

static int fail_not_awaited(PyObject *self, pa_task *t, PyObject *future)
{
    PyErr_Format(PyExc_RuntimeError, "yield was used instead of yield from in task %R with %R", self, future);
    return throw_soon(self, t);
}

/* The task waits for `future` from now on; a cancellation that came meanwhile goes to it. Steals `future`. */
static int begin_wait(pa_task *t, PyObject *future)
{
    Py_XSETREF(t->waiter, future);
    if (!t->future.must_cancel)
        return 0;
    PyObject *msg = pa_future_cancel_msg(&t->future);
    int rc = pa_task_cancel_waiter(t, msg);
    Py_DECREF(msg);
    if (rc > 0)
        t->future.must_cancel = 0;
    return rc < 0 ? -1 : 0;
}

/* `future` is exactly ours. Steals it. */
static int await_native(PyObject *self, pa_task *t, PyObject *future)
{
    pa_future *f = pa_future_find(future);
    int rc;
    if (f->loop != t->future.loop)
        rc = fail_other_loop(self, t, future);
    else if (!f->blocking)
        rc = fail_not_awaited(self, t, future);
    else {
        f->blocking = 0;
        f->was_awaited = 1;
        rc = f->state == PA_FUTURE_PENDING ? pa_callbacks_append(f, self, NULL) : pa_task_soon_wakeup(self, future);
        if (rc == 0)
            return begin_wait(t, future);
    }
    Py_DECREF(future);
    return rc;
}

/* The loop of anything that looks like a future: get_loop() or, in old ones, _loop. New. */
static PyObject *loop_of(pa_state *st, PyObject *future)
{
    PyObject *get_loop;
    int rc = pa_getattr_optional(future, st->names.get_loop, &get_loop);
    if (rc < 0)
        return NULL;
    if (rc == 0)
        return PyObject_GetAttr(future, st->names._loop);
    PyObject *loop = PyObject_CallNoArgs(get_loop);
    Py_DECREF(get_loop);
    return loop;
}

static int note_awaited(PyObject *function, PyObject *future, PyObject *task)
{
    if (!PA_HAS_CALL_GRAPH)
        return 0;
    PyObject *args[] = {NULL, future, task};
    PyObject *result = PyObject_Vectorcall(function, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

static int add_wakeup(PyObject *self, pa_task *t, PyObject *future)
{
    PyObject *wakeup = pa_task_wakeup_callable(self);
    if (wakeup == NULL)
        return -1;
    PyObject *context = Py_NewRef(t->context);
    PyObject *args[] = {future, wakeup, context};
    PyObject *result = PyObject_VectorcallMethod(t->future.st->names.add_done_callback, args, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                                 t->future.st->kw_context);
    Py_DECREF(context);
    Py_DECREF(wakeup);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* `future` has an _asyncio_future_blocking that is not None: `blocking`. Steals `future`. */
static int await_foreign(PyObject *self, pa_task *t, PyObject *future, int blocking)
{
    pa_state *st = t->future.st;
    int rc = -1;
    PyObject *loop = loop_of(st, future);
    if (loop == NULL)
        goto done;
    if (loop != t->future.loop)
        rc = fail_other_loop(self, t, future);
    else if (!blocking)
        rc = fail_not_awaited(self, t, future);
    else if (note_awaited(st->awaited_by_add, future, self) == 0 &&
             PyObject_SetAttr(future, st->names._asyncio_future_blocking, Py_False) == 0 && add_wakeup(self, t, future) == 0)
        rc = begin_wait(t, Py_NewRef(future));
done:
    Py_XDECREF(loop);
    Py_DECREF(future);
    return rc;
}

static int fail_bad_yield(PyObject *self, pa_task *t, PyObject *yielded)
{
    if (PyGen_CheckExact(yielded))
        PyErr_Format(PyExc_RuntimeError, "yield was used instead of yield from for generator in task %R with %R", self, yielded);
    else
        PyErr_Format(PyExc_RuntimeError, "Task got bad yield: %R", yielded);
    return throw_soon(self, t);
}

/* Steals `yielded`. */
static int act_on_yield(PyObject *self, pa_task *t, PyObject *yielded)
{
    if (yielded == self) {
        PyErr_Format(PyExc_RuntimeError, "Task cannot await on itself: %R", self);
        Py_DECREF(yielded);
        return throw_soon(self, t);
    }
    if (pa_future_is_exact(yielded))
        return await_native(self, t, yielded);
    if (yielded == Py_None) {
        Py_DECREF(yielded);
        return pa_task_soon_step(self, t, NULL);
    }
    PyObject *attribute;
    int rc = pa_getattr_optional(yielded, t->future.st->names._asyncio_future_blocking, &attribute);
    if (rc > 0 && attribute != Py_None) {
        int blocking = PyObject_IsTrue(attribute);
        Py_DECREF(attribute);
        if (blocking >= 0)
            return await_foreign(self, t, yielded, blocking);
        rc = -1;
    } else if (rc >= 0) {
        Py_XDECREF(attribute);
        rc = fail_bad_yield(self, t, yielded);
    }
    Py_DECREF(yielded);
    return rc;
}

/* ---- The end of the coroutine ---- */

static int act_on_return(PyObject *self, pa_task *t, PyObject *result)
{
    pa_future *f = &t->future;
    if (t->future.must_cancel) { /* cancelled while it ran for the last time */
        t->future.must_cancel = 0;
        PyObject *msg = pa_future_cancel_msg(f);
        int rc = pa_future_do_cancel(self, f, msg);
        Py_DECREF(msg);
        return rc < 0 ? -1 : 0;
    }
    return pa_future_set_result(self, result);
}

/* On the raised exception. */
static int act_on_error(PyObject *self, pa_task *t)
{
    pa_future *f = &t->future;
    if (PyErr_ExceptionMatches(f->st->CancelledError)) {
        pa_future_keep_cancelled(f, pa_err_take());
        return pa_future_do_cancel(self, f, NULL) < 0 ? -1 : 0;
    }
    PyObject *exc = pa_err_take();
    int rc = pa_future_do_exception(self, f, exc);
    if (rc == 0 && (PyErr_GivenExceptionMatches(exc, PyExc_KeyboardInterrupt) || PyErr_GivenExceptionMatches(exc, PyExc_SystemExit))) {
        pa_err_restore(exc);
        return -1;
    }
    Py_DECREF(exc);
    return rc;
}

/* ---- One step ---- */

static PySendResult throw_into(pa_state *st, PyObject *coro, PyObject *exc, PyObject **result)
{
    *result = PyObject_CallMethodOneArg(coro, st->names.throw, exc);
    if (*result != NULL)
        return PYGEN_NEXT;
    if (!PyErr_ExceptionMatches(PyExc_StopIteration))
        return PYGEN_ERROR;
    PyObject *stop = pa_err_take();
    PyObject *value = ((PyStopIterationObject *)stop)->value;
    *result = Py_NewRef(value != NULL ? value : Py_None);
    Py_DECREF(stop);
    return PYGEN_RETURN;
}

/* The exception to throw when a cancellation was asked for: `exc` if it is one, else a new CancelledError. New, or NULL. */
static PyObject *take_cancellation(pa_task *t, PyObject *exc)
{
    int is_cancellation = exc != NULL ? PyObject_IsInstance(exc, t->future.st->CancelledError) : 0;
    if (is_cancellation < 0)
        return NULL;
    exc = is_cancellation ? Py_NewRef(exc) : pa_future_cancelled_error(&t->future);
    if (exc != NULL)
        t->future.must_cancel = 0;
    return exc;
}

static int run_step(PyObject *self, pa_task *t, PyObject *exc)
{
    pa_future *f = &t->future;
    if (f->state != PA_FUTURE_PENDING) {
        PyErr_Format(f->st->InvalidStateError, "__step(): already done: %R %R", self, exc != NULL ? exc : Py_None);
        return -1;
    }
    PyObject *cancellation = NULL;
    if (t->future.must_cancel && (exc = cancellation = take_cancellation(t, exc)) == NULL)
        return -1;
    PyObject *waited = t->waiter;
    t->waiter = NULL;
    Py_XDECREF(waited);
    PyObject *coro = Py_XNewRef(t->coro), *result = NULL;
    PySendResult how = PYGEN_ERROR;
    if (coro == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "uninitialized Task object");
        Py_XDECREF(cancellation);
        return -1;
    }
    how = exc == NULL ? PyIter_Send(coro, Py_None, &result) : throw_into(f->st, coro, exc, &result);
    Py_DECREF(coro);
    Py_XDECREF(cancellation);
    if (how == PYGEN_NEXT)
        return act_on_yield(self, t, result);
    if (how == PYGEN_ERROR)
        return act_on_error(self, t);
    int rc = act_on_return(self, t, result);
    Py_DECREF(result);
    return rc;
}

int pa_task_do_step(PyObject *self, pa_task *t, PyObject *exc)
{
    pa_state *st = t->future.st;
    pa_loop *native = pa_future_native(&t->future);
    if (t->future.loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "uninitialized Task object");
        return -1;
    }
    PyObject *loop = Py_NewRef(t->future.loop);
    int rc = pa_current_enter(st, loop, native, self);
    if (rc == 0) {
        rc = run_step(self, t, exc);
        if (pa_current_leave(st, loop, native, self) < 0)
            rc = -1;
        /* Nobody may hold it any more: its exception is reported when this step is over, and not in the next one, to which that one
         * would be the current task. */
        if (t->future.log_tb && native != NULL && pa_current_flush(native) < 0)
            rc = -1;
    }
    Py_DECREF(loop);
    return rc;
}

/* The CancelledError that fetch would raise, without raising it where that leaves no trace: a loop that was started in an `except` clause
 * leaves that clause's exception as its context. New. */
static PyObject *cancellation_of(pa_future *f)
{
    PyObject *handled = PyErr_GetHandledException(), *exc = NULL;
    if (handled != NULL)
        pa_future_raise_cancelled(f);
    else
        exc = pa_future_cancelled_error(f);
    Py_XDECREF(handled);
    return exc != NULL ? exc : pa_err_take();
}

int pa_task_do_wakeup(PyObject *self, pa_task *t, PyObject *future)
{
    PyObject *value = NULL, *exc = NULL;
    if (pa_future_is_exact(future)) {
        pa_future *f = pa_future_find(future);
        if (f->state == PA_FUTURE_CANCELLED) {
            exc = cancellation_of(f);
        } else {
            int rc = pa_future_fetch(f, &value);
            exc = rc == 0 ? NULL : rc > 0 ? Py_NewRef(value) : pa_err_take();
        }
    } else {
        if (note_awaited(t->future.st->awaited_by_discard, future, self) < 0)
            return -1;
        value = PyObject_CallMethodNoArgs(future, t->future.st->names.result);
        if (value == NULL)
            exc = pa_err_take();
    }
    int rc = pa_task_do_step(self, t, exc);
    Py_XDECREF(value);
    Py_XDECREF(exc);
    return rc;
}

int pa_task_eager_start(PyObject *self, pa_task *t)
{
    pa_state *st = t->future.st;
    pa_loop *native = pa_future_native(&t->future);
    PyObject *loop = Py_NewRef(t->future.loop), *context = Py_NewRef(t->context), *previous = NULL, *former = NULL, *raised;
    int rc = pa_current_swap(st, loop, native, self, &previous);
    if (rc < 0)
        goto done;
    /* asyncio knows a task from its first eager step on */
    rc = pa_registry_add(st, self, &t->link);
    if (rc == 0 && (rc = PyContext_Enter(context)) == 0) {
        rc = run_step(self, t, NULL);
        raised = pa_err_take();
        if (PyContext_Exit(context) < 0)
            rc = -1;
        (void)chain(raised);
    }
    raised = pa_err_take();
    if (pa_current_swap(st, loop, native, previous, &former) < 0)
        rc = -1;
    (void)chain(raised);
    if (t->future.state != PA_FUTURE_PENDING)
        Py_CLEAR(t->coro);
done:
    Py_XDECREF(former);
    Py_XDECREF(previous);
    Py_DECREF(context);
    Py_DECREF(loop);
    return rc;
}

/* ---- From the ring ---- */

/* The step's exception stays raised; one of leaving the context is chained to it. */
static int leave_context(PyObject *context, int rc)
{
    PyObject *raised = rc < 0 ? pa_err_take() : NULL;
    if (PyContext_Exit(context) < 0)
        rc = -1;
    if (rc < 0)
        (void)chain(raised);
    Py_DECREF(context);
    return rc;
}

int pa_task_step(pa_loop *loop, PyObject *task)
{
    pa_task *t = pa_task_find(task);
    PyObject *context = Py_NewRef(t->context);
    if (PyContext_Enter(context) < 0) {
        Py_DECREF(context);
        return -1;
    }
    return leave_context(context, pa_task_do_step(task, t, NULL));
}

int pa_task_wakeup(pa_loop *loop, PyObject *task, PyObject *future)
{
    pa_task *t = pa_task_find(task);
    PyObject *context = Py_NewRef(t->context);
    if (PyContext_Enter(context) < 0) {
        Py_DECREF(context);
        return -1;
    }
    return leave_context(context, pa_task_do_wakeup(task, t, future));
}

/* ---- The callables that stand for a step or a wakeup ---- */

/* Called by anybody at any time: the current task must not stay behind. */
static PyObject *after_call(pa_task *t, PyObject *loop, int rc)
{
    pa_loop *native = pa_loop_from(t->future.st, loop);
    if (native != NULL && pa_current_flush(native) < 0)
        rc = -1;
    Py_DECREF(loop);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *wakeup_function(PyObject *self, PyObject *future)
{
    pa_task *t = pa_task_find(self);
    PyObject *loop = Py_NewRef(t->future.loop != NULL ? t->future.loop : Py_None);
    return after_call(t, loop, pa_task_do_wakeup(self, t, future));
}

static PyMethodDef wakeup_def = {"task_wakeup", wakeup_function, METH_O, NULL};

PyObject *pa_task_wakeup_callable(PyObject *task) { return PyCFunction_New(&wakeup_def, task); }

typedef struct {
    PyObject_HEAD
    PyObject *task;
    PyObject *exc; /* to be thrown, or NULL */
} step_object;

static PyObject *new_step(PyObject *task, PyObject *exc)
{
    step_object *step = PyObject_GC_New(step_object, pa_task_find(task)->future.st->TaskStep);
    if (step == NULL)
        return NULL;
    step->task = Py_NewRef(task);
    step->exc = Py_XNewRef(exc);
    PyObject_GC_Track(step);
    return (PyObject *)step;
}

PyObject *pa_task_step_callable(PyObject *task) { return new_step(task, NULL); }

static PyObject *step_call(PyObject *self, PyObject *args, PyObject *kwargs)
{
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0) {
        PyErr_SetString(PyExc_TypeError, "function takes no keyword arguments");
        return NULL;
    }
    if (PyTuple_GET_SIZE(args) != 0) {
        PyErr_SetString(PyExc_TypeError, "function takes no positional arguments");
        return NULL;
    }
    step_object *step = (step_object *)self;
    if (step->task == NULL)
        Py_RETURN_NONE; /* the garbage collector took it apart */
    PyObject *task = Py_NewRef(step->task), *exc = Py_XNewRef(step->exc);
    pa_task *t = pa_task_find(task);
    PyObject *loop = Py_NewRef(t->future.loop != NULL ? t->future.loop : Py_None);
    PyObject *result = after_call(t, loop, pa_task_do_step(task, t, exc));
    Py_XDECREF(exc);
    Py_DECREF(task);
    return result;
}

static PyObject *step_compare(PyObject *self, PyObject *other, int op)
{
    if (Py_TYPE(other) != Py_TYPE(self) || (op != Py_EQ && op != Py_NE))
        Py_RETURN_NOTIMPLEMENTED;
    step_object *a = (step_object *)self, *b = (step_object *)other;
    return PyBool_FromLong((a->task == b->task && a->exc == b->exc) == (op == Py_EQ));
}

static Py_hash_t step_hash(PyObject *self) { return (Py_hash_t)((uintptr_t)((step_object *)self)->task >> 4); }

static PyObject *step_self(PyObject *self, void *unused)
{
    PyObject *task = ((step_object *)self)->task;
    return Py_NewRef(task != NULL ? task : Py_None);
}

static int step_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((step_object *)self)->task);
    Py_VISIT(((step_object *)self)->exc);
    return 0;
}

static int step_clear(PyObject *self)
{
    Py_CLEAR(((step_object *)self)->task);
    Py_CLEAR(((step_object *)self)->exc);
    return 0;
}

static void step_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)step_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyGetSetDef step_getset[] = {
    {"__self__", step_self, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot step_slots[] = {
    {Py_tp_call, step_call},
    {Py_tp_richcompare, step_compare},
    {Py_tp_hash, step_hash},
    {Py_tp_getset, step_getset},
    {Py_tp_traverse, step_traverse},
    {Py_tp_clear, step_clear},
    {Py_tp_dealloc, step_dealloc},
    {0, NULL},
};

int pa_task_step_setup(PyObject *module, pa_state *st)
{
    PyType_Spec spec = {"pyasync.TaskStepMethWrapper", sizeof(step_object), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION, step_slots};
    st->TaskStep = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return st->TaskStep != NULL ? 0 : -1;
}
