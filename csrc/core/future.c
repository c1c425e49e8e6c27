/* pyasync.Future: a real subclass of asyncio's C Future with fields of its own.
 *
 * Layout (each point keeps something from breaking):
 * - Future declares its base's own tp_basicsize and keeps its fields (pa_future) *behind* it, so CPython sees no layout of its own in
 *   it and Task can derive from both Future and asyncio.Task. Task declares a larger tp_basicsize and keeps its fields (pa_task, which
 *   begins with a pa_future) at the end of that. The base's fields stay zero.
 * - The first word behind tp_basicsize is zero for ever: from 3.14 on CPython reads inline attribute values there.
 * - class A(asyncio.Future), then class B(A, pyasync.Future), has our methods without our fields. So each entry looks for the fields
 *   along tp_base (pa_future_find) and raises TypeError where there are none; tp_new refuses such classes.
 * - Traverse and clear go on to the base's, which knows the instance dict and what CPython itself keeps there (3.14: awaited_by).
 *   Dealloc never does: it frees the object.
 *
 * Futures belong to their loop's thread, as in asyncio. Every method may be called on a half-made object (no __init__ yet).
 */
#include "core/future_impl.h"
#include "core/registry.h"
#include "rt/args.h"

/* ---- Where the fields are ---- */

pa_future *pa_future_find_slow(PyObject *obj)
{
    for (PyTypeObject *type = Py_TYPE(obj); type != NULL; type = type->tp_base) {
        if (type->tp_dealloc == pa_future_dealloc)
            return (pa_future *)((char *)obj + Py_TYPE(obj)->tp_basicsize);
        if (type->tp_dealloc == pa_task_dealloc)
            return (pa_future *)((char *)obj + type->tp_basicsize - sizeof(pa_task));
    }
    return NULL;
}

static void raise_no_fields(PyTypeObject *type)
{
    PyErr_Format(PyExc_TypeError, "%s has the layout of asyncio's own Future: pyasync's must come first among its bases", type->tp_name);
}

pa_future *pa_future_get(PyObject *self)
{
    pa_future *f = pa_future_find(self);
    if (f == NULL)
        raise_no_fields(Py_TYPE(self));
    return f;
}

pa_future *pa_future_get_alive(PyObject *self)
{
    pa_future *f = pa_future_get(self);
    if (f == NULL || f->loop != NULL)
        return f;
    PyErr_SetString(PyExc_RuntimeError, "Future object is not initialized.");
    return NULL;
}

int pa_future_state_lives(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    while (type->tp_dealloc != pa_future_dealloc && type->tp_dealloc != pa_task_dealloc)
        type = type->tp_base;
    /* the collector clears types and modules in any order: a cleared type has let go of its module, a cleared module of its names */
    PyObject *module = ((PyHeapTypeObject *)type)->ht_module;
    return module != NULL && pa_state_of_module(module)->names.message != NULL;
}

/* ---- Lifecycle ---- */

/* What lies behind tp_basicsize. */
static size_t extra_size(int is_task) { return is_task ? sizeof(void *) : sizeof(pa_future); }

PyObject *pa_future_alloc(pa_state *st, PyTypeObject *type, int is_task)
{
    PyObject *self = type == st->Future ? pa_free_take(&st->free_futures) : type == st->Task ? pa_free_take(&st->free_tasks) : NULL;
    if (self != NULL) {
        /* the base's part, too: someone may have called asyncio's own methods on it */
        memset((char *)self + sizeof(PyObject), 0, (size_t)type->tp_basicsize - sizeof(PyObject) + extra_size(is_task));
        PyObject_Init(self, type);
    } else if ((self = pa_gc_new_extra(st->FutureCarrier, type, extra_size(is_task))) == NULL) {
        return NULL;
    }
    pa_future *f = pa_future_find(self);
    f->st = st;
    f->is_task = (uint8_t)is_task;
    if (is_task)
        pa_link_init(&((pa_task *)f)->link);
    return self;
}

PyObject *pa_future_type_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyTypeObject *base = type;
    while (base != NULL && base->tp_dealloc != pa_future_dealloc && base->tp_dealloc != pa_task_dealloc)
        base = base->tp_base;
    if (base == NULL) {
        raise_no_fields(type);
        return NULL;
    }
    pa_state *st = pa_state_of_class(base);
    if (st == NULL)
        return NULL;
    PyObject *self = pa_future_alloc(st, type, base->tp_dealloc == pa_task_dealloc);
    if (self != NULL)
        PyObject_GC_Track(self);
    return self;
}

pa_future_rare *pa_future_need_rare(pa_future *f)
{
    if (f->rare == NULL && (f->rare = PyMem_Calloc(1, sizeof(*f->rare))) == NULL)
        PyErr_NoMemory();
    return f->rare;
}

static void drop_rare(pa_future_rare *rare)
{
    if (rare == NULL)
        return;
    Py_XDECREF(rare->exception_tb);
    Py_XDECREF(rare->cancel_msg);
    Py_XDECREF(rare->cancelled_exc);
    Py_XDECREF(rare->source_tb);
    PyMem_Free(rare);
}

static void reset(pa_future *f)
{
    /* first: what the fields held may look at the future when it goes */
    f->state = PA_FUTURE_PENDING;
    f->failed = f->blocking = f->log_tb = 0;
    f->ring = 0; /* until the loop is known again */
    pa_future_clear_fields(f);
}

static int take_source_traceback(pa_future *f)
{
    PyObject *source = PyObject_CallNoArgs(f->st->traceback_extract);
    pa_future_rare *rare = source != NULL ? pa_future_need_rare(f) : NULL;
    if (rare == NULL) {
        Py_XDECREF(source);
        return -1;
    }
    Py_XSETREF(rare->source_tb, source);
    return 0;
}

int pa_future_init_native(pa_future *f, pa_loop *loop)
{
    f->loop = Py_NewRef((PyObject *)loop);
    f->is_native = 1;
    return pa_loop_is_debug(loop) ? take_source_traceback(f) : 0;
}

int pa_future_init(PyObject *self, pa_future *f, PyObject *loop)
{
    if (PA_REFUSES_SECOND_INIT && f->loop != NULL) {
        PyErr_Format(PyExc_RuntimeError, "%s object is already initialized", Py_TYPE(self)->tp_name);
        return -1;
    }
    reset(f);
    if (loop == NULL || loop == Py_None) {
        PyObject *get_event_loop = Py_NewRef(f->st->get_event_loop);
        loop = PyObject_CallNoArgs(get_event_loop);
        Py_DECREF(get_event_loop);
    } else {
        Py_INCREF(loop);
    }
    if (loop == NULL)
        return -1;
    f->ring = 0; /* what reset() dropped may have made it whole again */
    PyObject *former = f->loop;
    f->loop = loop;
    f->is_native = pa_loop_from(f->st, loop) != NULL;
    Py_XDECREF(former);
    PyObject *debug = PyObject_CallMethodNoArgs(loop, f->st->names.get_debug);
    if (debug == NULL)
        return -1;
    int rc = PyObject_IsTrue(debug);
    Py_DECREF(debug);
    return rc > 0 ? take_source_traceback(f) : rc;
}

static const char *const init_names[] = {"loop", NULL};
static const pa_signature init_sig = {"__init__", init_names, 0, 0};

static int future_tp_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *given[1];
    pa_future *f = pa_future_get(self);
    if (f == NULL || pa_args_parse_tuple(self, &init_sig, args, kwargs, given) < 0)
        return -1;
    return pa_future_init(self, f, given[0]);
}

/* Future(loop=loop) of the exact type, without a tuple and a dict. */
static PyObject *future_vectorcall(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    PyObject *given[1];
    if (pa_args_parse(type, &init_sig, args, PyVectorcall_NARGS(nargsf), kwnames, given) < 0)
        return NULL;
    PyObject *self = pa_future_type_new((PyTypeObject *)type, NULL, NULL);
    if (self != NULL && pa_future_init(self, pa_future_find(self), given[0]) < 0)
        Py_CLEAR(self);
    return self;
}

PyObject *pa_future_new(pa_loop *loop)
{
    pa_state *st = pa_loop_state(loop);
    PyObject *self = pa_future_alloc(st, st->Future, 0);
    if (self == NULL)
        return NULL;
    int rc = pa_future_init_native(pa_future_find(self), loop);
    PyObject_GC_Track(self);
    if (rc < 0)
        Py_CLEAR(self);
    return self;
}

int pa_future_traverse_fields(pa_future *f, visitproc visit, void *arg)
{
    Py_VISIT(f->loop);
    Py_VISIT(f->value);
    if (f->rare != NULL) {
        Py_VISIT(f->rare->exception_tb);
        Py_VISIT(f->rare->cancel_msg);
        Py_VISIT(f->rare->cancelled_exc);
        Py_VISIT(f->rare->source_tb);
    }
    return pa_callbacks_traverse(f, visit, arg);
}

void pa_future_clear_fields(pa_future *f)
{
    /* all at once: a finalizer sees either everything or nothing, and what it puts in stays */
    PyObject *loop = f->loop, *value = f->value;
    pa_future_rare *rare = f->rare;
    f->is_native = 0;
    f->loop = f->value = NULL;
    f->rare = NULL;
    pa_callbacks_clear(f);
    Py_XDECREF(loop);
    Py_XDECREF(value);
    drop_rare(rare);
}

static int future_traverse(PyObject *self, visitproc visit, void *arg)
{
    pa_future *f = pa_future_find(self);
    int rc = pa_future_traverse_fields(f, visit, arg);
    if (rc != 0)
        return rc;
    if (!PA_BASE_VISITS_TYPE)
        Py_VISIT(Py_TYPE(self));
    return pa_future_base(self)->tp_traverse(self, visit, arg);
}

int pa_future_clear(PyObject *self)
{
    pa_future_clear_fields(pa_future_find(self));
    return pa_future_base(self)->tp_clear(self);
}

void pa_future_call_handler(pa_future *f, PyObject *context, PyObject *source)
{
    if (f->is_native && pa_current_flush(pa_future_native(f)) < 0)
        PyErr_WriteUnraisable(source);
    PyObject *result = PyObject_CallMethodOneArg(f->loop, f->st->names.call_exception_handler, context);
    if (result == NULL)
        PyErr_WriteUnraisable(source);
    Py_XDECREF(result);
}

void pa_future_report_exception(PyObject *self, pa_future *f)
{
    if (!f->log_tb || f->loop == NULL || !pa_future_state_lives(self))
        return;
    f->log_tb = 0;
    PyObject *raised = pa_err_take(), *source = PA_FUTURE_RARE(f, source_tb);
    const char *name = strrchr(Py_TYPE(self)->tp_name, '.');
    PyObject *context = PyDict_New();
    PyObject *message = PyUnicode_FromFormat("%s exception was never retrieved", name != NULL ? name + 1 : Py_TYPE(self)->tp_name);
    if (context == NULL || message == NULL || PyDict_SetItem(context, f->st->names.message, message) < 0 ||
        PyDict_SetItem(context, f->st->names.exception, f->value) < 0 || PyDict_SetItem(context, f->st->names.future, self) < 0 ||
        (source != NULL && PyDict_SetItem(context, f->st->names.source_traceback, source) < 0))
        PyErr_WriteUnraisable(self);
    else
        pa_future_call_handler(f, context, self);
    Py_XDECREF(context);
    Py_XDECREF(message);
    pa_err_restore(raised);
}

static void future_finalize(PyObject *self)
{
    pa_future *f = pa_future_find(self);
    if (f != NULL)
        pa_future_report_exception(self, f);
}

void pa_future_dealloc(PyObject *self)
{
    pa_future *f = pa_future_find(self);
    /* a subclass has had its finalizer called by now; ours is only worth calling if it has something to say */
    if (f->log_tb && PyObject_CallFinalizerFromDealloc(self) < 0)
        return;
    PyObject_GC_UnTrack(self);
    PyObject_ClearWeakRefs(self);
    PyTypeObject *native = Py_TYPE(self); /* the nearest type of ours knows all fields, but for those of Python's classes, which are gone */
    while (native->tp_dealloc != pa_future_dealloc)
        native = native->tp_base;
    (void)native->tp_clear(self);
    pa_future_free(self);
}

void pa_future_free(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    pa_state *st = pa_future_is_exact(self) ? pa_type_state(type) : NULL;
    if (st == NULL || !((type == st->Future && pa_free_keep(&st->free_futures, self)) ||
                        (type == st->Task && pa_free_keep(&st->free_tasks, self))))
        type->tp_free(self);
    Py_DECREF(type);
}

static void free_all(pa_free_objects *list)
{
    PyObject *obj;
    while ((obj = pa_free_take(list)) != NULL)
        PyObject_GC_Del(obj);
    list->len = PA_FREE_OBJECTS_MAX; /* nothing comes in any more: the types are about to go */
}

void pa_future_free_lists(pa_state *st)
{
    free_all(&st->free_iters);
    free_all(&st->free_futures);
    free_all(&st->free_tasks);
}

/* ---- Transitions ---- */

static int finished(PyObject *self, pa_future *f)
{
    if (f->is_task)
        pa_link_remove(&((pa_task *)f)->link); /* CPython's list (3.14) keeps tasks as long as they live, and all_tasks() asks done() */
    return pa_callbacks_schedule(self, f);
}

int pa_future_set_cancel_msg(pa_future *f, PyObject *msg)
{
    if (msg == Py_None)
        msg = NULL;
    if (f->rare == NULL && msg == NULL)
        return 0;
    pa_future_rare *rare = pa_future_need_rare(f);
    if (rare == NULL)
        return -1;
    PyObject *former = rare->cancel_msg;
    rare->cancel_msg = Py_XNewRef(msg);
    Py_XDECREF(former);
    return 0;
}

void pa_future_keep_cancelled(pa_future *f, PyObject *exc)
{
    pa_future_rare *rare = pa_future_need_rare(f);
    PyObject *former = exc;
    if (rare != NULL) {
        former = rare->cancelled_exc;
        rare->cancelled_exc = exc;
    } else {
        PyErr_Clear();
    }
    Py_XDECREF(former);
}

/* Without memory a later raise begins with the traceback that the one before it left. Steals tb, which may be NULL. */
static void keep_traceback(pa_future *f, PyObject *tb)
{
    pa_future_rare *rare = tb != NULL ? pa_future_need_rare(f) : f->rare;
    if (rare != NULL) {
        PyObject *former = rare->exception_tb;
        rare->exception_tb = tb;
        tb = former;
    } else if (tb != NULL) {
        PyErr_Clear();
    }
    Py_XDECREF(tb);
}

int pa_future_do_cancel(PyObject *self, pa_future *f, PyObject *msg)
{
    f->log_tb = 0;
    if (f->state != PA_FUTURE_PENDING)
        return 0;
    if (pa_future_set_cancel_msg(f, msg) < 0)
        return -1;
    if (f->state != PA_FUTURE_PENDING) /* by the end of a former message */
        return 0;
    f->state = PA_FUTURE_CANCELLED;
    return finished(self, f) < 0 ? -1 : 1;
}

int pa_future_do_result(PyObject *self, pa_future *f, PyObject *result)
{
    f->value = Py_NewRef(result);
    f->state = PA_FUTURE_FINISHED;
    return finished(self, f);
}

int pa_future_raise_invalid_state(pa_future *f)
{
    PyErr_SetString(f->st->InvalidStateError, "invalid state");
    return -1;
}

/* What asyncio makes of a StopIteration (an error or a RuntimeError around it) differs between bug-fix releases: ask a future of its. */
static PyObject *convert_stop_iteration(pa_future *f, PyObject *exception)
{
    PyObject *result = NULL, *converted = NULL;
    if (f->loop == NULL) { /* making the exception may have run __init__ again, in vain */
        PyErr_SetString(PyExc_RuntimeError, "Future object is not initialized.");
        return NULL;
    }
    PyObject *loop = Py_NewRef(f->loop);
    PyObject *args[] = {NULL, loop};
    PyObject *names = PyTuple_Pack(1, f->st->names.loop);
    PyObject *base = names != NULL ? PyObject_Vectorcall((PyObject *)f->st->aio_Future, args + 1, PY_VECTORCALL_ARGUMENTS_OFFSET, names)
                                   : NULL;
    if (base != NULL && (result = PyObject_CallMethod(base, "set_exception", "O", exception)) != NULL)
        converted = PyObject_CallMethodNoArgs(base, f->st->names.exception);
    Py_XDECREF(result);
    Py_XDECREF(base);
    Py_XDECREF(names);
    Py_DECREF(loop);
    return converted;
}

/* The instance to store for what the user gave, new. */
static PyObject *exception_instance(pa_future *f, PyObject *given)
{
    PyObject *exc = PyExceptionClass_Check(given) ? PyObject_CallNoArgs(given) : Py_NewRef(given);
    if (exc == NULL)
        return NULL;
    if (!PyExceptionInstance_Check(exc)) {
        Py_DECREF(exc);
        PyErr_SetString(PyExc_TypeError, "invalid exception object");
        return NULL;
    }
    if (PyObject_TypeCheck(exc, (PyTypeObject *)PyExc_StopIteration))
        Py_SETREF(exc, convert_stop_iteration(f, exc));
    return exc;
}

int pa_future_do_exception(PyObject *self, pa_future *f, PyObject *exception)
{
    if (f->state != PA_FUTURE_PENDING)
        return pa_future_raise_invalid_state(f);
    PyObject *exc = exception_instance(f, exception);
    if (exc == NULL)
        return -1;
    if (f->state != PA_FUTURE_PENDING) { /* making the instance may have run anything */
        Py_DECREF(exc);
        return pa_future_raise_invalid_state(f);
    }
    f->value = exc;
    f->failed = 1;
    f->state = PA_FUTURE_FINISHED;
    keep_traceback(f, PyException_GetTraceback(exc));
    if (finished(self, f) < 0)
        return -1;
    f->log_tb = f->failed; /* scheduling may have run a call_soon that initialised it anew */
    return 0;
}

PyObject *pa_future_cancelled_error(pa_future *f)
{
    PyObject *exc = PA_FUTURE_RARE(f, cancelled_exc), *msg = PA_FUTURE_RARE(f, cancel_msg);
    if (exc != NULL) {
        f->rare->cancelled_exc = NULL;
        return exc;
    }
    if (msg == NULL)
        return PyObject_CallNoArgs(f->st->CancelledError);
    msg = Py_NewRef(msg);
    exc = PyObject_CallOneArg(f->st->CancelledError, msg);
    Py_DECREF(msg);
    return exc;
}

void pa_future_raise_cancelled(pa_future *f)
{
    PyObject *exc = pa_future_cancelled_error(f);
    if (exc != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
        Py_DECREF(exc);
    }
}

int pa_future_fetch(pa_future *f, PyObject **out)
{
    if (f->state != PA_FUTURE_FINISHED) {
        if (f->state == PA_FUTURE_CANCELLED)
            pa_future_raise_cancelled(f);
        else
            PyErr_SetString(f->st->InvalidStateError, "Result is not set.");
        return -1;
    }
    f->log_tb = 0;
    PyObject *value = Py_NewRef(f->value);
    if (f->failed) {
        /* each raise begins with the traceback it had when it was set, or they would grow together */
        PyObject *tb = PA_FUTURE_RARE(f, exception_tb);
        if (tb != NULL)
            f->rare->exception_tb = NULL;
        int rc = PyException_SetTraceback(value, tb != NULL ? tb : Py_None);
        Py_XDECREF(tb);
        if (rc < 0) {
            Py_DECREF(value);
            return -1;
        }
    }
    *out = value;
    return f->failed;
}

/* ---- For the other files of the core ---- */

int pa_future_set_result(PyObject *future, PyObject *result)
{
    pa_future *f = pa_future_find(future);
    return f->state == PA_FUTURE_PENDING ? pa_future_do_result(future, f, result) : pa_future_raise_invalid_state(f);
}

int pa_future_set_exception(PyObject *future, PyObject *exception)
{
    return pa_future_do_exception(future, pa_future_find(future), exception);
}

int pa_future_resolve(PyObject *future, PyObject *result)
{
    pa_future *f = pa_future_find(future);
    return f->state == PA_FUTURE_PENDING ? pa_future_do_result(future, f, result) : 0;
}

int pa_future_reject(PyObject *future, PyObject *exception)
{
    pa_future *f = pa_future_find(future);
    return f->state == PA_FUTURE_PENDING ? pa_future_do_exception(future, f, exception) : 0;
}

int pa_future_when_done(PyObject *future, PyObject *callback, PyObject *context)
{
    return pa_callbacks_append(pa_future_find(future), callback, context);
}

int pa_future_done(PyObject *future) { return pa_future_find(future)->state != PA_FUTURE_PENDING; }

/* ---- Setup ---- */

PyDoc_STRVAR(future_doc, "Future(*, loop=None)\n--\n\n"
             "A result that will be there later: asyncio.Future in C.\n\n"
             "Not thread-safe; callbacks are called through the loop's call_soon.");

static PyType_Slot future_slots[] = {
    {Py_tp_doc, (void *)future_doc},
    {Py_tp_new, pa_future_type_new},
    {Py_tp_init, future_tp_init},
    {Py_tp_dealloc, pa_future_dealloc},
    {Py_tp_finalize, future_finalize},
    {Py_tp_traverse, future_traverse},
    {Py_tp_clear, pa_future_clear},
    {Py_tp_repr, pa_future_repr},
    {Py_tp_iter, pa_future_iter},
    {Py_am_await, pa_future_iter},
    {Py_tp_methods, pa_future_methods},
    {Py_tp_getset, pa_future_getset},
    {0, NULL},
};

#if PA_NEEDS_CARRIER
static int carrier_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static PyType_Slot carrier_slots[] = {{Py_tp_traverse, carrier_traverse}, {0, NULL}};

static int setup_carrier(PyObject *module, pa_state *st)
{
    PyType_Spec spec = {"pyasync._core._FutureCarrier", sizeof(PyVarObject), 1,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, carrier_slots};
    st->FutureCarrier = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return st->FutureCarrier != NULL ? 0 : -1;
}
#else
static int setup_carrier(PyObject *module, pa_state *st) { return 0; }
#endif

PyDoc_STRVAR(use_get_event_loop_doc, "_use_get_event_loop($module, function, /)\n--\n\n"
             "Make function what Future() asks for a loop when it is given none.");
static PyObject *use_get_event_loop(PyObject *module, PyObject *function)
{
    pa_state *st = pa_state_of_module(module);
    PyObject *before = st->get_event_loop;
    st->get_event_loop = Py_NewRef(function);
    Py_XDECREF(before);
    Py_RETURN_NONE;
}

static PyMethodDef future_functions[] = {
    {"_use_get_event_loop", use_get_event_loop, METH_O, use_get_event_loop_doc},
    {NULL, NULL, 0, NULL},
};

int pa_future_setup(PyObject *module, pa_state *st)
{
    if (PyModule_AddFunctions(module, future_functions) < 0 || setup_carrier(module, st) < 0 || pa_future_iter_setup(module, st) < 0)
        return -1;
    if (PA_HAS_CALL_GRAPH &&
        (st->base_awaited_by = PyDict_GetItemWithError(st->aio_Future->tp_dict, st->names._asyncio_awaited_by)) == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ImportError, "asyncio.Future has no _asyncio_awaited_by");
        return -1;
    }
    Py_XINCREF(st->base_awaited_by);
    PyType_Spec spec = {"pyasync.Future", (int)st->aio_Future->tp_basicsize, 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | PA_TPFLAGS_MANAGED,
                        future_slots};
    PyObject *bases = PyTuple_Pack(1, st->aio_Future);
    if (bases == NULL)
        return -1;
    st->Future = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, bases);
    Py_DECREF(bases);
    if (st->Future == NULL)
        return -1;
    st->Future->tp_vectorcall = future_vectorcall; /* subclasses do not inherit it */
    return PyModule_AddType(module, st->Future);
}
