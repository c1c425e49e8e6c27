/* loop.sock_recv() and its kin: one operation on a user's socket, tried at once, and again whenever the descriptor is ready.
 *
 * The socket is the user's, of any class that looks like one, so every attempt calls its own methods: addresses, flags and error texts
 * are theirs. (A plain socket is looked into before a first attempt to receive.) What is native is the waiting: a SockOp is the callable that add_reader() or add_writer() gets, and the future's done
 * callback that takes it away again. As in asyncio a second operation of the same direction on a descriptor displaces the first, and a
 * reading and a writing one go side by side; that is what the loop's Handles do, so they are used, and not a watch.
 *
 * _begin_sock_*() return a future, done or pending, or raise what the first attempt raised. The coroutines around them are in
 * pyasync/sockets.py. A SockOp lives as long as its Handle or its future; it belongs to the loop's thread.
 */
#include "core/future.h"
#include "net/net.h"
#include "base/sys.h"
#include "rt/error.h"
#include "rt/override.h"
#include <errno.h>
#include <sys/socket.h>

typedef struct sock_op sock_op;

typedef struct {
    const char *method;                  /* of the socket, looked up at every attempt */
    PyObject *(*attempt)(sock_op *self); /* new; NULL with BlockingIOError to wait on, or another exception */
    int writing;
    int into_future;                     /* what the first attempt raises goes through the future, after fileno() was asked */
    int (*takes)(PyObject *args);        /* of receiving ones: whether it would take at least a byte, with such arguments; NULL: no */
} op_kind;

struct sock_op {
    PyObject_HEAD
    pa_state *st;      /* borrowed */
    PyObject *loop;    /* owned, as the rest */
    PyObject *sock;
    const op_kind *kind;
    PyObject *args;    /* what the socket's method is called with: a tuple; for connect the address, for sendall the data */
    PyObject *view;    /* sendall: a memoryview of the data's bytes, once not all of it went out at the first attempt */
    PyObject *number;  /* what the socket's fileno() said */
    PyObject *future;  /* NULL until the first attempt would have blocked */
    PyObject *handle;  /* what add_reader or add_writer returned */
    Py_ssize_t sent;   /* sendall: bytes gone; connect: 1 when the call was made */
};

/* ---- Attempts ---- */

/* Whether the raised exception means that the descriptor is not ready; clears it then. */
static int would_block(void)
{
    if (!PyErr_ExceptionMatches(PyExc_BlockingIOError) && !PyErr_ExceptionMatches(PyExc_InterruptedError))
        return 0;
    PyErr_Clear();
    return 1;
}

/* sock.fileno(), asked once. 0 or -1. */
static int ask_number(sock_op *self)
{
    if (self->number == NULL)
        self->number = PyObject_CallMethodNoArgs(self->sock, self->st->names.fileno);
    return self->number != NULL ? 0 : -1;
}

/* asyncio's check before an operation waits: no transport may have the descriptor. 0 or -1. */
static int check_free(sock_op *self)
{
    PyObject *checked = ask_number(self) == 0
                            ? PyObject_CallMethodOneArg(self->loop, self->st->names._ensure_fd_no_transport, self->number)
                            : NULL;
    Py_XDECREF(checked);
    return checked != NULL ? 0 : -1;
}

static PyObject *attempt_call(sock_op *self)
{
    PyObject *method = PyObject_GetAttrString(self->sock, self->kind->method);
    PyObject *result = method != NULL ? PyObject_Call(method, self->args, NULL) : NULL;
    Py_XDECREF(method);
    return result;
}

/* The data of sendall() as bytes, whatever its items are: a number of bytes can be counted in it. 0 or -1. */
static int view_data(sock_op *self)
{
    PyObject *view = PyMemoryView_FromObject(self->args);
    if (view == NULL)
        return -1;
    const Py_buffer *buffer = PyMemoryView_GET_BUFFER(view);
    if (buffer->ndim != 1 || buffer->itemsize != 1)
        Py_SETREF(view, PyObject_CallMethod(view, "cast", "s", "B"));
    self->view = view;
    return view != NULL ? 0 : -1;
}

/* How many bytes went out: a number that a socket, or what looks like one, returned. Steals it. -1 with an exception. */
static Py_ssize_t count_sent(PyObject *sent)
{
    Py_ssize_t n = sent != NULL ? PyNumber_AsSsize_t(sent, PyExc_OverflowError) : -1;
    Py_XDECREF(sent);
    if (n < 0 && !PyErr_Occurred())
        PyErr_Format(PyExc_ValueError, "send() returned %zd", n);
    return n;
}

/* The first attempt gets the data as it is. What it leaves, and whatever has to wait, is looked at as bytes. */
static PyObject *begin_send(sock_op *self)
{
    PyObject *sent = PyObject_CallMethod(self->sock, self->kind->method, "(O)", self->args);
    int blocked = sent == NULL;
    if (blocked && (!would_block() || (sent = PyLong_FromLong(0)) == NULL))
        return NULL;
    Py_ssize_t len = PyObject_Length(self->args);
    PyObject *all = len >= 0 ? PyLong_FromSsize_t(len) : NULL;
    int done = all != NULL ? PyObject_RichCompareBool(sent, all, Py_EQ) : -1;
    Py_XDECREF(all);
    if (done > 0 && !PyBytes_Check(self->args) && !PyByteArray_Check(self->args) && PyObject_CheckBuffer(self->args))
        done = blocked; /* the length is of items, not of bytes */
    if (done != 0) {
        Py_DECREF(sent);
        return done > 0 ? Py_NewRef(Py_None) : NULL;
    }
    if (check_free(self) < 0 || view_data(self) < 0) {
        Py_DECREF(sent);
        return NULL;
    }
    self->sent = count_sent(sent);
    if (self->sent < 0)
        return NULL;
    if (self->sent >= PyMemoryView_GET_BUFFER(self->view)->len)
        Py_RETURN_NONE;
    PyErr_SetNone(PyExc_BlockingIOError);
    return NULL;
}

static PyObject *attempt_sendall(sock_op *self)
{
    if (self->view == NULL)
        return begin_send(self);
    Py_ssize_t len = PyMemoryView_GET_BUFFER(self->view)->len;
    PyObject *rest = PySequence_GetSlice(self->view, self->sent, len);
    Py_ssize_t n = rest != NULL ? count_sent(PyObject_CallMethod(self->sock, self->kind->method, "O", rest)) : -1;
    Py_XDECREF(rest);
    if (n < 0)
        return NULL;
    if (n >= len - self->sent)
        Py_RETURN_NONE;
    self->sent += n;
    PyErr_SetNone(PyExc_BlockingIOError);
    return NULL;
}

/* What accept() returned as (connection, address). Steals it. New, or NULL with what unpacking it says. */
static PyObject *as_pair(PyObject *accepted)
{
    PyObject *pair = NULL;
    if (PyTuple_CheckExact(accepted))
        pair = Py_NewRef(accepted);
    else if (Py_TYPE(accepted)->tp_iter == NULL && !PySequence_Check(accepted))
        PyErr_Format(PyExc_TypeError, "cannot unpack non-iterable %.200s object", Py_TYPE(accepted)->tp_name);
    else
        pair = PySequence_Tuple(accepted);
    Py_DECREF(accepted);
    if (pair != NULL && PyTuple_GET_SIZE(pair) != 2) {
        if (PyTuple_GET_SIZE(pair) < 2)
            PyErr_Format(PyExc_ValueError, "not enough values to unpack (expected 2, got %zd)", PyTuple_GET_SIZE(pair));
        else
            PyErr_SetString(PyExc_ValueError, "too many values to unpack (expected 2)");
        Py_CLEAR(pair);
    }
    return pair;
}

static PyObject *attempt_accept(sock_op *self)
{
    PyObject *accepted = PyObject_CallMethod(self->sock, self->kind->method, NULL);
    PyObject *pair = accepted != NULL ? as_pair(accepted) : NULL;
    if (pair == NULL)
        return NULL;
    PyObject *result = PyObject_CallMethodOneArg(PyTuple_GET_ITEM(pair, 0), self->st->names.setblocking, Py_False);
    if (result == NULL)
        Py_CLEAR(pair);
    Py_XDECREF(result);
    return pair;
}

/* The connect() that was begun has ended: how is in SO_ERROR. */
static PyObject *finish_connect(sock_op *self)
{
    PyObject *error = PyObject_CallMethod(self->sock, "getsockopt", "ii", SOL_SOCKET, SO_ERROR);
    long code = error != NULL ? PyLong_AsLong(error) : -1;
    Py_XDECREF(error);
    if (code == -1 && PyErr_Occurred())
        return NULL;
    if (code == 0)
        Py_RETURN_NONE;
    PyObject *text = PyUnicode_FromFormat("Connect call failed %S", self->args);
    PyObject *exc = text != NULL ? PyObject_CallFunction(PyExc_OSError, "lN", code, text) : NULL;
    if (exc != NULL)
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
    Py_XDECREF(exc);
    return NULL;
}

static PyObject *attempt_connect(sock_op *self)
{
    if (self->sent)
        return finish_connect(self);
    self->sent = 1;
    PyObject *result = PyObject_CallMethod(self->sock, self->kind->method, "(O)", self->args);
    if (result == NULL)
        return NULL;
    Py_DECREF(result);
    Py_RETURN_NONE;
}

/* ---- Attempts that would be in vain ---- */

enum { TAKES_MAX = 1 << 24 }; /* more may be more memory than there is, which the attempt has to say at once */

/* recv(n), recvfrom(n) */
static int takes_count(PyObject *args)
{
    PyObject *n = PyTuple_GET_SIZE(args) == 1 ? PyTuple_GET_ITEM(args, 0) : NULL;
    if (n == NULL || !PyLong_CheckExact(n))
        return 0;
    int overflow;
    long count = PyLong_AsLongAndOverflow(n, &overflow);
    return count > 0 && count <= TAKES_MAX && overflow == 0;
}

/* recv_into(buffer) */
static int takes_buffer(PyObject *args)
{
    PyObject *buffer = PyTuple_GET_SIZE(args) == 1 ? PyTuple_GET_ITEM(args, 0) : NULL;
    if (buffer != NULL && PyMemoryView_Check(buffer)) {
        const Py_buffer *view = PyMemoryView_GET_BUFFER(buffer);
        if (((PyMemoryViewObject *)buffer)->flags & _Py_MEMORYVIEW_RELEASED)
            return 0;
        return !view->readonly && view->len > 0 && view->ndim == 1 && PyBuffer_IsContiguous(view, 'C');
    }
    return buffer != NULL && PyByteArray_CheckExact(buffer) && PyByteArray_GET_SIZE(buffer) > 0;
}

/* Looking (MSG_PEEK) is harmless in these; CAN's sockets refuse it, AF_ALG's give away what they show. 1, 0 or -1. */
static int can_peek(sock_op *self)
{
    PyObject *family = Py_TYPE(self->st->socket_family)->tp_descr_get(self->st->socket_family, self->sock, NULL);
    long value = family != NULL ? PyLong_AsLong(family) : -1;
    Py_XDECREF(family);
    if (value == -1 && PyErr_Occurred())
        return -1;
    return value == AF_INET || value == AF_INET6 || value == AF_UNIX;
}

/* Whether the first attempt of a plain socket would only raise BlockingIOError, which, with a text in the user's language, costs several
 * times as much as all the rest of waiting for one. Then there is no attempt. 1, 0, or -1 with an error, which the kernel gives out once. */
static int is_vain(sock_op *self)
{
    pa_state *st = self->st;
    if (self->kind->takes == NULL || Py_TYPE(self->sock) != (PyTypeObject *)st->socket_class || !self->kind->takes(self->args) ||
        !pa_override_none(Py_TYPE(self->sock), st->socket_methods, &st->socket_overrides))
        return 0;
    int peeks = can_peek(self);
    if (peeks <= 0)
        return peeks;
    if (ask_number(self) < 0)
        return -1;
    int fd = PyObject_AsFileDescriptor(self->number);
    if (fd < 0) { /* closed: the attempt will say so */
        PyErr_Clear();
        return 0;
    }
    char first;
    int rc = (int)pa_sys_recv(fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);
    if (rc >= 0 || rc == -EAGAIN || rc == -EWOULDBLOCK)
        return rc < 0;
    pa_error_from_errno(rc);
    return -1;
}

/* ---- Waiting ---- */

/* The Handle's callback: the descriptor is ready. */
static PyObject *op_call(PyObject *op, PyObject *args, PyObject *kwargs)
{
    sock_op *self = (sock_op *)op;
    if (self->future == NULL || pa_future_done(self->future))
        Py_RETURN_NONE;
    PyObject *future = Py_NewRef(self->future);
    PyObject *result = self->kind->attempt(self);
    int rc;
    if (result != NULL)
        rc = pa_future_resolve(future, result);
    else if (would_block())
        rc = 0;
    else if (pa_error_is_exit())
        rc = -1;
    else {
        PyObject *exc = pa_err_take();
        rc = pa_future_reject(future, exc);
        Py_DECREF(exc);
    }
    Py_XDECREF(result);
    Py_DECREF(future);
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* The future's done callback, on cancellation too: stop waiting, unless another operation has taken the place. */
static PyObject *op_stop(PyObject *op, PyObject *future)
{
    sock_op *self = (sock_op *)op;
    PyObject *handle = self->handle, *loop = Py_XNewRef(self->loop);
    int displaced = 0;
    self->handle = NULL;
    Py_CLEAR(self->future);
    if (handle != NULL) {
        PyObject *cancelled = PyObject_CallMethodNoArgs(handle, self->st->names.cancelled);
        displaced = cancelled != NULL ? PyObject_IsTrue(cancelled) : -1;
        Py_XDECREF(cancelled);
        Py_DECREF(handle);
    }
    PyObject *result = displaced != 0 ? Py_NewRef(Py_None) : NULL;
    if (displaced == 0)
        result = PyObject_CallMethodOneArg(loop, self->kind->writing ? self->st->names.remove_writer : self->st->names.remove_reader,
                                           self->number);
    Py_XDECREF(loop);
    if (result == NULL || displaced < 0) {
        Py_XDECREF(result);
        return NULL;
    }
    Py_DECREF(result);
    Py_RETURN_NONE;
}

/* The first attempt would have blocked: register, and give the future out. New. */
static PyObject *wait_for(sock_op *self, pa_loop *loop)
{
    if (self->view == NULL && check_free(self) < 0) /* begin_send() has done it */
        return NULL;
    PyObject *future = pa_future_new(loop), *stop = NULL, *added = NULL;
    if (future == NULL)
        return NULL;
    self->future = Py_NewRef(future);
    self->handle = PyObject_CallMethodObjArgs(
        self->loop, self->kind->writing ? self->st->names._add_writer : self->st->names._add_reader, self->number, (PyObject *)self, NULL);
    if (self->handle != NULL)
        stop = PyObject_GetAttr((PyObject *)self, self->st->names._stop);
    if (stop != NULL)
        added = PyObject_CallMethodOneArg(future, self->st->names.add_done_callback, stop);
    if (added == NULL) {
        Py_CLEAR(future);
        Py_CLEAR(self->future);
    }
    Py_XDECREF(added);
    Py_XDECREF(stop);
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

/* A done future. Steals the result (NULL: an exception is raised, and stays). New. */
static PyObject *done_future(pa_loop *loop, PyObject *result)
{
    PyObject *future = result != NULL ? pa_future_new(loop) : NULL;
    if (future != NULL && pa_future_set_result(future, result) < 0)
        Py_CLEAR(future);
    Py_XDECREF(result);
    return future;
}

/* A future that failed with what is raised now, except what ends the loop: that stays raised. New, or NULL. */
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

static const op_kind KIND_RECV = {"recv", attempt_call, 0, 0, takes_count};
static const op_kind KIND_RECV_INTO = {"recv_into", attempt_call, 0, 0, takes_buffer};
static const op_kind KIND_RECVFROM = {"recvfrom", attempt_call, 0, 0, takes_count};
static const op_kind KIND_RECVFROM_INTO = {"recvfrom_into", attempt_call, 0, 0, NULL};
static const op_kind KIND_SENDALL = {"send", attempt_sendall, 1, 0, NULL};
static const op_kind KIND_SENDTO = {"sendto", attempt_call, 1, 0, NULL};
static const op_kind KIND_CONNECT = {"connect", attempt_connect, 1, 1, NULL};
static const op_kind KIND_ACCEPT = {"accept", attempt_accept, 0, 1, NULL};

/* Tries, and waits if need be. `args` is borrowed. New: a future. */
static PyObject *begin(PyObject *loop_obj, const op_kind *kind, PyObject *sock, PyObject *args)
{
    pa_state *st = pa_state_of_type(Py_TYPE(loop_obj));
    pa_loop *loop = st != NULL ? pa_loop_from(st, loop_obj) : NULL;
    if (loop == NULL || args == NULL || check_socket(st, loop, sock) < 0)
        return NULL;
    sock_op *self = (sock_op *)st->SockOp->tp_alloc(st->SockOp, 0);
    if (self == NULL)
        return NULL;
    self->st = st;
    self->loop = Py_NewRef(loop_obj);
    self->sock = Py_NewRef(sock);
    self->args = Py_NewRef(args);
    self->kind = kind;
    PyObject *future = NULL;
    int vain = kind->into_future && ask_number(self) < 0 ? -1 : is_vain(self);
    if (vain > 0) {
        future = wait_for(self, loop);
    } else if (vain == 0) {
        PyObject *result = kind->attempt(self);
        if (result != NULL)
            future = done_future(loop, result);
        else if (would_block())
            future = wait_for(self, loop);
        else if (kind->into_future)
            future = failed_future(loop);
    }
    Py_DECREF(self);
    return future;
}

static int check_count(const char *name, Py_ssize_t nargs, Py_ssize_t wanted)
{
    if (nargs == wanted)
        return 0;
    PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments, %zd given", name, wanted, nargs);
    return -1;
}

/* begin() with args[1:] as the socket method's arguments. */
static PyObject *begin_call(PyObject *loop, const op_kind *kind, PyObject *const *args, Py_ssize_t nargs, Py_ssize_t wanted)
{
    if (check_count(kind->method, nargs, wanted) < 0)
        return NULL;
    PyObject *rest = PyTuple_New(nargs - 1);
    for (Py_ssize_t i = 1; rest != NULL && i < nargs; i++)
        PyTuple_SET_ITEM(rest, i - 1, Py_NewRef(args[i]));
    PyObject *future = begin(loop, kind, args[0], rest);
    Py_XDECREF(rest);
    return future;
}

static PyObject *begin_recv(PyObject *loop, PyObject *const *args, Py_ssize_t nargs)
{
    return begin_call(loop, &KIND_RECV, args, nargs, 2);
}

static PyObject *begin_recv_into(PyObject *loop, PyObject *const *args, Py_ssize_t nargs)
{
    return begin_call(loop, &KIND_RECV_INTO, args, nargs, 2);
}

static PyObject *begin_recvfrom(PyObject *loop, PyObject *const *args, Py_ssize_t nargs)
{
    return begin_call(loop, &KIND_RECVFROM, args, nargs, 2);
}

static PyObject *begin_recvfrom_into(PyObject *loop, PyObject *const *args, Py_ssize_t nargs)
{
    return begin_call(loop, &KIND_RECVFROM_INTO, args, nargs, 3);
}

static PyObject *begin_sendto(PyObject *loop, PyObject *const *args, Py_ssize_t nargs)
{
    return begin_call(loop, &KIND_SENDTO, args, nargs, 3);
}

static PyObject *begin_sendall(PyObject *loop, PyObject *const *args, Py_ssize_t nargs)
{
    return check_count("sendall", nargs, 2) == 0 ? begin(loop, &KIND_SENDALL, args[0], args[1]) : NULL;
}

static PyObject *begin_connect(PyObject *loop, PyObject *const *args, Py_ssize_t nargs)
{
    return check_count("connect", nargs, 2) == 0 ? begin(loop, &KIND_CONNECT, args[0], args[1]) : NULL;
}

static PyObject *begin_accept(PyObject *loop, PyObject *sock) { return begin(loop, &KIND_ACCEPT, sock, Py_None); }

/* The checks alone, for sock_connect(), which resolves the address between them and the attempt. */
static PyObject *check_sock(PyObject *loop_obj, PyObject *sock)
{
    pa_state *st = pa_state_of_type(Py_TYPE(loop_obj));
    pa_loop *loop = st != NULL ? pa_loop_from(st, loop_obj) : NULL;
    if (loop == NULL || check_socket(st, loop, sock) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- Type ---- */

static int op_traverse(PyObject *op, visitproc visit, void *arg)
{
    sock_op *self = (sock_op *)op;
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
    sock_op *self = (sock_op *)op;
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
    sock_op *self = (sock_op *)op;
    return PyUnicode_FromFormat("<%s of %R>", self->kind->writing ? "sending" : "receiving", self->sock != NULL ? self->sock : Py_None);
}

static PyMethodDef op_methods[] = {
    {"_stop", op_stop, METH_O, NULL},
    {NULL},
};

static PyType_Slot op_slots[] = {
    {Py_tp_call, op_call},   {Py_tp_repr, op_repr},       {Py_tp_traverse, op_traverse},
    {Py_tp_clear, op_clear}, {Py_tp_dealloc, op_dealloc}, {Py_tp_methods, op_methods},
    {0, NULL},
};

static PyType_Spec op_spec = {
    .name = "pyasync._core._SockOp",
    .basicsize = sizeof(sock_op),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = op_slots,
};

#define FASTCALL(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL

static PyMethodDef loop_methods[] = {
    {"_check_sock", check_sock, METH_O, NULL},
    {"_begin_sock_recv", FASTCALL(begin_recv), NULL},
    {"_begin_sock_recv_into", FASTCALL(begin_recv_into), NULL},
    {"_begin_sock_recvfrom", FASTCALL(begin_recvfrom), NULL},
    {"_begin_sock_recvfrom_into", FASTCALL(begin_recvfrom_into), NULL},
    {"_begin_sock_sendall", FASTCALL(begin_sendall), NULL},
    {"_begin_sock_sendto", FASTCALL(begin_sendto), NULL},
    {"_begin_sock_connect", FASTCALL(begin_connect), NULL},
    {"_begin_sock_accept", begin_accept, METH_O, NULL},
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
    static const char *const methods[] = {"recv", "recv_into", "recvfrom", "fileno", NULL};
    st->SockOp = (PyTypeObject *)PyType_FromModuleAndSpec(module, &op_spec, NULL);
    if (st->SockOp == NULL || find_ssl_socket(st) < 0 || pa_import_from("socket", "socket", &st->socket_class) < 0)
        return -1;
    st->socket_methods = pa_override_originals((PyTypeObject *)st->socket_class, NULL, methods);
    PyTypeObject *base = ((PyTypeObject *)st->socket_class)->tp_base;
    st->socket_family = st->socket_methods != NULL ? PyObject_GetAttrString((PyObject *)base, "family") : NULL;
    if (st->socket_family == NULL)
        return -1;
    return pa_type_add_methods(st->EventLoop, loop_methods);
}
