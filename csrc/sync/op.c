/* The operation object: it keeps a coroutine's contract without having a frame.
 *
 * - Nothing happens before the first send. One that was never awaited warns when it goes, one that waits is closed when it goes.
 * - send, throw, close, cr_await, cr_running, cr_suspended, cr_code, cr_frame, cr_origin, __name__, __qualname__ and repr() are a
 *   coroutine's, and so are the errors: for a second await, for re-entering, for a value sent too early. It is registered as a
 *   collections.abc.Coroutine; only `type(op) is types.CoroutineType` tells. (It has a __next__, too, but no __iter__.)
 * - cr_code and cr_frame are made when somebody looks: a stack that ends in this operation shows its name.
 *
 * Waiting. A native future is handed to the task as FutureIter does it: its blocking flag set, the future returned. For anything else
 * the operation drives the iterator of `__await__` as the interpreter drives it in a coroutine. Either way `run` sees only the outcome.
 *
 * The interpreter reaches the slots in three ways: am_send from a task that runs the operation itself and from 3.11's SEND, iternext
 * from SEND in a coroutine from 3.12 on, and the method send().
 *
 * What cannot be awaited (no __await__, or one that raises) ends the wait before it began: `run` is told as of any other exception at the
 * wait, so that it undoes what it did for it.
 *
 * Operations belong to the thread of whoever awaits them. Freed ones are kept in the module state: most await only once, at once.
 *
 * Depth. An operation may await another one, and so on: driving a chain counts as a recursion, and freeing one takes the trashcan.
 */
#include "sync/op.h"
#include "core/future_impl.h"

#include <frameobject.h>

enum { CREATED, SUSPENDED, RUNNING, DONE };

/* What `waiter` is. ERROR: the exception that stands for a wait which could not begin. */
enum { FUTURE, ITERATOR, ERROR };

/* ---- Where it was made: sys.set_coroutine_origin_tracking_depth() ---- */

static PyObject *frame_entry(PyFrameObject *frame)
{
    PyCodeObject *code = PyFrame_GetCode(frame);
    PyObject *entry = Py_BuildValue("OiO", code->co_filename, PyFrame_GetLineNumber(frame), code->co_name);
    Py_DECREF(code);
    return entry;
}

/* The callers' (file, line, name), the nearest first. New. */
static PyObject *take_origin(int depth)
{
    PyObject *list = PyList_New(0), *origin = NULL;
    PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get());
    while (list != NULL && frame != NULL && depth-- > 0) {
        PyObject *entry = frame_entry(frame);
        if (entry == NULL || PyList_Append(list, entry) < 0)
            Py_CLEAR(list);
        Py_XDECREF(entry);
        PyFrameObject *back = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    Py_XDECREF(frame);
    if (list != NULL)
        origin = PyList_AsTuple(list);
    Py_XDECREF(list);
    return origin;
}

/* ---- Lifecycle ---- */

static int op_traverse(PyObject *self, visitproc visit, void *arg)
{
    pa_op *op = (pa_op *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(op->self);
    Py_VISIT(op->a);
    Py_VISIT(op->b);
    Py_VISIT(op->c);
    Py_VISIT(op->waiter);
    Py_VISIT(op->outcome);
    Py_VISIT(op->origin);
    return 0;
}

static int op_clear(PyObject *self)
{
    pa_op *op = (pa_op *)self;
    Py_CLEAR(op->self);
    Py_CLEAR(op->a);
    Py_CLEAR(op->b);
    Py_CLEAR(op->c);
    Py_CLEAR(op->waiter);
    Py_CLEAR(op->outcome);
    return 0;
}

/* The collector's. Should C code still get at it while its surroundings are taken apart, it is closed. */
static int op_tp_clear(PyObject *self)
{
    ((pa_op *)self)->status = DONE; /* it does not run: then somebody outside would hold it */
    return op_clear(self);
}

/* It has come to its end. Keeps the raised exception: what is dropped here may be the last reference to anything. */
static void finish(pa_op *op, int raised)
{
    op->status = DONE;
    PyObject *exc = raised ? pa_err_take() : NULL;
    (void)op_clear((PyObject *)op);
    if (raised)
        pa_err_restore(exc);
}

PyObject *pa_op_new(pa_state *st, const pa_op_kind *kind, PyObject *self)
{
    pa_op *op = (pa_op *)pa_free_take(&st->free_ops);
    if (op != NULL)
        pa_object_init((PyObject *)op, st->Operation);
    else if ((op = PyObject_GC_New(pa_op, st->Operation)) == NULL)
        return NULL;
    op->kind = kind;
    op->st = st;
    op->self = Py_XNewRef(self);
    op->a = op->b = op->c = op->waiter = op->outcome = op->origin = op->weakrefs = NULL;
    op->number = 0;
    op->step = 0;
    op->status = CREATED;
    op->waits_for = FUTURE;
    op->finalized = 0;
    int depth = PyThreadState_Get()->coroutine_origin_tracking_depth;
    if (depth > 0 && (op->origin = take_origin(depth)) == NULL) {
        finish(op, 1);
        Py_DECREF(op);
        return NULL;
    }
    PyObject_GC_Track(op);
    return (PyObject *)op;
}

/* As CPython warns: through warnings._warn_unawaited_coroutine, which names the origin and the object. */
static void warn_never_awaited(pa_op *op)
{
    PyObject *name = PyUnicode_FromString("warnings"), *warn = NULL, *result = NULL;
    PyObject *warnings = name != NULL ? PyImport_GetModule(name) : NULL;
    if (warnings != NULL)
        warn = PyObject_GetAttrString(warnings, "_warn_unawaited_coroutine");
    if (warn != NULL)
        result = PyObject_CallOneArg(warn, (PyObject *)op);
    else if (warnings == NULL && !PyErr_Occurred() &&
             PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine '%.100s' was never awaited", op->kind->qualname) == 0)
        result = Py_NewRef(Py_None);
    if (result == NULL)
        PyErr_WriteUnraisable((PyObject *)op);
    Py_XDECREF(result);
    Py_XDECREF(warn);
    Py_XDECREF(warnings);
    Py_XDECREF(name);
}

/* The collector clears types and modules in any order: a cleared type has let go of its module, a cleared state of its types. */
static pa_state *living_state(pa_op *op)
{
    PyTypeObject *type = Py_TYPE(op);
    return ((PyHeapTypeObject *)type)->ht_module != NULL && op->st->Operation == type ? op->st : NULL;
}

static PyObject *close_op(pa_op *op);

static void op_finalize(PyObject *self)
{
    pa_op *op = (pa_op *)self;
    op->finalized = 1;
    if (op->status == DONE || living_state(op) == NULL)
        return;
    PyObject *raised = pa_err_take();
    if (op->status == CREATED) {
        warn_never_awaited(op);
    } else if (op->status == SUSPENDED) {
        PyObject *result = close_op(op);
        if (result == NULL)
            PyErr_WriteUnraisable(self);
        Py_XDECREF(result);
    }
    pa_err_restore(raised);
}

/* It is not tracked any more. */
static void take_apart(pa_op *op)
{
    PyTypeObject *type = Py_TYPE(op);
    if (op->weakrefs != NULL)
        PyObject_ClearWeakRefs((PyObject *)op);
    if (op->status != DONE)
        (void)op_clear((PyObject *)op);
    Py_CLEAR(op->origin);
    pa_state *st = living_state(op);
    if (st != NULL)
        pa_future_stop_returns(st);
    if (st == NULL || op->finalized || !pa_free_keep_new(&st->free_ops, (PyObject *)op))
        PyObject_GC_Del(op);
    Py_DECREF(type);
}

static void op_dealloc(PyObject *self)
{
    pa_op *op = (pa_op *)self;
    if (op->status == DONE) {
        PyObject_GC_UnTrack(self);
        take_apart(op);
        return;
    }
    if (PyObject_CallFinalizerFromDealloc(self) < 0)
        return;
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, op_dealloc)
    take_apart(op);
    Py_TRASHCAN_END
}

void pa_op_free_lists(pa_state *st)
{
    PyObject *self;
    while ((self = pa_free_take(&st->free_ops)) != NULL)
        PyObject_GC_Del(self);
}

/* ---- Waiting ---- */

/* Steals `waiter`. */
static PySendResult begin_wait(pa_op *op, PyObject *waiter, int waits_for)
{
    PyObject *before = op->waiter, *outcome = op->outcome;
    op->waiter = waiter;
    op->outcome = NULL;
    op->waits_for = (uint8_t)waits_for;
    Py_XDECREF(before);
    Py_XDECREF(outcome);
    return PYGEN_NEXT;
}

/* Whether the interpreter awaits `obj` itself: a coroutine, or a generator that types.coroutine() made one. 1, 0 or -1. */
static int is_coroutine(pa_op *op, PyObject *obj)
{
    if (PyCoro_CheckExact(obj))
        return 1;
    if (!PyGen_CheckExact(obj))
        return 0;
    PyObject *code = PyObject_GetAttr(obj, op->st->names.gi_code);
    if (code == NULL)
        return -1;
    int answer = PyCode_Check(code) && (((PyCodeObject *)code)->co_flags & CO_ITERABLE_COROUTINE);
    Py_DECREF(code);
    return answer;
}

/* A coroutine that somebody awaits already. 0, or -1 with RuntimeError. */
static int check_not_awaited(pa_op *op, PyObject *coro)
{
    if (!PyCoro_CheckExact(coro))
        return 0;
    const PyGetSetDef *cr_await = op->st->cr_await; /* without looking it up by its name */
    PyObject *inner = cr_await->get(coro, cr_await->closure);
    int free = inner == Py_None;
    Py_XDECREF(inner);
    if (inner != NULL && !free)
        PyErr_SetString(PyExc_RuntimeError, "coroutine is being awaited already");
    return free ? 0 : -1;
}

/* What the interpreter would iterate over for `await obj`. New. */
static PyObject *await_iterator(pa_op *op, PyObject *obj)
{
    int itself = is_coroutine(op, obj);
    if (itself != 0)
        return itself > 0 && check_not_awaited(op, obj) == 0 ? Py_NewRef(obj) : NULL;
    PyAsyncMethods *async = Py_TYPE(obj)->tp_as_async;
    if (async == NULL || async->am_await == NULL) {
        pa_err_cannot_await(obj);
        return NULL;
    }
    PyObject *iterator = async->am_await(obj);
    if (iterator == NULL)
        return NULL;
    itself = is_coroutine(op, iterator);
    if (itself == 0 && PyIter_Check(iterator))
        return iterator;
    if (itself >= 0)
        pa_err_bad_await(obj, iterator, itself);
    Py_DECREF(iterator);
    return NULL;
}

PySendResult pa_op_await(pa_op *op, PyObject *awaitable)
{
    if (pa_future_is_exact(awaitable))
        return pa_op_wait(op, awaitable);
    PyObject *iterator = await_iterator(op, awaitable);
    return iterator != NULL ? begin_wait(op, iterator, ITERATOR) : begin_wait(op, pa_err_take(), ERROR);
}

PySendResult pa_op_wait(pa_op *op, PyObject *future)
{
    if (!pa_future_is_exact(future))
        return pa_op_await(op, future);
    return begin_wait(op, Py_NewRef(future), FUTURE);
}

/* The waiter is None then, and the outcome NULL until it was yielded. */
PySendResult pa_op_yield(pa_op *op) { return begin_wait(op, Py_NewRef(Py_None), FUTURE); }

PyObject *pa_op_outcome(pa_op *op)
{
    if (op->waiter == Py_None)
        return Py_NewRef(Py_None);
    if (op->waits_for == ITERATOR)
        return Py_NewRef(op->outcome);
    PyObject *value;
    int rc = pa_future_fetch(pa_future_find(op->waiter), &value);
    if (rc <= 0)
        return rc < 0 ? NULL : value;
    pa_err_restore(value);
    return NULL;
}

PySendResult pa_op_raise(PyObject *thrown)
{
    pa_err_restore(Py_NewRef(thrown));
    return PYGEN_ERROR;
}

static PyObject *stop_value(PyObject *stop)
{
    PyObject *value = ((PyStopIterationObject *)stop)->value;
    return Py_NewRef(value != NULL ? value : Py_None);
}

/* One look at the future it waits for. PYGEN_NEXT: *yielded (new) is for the task; PYGEN_RETURN: the wait is over, with *exc (owned; set
 * by the caller if it was thrown in) or well. */
static PySendResult look_at_future(pa_op *op, PyObject **exc, PyObject **yielded)
{
    if (op->waiter == Py_None) {
        if (*exc != NULL || op->outcome != NULL)
            return PYGEN_RETURN;
        op->outcome = Py_NewRef(Py_None);
        *yielded = Py_NewRef(Py_None);
        return PYGEN_NEXT;
    }
    if (*exc != NULL) {
        if (PyErr_GivenExceptionMatches(*exc, PyExc_StopIteration)) { /* the iterator of a future would raise it: that is a result */
            op->outcome = stop_value(*exc);
            op->waits_for = ITERATOR;
            Py_CLEAR(*exc);
        }
        return PYGEN_RETURN;
    }
    pa_future *f = pa_future_find(op->waiter);
    if (f->state != PA_FUTURE_PENDING) {
        PyObject *value = NULL;
        if (f->state == PA_FUTURE_CANCELLED || f->failed) {
            int rc = pa_future_fetch(f, &value);
            *exc = rc > 0 ? value : pa_err_take();
        }
        return PYGEN_RETURN;
    }
    if (!f->blocking) {
        f->blocking = 1;
        *yielded = Py_NewRef(op->waiter);
        return PYGEN_NEXT;
    }
    PyErr_SetString(PyExc_RuntimeError, f->loop != NULL ? "await wasn't used with future" : "Future object is not initialized.");
    *exc = pa_err_take();
    return PYGEN_RETURN;
}

/* The iterator's throw(*exc), or its close() for a GeneratorExit. Takes *exc, unless it has no throw. */
static PySendResult throw_into_iterator(pa_op *op, PyObject **exc, PyObject **value)
{
    PyObject *method, *iterator = op->waiter;
    int leaves = PyErr_GivenExceptionMatches(*exc, PyExc_GeneratorExit);
    int found = pa_getattr_optional(iterator, leaves ? op->st->names.close : op->st->names.throw, &method);
    if (found < 0 && leaves) { /* as the interpreter does it */
        PyErr_WriteUnraisable(iterator);
        found = 0;
    }
    if (found == 0)
        return PYGEN_RETURN; /* raised here */
    if (found < 0) {
        Py_CLEAR(*exc);
        return PYGEN_ERROR;
    }
    if (leaves) {
        *value = PyObject_CallNoArgs(method);
        Py_DECREF(method);
        if (*value != NULL) {
            Py_CLEAR(*value);
            return PYGEN_RETURN;
        }
        Py_CLEAR(*exc);
        return PYGEN_ERROR;
    }
    PyObject *thrown = *exc;
    *exc = NULL;
    *value = PyObject_CallOneArg(method, thrown);
    Py_DECREF(thrown);
    Py_DECREF(method);
    if (*value != NULL)
        return PYGEN_NEXT;
    if (!PyErr_ExceptionMatches(PyExc_StopIteration))
        return PYGEN_ERROR;
    PyObject *stop = pa_err_take();
    *value = stop_value(stop);
    Py_DECREF(stop);
    return PYGEN_RETURN;
}

static PySendResult enter_iterator(pa_op *op, PyObject *sent, PyObject **exc, PyObject **value)
{
    if (*exc != NULL)
        return throw_into_iterator(op, exc, value);
    return PyIter_Send(op->waiter, sent, value);
}

/* The same for an iterator, which gets what is sent or thrown. */
static PySendResult drive_iterator(pa_op *op, PyObject *sent, PyObject **exc, PyObject **yielded)
{
    PyObject *value = NULL;
    PySendResult how = PYGEN_ERROR;
    if (PyCoro_CheckExact(op->waiter)) { /* whose frame counts as a recursion */
        how = enter_iterator(op, sent, exc, &value);
    } else if (Py_EnterRecursiveCall(" while calling a Python object") == 0) {
        how = enter_iterator(op, sent, exc, &value);
        Py_LeaveRecursiveCall();
    } else {
        Py_CLEAR(*exc);
    }
    if (how == PYGEN_NEXT)
        *yielded = value;
    else if (how == PYGEN_ERROR)
        *exc = pa_err_take();
    else if (*exc == NULL)
        op->outcome = value;
    if (PA_AWAIT_TAKES_STOP && *exc != NULL && PyErr_GivenExceptionMatches(*exc, PyExc_StopIteration)) {
        op->outcome = stop_value(*exc);
        Py_CLEAR(*exc);
    }
    return how == PYGEN_NEXT ? PYGEN_NEXT : PYGEN_RETURN;
}

/* Goes on with the wait: PYGEN_NEXT with what it yields, or PYGEN_RETURN when it is over, with *exc or well. */
static inline PySendResult go_on_waiting(pa_op *op, PyObject *sent, PyObject **exc, PyObject **yielded)
{
    if (op->waits_for == FUTURE)
        return look_at_future(op, exc, yielded);
    if (op->waits_for == ITERATOR)
        return drive_iterator(op, sent, exc, yielded);
    *exc = op->waiter;
    op->waiter = NULL;
    return PYGEN_RETURN;
}

/* ---- Running ---- */

/* A StopIteration that leaves the body would be taken for the result. */
static void convert_stop(void)
{
    if (!PyErr_ExceptionMatches(PyExc_StopIteration))
        return;
    PyObject *stop = pa_err_take();
    PyErr_SetString(PyExc_RuntimeError, "coroutine raised StopIteration");
    PyObject *error = pa_err_take();
    PyException_SetCause(error, Py_NewRef(stop));
    PyException_SetContext(error, stop);
    pa_err_restore(error);
}

static PySendResult end(pa_op *op, PySendResult how)
{
    finish(op, how == PYGEN_ERROR);
    if (how == PYGEN_ERROR)
        convert_stop();
    return how;
}

/* On from the wait where it stopped, to the next one that takes time or to the end. It is not running and not done. Steals `exc`, which is
 * thrown in at the wait, or NULL. */
static PySendResult resume(pa_op *op, PyObject *sent, PyObject *exc, PyObject **result)
{
    op->status = RUNNING;
    for (;;) {
        if (go_on_waiting(op, sent, &exc, result) == PYGEN_NEXT) {
            op->status = SUSPENDED;
            return PYGEN_NEXT;
        }
        PySendResult how = op->kind->run(op, exc, result);
        Py_CLEAR(exc);
        if (how != PYGEN_NEXT)
            return end(op, how);
        sent = Py_None;
    }
}

/* The same from the beginning: most get to the end at once. */
static inline PySendResult start(pa_op *op, PyObject **result)
{
    op->status = RUNNING;
    PySendResult how = op->kind->run(op, NULL, result);
    return how != PYGEN_NEXT ? end(op, how) : resume(op, Py_None, NULL, result);
}

static void raise_not_resumable(pa_op *op)
{
    if (op->status == RUNNING)
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
    else
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
}

static PySendResult op_send(PyObject *self, PyObject *value, PyObject **result)
{
    pa_op *op = (pa_op *)self;
    *result = NULL;
    if (op->status == CREATED && value == Py_None)
        return start(op, result);
    if (op->status == SUSPENDED)
        return resume(op, value, NULL, result);
    if (op->status == CREATED)
        PyErr_SetString(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
    else
        raise_not_resumable(op);
    return PYGEN_ERROR;
}

/* What a slot or method returns for `how`: the yielded object, or NULL with an exception, a StopIteration for a result. */
static PyObject *as_iteration(PySendResult how, PyObject *value)
{
    if (how == PYGEN_RETURN) {
        pa_future_raise_stop(value);
        Py_CLEAR(value);
    }
    return value;
}

/* For interpreters; a program gets no further than op_iter.c, which calls send(). */
static PyObject *op_next(PyObject *self)
{
    PyObject *value;
    if (op_send(self, Py_None, &value) != PYGEN_RETURN)
        return value;
    if (value != Py_None) { /* whose StopIteration goes without saying */
        if (Py_REFCNT(self) == 1)
            pa_future_lend_stop(((pa_op *)self)->st, value, NULL);
        else
            pa_future_end_iteration(value);
    }
    Py_DECREF(value);
    return NULL;
}

static PyObject *op_await(PyObject *self)
{
    if (((pa_op *)self)->status == SUSPENDED) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine is being awaited already");
        return NULL;
    }
    return Py_NewRef(self);
}

/* `await` finds op_await; who calls __await__() means to iterate over what it returns. */
static PyObject *op_await_method(PyObject *self, PyObject *unused) { return pa_op_iter_new(((pa_op *)self)->st, self); }

static PyObject *op_send_method(PyObject *self, PyObject *value)
{
    PyObject *result;
    PySendResult how = op_send(self, value, &result);
    return as_iteration(how, result);
}

static PyObject *op_throw(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    pa_op *op = (pa_op *)self;
    if (PA_DONE_CORO_IGNORES_THROWN && op->status == DONE && nargs >= 1 && nargs <= 3) {
        raise_not_resumable(op);
        return NULL;
    }
    int at_future = op->status == SUSPENDED && op->waits_for == FUTURE; /* then it is the future's iterator that complains, inside */
    PyObject *exc = pa_future_thrown(args, nargs, at_future ? PA_FUTURE_THROW_COMPLAINT
                                                            : "exceptions must be classes or instances deriving from BaseException, not %s");
    if (exc == NULL && !(at_future && nargs >= 1 && nargs <= 3))
        return NULL;
    if (exc == NULL)
        exc = pa_err_take();
    if (op->status >= RUNNING) {
        Py_DECREF(exc);
        raise_not_resumable(op);
        return NULL;
    }
    if (op->status == CREATED) {
        finish(op, 0);
        pa_err_restore(exc);
        if (!PA_THROW_STOP_AT_START)
            convert_stop();
        return NULL;
    }
    PyObject *result = NULL;
    PySendResult how = resume(op, Py_None, exc, &result);
    return as_iteration(how, result);
}

/* close() of one that waits, by what `run` does about a GeneratorExit. */
static PyObject *close_by_run(pa_op *op)
{
    PyObject *exc = PyObject_CallNoArgs(PyExc_GeneratorExit), *result = NULL;
    if (exc == NULL)
        return NULL;
    PySendResult how = resume(op, Py_None, exc, &result);
    Py_XDECREF(result);
    if (how == PYGEN_NEXT) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine ignored GeneratorExit");
        return NULL;
    }
    if (how == PYGEN_ERROR) {
        if (!PyErr_ExceptionMatches(PyExc_GeneratorExit))
            return NULL;
        PyErr_Clear();
    }
    Py_RETURN_NONE;
}

static PyObject *close_by_abandon(pa_op *op)
{
    op->status = RUNNING;
    PyObject *method = NULL, *result = NULL, *raised = NULL;
    if (op->waits_for == ITERATOR) {
        int found = pa_getattr_optional(op->waiter, op->st->names.close, &method);
        if (found > 0)
            result = PyObject_CallNoArgs(method);
        else if (found < 0)
            PyErr_WriteUnraisable(op->waiter);
        raised = pa_err_take();
        Py_XDECREF(result);
        Py_XDECREF(method);
    }
    op->kind->abandon(op);
    if (PyErr_Occurred())
        Py_XDECREF(raised);
    else
        pa_err_restore(raised);
    finish(op, 1);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *close_op(pa_op *op)
{
    switch (op->status) {
    case CREATED:
        finish(op, 0);
        Py_RETURN_NONE;
    case SUSPENDED:
        return op->kind->abandon != NULL ? close_by_abandon(op) : close_by_run(op);
    case RUNNING:
        raise_not_resumable(op);
        return NULL;
    default:
        Py_RETURN_NONE;
    }
}

static PyObject *op_close(PyObject *self, PyObject *unused) { return close_op((pa_op *)self); }

/* ---- Attributes ---- */

static PyObject *op_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<coroutine object %s at %p>", ((pa_op *)self)->kind->qualname, self);
}

static PyObject *get_name(PyObject *self, void *unused) { return PyUnicode_FromString(((pa_op *)self)->kind->name); }

static PyObject *get_qualname(PyObject *self, void *unused) { return PyUnicode_FromString(((pa_op *)self)->kind->qualname); }

static PyObject *get_await(PyObject *self, void *unused)
{
    pa_op *op = (pa_op *)self;
    return Py_NewRef(op->status == SUSPENDED ? op->waiter : Py_None);
}

static PyObject *get_running(PyObject *self, void *unused) { return PyBool_FromLong(((pa_op *)self)->status == RUNNING); }

static PyObject *get_suspended(PyObject *self, void *unused) { return PyBool_FromLong(((pa_op *)self)->status == SUSPENDED); }

#if PA_CORO_HAS_STATE
static PyObject *get_state(PyObject *self, void *unused)
{
    static const char *const names[] = {
        [CREATED] = "CORO_CREATED", [SUSPENDED] = "CORO_SUSPENDED", [RUNNING] = "CORO_RUNNING", [DONE] = "CORO_CLOSED"};
    return PyUnicode_InternFromString(names[((pa_op *)self)->status]);
}
#endif

static PyObject *get_origin(PyObject *self, void *unused)
{
    PyObject *origin = ((pa_op *)self)->origin;
    return Py_NewRef(origin != NULL ? origin : Py_None);
}

static PyObject *get_code(PyObject *self, void *unused)
{
    return (PyObject *)PyCode_NewEmpty("<pyasync>", ((pa_op *)self)->kind->name, 1);
}

static PyObject *get_frame(PyObject *self, void *unused)
{
    pa_op *op = (pa_op *)self;
    if (op->status == DONE)
        Py_RETURN_NONE;
    PyObject *globals = PyDict_New(), *code = get_code(self, NULL), *frame = NULL;
    if (globals != NULL && code != NULL)
        frame = (PyObject *)PyFrame_New(PyThreadState_Get(), (PyCodeObject *)code, globals, NULL);
    Py_XDECREF(globals);
    Py_XDECREF(code);
    return frame;
}

static PyObject *op_sizeof(PyObject *self, PyObject *unused) { return PyLong_FromSsize_t(Py_TYPE(self)->tp_basicsize); }

/* ---- Setup ---- */

static PyMethodDef op_methods[] = {
    {"__await__", op_await_method, METH_NOARGS | METH_COEXIST, "Return an iterator to be used in await expression."},
    {"send", op_send_method, METH_O, "send(arg) -> send 'arg' into coroutine,\nreturn next iterated value or raise StopIteration."},
    {"throw", (PyCFunction)(void (*)(void))op_throw, METH_FASTCALL,
     "throw(value)\n\nRaise exception in coroutine, return next iterated value or raise\nStopIteration."},
    {"close", op_close, METH_NOARGS, "close() -> raise GeneratorExit inside coroutine."},
    {"__sizeof__", op_sizeof, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef op_getset[] = {
    {"__name__", get_name, NULL, "name of the coroutine", NULL},
    {"__qualname__", get_qualname, NULL, "qualified name of the coroutine", NULL},
    {"cr_await", get_await, NULL, "object being awaited on, or None", NULL},
    {"cr_running", get_running, NULL, NULL, NULL},
    {"cr_suspended", get_suspended, NULL, NULL, NULL},
#if PA_CORO_HAS_STATE
    {"cr_state", get_state, NULL, NULL, NULL},
#endif
    {"cr_origin", get_origin, NULL, NULL, NULL},
    {"cr_code", get_code, NULL, NULL, NULL},
    {"cr_frame", get_frame, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef op_members[] = {
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(pa_op, weakrefs), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot op_slots[] = {
    {Py_tp_doc, (void *)"What asyncio's coroutine functions that are native return: a coroutine without a frame."},
    {Py_am_await, op_await},
    {Py_am_send, op_send},
    {Py_tp_iternext, op_next},
    {Py_tp_repr, op_repr},
    {Py_tp_dealloc, op_dealloc},
    {Py_tp_finalize, op_finalize},
    {Py_tp_traverse, op_traverse},
    {Py_tp_clear, op_tp_clear},
    {Py_tp_methods, op_methods},
    {Py_tp_getset, op_getset},
    {Py_tp_members, op_members},
    {0, NULL},
};

static int register_coroutine(pa_state *st)
{
    PyObject *abc = PyImport_ImportModule("collections.abc");
    PyObject *coroutine = abc != NULL ? PyObject_GetAttrString(abc, "Coroutine") : NULL;
    PyObject *result = coroutine != NULL ? PyObject_CallMethod(coroutine, "register", "O", st->Operation) : NULL;
    Py_XDECREF(abc);
    Py_XDECREF(coroutine);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

static int find_cr_await(pa_state *st)
{
    for (const PyGetSetDef *def = PyCoro_Type.tp_getset; def->name != NULL; def++)
        if (strcmp(def->name, "cr_await") == 0) {
            st->cr_await = def;
            return 0;
        }
    PyErr_SetString(PyExc_ImportError, "coroutines have no cr_await");
    return -1;
}

int pa_op_setup(PyObject *module, pa_state *st)
{
    if (find_cr_await(st) < 0)
        return -1;
    PyType_Spec spec = {"pyasync._core.coroutine", sizeof(pa_op), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION, op_slots};
    st->Operation = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return st->Operation != NULL && pa_op_iter_setup(module, st) == 0 ? register_coroutine(st) : -1;
}
