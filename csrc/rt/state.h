/* All state of one module instance: types, asyncio's objects, interned names, the native task list. There are no C globals.
 *
 * Objects that are used on hot paths (futures, loops, transports) keep a borrowed pointer to their state: the module outlives them,
 * because their types own it. Others find it through their type.
 */
#ifndef PA_RT_STATE_H
#define PA_RT_STATE_H

#include "rt/compat.h"
#include "base/list.h"

#include <pthread.h>
#include <stdbool.h>

/* Freed objects of one type that wait to be used again, chained through the word behind their head; not known to the collector, and
 * without a reference to their type. Taken from here an object does not count as an allocation that brings the next collection nearer. */
typedef struct {
    PyObject *first;
    int len;
} pa_free_objects;

#define PA_FREE_OBJECTS_MAX 128

static inline PyObject **pa_free_next(PyObject *obj) { return (PyObject **)((char *)obj + sizeof(PyObject)); }

/* What was kept last, or NULL; for PyObject_Init. */
static inline PyObject *pa_free_take(pa_free_objects *list)
{
    PyObject *obj = list->first;
    if (obj != NULL) {
        list->first = *pa_free_next(obj);
        list->len--;
    }
    return obj;
}

/* The same for an object that its type's code knows never to have been finalized. */
static inline int pa_free_keep_new(pa_free_objects *list, PyObject *obj)
{
    if (list->len >= PA_FREE_OBJECTS_MAX)
        return 0;
    *pa_free_next(obj) = list->first;
    list->first = obj;
    list->len++;
    return 1;
}

/* obj: empty, untracked. False if the caller has to free it: the list is full, or its finalizer has run, which the collector remembers. */
static inline int pa_free_keep(pa_free_objects *list, PyObject *obj)
{
    return !PyObject_GC_IsFinalized(obj) && pa_free_keep_new(list, obj);
}

/* Whether a class overrides methods that native code goes around, as far as that was looked up last: see rt/override.h. */
typedef struct {
    PyTypeObject *type; /* borrowed, only compared */
    unsigned tag;       /* its version then; 0: never looked */
    bool none;          /* it overrides none */
} pa_override_cache;

typedef struct pa_state {
#define PA_TYPE(name) PyTypeObject *name;
#define PA_OBJECT(name) PyObject *name;
#include "rt/state.def"
#undef PA_TYPE
#undef PA_OBJECT
    struct {
#define PA_NAME(name) PyObject *name;
#include "rt/names.def"
#undef PA_NAME
    } names;
    struct { /* where asyncio's Handle and TimerHandle keep their slots, and where ours go on: core/handle.c */
        Py_ssize_t callback, args, cancelled, loop, source_traceback, repr, context, when, scheduled, timer;
    } handle;
    int create_task_takes_all;  /* whether the running asyncio's create_task has **kwargs */
    int semaphore_wakes_all;    /* whether a semaphore's acquire() ends by waking all for whom there is enough (since 3.13, and late 3.12) */
    int condition_renotifies;   /* whether a condition's wait() that fails notifies another (likewise) */
    pa_link loops;              /* every loop whose poller is open: core/loop_fd.c */
    pa_link handle_runs, handle_waits; /* calls of handles that threads share, and who waits for their end: core/handle_threads.c */
    pa_mutex handle_lock;
    pa_link tasks;              /* every native task that is not done: core/task_registry.c */
    pa_free_objects free_iters, free_futures, free_tasks; /* of exactly our types: core/future.c, core/future_iter.c */
    pa_free_objects free_ops;   /* sync/op.c */
    pa_free_objects free_timeouts; /* of exactly our type: sync/timeout.c */
    pa_free_objects free_methods;  /* sync/corofn.c */
    struct { /* a thread that is running a loop of ours, and its state; state: NULL for none. core/loop_run.c */
        pthread_t thread;
        PyThreadState *state;
    } runner;
    bool stop_lent;             /* `stop` was raised and has not come back yet */
    const PyGetSetDef *cr_await; /* of coroutines */
    PyCFunction socket_fileno, socket_gettimeout; /* of _socket.socket, without arguments */
    PyCFunction deque_append, deque_popleft; /* of exactly st->deque; no code of a program's runs in them. sync/queue.c */
    unsigned traits;            /* sync/traits.h */
    unsigned concurrent_version; /* of ConcurrentFuture */
    pa_override_cache reader_overrides, protocol_overrides, timeout_overrides, taskgroup_overrides, barrier_overrides, socket_overrides;
    pa_override_cache sendfile_overrides, socket_sending_overrides;
    bool sendfile_always_places; /* the file, also where nothing was sent: net/sendfile.c */
    bool asserts;               /* whether asyncio's assert statements are run: they are not under -O */
    /* How a transport gives data to a native StreamReaderProtocol: 1; 0 with nothing done, if data_received() has to be called for it;
     * -1 with an exception. streams/protocol.c */
    int (*receive_stream)(PyObject *protocol, const char *data, size_t len);
    /* A TimerHandle, in no heap, that stands for a deadline (core/deadline.c) of `owner`: new. sync/timeout.c */
    PyObject *(*deadline_to_handle)(PyObject *owner, void *deadline);
    int tls_choice;             /* which engine TLS shall use: net/tls_engine.h */
    bool tls_looked;            /* whether OpenSSL can be driven directly: if so, tls_reason is NULL */
    bool tls_looking;           /* a thread is finding out */
    struct { /* where a connection encrypts to; kept for the next one: net/tls_bytes.h */
        char *data;
        size_t cap;
    } tls_scratch;
    uint64_t task_name_counter; /* "Task-N" of native tasks, see core/task.c */
} pa_state;

extern struct PyModuleDef pa_module_def;

/* PyThreadState_Get() for what happens at every await, mostly in the thread that runs a loop: that one's is known. */
static inline PyThreadState *pa_thread_state(pa_state *st)
{
    return st->runner.state != NULL && pthread_equal(st->runner.thread, pthread_self()) ? st->runner.state : PyThreadState_Get();
}

static inline pa_state *pa_state_of_module(PyObject *module) { return (pa_state *)PyModule_GetState(module); }

/* The state of the module that defines `type` or one of its bases. NULL and TypeError for a type that is none of ours. */
static inline pa_state *pa_state_of_type(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &pa_module_def);
    return module != NULL ? pa_state_of_module(module) : NULL;
}

/* For a method with METH_METHOD: the class that defines it is one of ours. */
static inline pa_state *pa_state_of_class(PyTypeObject *defining_class)
{
    return (pa_state *)PyType_GetModuleState(defining_class);
}

/* The state of the module that made `type`, one of ours; NULL once the collector has taken the type apart. */
static inline pa_state *pa_type_state(PyTypeObject *type)
{
    PyObject *module = ((PyHeapTypeObject *)type)->ht_module;
    return module != NULL ? pa_state_of_module(module) : NULL;
}

/* First in the chain of setups: names and what is imported from asyncio. 0, or -1 with an exception. */
int pa_state_setup(PyObject *module, pa_state *st);
int pa_state_traverse(pa_state *st, visitproc visit, void *arg);
int pa_state_clear(pa_state *st);

/* Adds methods to a type that another file made (how net/ gives the loop its factories without core/ knowing net/). 0 or -1. */
int pa_type_add_methods(PyTypeObject *type, PyMethodDef *methods);

int pa_type_add_getsets(PyTypeObject *type, PyGetSetDef *defs);

/* The C function behind a method of a type of CPython's that takes no arguments or one (flags: METH_NOARGS, METH_O), to be called without a
 * call's ado. 0, or -1 with ImportError if it is none. */
int pa_find_method(PyObject *type, const char *name, int flags, PyCFunction *function);

/* from module_name import name. *out is new. 0 or -1. */
int pa_import_from(const char *module_name, const char *name, PyObject **out);

#endif
