/* Accepting connections: what asyncio's Server asks of the loop, _start_serving() and _stop_serving().
 *
 * The Server stays asyncio's class. A Listener is the callable that the loop's _add_reader() gets for a listening socket, so that
 * remove_reader() on it does what it always did. It accepts everything that waits, up to backlog + 1 connections, and makes transports
 * of the bare descriptors: no Python socket, no task. Where somebody could tell (TLS, debug mode, a replaced _make_socket_transport)
 * it calls asyncio's own _accept_connection() instead.
 *
 * A Listener is owned by its Handle, and owns the socket object; Server._stop_serving() closes that. The loop's thread only.
 */
#include "core/future.h"
#include "net/net.h"
#include "net/transport.h"
#include "rt/args.h"
#include "rt/error.h"
#include <errno.h>

#define ACCEPT_RETRY_DELAY 1 /* seconds, as asyncio.constants */
#define DEFAULT_BACKLOG 100  /* of _start_serving() */

/* The arguments of _start_serving(), by place. */
enum { ARG_FACTORY, ARG_SOCK, ARG_SSL, ARG_SERVER, ARG_BACKLOG, ARG_HANDSHAKE, ARG_SHUTDOWN, ARG_CONTEXT, ARG_COUNT };

static const char *const serving_names[] = {"protocol_factory",     "sock", "sslcontext", "server", "backlog", "ssl_handshake_timeout",
                                            "ssl_shutdown_timeout", PA_TRANSPORT_CONTEXT_ARGUMENT NULL};

typedef struct {
    PyObject_HEAD
    pa_state *st;              /* borrowed */
    PyObject *loop;            /* owned, as the rest */
    PyObject *args[ARG_COUNT]; /* NULL: not given */
    long backlog;
    int fd, family, type, proto;
} listener;

/* ---- Accepting ---- */

/* loop._accept_connection(...) with what _start_serving() was given: asyncio's own code. */
static PyObject *accept_as_asyncio(listener *self)
{
    PyObject *kwargs = PyDict_New(), *empty = PyTuple_New(0), *method = NULL, *result = NULL;
    int rc = kwargs != NULL && empty != NULL ? 0 : -1;
    for (int i = 0; rc == 0 && serving_names[i] != NULL; i++)
        if (self->args[i] != NULL)
            rc = PyDict_SetItemString(kwargs, serving_names[i], self->args[i]);
    if (rc == 0 && (method = PyObject_GetAttrString(self->loop, "_accept_connection")) != NULL)
        result = PyObject_Call(method, empty, kwargs);
    Py_XDECREF(method);
    Py_XDECREF(kwargs);
    Py_XDECREF(empty);
    return result;
}

/* The context a new connection starts in: a copy of the server's own (3.15), or of the current one. New. */
static PyObject *connection_context(listener *self, PyObject **own)
{
    PyObject *given = self->args[ARG_CONTEXT];
    PyObject *context = given != NULL && given != Py_None ? PyContext_Copy(given) : PyContext_CopyCurrent();
    *own = given != NULL && given != Py_None ? context : NULL;
    return context;
}

/* protocol_factory() and a transport on fd. Steals fd and peer. New, or NULL. */
static PyObject *make_connection(listener *self, pa_loop *loop, int fd, pa_address *peer, PyObject *context)
{
    PyObject *protocol = PyObject_CallNoArgs(self->args[ARG_FACTORY]);
    if (protocol == NULL) {
        pa_sys_close(fd);
        PyMem_Free(peer);
        return NULL;
    }
    PyObject *transport =
        pa_transport_accepted(loop, fd, self->family, self->type, self->proto, peer, protocol, self->args[ARG_SERVER], context);
    Py_DECREF(protocol);
    return transport;
}

/* A connection was accepted. What goes wrong in making its protocol and transport asyncio tells in debug mode only (then we are not
 * here). Steals fd and peer. 0; -1 with SystemExit or KeyboardInterrupt. */
static int serve(listener *self, pa_loop *loop, int fd, pa_address *peer)
{
    PyObject *own = NULL, *transport = NULL;
    PyObject *context = peer != NULL ? connection_context(self, &own) : NULL;
    if (context == NULL || PyContext_Enter(context) < 0) {
        pa_sys_close(fd);
        PyMem_Free(peer);
    }
    else {
        transport = make_connection(self, loop, fd, peer, own);
        PyObject *raised = transport == NULL ? pa_err_take() : NULL;
        if (PyContext_Exit(context) < 0)
            PyErr_Clear();
        if (raised != NULL)
            pa_err_restore(raised);
    }
    Py_XDECREF(context);
    if (transport == NULL) {
        if (pa_error_is_exit())
            return -1;
        PyErr_Clear();
    }
    Py_XDECREF(transport);
    return 0;
}

/* asyncio's default of an argument of _start_serving(). New. */
static PyObject *default_argument(int i)
{
    if (i != ARG_HANDSHAKE && i != ARG_SHUTDOWN)
        return i == ARG_BACKLOG ? PyLong_FromLong(DEFAULT_BACKLOG) : Py_NewRef(Py_None);
    PyObject *constants = PyImport_ImportModule("asyncio.constants");
    PyObject *value = constants != NULL ? PyObject_GetAttrString(constants, i == ARG_HANDSHAKE ? "SSL_HANDSHAKE_TIMEOUT"
                                                                                               : "SSL_SHUTDOWN_TIMEOUT")
                                        : NULL;
    Py_XDECREF(constants);
    return value;
}

/* loop.call_later(1, loop._start_serving, ...): with the arguments that it got, by place, as asyncio has it. 0 or -1. */
static int start_later(listener *self)
{
    PyObject *args[ARG_COUNT + 2] = {PyLong_FromLong(ACCEPT_RETRY_DELAY),
                                     PyObject_GetAttrString(self->loop, "_start_serving")};
    PyObject *later = PyObject_GetAttrString(self->loop, "call_later"), *result = NULL;
    size_t count = 2;
    int rc = args[0] != NULL && args[1] != NULL && later != NULL ? 0 : -1;
    for (int i = 0; rc == 0 && serving_names[i] != NULL; i++) {
        args[count] = self->args[i] != NULL ? Py_NewRef(self->args[i]) : default_argument(i);
        rc = args[count++] != NULL ? 0 : -1;
    }
    if (rc == 0)
        result = PyObject_Vectorcall(later, args, count, NULL);
    for (size_t i = 0; i < count; i++)
        Py_XDECREF(args[i]);
    Py_XDECREF(later);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* No descriptors or memory for another connection. The listening socket would stay ready for ever: tell, stop looking, and come back. */
static int wait_for_resources(listener *self, int error)
{
    pa_error_from_rc(error);
    PyObject *exc = pa_err_take(), *removed = NULL, *fd = NULL;
    PyObject *wrapped = PyObject_CallOneArg(self->st->aio_TransportSocket, self->args[ARG_SOCK]);
    int rc = -1;
    if (wrapped == NULL ||
        pa_loop_report(self->loop, exc, "socket.accept() out of system resource", "socket", wrapped, NULL) < 0)
        goto done;
    fd = PyObject_CallMethodNoArgs(self->args[ARG_SOCK], self->st->names.fileno);
    removed = fd != NULL ? PyObject_CallMethodOneArg(self->loop, self->st->names._remove_reader, fd) : NULL;
    if (removed != NULL)
        rc = start_later(self);
done:
    Py_XDECREF(removed);
    Py_XDECREF(fd);
    Py_XDECREF(wrapped);
    Py_DECREF(exc);
    return rc;
}

/* accept4() once. 1: served; 0: nothing more to do now; -1: an exception. */
static int accept_one(listener *self, pa_loop *loop)
{
    struct sockaddr_storage storage;
    socklen_t len = sizeof(storage);
    int fd = pa_sys_accept4(self->fd, (struct sockaddr *)&storage, &len);
    if (fd >= 0)
        return serve(self, loop, fd, pa_address_copy((struct sockaddr *)&storage, len < sizeof(storage) ? len : sizeof(storage))) == 0
                   ? 1
                   : -1;
    switch (-fd) {
    case EAGAIN:
        return 0;
    case ECONNABORTED: /* it hung up while it waited for us */
        return 1;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        return wait_for_resources(self, fd);
    }
    pa_error_from_rc(fd);
    return -1;
}

/* Whether the socket still has the descriptor we know. -1 with an exception. */
static int is_open(listener *self)
{
    PyObject *fd = PyObject_CallMethodNoArgs(self->args[ARG_SOCK], self->st->names.fileno);
    long number = fd != NULL ? PyLong_AsLong(fd) : -1;
    Py_XDECREF(fd);
    if (number == -1 && PyErr_Occurred())
        return -1;
    return number >= 0 && number == self->fd;
}

/* Whether nobody could tell that connections are made natively. -1 with an exception. */
static int may_accept_natively(listener *self, pa_loop *loop)
{
    PyObject *ssl = self->args[ARG_SSL];
    int plain = ssl == NULL ? 1 : PyObject_Not(ssl);
    if (plain <= 0 || pa_loop_is_debug(loop))
        return plain < 0 ? -1 : 0;
    PyObject *factory = PyObject_GetAttr(self->loop, self->st->names._make_socket_transport);
    if (factory == NULL)
        return -1;
    int ours = pa_transport_is_native_factory(factory);
    Py_DECREF(factory);
    return ours;
}

/* The Handle's callback: connections are waiting. */
static PyObject *listener_call(PyObject *op, PyObject *args, PyObject *kwargs)
{
    listener *self = (listener *)op;
    pa_loop *loop = pa_loop_from(self->st, self->loop);
    int natively = may_accept_natively(self, loop);
    if (natively <= 0)
        return natively < 0 ? NULL : accept_as_asyncio(self);
    int rc = 1;
    for (long i = 0; rc > 0 && i <= self->backlog; i++) {
        rc = accept_one(self, loop);
        /* A protocol factory may have closed the server: then the number is another descriptor's by now. */
        if (rc > 0)
            rc = is_open(self);
    }
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- Starting and stopping ---- */

static int watch(listener *self)
{
    PyObject *fd = PyLong_FromLong(self->fd);
    PyObject *handle =
        fd != NULL ? PyObject_CallMethodObjArgs(self->loop, self->st->names._add_reader, fd, (PyObject *)self, NULL) : NULL;
    Py_XDECREF(fd);
    Py_XDECREF(handle);
    return handle != NULL ? 0 : -1;
}

static int int_attribute(PyObject *obj, const char *name, int *out)
{
    PyObject *value = PyObject_GetAttrString(obj, name);
    long number = value != NULL ? PyLong_AsLong(value) : -1;
    Py_XDECREF(value);
    if (number == -1 && PyErr_Occurred())
        return -1;
    *out = (int)number;
    return 0;
}

static listener *listener_new(pa_state *st, PyObject *loop, PyObject *const *args)
{
    listener *self = (listener *)st->Listener->tp_alloc(st->Listener, 0);
    if (self == NULL)
        return NULL;
    self->st = st;
    self->loop = Py_NewRef(loop);
    self->backlog = DEFAULT_BACKLOG;
    for (int i = 0; serving_names[i] != NULL; i++)
        self->args[i] = Py_XNewRef(args[i]);
    PyObject *sock = args[ARG_SOCK];
    PyObject *fd = PyObject_CallMethodNoArgs(sock, st->names.fileno);
    if (fd != NULL && !PyLong_Check(fd))
        PyErr_Format(PyExc_ValueError, "Invalid file object: %R", fd);
    else if (fd != NULL)
        self->fd = (int)PyLong_AsLong(fd);
    Py_XDECREF(fd);
    if (!PyErr_Occurred() && args[ARG_BACKLOG] != NULL)
        self->backlog = PyLong_AsLong(args[ARG_BACKLOG]);
    if (PyErr_Occurred() || int_attribute(sock, "family", &self->family) < 0 || int_attribute(sock, "type", &self->type) < 0 ||
        int_attribute(sock, "proto", &self->proto) < 0)
        Py_CLEAR(self);
    return self;
}

static PyObject *start_serving(PyObject *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const pa_signature signature = {"_start_serving", serving_names, Py_ARRAY_LENGTH(serving_names) - 1, 2};
    PyObject *v[PA_ARGS_MAX] = {NULL};
    if (pa_args_parse(loop, &signature, args, nargs, kwnames, v) < 0)
        return NULL;
    pa_state *st = pa_state_of_type(Py_TYPE(loop));
    listener *self = st != NULL ? listener_new(st, loop, v) : NULL;
    int rc = self != NULL ? watch(self) : -1;
    Py_XDECREF(self);
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *stop_serving(PyObject *loop, PyObject *sock)
{
    pa_state *st = pa_state_of_type(Py_TYPE(loop));
    PyObject *fd = st != NULL ? PyObject_CallMethodNoArgs(sock, st->names.fileno) : NULL;
    PyObject *removed = fd != NULL ? PyObject_CallMethodOneArg(loop, st->names._remove_reader, fd) : NULL;
    Py_XDECREF(fd);
    if (removed == NULL)
        return NULL;
    Py_DECREF(removed);
    return PyObject_CallMethodNoArgs(sock, st->names.close);
}

/* ---- Type ---- */

static int listener_traverse(PyObject *op, visitproc visit, void *arg)
{
    listener *self = (listener *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->loop);
    for (int i = 0; i < ARG_COUNT; i++)
        Py_VISIT(self->args[i]);
    return 0;
}

static int listener_clear(PyObject *op)
{
    listener *self = (listener *)op;
    Py_CLEAR(self->loop);
    for (int i = 0; i < ARG_COUNT; i++)
        Py_CLEAR(self->args[i]);
    return 0;
}

static void listener_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    listener_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *listener_repr(PyObject *op)
{
    listener *self = (listener *)op;
    return PyUnicode_FromFormat("<accepting on %R>", self->args[ARG_SOCK] != NULL ? self->args[ARG_SOCK] : Py_None);
}

static PyType_Slot listener_slots[] = {
    {Py_tp_call, listener_call},   {Py_tp_repr, listener_repr},       {Py_tp_traverse, listener_traverse},
    {Py_tp_clear, listener_clear}, {Py_tp_dealloc, listener_dealloc}, {0, NULL},
};

static PyType_Spec listener_spec = {
    .name = "pyasync._core._Listener",
    .basicsize = sizeof(listener),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = listener_slots,
};

static PyMethodDef loop_methods[] = {
    {"_start_serving", PA_WITH_KEYWORDS(start_serving), NULL},
    {"_stop_serving", stop_serving, METH_O, NULL},
    {NULL},
};

int pa_server_setup(PyObject *module, pa_state *st)
{
    st->Listener = (PyTypeObject *)PyType_FromModuleAndSpec(module, &listener_spec, NULL);
    if (st->Listener == NULL)
        return -1;
    return pa_type_add_methods(st->EventLoop, loop_methods);
}
