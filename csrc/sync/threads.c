/* Calls into threads and out of them. What a program can replace is called where it was replaced: BaseEventLoop.run_in_executor,
 * futures.wrap_future, futures._chain_future. asyncio's own code makes the default executor, refuses arguments, and finds a loop where none
 * runs.
 */
#include "sync/threads.h"
#include "sync/chain.h"
#include "sync/corofn.h"
#include "sync/ensure.h"
#include "sync/observer.h"
#include "sync/op.h"
#include "sync/originals.h"
#include "sync/pyfn.h"
#include "core/future_any.h"
#include "core/loop_calls.h"
#include "rt/args.h"
#include "rt/call.h"
#include "rt/error.h"

/* ---- wrap_future() ---- */

/* As asyncio's function does it; `loop` NULL for None. New. */
static PyObject *wrap_by_asyncio(pa_state *st, PyObject *future, PyObject *loop)
{
    PyObject *function = Py_NewRef(st->wrap_future), *args[] = {NULL, future, loop};
    PyObject *result = PyObject_Vectorcall(function, args + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, loop != NULL ? st->kw_loop : NULL);
    Py_DECREF(function);
    return result;
}

PyDoc_STRVAR(wrap_future_doc, "wrap_future(future, *, loop=None)\n--\n\n"
             "Return a future of `loop`, by default the running one, with the outcome of a concurrent.futures.Future.\n\n"
             "Cancelling it cancels that one. A future of asyncio's is returned as it is.");
static PyObject *wrap_future(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"future", "loop", NULL};
    static const pa_signature sig = {"wrap_future", names, 1, 1};
    pa_state *st = pa_state_of_module(module);
    PyObject *given[2], *loop, *result;
    if (pa_args_parse(module, &sig, args, nargs, kwnames, given) < 0)
        return NULL;
    int rc = pa_any_is_future(st, given[0]);
    if (rc != 0)
        return rc < 0 ? NULL : Py_NewRef(given[0]);
    if (given[1] != NULL && given[1] != Py_None)
        loop = Py_NewRef(given[1]);
    else if (pa_calls_running(st, &loop) < 0)
        return NULL;
    if ((rc = PyObject_IsInstance(given[0], (PyObject *)st->ConcurrentFuture)) < 0)
        result = NULL;
    else
        result = rc > 0 && loop != NULL ? pa_chain_wrap(st, given[0], loop) : wrap_by_asyncio(st, given[0], loop);
    Py_XDECREF(loop);
    return result;
}

/* ---- run_in_executor() ---- */

/* What BaseEventLoop.run_in_executor is now: asyncio's, or what somebody put there. New. */
static PyObject *run_by_base(pa_state *st, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *function = pa_original_now(st, PA_ORIGINAL_RUN_IN_EXECUTOR);
    PyObject *result = function != NULL ? PyObject_Vectorcall(function, args, (size_t)nargs, kwnames) : NULL;
    Py_XDECREF(function);
    return result;
}

/* future: what executor.submit() returned; steals it. New. */
static PyObject *wrap_submitted(pa_state *st, PyObject *future, PyObject *loop)
{
    int ours = pa_original_stands(st, PA_ORIGINAL_WRAP_FUTURE);
    PyObject *result = NULL, *function = NULL;
    if (ours > 0 && Py_TYPE(future) == st->ConcurrentFuture) {
        result = pa_chain_wrap(st, future, loop);
    } else if (ours >= 0 && (function = pa_original_now(st, PA_ORIGINAL_WRAP_FUTURE)) != NULL) {
        PyObject *args[] = {NULL, future, loop};
        result = PyObject_Vectorcall(function, args + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, st->kw_loop);
    }
    Py_XDECREF(function);
    Py_DECREF(future);
    return result;
}

/* executor.submit(*args[1:]): new. */
static PyObject *submit(pa_state *st, PyObject *executor, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *small[8], **call = nargs <= 8 ? small : PyMem_New(PyObject *, (size_t)nargs);
    if (call == NULL)
        return PyErr_NoMemory();
    call[0] = Py_NewRef(executor); /* the loop's may be replaced meanwhile */
    for (Py_ssize_t i = 1; i < nargs; i++)
        call[i] = args[i];
    PyObject *future = PyObject_VectorcallMethod(st->names.submit, call, (size_t)nargs, NULL);
    Py_DECREF(call[0]);
    if (call != small)
        PyMem_Free(call);
    return future;
}

PyDoc_STRVAR(run_in_executor_doc, "run_in_executor($self, /, executor, func, *args)\n--\n\n"
             "Call func(*args) in an executor, by default (None) the loop's own, and return a future of its result.");
static PyObject *run_in_executor(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    pa_state *st = pa_loop_state((pa_loop *)self);
    int stands = pa_original_stands(st, PA_ORIGINAL_RUN_IN_EXECUTOR);
    if (stands < 0)
        return NULL;
    PyObject *executor = stands && nargs >= 2 && kwnames == NULL ? pa_loop_executor((pa_loop *)self, args[0]) : NULL;
    if (executor != NULL) {
        PyObject *future = submit(st, executor, args, nargs);
        return future != NULL ? wrap_submitted(st, future, self) : NULL;
    }
    Py_ssize_t all = nargs + (kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0);
    PyObject **call = PyMem_New(PyObject *, (size_t)all + 1);
    if (call == NULL)
        return PyErr_NoMemory();
    call[0] = self;
    for (Py_ssize_t i = 0; i < all; i++)
        call[i + 1] = args[i];
    PyObject *result = run_by_base(st, call, nargs + 1, kwnames);
    PyMem_Free(call);
    return result;
}

static PyMethodDef loop_methods[] = {
    {"run_in_executor", PA_WITH_KEYWORDS(run_in_executor), run_in_executor_doc},
    {NULL, NULL, 0, NULL},
};

/* ---- to_thread() ---- */

/* functools.partial(context.run, func, *args, **kwargs), context being a copy of the current one. op->self: func, op->a: the others. New. */
static PyObject *bind_call(pa_op *op)
{
    pa_state *st = op->st;
    PyObject *context = PyContext_CopyCurrent(), *run = context != NULL ? PyObject_GetAttr(context, st->names.run) : NULL;
    Py_ssize_t n = PyTuple_GET_SIZE(op->a);
    PyObject *args = run != NULL ? PyTuple_New(n + 2) : NULL, *bound = NULL;
    if (args != NULL) {
        PyTuple_SET_ITEM(args, 0, Py_NewRef(run));
        PyTuple_SET_ITEM(args, 1, Py_NewRef(op->self));
        for (Py_ssize_t i = 0; i < n; i++)
            PyTuple_SET_ITEM(args, i + 2, Py_NewRef(PyTuple_GET_ITEM(op->a, i)));
        bound = PyObject_Call(st->partial, args, op->b);
    }
    Py_XDECREF(args);
    Py_XDECREF(run);
    Py_XDECREF(context);
    return bound;
}

static PySendResult to_thread_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    if (op->step == 1) {
        if (thrown != NULL)
            return pa_op_raise(thrown);
        *result = pa_op_outcome(op);
        return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
    }
    PyObject *loop = pa_calls_need_running(op->st), *call = loop != NULL ? bind_call(op) : NULL, *future = NULL;
    if (call != NULL) {
        PyObject *args[] = {loop, Py_None, call};
        future = PyObject_VectorcallMethod(op->st->names.run_in_executor, args, 3, NULL);
    }
    op->step = 1;
    PySendResult how = future != NULL ? pa_op_await(op, future) : PYGEN_ERROR;
    Py_XDECREF(future);
    Py_XDECREF(call);
    Py_XDECREF(loop);
    return how;
}

static const pa_op_kind to_thread_kind = {"to_thread", "to_thread", to_thread_run, NULL};

/* The keyword arguments as a dict: new; NULL if there are none. 0 or -1. */
static int collect_keywords(PyObject *const *values, PyObject *kwnames, PyObject **keywords)
{
    Py_ssize_t n = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    if (n == 0)
        return 0;
    if ((*keywords = PyDict_New()) == NULL)
        return -1;
    for (Py_ssize_t i = 0; i < n; i++)
        if (PyDict_SetItem(*keywords, PyTuple_GET_ITEM(kwnames, i), values[i]) < 0) {
            Py_CLEAR(*keywords);
            return -1;
        }
    return 0;
}

static PyObject *to_thread(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    if (nargs == 0)
        return pa_args_refuse(module, "to_thread", args, nargs, kwnames);
    PyObject *positional = PyTuple_New(nargs - 1), *keywords = NULL;
    for (Py_ssize_t i = 1; positional != NULL && i < nargs; i++)
        PyTuple_SET_ITEM(positional, i - 1, Py_NewRef(args[i]));
    if (positional == NULL || collect_keywords(args + nargs, kwnames, &keywords) < 0) {
        Py_XDECREF(positional);
        return NULL;
    }
    pa_op *op = (pa_op *)pa_op_new(pa_state_of_module(module), &to_thread_kind, args[0]);
    if (op == NULL) {
        Py_DECREF(positional);
        Py_XDECREF(keywords);
        return NULL;
    }
    op->a = positional;
    op->b = keywords;
    return (PyObject *)op;
}

PyDoc_STRVAR(to_thread_doc, "to_thread(func, /, *args, **kwargs)\n--\n\n"
             "Call func(*args, **kwargs) in a thread of the loop's default executor, in a copy of the current context,\n"
             "and return its result.");

static const pa_corofn_def corofns[] = {
    {"to_thread", "to_thread", to_thread, to_thread_doc},
    {NULL, NULL, NULL, NULL},
};

/* ---- run_coroutine_threadsafe() ---- */

/* The task could not be made: the caller's future says so, too. Keeps what is raised. */
static void report_to(pa_state *st, PyObject *concurrent)
{
    if (pa_error_is_exit())
        return;
    PyObject *raised = pa_err_take();
    int wanted = pa_call_truth(PyObject_CallMethodNoArgs(concurrent, st->names.set_running_or_notify_cancel));
    if (wanted > 0)
        wanted = pa_call_nothing(PyObject_CallMethodOneArg(concurrent, st->names.set_exception, raised));
    if (wanted == 0)
        pa_err_restore(raised);
    else
        Py_DECREF(raised);
}

/* a: the coroutine, b: the loop, in which it runs by now; c: the concurrent future. */
static int start_task(pa_observer *self, PyObject *unused)
{
    pa_state *st = self->st;
    if (self->a == NULL)
        return 0; /* the garbage collector took it apart */
    PyObject *coro = Py_NewRef(self->a), *loop = Py_NewRef(self->b), *concurrent = Py_NewRef(self->c);
    PyObject *task = pa_ensure_future(st, coro, loop);
    int rc = task != NULL ? pa_chain_lead(st, task, concurrent) : -1;
    if (rc < 0)
        report_to(st, concurrent);
    Py_XDECREF(task);
    Py_DECREF(concurrent);
    Py_DECREF(loop);
    Py_DECREF(coro);
    return rc;
}

static const pa_observer_kind start_kind = {"callback", "run_coroutine_threadsafe.<locals>.callback", start_task, 1};

PyDoc_STRVAR(run_coroutine_threadsafe_doc, "run_coroutine_threadsafe(coro, loop)\n--\n\n"
             "Run a coroutine in a loop of another thread; return a concurrent.futures.Future of its result.\n\n"
             "Cancelling that one cancels the task. TypeError for what is no coroutine.");
static PyObject *run_coroutine_threadsafe(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"coro", "loop", NULL};
    static const pa_signature sig = {"run_coroutine_threadsafe", names, 2, 2};
    pa_state *st = pa_state_of_module(module);
    PyObject *given[2];
    if (pa_args_parse(module, &sig, args, nargs, kwnames, given) < 0)
        return NULL;
    int coroutine = pa_is_coroutine(st, given[0]);
    if (coroutine == 0)
        PyErr_SetString(PyExc_TypeError, "A coroutine object is required");
    PyObject *concurrent = coroutine > 0 ? PyObject_CallNoArgs((PyObject *)st->ConcurrentFuture) : NULL;
    pa_observer *callback = concurrent != NULL ? pa_observer_new(st, &start_kind, given[0], given[1], concurrent) : NULL;
    if (callback == NULL || pa_call_nothing(PyObject_CallMethodOneArg(given[1], st->names.call_soon_threadsafe, (PyObject *)callback)) < 0)
        Py_CLEAR(concurrent);
    Py_XDECREF(callback);
    return concurrent;
}

/* ---- Setup ---- */

static const pa_corofn_def future_functions[] = {
    {"wrap_future", "wrap_future", wrap_future, wrap_future_doc},
    {NULL, NULL, NULL, NULL},
};

static const pa_corofn_def task_functions[] = {
    {"run_coroutine_threadsafe", "run_coroutine_threadsafe", run_coroutine_threadsafe, run_coroutine_threadsafe_doc},
    {NULL, NULL, NULL, NULL},
};

int pa_threads_setup(PyObject *module, pa_state *st)
{
    if (pa_import_from("functools", "partial", &st->partial) < 0 || pa_type_add_methods(st->EventLoop, loop_methods) < 0)
        return -1;
    return pa_pyfn_add_functions(st, module, "asyncio.futures", future_functions) < 0 ||
                   pa_pyfn_add_functions(st, module, "asyncio.tasks", task_functions) < 0
               ? -1
               : pa_corofn_add_functions(st, module, corofns);
}
