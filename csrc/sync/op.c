/* The operation object: it keeps a coroutine's contract without having a frame.
 *
 * - Nothing happens before the first send. One that was never awaited warns when it goes, one that waits is closed when it goes.
 * - send, throw, close, cr_await, cr_running, cr_suspended, cr_code, cr_frame, cr_origin, __name__, __qualname__ and repr() are a
 *   coroutine's, and so are the errors: for a second await, for re-entering, for a value sent too early. It is registered as a
 *   collections.abc.Coroutine; only `type(op) is types.CoroutineType` tells. (It has a __next__, too, but no __iter__.)
 * - op_attributes.c has what a program may ask it, op_wait.c what it does while it waits.
 *
 * The interpreter reaches the slots in three ways: am_send from a task that runs the operation itself and from 3.11's SEND, iternext
 * from SEND in a coroutine from 3.12 on, and the method send().
 *
 * Operations belong to the thread of whoever awaits them. Freed ones are kept in the module state: most await only once, at once. One of
 * them stays an object, and known to the collector, so that a program which awaits them one after the other always has the same: nobody
 * has a reference to it then but the module, unless somebody found it through the collector; who did has an operation that ended.
 *
 * Depth. An operation may await another one, and so on: driving a chain counts as a recursion, and freeing one takes the trashcan.
 */
#include "sync/op_impl.h"
#include "core/future_impl.h"

/* ---- Lifecycle ---- */

/* The collector clears types and modules in any order: a cleared type has let go of its module, a cleared state of its types. */
static inline pa_state *living_state(pa_op *op)
{
    PyTypeObject *type = Py_TYPE(op);
    return ((PyHeapTypeObject *)type)->ht_module != NULL && op->st->Operation == type ? op->st : NULL;
}

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

Py_NO_INLINE static void drop_more(pa_op *op)
{
    Py_CLEAR(op->b);
    Py_CLEAR(op->c);
    Py_CLEAR(op->waiter);
    Py_CLEAR(op->outcome);
}

/* Most have no more than two fields. */
static inline void drop_fields(pa_op *op)
{
    Py_CLEAR(op->self);
    Py_CLEAR(op->a);
    if (((uintptr_t)op->b | (uintptr_t)op->c | (uintptr_t)op->waiter | (uintptr_t)op->outcome) != 0)
        drop_more(op);
}

/* The collector's. Should C code still get at it while its surroundings are taken apart, it is closed. */
static int op_tp_clear(PyObject *self)
{
    ((pa_op *)self)->status = PA_OP_DONE; /* it does not run: then somebody outside would hold it */
    drop_fields((pa_op *)self);
    return 0;
}

/* It has come to its end. Keeps the raised exception: what is dropped here may be the last reference to anything. */
static void finish(pa_op *op, int raised)
{
    op->status = PA_OP_DONE;
    PyObject *exc = raised ? pa_err_take() : NULL;
    drop_fields(op);
    if (raised)
        pa_err_restore(exc);
}

/* A new one, tracked, with nothing in it. */
Py_NO_INLINE static pa_op *make_op(pa_state *st, const pa_op_kind *kind)
{
    pa_op *op = (pa_op *)pa_free_take(&st->free_ops);
    if (op != NULL)
        pa_object_init((PyObject *)op, st->Operation);
    else if ((op = PyObject_GC_New(pa_op, st->Operation)) == NULL)
        return NULL;
    op->kind = kind; /* so that it can be looked at */
    op->st = st;
    op->self = op->a = op->b = op->c = op->waiter = op->outcome = op->origin = op->weakrefs = NULL;
    op->status = PA_OP_DONE;
    op->finalized = op->was_spare = 0;
    PyObject_GC_Track(op);
    return op;
}

/* The spare one, if it is there and nobody else's. */
static inline pa_op *take_spare(pa_state *st)
{
    pa_op *op = (pa_op *)st->spare_op;
    if (op == NULL || Py_REFCNT(op) > 1 || op->weakrefs != NULL)
        return NULL;
    st->spare_op = NULL;
    pa_object_end((PyObject *)op);
    pa_object_revive((PyObject *)op);
    return op;
}

/* For a deallocator: whether it stays. */
static inline int become_spare(pa_op *op)
{
    pa_state *st = living_state(op);
    if (st == NULL || st->spare_op != NULL || op->finalized || op->weakrefs != NULL || op->origin != NULL)
        return 0;
    pa_object_keep((PyObject *)op);
    op->was_spare = 1;
    st->spare_op = (PyObject *)op;
    pa_future_stop_returns(st);
    return 1;
}

/* Steals op: new. */
Py_NO_INLINE static PyObject *note_origin(pa_op *op, int depth)
{
    if ((op->origin = pa_op_take_origin(depth)) != NULL)
        return (PyObject *)op;
    finish(op, 1);
    Py_DECREF(op);
    return NULL;
}

PyObject *pa_op_new(pa_state *st, const pa_op_kind *kind, PyObject *self)
{
    pa_op *op = take_spare(st);
    if (op == NULL && (op = make_op(st, kind)) == NULL)
        return NULL;
    op->kind = kind;
    op->self = Py_XNewRef(self);
    op->number = 0;
    op->step = 0;
    op->status = PA_OP_CREATED;
    op->waits_for = PA_OP_FUTURE;
    int depth = pa_thread_state(st)->coroutine_origin_tracking_depth;
    return depth == 0 ? (PyObject *)op : note_origin(op, depth);
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

static PyObject *close_op(pa_op *op);

static void op_finalize(PyObject *self)
{
    pa_op *op = (pa_op *)self;
    op->finalized = 1;
    if (op->status == PA_OP_DONE || living_state(op) == NULL)
        return;
    PyObject *raised = pa_err_take();
    if (op->status == PA_OP_CREATED) {
        warn_never_awaited(op);
    } else if (op->status == PA_OP_SUSPENDED) {
        PyObject *result = close_op(op);
        if (result == NULL)
            PyErr_WriteUnraisable(self);
        Py_XDECREF(result);
    }
    pa_err_restore(raised);
}

/* It is not tracked any more. */
Py_NO_INLINE static void take_apart(pa_op *op)
{
    PyTypeObject *type = Py_TYPE(op);
    if (op->weakrefs != NULL)
        PyObject_ClearWeakRefs((PyObject *)op);
    if (op->status != PA_OP_DONE)
        drop_fields(op);
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
    if (op->status == PA_OP_DONE) {
        if (!become_spare(op)) {
            PyObject_GC_UnTrack(self);
            take_apart(op);
        }
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

Py_NO_INLINE static void end_with_error(pa_op *op)
{
    finish(op, 1);
    convert_stop();
}

static inline PySendResult end(pa_op *op, PySendResult how)
{
    if (how == PYGEN_RETURN) {
        op->status = PA_OP_DONE;
        drop_fields(op);
    } else {
        end_with_error(op);
    }
    return how;
}

/* It waits, and may be in a cycle from now on. After gc.freeze() the collector would never look at one that was the spare then. */
static void suspend(pa_op *op)
{
    op->status = PA_OP_SUSPENDED;
    if (op->was_spare) {
        op->was_spare = 0;
        PyObject_GC_UnTrack(op);
        PyObject_GC_Track(op);
    }
}

/* On from the wait where it stopped, to the next one that takes time or to the end. It is not running and not done. Steals `exc`, which is
 * thrown in at the wait, or NULL. */
Py_NO_INLINE static PySendResult resume(pa_op *op, PyObject *sent, PyObject *exc, PyObject **result)
{
    op->status = PA_OP_RUNNING;
    for (;;) {
        if (pa_op_go_on_waiting(op, sent, &exc, result) == PYGEN_NEXT) {
            suspend(op);
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
    op->status = PA_OP_RUNNING;
    PySendResult how = op->kind->run(op, NULL, result);
    return how != PYGEN_NEXT ? end(op, how) : resume(op, Py_None, NULL, result);
}

static void raise_not_resumable(pa_op *op)
{
    if (op->status == PA_OP_RUNNING)
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
    else
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
}

static PySendResult op_send(PyObject *self, PyObject *value, PyObject **result)
{
    pa_op *op = (pa_op *)self;
    *result = NULL;
    if (op->status == PA_OP_CREATED && value == Py_None)
        return start(op, result);
    if (op->status == PA_OP_SUSPENDED)
        return resume(op, value, NULL, result);
    if (op->status == PA_OP_CREATED)
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
    PyObject *value = NULL;
    PySendResult how = ((pa_op *)self)->status == PA_OP_CREATED ? start((pa_op *)self, &value) : op_send(self, Py_None, &value);
    if (how != PYGEN_RETURN)
        return value;
    if (value == Py_None) { /* whose StopIteration goes without saying */
        pa_constant_drop(value);
        return NULL;
    }
    if (Py_REFCNT(self) == 1) {
        pa_future_lend_stop(((pa_op *)self)->st, value, NULL);
    } else {
        pa_future_end_iteration(value);
        Py_DECREF(value);
    }
    return NULL;
}

static PyObject *op_await(PyObject *self)
{
    if (((pa_op *)self)->status == PA_OP_SUSPENDED) {
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
    if (PA_DONE_CORO_IGNORES_THROWN && op->status == PA_OP_DONE && nargs >= 1 && nargs <= 3) {
        raise_not_resumable(op);
        return NULL;
    }
    /* Then it is the future's iterator that complains, inside. */
    int at_future = op->status == PA_OP_SUSPENDED && op->waits_for == PA_OP_FUTURE;
    PyObject *exc = pa_future_thrown(args, nargs, at_future ? PA_FUTURE_THROW_COMPLAINT
                                                            : "exceptions must be classes or instances deriving from BaseException, not %s");
    if (exc == NULL && !(at_future && nargs >= 1 && nargs <= 3))
        return NULL;
    if (exc == NULL)
        exc = pa_err_take();
    if (op->status >= PA_OP_RUNNING) {
        Py_DECREF(exc);
        raise_not_resumable(op);
        return NULL;
    }
    if (op->status == PA_OP_CREATED) {
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
    op->status = PA_OP_RUNNING;
    PyObject *method = NULL, *result = NULL, *raised = NULL;
    if (op->waits_for == PA_OP_ITERATOR) {
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
    case PA_OP_CREATED:
        finish(op, 0);
        Py_RETURN_NONE;
    case PA_OP_SUSPENDED:
        return op->kind->abandon != NULL ? close_by_abandon(op) : close_by_run(op);
    case PA_OP_RUNNING:
        raise_not_resumable(op);
        return NULL;
    default:
        Py_RETURN_NONE;
    }
}

static PyObject *op_close(PyObject *self, PyObject *unused) { return close_op((pa_op *)self); }

static PyObject *op_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<coroutine object %s at %p>", ((pa_op *)self)->kind->qualname, self);
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
    {Py_tp_getset, pa_op_getset},
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
