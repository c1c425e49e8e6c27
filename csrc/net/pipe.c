/* The transports of pipes, FIFOs, sockets and character devices, which loop.connect_read_pipe() and connect_write_pipe() make and
 * subprocesses talk through.
 *
 * Both begin with a pa_transport (transport.h) and share its queue, flow control and end. `sock` is the file object that was given: it
 * owns the descriptor and is closed once, when the connection is lost, after connection_lost(). What differs:
 *
 * - They wait by the loop's Handles (_add_reader, _add_writer), not by a watch: a reading and a writing transport may have the same
 *   descriptor (a pseudo-terminal's), and asyncio lets the user remove_reader() it.
 * - Each write is tried at once, as asyncio does; the rest is queued, and _add_writer() waits exactly while something is queued.
 * - A writing transport of a pipe or socket looks for input, too: the kernel says so when the reader has gone.
 * - `conn_lost` of a writing transport only counts writes in vain, as asyncio's does; that connection_lost is certain to come is
 *   `losing`. A reading one uses neither of conn_lost, the queue and its limits.
 * - What the protocol raises goes to the loop's exception handler, and the transport goes on.
 *
 * The loop's thread only.
 */
#include "net/net.h"
#include "net/transport.h"
#include "rt/args.h"
#include "rt/error.h"
#include "rt/call.h"
#include <errno.h>
#include <sys/stat.h>

#define READ_ERROR "Fatal read error on pipe transport"
#define WRITE_ERROR "Fatal write error on pipe transport"
#define LOST_WRITE "pipe closed by peer or os.write(pipe, data) raised exception."

typedef struct {
    pa_transport base;
    bool losing;              /* connection_lost is scheduled */
    bool watches_reader;      /* writing: the descriptor tells when its reader goes */
    bool polls_in, polls_out; /* what we have asked the loop for */
} pa_pipe;

#define PIPE(obj) ((pa_pipe *)(obj))

/* ---- Waiting ---- */

/* loop.<name>(fd[, callback]). 0 or -1. */
static int ask_loop(pa_pipe *self, PyObject *name, PyObject *callback_name)
{
    PyObject *loop = self->base.loop_obj;
    if (loop == NULL)
        return 0;
    Py_INCREF(loop);
    PyObject *fd = PyLong_FromLong(self->base.fd), *callback = NULL, *result = NULL;
    if (fd != NULL && callback_name != NULL)
        callback = PyObject_GetAttr((PyObject *)self, callback_name);
    if (fd != NULL && (callback != NULL || callback_name == NULL))
        result = PyObject_CallMethodObjArgs(loop, name, fd, callback, NULL);
    Py_XDECREF(result);
    Py_XDECREF(callback);
    Py_XDECREF(fd);
    Py_DECREF(loop);
    return result != NULL ? 0 : -1;
}

static int poll_in(pa_pipe *self)
{
    self->polls_in = true;
    return ask_loop(self, self->base.st->names._add_reader, self->base.st->names._read_ready);
}

static int poll_out(pa_pipe *self)
{
    self->polls_out = self->base.blocked = true;
    if (ask_loop(self, self->base.st->names._add_writer, self->base.st->names._write_ready) == 0)
        return 0;
    PyObject *raised = pa_err_take(); /* nobody will report the descriptor: as in asyncio, which raises before it has kept the data */
    self->polls_out = self->base.blocked = false;
    pa_write_queue_clear(&self->base.queue);
    pa_err_restore(raised);
    return -1;
}

/* Only what we have asked for: the other direction may be another transport's. */
static int unpoll_in(pa_pipe *self)
{
    if (!self->polls_in)
        return 0;
    self->polls_in = false;
    return ask_loop(self, self->base.st->names._remove_reader, NULL);
}

static int unpoll_out(pa_pipe *self)
{
    if (!self->polls_out)
        return 0;
    self->polls_out = self->base.blocked = false;
    return ask_loop(self, self->base.st->names._remove_writer, NULL);
}

/* ---- Closing ---- */

/* asyncio's _close(): what is queued is dropped, connection_lost(exc) scheduled, once. 0 or -1. */
static int begin_loss(pa_pipe *self, PyObject *exc)
{
    self->base.closing = true;
    if (self->losing || self->base.lost)
        return 0;
    pa_write_queue_clear(&self->base.queue);
    if (unpoll_out(self) < 0 || unpoll_in(self) < 0)
        return -1;
    if (self->losing || self->base.lost) /* by what the loop's methods called */
        return 0;
    self->losing = true;
    return pa_transport_schedule_loss(&self->base, exc);
}

/* asyncio's _fatal_error() for the raised exception, which is taken; in_debug_only(exc): the handler need not know. 0 or -1. */
static int fail(pa_pipe *self, const char *message, bool (*in_debug_only)(PyObject *))
{
    if (pa_error_is_exit())
        return -1;
    PyObject *exc = pa_err_take();
    int rc = 0;
    if (self->base.loop != NULL)
        rc = pa_transport_tell(&self->base, exc, message, in_debug_only(exc));
    if (rc == 0)
        rc = begin_loss(self, exc);
    Py_DECREF(exc);
    return rc;
}

static bool is_oserror(PyObject *exc) { return PyObject_TypeCheck(exc, (PyTypeObject *)PyExc_OSError); }

/* What reading from a pseudo-terminal says when the other side is closed. */
static bool is_eio(PyObject *exc)
{
    if (!is_oserror(exc))
        return false;
    PyObject *number = PyObject_GetAttrString(exc, "errno");
    long value = number != NULL && PyLong_Check(number) ? PyLong_AsLong(number) : -1;
    Py_XDECREF(number);
    PyErr_Clear();
    return value == EIO;
}

/* logger.info("%r was closed by peer", self) in debug mode. 0 or -1. */
static int log_closed_by_peer(pa_pipe *self)
{
    if (self->base.loop == NULL || !pa_loop_is_debug(self->base.loop))
        return 0;
    return pa_transport_log(&self->base, "info", "%r was closed by peer", (PyObject *)self);
}

/* ---- Reading ---- */

static int read_eof(pa_pipe *self)
{
    if (log_closed_by_peer(self) < 0 || self->base.loop_obj == NULL)
        return self->base.loop_obj == NULL ? 0 : -1;
    self->base.closing = true;
    if (unpoll_in(self) < 0)
        return -1;
    if (self->base.lost)
        return 0;
    PyObject *loop = Py_NewRef(self->base.loop_obj), *protocol = Py_NewRef(self->base.protocol);
    PyObject *eof_received = PyObject_GetAttr(protocol, self->base.st->names.eof_received);
    PyObject *handle = eof_received != NULL ? PyObject_CallMethodOneArg(loop, self->base.st->names.call_soon, eof_received) : NULL;
    Py_XDECREF(eof_received);
    Py_DECREF(protocol);
    Py_DECREF(loop);
    Py_XDECREF(handle);
    return handle != NULL ? begin_loss(self, Py_None) : -1;
}

static PyObject *reader_read_ready(PyObject *op, PyObject *unused)
{
    pa_pipe *self = PIPE(op);
    if (self->base.closing || self->base.loop == NULL)
        Py_RETURN_NONE;
    size_t size;
    char *buffer = pa_loop_read_buffer(self->base.loop, &size);
    if (buffer == NULL)
        return NULL;
    ssize_t n = pa_sys_read(self->base.fd, buffer, size);
    if (n == -EAGAIN || n == -EWOULDBLOCK)
        Py_RETURN_NONE;
    if (n < 0) {
        pa_error_from_errno(n);
        return pa_call_none(fail(self, READ_ERROR, is_eio));
    }
    if (n == 0)
        return pa_call_none(read_eof(self));
    PyObject *data = PyBytes_FromStringAndSize(buffer, n);
    if (data == NULL) /* the kernel does not have it any more: nobody is to take what follows for all there was */
        return pa_call_none(fail(self, READ_ERROR, is_eio));
    PyObject *result = pa_transport_call(&self->base, self->base.st->names.data_received, data);
    Py_DECREF(data);
    return result;
}

static PyObject *reader_is_reading(PyObject *op, PyObject *unused)
{
    return PyBool_FromLong(!PA_TRANSPORT(op)->paused && !PA_TRANSPORT(op)->closing);
}

static PyObject *reader_pause_reading(PyObject *op, PyObject *unused)
{
    pa_transport *self = PA_TRANSPORT(op);
    if (self->paused || self->closing)
        Py_RETURN_NONE;
    self->paused = true;
    return pa_call_none(unpoll_in(PIPE(op)) < 0 || pa_transport_debug(self, "%r pauses reading") < 0 ? -1 : 0);
}

static PyObject *reader_resume_reading(PyObject *op, PyObject *unused)
{
    pa_transport *self = PA_TRANSPORT(op);
    if (self->closing || !self->paused)
        Py_RETURN_NONE;
    self->paused = false;
    return pa_call_none(poll_in(PIPE(op)) < 0 || pa_transport_debug(self, "%r resumes reading") < 0 ? -1 : 0);
}

static PyObject *reader_close(PyObject *op, PyObject *unused)
{
    return pa_call_none(PA_TRANSPORT(op)->closing ? 0 : begin_loss(PIPE(op), Py_None));
}

/* Scheduled behind connection_made. */
static PyObject *reader_start_polling(PyObject *op, PyObject *unused)
{
    return pa_call_none(PA_TRANSPORT(op)->paused || PA_TRANSPORT(op)->closing ? 0 : poll_in(PIPE(op)));
}

PA_NO_ARGS(reader_is_reading, is_reading)
PA_NO_ARGS(reader_pause_reading, pause_reading)
PA_NO_ARGS(reader_resume_reading, resume_reading)
PA_NO_ARGS(reader_close, close)

static PyMethodDef reader_methods[] = {
    {"is_reading", PA_NO_ARGS_METHOD(reader_is_reading, is_reading), PyDoc_STR("is_reading($self, /)\n--\n\nWhether data may be received.")},
    {"pause_reading", PA_NO_ARGS_METHOD(reader_pause_reading, pause_reading),
     PyDoc_STR("pause_reading($self, /)\n--\n\nReceive nothing until resume_reading().")},
    {"resume_reading", PA_NO_ARGS_METHOD(reader_resume_reading, resume_reading), PyDoc_STR("resume_reading($self, /)\n--\n\nReceive again.")},
    {"close", PA_NO_ARGS_METHOD(reader_close, close), PyDoc_STR("close($self, /)\n--\n\nStop reading; connection_lost(None) follows.")},
    {"_read_ready", reader_read_ready, METH_NOARGS, NULL},
    {"_start_polling", reader_start_polling, METH_NOARGS, NULL},
    {NULL},
};

/* ---- Writing ---- */

/* The kernel reports input on the writing side: there is no reader any more. */
static PyObject *writer_read_ready(PyObject *op, PyObject *unused)
{
    pa_pipe *self = PIPE(op);
    if (log_closed_by_peer(self) < 0)
        return NULL;
    if (pa_write_queue_is_empty(&self->base.queue))
        return pa_call_none(begin_loss(self, Py_None));
    PyObject *exc = PyObject_CallNoArgs(PyExc_BrokenPipeError);
    int rc = exc != NULL ? begin_loss(self, exc) : -1;
    Py_XDECREF(exc);
    return pa_call_none(rc);
}

/* An exception is raised: nothing of the queue will ever be written. */
static int write_failed(pa_pipe *self)
{
    if (pa_error_is_exit())
        return -1;
    PyObject *raised = pa_err_take();
    pa_write_queue_clear(&self->base.queue);
    self->base.conn_lost++;
    pa_err_restore(raised);
    return fail(self, WRITE_ERROR, is_oserror);
}

static int write_data(pa_pipe *self, PyObject *data)
{
    pa_write_queue *queue = &self->base.queue;
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return write_failed(self);
    if (self->base.closing) { /* exporting a buffer may be Python code, and so may releasing it */
        PyBuffer_Release(&view);
        return pa_transport_count_lost_write(&self->base, LOST_WRITE);
    }
    bool waiting = !pa_write_queue_is_empty(queue);
    int status = PyBytes_CheckExact(data) ? pa_write_queue_push_bytes(queue, data)
                                          : pa_write_queue_push_borrowed(queue, view.buf, (size_t)view.len);
    if (status == 0 && !waiting)
        status = pa_write_queue_write(queue, self->base.fd);
    else if (status == 0)
        status = PA_QUEUE_FULL;
    else
        status = -ENOMEM;
    int kept = status == PA_QUEUE_FULL ? pa_write_queue_own_tail(queue) : 0;
    if (status < 0)
        pa_write_queue_clear(queue);
    /* before the buffer's owner is told: what its code does to us then (close, say) has to find us waiting for room */
    int asked = kept == 0 && status == PA_QUEUE_FULL && !waiting ? poll_out(self) : 0;
    PyObject *raised = asked < 0 ? pa_err_take() : NULL;
    PyBuffer_Release(&view);
    if (asked < 0) {
        pa_err_restore(raised);
        return -1;
    }
    if (kept < 0)
        return write_failed(self);
    if (status < 0) {
        if (!PyErr_Occurred())
            pa_error_from_errno(status);
        return write_failed(self);
    }
    if (status == PA_QUEUE_SENT || self->base.closing)
        return 0;
    return pa_flow_maybe_pause(&self->base);
}

static PyObject *writer_write(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"data", NULL};
    static const pa_signature signature = {"write", names, 1, 1};
    pa_pipe *self = PIPE(op);
    PyObject *data = pa_args_one(op, &signature, args, nargs, kwnames);
    if (data == NULL)
        return NULL;
    if (self->base.st->asserts && !PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data))
        return PyErr_Format(PyExc_AssertionError, "%R", data); /* asyncio asserts it */
    int rc = PyObject_IsTrue(data);
    if (rc > 0)
        rc = self->base.conn_lost || self->base.closing ? pa_transport_count_lost_write(&self->base, LOST_WRITE) : write_data(self, data);
    return pa_call_none(rc);
}

static PyObject *writer_write_ready(PyObject *op, PyObject *unused)
{
    pa_pipe *self = PIPE(op);
    if (self->losing || self->base.lost || pa_write_queue_is_empty(&self->base.queue))
        Py_RETURN_NONE;
    int status = pa_write_queue_write(&self->base.queue, self->base.fd);
    if (status < 0) {
        pa_error_from_errno(status);
        return pa_call_none(write_failed(self));
    }
    if (status == PA_QUEUE_FULL)
        Py_RETURN_NONE;
    if (unpoll_out(self) < 0 || pa_flow_maybe_resume(&self->base) < 0)
        return NULL;
    if (!self->base.closing || self->base.lost || !pa_write_queue_is_empty(&self->base.queue))
        Py_RETURN_NONE;
    return pa_call_none(unpoll_in(self) < 0 ? -1 : pa_transport_lose(&self->base, Py_None));
}

/* There is no half-closing a pipe: it closes when the queue is empty. */
static PyObject *writer_write_eof(PyObject *op, PyObject *unused)
{
    pa_pipe *self = PIPE(op);
    if (self->base.closing)
        Py_RETURN_NONE;
    self->base.closing = true;
    return pa_call_none(pa_write_queue_is_empty(&self->base.queue) ? begin_loss(self, Py_None) : 0);
}

static PyObject *writer_can_write_eof(PyObject *op, PyObject *unused) { Py_RETURN_TRUE; }

static PyObject *writer_abort(PyObject *op, PyObject *unused) { return pa_call_none(begin_loss(PIPE(op), Py_None)); }

static PyObject *writer_start_polling(PyObject *op, PyObject *unused)
{
    return pa_call_none(!PIPE(op)->watches_reader || PA_TRANSPORT(op)->closing ? 0 : poll_in(PIPE(op)));
}

PA_NO_ARGS(writer_write_eof, write_eof)
PA_NO_ARGS(writer_can_write_eof, can_write_eof)
PA_NO_ARGS(writer_write_eof, close)
PA_NO_ARGS(writer_abort, abort)

static PyMethodDef writer_methods[] = {
    {"write", PA_WITH_KEYWORDS(writer_write),
     PyDoc_STR("write($self, /, data)\n--\n\nWrite `data` (bytes, bytearray or memoryview) without blocking; the rest is buffered.")},
    {"write_eof", PA_NO_ARGS_METHOD(writer_write_eof, write_eof), PyDoc_STR("write_eof($self, /)\n--\n\nAs close().")},
    {"can_write_eof", PA_NO_ARGS_METHOD(writer_can_write_eof, can_write_eof), PyDoc_STR("can_write_eof($self, /)\n--\n\nTrue.")},
    {"close", PA_NO_ARGS_METHOD(writer_write_eof, close),
     PyDoc_STR("close($self, /)\n--\n\nWrite what is buffered, then close; connection_lost(None) follows.")},
    {"abort", PA_NO_ARGS_METHOD(writer_abort, abort), PyDoc_STR("abort($self, /)\n--\n\nClose at once, dropping what is buffered.")},
    {"_read_ready", writer_read_ready, METH_NOARGS, NULL},
    {"_write_ready", writer_write_ready, METH_NOARGS, NULL},
    {"_start_polling", writer_start_polling, METH_NOARGS, NULL},
    {NULL},
};

/* ---- What can be asked ---- */

static PyObject *pipe_repr(PyObject *op, bool writing)
{
    pa_pipe *self = PIPE(op);
    PyObject *name = PyType_GetName(Py_TYPE(op));
    if (name == NULL)
        return NULL;
    const char *state = !self->base.open ? " closed" : self->base.closing ? " closing" : "";
    bool polls = writing ? self->polls_out : self->polls_in;
    PyObject *result;
    if (!self->base.open)
        result = PyUnicode_FromFormat("<%U%s fd=%d closed>", name, state, self->base.fd);
    else if (self->base.loop == NULL || pa_loop_is_closed(self->base.loop))
        result = PyUnicode_FromFormat("<%U%s fd=%d open>", name, state, self->base.fd);
    else if (writing)
        result = PyUnicode_FromFormat("<%U%s fd=%d %s bufsize=%zu>", name, state, self->base.fd, polls ? "polling" : "idle",
                                      self->base.queue.bytes);
    else
        result = PyUnicode_FromFormat("<%U%s fd=%d %s>", name, state, self->base.fd, polls ? "polling" : "idle");
    Py_DECREF(name);
    return result;
}

static PyObject *reader_repr(PyObject *op) { return pipe_repr(op, false); }
static PyObject *writer_repr(PyObject *op) { return pipe_repr(op, true); }

static PyObject *get_pipe(PyObject *op, void *closure)
{
    pa_transport *self = PA_TRANSPORT(op);
    return Py_NewRef(self->open && self->sock != NULL ? self->sock : Py_None);
}

static PyObject *get_fileno(PyObject *op, void *closure) { return PyLong_FromLong(PA_TRANSPORT(op)->fd); }

static PyGetSetDef pipe_getsets[] = {
    {"_pipe", get_pipe},
    {"_fileno", get_fileno},
    {NULL},
};

/* ---- Making ---- */

/* The descriptor of a file object that can be waited for, non-blocking from now on. *is_char: it is a character device. -1 with an
 * exception. */
static int pipe_fd(pa_state *st, PyObject *pipe, const char *refusal, bool *is_char)
{
    struct stat info;
    PyObject *number = PyObject_CallMethodNoArgs(pipe, st->names.fileno);
    long fd = number != NULL ? PyLong_AsLong(number) : -1;
    Py_XDECREF(number);
    if (fd == -1 && PyErr_Occurred())
        return -1;
    if (fd > INT_MAX || fd < INT_MIN) {
        PyErr_SetString(PyExc_OverflowError, "Python int too large to convert to C int");
        return -1;
    }
    int rc = pa_sys_fstat((int)fd, &info);
    if (rc == 0 && !S_ISFIFO(info.st_mode) && !S_ISSOCK(info.st_mode) && !S_ISCHR(info.st_mode)) {
        PyErr_SetString(PyExc_ValueError, refusal);
        return -1;
    }
    if (rc == 0)
        rc = pa_sys_set_nonblocking((int)fd, true);
    if (rc < 0) {
        pa_error_from_errno(rc);
        return -1;
    }
    *is_char = S_ISCHR(info.st_mode);
    return (int)fd;
}

static int set_extra(pa_transport *self, PyObject *extra, PyObject *pipe)
{
    PyObject *dict = extra != NULL && extra != Py_None ? Py_NewRef(extra) : PyDict_New();
    if (dict == NULL)
        return -1;
    self->extra_done = true;
    Py_XSETREF(self->extra, dict);
    return PyObject_SetItem(dict, self->st->names.pipe, pipe);
}

/* call_soon(connection_made, self), call_soon(self._start_polling) and, if there is a waiter, that it is woken. */
static int schedule_start(pa_transport *self, PyObject *waiter)
{
    PyObject *made = PyObject_GetAttr(self->protocol, self->st->names.connection_made), *start = NULL;
    PyObject *results[3] = {NULL};
    PyObject *call_soon = self->st->names.call_soon;
    if (made != NULL)
        results[0] = PyObject_CallMethodObjArgs(self->loop_obj, call_soon, made, (PyObject *)self, NULL);
    if (results[0] != NULL)
        start = PyObject_GetAttr((PyObject *)self, self->st->names._start_polling);
    if (start != NULL)
        results[1] = PyObject_CallMethodOneArg(self->loop_obj, call_soon, start);
    if (results[1] != NULL && waiter != NULL && waiter != Py_None)
        results[2] = PyObject_CallMethodObjArgs(self->loop_obj, call_soon, self->st->set_result_unless_cancelled, waiter, Py_None, NULL);
    int rc = results[1] != NULL && !PyErr_Occurred() ? 0 : -1;
    for (int i = 0; i < 3; i++)
        Py_XDECREF(results[i]);
    Py_XDECREF(start);
    Py_XDECREF(made);
    return rc;
}

static int init(PyObject *op, PyObject *loop, PyObject *pipe, PyObject *protocol, PyObject *waiter, PyObject *extra, bool writing)
{
    pa_transport *self = PA_TRANSPORT(op);
    bool is_char;
    if (self->loop_obj != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the transport is initialised already");
        return -1;
    }
    self->loop = pa_loop_from(self->st, loop);
    if (self->loop == NULL) {
        PyErr_Format(PyExc_TypeError, "a pyasync event loop is required, not %R", loop);
        return -1;
    }
    self->loop_obj = Py_NewRef(loop);
    if (set_extra(self, extra, pipe) < 0)
        return -1;
    int fd = pipe_fd(self->st, pipe,
                     writing ? "Pipe transport is only for pipes, sockets and character devices" : "Pipe transport is for pipes/sockets only.",
                     &is_char);
    if (fd < 0)
        return -1;
    Py_XSETREF(self->sock, Py_NewRef(pipe));
    Py_XSETREF(self->protocol, Py_NewRef(protocol));
    PIPE(self)->watches_reader = writing && !is_char;
    self->fd = fd;
    self->open = true;
    self->closing = self->lost = false;
    self->conn_lost = 0;
    self->is_pipe = true;
    return schedule_start(self, waiter);
}

static const char *const init_names[] = {"loop", "pipe", "protocol", "waiter", "extra", NULL};
static const pa_signature init_signature = {"__init__", init_names, 5, 3};

static int reader_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    PyObject *v[PA_ARGS_MAX];
    return pa_args_parse_tuple(op, &init_signature, args, kwargs, v) < 0 ? -1 : init(op, v[0], v[1], v[2], v[3], v[4], false);
}

static int writer_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    PyObject *v[PA_ARGS_MAX];
    return pa_args_parse_tuple(op, &init_signature, args, kwargs, v) < 0 ? -1 : init(op, v[0], v[1], v[2], v[3], v[4], true);
}

static PyObject *make(PyObject *loop, const pa_signature *signature, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, bool writing)
{
    PyObject *v[PA_ARGS_MAX];
    pa_state *st = pa_state_of_type(Py_TYPE(loop));
    if (st == NULL || pa_args_parse(loop, signature, args, nargs, kwnames, v) < 0)
        return NULL;
    PyObject *transport = pa_transport_new(writing ? st->WritePipeTransport : st->ReadPipeTransport, NULL, NULL);
    if (transport != NULL && init(transport, loop, v[0], v[1], v[2], v[3], writing) < 0)
        Py_CLEAR(transport);
    return transport;
}

static PyObject *make_read_pipe_transport(PyObject *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const pa_signature signature = {"_make_read_pipe_transport", init_names + 1, 4, 2};
    return make(loop, &signature, args, nargs, kwnames, false);
}

static PyObject *make_write_pipe_transport(PyObject *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const pa_signature signature = {"_make_write_pipe_transport", init_names + 1, 4, 2};
    return make(loop, &signature, args, nargs, kwnames, true);
}

static PyMethodDef loop_methods[] = {
    {"_make_read_pipe_transport", PA_WITH_KEYWORDS(make_read_pipe_transport), NULL},
    {"_make_write_pipe_transport", PA_WITH_KEYWORDS(make_write_pipe_transport), NULL},
    {NULL},
};

/* ---- Types ---- */

static void pipe_dealloc(PyObject *op)
{
    if (PyObject_CallFinalizerFromDealloc(op) < 0)
        return;
    PyObject_GC_UnTrack(op);
    pa_transport_free(op);
}

#define PIPE_SLOTS(init, repr, methods)                                                                                                     \
    {Py_tp_new, pa_transport_new}, {Py_tp_init, init}, {Py_tp_repr, repr}, {Py_tp_traverse, pa_transport_traverse},                         \
        {Py_tp_clear, pa_transport_clear}, {Py_tp_finalize, pa_transport_finalize}, {Py_tp_dealloc, pipe_dealloc},                          \
        {Py_tp_methods, methods}, {Py_tp_getset, pa_transport_getsets}, {0, NULL}

static PyType_Slot reader_slots[] = {PIPE_SLOTS(reader_init, reader_repr, reader_methods)};
static PyType_Slot writer_slots[] = {PIPE_SLOTS(writer_init, writer_repr, writer_methods)};

static PyType_Spec reader_spec = {
    .name = "pyasync._core._ReadPipeTransport",
    .basicsize = sizeof(pa_pipe),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = reader_slots,
};

static PyType_Spec writer_spec = {
    .name = "pyasync._core._WritePipeTransport",
    .basicsize = sizeof(pa_pipe),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = writer_slots,
};

/* The class that is instantiated: an empty subclass, for the __dict__. Steals `base`. */
static PyTypeObject *make_public_class(PyObject *module, PyTypeObject *base, const char *name, const char *doc)
{
    if (base == NULL)
        return NULL;
    PyObject *type = NULL;
    if (pa_type_add_methods(base, pa_transport_common_methods) == 0 && pa_type_add_getsets(base, pipe_getsets) == 0)
        type = PyObject_CallFunction((PyObject *)&PyType_Type, "s(O){sssiss}", name, base, "__module__", "pyasync._core", "max_size",
                                     256 * 1024, "__doc__", doc);
    Py_DECREF(base);
    if (type != NULL && PyModule_AddObjectRef(module, name, type) < 0)
        Py_CLEAR(type);
    return (PyTypeObject *)type;
}

int pa_pipe_setup(PyObject *module, pa_state *st)
{
    PyTypeObject *abstract;
    if (pa_import_from("asyncio.transports", "ReadTransport", (PyObject **)&abstract) < 0)
        return -1;
    PyTypeObject *base = pa_transport_make_base(module, st, &reader_spec, abstract);
    Py_DECREF(abstract);
    st->ReadPipeTransport =
        make_public_class(module, base, "ReadPipeTransport", "The reading end of a pipe, as loop.connect_read_pipe() makes it.");
    base = st->ReadPipeTransport != NULL ? pa_transport_make_base(module, st, &writer_spec, st->aio_FlowControlMixin) : NULL;
    if (base == NULL || pa_type_add_methods(base, pa_flow_methods) < 0 || pa_type_add_getsets(base, pa_flow_getsets) < 0) {
        Py_XDECREF(base);
        return -1;
    }
    st->WritePipeTransport =
        make_public_class(module, base, "WritePipeTransport", "The writing end of a pipe, as loop.connect_write_pipe() makes it.");
    return st->WritePipeTransport != NULL ? pa_type_add_methods(st->EventLoop, loop_methods) : -1;
}
