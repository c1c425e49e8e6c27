/* loop.sock_recv() and its kin: one operation on a user's socket, tried at once, and again whenever the descriptor is ready.
 *
 * The socket is the user's, of any class that looks like one: an attempt calls its own methods (sock_call.c), or makes the system call that
 * a plain socket's would make (sock_plain.c).
 *
 * While it waits an operation is a SockOp, the callable that add_reader() or add_writer() gets, and the future's done callback that takes
 * it away again (called with the future). As in asyncio a second operation of the same direction on a descriptor displaces the first, and
 * a reading and a writing one go side by side; that is what the loop's Handles do, so they are used, and not a watch. Where the loop's
 * methods are ours core/loop_wait.c does it, else they are called by their names.
 *
 * The coroutines around pa_sock_begin() are in sync/sockets.c and, the less frequent ones, in pyasync/sockets.py. A SockOp lives as long
 * as its Handle or its future; it belongs to the loop's thread.
 */
#include "core/future.h"
#include "net/net.h"
#include "net/sock_impl.h"
#include "rt/error.h"

/* ---- Waiting ---- */

/* An attempt while waiting: new; NULL with BlockingIOError, or nothing raised, to wait on; or another exception. */
static PyObject *attempt_again(pa_sock_op *self)
{
    const pa_sock_plain *plain = self->kind->plain;
    PyObject *const *args = &PyTuple_GET_ITEM(self->args, 0), *result = NULL;
    int fd = self->fd >= 0 && plain != NULL && plain->takes(args) ? pa_sock_plain_descriptor(self->st, self->sock) : -1;
    if (fd < -1)
        return NULL;
    if (fd < 0 || fd != self->fd)
        return self->kind->attempt(self);
    Py_ssize_t n = plain->call((pa_loop *)self->loop, self->sock, fd, args, self->sent, &result);
    if (n == PA_SOCK_ASK)
        return self->kind->attempt(self);
    if (result == NULL && n > 0)
        self->sent += n;
    return result;
}

/* Not yet done: what was reported is to be reported again. 0 or -1; keeps a raised exception. */
static int wait_again(pa_sock_op *self)
{
    if (self->fd < 0 || self->handle == NULL)
        return 0;
    PyObject *raised = pa_err_take(), *handle = Py_NewRef(self->handle);
    int rc = pa_loop_wait_again((pa_loop *)self->loop, self->fd, self->kind->writing ? PA_POLL_OUT : PA_POLL_IN, handle);
    Py_DECREF(handle);
    if (raised != NULL)
        pa_err_restore(raised);
    return rc;
}

/* The Handle's callback: the descriptor is ready. 0 or -1. */
static int op_ready(pa_sock_op *self)
{
    if (self->future == NULL || pa_future_done(self->future))
        return 0;
    PyObject *future = Py_NewRef(self->future);
    PyObject *result = attempt_again(self);
    int rc = 0;
    if (result != NULL) {
        rc = pa_future_resolve(future, result);
    } else if ((!PyErr_Occurred() || pa_sock_would_block()) && wait_again(self) == 0) {
        ;
    } else if (pa_error_is_exit()) {
        rc = -1;
        (void)wait_again(self);
    } else {
        PyObject *exc = pa_err_take();
        rc = pa_future_reject(future, exc);
        Py_DECREF(exc);
    }
    Py_XDECREF(result);
    Py_DECREF(future);
    return rc;
}

/* The same of the loop's methods, whoever wrote them. */
static int stop_by_name(pa_sock_op *self, PyObject *loop, PyObject *handle)
{
    PyObject *cancelled = PyObject_CallMethodNoArgs(handle, self->st->names.cancelled);
    int displaced = cancelled != NULL ? PyObject_IsTrue(cancelled) : -1;
    Py_XDECREF(cancelled);
    if (displaced != 0)
        return displaced < 0 ? -1 : 0;
    PyObject *number = self->fd >= 0 ? PyLong_FromLong(self->fd) : Py_NewRef(self->number), *result = NULL;
    if (number != NULL)
        result = PyObject_CallMethodOneArg(
            loop, self->kind->writing ? self->st->names.remove_writer : self->st->names.remove_reader, number);
    Py_XDECREF(number);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* The future's done callback, on cancellation too: stop waiting, unless another operation has taken the place. 0 or -1. */
static int op_stop(pa_sock_op *self)
{
    PyObject *handle = self->handle, *loop = Py_XNewRef(self->loop);
    int rc = 0;
    self->handle = NULL;
    Py_CLEAR(self->future);
    if (handle != NULL && self->fd >= 0 && pa_loop_waits_natively((pa_loop *)loop))
        rc = pa_loop_wait_end((pa_loop *)loop, self->fd, self->kind->writing ? PA_POLL_OUT : PA_POLL_IN, handle);
    else if (handle != NULL)
        rc = stop_by_name(self, loop, handle);
    Py_XDECREF(handle);
    Py_XDECREF(loop);
    return rc;
}

/* Called by the Handle without arguments, by the future with itself. */
static PyObject *op_vectorcall(PyObject *op, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    if ((PyVectorcall_NARGS(nargsf) == 0 ? op_ready : op_stop)((pa_sock_op *)op) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* As asyncio calls the loop. New: the Handle. */
static PyObject *add_by_name(pa_sock_op *self)
{
    if (self->view == NULL && pa_sock_check_free(self) < 0) /* begin_send() has done it */
        return NULL;
    return PyObject_CallMethodObjArgs(self->loop, self->kind->writing ? self->st->names._add_writer : self->st->names._add_reader,
                                      self->number, (PyObject *)self, NULL);
}

/* The first attempt would have blocked: register, and give the future out. New. */
static PyObject *wait_for(pa_sock_op *self, pa_loop *loop)
{
    PyObject *future = pa_future_new(loop), *context = PyContext_CopyCurrent();
    int rc = -1;
    if (future == NULL || context == NULL)
        goto done;
    self->future = Py_NewRef(future);
    if (self->fd >= 0)
        self->handle = pa_loop_wait_begin(loop, self->fd, self->kind->writing ? PA_POLL_OUT : PA_POLL_IN, (PyObject *)self, context);
    else
        self->handle = add_by_name(self);
    rc = self->handle != NULL ? pa_future_when_done(future, (PyObject *)self, context) : -1;
    if (rc < 0)
        Py_CLEAR(self->future);
done:
    Py_XDECREF(context);
    if (rc < 0)
        Py_CLEAR(future);
    return future;
}

/* ---- Beginning ---- */

/* asyncio's checks of every sock_* method. 0 or -1. */
static int check_socket(pa_state *st, pa_loop *loop, PyObject *sock)
{
    int is_ssl = st->ssl_socket_class != Py_None ? PyObject_IsInstance(sock, st->ssl_socket_class) : 0;
    if (is_ssl > 0)
        PyErr_SetString(PyExc_TypeError, "Socket cannot be of type SSLSocket");
    if (is_ssl != 0)
        return -1;
    if (!pa_loop_is_debug(loop))
        return 0;
    PyObject *timeout = PyObject_CallMethodNoArgs(sock, st->names.gettimeout), *zero = PyLong_FromLong(0);
    int blocking = timeout != NULL && zero != NULL ? PyObject_RichCompareBool(timeout, zero, Py_NE) : -1;
    Py_XDECREF(timeout);
    Py_XDECREF(zero);
    if (blocking > 0)
        PyErr_SetString(PyExc_ValueError, "the socket must be non-blocking");
    return blocking != 0 ? -1 : 0;
}

/* What goes through a future in asyncio ends the wait at once, except what ends the loop: that stays raised. The failed future: new, or
 * NULL. */
static PyObject *failed_future(pa_loop *loop)
{
    if (pa_error_is_exit())
        return NULL;
    PyObject *exc = pa_err_take(), *future = pa_future_new(loop);
    if (future != NULL && pa_future_reject(future, exc) < 0)
        Py_CLEAR(future);
    Py_DECREF(exc);
    return future;
}

const pa_sock_kind pa_sock_recv = {"recv", pa_sock_call, 0, 0, &pa_sock_plain_recv};
const pa_sock_kind pa_sock_recv_into = {"recv_into", pa_sock_call, 0, 0, &pa_sock_plain_recv_into};
const pa_sock_kind pa_sock_recvfrom = {"recvfrom", pa_sock_call, 0, 0, &pa_sock_plain_recvfrom};
const pa_sock_kind pa_sock_sendall = {"send", pa_sock_call_send, 1, 0, &pa_sock_plain_send};
const pa_sock_kind pa_sock_sendto = {"sendto", pa_sock_call, 1, 0, &pa_sock_plain_sendto};
const pa_sock_kind pa_sock_accept = {"accept", pa_sock_call_accept, 0, 1, &pa_sock_plain_accept};
static const pa_sock_kind KIND_RECVFROM_INTO = {"recvfrom_into", pa_sock_call, 0, 0, &pa_sock_plain_recvfrom_into};
static const pa_sock_kind KIND_CONNECT = {"connect", pa_sock_call_connect, 1, 1, NULL};

/* The operation of something to wait for, or to be tried by its method. New. */
static pa_sock_op *new_op(pa_state *st, PyObject *loop, const pa_sock_kind *kind, PyObject *sock, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *tuple = PyTuple_New(nargs);
    if (tuple == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < nargs; i++)
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    pa_sock_op *self = PyObject_GC_New(pa_sock_op, st->SockOp);
    if (self == NULL) {
        Py_DECREF(tuple);
        return NULL;
    }
    self->st = st;
    self->loop = Py_NewRef(loop);
    self->sock = Py_NewRef(sock);
    self->kind = kind;
    self->args = tuple;
    self->view = self->number = self->future = self->handle = NULL;
    self->sent = 0;
    self->fd = -1;
    self->vectorcall = op_vectorcall;
    PyObject_GC_Track(self);
    return self;
}

/* By the socket's method; `tried`: the system call has said that the socket is not ready. As pa_sock_begin(). */
static int begin_by_method(pa_sock_op *self, pa_loop *loop, bool tried, PyObject **result)
{
    *result = NULL;
    if (self->kind->into_future && pa_sock_ask_number(self) < 0)
        return -1;
    if (!tried) {
        PyObject *got = self->kind->attempt(self);
        if (got != NULL) {
            *result = got;
            return 1;
        }
        if (!pa_sock_would_block()) {
            *result = self->kind->into_future ? failed_future(loop) : NULL;
            return *result != NULL ? 0 : -1;
        }
    }
    *result = wait_for(self, loop);
    return *result != NULL ? 0 : -1;
}

int pa_sock_begin(PyObject *loop_obj, const pa_sock_kind *kind, PyObject *sock, PyObject *const *args, Py_ssize_t nargs, PyObject **result)
{
    *result = NULL;
    pa_loop *loop = (pa_loop *)loop_obj;
    pa_state *st = pa_loop_state(loop);
    int fd = kind->plain != NULL && kind->plain->takes(args) ? pa_sock_plain_descriptor(st, sock) : -1;
    Py_ssize_t n = PA_SOCK_ASK;
    if (fd < -1 || (fd < 0 && check_socket(st, loop, sock) < 0))
        return -1;
    if (fd >= 0) {
        n = kind->plain->call(loop, sock, fd, args, 0, result);
        if (*result != NULL)
            return 1;
        if (n == -1) {
            *result = kind->into_future ? failed_future(loop) : NULL;
            return *result != NULL ? 0 : -1;
        }
    }
    pa_sock_op *self = new_op(st, loop_obj, kind, sock, args, nargs);
    if (self == NULL)
        return -1;
    bool tried = n >= 0;
    if (tried && pa_loop_waits_natively(loop))
        self->fd = fd;
    self->sent = tried ? n : 0;
    int rc = -1;
    if (tried && self->fd < 0 && pa_sock_ask_number(self) < 0)
        goto done;
    if (tried && kind == &pa_sock_sendall && ((self->fd < 0 && pa_sock_check_free(self) < 0) || pa_sock_view_data(self) < 0))
        goto done;
    rc = begin_by_method(self, loop, tried, result);
done:
    Py_DECREF(self);
    return rc;
}

/* ---- For the coroutines in pyasync/sockets.py ---- */

/* begin(sock, *args): a future, done or pending. */
static PyObject *begin(PyObject *loop_obj, const pa_sock_kind *kind, PyObject *const *args, Py_ssize_t nargs, Py_ssize_t wanted)
{
    if (nargs != wanted)
        return PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments, %zd given", kind->method, wanted, nargs);
    PyObject *result;
    int rc = pa_sock_begin(loop_obj, kind, args[0], args + 1, nargs - 1, &result);
    if (rc <= 0)
        return result;
    PyObject *future = pa_future_new((pa_loop *)loop_obj);
    if (future != NULL && pa_future_set_result(future, result) < 0)
        Py_CLEAR(future);
    Py_DECREF(result);
    return future;
}

static PyObject *begin_recvfrom_into(PyObject *loop, PyObject *const *args, Py_ssize_t nargs)
{
    return begin(loop, &KIND_RECVFROM_INTO, args, nargs, 3);
}

static PyObject *begin_connect(PyObject *loop, PyObject *const *args, Py_ssize_t nargs)
{
    return begin(loop, &KIND_CONNECT, args, nargs, 2);
}

/* The checks alone, for sock_connect(), which resolves the address between them and the attempt. */
static PyObject *check_sock(PyObject *loop_obj, PyObject *sock)
{
    pa_loop *loop = (pa_loop *)loop_obj;
    if (check_socket(pa_loop_state(loop), loop, sock) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- Type ---- */

static int op_traverse(PyObject *op, visitproc visit, void *arg)
{
    pa_sock_op *self = (pa_sock_op *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->loop);
    Py_VISIT(self->sock);
    Py_VISIT(self->args);
    Py_VISIT(self->view);
    Py_VISIT(self->number);
    Py_VISIT(self->future);
    Py_VISIT(self->handle);
    return 0;
}

static int op_clear(PyObject *op)
{
    pa_sock_op *self = (pa_sock_op *)op;
    Py_CLEAR(self->loop);
    Py_CLEAR(self->sock);
    Py_CLEAR(self->args);
    Py_CLEAR(self->view);
    Py_CLEAR(self->number);
    Py_CLEAR(self->future);
    Py_CLEAR(self->handle);
    return 0;
}

static void op_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    op_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *op_repr(PyObject *op)
{
    pa_sock_op *self = (pa_sock_op *)op;
    return PyUnicode_FromFormat("<%s of %R>", self->kind->writing ? "sending" : "receiving", self->sock != NULL ? self->sock : Py_None);
}

static PyMemberDef op_members[] = {
    {"__vectorcalloffset__", Py_T_PYSSIZET, offsetof(pa_sock_op, vectorcall), Py_READONLY, NULL},
    {NULL},
};

static PyType_Slot op_slots[] = {
    {Py_tp_call, PyVectorcall_Call},   {Py_tp_repr, op_repr},       {Py_tp_traverse, op_traverse},
    {Py_tp_clear, op_clear}, {Py_tp_dealloc, op_dealloc}, {Py_tp_members, op_members},
    {0, NULL},
};

static PyType_Spec op_spec = {
    .name = "pyasync._core._SockOp",
    .basicsize = sizeof(pa_sock_op),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_HAVE_VECTORCALL,
    .slots = op_slots,
};

#define FASTCALL(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL

static PyMethodDef loop_methods[] = {
    {"_check_sock", check_sock, METH_O, NULL},
    {"_begin_sock_recvfrom_into", FASTCALL(begin_recvfrom_into), NULL},
    {"_begin_sock_connect", FASTCALL(begin_connect), NULL},
    {NULL},
};

/* ssl.SSLSocket, or None where Python was built without ssl. */
static int find_ssl_socket(pa_state *st)
{
    PyObject *ssl = PyImport_ImportModule("ssl");
    if (ssl != NULL) {
        st->ssl_socket_class = PyObject_GetAttrString(ssl, "SSLSocket");
        Py_DECREF(ssl);
        return st->ssl_socket_class != NULL ? 0 : -1;
    }
    if (!PyErr_ExceptionMatches(PyExc_ImportError))
        return -1;
    PyErr_Clear();
    st->ssl_socket_class = Py_NewRef(Py_None);
    return 0;
}

int pa_sock_ops_setup(PyObject *module, pa_state *st)
{
    st->SockOp = (PyTypeObject *)PyType_FromModuleAndSpec(module, &op_spec, NULL);
    if (st->SockOp == NULL || find_ssl_socket(st) < 0 || pa_sock_plain_setup(st) < 0)
        return -1;
    return pa_type_add_methods(st->EventLoop, loop_methods);
}
