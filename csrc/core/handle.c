/* Handle and TimerHandle.
 *
 * asyncio's classes are Python classes with __slots__, so ours are C types over them that use those slots as their fields: asyncio's
 * own methods (__repr__, _repr_info, the comparisons, get_context) work on our objects, and only what is hot is written here. The
 * slots' offsets come from their member descriptors. All slots are object pointers and lie between the object's head and asyncio's
 * tp_basicsize; TimerHandle keeps its place in the heap behind them.
 *
 * How one is run stands in handle_run.c.
 *
 * Invariants:
 *  - Nothing is chained to the base's traverse, clear or dealloc: for a Python class these look for "the first base that is not a
 *    Python class", which would be us again.
 *  - A TimerHandle whose timer.loop is set is in that loop's heap, which owns a reference to it.
 *  - Objects of exactly our types go to a free list of their loop; the loop's thread alone (that is: the holder of the GIL) touches it.
 */
#include "core/loop_impl.h"
#include "rt/args.h"
#include "rt/error.h"

#define FIELD(obj, name) PA_HANDLE_FIELD(obj, st->handle.name)

/* ---- Fields ---- */

static void handle_dealloc(PyObject *self);

/* The first of our types in the chain of `type`'s bases. NULL for a class that has our methods by a second base only; for Handle that
 * is as good, since it has no storage of its own. */
static PyTypeObject *native_base(PyTypeObject *type)
{
    while (type != NULL && type->tp_dealloc != handle_dealloc)
        type = type->tp_base;
    return type;
}

/* The module state, quicker than through the class's order of bases. NULL with TypeError. */
static pa_state *state_of(PyObject *self)
{
    PyTypeObject *native = native_base(Py_TYPE(self));
    PyObject *module = native != NULL ? ((PyHeapTypeObject *)native)->ht_module : NULL;
    return module != NULL ? pa_state_of_module(module) : pa_state_of_type(Py_TYPE(self));
}

/* How many object pointers follow the head. */
static Py_ssize_t count_slots(PyTypeObject *native)
{
    return (native->tp_base->tp_basicsize - (Py_ssize_t)sizeof(PyObject)) / (Py_ssize_t)sizeof(PyObject *);
}

/* On CPythons that keep the weak reference list in a slot, that word is not an object of ours. */
static bool is_weak_list(PyObject *self, PyObject **field)
{
    return Py_TYPE(self)->tp_weaklistoffset == (char *)field - (char *)self;
}

static bool is_timer(pa_state *st, PyObject *handle)
{
    return st->TimerHandle != NULL && PyObject_TypeCheck(handle, st->TimerHandle);
}

static void set_field(PyObject **field, PyObject *value /* steals */)
{
    PyObject *old = *field;
    *field = value;
    Py_XDECREF(old);
}

/* ---- Making ---- */

/* Whether the loop is in debug mode. 0, 1 or -1. */
static int ask_debug(pa_state *st, PyObject *loop)
{
    pa_loop *native = pa_loop_from(st, loop);
    if (native != NULL)
        return native->debug;
    PyObject *value = PyObject_CallMethodNoArgs(loop, st->names.get_debug);
    if (value == NULL)
        return -1;
    int truth = PyObject_IsTrue(value);
    Py_DECREF(value);
    return truth;
}

static PyObject *take_free(pa_free_list *list, PyTypeObject *type)
{
    PyObject *self = list->first;
    if (self == NULL)
        return type->tp_alloc(type, 0);
    PyObject **next = (PyObject **)((char *)self + sizeof(PyObject));
    list->first = *next;
    *next = NULL;
    list->len--;
    pa_object_revive(self); /* it kept its reference to the type */
    PyObject_GC_Track(self);
    return self;
}

/* Fills the fields of a handle all of whose slots are empty. 0 or -1. */
static int fill(pa_state *st, PyObject *self, PyObject *loop, int debug, PyObject *callback, PyObject *args, PyObject *context)
{
    if (debug && (FIELD(self, source_traceback) = PyObject_CallNoArgs(st->extract_stack)) == NULL)
        return -1;
    if (!debug)
        FIELD(self, source_traceback) = pa_constant_ref(Py_None);
    context = context != NULL ? Py_NewRef(context) : PyContext_CopyCurrent();
    if (context == NULL)
        return -1;
    FIELD(self, context) = context;
    FIELD(self, loop) = Py_NewRef(loop);
    FIELD(self, callback) = Py_NewRef(callback);
    FIELD(self, args) = Py_NewRef(args);
    FIELD(self, cancelled) = pa_constant_ref(Py_False);
    FIELD(self, repr) = pa_constant_ref(Py_None);
    return 0;
}

static PyObject *make_handle(pa_loop *loop, pa_free_list *list, PyTypeObject *type, PyObject *callback, PyObject *args,
                             PyObject *context)
{
    pa_state *st = loop->st;
    PyObject *self = take_free(list, type);
    if (self != NULL && fill(st, self, (PyObject *)loop, loop->debug, callback, args, context) < 0)
        Py_CLEAR(self);
    return self;
}

PyObject *pa_handle_new(pa_loop *loop, PyObject *callback, PyObject *args, PyObject *context)
{
    return make_handle(loop, &loop->free_handles, loop->st->Handle, callback, args, context);
}

PyObject *pa_handle_new_threadsafe(pa_loop *loop, PyObject *callback, PyObject *args, PyObject *context)
{
    PyTypeObject *type = loop->st->ThreadSafeHandle;
    pa_free_list *list = type == loop->st->Handle ? &loop->free_handles : &loop->free_threadsafe;
    return make_handle(loop, list, type, callback, args, context);
}

PyObject *pa_timer_new(pa_loop *loop, PyObject *when_object, double when, PyObject *callback, PyObject *args, PyObject *context)
{
    pa_state *st = loop->st;
    PyObject *self = take_free(&loop->free_timers, st->TimerHandle);
    if (self == NULL)
        return NULL;
    pa_timer *timer = pa_timer_of(st, self);
    timer->entry.index = PA_HEAP_OUT;
    timer->entry.when = when;
    timer->loop = NULL;
    FIELD(self, when) = Py_XNewRef(when_object);
    FIELD(self, scheduled) = Py_NewRef(Py_False);
    if (fill(st, self, (PyObject *)loop, loop->debug, callback, args, context) < 0)
        Py_CLEAR(self);
    return self;
}

static PyObject *handle_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    pa_state *st = pa_state_of_type(type);
    if (st == NULL)
        return NULL;
    PyObject *self = type->tp_alloc(type, 0);
    if (self != NULL && is_timer(st, self))
        pa_timer_of(st, self)->entry.index = PA_HEAP_OUT;
    return self;
}

/* What asyncio's __init__ assigns, in place of what was there before. */
static int init_fields(pa_state *st, PyObject *self, PyObject *callback, PyObject *args, PyObject *loop, PyObject *context)
{
    context = context != NULL && context != Py_None ? Py_NewRef(context) : PyContext_CopyCurrent();
    if (context == NULL)
        return -1;
    set_field(&FIELD(self, context), context);
    set_field(&FIELD(self, loop), Py_NewRef(loop));
    set_field(&FIELD(self, callback), Py_NewRef(callback));
    set_field(&FIELD(self, args), Py_NewRef(args));
    set_field(&FIELD(self, cancelled), Py_NewRef(Py_False));
    set_field(&FIELD(self, repr), Py_NewRef(Py_None));
    int debug = ask_debug(st, loop);
    if (debug < 0)
        return -1;
    PyObject *traceback = debug ? PyObject_CallNoArgs(st->extract_stack) : Py_NewRef(Py_None);
    if (traceback == NULL)
        return -1;
    set_field(&FIELD(self, source_traceback), traceback);
    return 0;
}

static const pa_signature handle_signature = {
    "__init__", (const char *const[]){"callback", "args", "loop", "context", NULL}, 4, 3};

static int handle_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *in[4];
    pa_state *st = state_of(self);
    if (st == NULL || pa_args_parse_tuple(self, &handle_signature, args, kwargs, in) < 0)
        return -1;
    return init_fields(st, self, in[0], in[1], in[2], in[3]);
}

static const pa_signature timer_signature = {
    "__init__", (const char *const[]){"when", "callback", "args", "loop", "context", NULL}, 5, 4};

static int timer_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *in[5];
    pa_state *st = state_of(self);
    if (st == NULL || pa_args_parse_tuple(self, &timer_signature, args, kwargs, in) < 0 ||
        init_fields(st, self, in[1], in[2], in[3], in[4]) < 0)
        return -1;
    pa_loop_unschedule(st, self);
    set_field(&FIELD(self, when), Py_NewRef(in[0]));
    set_field(&FIELD(self, scheduled), Py_NewRef(Py_False));
    return 0;
}

/* ---- Methods ---- */

static PyObject *handle_cancelled(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    pa_state *st = state_of(self);
    if (st == NULL || (pa_handle_is_shared(st, self) && pa_handle_wait(st, self) < 0))
        return NULL;
    PyObject *value = FIELD(self, cancelled);
    if (value == NULL)
        (void)pa_handle_raise_missing(self, "_cancelled");
    return Py_XNewRef(value);
}

/* asyncio tells the loop of a cancelled timer; ours takes it out of the heap at once. */
static int tell_loop(pa_state *st, PyObject *self)
{
    PyObject *loop = Py_XNewRef(FIELD(self, loop));
    if (loop == NULL)
        return pa_handle_raise_missing(self, "_loop");
    pa_loop *native = pa_loop_from(st, loop);
    int rc = 0;
    if (native != NULL && !(pa_loop_overrides(native) & PA_OVER_TIMER_CANCELLED)) {
        if (FIELD(self, scheduled) == NULL)
            rc = pa_handle_raise_missing(self, "_scheduled");
        else
            pa_loop_unschedule(st, self);
    } else {
        PyObject *result = PyObject_CallMethodOneArg(loop, st->names._timer_handle_cancelled, self);
        rc = result != NULL ? 0 : -1;
        Py_XDECREF(result);
    }
    Py_DECREF(loop);
    return rc;
}

static int cancel(pa_state *st, PyObject *self)
{
    set_field(&FIELD(self, cancelled), Py_NewRef(Py_True));
    PyObject *loop = Py_XNewRef(FIELD(self, loop));
    if (loop == NULL)
        return pa_handle_raise_missing(self, "_loop");
    int debug = ask_debug(st, loop);
    Py_DECREF(loop);
    if (debug < 0)
        return -1;
    if (debug) { /* keep what is to be said of it, for "Executing <Handle...> took 2.5 seconds" */
        PyObject *repr = PyObject_Repr(self);
        if (repr == NULL)
            return -1;
        set_field(&FIELD(self, repr), repr);
    }
    set_field(&FIELD(self, callback), Py_NewRef(Py_None));
    set_field(&FIELD(self, args), Py_NewRef(Py_None));
    return 0;
}

static PyObject *handle_cancel(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    pa_state *st = state_of(self);
    if (st == NULL || (pa_handle_is_shared(st, self) && pa_handle_wait(st, self) < 0))
        return NULL;
    int cancelled = pa_handle_truth_of_cancelled(st, self);
    if (cancelled < 0 || (!cancelled && cancel(st, self) < 0))
        return NULL;
    Py_RETURN_NONE;
}

int pa_handle_cancel(pa_state *st, PyObject *handle)
{
    if (Py_TYPE(handle) == st->Handle && !pa_handle_is_shared(st, handle)) {
        int cancelled = pa_handle_truth_of_cancelled(st, handle);
        return cancelled < 0 || (!cancelled && cancel(st, handle) < 0) ? -1 : 0;
    }
    PyObject *result = PyObject_CallMethodNoArgs(handle, st->names.cancel);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

int pa_timer_cancel(pa_state *st, PyObject *self)
{
    int cancelled = pa_handle_truth_of_cancelled(st, self);
    return cancelled < 0 || (!cancelled && (tell_loop(st, self) < 0 || cancel(st, self) < 0)) ? -1 : 0;
}

static PyObject *timer_cancel(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    pa_state *st = state_of(self);
    return st != NULL && pa_timer_cancel(st, self) == 0 ? Py_NewRef(Py_None) : NULL;
}

static PyObject *handle_run(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    pa_state *st = state_of(self);
    if (st == NULL)
        return NULL;
    PyObject *loop = Py_XNewRef(FIELD(self, loop));
    pa_loop *native = loop != NULL ? pa_loop_from(st, loop) : NULL;
    int rc = native != NULL ? pa_current_flush(native) : 0;
    if (rc == 0)
        rc = pa_handle_run_native(st, loop, self);
    Py_XDECREF(loop);
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* _when, made when somebody looks. New; NULL with an exception. */
static PyObject *when_of(pa_state *st, PyObject *self)
{
    PyObject *when = FIELD(self, when);
    if (when == NULL && PyObject_TypeCheck(self, st->TimerHandle) && FIELD(self, scheduled) != NULL)
        when = FIELD(self, when) = PyFloat_FromDouble(pa_timer_of(st, self)->entry.when);
    if (when == NULL && !PyErr_Occurred())
        (void)pa_handle_raise_missing(self, "_when");
    return Py_XNewRef(when);
}

static PyObject *timer_get_when(PyObject *self, void *Py_UNUSED(closure))
{
    pa_state *st = state_of(self);
    return st != NULL ? when_of(st, self) : NULL;
}

static int timer_set_when(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    pa_state *st = state_of(self);
    if (st == NULL)
        return -1;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_when of a TimerHandle cannot be deleted");
        return -1;
    }
    set_field(&FIELD(self, when), Py_NewRef(value));
    return 0;
}

static PyObject *timer_when(PyObject *self, PyObject *Py_UNUSED(ignored)) { return timer_get_when(self, NULL); }

/* ---- Comparing: in our own words, because a type made from a spec does not take these slots over from a Python class ---- */

static int compare_times(pa_state *st, PyObject *a, PyObject *b, int op)
{
    PyObject *x = when_of(st, a), *y = x != NULL ? when_of(st, b) : NULL;
    int answer = y != NULL ? PyObject_RichCompareBool(x, y, op) : -1;
    Py_XDECREF(x);
    Py_XDECREF(y);
    return answer;
}

static int timers_equal(pa_state *st, PyObject *a, PyObject *b)
{
    const struct {
        Py_ssize_t offset;
        const char *name;
    } fields[] = {{st->handle.callback, "_callback"}, {st->handle.args, "_args"}, {st->handle.cancelled, "_cancelled"}};
    int equal = compare_times(st, a, b, Py_EQ);
    for (size_t i = 0; equal == 1 && i < Py_ARRAY_LENGTH(fields); i++) {
        PyObject *x = Py_XNewRef(PA_HANDLE_FIELD(a, fields[i].offset)), *y = Py_XNewRef(PA_HANDLE_FIELD(b, fields[i].offset));
        equal = x != NULL && y != NULL ? PyObject_RichCompareBool(x, y, Py_EQ) : pa_handle_raise_missing(x == NULL ? a : b, fields[i].name);
        Py_XDECREF(x);
        Py_XDECREF(y);
    }
    return equal;
}

/* By time; equal are those that would call the same at the same time. The other one may be asyncio's: it has the same slots. */
static PyObject *timer_richcompare(PyObject *self, PyObject *other, int op)
{
    pa_state *st = state_of(self);
    if (st == NULL)
        return NULL;
    if (!PyObject_TypeCheck(other, st->aio_TimerHandle))
        Py_RETURN_NOTIMPLEMENTED;
    int answer = 0;
    if (op != Py_EQ && op != Py_NE)
        answer = compare_times(st, self, other, op == Py_LT || op == Py_LE ? Py_LT : Py_GT);
    if (answer == 0 && op != Py_LT && op != Py_GT)
        answer = timers_equal(st, self, other);
    if (answer < 0)
        return NULL;
    return PyBool_FromLong(op == Py_NE ? !answer : answer);
}

static Py_hash_t timer_hash(PyObject *self)
{
    pa_state *st = state_of(self);
    PyObject *when = st != NULL ? when_of(st, self) : NULL;
    Py_hash_t hash = when != NULL ? PyObject_Hash(when) : -1;
    Py_XDECREF(when);
    return hash;
}

/* ---- GC ---- */

static int handle_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    PyObject **field = (PyObject **)((char *)self + sizeof(PyObject));
    for (Py_ssize_t n = count_slots(native_base(Py_TYPE(self))); n > 0; n--, field++)
        if (!is_weak_list(self, field))
            Py_VISIT(*field);
    return 0;
}

static void clear_slots(PyObject *self, PyTypeObject *native)
{
    PyObject **field = (PyObject **)((char *)self + sizeof(PyObject));
    for (Py_ssize_t n = count_slots(native); n > 0; n--, field++)
        if (*field != NULL && !is_weak_list(self, field))
            Py_CLEAR(*field);
}

static int handle_clear(PyObject *self)
{
    clear_slots(self, native_base(Py_TYPE(self)));
    return 0;
}

static bool keep(pa_free_list *list, PyObject *self)
{
    if (list->len >= PA_FREE_HANDLES_MAX)
        return false;
    *(PyObject **)((char *)self + sizeof(PyObject)) = list->first;
    list->first = self;
    list->len++;
    return true;
}

/* Puts an empty object of exactly type `native` on the free list of `loop`, with its reference to the type. False if it does not
 * belong there. */
static bool keep_free(PyObject *self, PyTypeObject *native, pa_state *st, pa_loop *loop)
{
    if (Py_TYPE(self) != native || loop->closed || PyObject_GC_IsFinalized(self))
        return false;
    return keep(native == st->Handle ? &loop->free_handles : native == st->TimerHandle ? &loop->free_timers : &loop->free_threadsafe, self);
}

/* The GC does not track `self` any more. st: NULL at the interpreter's end, when the type may have lost its module. */
static void take_apart(PyObject *self, PyTypeObject *native, pa_state *st)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_ssize_t weak_list = type->tp_weaklistoffset;
    if (weak_list != 0 && *(PyObject **)((char *)self + weak_list) != NULL)
        PyObject_ClearWeakRefs(self);
    PyObject *loop = NULL;
    if (st != NULL) {
        loop = FIELD(self, loop);
        FIELD(self, loop) = NULL;
    }
    if (st != NULL && (type == st->Handle || type == st->TimerHandle)) { /* what is left of clear_slots when all is known */
        Py_CLEAR(FIELD(self, callback));
        Py_CLEAR(FIELD(self, args));
        Py_CLEAR(FIELD(self, context));
        Py_CLEAR(FIELD(self, cancelled));
        Py_CLEAR(FIELD(self, repr));
        Py_CLEAR(FIELD(self, source_traceback));
        if (type == st->TimerHandle) {
            Py_CLEAR(FIELD(self, scheduled));
            Py_CLEAR(FIELD(self, when));
        }
    } else {
        clear_slots(self, native);
    }
    pa_loop *owner = loop != NULL ? pa_loop_from(st, loop) : NULL;
    if (owner == NULL || !keep_free(self, native, st, owner)) {
        type->tp_free(self);
        Py_DECREF(type);
    }
    Py_XDECREF(loop); /* last, for it may be the loop's end, and with it the free list's */
}

void pa_handle_reuse(pa_loop *loop, PyObject *self)
{
    pa_state *st = loop->st;
    PyObject_GC_UnTrack(self);
    FIELD(self, callback) = FIELD(self, args) = FIELD(self, context) = FIELD(self, loop) = NULL;
    FIELD(self, cancelled) = FIELD(self, repr) = FIELD(self, source_traceback) = NULL;
    pa_constant_drop(Py_False);
    pa_constant_drop(Py_None);
    pa_constant_drop(Py_None);
    pa_object_end(self);
    if (loop->closed || !keep(&loop->free_handles, self)) {
        st->Handle->tp_free(self);
        Py_DECREF(st->Handle);
    }
    Py_DECREF(loop);
}

static bool is_handle(PyObject *field) { return field != NULL && Py_TYPE(field)->tp_dealloc == handle_dealloc; }

/* A long chain of handles that are each other's callback would exhaust the C stack; through anything else on the way (a tuple, an
 * instance) CPython limits the depth itself. */
static void handle_dealloc(PyObject *self)
{
    PyTypeObject *native = native_base(Py_TYPE(self));
    PyObject *module = ((PyHeapTypeObject *)native)->ht_module;
    pa_state *st = module != NULL ? pa_state_of_module(module) : NULL;
    PyObject_GC_UnTrack(self);
    if (st != NULL && !is_handle(FIELD(self, callback)) && !is_handle(FIELD(self, args)) && !is_handle(FIELD(self, context))) {
        take_apart(self, native, st);
        return;
    }
    Py_TRASHCAN_BEGIN(self, handle_dealloc)
    take_apart(self, native, st);
    Py_TRASHCAN_END
}

void pa_handle_free_list_clear(pa_free_list *list)
{
    while (list->first != NULL) {
        PyObject *self = list->first;
        PyObject **next = (PyObject **)((char *)self + sizeof(PyObject));
        list->first = *next;
        *next = NULL;
        list->len--;
        PyTypeObject *type = Py_TYPE(self);
        type->tp_free(self);
        Py_DECREF(type);
    }
}

/* ---- Tables ---- */

PA_NO_ARGS(handle_cancel, cancel)
PA_NO_ARGS(handle_cancelled, cancelled)
PA_NO_ARGS(timer_cancel, cancel)
PA_NO_ARGS(timer_when, when)

static PyMethodDef handle_methods[] = {
    {"cancel", PA_NO_ARGS_METHOD(handle_cancel, cancel),
     PyDoc_STR("cancel($self, /)\n--\n\nThe callback will not be called. Cancelling twice does no harm.")},
    {"cancelled", PA_NO_ARGS_METHOD(handle_cancelled, cancelled), PyDoc_STR("cancelled($self, /)\n--\n\nWhether cancel() was called.")},
    {"_run", handle_run, METH_NOARGS,
     PyDoc_STR("_run($self, /)\n--\n\nCalls the callback in its context; what it raises goes to the loop's exception handler.")},
    {NULL},
};

static PyType_Slot handle_slots[] = {
    {Py_tp_doc, "Handle(callback, args, loop, context=None)\n--\n\nObject returned by callback registration methods."},
    {Py_tp_new, handle_new},
    {Py_tp_init, handle_init},
    {Py_tp_traverse, handle_traverse},
    {Py_tp_clear, handle_clear},
    {Py_tp_dealloc, handle_dealloc},
    {Py_tp_methods, handle_methods},
    {0, NULL},
};

static PyMethodDef timer_methods[] = {
    {"cancel", PA_NO_ARGS_METHOD(timer_cancel, cancel),
     PyDoc_STR("cancel($self, /)\n--\n\nThe callback will not be called. Cancelling twice does no harm.")},
    {"when", PA_NO_ARGS_METHOD(timer_when, when),
     PyDoc_STR("when($self, /)\n--\n\nWhen the callback is due: seconds on the clock that loop.time() reads.")},
    {NULL},
};

static PyGetSetDef timer_getset[] = {
    {"_when", timer_get_when, timer_set_when},
    {NULL},
};

static PyType_Slot timer_slots[] = {
    {Py_tp_doc,
     "TimerHandle(when, callback, args, loop, context=None)\n--\n\nObject returned by timed callback registration methods."},
    {Py_tp_new, handle_new},
    {Py_tp_init, timer_init},
    {Py_tp_richcompare, timer_richcompare},
    {Py_tp_hash, timer_hash},
    {Py_tp_traverse, handle_traverse},
    {Py_tp_clear, handle_clear},
    {Py_tp_dealloc, handle_dealloc},
    {Py_tp_methods, timer_methods},
    {Py_tp_getset, timer_getset},
    {0, NULL},
};

/* ---- Setup ---- */

static int slot_offset(PyTypeObject *type, const char *name, Py_ssize_t *out)
{
    PyObject *descr = PyObject_GetAttrString((PyObject *)type, name);
    if (descr == NULL)
        return -1;
    if (!PyObject_TypeCheck(descr, &PyMemberDescr_Type)) {
        PyErr_Format(PyExc_ImportError, "%s.%s is no slot but %R", type->tp_name, name, descr);
        Py_DECREF(descr);
        return -1;
    }
    *out = ((PyMemberDescrObject *)descr)->d_member->offset;
    Py_DECREF(descr);
    return 0;
}

static int find_slots(pa_state *st)
{
    const struct {
        PyTypeObject *type;
        const char *name;
        Py_ssize_t *out;
    } slots[] = {
        {st->aio_Handle, "_callback", &st->handle.callback},
        {st->aio_Handle, "_args", &st->handle.args},
        {st->aio_Handle, "_cancelled", &st->handle.cancelled},
        {st->aio_Handle, "_loop", &st->handle.loop},
        {st->aio_Handle, "_source_traceback", &st->handle.source_traceback},
        {st->aio_Handle, "_repr", &st->handle.repr},
        {st->aio_Handle, "_context", &st->handle.context},
        {st->aio_TimerHandle, "_when", &st->handle.when},
        {st->aio_TimerHandle, "_scheduled", &st->handle.scheduled},
    };
    for (size_t i = 0; i < Py_ARRAY_LENGTH(slots); i++)
        if (slot_offset(slots[i].type, slots[i].name, slots[i].out) < 0)
            return -1;
    st->handle.timer = st->aio_TimerHandle->tp_basicsize;
    return 0;
}

static PyTypeObject *make_type(PyObject *module, PyType_Spec *spec, PyObject *bases /* steals */)
{
    PyObject *type = bases != NULL ? PyType_FromModuleAndSpec(module, spec, bases) : NULL;
    Py_XDECREF(bases);
    if (type != NULL && PyModule_AddType(module, (PyTypeObject *)type) < 0)
        Py_CLEAR(type);
    return (PyTypeObject *)type;
}

/* What call_soon_threadsafe returns where asyncio has a class of its own for it (3.14 on); else it is Handle. asyncio's keeps a
 * lock in a slot, which stays unused here: core/handle_threads.c. */
static int make_threadsafe_type(PyObject *module, pa_state *st, unsigned flags)
{
    PyObject *events = PyImport_ImportModule("asyncio.events"), *name = PyUnicode_InternFromString("_ThreadSafeHandle"), *base = NULL;
    int found = events != NULL && name != NULL ? pa_getattr_optional(events, name, &base) : -1;
    Py_XDECREF(events);
    Py_XDECREF(name);
    if (found == 0)
        st->ThreadSafeHandle = (PyTypeObject *)Py_NewRef((PyObject *)st->Handle);
    if (found <= 0)
        return found;
    PyType_Spec spec = {
        .name = "pyasync._core._ThreadSafeHandle",
        .basicsize = (int)((PyTypeObject *)base)->tp_basicsize,
        .flags = flags | (unsigned)(((PyTypeObject *)base)->tp_flags & PA_TPFLAGS_PREHEADER),
        .slots = handle_slots,
    };
    st->ThreadSafeHandle = make_type(module, &spec, PyTuple_Pack(2, st->Handle, base));
    Py_DECREF(base);
    return st->ThreadSafeHandle != NULL ? 0 : -1;
}

int pa_handle_setup(PyObject *module, pa_state *st)
{
    if (find_slots(st) < 0)
        return -1;
    const unsigned flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC;
    PyType_Spec handle_spec = {
        .name = "pyasync._core.Handle",
        .basicsize = (int)st->aio_Handle->tp_basicsize,
        .flags = flags | (unsigned)(st->aio_Handle->tp_flags & PA_TPFLAGS_PREHEADER),
        .slots = handle_slots,
    };
    st->Handle = make_type(module, &handle_spec, PyTuple_Pack(1, st->aio_Handle));
    if (st->Handle == NULL || make_threadsafe_type(module, st, flags) < 0)
        return -1;
    PyType_Spec timer_spec = {
        .name = "pyasync._core.TimerHandle",
        .basicsize = (int)(st->aio_TimerHandle->tp_basicsize + (Py_ssize_t)sizeof(pa_timer)),
        .flags = flags | (unsigned)(st->aio_TimerHandle->tp_flags & PA_TPFLAGS_PREHEADER),
        .slots = timer_slots,
    };
    st->TimerHandle = make_type(module, &timer_spec, PyTuple_Pack(2, st->Handle, st->aio_TimerHandle));
    return st->TimerHandle != NULL ? 0 : -1;
}
