/* The transport's life: made, closed, lost, collected. See transport.h for the states and who owns the descriptor.
 *
 * The C type derives from asyncio's transport classes, which are Python classes with slots (D1b): its fields lie behind those slots,
 * and it visits and clears them itself, because chaining to a Python class's traverse or dealloc would come back here for ever. The
 * class that is instantiated is an empty subclass of it, which gives instances a __dict__ and weak references on every version.
 */
#include "net/transport.h"
#include "core/future.h"
#include "net/net.h"
#include "rt/args.h"
#include "rt/error.h"
#include "rt/override.h"
#include "rt/call.h"
#include <netinet/in.h>
#include <netinet/tcp.h>

#define LOG_THRESHOLD_FOR_CONNLOST_WRITES 5 /* as asyncio.constants */

#define DEFAULT_HIGH (64 * 1024)
#define DEFAULT_LOW (DEFAULT_HIGH / 4)

/* ---- Small helpers ---- */

PyObject *pa_transport_context(const pa_transport *self)
{
    return self->context != NULL ? Py_NewRef(self->context) : PyContext_CopyCurrent();
}

PyObject *pa_transport_call(pa_transport *self, PyObject *name, PyObject *arg)
{
    PyObject *const args[] = {Py_NewRef(self->protocol != NULL ? self->protocol : Py_None), arg};
    PyObject *result = PyObject_VectorcallMethod(name, args, arg != NULL ? 2 : 1, NULL);
    Py_DECREF(args[0]);
    return result;
}

int pa_transport_log(pa_transport *self, const char *level, const char *format, PyObject *arg)
{
    PyObject *logger = PyObject_GetAttr(self->st->selector_events, self->st->names.logger), *result = NULL;
    if (logger != NULL)
        result = arg != NULL ? PyObject_CallMethod(logger, level, "sO", format, arg) : PyObject_CallMethod(logger, level, "s", format);
    Py_XDECREF(logger);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

int pa_transport_count_lost_write(pa_transport *self, const char *warning)
{
    if (self->conn_lost++ < LOG_THRESHOLD_FOR_CONNLOST_WRITES)
        return 0;
    return pa_transport_log(self, "warning", warning, NULL);
}

int pa_transport_debug(pa_transport *self, const char *format)
{
    return self->loop != NULL && pa_loop_is_debug(self->loop) ? pa_transport_log(self, "debug", format, (PyObject *)self) : 0;
}

/* server._attach(transport), or without the argument where the server only counts. */
static int tell_server(PyObject *server, PyObject *method, PyObject *transport)
{
    PyObject *result =
        PA_SERVER_KNOWS_TRANSPORTS ? PyObject_CallMethodOneArg(server, method, transport) : PyObject_CallMethodNoArgs(server, method);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

static int detach_server(pa_transport *self)
{
    PyObject *server = self->server;
    if (server == NULL)
        return 0;
    self->server = NULL;
    int rc = tell_server(server, self->st->names._detach, (PyObject *)self);
    Py_DECREF(server);
    return rc;
}

/* ---- Errors and closing ---- */

static int log_fatal(pa_transport *self, PyObject *exc, const char *message)
{
    if (!pa_loop_is_debug(self->loop))
        return 0;
    PyObject *logger = PyObject_GetAttr(self->st->selector_events, self->st->names.logger);
    PyObject *method = logger != NULL ? PyObject_GetAttr(logger, self->st->names.debug) : NULL;
    PyObject *args = Py_BuildValue("(sOs)", "%r: %s", (PyObject *)self, message);
    PyObject *kwargs = Py_BuildValue("{sO}", "exc_info", exc);
    PyObject *result = method != NULL && args != NULL && kwargs != NULL ? PyObject_Call(method, args, kwargs) : NULL;
    Py_XDECREF(logger);
    Py_XDECREF(method);
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

int pa_transport_tell(pa_transport *self, PyObject *exc, const char *message, bool in_debug_only)
{
    if (in_debug_only)
        return log_fatal(self, exc, message);
    PyObject *loop = Py_NewRef(self->loop_obj);
    PyObject *protocol = Py_XNewRef(self->protocol);
    int rc = pa_loop_report(loop, exc, message, "transport", (PyObject *)self, "protocol", protocol != NULL ? protocol : Py_None, NULL);
    Py_XDECREF(protocol);
    Py_DECREF(loop);
    return rc;
}

int pa_transport_fatal(pa_transport *self, PyObject *exc, const char *message)
{
    if (self->loop == NULL)
        return 0;
    bool in_debug_only = PyObject_TypeCheck(exc, (PyTypeObject *)PyExc_OSError);
    return pa_transport_tell(self, exc, message, in_debug_only) < 0 ? -1 : pa_transport_force_close(self, exc);
}

int pa_transport_fatal_raised(pa_transport *self, const char *message)
{
    if (pa_error_is_exit())
        return -1;
    PyObject *exc = pa_err_take();
    int rc = pa_transport_fatal(self, exc, message);
    Py_DECREF(exc);
    return rc;
}

int pa_transport_schedule_loss(pa_transport *self, PyObject *exc)
{
    PyObject *callback = PyObject_GetAttr((PyObject *)self, self->st->names._call_connection_lost);
    PyObject *context = callback != NULL ? pa_transport_context(self) : NULL;
    int rc = context != NULL ? 0 : -1;
    if (rc == 0 && self->loop != NULL) /* else a selector of the user's, or the attribute, has had it lost already */
        rc = pa_loop_soon_callback(self->loop, callback, exc, context);
    Py_XDECREF(callback);
    Py_XDECREF(context);
    return rc;
}

/* sendfile's writer, if it waits for our descriptor, goes with us. 0 or -1. */
static int end_loan(pa_transport *self)
{
    if (!self->lent)
        return 0;
    self->lent = false;
    PyObject *fd = PyLong_FromLong(self->fd);
    int rc = fd != NULL ? pa_call_nothing(PyObject_CallMethodOneArg(self->loop_obj, self->st->names._remove_writer, fd)) : -1;
    Py_XDECREF(fd);
    return rc;
}

int pa_transport_force_close(pa_transport *self, PyObject *exc)
{
    if (self->conn_lost || self->loop == NULL)
        return 0;
    if (pa_stream_flush(self) < 0)
        return -1;
    if (self->conn_lost) /* the flush itself failed fatally */
        return 0;
    pa_stream_drop_queue(self);
    self->closing = true;
    self->conn_lost++;
    pa_watch_detach(self->loop, &self->watch);
    return pa_transport_schedule_loss(self, exc);
}

int pa_transport_close(pa_transport *self)
{
    if (self->closing)
        return 0;
    if (pa_stream_flush(self) < 0)
        return -1;
    if (self->closing)
        return 0;
    self->closing = true;
    if (!pa_write_queue_is_empty(&self->queue))
        return pa_stream_want(self, 0, PA_POLL_IN);
    self->conn_lost++;
    pa_watch_detach(self->loop, &self->watch);
    return end_loan(self) < 0 ? -1 : pa_transport_schedule_loss(self, Py_None);
}

/* Keeps the first exception of a sequence that must run to its end. */
static void keep_first(PyObject **first)
{
    PyObject *exc = pa_err_take();
    if (*first == NULL)
        *first = exc;
    else
        Py_XDECREF(exc);
}

static void fail_empty_waiter(pa_transport *self, PyObject **error)
{
    if (self->empty_waiter == NULL)
        return;
    PyObject *waiter = Py_NewRef(self->empty_waiter);
    PyObject *exc = PyObject_CallFunction(PyExc_ConnectionError, "s", "Connection is closed by peer");
    if (exc == NULL || pa_future_reject(waiter, exc) < 0)
        keep_first(error);
    Py_XDECREF(exc);
    Py_DECREF(waiter);
}

int pa_transport_lose(pa_transport *self, PyObject *exc)
{
    if (self->lost)
        return 0;
    self->lost = true;
    self->closing = true;
    if (self->conn_lost == 0 && !self->is_pipe)
        self->conn_lost = 1;
    pa_watch_detach(self->loop, &self->watch);
    pa_stream_drop_queue(self);

    PyObject *error = NULL;
    PyObject *result = pa_transport_call(self, self->st->names.connection_lost, exc);
    if (result == NULL)
        keep_first(&error);
    Py_XDECREF(result);
    if (end_loan(self) < 0)
        keep_first(&error);
    if (pa_transport_close_fd(self) < 0)
        keep_first(&error);
    Py_CLEAR(self->protocol);
    self->loop = NULL;
    Py_CLEAR(self->loop_obj);
    if (detach_server(self) < 0)
        keep_first(&error);
    fail_empty_waiter(self, &error);
    if (error == NULL)
        return 0;
    pa_err_restore(error);
    return -1;
}

/* ---- Making ---- */

static int set_protocol(pa_transport *self, PyObject *protocol)
{
    int buffered = PyObject_IsInstance(protocol, self->st->aio_BufferedProtocol);
    if (buffered < 0)
        return -1;
    self->buffered = buffered;
    self->streams = PyObject_TypeCheck(protocol, self->st->StreamReaderProtocol);
    self->tls = PyObject_TypeCheck(protocol, self->st->SSLProtocol);
    Py_XSETREF(self->protocol, Py_NewRef(protocol));
    return 0;
}

/* Small writes go out without waiting for the peer's acknowledgement of the last, as asyncio has it. */
static int set_nodelay(pa_transport *self)
{
    int family = self->local->len >= sizeof(sa_family_t) ? ((const struct sockaddr *)self->local->raw)->sa_family : AF_UNSPEC;
    if ((family != AF_INET && family != AF_INET6) || self->proto != IPPROTO_TCP)
        return 0;
    int on = 1;
    int rc = pa_sys_setsockopt(self->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (rc == 0)
        return 0;
    pa_error_from_rc(rc);
    return -1;
}

int pa_transport_schedule_start(pa_transport *self, PyObject *waiter)
{
    PyObject *made = PyObject_GetAttr(self->protocol, self->st->names.connection_made);
    PyObject *start = made != NULL ? PyObject_GetAttr((PyObject *)self, self->st->names._start) : NULL;
    /* Both before the first is scheduled: a protocol that is told of a connection on which nothing begins would wait for ever. */
    PyObject *context = start != NULL ? pa_transport_context(self) : NULL, *next = context != NULL ? pa_transport_context(self) : NULL;
    int rc = -1;
    if (next != NULL && pa_loop_soon_callback(self->loop, made, (PyObject *)self, context) == 0)
        rc = pa_loop_soon_callback(self->loop, start, waiter, next);
    Py_XDECREF(made);
    Py_XDECREF(start);
    Py_XDECREF(context);
    Py_XDECREF(next);
    return rc;
}

/* The transport knows its loop and owns its descriptor (or socket) by now; the rest of what asyncio's constructor does, in its order. */
static int set_up(pa_transport *self, PyObject *protocol, PyObject *waiter, PyObject *server, PyObject *context)
{
    if (self->local == NULL && (self->local = pa_address_local(self->fd)) == NULL)
        return -1;
    if (self->peer == NULL && (self->peer = pa_address_peer(self->fd)) == NULL)
        return -1;
    if (pa_transport_name_unknown_family(self) < 0 || set_protocol(self, protocol) < 0)
        return -1;
    if (context != NULL && context != Py_None)
        self->context = Py_NewRef(context);
    self->closing = self->lost = false;
    self->conn_lost = 0;
    if (server != NULL && server != Py_None) {
        if (tell_server(server, self->st->names._attach, (PyObject *)self) < 0)
            return -1;
        self->server = Py_NewRef(server);
    }
    if (pa_watch_attach(self->loop, &self->watch, self->fd, 0) < 0 || set_nodelay(self) < 0)
        return -1;
    return pa_transport_schedule_start(self, waiter != NULL ? waiter : Py_None);
}

PyObject *pa_transport_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    pa_state *st = pa_state_of_type(type);
    pa_transport *self = st != NULL ? (pa_transport *)type->tp_alloc(type, 0) : NULL;
    if (self == NULL)
        return NULL;
    self->st = st;
    self->fd = -1;
    self->watch = (pa_watch){.fd = -1, .owner = (PyObject *)self, .on_ready = pa_stream_on_ready};
    self->flush = (pa_deferred){.owner = (PyObject *)self, .run = pa_stream_run_deferred};
    pa_link_init(&self->flush.link);
    self->high = DEFAULT_HIGH;
    self->low = DEFAULT_LOW;
    self->closing = self->lost = true;
    self->conn_lost = 1;
    return (PyObject *)self;
}

/* sock.fileno(). -1 with an exception, or for a closed socket. */
static int socket_fd(pa_transport *self, PyObject *sock)
{
    PyObject *number = PyObject_CallMethodNoArgs(sock, self->st->names.fileno);
    long fd = number != NULL ? PyLong_AsLong(number) : -1;
    Py_XDECREF(number);
    if (fd < -1 || fd > INT_MAX)
        PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %ld", fd);
    return fd < -1 || fd > INT_MAX ? -1 : (int)fd;
}

/* Takes the Python socket over. */
static int adopt_socket(pa_transport *self, PyObject *sock, int fd)
{
    PyObject *proto = PyObject_GetAttr(sock, self->st->names.proto);
    if (proto == NULL)
        return -1;
    self->proto = PyLong_Check(proto) ? (int)PyLong_AsLong(proto) : -1;
    Py_DECREF(proto);
    if (PyErr_Occurred())
        return -1;
    self->fd = fd;
    if (pa_transport_hold_socket(self, sock) < 0)
        return -1;
    self->open = true;
    return 0;
}

int pa_transport_init(pa_transport *self, PyObject *loop, PyObject *sock, PyObject *protocol, PyObject *waiter, PyObject *extra,
                      PyObject *server, PyObject *context)
{
    if (self->open || self->loop_obj != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the transport is initialised already");
        return -1;
    }
    self->loop = pa_loop_from(self->st, loop);
    if (self->loop == NULL) {
        PyErr_Format(PyExc_TypeError, "a pyasync event loop is required, not %R", loop);
        return -1;
    }
    self->loop_obj = Py_NewRef(loop);
    PyObject *is_free = PyObject_CallMethodOneArg(loop, self->st->names._ensure_fd_no_transport, sock);
    if (is_free == NULL)
        return -1;
    Py_DECREF(is_free);
    int fd = socket_fd(self, sock);
    if (fd == -1 && PyErr_Occurred())
        return -1;
    if (extra != NULL && extra != Py_None)
        self->extra = Py_NewRef(extra);
    if (adopt_socket(self, sock, fd) < 0)
        return -1;
    return set_up(self, protocol, waiter, server, context);
}

static int transport_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"loop", "sock", "protocol", "waiter", "extra", "server", PA_TRANSPORT_CONTEXT_ARGUMENT NULL};
    static const pa_signature signature = {"__init__", names, Py_ARRAY_LENGTH(names) - 1, 3};
    PyObject *v[PA_ARGS_MAX] = {NULL};
    if (pa_args_parse_tuple(op, &signature, args, kwargs, v) < 0)
        return -1;
    return pa_transport_init(PA_TRANSPORT(op), v[0], v[1], v[2], v[3], v[4], v[5], PA_TRANSPORT_CONTEXT(v[6]));
}

PyObject *pa_transport_accepted(pa_loop *loop, int fd, int family, int type, int proto, pa_address *peer, PyObject *protocol,
                                PyObject *server, PyObject *context)
{
    pa_state *st = pa_loop_state(loop);
    pa_transport *self = (pa_transport *)pa_transport_new(st->SocketTransport, NULL, NULL);
    if (self == NULL) {
        pa_sys_close(fd);
        PyMem_Free(peer);
        return NULL;
    }
    self->fd = fd;
    self->open = true;
    self->family = family;
    self->type = type;
    self->proto = proto;
    self->peer = peer;
    self->loop = loop;
    self->loop_obj = Py_NewRef((PyObject *)loop);
    if (set_up(self, protocol, NULL, server, context) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

/* ---- Collection ---- */

/* The slots of asyncio's classes. Nothing of ours uses them, but who reaches for them past our names may have put something there. */
static void for_base_slots(pa_state *st, PyObject *op, int (*each)(PyObject **slot, void *a), void *a)
{
    for (PyTypeObject *type = st->aio_FlowControlMixin; type != NULL; type = type->tp_base)
        for (PyMemberDef *member = type->tp_members; member != NULL && member->name != NULL; member++)
            if (member->type == Py_T_OBJECT_EX && each((PyObject **)((char *)op + member->offset), a) != 0)
                return;
}

typedef struct {
    visitproc visit;
    void *arg;
    int result;
} visit_call;

static int visit_slot(PyObject **slot, void *a)
{
    visit_call *call = a;
    if (*slot != NULL)
        call->result = call->visit(*slot, call->arg);
    return call->result;
}

static int clear_slot(PyObject **slot, void *a)
{
    Py_CLEAR(*slot);
    return 0;
}

int pa_transport_visit_slots(pa_state *st, PyObject *op, visitproc visit, void *arg)
{
    visit_call call = {visit, arg, 0};
    for_base_slots(st, op, visit_slot, &call);
    return call.result;
}

void pa_transport_clear_slots(pa_state *st, PyObject *op) { for_base_slots(st, op, clear_slot, NULL); }

int pa_transport_traverse(PyObject *op, visitproc visit, void *arg)
{
    pa_transport *self = PA_TRANSPORT(op);
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->loop_obj);
    Py_VISIT(self->protocol);
    Py_VISIT(self->server);
    Py_VISIT(self->sock);
    Py_VISIT(self->extra);
    Py_VISIT(self->context);
    Py_VISIT(self->read_context);
    Py_VISIT(self->write_context);
    Py_VISIT(self->empty_waiter);
    Py_VISIT(self->high_obj);
    Py_VISIT(self->low_obj);
    return pa_transport_visit_slots(self->st, op, visit, arg);
}

int pa_transport_clear(PyObject *op)
{
    pa_transport *self = PA_TRANSPORT(op);
    if (self->loop != NULL) {
        pa_watch_detach(self->loop, &self->watch);
        pa_loop_undefer(self->loop, &self->flush);
    }
    self->loop = NULL;
    self->closing = self->lost = true;
    Py_CLEAR(self->loop_obj);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->server);
    Py_CLEAR(self->sock);
    Py_CLEAR(self->extra);
    Py_CLEAR(self->context);
    Py_CLEAR(self->read_context);
    Py_CLEAR(self->write_context);
    Py_CLEAR(self->empty_waiter);
    Py_CLEAR(self->high_obj);
    Py_CLEAR(self->low_obj);
    pa_transport_clear_slots(self->st, op);
    return 0;
}

/* __del__: whoever forgets a transport is told, and the descriptor goes. */
void pa_transport_finalize(PyObject *op)
{
    pa_transport *self = PA_TRANSPORT(op);
    if (!self->open)
        return;
    PyObject *raised = pa_err_take();
    if (PyErr_ResourceWarning(op, 1, "unclosed transport %R", op) < 0)
        PyErr_WriteUnraisable(op);
    if (pa_transport_close_fd(self) < 0)
        PyErr_WriteUnraisable(op);
    if (detach_server(self) < 0)
        PyErr_WriteUnraisable(op);
    pa_err_restore(raised);
}

void pa_transport_free(PyObject *op)
{
    pa_transport *self = PA_TRANSPORT(op);
    PyTypeObject *type = Py_TYPE(op);
    pa_transport_clear(op);
    pa_write_queue_clear(&self->queue);
    PyMem_Free(self->local);
    PyMem_Free(self->peer);
    type->tp_free(op);
    Py_DECREF(type);
}

static void transport_dealloc(PyObject *op)
{
    if (PyObject_CallFinalizerFromDealloc(op) < 0)
        return;
    PyObject_GC_UnTrack(op);
    pa_transport_free(op);
}

/* ---- Methods ---- */

static PyObject *method_close(PyObject *op, PyObject *unused) { return pa_call_none(pa_transport_close(PA_TRANSPORT(op))); }

static PyObject *method_abort(PyObject *op, PyObject *unused)
{
    return pa_call_none(pa_transport_force_close(PA_TRANSPORT(op), Py_None));
}

static PyObject *method_force_close(PyObject *op, PyObject *exc)
{
    return pa_call_none(pa_transport_force_close(PA_TRANSPORT(op), exc));
}

static PyObject *method_fatal_error(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"exc", "message", NULL};
    static const pa_signature signature = {"_fatal_error", names, 2, 1};
    PyObject *v[PA_ARGS_MAX];
    if (pa_args_parse(op, &signature, args, nargs, kwnames, v) < 0)
        return NULL;
    const char *message = v[1] != NULL ? PyUnicode_AsUTF8(v[1]) : "Fatal error on transport";
    return message != NULL ? pa_call_none(pa_transport_fatal(PA_TRANSPORT(op), v[0], message)) : NULL;
}

static PyObject *method_is_closing(PyObject *op, PyObject *unused) { return PyBool_FromLong(PA_TRANSPORT(op)->closing); }

static PyObject *method_set_protocol(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"protocol", NULL};
    static const pa_signature signature = {"set_protocol", names, 1, 1};
    PyObject *protocol = pa_args_one(op, &signature, args, nargs, kwnames);
    return protocol != NULL ? pa_call_none(set_protocol(PA_TRANSPORT(op), protocol)) : NULL;
}

static PyObject *method_get_protocol(PyObject *op, PyObject *unused)
{
    PyObject *protocol = PA_TRANSPORT(op)->protocol;
    return Py_NewRef(protocol != NULL ? protocol : Py_None);
}

static PyObject *method_call_connection_lost(PyObject *op, PyObject *exc)
{
    return pa_call_none(pa_transport_lose(PA_TRANSPORT(op), exc));
}

static int wake_waiter(pa_state *st, PyObject *waiter)
{
    if (waiter == Py_None)
        return 0;
    if (Py_IS_TYPE(waiter, st->Future))
        return pa_future_resolve(waiter, Py_None);
    PyObject *result = PyObject_CallFunctionObjArgs(st->set_result_unless_cancelled, waiter, Py_None, NULL);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* The second scheduled step of a new connection (pa_transport_schedule_start): read from now on, then wake who waits for the connection. */
static PyObject *method_start(PyObject *op, PyObject *waiter)
{
    pa_transport *self = PA_TRANSPORT(op);
    PyObject *error = NULL;
    if (pa_stream_start_reading(self) < 0)
        keep_first(&error);
    if (wake_waiter(self->st, waiter) < 0)
        keep_first(&error);
    if (error == NULL)
        Py_RETURN_NONE;
    pa_err_restore(error);
    return NULL;
}

/* sendfile's: a future that is done when everything queued has been sent; writing is an error until _reset_empty_waiter(). */
static PyObject *method_make_empty_waiter(PyObject *op, PyObject *unused)
{
    pa_transport *self = PA_TRANSPORT(op);
    if (self->empty_waiter != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Empty waiter is already set");
        return NULL;
    }
    if (pa_stream_flush(self) < 0)
        return NULL;
    if (self->loop == NULL) {
        PyErr_SetString(PyExc_ConnectionError, "Connection is closed by peer");
        return NULL;
    }
    PyObject *waiter = pa_future_new(self->loop);
    if (waiter == NULL)
        return NULL;
    if (pa_write_queue_is_empty(&self->queue) && pa_future_set_result(waiter, Py_None) < 0) {
        Py_DECREF(waiter);
        return NULL;
    }
    self->empty_waiter = Py_NewRef(waiter);
    return waiter;
}

static PyObject *method_reset_empty_waiter(PyObject *op, PyObject *unused)
{
    Py_CLEAR(PA_TRANSPORT(op)->empty_waiter);
    Py_RETURN_NONE;
}

/* While the descriptor is lent, the loop's add_writer() takes it for somebody else's operation. */
static PyObject *method_lend_fd(PyObject *op, PyObject *unused)
{
    pa_transport *self = PA_TRANSPORT(op);
    if (self->loop != NULL) {
        pa_watch_detach(self->loop, &self->watch);
        self->lent = true;
    }
    Py_RETURN_NONE;
}

static PyObject *method_take_fd_back(PyObject *op, PyObject *unused)
{
    pa_transport *self = PA_TRANSPORT(op);
    self->lent = false;
    if (!self->conn_lost && self->watch.fd < 0 && pa_watch_attach(self->loop, &self->watch, self->fd, 0) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* What a report of the poller does, as the callable that asyncio would have registered. */
static PyObject *run_watch(PyObject *op, unsigned events)
{
    pa_transport *self = PA_TRANSPORT(op);
    events &= self->watch.events;
    return pa_call_none(self->watch.fd >= 0 && events != 0 ? self->watch.on_ready(self->loop, op, events) : 0);
}

static PyObject *method_read_ready(PyObject *op, PyObject *unused) { return run_watch(op, PA_POLL_IN); }
static PyObject *method_write_ready(PyObject *op, PyObject *unused) { return run_watch(op, PA_POLL_OUT); }

PA_NO_ARGS(method_is_closing, is_closing)
PA_NO_ARGS(method_get_protocol, get_protocol)
PA_NO_ARGS(method_close, close)
PA_NO_ARGS(method_abort, abort)

PyMethodDef pa_transport_common_methods[] = {
    {"is_closing", PA_NO_ARGS_METHOD(method_is_closing, is_closing), PyDoc_STR("is_closing($self, /)\n--\n\nWhether the transport is closing or closed.")},
    {"set_protocol", PA_WITH_KEYWORDS(method_set_protocol),
     PyDoc_STR("set_protocol($self, /, protocol)\n--\n\nSwitch to another protocol.")},
    {"get_protocol", PA_NO_ARGS_METHOD(method_get_protocol, get_protocol), PyDoc_STR("get_protocol($self, /)\n--\n\nThe current protocol.")},
    {"_call_connection_lost", method_call_connection_lost, METH_O, NULL},
    {NULL},
};

PyMethodDef pa_transport_methods[] = {
    {"close", PA_NO_ARGS_METHOD(method_close, close),
     PyDoc_STR("close($self, /)\n--\n\nSend what is buffered, then close; connection_lost(None) follows.")},
    {"abort", PA_NO_ARGS_METHOD(method_abort, abort), PyDoc_STR("abort($self, /)\n--\n\nClose at once, dropping what is buffered.")},
    {"_force_close", method_force_close, METH_O, NULL},
    {"_fatal_error", PA_WITH_KEYWORDS(method_fatal_error), NULL},
    {"_start", method_start, METH_O, NULL},
    {"_read_ready", method_read_ready, METH_NOARGS, NULL},
    {"_write_ready", method_write_ready, METH_NOARGS, NULL},
    {NULL},
};

static PyMethodDef stream_only_methods[] = {
    {"_make_empty_waiter", method_make_empty_waiter, METH_NOARGS, NULL},
    {"_reset_empty_waiter", method_reset_empty_waiter, METH_NOARGS, NULL},
    {"_lend_fd", method_lend_fd, METH_NOARGS, NULL},
    {"_take_fd_back", method_take_fd_back, METH_NOARGS, NULL},
    {NULL},
};

static PyType_Slot transport_slots[] = {
    {Py_tp_new, pa_transport_new},
    {Py_tp_init, transport_init},
    {Py_tp_repr, pa_transport_repr},
    {Py_tp_setattro, pa_transport_setattr},
    {Py_tp_traverse, pa_transport_traverse},
    {Py_tp_clear, pa_transport_clear},
    {Py_tp_finalize, pa_transport_finalize},
    {Py_tp_dealloc, transport_dealloc},
    {Py_tp_methods, pa_transport_methods},
    {Py_tp_getset, pa_transport_getsets},
    {0, NULL},
};

static PyType_Spec transport_spec = {
    .name = "pyasync._core._SocketTransport",
    .basicsize = sizeof(pa_transport),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = transport_slots,
};

/* ---- The loop's factory ---- */

static PyObject *make_socket_transport(PyObject *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"sock", "protocol", "waiter", "extra", "server", PA_TRANSPORT_CONTEXT_ARGUMENT NULL};
    static const pa_signature signature = {"_make_socket_transport", names, 3, 2};
    PyObject *v[PA_ARGS_MAX] = {NULL};
    if (pa_args_parse(loop, &signature, args, nargs, kwnames, v) < 0)
        return NULL;
    pa_state *st = pa_state_of_type(Py_TYPE(loop));
    PyObject *transport = st != NULL ? pa_transport_new(st->SocketTransport, NULL, NULL) : NULL;
    if (transport != NULL &&
        pa_transport_init(PA_TRANSPORT(transport), loop, v[0], v[1], v[2], v[3], v[4], PA_TRANSPORT_CONTEXT(v[5])) < 0)
        Py_CLEAR(transport);
    return transport;
}

int pa_transport_is_native_factory(PyObject *callable)
{
    return PyCFunction_Check(callable) && PyCFunction_GET_FUNCTION(callable) == (PyCFunction)(void (*)(void))make_socket_transport;
}

static PyMethodDef loop_methods[] = {
    {"_make_socket_transport", PA_WITH_KEYWORDS(make_socket_transport), NULL},
    {NULL},
};

/* ---- Setup ---- */

/* class SocketTransport(_SocketTransport): the instances' __dict__, and what is the same for all of them. */
static PyTypeObject *make_public_class(PyTypeObject *base)
{
    PyObject *mode = NULL, *native = NULL, *result = NULL;
    if (pa_import_from("asyncio.constants", "_SendfileMode", &mode) == 0 &&
        (native = PyObject_GetAttrString(mode, "TRY_NATIVE")) != NULL)
        result = PyObject_CallFunction((PyObject *)&PyType_Type, "s(O){sssisOsOss}", "SocketTransport", base, "__module__",
                                       "pyasync._core", "max_size", 256 * 1024, "_start_tls_compatible", Py_True,
                                       "_sendfile_compatible", native, "__doc__",
                                       "A connected TCP or Unix stream socket, as loop.create_connection() and servers make them.");
    Py_XDECREF(mode);
    Py_XDECREF(native);
    return (PyTypeObject *)result;
}

PyTypeObject *pa_transport_make_base(PyObject *module, pa_state *st, PyType_Spec *spec, PyTypeObject *base)
{
    if (st->aio_FlowControlMixin->tp_basicsize > (Py_ssize_t)offsetof(pa_transport, st)) {
        PyErr_SetString(PyExc_ImportError, "asyncio's transport classes are larger than this build of pyasync allows for");
        return NULL;
    }
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, (PyObject *)base);
}

static int make_types(PyObject *module, pa_state *st)
{
    PyTypeObject *base = pa_transport_make_base(module, st, &transport_spec, st->aio_FlowControlMixin);
    if (base == NULL)
        return -1;
    int rc = -1;
    if (pa_type_add_methods(base, pa_transport_common_methods) == 0 && pa_type_add_methods(base, stream_only_methods) == 0 &&
        pa_type_add_methods(base, pa_reading_methods) == 0 && pa_type_add_methods(base, pa_stream_methods) == 0 &&
        pa_type_add_methods(base, pa_flow_methods) == 0 && pa_type_add_getsets(base, pa_flow_getsets) == 0 &&
        (st->SocketTransport = make_public_class(base)) != NULL && pa_override_own_methods(module, st->SocketTransport) == 0)
        rc = PyModule_AddObjectRef(module, "SocketTransport", (PyObject *)st->SocketTransport);
    Py_DECREF(base);
    return rc;
}

int pa_transport_setup(PyObject *module, pa_state *st)
{
    if (pa_import_from("asyncio.transports", "_FlowControlMixin", (PyObject **)&st->aio_FlowControlMixin) < 0 ||
        pa_import_from("asyncio.protocols", "BufferedProtocol", &st->aio_BufferedProtocol) < 0 ||
        pa_import_from("asyncio.trsock", "TransportSocket", &st->aio_TransportSocket) < 0 ||
        pa_import_from("asyncio.futures", "_set_result_unless_cancelled", &st->set_result_unless_cancelled) < 0 ||
        make_types(module, st) < 0)
        return -1;
    return pa_type_add_methods(st->EventLoop, loop_methods);
}
