/* Streams: the C halves of StreamReader, StreamWriter and StreamReaderProtocol, as their files see each other.
 *
 * pyasync.StreamReader is class StreamReader(_core.StreamReader, asyncio.StreamReader), and so are the others (D1b). The C half keeps
 * asyncio's attributes as fields, under asyncio's names, and does what is hot; asyncio's own methods work on those attributes and do
 * the rest. They also do what is hot here as soon as somebody could tell the difference: when a method that the native code would go
 * around is overridden by a subclass, on a class or on the instance, or an attribute is not of the kind it is in asyncio. Such an
 * object is not `plain`, which is asked at the beginning of each operation.
 *
 * Everything belongs to the loop's thread.
 */
#ifndef PA_STREAMS_STREAMS_H
#define PA_STREAMS_STREAMS_H

#include "rt/field.h"
#include "rt/state.h"
#include "streams/buffer.h"
#include "sync/corofn.h"

typedef struct {
    PyObject_HEAD
    pa_state *st;               /* borrowed */
    PyObject *dict, *weakrefs;
    PyObject *loop;             /* owned, as all below; NULL: not initialised */
    PyObject *waiter;           /* the future of the one read that waits, or NULL for None */
    PyObject *exception;        /* NULL for None, as are the next two */
    PyObject *transport;
    PyObject *source_traceback;
    PyObject *limit;            /* as it was given */
    pa_buffer buffer;
    size_t limit_bytes;         /* the same as a number; 0: it is no positive int */
    bool eof, paused;
} pa_reader;

typedef struct {
    PyObject_HEAD
    pa_state *st;               /* borrowed */
    PyObject *dict, *weakrefs;
    PyObject *loop;             /* owned, as all below; NULL: the attribute is not set */
    PyObject *drain_waiters;    /* a deque, made when somebody needs it */
    PyObject *reader_ref;       /* a weak reference, or None */
    PyObject *strong_reader;
    PyObject *writer;           /* until 3.12 (and what others put there) */
    PyObject *client_connected_cb;
    PyObject *task;
    PyObject *transport;
    PyObject *closed;           /* a future */
    PyObject *source_traceback; /* NULL for None */
    bool paused, connection_lost, reject, over_ssl;
} pa_stream_protocol;

typedef struct {
    PyObject_HEAD
    pa_state *st;               /* borrowed */
    PyObject *dict, *weakrefs;
    PyObject *transport;        /* owned, as all below; NULL: the attribute is not set */
    PyObject *protocol;
    PyObject *reader;
    PyObject *loop;
    PyObject *complete_fut;     /* made when somebody asks */
} pa_writer;

/* ---- common.c ---- */

/* Names that native code goes around; what they mean when nobody has overridden them. */
int pa_streams_remember(pa_state *st);
/* Whether none of them is overridden for this object. Errors count as overridden, and leave nothing raised. */
bool pa_reader_has_own_methods(pa_reader *self);
bool pa_protocol_has_own_methods(pa_stream_protocol *self);

/* asyncio's own method of that name, called on `self` with up to one argument (NULL: none). New. */
PyObject *pa_streams_ask_asyncio(PyObject *aio_class, const char *name, PyObject *self, PyObject *arg);

/* The caller's stack, if the loop is in debug mode; else NULL. New. 0 or -1. */
int pa_streams_source_traceback(pa_state *st, PyObject *loop, PyObject **out);

/* loop.create_future(). New. */
PyObject *pa_streams_future(pa_state *st, PyObject *loop);
/* waiter.set_result(None) unless it is cancelled: what wakes a reader. 0 or -1. */
int pa_streams_wake(pa_state *st, PyObject *waiter);

/* ---- reader.c ---- */

static inline bool pa_reader_is_plain(pa_reader *self)
{
    return self->loop != NULL && self->limit_bytes != 0 && pa_reader_has_own_methods(self);
}

/* The reader behind `obj`, borrowed, or NULL (no exception) if it is none of ours. */
pa_reader *pa_reader_from(pa_state *st, PyObject *obj);
/* feed_data(), of a plain reader; `bytes` is an exact bytes object, or NULL: the data lies at data. 0 or -1. */
int pa_reader_feed(pa_reader *self, PyObject *bytes, const char *data, size_t len);
int pa_reader_feed_eof(pa_reader *self);
/* The transport was paused: it reads again. 0 or -1. */
int pa_reader_resume(pa_reader *self);

/* _maybe_resume_transport(). 0 or -1. */
static inline int pa_reader_maybe_resume(pa_reader *self)
{
    return self->paused && pa_buffer_len(&self->buffer) <= self->limit_bytes ? pa_reader_resume(self) : 0;
}

/* raise self._exception, if there is one. 0 or -1. */
int pa_reader_check_exception(pa_reader *self);

/* ---- protocol.c ---- */

/* The protocol behind `obj`, borrowed, or NULL (no exception) if it is none of ours. */
pa_stream_protocol *pa_stream_protocol_from(pa_state *st, PyObject *obj);
/* protocol._drain_waiters. New. */
PyObject *pa_stream_protocol_drain_waiters(pa_stream_protocol *self);

/* ---- reader_ops.c ---- */

extern const pa_corofn_def pa_reader_operations[]; /* the methods to be awaited */
PyObject *pa_reader_anext(PyObject *self);

/* ---- Setup ---- */

int pa_streams_setup(PyObject *module, pa_state *st);
int pa_reader_setup(PyObject *module, pa_state *st);
int pa_stream_protocol_setup(PyObject *module, pa_state *st);
int pa_writer_setup(PyObject *module, pa_state *st);

#endif
