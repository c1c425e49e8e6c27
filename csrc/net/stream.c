/* Reading and writing of the stream transport.
 *
 * Reading: one recv per readiness report, into the buffer that all of the loop's transports share, so that one busy peer does not keep
 * the others waiting and no read allocates more than it got. What is left in the kernel is reported again in the next tick. Where much
 * came the last time, the first part of the buffer is as much room in the very object that the protocol will get: nothing is copied
 * unless more comes.
 *
 * Writing: the user writes a header and then a body, and wants one packet. What is written in a tick is therefore put off, and goes out
 * in one call when the protocol's callback returns or, if it was written elsewhere (in a task), at the end of the tick. Nobody is to
 * notice but the network: whatever could tell (closing, asking for the buffer's size, more data than the high-water mark, a write from
 * another thread or while no tick is running) makes the attempt first or at once, and then the answer is asyncio's. After an attempt
 * that the kernel did not take whole, the queue waits for the descriptor.
 *
 * So the queue is in one of three states: empty; put off (`flush` is linked); blocked (`blocked` is set, and while the loop is open the
 * watch wants PA_POLL_OUT).
 */
#include "net/transport.h"
#include "core/future.h"
#include "net/tls.h"
#include "rt/args.h"
#include "rt/error.h"
#include <errno.h>


#define IN_PLACE_MIN 4096 /* bytes of a read, from which on a copy costs more than it saves */

enum { PUT_OFF = 2 }; /* besides PA_QUEUE_SENT and PA_QUEUE_FULL: no attempt was made */

#define READ_ERROR "Fatal read error on socket transport"
#define DATA_ERROR "Fatal error: protocol.data_received() call failed."
#define UPDATED_ERROR "Fatal error: protocol.buffer_updated() call failed."
#define WRITE_ERROR "Fatal write error on socket transport"
#define LOST_WRITE "socket.send() raised exception."

/* ---- Interest and contexts ---- */

int pa_stream_want(pa_transport *self, unsigned add, unsigned drop)
{
    unsigned events = (self->watch.events | add) & ~drop;
    if (events == self->watch.events || self->loop == NULL || (self->watch.fd < 0 && !pa_loop_is_closed(self->loop)))
        return 0;
    return pa_watch_set(self->loop, &self->watch, events);
}

int pa_stream_start_reading(pa_transport *self)
{
    if (self->closing || self->paused)
        return 0;
    PyObject *context = pa_transport_context(self);
    if (context == NULL)
        return -1;
    Py_XSETREF(self->read_context, context);
    return pa_stream_want(self, PA_POLL_IN, 0);
}

int pa_stream_in_context(pa_transport *self, PyObject *context, int (*body)(pa_transport *))
{
    Py_INCREF(context);
    int rc = PyContext_Enter(context);
    if (rc == 0) {
        rc = body(self);
        PyObject *raised = rc < 0 ? pa_err_take() : NULL;
        if (PyContext_Exit(context) < 0) {
            Py_XDECREF(raised);
            rc = -1;
        }
        else if (raised != NULL)
            pa_err_restore(raised);
    }
    Py_DECREF(context);
    return rc;
}

/* ---- Reading ---- */

/* The result of a recv that brought no data. */
static int no_data(pa_transport *self, ssize_t n)
{
    if (n == -EAGAIN || n == -EWOULDBLOCK)
        return 0;
    /* Sending what was put off would only find a second error, and that one would be told instead. */
    if (!self->blocked)
        pa_stream_drop_queue(self);
    pa_error_from_rc((int)n);
    return pa_transport_fatal_raised(self, READ_ERROR);
}

static int read_eof(pa_transport *self)
{
    if (pa_transport_debug(self, "%r received EOF") < 0)
        return -1;
    PyObject *keep_open = pa_transport_call(self, self->st->names.eof_received, NULL);
    if (keep_open == NULL)
        return pa_transport_fatal_raised(self, "Fatal error: protocol.eof_received() call failed.");
    int keep = PyObject_IsTrue(keep_open);
    Py_DECREF(keep_open);
    if (keep < 0)
        return -1;
    return keep ? pa_stream_want(self, 0, PA_POLL_IN) : pa_transport_close(self);
}

/* The protocol reads out of the buffer while it calls its own protocol: nobody else may read into it meanwhile. */
static int give_to_tls(pa_transport *self, char *buffer, size_t len)
{
    pa_loop *loop = self->loop;
    PyObject *loop_obj = Py_NewRef(self->loop_obj), *protocol = Py_NewRef(self->protocol);
    pa_loop_take_read_buffer(loop);
    int rc = pa_tls_receive(protocol, buffer, len);
    pa_loop_return_read_buffer(loop, buffer);
    Py_DECREF(protocol);
    Py_DECREF(loop_obj);
    return rc == 0 ? 0 : pa_transport_fatal_raised(self, UPDATED_ERROR);
}

/* `have` whole and `more` behind it. Steals `have`. New, or NULL. */
static PyObject *join(PyObject *have, const char *more, size_t len)
{
    size_t first = (size_t)PyBytes_GET_SIZE(have);
    PyObject *all = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(first + len));
    if (all != NULL) {
        memcpy(PyBytes_AS_STRING(all), PyBytes_AS_STRING(have), first);
        memcpy(PyBytes_AS_STRING(all) + first, more, len);
    }
    Py_DECREF(have);
    return all;
}

/* One recv into a new object, with room for as much as came the last time, and what is over into the shared buffer. What recv()
 * returned; if that is positive, *data is new, or NULL with an exception. */
static ssize_t receive_in_place(pa_transport *self, char *buffer, size_t size, PyObject **data)
{
    size_t room = self->last_read;
    if ((*data = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)room)) == NULL)
        return 1;
    struct iovec parts[] = {{PyBytes_AS_STRING(*data), room}, {buffer, size - room}};
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = room < size ? 2 : 1};
    ssize_t n = pa_sys_recvmsg(self->fd, &msg, 0);
    if (n <= 0)
        Py_CLEAR(*data);
    else if ((size_t)n > room)
        *data = join(*data, buffer, (size_t)n - room);
    else if ((size_t)n < room)
        _PyBytes_Resize(data, n);
    return n;
}

static int data_received(pa_transport *self, PyObject *data)
{
    if (data == NULL)
        return pa_transport_fatal_raised(self, READ_ERROR);
    PyObject *result = pa_transport_call(self, self->st->names.data_received, data);
    Py_DECREF(data);
    if (result == NULL)
        return pa_transport_fatal_raised(self, DATA_ERROR);
    Py_DECREF(result);
    return 0;
}

static int read_data(pa_transport *self)
{
    size_t size;
    char *buffer = pa_loop_read_buffer(self->loop, &size);
    if (buffer == NULL)
        return pa_transport_fatal_raised(self, READ_ERROR);
    PyObject *data = NULL;
    bool in_place = self->last_read >= IN_PLACE_MIN && !self->tls && !self->streams;
    ssize_t n = in_place ? receive_in_place(self, buffer, size, &data) : pa_sys_recv(self->fd, buffer, size, 0);
    if (n < 0)
        return no_data(self, n);
    if (n == 0)
        return read_eof(self);
    self->last_read = (unsigned)n;
    if (self->tls)
        return give_to_tls(self, buffer, (size_t)n);
    if (self->streams) {
        PyObject *protocol = Py_NewRef(self->protocol);
        int received = self->st->receive_stream(protocol, buffer, (size_t)n);
        Py_DECREF(protocol);
        if (received != 0)
            return received > 0 ? 0 : pa_transport_fatal_raised(self, DATA_ERROR);
    }
    return data_received(self, in_place ? data : PyBytes_FromStringAndSize(buffer, n));
}

/* protocol.get_buffer(-1), which must not be empty. New, or NULL. */
static PyObject *get_buffer(pa_transport *self)
{
    PyObject *hint = PyLong_FromLong(-1);
    PyObject *buffer = hint != NULL ? pa_transport_call(self, self->st->names.get_buffer, hint) : NULL;
    Py_XDECREF(hint);
    Py_ssize_t len = buffer != NULL ? PyObject_Length(buffer) : -1;
    if (len > 0)
        return buffer;
    if (len == 0)
        PyErr_SetString(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
    Py_XDECREF(buffer);
    return NULL;
}

static int buffer_updated(pa_transport *self, ssize_t n)
{
    PyObject *nbytes = PyLong_FromSsize_t(n);
    PyObject *result = nbytes != NULL ? pa_transport_call(self, self->st->names.buffer_updated, nbytes) : NULL;
    Py_XDECREF(nbytes);
    if (result == NULL)
        return pa_transport_fatal_raised(self, UPDATED_ERROR);
    Py_DECREF(result);
    return 0;
}

static int read_into_protocol(pa_transport *self)
{
    PyObject *buffer = get_buffer(self);
    if (buffer == NULL)
        return pa_transport_fatal_raised(self, "Fatal error: protocol.get_buffer() call failed.");
    Py_buffer view;
    if (PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE) < 0) {
        if (!pa_error_is_exit())
            PyErr_Format(PyExc_TypeError, "recv_into() argument 1 must be read-write bytes-like object, not %.50s",
                         buffer == Py_None ? "None" : Py_TYPE(buffer)->tp_name); /* what socket.recv_into() says */
        Py_DECREF(buffer);
        return pa_transport_fatal_raised(self, READ_ERROR);
    }
    ssize_t n = self->open ? pa_sys_recv(self->fd, view.buf, (size_t)view.len, 0) : -EBADF;
    PyBuffer_Release(&view);
    Py_DECREF(buffer);
    if (n < 0)
        return no_data(self, n);
    return n == 0 ? read_eof(self) : buffer_updated(self, n);
}

static int read_ready(pa_transport *self)
{
    if (self->conn_lost)
        return 0;
    return self->buffered && !self->tls ? read_into_protocol(self) : read_data(self);
}

/* ---- Writing ---- */

static int shut_down_write(pa_transport *self)
{
    int rc = pa_sys_shutdown(self->fd, SHUT_WR);
    if (rc == 0)
        return 0;
    pa_error_from_rc(rc);
    return -1;
}

void pa_stream_drop_queue(pa_transport *self)
{
    if (self->tls && self->protocol != NULL)
        pa_tls_drop(PA_TLS(self->protocol));
    pa_write_queue_clear(&self->queue);
    pa_loop_undefer(self->loop, &self->flush);
    self->blocked = false;
}

/* The connection failed on sending: nothing of the queue will ever go out. */
static int write_failed(pa_transport *self, int error)
{
    pa_stream_drop_queue(self);
    if (pa_stream_want(self, 0, PA_POLL_OUT) < 0)
        PyErr_Clear(); /* the watch goes in a moment */
    pa_error_from_rc(error);
    PyObject *exc = pa_err_take();
    PyObject *waiter = Py_XNewRef(self->empty_waiter);
    int rc = pa_transport_fatal(self, exc, WRITE_ERROR);
    if (rc == 0 && waiter != NULL)
        rc = pa_future_reject(waiter, exc);
    Py_XDECREF(waiter);
    Py_DECREF(exc);
    return rc;
}

/* Something is queued: sends it now, unless the descriptor is full or it may wait for more. Runs no user code. PA_QUEUE_*, PUT_OFF or
 * -errno. */
static int transmit(pa_transport *self)
{
    if (self->blocked)
        return PUT_OFF;
    if (self->queue.bytes <= self->high && pa_loop_defer(self->loop, &self->flush))
        return PUT_OFF;
    pa_loop_undefer(self->loop, &self->flush);
    return pa_write_queue_send(&self->queue, self->fd);
}

/* What follows from a transmit(). 0, or -1 if an exception got through. */
static int settle(pa_transport *self, int status)
{
    if (status < 0)
        return write_failed(self, status);
    /* FULL, and empty by now: what the writer's buffer was released into has sent it */
    if (status == PA_QUEUE_SENT || (status == PA_QUEUE_FULL && pa_write_queue_is_empty(&self->queue)))
        return 0;
    if (status == PA_QUEUE_FULL) {
        PyObject *context = pa_transport_context(self);
        if (context == NULL)
            return -1;
        Py_XSETREF(self->write_context, context);
        if (self->conn_lost) /* by what dropping the old context called */
            return 0;
        if (pa_stream_want(self, PA_POLL_OUT, 0) < 0) {
            pa_stream_drop_queue(self); /* as in asyncio: it raises before it has kept the data */
            return -1;
        }
        self->blocked = true;
    }
    return pa_flow_maybe_pause(self);
}

/* What TLS has put off belongs before what follows here. 0 or -1. */
static int flush_tls(pa_transport *self)
{
    PyObject *protocol = Py_NewRef(self->protocol);
    int rc = pa_tls_flush_all(PA_TLS(protocol));
    Py_DECREF(protocol);
    return rc;
}

int pa_stream_flush(pa_transport *self)
{
    if (self->tls && self->protocol != NULL && flush_tls(self) < 0)
        return -1;
    if (pa_write_queue_is_empty(&self->queue) || self->blocked || self->lost)
        return 0;
    Py_INCREF(self);
    pa_loop_undefer(self->loop, &self->flush);
    int rc = settle(self, pa_write_queue_send(&self->queue, self->fd));
    Py_DECREF(self);
    return rc;
}

int pa_stream_run_deferred(pa_loop *loop, PyObject *owner) { return pa_stream_flush(PA_TRANSPORT(owner)); }

/* The descriptor of a blocked transport has taken the last of the queue. */
static int write_drained(pa_transport *self)
{
    PyObject *waiter = Py_XNewRef(self->empty_waiter);
    int rc = waiter != NULL ? pa_future_resolve(waiter, Py_None) : 0;
    Py_XDECREF(waiter);
    if (rc < 0)
        return -1;
    if (self->closing && !self->conn_lost)
        return pa_transport_lose(self, Py_None);
    if (self->eof && !self->closing)
        return shut_down_write(self);
    return 0;
}

static int write_ready(pa_transport *self)
{
    if (self->conn_lost || pa_write_queue_is_empty(&self->queue))
        return 0;
    int status = pa_write_queue_send(&self->queue, self->fd);
    if (status < 0)
        return write_failed(self, status);
    /* Not blocked any more, before the protocol is told: what it writes then is sent like any other write. */
    if (status == PA_QUEUE_SENT) {
        self->blocked = false;
        if (pa_stream_want(self, 0, PA_POLL_OUT) < 0)
            return -1;
    }
    int rc = pa_flow_maybe_resume(self);
    PyObject *raised = rc < 0 ? pa_err_take() : NULL;
    /* The protocol may have written more, or closed. What follows from the empty queue has to happen even if it ended the loop:
     * nobody will report this descriptor again. */
    rc = pa_stream_flush(self);
    if (rc == 0 && !self->lost && pa_write_queue_is_empty(&self->queue))
        rc = write_drained(self);
    if (raised == NULL)
        return rc;
    PyErr_Clear();
    pa_err_restore(raised);
    return -1;
}

int pa_stream_on_ready(pa_loop *loop, PyObject *owner, unsigned events)
{
    pa_transport *self = PA_TRANSPORT(owner);
    int rc = 0;
    if (events & PA_POLL_IN)
        rc = pa_stream_in_context(self, self->read_context, read_ready);
    if (rc == 0 && (events & PA_POLL_OUT) && self->blocked)
        rc = pa_stream_in_context(self, self->write_context, write_ready);
    if (pa_write_queue_is_empty(&self->queue) || self->blocked)
        return rc;
    /* What the protocol wrote goes out even if the callback ended the loop. */
    PyObject *raised = rc < 0 ? pa_err_take() : NULL;
    if (pa_stream_flush(self) < 0)
        rc = -1;
    if (raised != NULL) {
        PyErr_Clear();
        pa_err_restore(raised);
    }
    return rc;
}

/* ---- Methods ---- */

/* asyncio's treatment of writes on a lost connection: counted, and from the sixth on logged. */
static int check_writable(pa_transport *self, const char *eof_text, const char *sendfile_text)
{
    if (self->eof)
        PyErr_SetString(PyExc_RuntimeError, eof_text);
    else if (self->empty_waiter != NULL)
        PyErr_SetString(PyExc_RuntimeError, sendfile_text);
    else
        return 0;
    return -1;
}

static int check_type(PyObject *data)
{
    if (PyBytes_Check(data) || PyByteArray_Check(data) || PyMemoryView_Check(data))
        return 0;
    PyObject *name = PyType_GetName(Py_TYPE(data));
    if (name != NULL)
        PyErr_Format(PyExc_TypeError, PA_WRITE_TYPE_ERROR, name);
    Py_XDECREF(name);
    return -1;
}

/* Data that may change under us: sent from where it lies if it is sent at once; what is kept is copied. */
static int write_mutable(pa_transport *self, PyObject *data)
{
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return pa_transport_fatal_raised(self, WRITE_ERROR);
    if (self->conn_lost) { /* exporting a buffer may be Python code, and so may releasing it */
        PyBuffer_Release(&view);
        return pa_transport_count_lost_write(self, LOST_WRITE);
    }
    int status = pa_write_queue_push_borrowed(&self->queue, view.buf, (size_t)view.len);
    if (status == 0) {
        status = transmit(self);
        if (pa_write_queue_own_tail(&self->queue) < 0) {
            PyBuffer_Release(&view);
            return pa_transport_fatal_raised(self, WRITE_ERROR);
        }
        PyBuffer_Release(&view);
        return self->lost ? 0 : settle(self, status);
    }
    PyBuffer_Release(&view);
    return -1;
}

static int check_not_busy(pa_transport *self)
{
    return check_writable(self, "Cannot call write() after write_eof()", "unable to write; sendfile is in progress");
}

static int send_now(pa_transport *self)
{
    pa_loop_undefer(self->loop, &self->flush);
    return self->blocked ? PUT_OFF : pa_write_queue_send(&self->queue, self->fd);
}

int pa_stream_send(pa_transport *self, PyObject *owner, const char *data, size_t len)
{
    if (check_not_busy(self) < 0)
        return -1;
    if (self->conn_lost)
        return pa_transport_count_lost_write(self, LOST_WRITE);
    if (owner != NULL)
        return pa_write_queue_push_bytes(&self->queue, owner) < 0 ? -1 : settle(self, send_now(self));
    if (pa_write_queue_push_borrowed(&self->queue, data, len) < 0)
        return -1;
    int status = send_now(self);
    if (pa_write_queue_own_tail(&self->queue) < 0)
        return pa_transport_fatal_raised(self, WRITE_ERROR);
    return settle(self, status);
}

static PyObject *method_write(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"data", NULL};
    static const pa_signature signature = {"write", names, 1, 1};
    pa_transport *self = PA_TRANSPORT(op);
    PyObject *data = pa_args_one(op, &signature, args, nargs, kwnames);
    if (data == NULL)
        return NULL;
    if (check_type(data) < 0 || check_not_busy(self) < 0)
        return NULL;
    int rc = PyBytes_CheckExact(data) ? PyBytes_GET_SIZE(data) > 0 : PyObject_IsTrue(data);
    if (rc > 0) {
        if (self->conn_lost)
            rc = pa_transport_count_lost_write(self, LOST_WRITE);
        else if (PyBytes_CheckExact(data)) {
            rc = pa_write_queue_push_bytes(&self->queue, data);
            if (rc == 0)
                rc = settle(self, transmit(self));
        }
        else
            rc = write_mutable(self, data);
    }
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

#if PA_HAS_VECTORED_WRITELINES /* else WriteTransport.writelines() joins the chunks and calls write() */

/* An exact bytes object with the same content. New. */
static PyObject *as_bytes(PyObject *data)
{
    if (PyBytes_CheckExact(data))
        return Py_NewRef(data);
    PyObject *view = PyMemoryView_FromObject(data);
    PyObject *bytes = view != NULL ? PyBytes_FromObject(view) : NULL;
    Py_XDECREF(view);
    return bytes;
}

/* The chunks of writelines() as bytes: all are checked before the first is sent. New list. */
static PyObject *as_chunks(PyObject *iterable)
{
    PyObject *items = PySequence_List(iterable);
    PyObject *chunks = items != NULL ? PyList_New(0) : NULL;
    for (Py_ssize_t i = 0; chunks != NULL && i < PyList_GET_SIZE(items); i++) {
        PyObject *item = PyList_GET_ITEM(items, i);
        int wanted = PA_WRITELINES_SKIPS_FALSE ? PyObject_IsTrue(item) : 1;
        PyObject *bytes = wanted > 0 ? as_bytes(item) : NULL;
        if (wanted != 0 && (bytes == NULL || PyList_Append(chunks, bytes) < 0))
            Py_CLEAR(chunks);
        Py_XDECREF(bytes);
    }
    Py_XDECREF(items);
    return chunks;
}

static int write_chunks(pa_transport *self, PyObject *chunks)
{
    if (self->conn_lost)
        return pa_transport_count_lost_write(self, LOST_WRITE);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(chunks); i++)
        if (pa_write_queue_push_bytes(&self->queue, PyList_GET_ITEM(chunks, i)) < 0)
            return pa_transport_fatal_raised(self, WRITE_ERROR); /* half a message cannot be taken back */
    if (!pa_write_queue_is_empty(&self->queue))
        return settle(self, transmit(self));
    if (PA_WRITELINES_SKIPS_FALSE || PyList_GET_SIZE(chunks) > 0 || !self->st->asserts)
        return 0;
    PyErr_SetString(PyExc_AssertionError, "Data should not be empty"); /* an iterable that is true, of nothing */
    return -1;
}

static PyObject *method_writelines(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"list_of_data", NULL};
    static const pa_signature signature = {"writelines", names, 1, 1};
    pa_transport *self = PA_TRANSPORT(op);
    PyObject *list_of_data = pa_args_one(op, &signature, args, nargs, kwnames);
    if (list_of_data == NULL)
        return NULL;
    if (check_writable(self, "Cannot call writelines() after write_eof()", "unable to writelines; sendfile is in progress") < 0)
        return NULL;
    int rc = PyObject_IsTrue(list_of_data);
    if (rc > 0) {
        PyObject *chunks = as_chunks(list_of_data);
        rc = chunks != NULL ? write_chunks(self, chunks) : -1;
        Py_XDECREF(chunks);
    }
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}
#endif

static PyObject *method_write_eof(PyObject *op, PyObject *unused)
{
    pa_transport *self = PA_TRANSPORT(op);
    if (self->closing || self->eof)
        Py_RETURN_NONE;
    if (pa_stream_flush(self) < 0)
        return NULL;
    if (self->closing || self->eof) /* since the flush: it failed, or what it called was here before us */
        Py_RETURN_NONE;
    self->eof = true;
    if (pa_write_queue_is_empty(&self->queue) && shut_down_write(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *method_can_write_eof(PyObject *op, PyObject *unused) { Py_RETURN_TRUE; }

static PyObject *method_is_reading(PyObject *op, PyObject *unused)
{
    pa_transport *self = PA_TRANSPORT(op);
    return PyBool_FromLong(!self->closing && !self->paused);
}

static PyObject *method_pause_reading(PyObject *op, PyObject *unused)
{
    pa_transport *self = PA_TRANSPORT(op);
    if (self->closing || self->paused)
        Py_RETURN_NONE;
    self->paused = true;
    if (pa_stream_want(self, 0, PA_POLL_IN) < 0 || pa_transport_debug(self, "%r pauses reading") < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *method_resume_reading(PyObject *op, PyObject *unused)
{
    pa_transport *self = PA_TRANSPORT(op);
    if (self->closing || !self->paused)
        Py_RETURN_NONE;
    self->paused = false;
    if (pa_stream_start_reading(self) < 0 || pa_transport_debug(self, "%r resumes reading") < 0)
        return NULL;
    Py_RETURN_NONE;
}

#define KEYWORDS(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS

PA_NO_ARGS(method_write_eof, write_eof)
PA_NO_ARGS(method_can_write_eof, can_write_eof)
PA_NO_ARGS(method_is_reading, is_reading)
PA_NO_ARGS(method_pause_reading, pause_reading)
PA_NO_ARGS(method_resume_reading, resume_reading)

PyMethodDef pa_stream_methods[] = {
    {"write", KEYWORDS(method_write),
     PyDoc_STR("write($self, /, data)\n--\n\nSend `data` (bytes, bytearray or memoryview) without blocking; the rest is buffered.")},
#if PA_HAS_VECTORED_WRITELINES
    {"writelines", KEYWORDS(method_writelines),
     PyDoc_STR("writelines($self, /, list_of_data)\n--\n\nSend several chunks as one, without joining them.")},
#endif
    {"write_eof", PA_NO_ARGS_METHOD(method_write_eof, write_eof),
     PyDoc_STR("write_eof($self, /)\n--\n\nShut the writing side down when the buffer is empty.")},
    {"can_write_eof", PA_NO_ARGS_METHOD(method_can_write_eof, can_write_eof), PyDoc_STR("can_write_eof($self, /)\n--\n\nTrue.")},
    {NULL},
};

PyMethodDef pa_reading_methods[] = {
    {"is_reading", PA_NO_ARGS_METHOD(method_is_reading, is_reading), PyDoc_STR("is_reading($self, /)\n--\n\nWhether data may be received.")},
    {"pause_reading", PA_NO_ARGS_METHOD(method_pause_reading, pause_reading),
     PyDoc_STR("pause_reading($self, /)\n--\n\nReceive nothing until resume_reading().")},
    {"resume_reading", PA_NO_ARGS_METHOD(method_resume_reading, resume_reading), PyDoc_STR("resume_reading($self, /)\n--\n\nReceive again.")},
    {NULL},
};
