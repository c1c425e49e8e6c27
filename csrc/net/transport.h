/* The native transport of stream sockets (TCP and Unix), as its parts see it:
 *   transport.c   the type: making, closing, losing the connection, reporting errors, garbage collection
 *   stream.c      reading and writing
 *   flow.c        the write buffer's water marks
 *   attributes.c  what can be asked of a transport: extra info, the Python socket, repr, asyncio's private names
 * datagram.c and pipe.c make types of their own that begin with a pa_transport, and share what fits.
 *
 * Life of a connection. `closing` is set by close() or an error: no more reading. `conn_lost` counts from the moment connection_lost is
 * certain to come: nothing is sent any more, and asyncio counts further writes in it. `lost` is set when connection_lost is called,
 * which happens once; then the descriptor is closed and the protocol, the loop and the server are let go. An object that was never
 * initialised is in that last state.
 *
 * The descriptor is owned by `sock` if there is one, else by the transport itself (an accepted connection, until someone asks for its
 * socket). It is open until `lost`.
 *
 * Every method belongs to the loop's thread. Whoever calls something that may run user code (a protocol, a handler, a call_soon that
 * was overridden) holds a reference to the transport and looks at its state again afterwards.
 */
#ifndef PA_NET_TRANSPORT_H
#define PA_NET_TRANSPORT_H

#include "core/loop.h"
#include "net/address.h"
#include "net/write_queue.h"

/* Room for the slots of asyncio's transport classes, which lie between the object header and our fields. */
#define PA_TRANSPORT_BASE_SLOTS 8

typedef struct {
    PyObject_HEAD
    PyObject *base_slots[PA_TRANSPORT_BASE_SLOTS];
    pa_state *st;          /* borrowed */
    pa_loop *loop;         /* borrowed from loop_obj */
    PyObject *loop_obj;    /* owned, as all below; NULL when lost */
    PyObject *protocol;    /* NULL when lost */
    PyObject *server;      /* what is told when the transport goes, or NULL */
    PyObject *sock;        /* the Python socket, or NULL: not made */
    PyObject *extra;       /* the dict behind get_extra_info(), complete only if `extra_done` */
    PyObject *context;     /* 3.15: where all callbacks run; NULL: copies of the current one, as each is scheduled */
    PyObject *read_context;
    PyObject *write_context;
    PyObject *empty_waiter; /* sendfile's future: the write queue is empty; or NULL */
    PyObject *high_obj, *low_obj; /* the limits as the user gave them; NULL: `high` and `low` say it all */
    pa_address *local, *peer;
    pa_watch watch;
    pa_deferred flush;     /* to the end of the tick */
    pa_write_queue queue;
    size_t high, low;      /* bytes */
    Py_ssize_t conn_lost;
    unsigned last_read;    /* how many bytes the last read brought */
    int fd;                /* also shown after it was closed */
    int family, type, proto; /* of the socket, for making `sock` */
    bool open;             /* there is a descriptor to close */
    bool closing, paused, eof, lost, buffered, protocol_paused, sock_held;
    bool is_pipe;          /* conn_lost counts writes in vain and says nothing else: pipe.c */
    bool streams;          /* the protocol is a native StreamReaderProtocol */
    bool tls;              /* ... a native SSLProtocol */
    bool own_write;        /* the instance has had a write() of its own set: TLS calls that */
    bool lent;             /* the descriptor, to sendfile: no watch, perhaps a writer's Handle */
    bool blocked;          /* the queue waits for the descriptor to take more; for ever, once the loop is closed */
    bool named;            /* `extra` has the addresses already: their family is not ours to translate */
    bool extra_done;
} pa_transport;

/* The transport behind `obj`, which must be an instance: what every method starts with. */
#define PA_TRANSPORT(obj) ((pa_transport *)(obj))

/* ---- transport.c ---- */

/* A connection that was accepted: the descriptor (stolen, also on failure) and the peer's address (stolen, may be NULL). Schedules
 * connection_made and what follows. New, or NULL. */
PyObject *pa_transport_accepted(pa_loop *loop, int fd, int family, int type, int proto, pa_address *peer, PyObject *protocol,
                                PyObject *server, PyObject *context);

/* For the types that begin with a pa_transport: their slots, or what these call. pa_transport_free is the end of tp_dealloc. */
PyObject *pa_transport_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);
int pa_transport_traverse(PyObject *op, visitproc visit, void *arg);
int pa_transport_clear(PyObject *op);
void pa_transport_finalize(PyObject *op);
void pa_transport_free(PyObject *op);
/* The slots of asyncio's transport classes, for types that lie over them. */
int pa_transport_visit_slots(pa_state *st, PyObject *op, visitproc visit, void *arg);
void pa_transport_clear_slots(pa_state *st, PyObject *op);
extern PyMethodDef pa_transport_common_methods[]; /* is_closing, set_protocol, get_protocol, _call_connection_lost */
extern PyMethodDef pa_transport_methods[];        /* close, abort and others that go by the watch */
extern PyMethodDef pa_reading_methods[];          /* is_reading, pause_reading, resume_reading: stream.c */

/* The C type behind a transport class, over one of asyncio's transport classes. New, or NULL. */
PyTypeObject *pa_transport_make_base(PyObject *module, pa_state *st, PyType_Spec *spec, PyTypeObject *base);

/* A new transport takes a Python socket over; only `protocol` and those before it have to be there. 0 or -1. */
int pa_transport_init(pa_transport *self, PyObject *loop, PyObject *sock, PyObject *protocol, PyObject *waiter, PyObject *extra,
                      PyObject *server, PyObject *context);

/* call_soon(protocol.connection_made, transport), then, in an entry of its own, reading starts and the waiter (or None) is woken: only
 * when connection_made has been called. 0 or -1. */
int pa_transport_schedule_start(pa_transport *self, PyObject *waiter);

/* call_soon(self._call_connection_lost, exc). 0 or -1. */
int pa_transport_schedule_loss(pa_transport *self, PyObject *exc);

/* Whether `callable` (what loop._make_socket_transport gave) is our own factory. */
int pa_transport_is_native_factory(PyObject *callable);

/* The context for a callback that is scheduled now: the connection's own, or a copy of the current one. New. */
PyObject *pa_transport_context(const pa_transport *self);

/* asyncio's _fatal_error: tells the loop's handler (an OSError only the debug log) and force-closes. `exc` is borrowed. 0, or -1 if an
 * exception got through. */
int pa_transport_fatal(pa_transport *self, PyObject *exc, const char *message);

/* The first half of it: tells the loop's handler, or only the debug log. 0, or -1 if an exception got through. */
int pa_transport_tell(pa_transport *self, PyObject *exc, const char *message, bool in_debug_only);

/* For after user code raised: SystemExit and KeyboardInterrupt stay raised (-1), anything else is taken and is fatal. */
int pa_transport_fatal_raised(pa_transport *self, const char *message);

/* asyncio's _force_close: what is queued is dropped, connection_lost(exc) scheduled. `exc`: borrowed, None or an exception. 0 or -1. */
int pa_transport_force_close(pa_transport *self, PyObject *exc);
int pa_transport_close(pa_transport *self);

/* connection_lost(exc), then letting everything go; nothing the second time. 0, or -1 with what connection_lost raised. */
int pa_transport_lose(pa_transport *self, PyObject *exc);

/* logger.<level>(format[, arg]); arg may be NULL. 0 or -1. */
int pa_transport_log(pa_transport *self, const char *level, const char *format, PyObject *arg);
/* A write on a transport that has lost its connection: the first few are silent, as in asyncio, then each is logged. 0 or -1. */
int pa_transport_count_lost_write(pa_transport *self, const char *warning);
/* logger.debug(format, transport) if the loop is in debug mode. 0 or -1. */
int pa_transport_debug(pa_transport *self, const char *format);

/* Calls protocol.<name>(arg); arg may be NULL: no argument. New, or NULL. */
PyObject *pa_transport_call(pa_transport *self, PyObject *name, PyObject *arg);

/* ---- stream.c ---- */

int pa_stream_on_ready(pa_loop *loop, PyObject *owner, unsigned events); /* the watch's callback */
int pa_stream_run_deferred(pa_loop *loop, PyObject *owner);              /* the flush's */

/* Starts reading unless the transport is closing or paused. 0 or -1. */
int pa_stream_start_reading(pa_transport *self);
/* Adds and removes interest; nothing when the watch is not attached. 0 or -1. */
int pa_stream_want(pa_transport *self, unsigned add, unsigned drop);

/* Makes the attempt to send that was put off (see stream.c); errors are handled as in write(). 0 or -1. */
int pa_stream_flush(pa_transport *self);
/* Forgets what is queued. */
void pa_stream_drop_queue(pa_transport *self);

/* Calls body(self) in that context (borrowed). What body returns; -1 if there is an exception. */
int pa_stream_in_context(pa_transport *self, PyObject *context, int (*body)(pa_transport *));

/* write() of `len` bytes at `data`, with an attempt to send them now. `owner`: the exact bytes object they lie in, or NULL: what cannot
 * be sent is copied. 0 or -1. */
int pa_stream_send(pa_transport *self, PyObject *owner, const char *data, size_t len);

extern PyMethodDef pa_stream_methods[];

/* ---- flow.c ---- */

/* Call the protocol's pause_writing or resume_writing if the queue's size asks for it; what they raise goes to the loop's handler.
 * 0; -1 with SystemExit or KeyboardInterrupt. */
int pa_flow_maybe_pause(pa_transport *self);
int pa_flow_maybe_resume(pa_transport *self);

/* A limit in whole bytes, rounded down or up. 0 or -1. */
int pa_flow_limit_to_bytes(PyObject *limit, bool up, size_t *out);

extern PyMethodDef pa_flow_methods[];
extern PyGetSetDef pa_flow_getsets[];

/* ---- attributes.c ---- */

/* The Python socket, made if need be; after the connection was lost a closed one. New, or NULL. */
PyObject *pa_transport_socket(pa_transport *self);
/* Takes over a socket object: keeps its close() from closing the descriptor under the transport. 0 or -1. */
int pa_transport_hold_socket(pa_transport *self, PyObject *sock);
/* Closes the descriptor through whoever owns it. 0 or -1. */
int pa_transport_close_fd(pa_transport *self);
/* What of the extra info must be known at once, because the family's addresses are not ours to translate. 0 or -1. */
int pa_transport_name_unknown_family(pa_transport *self);
PyObject *pa_transport_repr(PyObject *op);
int pa_transport_setattr(PyObject *op, PyObject *name, PyObject *value); /* tp_setattro: notices an own write() */

extern PyGetSetDef pa_transport_getsets[];

#endif
