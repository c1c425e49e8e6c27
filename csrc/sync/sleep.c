/* sleep(): for no time at all a bare yield, which lets the others run once; else a future that a timer of the loop resolves. The timer's
 * callback, _set_result_unless_cancelled as in asyncio, is a C function: no Python code runs for it.
 */
#include "sync/sleep.h"
#include "sync/corofn.h"
#include "sync/op.h"
#include "core/future_any.h"
#include "core/loop_calls.h"
#include "rt/args.h"

#include <math.h>

enum { START, YIELDED, WAITED };

/* 0, or -1 with ValueError for NaN (TypeError for what is no number), where asyncio minds. */
static int check_delay(PyObject *delay)
{
    if (!PA_SLEEP_REFUSES_NAN)
        return 0;
    double seconds = PyFloat_AsDouble(delay);
    if (seconds == -1.0 && PyErr_Occurred())
        return -1;
    if (!isnan(seconds))
        return 0;
    PyErr_SetString(PyExc_ValueError, "Invalid delay: NaN (not a number)");
    return -1;
}

/* self: the delay, a: the result, b: the timer's handle. */
static PySendResult start(pa_op *op)
{
    pa_state *st = op->st;
    int at_once = pa_calls_is_over(op->self);
    if (at_once > 0) {
        op->step = YIELDED;
        return pa_op_yield(op);
    }
    if (at_once < 0 || check_delay(op->self) < 0)
        return PYGEN_ERROR;
    PySendResult how = PYGEN_ERROR;
    PyObject *loop = pa_calls_need_running(st), *future = loop != NULL ? pa_calls_create_future(st, loop) : NULL;
    if (future != NULL && (op->b = pa_calls_later(st, loop, op->self, st->resolve_future, future, op->a)) != NULL) {
        op->step = WAITED;
        how = pa_op_wait(op, future);
    }
    Py_XDECREF(future);
    Py_XDECREF(loop);
    return how;
}

static PySendResult sleep_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    if (op->step == START)
        return start(op);
    if (op->step == WAITED && pa_calls_cancel(op->st, op->b) < 0)
        return PYGEN_ERROR;
    if (thrown != NULL)
        return pa_op_raise(thrown);
    *result = op->step == YIELDED ? Py_NewRef(op->a) : pa_op_outcome(op);
    return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
}

static const pa_op_kind sleep_kind = {"sleep", "sleep", sleep_run, NULL};

static PyObject *sleep_call(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"delay", "result", NULL};
    static const pa_signature sig = {"sleep", names, 2, 1};
    PyObject *given[2];
    if (pa_args_parse(module, &sig, args, nargs, kwnames, given) < 0)
        return NULL;
    pa_op *op = (pa_op *)pa_op_new(pa_state_of_module(module), &sleep_kind, given[0]);
    if (op != NULL)
        op->a = Py_NewRef(given[1] != NULL ? given[1] : Py_None);
    return (PyObject *)op;
}

static PyObject *resolve(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    pa_state *st = pa_state_of_module(module);
    if (nargs != 2)
        return PyErr_Format(PyExc_TypeError, "_set_result_unless_cancelled() takes 2 positional arguments but %zd were given", nargs);
    int cancelled = pa_any_cancelled(st, args[0]);
    if (cancelled < 0 || (cancelled == 0 && pa_any_set_result(st, args[0], args[1]) < 0))
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(sleep_doc, "sleep(delay, result=None)\n--\n\n"
             "Suspend the task for `delay` seconds, then return `result`.\n\n"
             "With a delay of zero or less the other tasks run once. ValueError for NaN, from\n3.13 on.");

static const pa_corofn_def corofns[] = {
    {"sleep", "sleep", sleep_call, sleep_doc},
    {NULL, NULL, NULL, NULL},
};

static PyMethodDef functions[] = {
    {"_set_result_unless_cancelled", (PyCFunction)(void (*)(void))resolve, METH_FASTCALL,
     PyDoc_STR("_set_result_unless_cancelled($module, fut, result, /)\n--\n\nSet the result of a future unless it was cancelled.")},
    {NULL, NULL, 0, NULL},
};

int pa_sleep_setup(PyObject *module, pa_state *st)
{
    if (PyModule_AddFunctions(module, functions) < 0 || pa_corofn_add_functions(st, module, corofns) < 0)
        return -1;
    st->resolve_future = PyObject_GetAttrString(module, functions[0].ml_name);
    return st->resolve_future != NULL ? 0 : -1;
}
