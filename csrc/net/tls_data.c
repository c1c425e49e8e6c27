/* The data phase of a TLS connection: from the transport below to the application's protocol, and back. See tls.h.
 *
 * The names of asyncio's methods are kept, and so is what each of them does and in which order; what differs is when plaintext is
 * encrypted (tls.h). An exception that is an Exception becomes asyncio's "Fatal error on SSL protocol" here; others go on to whoever
 * called.
 */
#include "net/tls.h"
#include "rt/call.h"
#include "rt/error.h"

#define LOG_THRESHOLD_FOR_CONNLOST_WRITES 5 /* as asyncio.constants */

/* ---- Small helpers ---- */

/* self.<name>(): a method that may be asyncio's. 0 or -1. */
static int call_own(pa_tls *self, PyObject *name) { return pa_call_nothing(PyObject_CallMethodNoArgs((PyObject *)self, name)); }

/* protocol.<name>(arg) of the application; arg may be NULL. New, or NULL. */
static PyObject *call_app(pa_tls *self, PyObject *name, PyObject *arg)
{
    PyObject *const args[] = {Py_NewRef(self->app_protocol != NULL ? self->app_protocol : Py_None), arg};
    PyObject *result = PyObject_VectorcallMethod(name, args, arg != NULL ? 2 : 1, NULL);
    Py_DECREF(args[0]);
    return result;
}

/* An Exception is raised: self._fatal_error(exc, 'Fatal error on SSL protocol'), while it is being handled, for the log. Anything else
 * stays raised. 0 or -1. */
static int take_fatal(pa_tls *self)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return -1;
    PyObject *exc = pa_err_take(), *traceback = PyException_GetTraceback(exc);
    if (traceback == NULL) { /* nothing but C has seen it */
        PyObject *raised = PyObject_CallMethod((PyObject *)self, "_raise", "O", exc);
        Py_XDECREF(raised);
        Py_SETREF(exc, pa_err_take());
    }
    Py_XDECREF(traceback);
    PyObject *handled = PyErr_GetHandledException();
    PyErr_SetHandledException(exc);
    PyObject *result = PyObject_CallMethod((PyObject *)self, "_fatal_error", "Os", exc, "Fatal error on SSL protocol");
    PyErr_SetHandledException(handled);
    Py_XDECREF(handled);
    Py_DECREF(exc);
    return pa_call_nothing(result);
}

static bool is_shut(const pa_tls *self)
{
    return self->state != self->st->tls_wrapped && self->state != self->st->tls_handshake;
}

/* ---- Flow control ---- */

Py_ssize_t pa_tls_unsent(pa_tls *self)
{
    Py_ssize_t encrypted = self->engine->outgoing(self);
    return encrypted < 0 ? -1 : encrypted + self->backlog_bytes + (Py_ssize_t)self->put_off.bytes;
}

/* What pause_writing() or resume_writing() of the application raised goes to the loop's handler. 0 or -1. */
static int report_flow(pa_tls *self, const char *message)
{
    if (pa_error_is_exit())
        return -1;
    PyObject *exc = pa_err_take();
    PyObject *loop = Py_NewRef(self->loop_obj != NULL ? self->loop_obj : Py_None);
    PyObject *transport = Py_NewRef(self->app_transport != NULL ? self->app_transport : Py_None);
    int rc = pa_loop_report(loop, exc, message, "transport", transport, "protocol", (PyObject *)self, NULL);
    Py_DECREF(transport);
    Py_DECREF(loop);
    Py_DECREF(exc);
    return rc;
}

static int control_app_writing(pa_tls *self)
{
    Py_ssize_t size = pa_tls_unsent(self);
    if (size < 0)
        return -1;
    bool paused = self->app_writing_paused;
    if (paused ? (size_t)size > self->outgoing_resume : (size_t)size < self->outgoing_pause)
        return 0;
    self->app_writing_paused = !paused;
    PyObject *result = call_app(self, paused ? self->st->names.resume_writing : self->st->names.pause_writing, NULL);
    if (result == NULL)
        return report_flow(self, paused ? "protocol.resume_writing() failed" : "protocol.pause_writing() failed");
    Py_DECREF(result);
    return 0;
}

static int control_ssl_reading(pa_tls *self)
{
    Py_ssize_t size = self->engine->incoming(self);
    if (size < 0)
        return -1;
    bool paused = self->ssl_reading_paused;
    if (paused ? (size_t)size > self->incoming_resume : (size_t)size < self->incoming_pause)
        return 0;
    self->ssl_reading_paused = !paused;
    PyObject *transport = Py_NewRef(self->transport != NULL ? self->transport : Py_None);
    PyObject *name = paused ? self->st->names.resume_reading : self->st->names.pause_reading;
    int rc = pa_call_nothing(PyObject_CallMethodNoArgs(transport, name));
    Py_DECREF(transport);
    return rc;
}

/* ---- Writing ---- */

/* Whether the transport below is native, and its write() ours: neither a subclass's nor its own. */
static bool writes_natively(const pa_tls *self)
{
    return self->raw != NULL && Py_TYPE(self->raw) == self->st->SocketTransport && !self->raw->own_write;
}

int pa_tls_send(pa_tls *self, PyObject *owner, const char *data, size_t len)
{
    if (len == 0)
        return 0;
    PyObject *transport = Py_NewRef(self->transport != NULL ? self->transport : Py_None);
    int rc = -1;
    if (writes_natively(self))
        rc = pa_stream_send(self->raw, owner, data, len);
    else {
        PyObject *bytes = owner != NULL ? Py_NewRef(owner) : PyBytes_FromStringAndSize(data, (Py_ssize_t)len);
        if (bytes != NULL)
            rc = pa_call_nothing(PyObject_CallMethodOneArg(transport, self->st->names.write, bytes));
        Py_XDECREF(bytes);
    }
    Py_DECREF(transport);
    return rc;
}

static int process_outgoing(pa_tls *self)
{
    if (!self->ssl_writing_paused && self->engine->send(self) < 0)
        return -1;
    return control_app_writing(self);
}

/* write() of the user's SSLObject. -1 with an exception. */
static int refuse_negative(Py_ssize_t count)
{
    if (count < 0 && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "write() returned a negative number");
    return -1;
}

/* What asyncio's deque holds, by Python's write(): it may hold anything. 1 if all of it went, 0 if OpenSSL wants to hear from the peer
 * first, -1 with an exception. */
static int write_backlog(pa_tls *self)
{
    PyObject *backlog = self->backlog != NULL ? Py_NewRef(self->backlog) : NULL;
    int rc = 1;
    Py_ssize_t len;
    while (rc == 1 && backlog != NULL && (len = PyObject_Size(backlog)) != 0) {
        bool again = false;
        PyObject *data = len > 0 ? PySequence_GetItem(backlog, 0) : NULL;
        PyObject *result = data != NULL ? pa_tls_ask(self, self->calls, self->st->names.write, data, &again) : NULL;
        Py_ssize_t count = result != NULL ? PyLong_AsSsize_t(result) : -1;
        Py_ssize_t size = count >= 0 ? PyObject_Size(data) : -1;
        PyObject *rest = size > count ? PySequence_GetSlice(data, count, size) : NULL;
        if (again)
            rc = 0;
        else if (size < 0 || (size > count && rest == NULL))
            rc = refuse_negative(count);
        else if (rest != NULL)
            rc = PySequence_SetItem(backlog, 0, rest) < 0 ? -1 : 1;
        else
            rc = PySequence_DelItem(backlog, 0) < 0 ? -1 : 1;
        if (rc == 1)
            self->backlog_bytes -= rest != NULL ? count : size;
        Py_XDECREF(rest);
        Py_XDECREF(result);
        Py_XDECREF(data);
    }
    Py_XDECREF(backlog);
    return rc;
}

/* asyncio's _do_write: everything that waits is encrypted and sent. 0 or -1. */
static int write_plaintext(pa_tls *self)
{
    if (self->busy) /* OpenSSL called user code that wrote: who entered it goes on with it */
        return 0;
    self->busy = true;
    int rc = write_backlog(self);
    if (rc == 1)
        rc = self->engine->write(self);
    self->busy = false;
    self->write_failed = rc < 0 && PyErr_ExceptionMatches(PyExc_Exception);
    if (rc <= 0 && self->loop != NULL)
        pa_loop_undefer(self->loop, &self->flush);
    return rc < 0 ? -1 : process_outgoing(self);
}

void pa_tls_drop(pa_tls *self)
{
    Py_INCREF(self);
    if (self->loop != NULL)
        pa_loop_undefer(self->loop, &self->flush);
    if (!self->write_failed) /* asyncio's shutdown tries these again, and reports it again */
        pa_write_queue_clear(&self->put_off);
    Py_DECREF(self);
}

/* What TLS in TLS has put off belongs before what follows here. */
static int flush_above(pa_tls *self)
{
    PyObject *above = self->app_protocol;
    if (above == NULL || !pa_tls_is_native(self->st, above))
        return 0;
    Py_INCREF(above);
    int rc = pa_tls_flush_all(PA_TLS(above));
    Py_DECREF(above);
    return rc;
}

int pa_tls_flush_all(pa_tls *self)
{
    if (flush_above(self) < 0)
        return -1;
    return self->write_failed ? 0 : pa_tls_flush(self); /* who reports the failure comes here */
}

/* The connection ends by an error that is being told already: what can be sent goes first, without an error of its own. 0 or -1. */
static int flush_last(pa_tls *self)
{
    if (flush_above(self) < 0)
        return -1;
    if (self->write_failed || pa_write_queue_is_empty(&self->put_off) || self->busy || self->state != self->st->tls_wrapped ||
        write_plaintext(self) == 0)
        return 0;
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return -1;
    PyErr_Clear();
    return 0;
}

int pa_tls_flush(pa_tls *self)
{
    if (pa_write_queue_is_empty(&self->put_off) || self->busy)
        return 0;
    Py_INCREF(self);
    if (self->loop != NULL)
        pa_loop_undefer(self->loop, &self->flush);
    int rc = self->state == self->st->tls_wrapped && write_plaintext(self) < 0 ? take_fatal(self) : 0;
    Py_DECREF(self);
    return rc;
}

int pa_tls_run_deferred(pa_loop *loop, PyObject *owner) { return pa_tls_flush(PA_TLS(owner)); }

/* Something was put off: encrypts and sends it now, unless it may wait for more. 0 or -1. */
static int transmit(pa_tls *self)
{
    Py_ssize_t encrypted = self->engine->outgoing(self);
    if (encrypted < 0)
        return -1;
    size_t waiting = (size_t)encrypted + self->put_off.bytes;
    if (self->loop != NULL && self->put_off.bytes <= PA_TLS_PUT_OFF_MAX && waiting < self->outgoing_pause &&
        pa_loop_defer(self->loop, &self->flush))
        return 0;
    return pa_tls_flush(self);
}

/* A write on a connection that is closing or lost. 0 or -1. */
static int count_lost_write(pa_tls *self)
{
    if (self->conn_lost++ < LOG_THRESHOLD_FOR_CONNLOST_WRITES)
        return 0;
    PyObject *logger = PyObject_GetAttr(self->st->sslproto, self->st->names.logger);
    PyObject *result = logger != NULL ? PyObject_CallMethod(logger, "warning", "s", "SSL connection is closed") : NULL;
    Py_XDECREF(logger);
    return pa_call_nothing(result);
}

/* Appends to asyncio's deque. 0 or -1. */
static int append_backlog(pa_tls *self, PyObject *data)
{
    PyObject *backlog = pa_tls_backlog(self);
    int rc = backlog != NULL ? pa_call_nothing(PyObject_CallMethodOneArg(backlog, self->st->names.append, data)) : -1;
    Py_XDECREF(backlog);
    Py_ssize_t len = rc == 0 ? PyObject_Size(data) : -1;
    if (len < 0)
        return -1;
    self->backlog_bytes += len;
    return 0;
}

/* One item of writelines(). What is not like bytes goes where asyncio would have put it: Python's write() refuses it. 0 or -1. */
static int put_off(pa_tls *self, PyObject *data)
{
    if (self->state != self->st->tls_wrapped)
        return append_backlog(self, data);
    if (PyBytes_CheckExact(data))
        return pa_write_queue_push_bytes(&self->put_off, data);
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_Exception))
            return -1;
        PyErr_Clear();
        return append_backlog(self, data);
    }
    PyObject *bytes = PyBytes_FromStringAndSize(view.buf, view.len);
    PyBuffer_Release(&view);
    int rc = bytes != NULL ? pa_write_queue_push_bytes(&self->put_off, bytes) : -1;
    Py_XDECREF(bytes);
    return rc;
}

int pa_tls_write(pa_tls *self, PyObject *bytes)
{
    if (is_shut(self))
        return count_lost_write(self);
    if (self->state != self->st->tls_wrapped)
        return append_backlog(self, bytes);
    return pa_write_queue_push_bytes(&self->put_off, bytes) < 0 ? -1 : transmit(self);
}

int pa_tls_write_all(pa_tls *self, PyObject *iterable)
{
    if (is_shut(self))
        return count_lost_write(self);
    PyObject *iterator = PyObject_GetIter(iterable), *item;
    if (iterator == NULL)
        return -1;
    int rc = 0;
    while (rc == 0 && (item = PyIter_Next(iterator)) != NULL) {
        rc = put_off(self, item);
        Py_DECREF(item);
    }
    Py_DECREF(iterator);
    if (rc < 0 || PyErr_Occurred())
        return -1;
    if (self->state != self->st->tls_wrapped)
        return 0;
    if (self->backlog_bytes > 0 && self->backlog != NULL && PyObject_Size(self->backlog) > 0) /* odd items: at once, in their order */
        return write_plaintext(self) < 0 ? take_fatal(self) : 0;
    return transmit(self);
}

/* ---- Reading ---- */

static int call_eof_and_shut_down(pa_tls *self)
{
    if (call_own(self, self->st->names._call_eof_received) < 0)
        return -1;
    return call_own(self, self->st->names._start_shutdown);
}

/* What the application wrote until now: if the peer's next record is broken, OpenSSL encrypts nothing any more. 0 or -1. */
static int flush_before_reading(pa_tls *self) { return self->write_failed ? 0 : pa_tls_flush(self); }

static int read_copied(pa_tls *self)
{
    PyObject *data = NULL;
    bool eof = false;
    self->busy = true;
    int rc = self->engine->read(self, &data, &eof);
    self->busy = false;
    if (rc == 0 && data != NULL)
        rc = pa_call_nothing(call_app(self, self->st->names.data_received, data));
    Py_XDECREF(data);
    return rc == 0 && eof ? call_eof_and_shut_down(self) : rc;
}

/* The application's buffer for what has come. New, or NULL; *wants is its length. */
static PyObject *get_app_buffer(pa_tls *self, Py_ssize_t *wants)
{
    Py_ssize_t pending = self->engine->incoming(self);
    PyObject *hint = pending >= 0 ? PyLong_FromSsize_t(pending) : NULL, *buffer = NULL;
    if (hint != NULL) {
        PyObject *get_buffer = Py_NewRef(self->app_get_buffer != NULL ? self->app_get_buffer : Py_None);
        buffer = PyObject_CallOneArg(get_buffer, hint);
        Py_DECREF(get_buffer);
    }
    Py_XDECREF(hint);
    if (buffer != NULL && (*wants = PyObject_Size(buffer)) < 0)
        Py_CLEAR(buffer);
    return buffer;
}

static int buffer_updated(pa_tls *self, PyObject *count)
{
    PyObject *method = Py_NewRef(self->app_buffer_updated != NULL ? self->app_buffer_updated : Py_None);
    PyObject *result = PyObject_CallOneArg(method, count);
    Py_DECREF(method);
    return pa_call_nothing(result);
}

/* call_soon(self._do_read) */
static int read_soon(pa_tls *self)
{
    PyObject *method = PyObject_GetAttr((PyObject *)self, self->st->names._do_read);
    PyObject *loop = Py_NewRef(self->loop_obj != NULL ? self->loop_obj : Py_None);
    PyObject *handle = method != NULL ? PyObject_CallMethodOneArg(loop, self->st->names.call_soon, method) : NULL;
    Py_DECREF(loop);
    Py_XDECREF(method);
    return pa_call_nothing(handle);
}

static int read_buffered(pa_tls *self)
{
    Py_ssize_t wants = 0, n = 0;
    bool eof = false;
    PyObject *buffer = get_app_buffer(self, &wants);
    if (buffer == NULL)
        return -1;
    if (flush_before_reading(self) < 0) {
        Py_DECREF(buffer);
        return -1;
    }
    self->busy = true;
    int rc = self->engine->read_into(self, buffer, wants, &n, &eof);
    self->busy = false;
    Py_DECREF(buffer);
    PyObject *count = NULL; /* made before more is read: for want of memory no bytes may be left out */
    if (rc == 0 && n > 0 && (count = PyLong_FromSsize_t(n)) == NULL)
        rc = -1;
    if (rc == 0 && wants > 0 && n == wants)
        rc = read_soon(self); /* there may be more than it has room for */
    if (rc == 0 && n > 0)
        rc = buffer_updated(self, count);
    Py_XDECREF(count);
    return rc == 0 && eof ? call_eof_and_shut_down(self) : rc;
}

static int read_and_answer(pa_tls *self)
{
    if (!self->app_reading_paused) {
        if ((self->app_is_buffer ? read_buffered(self) : read_copied(self)) < 0)
            return -1;
        bool waiting = !pa_write_queue_is_empty(&self->put_off) || (self->backlog != NULL && PyObject_Size(self->backlog) > 0);
        if ((waiting ? write_plaintext(self) : process_outgoing(self)) < 0)
            return -1;
    }
    return control_ssl_reading(self);
}

static bool is_open(const pa_tls *self) { return self->state == self->st->tls_wrapped || self->state == self->st->tls_flushing; }

/* asyncio's _do_read: decrypts, calls the application's protocol, sends what it wrote. 0 or -1. */
static int read_decrypted(pa_tls *self)
{
    if (!is_open(self) || self->busy)
        return 0;
    if (flush_before_reading(self) < 0)
        return -1;
    if (!is_open(self)) /* the flush itself failed fatally */
        return 0;
    return read_and_answer(self) < 0 ? take_fatal(self) : 0;
}

/* What has been fed is due. 0 or -1. */
static int advance(pa_tls *self)
{
    pa_state *st = self->st;
    if (self->state == st->tls_wrapped)
        return read_decrypted(self);
    if (self->state == st->tls_handshake)
        return call_own(self, st->names._do_handshake);
    if (self->state == st->tls_flushing)
        return call_own(self, st->names._do_flush);
    return self->state == st->tls_shutdown ? call_own(self, st->names._do_shutdown) : 0;
}

static int receive(PyObject *op, const char *data, size_t len, bool lasting)
{
    pa_tls *self = PA_TLS(op);
    Py_INCREF(self);
    int rc = self->engine->feed(self, data, len);
    if (rc == 0 && !lasting)
        rc = self->engine->keep(self);
    if (rc == 0)
        rc = advance(self);
    PyObject *raised = rc < 0 ? pa_err_take() : NULL;
    if (self->engine->keep(self) < 0) {
        rc = -1;
        if (raised != NULL)
            PyErr_Clear();
    }
    if (raised != NULL)
        pa_err_restore(raised);
    Py_DECREF(self);
    return rc;
}

int pa_tls_receive(PyObject *op, const char *data, size_t len) { return receive(op, data, len, true); }

/* ---- Methods: asyncio's names, for the half that is asyncio's and for transports that are not native ---- */

/* A transport that is not native has filled the buffer that get_buffer(), asyncio's, gave it. */
static PyObject *method_buffer_updated(PyObject *op, PyObject *nbytes)
{
    Py_ssize_t n = PyLong_AsSsize_t(nbytes);
    PyObject *buffer = n == -1 && PyErr_Occurred() ? NULL : PyObject_GetAttrString(op, "_ssl_buffer_view");
    Py_buffer view;
    if (buffer == NULL || PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE) < 0) {
        Py_XDECREF(buffer);
        return NULL;
    }
    if (n > view.len)
        n = view.len;
    int rc = n > 0 ? receive(op, view.buf, (size_t)n, false) : 0; /* what this calls may make the transport fill it again */
    PyBuffer_Release(&view);
    Py_DECREF(buffer);
    return pa_call_none(rc);
}

static PyObject *method_do_read(PyObject *op, PyObject *unused) { return pa_call_none(read_decrypted(PA_TLS(op))); }
static PyObject *method_do_write(PyObject *op, PyObject *unused) { return pa_call_none(write_plaintext(PA_TLS(op))); }
static PyObject *method_flush(PyObject *op, PyObject *unused) { return pa_call_none(pa_tls_flush_all(PA_TLS(op))); }
static PyObject *method_flush_last(PyObject *op, PyObject *unused) { return pa_call_none(flush_last(PA_TLS(op))); }
static PyObject *method_write_appdata(PyObject *op, PyObject *list) { return pa_call_none(pa_tls_write_all(PA_TLS(op), list)); }
static PyObject *method_process_outgoing(PyObject *op, PyObject *unused) { return pa_call_none(process_outgoing(PA_TLS(op))); }
static PyObject *method_control_app(PyObject *op, PyObject *unused) { return pa_call_none(control_app_writing(PA_TLS(op))); }
static PyObject *method_control_ssl(PyObject *op, PyObject *unused) { return pa_call_none(control_ssl_reading(PA_TLS(op))); }

static PyObject *method_write_size(PyObject *op, PyObject *unused)
{
    Py_ssize_t size = pa_tls_flush(PA_TLS(op)) == 0 ? pa_tls_unsent(PA_TLS(op)) : -1;
    return size >= 0 ? PyLong_FromSsize_t(size) : NULL;
}

static PyObject *method_read_size(PyObject *op, PyObject *unused)
{
    Py_ssize_t size = PA_TLS(op)->engine->incoming(PA_TLS(op));
    return size >= 0 ? PyLong_FromSsize_t(size) : NULL;
}

PyMethodDef pa_tls_data_methods[] = {
    {"buffer_updated", method_buffer_updated, METH_O, PyDoc_STR("buffer_updated($self, /, nbytes)\n--\n\nThe transport below received.")},
    {"_do_read", method_do_read, METH_NOARGS, NULL},
    {"_do_write", method_do_write, METH_NOARGS, NULL},
    {"_flush", method_flush, METH_NOARGS, NULL},
    {"_flush_last", method_flush_last, METH_NOARGS, NULL},
    {"_write_appdata", method_write_appdata, METH_O, NULL},
    {"_process_outgoing", method_process_outgoing, METH_NOARGS, NULL},
    {"_control_app_writing", method_control_app, METH_NOARGS, NULL},
    {"_control_ssl_reading", method_control_ssl, METH_NOARGS, NULL},
    {"_get_write_buffer_size", method_write_size, METH_NOARGS, NULL},
    {"_get_read_buffer_size", method_read_size, METH_NOARGS, NULL},
    {NULL},
};
