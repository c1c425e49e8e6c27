/* ensure_future(): a future as it is, a coroutine as a task of the running or the given loop. Anything else (an object with __await__, no
 * loop, what is no awaitable) is left to asyncio's own function, st->ensure_future, whose ways differ between versions.
 *
 * _use_functions() is told asyncio's functions by pyasync.overlays: bound there to pyasync's idea of what makes a loop.
 */
#include "sync/ensure.h"
#include "sync/pyfn.h"
#include "core/future_any.h"
#include "core/loop_calls.h"
#include "rt/args.h"
#include "rt/call.h"

int pa_is_coroutine(pa_state *st, PyObject *arg)
{
    if (PyCoro_CheckExact(arg))
        return 1;
    return pa_call_truth(PyObject_CallOneArg(st->iscoroutine, arg));
}

static PyObject *ask_asyncio(pa_state *st, PyObject *arg, PyObject *loop)
{
    PyObject *function = Py_NewRef(st->ensure_future);
    PyObject *args[] = {NULL, arg, loop};
    PyObject *result = PyObject_Vectorcall(function, args + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, loop != NULL ? st->kw_loop : NULL);
    Py_DECREF(function);
    return result;
}

/* create_task refused the coroutine: nobody will await it. Keeps the raised exception, chained as in an except clause. */
static void close_refused(pa_state *st, PyObject *coro)
{
    PyObject *raised = pa_err_take();
    PyObject *result = PyObject_CallMethodNoArgs(coro, st->names.close);
    if (result != NULL) {
        Py_DECREF(result);
        pa_err_restore(raised);
        return;
    }
    PyObject *second = pa_err_take();
    if (second != raised)
        PyException_SetContext(second, raised);
    else
        Py_DECREF(raised);
    pa_err_restore(second);
}

static PyObject *as_given(pa_state *st, PyObject *future, PyObject *loop)
{
    if (loop != NULL) {
        PyObject *own = pa_any_loop(st, future);
        if (own == NULL)
            return NULL;
        Py_DECREF(own);
        if (own != loop) {
            PyErr_SetString(PyExc_ValueError, "The future belongs to a different loop than the one specified as the loop argument");
            return NULL;
        }
    }
    return Py_NewRef(future);
}

PyObject *pa_ensure_future(pa_state *st, PyObject *arg, PyObject *loop)
{
    int rc = pa_any_is_future(st, arg);
    if (rc != 0)
        return rc < 0 ? NULL : as_given(st, arg, loop);
    if ((rc = pa_is_coroutine(st, arg)) < 0)
        return NULL;
    PyObject *running = loop != NULL ? Py_NewRef(loop) : NULL;
    if (rc > 0 && running == NULL && pa_calls_running(st, &running) < 0)
        return NULL;
    if (rc == 0 || running == NULL) {
        Py_XDECREF(running);
        return ask_asyncio(st, arg, loop);
    }
    PyObject *task = pa_calls_create_task(st, running, arg);
    Py_DECREF(running);
    if (task == NULL && PyErr_ExceptionMatches(PyExc_RuntimeError))
        close_refused(st, arg);
    return task;
}

PyDoc_STRVAR(ensure_future_doc, "ensure_future(coro_or_future, *, loop=None)\n--\n\n"
             "Wrap a coroutine or an awaitable in a task of `loop`, by default the running one.\n\n"
             "A future is returned as it is; ValueError if it belongs to another loop than the\none given. TypeError for what cannot be awaited.");
static PyObject *ensure_future(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"coro_or_future", "loop", NULL};
    static const pa_signature sig = {"ensure_future", names, 1, 1};
    PyObject *given[2];
    if (pa_args_parse(module, &sig, args, nargs, kwnames, given) < 0)
        return NULL;
    return pa_ensure_future(pa_state_of_module(module), given[0], given[1] != Py_None ? given[1] : NULL);
}

PyDoc_STRVAR(use_functions_doc, "_use_functions($module, /, **functions)\n--\n\n"
             "Name the functions of asyncio's that native ones leave unusual cases to.");
static PyObject *use_functions(PyObject *module, PyObject *args, PyObject *kwargs)
{
    pa_state *st = pa_state_of_module(module);
    const struct {
        const char *name;
        PyObject **place;
    } places[] = {{"ensure_future", &st->ensure_future}, {"gather", &st->gather}, {"shield", &st->shield}, {"wait_for", &st->wait_for},
                  {"wrap_future", &st->wrap_future}, {"find_loop", &st->find_loop}, {"iterator", &st->aio_AsCompletedIterator},
                  {"frame_of", &st->frame_of}};
    if (PyTuple_GET_SIZE(args) != 0 || kwargs == NULL) {
        PyErr_SetString(PyExc_TypeError, "_use_functions() takes keyword arguments only");
        return NULL;
    }
    for (size_t i = 0; i < Py_ARRAY_LENGTH(places); i++) {
        PyObject *function = PyDict_GetItemString(kwargs, places[i].name);
        if (function != NULL)
            Py_XSETREF(*places[i].place, Py_NewRef(function));
    }
    Py_RETURN_NONE;
}

static const pa_corofn_def ensure_functions[] = {
    {"ensure_future", "ensure_future", ensure_future, ensure_future_doc},
    {NULL, NULL, NULL, NULL},
};

static PyMethodDef functions[] = {
    {"_use_functions", (PyCFunction)(void (*)(void))use_functions, METH_VARARGS | METH_KEYWORDS, use_functions_doc},
    {NULL, NULL, 0, NULL},
};

int pa_ensure_setup(PyObject *module, pa_state *st)
{
    return PyModule_AddFunctions(module, functions) < 0 ? -1 : pa_pyfn_add_functions(st, module, "asyncio.tasks", ensure_functions);
}
