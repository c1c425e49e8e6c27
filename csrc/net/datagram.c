/* The transport of datagram sockets (UDP, Unix), which loop.create_datagram_endpoint() makes.
 *
 * It begins with a pa_transport (transport.h has its states and who owns the descriptor) and shares its life: only what a datagram is
 * differs. Each goes out at once, by itself; what the kernel does not take is queued as exact bytes with the address as it was given,
 * and the watch wants PA_POLL_OUT exactly while something is queued. Errors of the network belong to single datagrams and go to
 * protocol.error_received(); the transport stays.
 *
 * Receiving: asyncio gives the protocol one datagram in a tick. Whoever relies on that does so because its callbacks schedule something
 * (a task that has to run before the next datagram comes). So after a datagram the next is taken at once only if the protocol
 * scheduled nothing, on this loop or from another thread, set no timer and did not stop the loop; and a bounded number of them, so that
 * others have their turn. What can still be told: other descriptors that became ready meanwhile are reported after the batch.
 *
 * Addresses of IPv4, IPv6 and Unix sockets are translated here; whatever is not plain numbers (a host name to be resolved, another
 * family, an argument that is wrong) is left to the Python socket, with its results and errors. A peer that sends repeatedly, or is
 * sent to, is translated once. `peers` has the senders, by their raw address; the objects in it are those we made, since an equal
 * address may be written otherwise (IPv6). `target` is the last address that sendto() was given, as it was given. Objects in both are
 * tuples that nobody can change and that run no code when they go.
 */
#include "net/net.h"
#include "net/transport.h"
#include "rt/args.h"
#include "rt/error.h"
#include "rt/override.h"
#include <errno.h>
#include <netinet/in.h>

#define DATAGRAMS_A_TURN 16

/* How many senders are kept, as a power of two. */
#define PEER_BITS 6
#define PEERS ((size_t)1 << PEER_BITS)

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

typedef struct {
    PyObject *object; /* or NULL: nothing is here */
    socklen_t len;
    struct sockaddr_in6 raw; /* large enough for IPv4 and IPv6, the only ones that are kept */
} peer;

typedef struct {
    pa_transport base;
    PyObject *address;      /* the only one that may be sent to; Py_None: any */
    peer first;             /* the only sender as yet */
    peer *peers;            /* PEERS of them, when there was a second one; or NULL */
    peer *latest;           /* the sender of the last datagram, in either place; or NULL */
    peer target;
    bool connected;         /* send() instead of sendto() */
    bool translates;        /* the family's addresses are ours to translate */
} pa_datagram;

#define DATAGRAM(obj) ((pa_datagram *)(obj))

/* ---- Addresses ---- */

static bool is_at(const peer *known, const struct sockaddr_storage *raw, socklen_t len)
{
    return known->object != NULL && known->len == len && memcmp(&known->raw, raw, len) == 0;
}

static void remember(peer *place, PyObject *object, const struct sockaddr_storage *raw, socklen_t len)
{
    memcpy(&place->raw, raw, len);
    place->len = len;
    Py_XSETREF(place->object, Py_NewRef(object));
}

static bool is_kept(const struct sockaddr_storage *raw, socklen_t len)
{
    return (raw->ss_family == AF_INET && len == sizeof(struct sockaddr_in)) ||
           (raw->ss_family == AF_INET6 && len == sizeof(struct sockaddr_in6));
}

/* The only place where that address may be in `peers`: whoever has it goes. */
static peer *place_of(peer *peers, const struct sockaddr_in6 *raw, socklen_t len)
{
    uint32_t words[sizeof(struct sockaddr_in6) / sizeof(uint32_t)], hash = 0;
    memcpy(words, raw, len);
    for (size_t i = 0; i < len / sizeof(uint32_t); i++)
        hash = (hash ^ words[i]) * UINT32_C(0x9E3779B1);
    return &peers[hash >> (32 - PEER_BITS)];
}

/* Where that sender is kept, or is to be. NULL without memory. */
static peer *find_sender(pa_datagram *self, const struct sockaddr_storage *raw, socklen_t len)
{
    if (self->first.object == NULL && self->peers == NULL)
        return &self->first;
    if (self->peers == NULL) {
        if ((self->peers = PyMem_Calloc(PEERS, sizeof(peer))) == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        *place_of(self->peers, &self->first.raw, self->first.len) = self->first;
        self->first.object = NULL;
        self->latest = NULL;
    }
    return place_of(self->peers, (const struct sockaddr_in6 *)raw, len);
}

/* The address a datagram came from. New. */
static PyObject *sender_object(pa_datagram *self, const struct sockaddr_storage *raw, socklen_t len)
{
    if (self->latest != NULL && is_at(self->latest, raw, len))
        return Py_NewRef(self->latest->object);
    if (!is_kept(raw, len))
        return pa_address_object_raw((const struct sockaddr *)raw, len);
    peer *place = find_sender(self, raw, len);
    if (place == NULL)
        return NULL;
    if (!is_at(place, raw, len)) {
        PyObject *object = pa_address_object_raw((const struct sockaddr *)raw, len);
        if (object == NULL)
            return NULL;
        remember(place, object, raw, len);
        Py_DECREF(object);
    }
    self->latest = place;
    return Py_NewRef(place->object);
}

/* Where `to` is. 1; 0: the Python socket has to be asked. */
static int find_raw(pa_datagram *self, PyObject *to, struct sockaddr_storage *raw, socklen_t *len)
{
    if (to == NULL)
        return 0;
    const peer *known = self->latest != NULL && to == self->latest->object ? self->latest : to == self->target.object ? &self->target : NULL;
    if (known != NULL) {
        memcpy(raw, &known->raw, known->len);
        *len = known->len;
        return 1;
    }
    if (!self->translates || !pa_address_parse(self->base.family, to, raw, len))
        return 0;
    if (is_kept(raw, *len))
        remember(&self->target, to, raw, *len);
    return 1;
}

static void forget_peers(pa_datagram *self)
{
    self->latest = NULL;
    Py_CLEAR(self->first.object);
    Py_CLEAR(self->target.object);
    for (size_t i = 0; self->peers != NULL && i < PEERS; i++)
        Py_XDECREF(self->peers[i].object);
    PyMem_Free(self->peers);
    self->peers = NULL;
}

/* ---- Receiving ---- */

/* An OSError is raised: it is the protocol's. Anything else is fatal. 0, or -1 with what the protocol raised. */
static int failed(pa_transport *self, const char *message)
{
    if (!PyErr_ExceptionMatches(PyExc_OSError))
        return pa_transport_fatal_raised(self, message);
    PyObject *exc = pa_err_take();
    PyObject *result = pa_transport_call(self, self->st->names.error_received, exc);
    Py_DECREF(exc);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* protocol.datagram_received(data, from). Steals both. 0 or -1. */
static int deliver(pa_transport *self, PyObject *data, PyObject *from)
{
    PyObject *protocol = Py_NewRef(self->protocol);
    PyObject *const args[] = {protocol, data, from};
    PyObject *result = PyObject_VectorcallMethod(self->st->names.datagram_received, args, 3, NULL);
    Py_DECREF(protocol);
    Py_DECREF(data);
    Py_DECREF(from);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

#define READ_ERROR "Fatal read error on datagram transport"
#define WRITE_ERROR "Fatal write error on datagram transport"
#define LOST_WRITE "socket.send() raised exception."

/* The socket's own recvfrom(), for addresses that we do not know. 1: one was received; 0: none; -1: an exception. */
static int receive_by_socket(pa_transport *self, size_t size, PyObject **data, PyObject **from)
{
    PyObject *pair = PyObject_CallMethod(self->sock, "recvfrom", "n", (Py_ssize_t)size);
    if (pair == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_BlockingIOError) && !PyErr_ExceptionMatches(PyExc_InterruptedError))
            return -1;
        PyErr_Clear();
        return 0;
    }
    *data = PySequence_GetItem(pair, 0);
    *from = *data != NULL ? PySequence_GetItem(pair, 1) : NULL;
    Py_DECREF(pair);
    if (*from == NULL)
        Py_CLEAR(*data);
    return *from != NULL ? 1 : -1;
}

/* As receive_by_socket. *data and *from are new. */
static int receive(pa_transport *self, PyObject **data, PyObject **from)
{
    size_t size;
    char *buffer = pa_loop_read_buffer(self->loop, &size);
    if (buffer == NULL)
        return -1;
    if (!DATAGRAM(self)->translates)
        return receive_by_socket(self, size, data, from);
    struct sockaddr_storage raw;
    socklen_t len = sizeof(raw);
    ssize_t n = pa_sys_recvfrom(self->fd, buffer, size, 0, (struct sockaddr *)&raw, &len);
    if (n == -EAGAIN || n == -EWOULDBLOCK)
        return 0;
    if (n < 0) {
        pa_error_from_errno(n);
        return -1;
    }
    *data = PyBytes_FromStringAndSize(buffer, n);
    *from = *data != NULL ? sender_object(DATAGRAM(self), &raw, len < sizeof(raw) ? len : sizeof(raw)) : NULL;
    if (*from == NULL)
        Py_CLEAR(*data);
    return *from != NULL ? 1 : -1;
}

static int read_ready(pa_transport *self)
{
    if (self->conn_lost)
        return 0;
    pa_loop_activity before = pa_loop_activity_of(self->loop);
    for (int i = 0; i < DATAGRAMS_A_TURN; i++) {
        if (self->conn_lost || !(self->watch.events & PA_POLL_IN))
            return 0;
        PyObject *data = NULL, *from = NULL;
        int got = receive(self, &data, &from);
        if (got <= 0)
            return got == 0 ? 0 : failed(self, READ_ERROR);
        if (deliver(self, data, from) < 0)
            return -1;
        if (self->loop == NULL || pa_loop_is_debug(self->loop) || pa_loop_was_active(self->loop, before))
            return 0;
    }
    return 0;
}

/* ---- Sending ---- */

enum { SENT, FULL, RAISED };

/* The socket's own sendto(data, to). */
static int send_by_socket(pa_transport *self, PyObject *data, PyObject *to)
{
    PyObject *sock = Py_NewRef(self->sock);
    PyObject *result = PyObject_CallMethod(sock, "sendto", "OO", data, to != NULL ? to : Py_None);
    Py_DECREF(sock);
    if (result != NULL) {
        Py_DECREF(result);
        return SENT;
    }
    if (!PyErr_ExceptionMatches(PyExc_BlockingIOError) && !PyErr_ExceptionMatches(PyExc_InterruptedError))
        return RAISED;
    PyErr_Clear();
    return FULL;
}

/* One attempt with one datagram; `data` is bytes-like, `to` may be NULL. */
static int send_one(pa_datagram *self, PyObject *data, PyObject *to)
{
    pa_transport *base = &self->base;
    struct sockaddr_storage raw;
    socklen_t len;
    if (!self->connected && !find_raw(self, to, &raw, &len))
        return send_by_socket(base, data, to);
    Py_buffer view = {NULL};
    if (PyBytes_CheckExact(data)) {
        view.buf = PyBytes_AS_STRING(data);
        view.len = PyBytes_GET_SIZE(data);
    }
    else if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return RAISED;
    ssize_t n;
    if (!base->open) /* exporting a buffer may be Python code */
        n = -EBADF;
    else if (self->connected)
        n = pa_sys_send(base->fd, view.buf, (size_t)view.len, MSG_NOSIGNAL);
    else if (PySys_Audit("socket.sendto", "OO", base->sock, to) < 0) { /* as socket.sendto() */
        PyBuffer_Release(&view);
        return RAISED;
    } else if (!base->open) /* so may an audit hook */
        n = -EBADF;
    else
        n = pa_sys_sendto(base->fd, view.buf, (size_t)view.len, MSG_NOSIGNAL, (struct sockaddr *)&raw, len);
    PyBuffer_Release(&view);
    if (n >= 0)
        return SENT;
    if (n == -EAGAIN || n == -EWOULDBLOCK)
        return FULL;
    pa_error_from_errno(n);
    return RAISED;
}

/* Asks for a report when the descriptor takes more. 0 or -1. */
static int wait_for_room(pa_transport *self)
{
    if (self->blocked)
        return 0;
    PyObject *context = pa_transport_context(self);
    if (context == NULL)
        return -1;
    Py_XSETREF(self->write_context, context);
    if (pa_stream_want(self, PA_POLL_OUT, 0) < 0)
        return -1;
    self->blocked = true;
    return 0;
}

/* The descriptor takes no more: one more datagram waits for it. 0 or -1. */
static int enqueue(pa_transport *self, PyObject *data, PyObject *to)
{
    PyObject *bytes = PyBytes_CheckExact(data) ? Py_NewRef(data) : PyBytes_FromObject(data);
    int rc = bytes != NULL ? 0 : -1;
    if (rc == 0 && !self->lost) /* reading the data may have been Python code */
        rc = wait_for_room(self) == 0 && pa_write_queue_push_datagram(&self->queue, bytes, to, PA_DATAGRAM_COST) == 0
                 ? pa_flow_maybe_pause(self)
                 : -1;
    Py_XDECREF(bytes);
    return rc;
}

/* Sends what is queued until the kernel is full. 1: the queue is empty or stays for later; 0: an error was dealt with; -1: an exception. */
static int send_queued(pa_transport *self)
{
    while (!self->lost && !pa_write_queue_is_empty(&self->queue)) {
        pa_chunk chunk = pa_write_queue_pop_datagram(&self->queue, PA_DATAGRAM_COST);
        int status = send_one(DATAGRAM(self), chunk.owner, chunk.to);
        if (status == FULL && !self->lost)
            return pa_write_queue_unpop_datagram(&self->queue, chunk, PA_DATAGRAM_COST) < 0 ? -1 : 1;
        PyObject *raised = status == RAISED ? pa_err_take() : NULL;
        Py_DECREF(chunk.owner);
        Py_XDECREF(chunk.to);
        if (raised == NULL)
            continue;
        pa_err_restore(raised);
        return failed(self, WRITE_ERROR);
    }
    return 1;
}

static int write_ready(pa_transport *self)
{
    int rc = send_queued(self);
    if (rc <= 0) /* after an error the next report goes on */
        return rc;
    if (pa_flow_maybe_resume(self) < 0)
        return -1;
    if (self->lost || !pa_write_queue_is_empty(&self->queue))
        return 0;
    self->blocked = false;
    if (pa_stream_want(self, 0, PA_POLL_OUT) < 0)
        return -1;
    return self->closing && !self->conn_lost ? pa_transport_lose(self, Py_None) : 0;
}

static int on_ready(pa_loop *loop, PyObject *owner, unsigned events)
{
    pa_transport *self = PA_TRANSPORT(owner);
    int rc = 0;
    if (events & PA_POLL_IN)
        rc = pa_stream_in_context(self, self->read_context, read_ready);
    if (rc == 0 && (events & PA_POLL_OUT) && self->blocked)
        rc = pa_stream_in_context(self, self->write_context, write_ready);
    return rc;
}

/* ---- sendto ---- */

static int check_type(PyObject *data)
{
    if (PyBytes_Check(data) || PyByteArray_Check(data) || PyMemoryView_Check(data))
        return 0;
    PyObject *name = PyType_GetName(Py_TYPE(data));
    if (name != NULL)
        PyErr_Format(PyExc_TypeError, "data argument must be a bytes-like object, not %R", name);
    Py_XDECREF(name);
    return -1;
}

/* What is sent to if `addr` (None or an address) is asked for: borrowed, NULL with an exception, or None. */
static PyObject *choose_address(pa_datagram *self, PyObject *addr)
{
    if (self->address == Py_None)
        return addr;
    if (addr != Py_None) {
        int same = PyObject_RichCompareBool(addr, self->address, Py_EQ);
        if (same == 0)
            PyErr_Format(PyExc_ValueError, "Invalid address: must be None or %S", self->address);
        if (same <= 0)
            return NULL;
    }
    return self->address;
}

static int do_sendto(pa_datagram *self, PyObject *data, PyObject *addr)
{
    pa_transport *base = &self->base;
    if (base->conn_lost && self->address != Py_None)
        return pa_transport_count_lost_write(base, LOST_WRITE);
    if (!base->open) { /* what asyncio runs into, having forgotten its loop; connection_lost() may still send */
        PyErr_SetString(PyExc_AttributeError, "'NoneType' object has no attribute 'call_exception_handler'");
        return -1;
    }
    PyObject *to = addr != Py_None ? addr : NULL;
    if (!pa_write_queue_is_empty(&base->queue))
        return enqueue(base, data, to);
    switch (send_one(self, data, to)) {
    case SENT:
        return 0;
    case FULL:
        return enqueue(base, data, to);
    }
    return failed(base, WRITE_ERROR);
}

static PyObject *method_sendto(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"data", "addr", NULL};
    static const pa_signature signature = {"sendto", names, 2, 1};
    pa_datagram *self = DATAGRAM(op);
    PyObject *v[PA_ARGS_MAX];
    if (pa_args_parse(op, &signature, args, nargs, kwnames, v) < 0 || check_type(v[0]) < 0)
        return NULL;
    if (!PA_SENDS_EMPTY_DATAGRAMS) {
        int any = PyObject_IsTrue(v[0]);
        if (any < 0)
            return NULL;
        if (any == 0)
            Py_RETURN_NONE;
    }
    PyObject *addr = choose_address(self, v[1] != NULL ? v[1] : Py_None);
    if (addr == NULL)
        return NULL;
    Py_INCREF(addr);
    int rc = do_sendto(self, v[0], addr);
    Py_DECREF(addr);
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef datagram_methods[] = {
    {"sendto", PA_WITH_KEYWORDS(method_sendto),
     PyDoc_STR("sendto($self, /, data, addr=None)\n--\n\n"
               "Send `data` as one datagram to `addr`, or to the address of the endpoint; it is buffered if it cannot go out at once.\n\n"
               "Errors of the network are the protocol's, by error_received(). ValueError if the endpoint has another address.")},
    {NULL},
};

/* ---- Making ---- */

static PyObject *datagram_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *op = pa_transport_new(type, args, kwargs);
    if (op == NULL)
        return NULL;
    PA_TRANSPORT(op)->watch.on_ready = on_ready;
    DATAGRAM(op)->address = Py_NewRef(Py_None);
    return op;
}

/* Whether the socket has a peer that asyncio would send() to: an unnamed one (of a socketpair) does not count. 1, 0 or -1. */
static int has_named_peer(PyObject *op)
{
    PyObject *extra = PyObject_GetAttrString(op, "_extra");
    PyObject *peer = extra != NULL ? PyObject_GetItem(extra, PA_TRANSPORT(op)->st->names.peername) : NULL;
    int named = peer != NULL ? PyObject_IsTrue(peer) : -1;
    Py_XDECREF(peer);
    Py_XDECREF(extra);
    return named;
}

static int init(PyObject *op, PyObject *loop, PyObject *sock, PyObject *protocol, PyObject *address, PyObject *waiter, PyObject *extra)
{
    pa_datagram *self = DATAGRAM(op);
    if (pa_transport_init(&self->base, loop, sock, protocol, waiter, extra, NULL, NULL) < 0)
        return -1;
    if (address != NULL) {
        int given = PyObject_IsTrue(address);
        if (given < 0)
            return -1;
        if (given)
            Py_SETREF(self->address, Py_NewRef(address));
    }
    PyObject *family = PyObject_GetAttrString(sock, "family");
    long number = family != NULL ? PyLong_AsLong(family) : -1;
    Py_XDECREF(family);
    if (number == -1 && PyErr_Occurred())
        return -1;
    self->base.family = (int)number;
    self->translates = pa_address_is_known((int)number);
    int named = has_named_peer(op);
    self->connected = named > 0;
    return named < 0 ? -1 : 0;
}

static int datagram_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"loop", "sock", "protocol", "address", "waiter", "extra", NULL};
    static const pa_signature signature = {"__init__", names, 6, 3};
    PyObject *v[PA_ARGS_MAX];
    if (pa_args_parse_tuple(op, &signature, args, kwargs, v) < 0)
        return -1;
    return init(op, v[0], v[1], v[2], v[3], v[4], v[5]);
}

static PyObject *make_datagram_transport(PyObject *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"sock", "protocol", "address", "waiter", "extra", NULL};
    static const pa_signature signature = {"_make_datagram_transport", names, 5, 2};
    PyObject *v[PA_ARGS_MAX];
    if (pa_args_parse(loop, &signature, args, nargs, kwnames, v) < 0)
        return NULL;
    pa_state *st = pa_state_of_type(Py_TYPE(loop));
    PyObject *transport = st != NULL ? datagram_new(st->DatagramTransport, NULL, NULL) : NULL;
    if (transport != NULL && init(transport, loop, v[0], v[1], v[2], v[3], v[4]) < 0)
        Py_CLEAR(transport);
    return transport;
}

static PyMethodDef loop_methods[] = {
    {"_make_datagram_transport", PA_WITH_KEYWORDS(make_datagram_transport), NULL},
    {NULL},
};

/* ---- Type ---- */

static int datagram_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(DATAGRAM(op)->address);
    Py_VISIT(DATAGRAM(op)->first.object);
    Py_VISIT(DATAGRAM(op)->target.object);
    for (size_t i = 0; DATAGRAM(op)->peers != NULL && i < PEERS; i++)
        Py_VISIT(DATAGRAM(op)->peers[i].object);
    return pa_transport_traverse(op, visit, arg);
}

static int datagram_clear(PyObject *op)
{
    Py_XSETREF(DATAGRAM(op)->address, Py_NewRef(Py_None));
    forget_peers(DATAGRAM(op));
    return pa_transport_clear(op);
}

static void datagram_dealloc(PyObject *op)
{
    if (PyObject_CallFinalizerFromDealloc(op) < 0)
        return;
    PyObject_GC_UnTrack(op);
    Py_CLEAR(DATAGRAM(op)->address);
    forget_peers(DATAGRAM(op));
    pa_transport_free(op);
}

static PyObject *get_address(PyObject *op, void *closure) { return Py_NewRef(DATAGRAM(op)->address); }

static PyGetSetDef datagram_getsets[] = {
    {"_address", get_address},
    {NULL},
};

static PyType_Slot datagram_slots[] = {
    {Py_tp_new, datagram_new},
    {Py_tp_init, datagram_init},
    {Py_tp_repr, pa_transport_repr},
    {Py_tp_traverse, datagram_traverse},
    {Py_tp_clear, datagram_clear},
    {Py_tp_finalize, pa_transport_finalize},
    {Py_tp_dealloc, datagram_dealloc},
    {Py_tp_methods, datagram_methods},
    {Py_tp_getset, pa_transport_getsets},
    {0, NULL},
};

static PyType_Spec datagram_spec = {
    .name = "pyasync._core._DatagramTransport",
    .basicsize = sizeof(pa_datagram),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = datagram_slots,
};

/* class DatagramTransport(_DatagramTransport, asyncio.DatagramTransport) */
static PyTypeObject *make_public_class(PyTypeObject *base)
{
    PyObject *abstract, *result;
    if (pa_import_from("asyncio.transports", "DatagramTransport", &abstract) < 0)
        return NULL;
    result = PyObject_CallFunction((PyObject *)&PyType_Type, "s(OO){sssiss}", "DatagramTransport", base, abstract, "__module__",
                                   "pyasync._core", "max_size", 256 * 1024, "__doc__",
                                   "A UDP or Unix datagram socket, as loop.create_datagram_endpoint() makes it.");
    Py_DECREF(abstract);
    return (PyTypeObject *)result;
}

int pa_datagram_setup(PyObject *module, pa_state *st)
{
    PyTypeObject *base = pa_transport_make_base(module, st, &datagram_spec, st->aio_FlowControlMixin);
    if (base == NULL)
        return -1;
    int rc = -1;
    if (pa_type_add_methods(base, pa_transport_common_methods) == 0 && pa_type_add_methods(base, pa_transport_methods) == 0 &&
        pa_type_add_methods(base, pa_reading_methods) == 0 && pa_type_add_methods(base, pa_flow_methods) == 0 &&
        pa_type_add_getsets(base, pa_flow_getsets) == 0 && pa_type_add_getsets(base, datagram_getsets) == 0 &&
        (st->DatagramTransport = make_public_class(base)) != NULL && pa_override_own_methods(module, st->DatagramTransport) == 0)
        rc = PyModule_AddObjectRef(module, "DatagramTransport", (PyObject *)st->DatagramTransport);
    Py_DECREF(base);
    return rc < 0 ? -1 : pa_type_add_methods(st->EventLoop, loop_methods);
}
