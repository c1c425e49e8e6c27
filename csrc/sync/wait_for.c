/* wait_for(): what `async with timeout(timeout): return await fut` does, which is what it is from 3.12 on: no task is made. A time-out of
 * zero or less, which first cancels and then waits, is left to asyncio's own coroutine there.
 *
 * On 3.11 it runs a coroutine in a new task: wait_for_task.c.
 */
#include "sync/wait_for.h"
#include "sync/corofn.h"
#include "sync/op.h"
#include "sync/timeout.h"
#include "core/loop_calls.h"
#include "rt/args.h"

enum { START, IN_TIMEOUT, IN_ASYNCIO };

static PySendResult leave_to_asyncio(pa_op *op)
{
    PyObject *function = Py_NewRef(op->st->wait_for);
    PyObject *coro = PyObject_CallFunctionObjArgs(function, op->a, op->b, NULL);
    Py_DECREF(function);
    if (coro == NULL)
        return PYGEN_ERROR;
    op->step = IN_ASYNCIO;
    PySendResult how = pa_op_await(op, coro);
    Py_DECREF(coro);
    return how;
}

/* The body ended with `exc` (steals it), or well. */
static PySendResult leave_timeout(pa_op *op, PyObject *exc)
{
    int rc = pa_timeout_end(op->self, exc);
    if (rc < 0)
        Py_XDECREF(exc);
    else if (exc != NULL)
        pa_err_restore(exc);
    return rc < 0 || exc != NULL ? PYGEN_ERROR : PYGEN_RETURN;
}

static PySendResult start(pa_op *op)
{
    int at_once = op->b != Py_None ? pa_calls_is_over(op->b) : 0;
    if (at_once != 0)
        return at_once < 0 ? PYGEN_ERROR : leave_to_asyncio(op);
    if ((op->self = pa_timeout_begin(op->st, op->b)) == NULL)
        return PYGEN_ERROR;
    op->step = IN_TIMEOUT;
    return pa_op_await(op, op->a);
}

/* self: the Timeout, NULL before; a: what is awaited, b: the time-out. */
static PySendResult wait_for_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    if (op->step == START)
        return start(op);
    if (op->step == IN_ASYNCIO && thrown != NULL)
        return pa_op_raise(thrown);
    if (thrown != NULL)
        return leave_timeout(op, Py_NewRef(thrown));
    PyObject *value = pa_op_outcome(op);
    if (value == NULL || (op->step == IN_TIMEOUT && leave_timeout(op, NULL) == PYGEN_ERROR)) {
        Py_XDECREF(value);
        return PYGEN_ERROR;
    }
    *result = value;
    return PYGEN_RETURN;
}

static const pa_op_kind wait_for_kind = {"wait_for", "wait_for", PA_WAIT_FOR_MAKES_TASK ? pa_wait_for_task_run : wait_for_run, NULL};

static PyObject *wait_for(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"fut", "timeout", NULL};
    static const pa_signature sig = {"wait_for", names, 2, 2};
    PyObject *given[2];
    if (pa_args_parse(module, &sig, args, nargs, kwnames, given) < 0)
        return NULL;
    pa_op *op = (pa_op *)pa_op_new(pa_state_of_module(module), &wait_for_kind, NULL);
    if (op != NULL) {
        op->a = Py_NewRef(given[0]);
        op->b = Py_NewRef(given[1]);
    }
    return (PyObject *)op;
}

PyDoc_STRVAR(wait_for_doc, "wait_for(fut, timeout)\n--\n\n"
             "Await `fut` for at most `timeout` seconds (None: however long) and return its result.\n\n"
             "When the time is over it is cancelled and TimeoutError raised; shield() prevents the\nformer.");

static const pa_corofn_def corofns[] = {
    {"wait_for", "wait_for", wait_for, wait_for_doc},
    {NULL, NULL, NULL, NULL},
};

int pa_wait_for_setup(PyObject *module, pa_state *st) { return pa_corofn_add_functions(st, module, corofns); }
