/* loop.sock_recv() and its kin: one operation on a user's socket, tried at once, and again whenever the descriptor is ready.
 *
 * The socket is the user's, of any class that looks like one, so an attempt calls its own methods: addresses, flags and error texts are
 * theirs. Exactly a socket.socket with nothing patched, and no time-out, is another matter: what its recv(), recv_into() and send() would
 * do is one system call, made here (`direct`); results and errors are the same. Each attempt looks anew, since a program may patch the
 * class, close the socket or give it a time-out while an operation waits.
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
#include "net/sock_ops.h"
#include "base/sys.h"
#include "rt/error.h"
#include "rt/override.h"
#include <errno.h>
#include <sys/socket.h>

typedef struct sock_op sock_op;

struct pa_sock_kind {
    const char *method;                  /* of the socket, looked up at every attempt */
    PyObject *(*attempt)(sock_op *self); /* new; NULL with BlockingIOError to wait on, or another exception */
    int writing;
    int into_future;                     /* what the first attempt raises goes through the future, after fileno() was asked */
    int (*takes)(PyObject *arg);         /* whether the system call is all that the method would do, with this argument; NULL: no */
    /* The system call, with an argument that is taken; `sent` bytes of it have gone out. Their number (0: would block), or the result,
     * new, in *result; -1 with an exception. NULL: looking whether something is there tells whether to call the method. */
    Py_ssize_t (*direct)(pa_loop *loop, int fd, PyObject *arg, Py_ssize_t sent, PyObject **result);
};

typedef struct pa_sock_kind op_kind;

struct sock_op {
    PyObject_HEAD
    pa_state *st;      /* borrowed */
    PyObject *loop;    /* owned, as the rest */
    PyObject *sock;
    const op_kind *kind;
    PyObject *args;    /* a tuple: what the socket's method is called with */
    PyObject *view;    /* sendall: a memoryview of the data's bytes, once not all of it went out at the first attempt */
    PyObject *number;  /* what the socket's fileno() said */
    PyObject *future;  /* NULL until the first attempt would have blocked */
    PyObject *handle;  /* what add_reader or add_writer returned */
    Py_ssize_t sent;   /* sendall: bytes gone; connect: 1 when the call was made */
    int fd;            /* the descriptor, where loop_wait.c waits for it; else -1 */
    vectorcallfunc vectorcall;
};

static PyObject *only_arg(sock_op *self) { return PyTuple_GET_ITEM(self->args, 0); }

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
    PyObject *view = PyMemoryView_FromObject(only_arg(self));
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
    PyObject *data = only_arg(self), *sent = PyObject_CallMethod(self->sock, self->kind->method, "(O)", data);
    int blocked = sent == NULL;
    if (blocked && (!would_block() || (sent = PyLong_FromLong(0)) == NULL))
        return NULL;
    Py_ssize_t len = PyObject_Length(data);
    PyObject *all = len >= 0 ? PyLong_FromSsize_t(len) : NULL;
    int done = all != NULL ? PyObject_RichCompareBool(sent, all, Py_EQ) : -1;
    Py_XDECREF(all);
    if (done > 0 && !PyBytes_Check(data) && !PyByteArray_Check(data) && PyObject_CheckBuffer(data))
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
    PyObject *text = PyUnicode_FromFormat("Connect call failed %S", only_arg(self));
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
    PyObject *result = attempt_call(self);
    if (result == NULL)
        return NULL;
    Py_DECREF(result);
    Py_RETURN_NONE;
}

/* ---- Attempts without the socket's method ---- */

enum { TAKES_MAX = 1 << 24 }; /* more may be more memory than there is, which the method has to say at once */

/* recv(n), recvfrom(n) */
static int takes_count(PyObject *n)
{
    if (!PyLong_CheckExact(n))
        return 0;
    int overflow;
    long count = PyLong_AsLongAndOverflow(n, &overflow);
    return count > 0 && count <= TAKES_MAX && overflow == 0;
}

/* The memory of a bytes, bytearray or ordinary memoryview object. Its size, or -1 for anything else. */
static Py_ssize_t plain_memory(PyObject *obj, int writable, char **memory)
{
    *memory = NULL;
    if (PyByteArray_CheckExact(obj)) {
        *memory = PyByteArray_AS_STRING(obj);
        return PyByteArray_GET_SIZE(obj);
    }
    if (PyBytes_CheckExact(obj) && !writable) {
        *memory = PyBytes_AS_STRING(obj);
        return PyBytes_GET_SIZE(obj);
    }
    if (!PyMemoryView_Check(obj) || ((PyMemoryViewObject *)obj)->flags & _Py_MEMORYVIEW_RELEASED)
        return -1;
    const Py_buffer *view = PyMemoryView_GET_BUFFER(obj);
    *memory = view->buf;
    return (view->readonly && writable) || view->ndim != 1 || !PyBuffer_IsContiguous(view, 'C') ? -1 : view->len;
}

/* recv_into(buffer) */
static int takes_buffer(PyObject *buffer)
{
    char *memory;
    return plain_memory(buffer, 1, &memory) > 0;
}

/* send(data): asyncio compares what went out with len(data) */
static int takes_data(PyObject *data)
{
    char *memory;
    return plain_memory(data, 0, &memory) >= 0 && (!PyMemoryView_Check(data) || PyMemoryView_GET_BUFFER(data)->itemsize == 1);
}

/* What a system call said: itself, 0 if the descriptor is not ready, -1 with the exception that the socket's method would have raised. */
static Py_ssize_t outcome_of(ssize_t rc)
{
    if (rc >= 0)
        return rc;
    if (rc == -EAGAIN || rc == -EWOULDBLOCK)
        return 0;
    pa_error_from_errno(rc);
    return -1;
}

/* The socket's method would make a bytes object of n bytes first, and cut it; the loop's buffer is there already. */
static Py_ssize_t direct_recv(pa_loop *loop, int fd, PyObject *arg, Py_ssize_t sent, PyObject **result)
{
    size_t count = (size_t)PyLong_AsLong(arg), size;
    char *buffer = pa_loop_read_buffer(loop, &size);
    PyObject *bytes = NULL;
    if (buffer == NULL)
        return -1;
    if (count > size) {
        if ((bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)count)) == NULL)
            return -1;
        buffer = PyBytes_AS_STRING(bytes);
    }
    ssize_t rc = pa_sys_recv(fd, buffer, count, MSG_DONTWAIT);
    if (rc < 0) {
        Py_XDECREF(bytes);
        return outcome_of(rc);
    }
    if (bytes == NULL)
        bytes = PyBytes_FromStringAndSize(buffer, rc);
    else
        (void)_PyBytes_Resize(&bytes, rc);
    *result = bytes;
    return bytes != NULL ? rc : -1;
}

static Py_ssize_t direct_recv_into(pa_loop *loop, int fd, PyObject *arg, Py_ssize_t sent, PyObject **result)
{
    char *memory;
    Py_ssize_t size = plain_memory(arg, 1, &memory);
    ssize_t rc = pa_sys_recv(fd, memory, (size_t)size, MSG_DONTWAIT);
    if (rc < 0)
        return outcome_of(rc);
    *result = PyLong_FromSsize_t(rc);
    return *result != NULL ? rc : -1;
}

static Py_ssize_t direct_send(pa_loop *loop, int fd, PyObject *arg, Py_ssize_t sent, PyObject **result)
{
    char *memory;
    Py_ssize_t rest = plain_memory(arg, 0, &memory) - sent;
    Py_ssize_t n = outcome_of(pa_sys_send(fd, memory + sent, (size_t)rest, MSG_DONTWAIT));
    if (n == rest)
        *result = Py_NewRef(Py_None);
    return n;
}

/* Looking (MSG_PEEK) at no bytes, which moves no offset of SO_PEEK_OFF, is harmless in these; CAN's sockets refuse it, AF_ALG's give away
 * what they show. 1, 0 or -1. */
static int can_peek(pa_state *st, PyObject *sock)
{
    PyObject *family = Py_TYPE(st->socket_family)->tp_descr_get(st->socket_family, sock, NULL);
    long value = family != NULL ? PyLong_AsLong(family) : -1;
    Py_XDECREF(family);
    if (value == -1 && PyErr_Occurred())
        return -1;
    return value == AF_INET || value == AF_INET6 || value == AF_UNIX;
}

/* Whether the first attempt of a plain socket would only raise BlockingIOError, which, with a text in the user's language, costs several
 * times as much as all the rest of waiting for one. Then there is no attempt. 1, 0, or -1 with an error: the kernel gives it out once. */
static int is_vain(pa_state *st, PyObject *sock, int fd)
{
    int peeks = can_peek(st, sock);
    if (peeks <= 0)
        return peeks;
    char nothing;
    int rc = (int)pa_sys_recv(fd, &nothing, 0, MSG_PEEK | MSG_DONTWAIT);
    if (rc >= 0 || rc == -EAGAIN || rc == -EWOULDBLOCK)
        return rc < 0;
    pa_error_from_errno(rc);
    return -1;
}

/* The descriptor of a plain socket that never blocks; -1 for any other, or a closed one; -2 with an exception. */
static int plain_descriptor(pa_state *st, PyObject *sock)
{
    if (Py_TYPE(sock) != (PyTypeObject *)st->socket_class ||
        !pa_override_none(Py_TYPE(sock), st->socket_methods, &st->socket_overrides))
        return -1;
    PyObject *timeout = st->socket_gettimeout(sock, NULL);
    if (timeout == NULL)
        return -2;
    int blocks = !PyFloat_CheckExact(timeout) || PyFloat_AS_DOUBLE(timeout) != 0.0;
    Py_DECREF(timeout);
    if (blocks)
        return -1;
    PyObject *number = st->socket_fileno(sock, NULL);
    long fd = number != NULL ? PyLong_AsLong(number) : -1;
    Py_XDECREF(number);
    return fd == -1 && PyErr_Occurred() ? -2 : (int)fd;
}

/* ---- Waiting ---- */

/* An attempt while waiting: new; NULL with BlockingIOError, or nothing raised, to wait on; or another exception. */
static PyObject *attempt_again(sock_op *self)
{
    const op_kind *kind = self->kind;
    int fd = self->fd >= 0 && kind->direct != NULL && kind->takes(only_arg(self)) ? plain_descriptor(self->st, self->sock) : -1;
    if (fd < 0 || fd != self->fd)
        return fd < -1 ? NULL : kind->attempt(self);
    PyObject *result = NULL;
    Py_ssize_t n = kind->direct((pa_loop *)self->loop, fd, only_arg(self), self->sent, &result);
    if (result == NULL && n > 0)
        self->sent += n;
    return result;
}

/* Not yet done: what was reported is to be reported again. 0 or -1; keeps a raised exception. */
static int wait_again(sock_op *self)
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
static int op_ready(sock_op *self)
{
    if (self->future == NULL || pa_future_done(self->future))
        return 0;
    PyObject *future = Py_NewRef(self->future);
    PyObject *result = attempt_again(self);
    int rc = 0;
    if (result != NULL) {
        rc = pa_future_resolve(future, result);
    } else if ((!PyErr_Occurred() || would_block()) && wait_again(self) == 0) {
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
static int stop_by_name(sock_op *self, PyObject *loop, PyObject *handle)
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
static int op_stop(sock_op *self)
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
    if ((PyVectorcall_NARGS(nargsf) == 0 ? op_ready : op_stop)((sock_op *)op) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* As asyncio calls the loop. New: the Handle. */
static PyObject *add_by_name(sock_op *self)
{
    if (self->view == NULL && check_free(self) < 0) /* begin_send() has done it */
        return NULL;
    return PyObject_CallMethodObjArgs(self->loop, self->kind->writing ? self->st->names._add_writer : self->st->names._add_reader,
                                      self->number, (PyObject *)self, NULL);
}

/* The first attempt would have blocked: register, and give the future out. New. */
static PyObject *wait_for(sock_op *self, pa_loop *loop)
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

const pa_sock_kind pa_sock_recv = {"recv", attempt_call, 0, 0, takes_count, direct_recv};
const pa_sock_kind pa_sock_recv_into = {"recv_into", attempt_call, 0, 0, takes_buffer, direct_recv_into};
const pa_sock_kind pa_sock_recvfrom = {"recvfrom", attempt_call, 0, 0, takes_count, NULL};
const pa_sock_kind pa_sock_sendall = {"send", attempt_sendall, 1, 0, takes_data, direct_send};
const pa_sock_kind pa_sock_sendto = {"sendto", attempt_call, 1, 0, NULL, NULL};
const pa_sock_kind pa_sock_accept = {"accept", attempt_accept, 0, 1, NULL, NULL};
static const pa_sock_kind KIND_RECVFROM_INTO = {"recvfrom_into", attempt_call, 0, 0, NULL, NULL};
static const pa_sock_kind KIND_CONNECT = {"connect", attempt_connect, 1, 1, NULL, NULL};

/* The operation of something to wait for, or to be tried by its method. New. */
static sock_op *new_op(pa_state *st, PyObject *loop, const op_kind *kind, PyObject *sock, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *tuple = PyTuple_New(nargs);
    if (tuple == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < nargs; i++)
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    sock_op *self = PyObject_GC_New(sock_op, st->SockOp);
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

/* By the socket's method; `vain`: it would only say that the socket is not ready. As pa_sock_begin(). */
static int begin_by_method(sock_op *self, pa_loop *loop, int vain, PyObject **result)
{
    *result = NULL;
    if (self->kind->into_future && ask_number(self) < 0)
        return -1;
    if (!vain) {
        PyObject *got = self->kind->attempt(self);
        if (got != NULL) {
            *result = got;
            return 1;
        }
        if (!would_block()) {
            *result = self->kind->into_future ? failed_future(loop) : NULL;
            return *result != NULL ? 0 : -1;
        }
    }
    *result = wait_for(self, loop);
    return *result != NULL ? 0 : -1;
}

/* The first attempt of a plain socket by a system call. 1 with the result; 0, with the bytes that went out in *sent, to wait; -1. */
static int try_directly(pa_state *st, pa_loop *loop, const op_kind *kind, PyObject *sock, int fd, PyObject *arg, Py_ssize_t *sent,
                        PyObject **result)
{
    if (kind->direct == NULL) {
        int vain = is_vain(st, sock, fd);
        return vain > 0 ? 0 : vain < 0 ? -1 : 2;
    }
    Py_ssize_t n = kind->direct(loop, fd, arg, 0, result);
    if (*result != NULL || n < 0)
        return n < 0 ? -1 : 1;
    *sent = n;
    return 0;
}

int pa_sock_begin(PyObject *loop_obj, const pa_sock_kind *kind, PyObject *sock, PyObject *const *args, Py_ssize_t nargs, PyObject **result)
{
    *result = NULL;
    pa_loop *loop = (pa_loop *)loop_obj;
    pa_state *st = pa_loop_state(loop);
    int fd = kind->takes != NULL && kind->takes(args[0]) ? plain_descriptor(st, sock) : -1;
    Py_ssize_t sent = 0;
    int tried = 2;
    if (fd < -1 || (fd < 0 && check_socket(st, loop, sock) < 0))
        return -1;
    if (fd >= 0 && (tried = try_directly(st, loop, kind, sock, fd, args[0], &sent, result)) != 0 && tried != 2)
        return tried;
    sock_op *self = new_op(st, loop_obj, kind, sock, args, nargs);
    if (self == NULL)
        return -1;
    if (tried == 0 && pa_loop_waits_natively(loop))
        self->fd = fd;
    self->sent = sent;
    int rc = -1;
    if (tried == 0 && self->fd < 0 && ask_number(self) < 0)
        goto done;
    if (tried == 0 && kind == &pa_sock_sendall && ((self->fd < 0 && check_free(self) < 0) || view_data(self) < 0))
        goto done;
    rc = begin_by_method(self, loop, tried == 0, result);
done:
    Py_DECREF(self);
    return rc;
}

/* ---- For the coroutines in pyasync/sockets.py ---- */

/* begin(sock, *args): a future, done or pending. */
static PyObject *begin(PyObject *loop_obj, const op_kind *kind, PyObject *const *args, Py_ssize_t nargs, Py_ssize_t wanted)
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

static PyMemberDef op_members[] = {
    {"__vectorcalloffset__", Py_T_PYSSIZET, offsetof(sock_op, vectorcall), Py_READONLY, NULL},
    {NULL},
};

static PyType_Slot op_slots[] = {
    {Py_tp_call, PyVectorcall_Call},   {Py_tp_repr, op_repr},       {Py_tp_traverse, op_traverse},
    {Py_tp_clear, op_clear}, {Py_tp_dealloc, op_dealloc}, {Py_tp_members, op_members},
    {0, NULL},
};

static PyType_Spec op_spec = {
    .name = "pyasync._core._SockOp",
    .basicsize = sizeof(sock_op),
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
    static const char *const methods[] = {"recv", "recv_into", "recvfrom", "send", "fileno", "gettimeout", NULL};
    st->SockOp = (PyTypeObject *)PyType_FromModuleAndSpec(module, &op_spec, NULL);
    PyObject *base = NULL; /* socket.socket derives from it, and has its methods, unless a program patched it before we came */
    if (st->SockOp == NULL || find_ssl_socket(st) < 0 || pa_import_from("socket", "socket", &st->socket_class) < 0 ||
        pa_import_from("_socket", "socket", &base) < 0)
        return -1;
    st->socket_methods = pa_override_originals((PyTypeObject *)base, NULL, methods);
    st->socket_family = st->socket_methods != NULL ? PyObject_GetAttrString(base, "family") : NULL;
    int found = st->socket_family != NULL && pa_find_method(base, "fileno", METH_NOARGS, &st->socket_fileno) == 0 &&
                pa_find_method(base, "gettimeout", METH_NOARGS, &st->socket_gettimeout) == 0;
    Py_DECREF(base);
    return found ? pa_type_add_methods(st->EventLoop, loop_methods) : -1;
}
