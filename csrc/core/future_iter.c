/* What `await future` iterates over: hands the future to the task once, then returns its result or raises its exception.
 *
 * It owns the future until it is exhausted or closed. As a generator it has send, throw and close. CPython 3.11 awaits through am_send;
 * later ones through tp_iternext, where a result has to travel in a StopIteration. Every await makes an iterator, so those that were
 * freed are kept for the next ones.
 */
#include "core/future_impl.h"

typedef struct {
    PyObject_HEAD
    PyObject *future; /* NULL: exhausted */
} future_iter;

PyObject *pa_future_iter(PyObject *self)
{
    pa_future *f = pa_future_get_alive(self);
    if (f == NULL)
        return NULL;
    pa_state *st = f->st;
    future_iter *it = (future_iter *)pa_free_take(&st->free_iters);
    if (it != NULL)
        PyObject_Init((PyObject *)it, st->FutureIter);
    else if ((it = PyObject_GC_New(future_iter, st->FutureIter)) == NULL)
        return NULL;
    it->future = Py_NewRef(self);
    PyObject_GC_Track(it);
    return (PyObject *)it;
}

static PySendResult iter_send(PyObject *self, PyObject *unused, PyObject **result)
{
    future_iter *it = (future_iter *)self;
    PyObject *future = it->future;
    *result = NULL;
    if (future == NULL) {
        *result = Py_NewRef(Py_None); /* at its end: StopIteration, as any iterator */
        return PYGEN_RETURN;
    }
    pa_future *f = pa_future_find(future);
    if (f->state == PA_FUTURE_PENDING) {
        if (f->blocking) {
            PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
            return PYGEN_ERROR;
        }
        f->blocking = 1;
        *result = Py_NewRef(future);
        return PYGEN_NEXT;
    }
    if (PA_FUTURE_ITER_STAYS)
        Py_INCREF(future);
    else
        it->future = NULL;
    PyObject *value;
    int rc = pa_future_fetch(f, &value);
    Py_DECREF(future);
    if (rc > 0) {
        PyErr_SetObject((PyObject *)Py_TYPE(value), value);
        Py_DECREF(value);
    }
    if (rc != 0)
        return PYGEN_ERROR;
    *result = value;
    return PYGEN_RETURN;
}

/* Put together by hand: a call of the class takes several times as long, and whoever awaits only looks at `value`. */
static PyObject *new_stop(PyObject *value)
{
    PyTypeObject *type = (PyTypeObject *)PyExc_StopIteration;
    PyObject *args = PyTuple_New(1);
    PyStopIterationObject *stop = args != NULL ? (PyStopIterationObject *)type->tp_alloc(type, 0) : NULL;
    if (stop == NULL) {
        Py_XDECREF(args);
    } else {
        PyTuple_SET_ITEM(args, 0, Py_NewRef(value));
        stop->args = args;
        stop->value = Py_NewRef(value);
    }
    return (PyObject *)stop;
}

static void raise_stop(PyObject *value, PyObject *handled)
{
    PyObject *stop = new_stop(value);
    if (stop != NULL && handled != NULL)
        PyException_SetContext(stop, Py_NewRef(handled));
    if (stop != NULL)
        pa_err_restore(stop);
}

/* ---- The spare StopIteration ----
 *
 * Making one, raising it and throwing it away again was a sixth of a future's way to and fro. Whoever awaits takes the value out and drops
 * exception and iterator at once, so that the same one can serve for all. While it is not lent it has the arguments (None,) and no value.
 * The collector learns of it when it turns out that somebody keeps it, and then it is ours no more: as long as it goes from hand to hand
 * it can be in no cycle that is garbage.
 */

/* Where there is none to lend, or it is lent already. */
Py_NO_INLINE static void lend_new_stop(pa_state *st, PyObject *value, PyObject *handled)
{
    PyObject *stop = new_stop(value);
    Py_DECREF(value);
    if (stop == NULL)
        return;
    if (!st->stop_lent) {
        st->stop = Py_NewRef(stop);
        st->stop_lent = true;
        PyObject_GC_UnTrack(stop);
        PyObject_GC_UnTrack(((PyStopIterationObject *)stop)->args);
    }
    if (handled != NULL)
        PyException_SetContext(stop, Py_NewRef(handled));
    pa_err_restore(stop);
}

void pa_future_lend_stop(pa_state *st, PyObject *value, PyObject *handled)
{
    PyStopIterationObject *stop = (PyStopIterationObject *)st->stop;
    if (st->stop_lent || stop == NULL) {
        lend_new_stop(st, value, handled);
        return;
    }
    pa_constant_drop(PyTuple_GET_ITEM(stop->args, 0)); /* None */
    PyTuple_SET_ITEM(stop->args, 0, Py_NewRef(value));
    stop->value = value;
    st->stop_lent = true;
    if (handled != NULL)
        PyException_SetContext((PyObject *)stop, Py_NewRef(handled));
    pa_err_restore(Py_NewRef((PyObject *)stop));
}

/* Whether nobody has it or has left anything on it. */
static bool is_spare(PyStopIterationObject *stop)
{
    uintptr_t left = (uintptr_t)stop->dict | (uintptr_t)stop->notes | (uintptr_t)stop->traceback | (uintptr_t)stop->cause;
    return Py_REFCNT(stop) == 1 && left == 0 && !stop->suppress_context && Py_REFCNT(stop->args) == 1 && PyTuple_CheckExact(stop->args) &&
           PyTuple_GET_SIZE(stop->args) == 1 && pa_tuple_is_unhashed(stop->args);
}

Py_NO_INLINE static void give_away(pa_state *st)
{
    PyObject *stop = st->stop, *args = ((PyStopIterationObject *)stop)->args;
    st->stop = NULL;
    if (!PyObject_GC_IsTracked(stop))
        PyObject_GC_Track(stop);
    if (PyTuple_CheckExact(args) && PyTuple_GET_SIZE(args) > 0 && !PyObject_GC_IsTracked(args))
        PyObject_GC_Track(args);
    Py_DECREF(stop);
}

void pa_future_take_stop_back(pa_state *st)
{
    PyStopIterationObject *stop = (PyStopIterationObject *)st->stop;
    st->stop_lent = false;
    if (stop == NULL)
        return; /* the module's end */
    if (!is_spare(stop)) {
        give_away(st);
        return;
    }
    PyObject *value = stop->value, *arg = PyTuple_GET_ITEM(stop->args, 0), *context = stop->context;
    stop->value = stop->context = NULL;
    PyTuple_SET_ITEM(stop->args, 0, pa_constant_ref(Py_None));
    Py_XDECREF(context); /* from here on anything may happen, even that it is lent again */
    Py_XDECREF(value);
    Py_XDECREF(arg);
}

void pa_future_raise_stop(PyObject *value)
{
    if (value == Py_None) {
        PyErr_SetNone(PyExc_StopIteration);
        return;
    }
    PyObject *handled = PA_STOP_HAS_CONTEXT ? PyErr_GetHandledException() : NULL;
    raise_stop(value, handled);
    Py_XDECREF(handled);
}

void pa_future_end_iteration(PyObject *value)
{
    if (value != Py_None)
        raise_stop(value, NULL);
}

static void end_with_none(PyObject *self)
{
    if (PA_STOP_SHOWS_NONE && ((future_iter *)self)->future != NULL)
        raise_stop(Py_None, NULL);
    else
        PyErr_SetNone(PyExc_StopIteration);
}

/* The interpreter awaits through this one, in spite of am_send: it has to be lean. */
static PyObject *iter_next(PyObject *self)
{
    PyObject *value;
    if (iter_send(self, Py_None, &value) != PYGEN_RETURN)
        return value;
    if (value == Py_None) {
        Py_DECREF(value);
        if (PA_STOP_SHOWS_NONE && Py_REFCNT(self) > 1) /* else it is `await` that asks: an end without an exception will do */
            end_with_none(self);
        return NULL;
    }
    pa_state *st = Py_REFCNT(self) == 1 ? pa_type_state(Py_TYPE(self)) : NULL;
    PyObject *handled = PA_STOP_HAS_CONTEXT ? PyErr_GetHandledException() : NULL;
    if (st != NULL) {
        pa_future_lend_stop(st, value, handled);
    } else {
        raise_stop(value, handled);
        Py_DECREF(value);
    }
    Py_XDECREF(handled);
    return NULL;
}

/* A future cares for nothing that is sent to it. */
static PyObject *iter_send_method(PyObject *self, PyObject *value)
{
    PyObject *result = iter_next(self);
    if (result == NULL && !PyErr_Occurred())
        end_with_none(self);
    return result;
}

/* The instance that raise would make of a class and a value. New. */
static PyObject *instantiate(PyObject *type, PyObject *value)
{
    int is_instance = value != NULL ? PyObject_IsInstance(value, type) : 0;
    if (is_instance != 0)
        return is_instance > 0 ? Py_NewRef(value) : NULL;
    PyObject *exc = value == NULL ? PyObject_CallNoArgs(type) : PyTuple_Check(value) ? PyObject_CallObject(type, value)
                                                                                      : PyObject_CallOneArg(type, value);
    if (exc != NULL && !PyExceptionInstance_Check(exc)) {
        PyErr_Format(PyExc_TypeError, "calling %R should have returned an instance of BaseException, not %s", type, Py_TYPE(exc)->tp_name);
        Py_CLEAR(exc);
    }
    return exc;
}

/* The exception that throw(type, value, tb) stands for. New, or NULL with TypeError. */
static PyObject *thrown_exception(PyObject *type, PyObject *value, PyObject *tb, const char *complaint)
{
    if (tb != NULL && !PyTraceBack_Check(tb)) {
        PyErr_SetString(PyExc_TypeError, "throw() third argument must be a traceback");
        return NULL;
    }
    PyObject *exc;
    if (PyExceptionClass_Check(type)) {
        exc = instantiate(type, value);
    } else if (!PyExceptionInstance_Check(type)) {
        PyErr_Format(PyExc_TypeError, complaint, Py_TYPE(type)->tp_name);
        return NULL;
    } else if (value != NULL) {
        PyErr_SetString(PyExc_TypeError, "instance exception may not have a separate value");
        return NULL;
    } else {
        exc = Py_NewRef(type);
    }
    if (exc != NULL && tb != NULL && PyException_SetTraceback(exc, tb) < 0)
        Py_CLEAR(exc);
    return exc;
}

PyObject *pa_future_thrown(PyObject *const *args, Py_ssize_t nargs, const char *complaint)
{
    if (nargs < 1 || nargs > 3) {
        PyErr_Format(PyExc_TypeError, "throw expected %s, got %zd", nargs < 1 ? "at least 1 argument" : "at most 3 arguments", nargs);
        return NULL;
    }
    if (PA_AWAIT_WARNS_OLD_THROW && nargs > 1 &&
        PyErr_WarnEx(PyExc_DeprecationWarning,
                     "the (type, exc, tb) signature of throw() is deprecated, use the single-arg signature instead.", 1) < 0)
        return NULL;
    return thrown_exception(args[0], nargs > 1 && args[1] != Py_None ? args[1] : NULL, nargs > 2 && args[2] != Py_None ? args[2] : NULL,
                            complaint);
}

static PyObject *iter_throw(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *exc = pa_future_thrown(args, nargs, PA_FUTURE_THROW_COMPLAINT);
    if (exc == NULL)
        return NULL;
    Py_CLEAR(((future_iter *)self)->future);
    pa_err_restore(exc);
    return NULL;
}

static PyObject *iter_close(PyObject *self, PyObject *unused)
{
    Py_CLEAR(((future_iter *)self)->future);
    Py_RETURN_NONE;
}

static int iter_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((future_iter *)self)->future);
    return 0;
}

static int iter_clear(PyObject *self)
{
    Py_CLEAR(((future_iter *)self)->future);
    return 0;
}

static void iter_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    future_iter *it = (future_iter *)self;
    PyObject_GC_UnTrack(self);
    Py_XDECREF(it->future);
    pa_state *st = pa_type_state(type);
    if (st != NULL)
        pa_future_stop_returns(st);
    if (st == NULL || st->FutureIter != type || !pa_free_keep(&st->free_iters, self))
        PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef iter_methods[] = {
    {"send", iter_send_method, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))iter_throw, METH_FASTCALL, NULL},
    {"close", iter_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot iter_slots[] = {
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, iter_next},
    {Py_am_send, iter_send},
    {Py_tp_dealloc, iter_dealloc},
    {Py_tp_traverse, iter_traverse},
    {Py_tp_clear, iter_clear},
    {Py_tp_methods, iter_methods},
    {0, NULL},
};

int pa_future_iter_setup(PyObject *module, pa_state *st)
{
    PyType_Spec spec = {"pyasync.FutureIter", sizeof(future_iter), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION, iter_slots};
    st->FutureIter = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return st->FutureIter != NULL ? 0 : -1;
}
