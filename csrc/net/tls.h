/* TLS over a transport, as its parts see it. As in asyncio there are two objects: the SSLProtocol is the protocol of a transport below
 * (a native SocketTransport, or any other: a TLS transport, a foreign one), and the SSL transport is what the application has.
 *   tls.c            the protocol object: asyncio's attributes, life, garbage collection, choice of the engine
 *   tls_data.c       the data phase: what is received and written, flow control
 *   tls_transport.c  the application's transport
 *   tls_engine.h     how bytes are encrypted
 *
 * pyasync.tls.SSLProtocol joins the C half with asyncio.sslproto.SSLProtocol (D1b). What is cold (handshake, shutdown, time-outs, extra
 * info, reports) is asyncio's own code, of whichever version, on attributes that are fields here; what is hot (receiving, writing, flow
 * control) is in C under asyncio's names, so that each half calls the other as asyncio calls itself.
 *
 * Writing: `put_off` holds what the application wrote since the last attempt. It is encrypted when the callback of the application's
 * protocol returns or the tick ends, so that what is written in a tick shares records, and one send. `backlog` is asyncio's deque: what
 * was written during the handshake, older than what is put off. Whoever could tell the difference (close, abort, the buffer's size, the
 * limits, more than PA_TLS_PUT_OFF_MAX bytes) flushes first.
 *
 * Everything belongs to the loop's thread. Callbacks may do anything: see pa_transport's rules.
 */
#ifndef PA_NET_TLS_H
#define PA_NET_TLS_H

#include "core/loop.h"
#include "net/tls_bytes.h"
#include "net/tls_engine.h"
#include "net/transport.h"
#include "net/write_queue.h"

#define PA_TLS_PUT_OFF_MAX (64 * 1024) /* bytes; more than this is encrypted and sent at once */

struct pa_tls {
    PyObject_HEAD
    pa_state *st;         /* borrowed */
    PyObject *dict, *weakrefs;
    PyObject *loop_obj;   /* owned, as all objects below; NULL shows as None */
    pa_loop *loop;        /* borrowed from loop_obj; NULL: not one of ours */
    PyObject *transport;  /* the one below */
    pa_transport *raw;    /* borrowed from transport, if that is a native SocketTransport */
    PyObject *app_protocol, *app_transport;
    PyObject *app_get_buffer, *app_buffer_updated;
    PyObject *state;      /* a member of sslproto.SSLProtocolState */
    PyObject *sslobj, *incoming, *outgoing;
    PyObject *calls;      /* what read(), write() and pending() are called on: sslobj, or the object inside a plain ssl.SSLObject */
    PyObject *backlog;    /* the deque _write_backlog */
    Py_ssize_t backlog_bytes; /* what asyncio counts for it */
    pa_write_queue put_off;
    pa_deferred flush;
    PyObject *outgoing_high, *outgoing_low, *incoming_high, *incoming_low; /* as they were given */
    size_t outgoing_pause, outgoing_resume, incoming_pause, incoming_resume; /* the same, to compare with: at or above, at or below */
    Py_ssize_t conn_lost;
    const pa_tls_engine *engine;
    bool app_is_buffer, app_reading_paused, app_writing_paused, ssl_reading_paused, ssl_writing_paused;
    bool making;          /* asyncio's __init__ is running */
    bool busy;            /* the engine is at work: OpenSSL must not be entered a second time */
    bool write_failed;    /* an attempt to encrypt raised: another one is made only where asyncio makes one */

    /* of the OpenSSL engine */
    void *ssl;            /* SSL *, owned by what is inside sslobj, which `calls` is; NULL until adopted, noted before */
    void *bio;            /* BIO *, a reference of ours */
    const char *window;   /* what feed() was given and is not read yet, behind `in` */
    size_t window_len;
    size_t held;          /* bytes that OpenSSL has taken of a record that is not whole */
    pa_tls_bytes in, out;
};

#define PA_TLS(obj) ((pa_tls *)(obj))

static inline bool pa_tls_is_native(pa_state *st, PyObject *obj) { return PyObject_TypeCheck(obj, st->SSLProtocol); }

/* ---- tls_data.c ---- */

/* The native transport below has received this; it stays valid until the return, whatever is called. 0, or -1 with what the
 * application's protocol raised and asyncio lets through. */
int pa_tls_receive(PyObject *op, const char *data, size_t len);

/* write() and writelines() of the application's transport: one exact bytes object, or any iterable. 0 or -1. */
int pa_tls_write(pa_tls *self, PyObject *bytes);
int pa_tls_write_all(pa_tls *self, PyObject *iterable);

/* Encrypts and sends what is put off. What goes wrong is told as asyncio does. 0, or -1 with what asyncio lets through. */
int pa_tls_flush(pa_tls *self);
int pa_tls_flush_all(pa_tls *self); /* also the TLS above, if the application is one */
/* Forgets what is put off: it can never go out. */
void pa_tls_drop(pa_tls *self);
int pa_tls_run_deferred(pa_loop *loop, PyObject *owner);

/* Gives bytes to the transport below: `owner` is an exact bytes object, or NULL. 0 or -1. */
int pa_tls_send(pa_tls *self, PyObject *owner, const char *data, size_t len);

/* Bytes written and not given to the transport below. -1 with an exception. */
Py_ssize_t pa_tls_unsent(pa_tls *self);

extern PyMethodDef pa_tls_data_methods[];

/* ---- tls.c ---- */

int pa_tls_setup(PyObject *module, pa_state *st); /* SSLProtocol, SSLTransport */
/* The deque _write_backlog, with what is put off at its end. New. */
PyObject *pa_tls_backlog(pa_tls *self);

/* ---- tls_transport.c ---- */

int pa_tls_transport_setup(PyObject *module, pa_state *st);

#endif
