/* as_completed(): an iterator over operations, each of which waits for whichever future is done next. From 3.13 on it is what
 * as_completed() returns, joined with asyncio's class and an asynchronous iterator of the futures, too; before, a generator in
 * pyasync.overlays yields what it gives.
 *
 * One observer is the callback of all futures: it takes the future out of the set of those to come and puts it into a queue, from which
 * the operations take. Iterator and observer own each other until that set is empty.
 */
#include "sync/as_completed.h"
#include "sync/ensure.h"
#include "sync/observer.h"
#include "sync/op.h"
#include "sync/originals.h"
#include "sync/queue.h"
#include "sync/traits.h"
#include "core/future_any.h"
#include "core/loop_calls.h"
#include "rt/args.h"

typedef struct {
    PyObject_HEAD
    pa_state *st;
    PyObject *done;     /* the queue; NULL before __init__ */
    PyObject *todo;     /* the set of futures that are not done */
    PyObject *handle;   /* of the time-out's timer, or NULL */
    PyObject *observer; /* NULL once nothing is to be observed */
    PyObject *task;     /* who called, from 3.14 on */
    Py_ssize_t left;    /* how many operations are still to be given out */
} as_completed;

/* ---- What happens to the futures ---- */

/* Nothing is to come: the observer lets go of the iterator. */
static void stop_observing(as_completed *self)
{
    if (self->observer == NULL)
        return;
    Py_CLEAR(((pa_observer *)self->observer)->a);
    Py_CLEAR(self->observer);
}

/* self->todo has lost `future`: what asyncio does in _handle_completion() then. 0 or -1. */
static int complete(as_completed *self, PyObject *future)
{
    pa_state *st = self->st;
    if (pa_any_discard_awaited_by(st, future, self->task) < 0 || pa_queue_put(self->done, future) < 0)
        return -1;
    if (PySet_GET_SIZE(self->todo) > 0)
        return 0;
    PyObject *handle = Py_XNewRef(self->handle);
    int rc = handle != NULL ? pa_calls_cancel(st, handle) : 0;
    Py_XDECREF(handle);
    stop_observing(self);
    return rc;
}

/* a: the iterator. */
static int one_completed(pa_observer *observer, PyObject *future)
{
    as_completed *self = (as_completed *)observer->a;
    if (self == NULL || self->todo == NULL || PySet_GET_SIZE(self->todo) == 0)
        return 0; /* the time-out was first */
    Py_INCREF(self);
    PyObject *todo = Py_NewRef(self->todo); /* a future's __eq__ may begin anew */
    int rc = PySet_Discard(todo, future);
    if (rc == 0)
        PyErr_SetObject(PyExc_KeyError, future);
    rc = rc > 0 ? complete(self, future) : -1;
    Py_DECREF(todo);
    Py_DECREF(self);
    return rc;
}

#if PA_COMPLETES_BY_CLASS
static const pa_observer_kind completion_kind = {"_handle_completion", "_AsCompletedIterator._handle_completion", one_completed};
#else
static const pa_observer_kind completion_kind = {"_on_completion", "as_completed.<locals>._on_completion", one_completed};
#endif

/* The time is over: whoever waits, or will, gets a None for each future that is not done. */
static PyObject *handle_timeout(PyObject *obj, PyObject *unused)
{
    as_completed *self = (as_completed *)obj;
    PyObject *list = self->todo != NULL ? PySequence_List(self->todo) : PyList_New(0), *observer = Py_XNewRef(self->observer);
    int rc = list != NULL ? 0 : -1;
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(list); i++) {
        PyObject *future = PyList_GET_ITEM(list, i);
        if (observer != NULL)
            rc = pa_any_remove_callback(self->st, future, observer);
        if (rc == 0 && pa_any_discard_awaited_by(self->st, future, self->task) == 0)
            rc = pa_queue_put(self->done, Py_None);
        else
            rc = -1;
    }
    if (rc == 0 && PyList_GET_SIZE(list) > 0 && PySet_Clear(self->todo) < 0)
        rc = -1;
    stop_observing(self);
    Py_XDECREF(observer);
    Py_XDECREF(list);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef handle_timeout_def = {"_handle_timeout", handle_timeout, METH_NOARGS, PyDoc_STR("_handle_timeout($self, /)\n--\n\n")};

/* ---- Waiting for the next ---- */

enum { START, WAITING };

static PySendResult wait_for_one(pa_op *op)
{
    PyObject *get = pa_queue_get(((as_completed *)op->self)->done);
    PySendResult how = get != NULL ? pa_op_await(op, get) : PYGEN_ERROR;
    Py_XDECREF(get);
    op->step = WAITING;
    return how;
}

/* The future that the queue gave: new, or NULL with TimeoutError or what ended the wait. */
static PyObject *next_done(pa_op *op, PyObject *thrown)
{
    PyObject *future = thrown == NULL ? pa_op_outcome(op) : NULL;
    if (thrown != NULL) {
        if (PA_HAS_TRAIT(op->st, as_completed_counts_back))
            ((as_completed *)op->self)->left++;
        (void)pa_op_raise(thrown);
    } else if (future == Py_None) {
        Py_CLEAR(future);
        PyErr_SetNone(PyExc_TimeoutError);
    }
    return future;
}

/* op->self: the iterator. Gives the next future's result. */
static PySendResult one_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    if (op->step == START)
        return wait_for_one(op);
    PyObject *future = next_done(op, thrown);
    if (future == NULL)
        return PYGEN_ERROR;
    *result = pa_any_result(op->st, future);
    Py_DECREF(future);
    return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
}

/* The same for `async for`: gives the future itself, or ends the loop. */
static PySendResult anext_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    as_completed *self = (as_completed *)op->self;
    if (op->step == WAITING)
        return (*result = next_done(op, thrown)) != NULL ? PYGEN_RETURN : PYGEN_ERROR;
    if (self->left == 0) {
        PyErr_SetNone(PyExc_StopAsyncIteration);
        return PYGEN_ERROR;
    }
    self->left--;
    return wait_for_one(op);
}

#if PA_COMPLETES_BY_CLASS
static const pa_op_kind one_kind = {"_wait_for_one", "_AsCompletedIterator._wait_for_one", one_run, NULL};
#else
static const pa_op_kind one_kind = {"_wait_for_one", "as_completed.<locals>._wait_for_one", one_run, NULL};
#endif
static const pa_op_kind anext_kind = {"__anext__", "_AsCompletedIterator.__anext__", anext_run, NULL};

/* ---- The iterator ---- */

static PyObject *completed_next(PyObject *obj)
{
    as_completed *self = (as_completed *)obj;
    if (self->left == 0)
        return NULL;
    self->left--;
    return pa_op_new(self->st, &one_kind, obj);
}

static PyObject *completed_anext(PyObject *obj) { return pa_op_new(((as_completed *)obj)->st, &anext_kind, obj); }

/* What is given, each thing once, as futures of the loop. New set. */
static PyObject *make_futures(pa_state *st, PyObject *given, PyObject *loop)
{
    PyObject *once = PySet_New(given), *list = once != NULL ? PySequence_List(once) : NULL;
    PyObject *futures = list != NULL ? PySet_New(NULL) : NULL;
    for (Py_ssize_t i = 0; futures != NULL && i < PyList_GET_SIZE(list); i++) {
        PyObject *future = pa_ensure_future(st, PyList_GET_ITEM(list, i), loop);
        if (future == NULL || PySet_Add(futures, future) < 0)
            Py_CLEAR(futures);
        Py_XDECREF(future);
    }
    Py_XDECREF(list);
    Py_XDECREF(once);
    return futures;
}

/* Every future of self->todo gets the observer. 0 or -1. */
static int observe_all(as_completed *self)
{
    pa_state *st = self->st;
    PyObject *context = PyContext_CopyCurrent(), *list = context != NULL ? PySequence_List(self->todo) : NULL;
    int rc = list != NULL ? 0 : -1;
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(list); i++) {
        PyObject *future = PyList_GET_ITEM(list, i);
        rc = pa_any_add_callback_in(st, future, self->observer, context);
        if (rc == 0)
            rc = pa_any_add_awaited_by(st, future, self->task);
    }
    Py_XDECREF(list);
    Py_XDECREF(context);
    return rc;
}

static int start_timer(as_completed *self, PyObject *loop, PyObject *timeout)
{
    PyObject *callback = PyCFunction_New(&handle_timeout_def, (PyObject *)self);
    PyObject *handle = callback != NULL ? pa_calls_later(self->st, loop, timeout, callback, NULL, NULL) : NULL;
    Py_XDECREF(callback);
    Py_XSETREF(self->handle, handle);
    return handle != NULL ? 0 : -1;
}

static int begin(as_completed *self, PyObject *given, PyObject *timeout, PyObject *loop)
{
    pa_state *st = self->st;
    PyObject *task = NULL, *todo;
    if (PA_HAS_CALL_GRAPH && pa_calls_current_task(st, loop, &task) < 0)
        return -1;
    Py_XSETREF(self->task, task);
    if ((todo = make_futures(st, given, loop)) == NULL)
        return -1;
    Py_XSETREF(self->todo, todo);
    self->left = PySet_GET_SIZE(todo);
    if (self->left == 0)
        return 0;
    stop_observing(self);
    self->observer = (PyObject *)pa_observer_new(st, &completion_kind, (PyObject *)self, NULL, NULL);
    if (self->observer == NULL || observe_all(self) < 0)
        return -1;
    return timeout != Py_None ? start_timer(self, loop, timeout) : 0;
}

static int completed_init(PyObject *obj, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"aws", "timeout", NULL};
    static const pa_signature sig = {"__init__", names, 2, 2};
    as_completed *self = (as_completed *)obj;
    PyObject *given[2];
    if (pa_args_parse_tuple(obj, &sig, args, kwargs, given) < 0)
        return -1;
    PyObject *done = PyObject_CallNoArgs((PyObject *)self->st->Queue), *loop = done != NULL ? pa_calls_need_running(self->st) : NULL;
    int rc = -1;
    if (loop != NULL) {
        Py_XSETREF(self->done, Py_NewRef(done));
        rc = begin(self, given[0], given[1], loop);
    }
    Py_XDECREF(loop);
    Py_XDECREF(done);
    return rc;
}

/* What asyncio's class makes: without a running loop it has ways of its own. */
static PyObject *new_without_loop(pa_state *st, PyObject *args, PyObject *kwargs)
{
    if (st->find_loop != NULL && st->find_loop != Py_None) { /* up to 3.13 a loop may be made, and asyncio's iterator then finds ours */
        PyObject *function = Py_NewRef(st->find_loop), *loop = PyObject_CallNoArgs(function);
        Py_DECREF(function);
        Py_XDECREF(loop);
        if (loop == NULL)
            return NULL;
    }
    PyObject *class = Py_NewRef(st->aio_AsCompletedIterator), *result = PyObject_Call(class, args, kwargs);
    Py_DECREF(class);
    return result;
}

/* A tracer wrapped asyncio's as_completed() in place: that one makes the iterator. */
static PyObject *new_by_function(pa_state *st, PyObject *args)
{
    PyObject *given, *timeout, *result = NULL;
    if (!PyArg_ParseTuple(args, "OO", &given, &timeout))
        return NULL;
    PyObject *function = Py_NewRef(pa_original_function(st, PA_ORIGINAL_AS_COMPLETED)), *call[] = {NULL, given, timeout};
    PyObject *names = PyTuple_Pack(1, st->names.timeout);
    if (names != NULL)
        result = PyObject_Vectorcall(function, call + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, names);
    Py_XDECREF(names);
    Py_DECREF(function);
    return result;
}

static PyObject *completed_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    pa_state *st = pa_state_of_type(type);
    PyObject *running;
    if (st == NULL || pa_calls_running(st, &running) < 0)
        return NULL;
    Py_XDECREF(running);
    if (PA_COMPLETES_BY_CLASS && running == NULL)
        return new_without_loop(st, args, kwargs);
    int stands = PA_COMPLETES_BY_CLASS ? pa_original_stands(st, PA_ORIGINAL_AS_COMPLETED) : 1;
    if (stands <= 0)
        return stands < 0 ? NULL : new_by_function(st, args);
    as_completed *self = (as_completed *)type->tp_alloc(type, 0);
    if (self != NULL)
        self->st = st;
    return (PyObject *)self;
}

static int completed_traverse(PyObject *obj, visitproc visit, void *arg)
{
    as_completed *self = (as_completed *)obj;
    Py_VISIT(Py_TYPE(obj));
    Py_VISIT(self->done);
    Py_VISIT(self->todo);
    Py_VISIT(self->handle);
    Py_VISIT(self->observer);
    Py_VISIT(self->task);
    return 0;
}

static int completed_clear(PyObject *obj)
{
    as_completed *self = (as_completed *)obj;
    self->left = 0; /* there is no queue to wait for any more */
    Py_CLEAR(self->done);
    Py_CLEAR(self->todo);
    Py_CLEAR(self->handle);
    Py_CLEAR(self->observer);
    Py_CLEAR(self->task);
    return 0;
}

static void completed_dealloc(PyObject *obj)
{
    PyTypeObject *type = Py_TYPE(obj);
    PyObject_GC_UnTrack(obj);
    (void)completed_clear(obj);
    type->tp_free(obj);
    Py_DECREF(type);
}

static PyMemberDef completed_members[] = {
    {"_done", Py_T_OBJECT_EX, offsetof(as_completed, done), Py_READONLY, NULL},
    {"_todo", Py_T_OBJECT_EX, offsetof(as_completed, todo), Py_READONLY, NULL},
    {"_timeout_handle", _Py_T_OBJECT, offsetof(as_completed, handle), Py_READONLY, NULL},
    {"_todo_left", Py_T_PYSSIZET, offsetof(as_completed, left), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(completed_doc, "_AsCompletedIterator(aws, timeout)\n--\n\nThe native half of what as_completed() returns.");

static PyType_Slot completed_slots[] = {
    {Py_tp_doc, (void *)completed_doc},
    {Py_tp_new, completed_new},
    {Py_tp_init, completed_init},
    {Py_tp_dealloc, completed_dealloc},
    {Py_tp_traverse, completed_traverse},
    {Py_tp_clear, completed_clear},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, completed_next},
    {Py_am_aiter, PyObject_SelfIter},
    {Py_am_anext, completed_anext},
    {Py_tp_members, completed_members},
    {0, NULL},
};

int pa_as_completed_setup(PyObject *module, pa_state *st)
{
    PyType_Spec spec = {"pyasync._core._AsCompletedIterator", sizeof(as_completed), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, completed_slots};
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    int rc = type != NULL ? PyModule_AddType(module, (PyTypeObject *)type) : -1;
    Py_XDECREF(type);
    return rc;
}
