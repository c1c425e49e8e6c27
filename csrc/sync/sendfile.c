/* loop.sock_sendfile() and loop.sendfile(): the coroutines around net/sendfile.c. The first sends on a user's socket, the second on a
 * transport's, when what was written to it before has gone, with reading paused and writing refused.
 *
 * Whatever is not plain is given to asyncio's own coroutines, and so is reading and writing where the kernel does not send the file. They
 * are called by their names, so that a program's are found. A transport's methods are always called by their names.
 *
 * self: the loop, a: the tuple of arguments, number: whether reading was paused for it.
 */
#include "sync/sendfile.h"
#include "sync/corofn.h"
#include "sync/op.h"
#include "core/loop.h"
#include "net/sendfile.h"
#include "rt/args.h"
#include "rt/call.h"

/* PASSED_ON: a coroutine does the rest, whatever comes of it. */
enum { START, EMPTIED, SENT, OTHER, PASSED_ON };

enum { TARGET, FILE_, OFFSET, COUNT, FALLBACK };

static PyObject *arg(pa_op *op, int which) { return PyTuple_GET_ITEM(op->a, which); }

/* object.method(target, file, offset, count), and fallback=`fallback` unless that is NULL. New: what it returns. */
static PyObject *call_on(pa_op *op, PyObject *object, PyObject *method, PyObject *target, PyObject *fallback)
{
    PyObject *args[] = {object, target, arg(op, FILE_), arg(op, OFFSET), arg(op, COUNT), fallback};
    return PyObject_VectorcallMethod(method, args, 5, fallback != NULL ? op->st->kw_fallback : NULL);
}

/* Waits for what another coroutine makes of it; steals it, or NULL with an exception. */
static PySendResult pass_on(pa_op *op, PyObject *coroutine, int step)
{
    if (coroutine == NULL)
        return PYGEN_ERROR;
    op->step = step;
    PySendResult how = pa_op_await(op, coroutine);
    Py_DECREF(coroutine);
    return how;
}

static PySendResult finish(pa_op *op, PyObject *thrown, PyObject **result)
{
    if (thrown != NULL)
        return pa_op_raise(thrown);
    *result = pa_op_outcome(op);
    return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
}

/* An exception is raised: if it says that the kernel cannot do it, and the caller wants that, the file is read and written. */
static PySendResult fall_back(pa_op *op, PyObject *method)
{
    if (!PyErr_ExceptionMatches(op->st->SendfileNotAvailable))
        return PYGEN_ERROR;
    PyObject *refusal = pa_err_take();
    int wanted = PyObject_IsTrue(arg(op, FALLBACK));
    if (wanted == 0)
        pa_err_restore(refusal);
    else
        Py_DECREF(refusal);
    return wanted > 0 ? pass_on(op, call_on(op, op->self, method, arg(op, TARGET), NULL), PASSED_ON) : PYGEN_ERROR;
}

/* On a socket: PYGEN_RETURN, PYGEN_ERROR, or PYGEN_NEXT and the next step is SENT. `other`: how to call what does it where it is not
 * plain. */
static PySendResult begin(pa_op *op, PyObject *sock, PyObject *(*other)(pa_op *op, PyObject *sock), int other_step, PyObject **result)
{
    int plain = pa_sendfile_is_plain(op->self, sock, arg(op, FILE_), arg(op, OFFSET), arg(op, COUNT));
    if (plain <= 0)
        return plain < 0 ? PYGEN_ERROR : pass_on(op, other(op, sock), other_step);
    PyObject *outcome;
    int done = pa_sendfile_begin(op->self, sock, arg(op, FILE_), arg(op, OFFSET), arg(op, COUNT), &outcome);
    if (done < 0)
        return PYGEN_ERROR;
    if (done > 0) {
        *result = outcome;
        return PYGEN_RETURN;
    }
    op->step = SENT;
    PySendResult how = pa_op_wait(op, outcome);
    Py_DECREF(outcome);
    return how;
}

/* ---- sock_sendfile() ---- */

/* asyncio's own, whatever it is now. */
static PyObject *by_asyncio(pa_op *op, PyObject *sock)
{
    PyObject *function = PyObject_GetAttr(op->st->BaseEventLoop, op->st->names.sock_sendfile), *coroutine = NULL;
    if (function != NULL) {
        PyObject *args[] = {op->self, sock, arg(op, FILE_), arg(op, OFFSET), arg(op, COUNT), arg(op, FALLBACK)};
        coroutine = PyObject_Vectorcall(function, args, 5, op->st->kw_fallback);
        Py_DECREF(function);
    }
    return coroutine;
}

static PySendResult sock_sendfile_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    if (op->step == PASSED_ON)
        return finish(op, thrown, result);
    PySendResult how = op->step == START ? begin(op, arg(op, TARGET), by_asyncio, PASSED_ON, result) : finish(op, thrown, result);
    return how != PYGEN_ERROR ? how : fall_back(op, op->st->names._sock_sendfile_fallback);
}

/* ---- sendfile() ---- */

static int call_transport(pa_op *op, PyObject *method) { return pa_call_nothing(PyObject_CallMethodNoArgs(arg(op, TARGET), method)); }

/* Reading stops, and writing once what is queued has gone. */
static PySendResult empty_transport(pa_op *op)
{
    PyObject *transport = arg(op, TARGET);
    int reads = pa_call_truth(PyObject_CallMethodNoArgs(transport, op->st->names.is_reading));
    if (reads < 0 || call_transport(op, op->st->names.pause_reading) < 0)
        return PYGEN_ERROR;
    op->number = reads;
    return pass_on(op, PyObject_CallMethodNoArgs(transport, op->st->names._make_empty_waiter), EMPTIED);
}

/* However it ended: the transport's socket is its own again. 0, or -1 with an exception, then after what is raised. */
static int restore_transport(pa_op *op)
{
    PyObject *raised = pa_err_take();
    int rc = call_transport(op, op->st->names._reset_empty_waiter);
    if (rc == 0)
        rc = call_transport(op, op->st->names._take_fd_back);
    if (rc == 0 && op->number)
        rc = call_transport(op, op->st->names.resume_reading);
    if (rc == 0) {
        pa_err_restore(raised);
    } else if (raised != NULL) {
        PyObject *exc = pa_err_take();
        PyException_SetContext(exc, raised);
        pa_err_restore(exc);
    }
    return rc;
}

static PyObject *by_name(pa_op *op, PyObject *sock) { return call_on(op, op->self, op->st->names.sock_sendfile, sock, Py_False); }

/* On the transport's socket. */
static PySendResult send_on(pa_op *op, PyObject **result)
{
    PyObject *sock = NULL;
    if (call_transport(op, op->st->names._lend_fd) == 0)
        sock = PyObject_GetAttr(arg(op, TARGET), op->st->names._sock);
    PySendResult how = sock != NULL ? begin(op, sock, by_name, SENT, result) : PYGEN_ERROR;
    Py_XDECREF(sock);
    return how;
}

/* What a transport says it can do. New. */
static PyObject *mode_of(pa_op *op)
{
    PyObject *mode;
    int found = pa_getattr_optional(arg(op, TARGET), op->st->names._sendfile_compatible, &mode);
    return found > 0 ? mode : found < 0 ? NULL : Py_NewRef(op->st->sendfile_unsupported);
}

static PySendResult start(pa_op *op)
{
    pa_state *st = op->st;
    PyObject *transport = arg(op, TARGET);
    int closing = pa_call_truth(PyObject_CallMethodNoArgs(transport, st->names.is_closing));
    if (closing != 0) {
        if (closing > 0)
            PyErr_SetString(PyExc_RuntimeError, "Transport is closing");
        return PYGEN_ERROR;
    }
    PyObject *mode = mode_of(op);
    Py_XDECREF(mode); /* asyncio owns them; it is compared only */
    if (mode == NULL)
        return PYGEN_ERROR;
    if (mode == st->sendfile_unsupported) {
        PyErr_Format(PyExc_RuntimeError, "sendfile is not supported for transport %R", transport);
        return PYGEN_ERROR;
    }
    if (mode == st->sendfile_try_native) {
        int ours = PyObject_TypeCheck(transport, st->SocketTransport) ? pa_sendfile_is_ours(op->self) : 0;
        if (ours > 0)
            return empty_transport(op);
        return ours < 0 ? PYGEN_ERROR : pass_on(op, call_on(op, op->self, st->names._sendfile_native, transport, NULL), OTHER);
    }
    int wanted = PyObject_IsTrue(arg(op, FALLBACK));
    if (wanted == 0)
        PyErr_Format(PyExc_RuntimeError, "fallback is disabled and native sendfile is not supported for transport %R", transport);
    return wanted > 0 ? pass_on(op, call_on(op, op->self, st->names._sendfile_fallback, transport, NULL), PASSED_ON) : PYGEN_ERROR;
}

static PySendResult sendfile_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    if (op->step == START)
        return start(op);
    if (op->step == PASSED_ON || (op->step == EMPTIED && thrown != NULL)) /* the latter leaves reading paused, as asyncio does */
        return finish(op, thrown, result);
    PySendResult how = op->step == EMPTIED ? send_on(op, result) : finish(op, thrown, result);
    if (op->step != OTHER && how != PYGEN_NEXT && restore_transport(op) < 0) {
        if (how == PYGEN_RETURN)
            Py_CLEAR(*result);
        how = PYGEN_ERROR;
    }
    return how != PYGEN_ERROR ? how : fall_back(op, op->st->names._sendfile_fallback);
}

/* ---- Methods ---- */

static const pa_op_kind sock_sendfile_kind = {"sock_sendfile", "BaseEventLoop.sock_sendfile", sock_sendfile_run, NULL};
static const pa_op_kind sendfile_kind = {"sendfile", "BaseEventLoop.sendfile", sendfile_run, NULL};

static PyObject *new_op(PyObject *loop, const pa_op_kind *kind, const char *const *names, PyObject *const *args, Py_ssize_t nargs,
                        PyObject *kwnames)
{
    const pa_signature sig = {kind->name, names, 4, 2};
    PyObject *given[5];
    if (pa_args_parse(loop, &sig, args, nargs, kwnames, given) < 0)
        return NULL;
    PyObject *zero = PyLong_FromLong(0);
    PyObject *tuple = zero != NULL ? PyTuple_Pack(5, given[TARGET], given[FILE_], given[OFFSET] != NULL ? given[OFFSET] : zero,
                                                  given[COUNT] != NULL ? given[COUNT] : Py_None,
                                                  given[FALLBACK] != NULL ? given[FALLBACK] : Py_True)
                                   : NULL;
    Py_XDECREF(zero);
    pa_op *op = tuple != NULL ? (pa_op *)pa_op_new(pa_loop_state((pa_loop *)loop), kind, loop) : NULL;
    if (op != NULL)
        op->a = tuple;
    else
        Py_XDECREF(tuple);
    return (PyObject *)op;
}

static PyObject *sock_sendfile(PyObject *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"sock", "file", "offset", "count", "fallback", NULL};
    return new_op(loop, &sock_sendfile_kind, names, args, nargs, kwnames);
}

static PyObject *sendfile_(PyObject *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"transport", "file", "offset", "count", "fallback", NULL};
    return new_op(loop, &sendfile_kind, names, args, nargs, kwnames);
}

static const pa_corofn_def methods[] = {
    {"sock_sendfile", "BaseEventLoop.sock_sendfile", sock_sendfile,
     "sock_sendfile($self, sock, file, offset=0, count=None, *, fallback=True)\n--\n\n"
     "Send a file, opened in binary mode, on a stream socket; return the number of bytes.\n\n"
     "From `offset` on, `count` bytes or all there are; the file's position is behind them afterwards. Where the\n"
     "system cannot do it the file is read and written, or, without `fallback`, SendfileNotAvailableError raised."},
    {"sendfile", "BaseEventLoop.sendfile", sendfile_,
     "sendfile($self, transport, file, offset=0, count=None, *, fallback=True)\n--\n\n"
     "Send a file, opened in binary mode, to a transport; return the number of bytes.\n\n"
     "As sock_sendfile(), after what was written to the transport before; writing is refused meanwhile."},
    {NULL, NULL, NULL, NULL},
};

int pa_sendfiles_setup(PyObject *module, pa_state *st)
{
    PyObject *modes = NULL;
    if (pa_import_from("asyncio.constants", "_SendfileMode", &modes) < 0)
        return -1;
    st->sendfile_unsupported = PyObject_GetAttrString(modes, "UNSUPPORTED");
    st->sendfile_try_native = PyObject_GetAttrString(modes, "TRY_NATIVE");
    Py_DECREF(modes);
    st->kw_fallback = Py_BuildValue("(s)", "fallback");
    if (st->sendfile_unsupported == NULL || st->sendfile_try_native == NULL || st->kw_fallback == NULL)
        return -1;
    return pa_corofn_add_methods(st, st->EventLoop, methods);
}
