/* The engine that calls OpenSSL itself, on the SSL of Python's SSLObject: see tls_engine.h and D9.
 *
 * The connection's MemoryBIOs are replaced by one BIO of ours, which Python's methods (unwrap, read) go through, too. It reads what
 * feed() was given where it lies: first what was kept (`in`), then the window; and writes to `out`, whose memory connections hand to each
 * other (tls_bytes.h). Like a MemoryBIO it has no end and is never full: OpenSSL wants more where it has read everything.
 *
 * The BIO can live longer than the connection, in an SSLObject that the application keeps: release() takes us out of it; it is then
 * empty, and forgets what is written.
 *
 * Errors are Python's: the failed call is repeated by its method, which finds the same error and raises it.
 */
#include "net/tls.h"
#include "net/tls_openssl.h"
#include "rt/call.h"
#include <limits.h>

static int as_int(size_t n) { return n < INT_MAX ? (int)n : INT_MAX; }

static size_t received(const pa_tls *self) { return self->in.len + self->window_len; }

/* ---- The BIO: called without the GIL where Python's methods let it go, so it touches nothing but the connection ---- */

/* Copies up to `size` bytes out of what has come. */
static size_t take_received(pa_tls *self, char *to, size_t size)
{
    size_t kept = self->in.len < size ? self->in.len : size;
    if (kept > 0) {
        memcpy(to, pa_tls_bytes_at(&self->in), kept);
        pa_tls_bytes_drop(&self->in, kept);
        if (self->in.len == 0)
            pa_tls_bytes_clear(&self->in);
    }
    size_t rest = self->window_len < size - kept ? self->window_len : size - kept;
    if (rest > 0) {
        memcpy(to + kept, self->window, rest);
        self->window += rest;
        self->window_len -= rest;
    }
    return kept + rest;
}

static int on_read(BIO *bio, char *to, int size)
{
    pa_tls *self = pa_openssl.BIO_get_data(bio);
    pa_openssl.BIO_clear_flags(bio, PA_BIO_FLAGS_RETRIES);
    if (size <= 0)
        return 0;
    size_t taken = self != NULL ? take_received(self, to, (size_t)size) : 0;
    if (taken == 0) {
        pa_openssl.BIO_set_flags(bio, PA_BIO_FLAGS_READ | PA_BIO_FLAGS_SHOULD_RETRY);
        return -1;
    }
    self->held = self->held + taken < PA_TLS_RECORD ? self->held + taken : PA_TLS_RECORD; /* of one record at most */
    return (int)taken;
}

static int on_write(BIO *bio, const char *data, int size)
{
    pa_tls *self = pa_openssl.BIO_get_data(bio);
    pa_openssl.BIO_clear_flags(bio, PA_BIO_FLAGS_RETRIES);
    if (self == NULL || size <= 0)
        return size;
    return pa_tls_bytes_add(&self->out, data, (size_t)size) == 0 ? size : -1;
}

static long on_ctrl(BIO *bio, int command, long number, void *pointer)
{
    pa_tls *self = pa_openssl.BIO_get_data(bio);
    switch (command) {
    case PA_BIO_CTRL_FLUSH:
        return 1;
    case PA_BIO_CTRL_EOF:
        return self == NULL || received(self) == 0;
    case PA_BIO_CTRL_PENDING:
        return self != NULL ? (long)received(self) : 0;
    case PA_BIO_CTRL_WPENDING:
        return self != NULL ? (long)self->out.len : 0;
    }
    return 0;
}

int pa_tls_openssl_make_method(struct pa_openssl *lib)
{
    int index = lib->BIO_get_new_index();
    lib->method = index >= 0 ? lib->BIO_meth_new(index | PA_BIO_TYPE_SOURCE_SINK, "pyasync connection") : NULL;
    if (lib->method == NULL || !lib->BIO_meth_set_read(lib->method, on_read) || !lib->BIO_meth_set_write(lib->method, on_write) ||
        !lib->BIO_meth_set_ctrl(lib->method, on_ctrl))
        return -1;
    return 0;
}

/* ---- Adopting a connection ---- */

/* Appends what a MemoryBIO holds, and puts a new one in its place: the old one keeps the memory that the handshake needed. 0 or -1. */
static int move_out(pa_tls *self, PyObject **memory, pa_tls_bytes *to)
{
    PyObject *fresh = PyObject_CallNoArgs(self->st->MemoryBIO);
    if (fresh == NULL)
        return -1;
    PyObject *old = *memory;
    *memory = fresh;
    PyObject *data = PyObject_CallMethodNoArgs(old != NULL ? old : Py_None, self->st->names.read);
    Py_XDECREF(old);
    int rc = -1;
    if (data != NULL && !PyBytes_Check(data))
        PyErr_SetString(PyExc_TypeError, "MemoryBIO.read() must return bytes");
    else if (data != NULL) {
        rc = PyBytes_GET_SIZE(data) > 0 ? pa_tls_bytes_add(to, PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data)) : 0;
        if (rc < 0)
            PyErr_NoMemory();
    }
    Py_XDECREF(data);
    return rc;
}

void *pa_tls_openssl_of(void *ssl, PyObject *calls)
{
    return ssl != NULL && pa_openssl.SSL_get_ex_data(ssl, 0) == calls ? ssl : NULL;
}

int pa_tls_openssl_adopt(pa_tls *self)
{
    SSL *ssl = self->ssl;
    if (ssl == NULL || pa_openssl.SSL_get_ex_data(ssl, 0) != self->calls)
        return 0;
    BIO *bio = pa_openssl.BIO_new(pa_openssl.method);
    if (bio == NULL || !pa_openssl.BIO_up_ref(bio)) { /* one reference is the SSL's, one ours */
        if (bio != NULL)
            pa_openssl.BIO_free(bio);
        PyErr_NoMemory();
        return -1;
    }
    if (move_out(self, &self->incoming, &self->in) < 0 || move_out(self, &self->outgoing, &self->out) < 0) {
        pa_openssl.BIO_free(bio);
        pa_openssl.BIO_free(bio);
        return -1;
    }
    pa_openssl.BIO_set_data(bio, self);
    pa_openssl.BIO_set_init(bio, 1);
    pa_openssl.SSL_set_bio(ssl, bio, bio);
    self->bio = bio;
    self->held = PA_TLS_RECORD; /* there may be part of a record inside already */
    self->engine = &pa_tls_openssl_engine;
    return 1;
}

static void openssl_release(pa_tls *self)
{
    pa_tls_bytes_clear(&self->in);
    pa_tls_bytes_clear(&self->out);
    self->window = NULL;
    self->window_len = 0;
    BIO *bio = self->bio;
    self->bio = NULL;
    if (bio != NULL) {
        pa_openssl.BIO_set_data(bio, NULL);
        pa_openssl.BIO_free(bio);
    }
}

/* ---- Input ---- */

static int openssl_feed(pa_tls *self, const char *data, size_t len)
{
    if (self->window_len > 0 && self->engine->keep(self) < 0) /* we are inside another feed() of this connection */
        return -1;
    self->window = data;
    self->window_len = len;
    return 0;
}

static int openssl_keep(pa_tls *self)
{
    const char *window = self->window;
    size_t len = self->window_len;
    self->window = NULL;
    self->window_len = 0;
    if (len == 0 || self->bio == NULL)
        return 0;
    if (pa_tls_bytes_add(&self->in, window, len) == 0)
        return 0;
    PyErr_NoMemory();
    return -1;
}

static Py_ssize_t openssl_incoming(pa_tls *self) { return (Py_ssize_t)received(self); }
static Py_ssize_t openssl_outgoing(pa_tls *self) { return (Py_ssize_t)self->out.len; }

/* An error that somebody else left in this thread's queue would be taken for that of the next call. The queue is nearly always empty, and
 * emptying an empty one takes 800 instructions. */
static void forget_old_errors(void)
{
    if (pa_openssl.ERR_peek_error() != 0)
        pa_openssl.ERR_clear_error();
}

/* ---- Reading ---- */

enum { MORE, DRAINED, ENDED, FAILED }; /* what one SSL_read() showed */

/* One SSL_read() of up to `size` bytes, at least 1; *n is what came. */
static int read_once(pa_tls *self, char *to, size_t size, size_t *n)
{
    SSL *ssl = self->ssl;
    int count = pa_openssl.SSL_read(ssl, to, as_int(size));
    *n = count > 0 ? (size_t)count : 0;
    if (count > 0) {
        if (pa_openssl.SSL_pending(ssl) > 0)
            return MORE;
        self->held = 0;
        return received(self) > 0 ? MORE : DRAINED;
    }
    switch (pa_openssl.SSL_get_error(ssl, count)) {
    case PA_SSL_ERROR_WANT_READ:
        return DRAINED;
    case PA_SSL_ERROR_ZERO_RETURN:
        return pa_openssl.SSL_get_shutdown(ssl) == PA_SSL_RECEIVED_SHUTDOWN ? ENDED : FAILED;
    }
    return FAILED;
}

/* Whether reading can bring anything: nothing of a record comes out before more of it has come in. */
static bool has_input(pa_tls *self) { return received(self) > 0 || pa_openssl.SSL_pending(self->ssl) > 0; }

/* The plaintext is at most as long as the records it comes from. */
static size_t room_for(pa_tls *self) { return received(self) + self->held + (size_t)pa_openssl.SSL_pending(self->ssl); }

static int openssl_read(pa_tls *self, PyObject **data, bool *eof)
{
    *data = NULL;
    if (!has_input(self))
        return 0;
    size_t room = room_for(self), len = 0;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)room);
    if (bytes == NULL)
        return -1;
    int seen = MORE;
    forget_old_errors();
    while (seen == MORE) {
        size_t n;
        if (len == room && _PyBytes_Resize(&bytes, (Py_ssize_t)(room += PA_TLS_RECORD)) < 0)
            return -1;
        seen = read_once(self, PyBytes_AS_STRING(bytes) + len, room - len, &n);
        len += n;
    }
    if (seen == FAILED) {
        Py_DECREF(bytes); /* as in asyncio: what came before the error is lost with it */
        return pa_tls_bio_read(self, data, eof);
    }
    *eof = seen == ENDED;
    if (len == 0)
        Py_CLEAR(bytes);
    else if (len < room && _PyBytes_Resize(&bytes, (Py_ssize_t)len) < 0)
        return -1;
    *data = bytes;
    return 0;
}

/* Python's read() has to say what is wrong: with the buffer, or with the connection. */
static int read_into_as_python(pa_tls *self, PyObject *buffer, Py_ssize_t wants, Py_ssize_t *n, bool *eof)
{
    PyObject *result = PyObject_CallMethod(self->calls, "read", "nO", wants, buffer);
    Py_ssize_t count = result != NULL ? PyLong_AsSsize_t(result) : -1;
    bool again = result == NULL && PyErr_ExceptionMatches(self->st->tls_again);
    Py_XDECREF(result);
    if (again)
        PyErr_Clear();
    else if (count < 0)
        return -1;
    *n += count > 0 ? count : 0;
    *eof = count == 0;
    return 0;
}

static int openssl_read_into(pa_tls *self, PyObject *buffer, Py_ssize_t wants, Py_ssize_t *n, bool *eof)
{
    *eof = wants == 0;
    if (wants == 0 || !has_input(self))
        return 0;
    Py_buffer view;
    if (PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_Exception))
            return -1;
        PyErr_Clear();
        return read_into_as_python(self, buffer, wants, n, eof);
    }
    size_t size = (size_t)(wants < view.len ? wants : view.len), len = 0;
    int seen = MORE;
    forget_old_errors();
    while (seen == MORE && len < size) {
        size_t got;
        seen = read_once(self, (char *)view.buf + len, size - len, &got);
        len += got;
    }
    PyBuffer_Release(&view);
    if (seen == FAILED)
        return read_into_as_python(self, buffer, wants, n, eof);
    *n = (Py_ssize_t)len;
    *eof = seen == ENDED;
    return 0;
}

/* ---- Writing ---- */

static int openssl_write(pa_tls *self)
{
    char record[PA_TLS_RECORD];
    forget_old_errors();
    pa_tls_bytes_borrow(self->st, &self->out);
    while (!pa_write_queue_is_empty(&self->put_off)) {
        const pa_chunk *first = pa_write_queue_first(&self->put_off);
        const char *data = first->ptr;
        size_t len = first->len;
        if (len < PA_TLS_RECORD && self->put_off.len > 1) { /* small ones share a record */
            len = pa_write_queue_copy(&self->put_off, record, PA_TLS_RECORD);
            data = record;
        }
        int count = pa_openssl.SSL_write(self->ssl, data, as_int(len));
        if (count <= 0)
            return pa_openssl.SSL_get_error(self->ssl, count) == PA_SSL_ERROR_WANT_READ ? 0 : pa_tls_bio_write(self);
        pa_write_queue_consume(&self->put_off, (size_t)count);
    }
    return 0;
}

static int openssl_send(pa_tls *self)
{
    if (self->out.len == 0)
        return 0;
    pa_tls_bytes out = self->out; /* sending may call the application, which may write */
    self->out = (pa_tls_bytes){NULL};
    int rc = pa_tls_send(self, NULL, pa_tls_bytes_at(&out), out.len);
    out.start = out.len = 0;
    pa_tls_bytes_return(self->st, &out);
    return rc;
}

const pa_tls_engine pa_tls_openssl_engine = {
    .name = "openssl",
    .feed = openssl_feed,
    .keep = openssl_keep,
    .read = openssl_read,
    .read_into = openssl_read_into,
    .write = openssl_write,
    .send = openssl_send,
    .incoming = openssl_incoming,
    .outgoing = openssl_outgoing,
    .release = openssl_release,
};
