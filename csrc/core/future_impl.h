/* The fields of futures and tasks, for the files that implement them: future*.c, task*.c, registry.c. The layout's rules stand in
 * future.c; who waits for whom is explained in future_callbacks.c. */
#ifndef PA_CORE_FUTURE_IMPL_H
#define PA_CORE_FUTURE_IMPL_H

#include "core/future.h"

enum { PA_FUTURE_PENDING, PA_FUTURE_CANCELLED, PA_FUTURE_FINISHED };

/* One entry of a future's callback list: fn(future) in context; or, where context is NULL, the native Task `fn` to wake. Owned. */
typedef struct {
    PyObject *fn;
    PyObject *context;
} pa_callback;

typedef struct {
    Py_ssize_t len, cap;
    pa_callback items[];
} pa_callbacks;

/* What most futures never have. Owned by the future, and made when there is something to put into it. */
typedef struct {
    PyObject *exception_tb;  /* the traceback the exception had when it was set */
    PyObject *cancel_msg;
    PyObject *cancelled_exc; /* to be raised once */
    PyObject *source_tb;
} pa_future_rare;

/* A program may have a million of these: every word counts. */
typedef struct {
    void *stays_null;      /* from 3.14 on CPython looks for inline attribute values here: never written */
    PyObject *loop;        /* NULL: not initialised */
    pa_state *st;          /* borrowed: the type owns the module */
    pa_callback first;     /* the callback list: its first entry, */
    pa_callbacks *more;    /* then the others, NULL for none; empty whenever `first` is */
    PyObject *value;       /* the result or, with `failed`, the exception */
    pa_future_rare *rare;
    uint8_t state : 2;
    uint8_t failed : 1;
    uint8_t blocking : 1;
    uint8_t log_tb : 1;
    uint8_t is_task : 1;
    uint8_t was_awaited : 1; /* by a native task, at some time */
    uint8_t is_native : 1;   /* the loop is one of ours */
    /* of tasks only; here, where there is room */
    uint8_t must_cancel : 1;
    uint8_t log_destroy : 1;
    uint8_t ring : 1;      /* its steps may lie in a native loop's ring: a native loop and a real Context */
    int cancels;           /* requested and not taken back */
} pa_future;

typedef struct {
    pa_future future;
    pa_link link;          /* in pa_state.tasks while pending */
    PyObject *coro;
    PyObject *context;
    uintptr_t name;        /* a string, owned; or 2n + 1 for "Task-<n>", made when somebody asks; or 0 */
    PyObject *waiter;      /* the future it waits for */
} pa_task;

static inline pa_loop *pa_future_native(const pa_future *f) { return f->is_native ? (pa_loop *)f->loop : NULL; }

/* An exact type is known by its deallocator, which no Python class shares. A native type derived from Future (gather()'s, whose cancel()
 * is its own) has pa_future_dealloc, too, and its fields inside its tp_basicsize. */
void pa_future_dealloc(PyObject *self);
void pa_task_dealloc(PyObject *self);

/* The fields of an instance of a Python subclass; NULL (no exception) for anything that has none. */
pa_future *pa_future_find_slow(PyObject *obj);

static inline pa_future *pa_future_find(PyObject *obj)
{
    PyTypeObject *type = Py_TYPE(obj);
    if (type->tp_dealloc == pa_future_dealloc)
        return (pa_future *)((char *)obj + type->tp_basicsize);
    if (type->tp_dealloc == pa_task_dealloc)
        return (pa_future *)((char *)obj + type->tp_basicsize - sizeof(pa_task));
    return pa_future_find_slow(obj);
}

static inline pa_task *pa_task_find(PyObject *obj)
{
    pa_future *f = pa_future_find(obj);
    return f != NULL && f->is_task ? (pa_task *)f : NULL;
}

/* Whether code may run when a native future lets go of its result or exception: it has the last reference to what is no plain value. */
static inline bool pa_future_holds_alone(PyObject *future)
{
    PyObject *value = pa_future_find(future)->value;
    return value != NULL && Py_REFCNT(value) == 1 && Py_TYPE(value)->tp_flags & (Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HEAPTYPE);
}

static inline int pa_future_is_exact(PyObject *obj)
{
    destructor dealloc = Py_TYPE(obj)->tp_dealloc;
    return dealloc == pa_future_dealloc || dealloc == pa_task_dealloc;
}

/* asyncio's type below ours, found without the module state: garbage collection may have taken that apart before its instances. */
static inline PyTypeObject *pa_future_base(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    while (type->tp_dealloc != pa_future_dealloc && type->tp_dealloc != pa_task_dealloc)
        type = type->tp_base;
    while (type->tp_dealloc == pa_future_dealloc || type->tp_dealloc == pa_task_dealloc)
        type = type->tp_base;
    return type;
}

/* Whether the module state may still be used, for finalizers and deallocators. */
int pa_future_state_lives(PyObject *self);

/* For methods: NULL with TypeError if `self` has no fields of ours; the second also with RuntimeError if it is not initialised. */
pa_future *pa_future_get(PyObject *self);
pa_future *pa_future_get_alive(PyObject *self);

/* ---- future_methods.c ---- */
extern PyMethodDef pa_future_methods[];
extern PyGetSetDef pa_future_getset[];
PyObject *pa_future_repr(PyObject *self);

/* ---- future.c ---- */
PyObject *pa_future_type_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);
/* An instance with every field zero but st and is_task, not tracked by the GC. New. */
PyObject *pa_future_alloc(pa_state *st, PyTypeObject *type, int is_task);
/* The end of deallocation: the memory of an empty, untracked object. */
void pa_future_free(PyObject *self);
/* The loop (None or NULL: the current one) and, in debug mode, the source traceback. Any former contents go. 0 or -1. */
int pa_future_init(PyObject *self, pa_future *f, PyObject *loop);
int pa_future_init_native(pa_future *f, pa_loop *loop);
/* A rare field for reading: borrowed, or NULL. */
#define PA_FUTURE_RARE(f, field) ((f)->rare != NULL ? (f)->rare->field : NULL)
/* The message given to cancel(), or None. New. */
static inline PyObject *pa_future_cancel_msg(const pa_future *f)
{
    PyObject *msg = PA_FUTURE_RARE(f, cancel_msg);
    return Py_NewRef(msg != NULL ? msg : Py_None);
}
/* The rare fields for writing, made if need be. NULL with MemoryError. */
pa_future_rare *pa_future_need_rare(pa_future *f);
/* Takes a new reference; None and NULL are the same. 0 or -1. */
int pa_future_set_cancel_msg(pa_future *f, PyObject *msg);
/* The CancelledError that ends the future, for whoever asks first. Steals it. Without memory a new one will be made instead. */
void pa_future_keep_cancelled(pa_future *f, PyObject *exc);
int pa_future_traverse_fields(pa_future *f, visitproc visit, void *arg);
void pa_future_clear_fields(pa_future *f);
int pa_future_clear(PyObject *self); /* tp_clear; types with fields of their own go on to it */
/* Reports an exception nobody asked for. What is raised stays raised. */
void pa_future_report_exception(PyObject *self, pa_future *f);
/* loop.call_exception_handler(context), for finalizers: failures are unraisable. */
void pa_future_call_handler(pa_future *f, PyObject *context, PyObject *source);

/* The transitions; callbacks get scheduled. The first says 1, or 0 if it was done before; -1 with an exception of call_soon. */
int pa_future_do_cancel(PyObject *self, pa_future *f, PyObject *msg);
int pa_future_do_result(PyObject *self, pa_future *f, PyObject *result);       /* must be pending */
int pa_future_do_exception(PyObject *self, pa_future *f, PyObject *exception); /* any object, with asyncio's errors */
/* 0 and the result, 1 and the exception, both new; -1 with CancelledError or InvalidStateError. */
int pa_future_fetch(pa_future *f, PyObject **out);
void pa_future_raise_cancelled(pa_future *f);
int pa_future_raise_invalid_state(pa_future *f); /* "invalid state": -1 */
/* The CancelledError to raise; takes the saved one. New or NULL. */
PyObject *pa_future_cancelled_error(pa_future *f);

/* ---- future_callbacks.c ---- */
int pa_callbacks_append(pa_future *f, PyObject *fn, PyObject *context); /* takes new references */
int pa_callbacks_schedule(PyObject *self, pa_future *f);
void pa_callbacks_clear(pa_future *f);
int pa_callbacks_traverse(pa_future *f, visitproc visit, void *arg);
Py_ssize_t pa_callbacks_len(const pa_future *f);
PyObject *pa_callbacks_list(pa_future *f);
Py_ssize_t pa_callbacks_remove(pa_future *f, PyObject *fn);
/* The native tasks among them, added to `set`. 0 or -1. */
int pa_callbacks_tasks(pa_future *f, PyObject *set);
/* loop.call_soon(fn, arg, context=context), without a Handle where the loop is ours and arg not NULL. 0 or -1. */
int pa_future_call_soon(pa_future *f, PyObject *fn, PyObject *arg, PyObject *context);

/* ---- future_iter.c ---- */
PyObject *pa_future_iter(PyObject *self);
/* Raises StopIteration(value). */
void pa_future_raise_stop(PyObject *value);
/* The same for a tp_iternext that only interpreters call, who take the value and throw the exception away: it gets no context, and for
 * None there is none. */
void pa_future_end_iteration(PyObject *value);
/* The same for an iterator whose only reference is the asking interpreter's, which drops it next: what is raised is the module's spare
 * StopIteration, if that is free. The iterator's deallocator then says pa_future_stop_returns(). */
void pa_future_lend_stop(pa_state *st, PyObject *value /* steals */, PyObject *handled); /* handled: its context, or NULL */
void pa_future_take_stop_back(pa_state *st);
static inline void pa_future_stop_returns(pa_state *st)
{
    if (st->stop_lent)
        pa_future_take_stop_back(st);
}
/* What the arguments of throw([type,] value, tb) stand for: new, or NULL with TypeError; `complaint` is its text for what is no
 * exception, with at most a %s for the type's name. */
#define PA_FUTURE_THROW_COMPLAINT "exceptions must be classes deriving BaseException or instances of such a class"
PyObject *pa_future_thrown(PyObject *const *args, Py_ssize_t nargs, const char *complaint);
int pa_future_iter_setup(PyObject *module, pa_state *st);

/* ---- task.c ---- */
/* Schedules the wakeup of `task` by `future`. 0 or -1. */
int pa_task_soon_wakeup(PyObject *task, PyObject *future);
/* Task.cancel. 1, 0 or -1. */
int pa_task_do_cancel(PyObject *self, pa_task *t, PyObject *msg);
/* obj.cancel(msg=msg) of whatever a task waits for. 1, 0 or -1. */
int pa_task_cancel_waiter(pa_task *t, PyObject *msg);
/* Task.uncancel: how many are left. */
int pa_task_do_uncancel(pa_task *t);

/* ---- task_step.c ---- */
/* One step, exc (borrowed) thrown in if not NULL, with the current task set around it. The context is the caller's. 0 or -1. */
int pa_task_do_step(PyObject *self, pa_task *t, PyObject *exc);
int pa_task_do_wakeup(PyObject *self, pa_task *t, PyObject *future);
/* The first step of an eager task, at once. 0 or -1. */
int pa_task_eager_start(PyObject *self, pa_task *t);
int pa_task_soon_step(PyObject *self, pa_task *t, PyObject *exc);
int pa_task_step_setup(PyObject *module, pa_state *st);

#endif
