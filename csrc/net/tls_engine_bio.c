/* The engine that works everywhere: Python's SSLObject between two MemoryBIOs, called from C. See tls_engine.h.
 *
 * A plain ssl.SSLObject only passes read(), write() and pending() on to the object inside it, which is called directly then; a subclass
 * of the user's is called itself. An SSLWantReadError costs more than a small record, so nothing is read where nothing can have come.
 */
#include "net/tls.h"

PyObject *pa_tls_ask(pa_tls *self, PyObject *object, PyObject *name, PyObject *arg, bool *again)
{
    PyObject *owned = Py_NewRef(object != NULL ? object : Py_None);
    PyObject *result = PyObject_CallMethodOneArg(owned, name, arg);
    Py_DECREF(owned);
    *again = result == NULL && self->st->tls_again != NULL && PyErr_ExceptionMatches(self->st->tls_again);
    if (*again)
        PyErr_Clear();
    return result;
}

Py_ssize_t pa_tls_number(PyObject *object, PyObject *name)
{
    PyObject *value = PyObject_GetAttr(object != NULL ? object : Py_None, name);
    Py_ssize_t number = value != NULL ? PyLong_AsSsize_t(value) : -1;
    Py_XDECREF(value);
    return number;
}

static Py_ssize_t bio_incoming(pa_tls *self) { return pa_tls_number(self->incoming, self->st->names.pending); }
static Py_ssize_t bio_outgoing(pa_tls *self) { return pa_tls_number(self->outgoing, self->st->names.pending); }

static int bio_feed(pa_tls *self, const char *data, size_t len)
{
    PyObject *view = PyMemoryView_FromMemory((char *)data, (Py_ssize_t)len, PyBUF_READ);
    PyObject *incoming = Py_NewRef(self->incoming != NULL ? self->incoming : Py_None);
    PyObject *result = view != NULL ? PyObject_CallMethodOneArg(incoming, self->st->names.write, view) : NULL;
    Py_DECREF(incoming);
    Py_XDECREF(view);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

static int bio_keep(pa_tls *self) { return 0; }

/* ---- Reading ---- */

/* Whether there may be something to decrypt. 1, 0 or -1. */
static int may_read(pa_tls *self)
{
    Py_ssize_t received = bio_incoming(self);
    if (received != 0)
        return received < 0 ? -1 : 1;
    PyObject *calls = Py_NewRef(self->calls != NULL ? self->calls : Py_None);
    PyObject *pending = PyObject_CallMethodNoArgs(calls, self->st->names.pending);
    Py_DECREF(calls);
    int truth = pending != NULL ? PyObject_IsTrue(pending) : -1;
    Py_XDECREF(pending);
    return truth;
}

/* b"".join(chunks). Steals the list, which may be NULL. New, or NULL with an exception. */
static PyObject *join(PyObject *chunks)
{
    PyObject *empty = chunks != NULL ? PyBytes_FromStringAndSize(NULL, 0) : NULL;
    PyObject *joined = empty != NULL ? PyObject_CallMethod(empty, "join", "O", chunks) : NULL;
    Py_XDECREF(empty);
    Py_XDECREF(chunks);
    return joined;
}

/* Adds a chunk to *first, or from the second on to the list *more. Steals chunk. 0 or -1. */
static int collect(PyObject **first, PyObject **more, PyObject *chunk)
{
    if (*first == NULL) {
        *first = chunk;
        return 0;
    }
    int rc = *more != NULL ? 0 : -1;
    if (*more == NULL && (*more = PyList_New(0)) != NULL)
        rc = PyList_Append(*more, *first);
    if (rc == 0)
        rc = PyList_Append(*more, chunk);
    Py_DECREF(chunk);
    return rc;
}

/* calls.read(size) until it has no more; `ask_first` saves calls that cannot have any. A read() makes a bytes object of that size and
 * then shrinks it, and no record has more than 16 KiB; a user's SSLObject is asked for what asyncio would. */
static int read_all(pa_tls *self, PyObject **data, bool *eof, bool ask_first)
{
    PyObject *size = PyLong_FromLong(self->calls != self->sslobj ? PA_TLS_RECORD : PA_TLS_READ_MAX), *first = NULL, *more = NULL;
    int rc = size != NULL ? 0 : -1;
    while (rc == 0 && !*eof) {
        bool again;
        int wanted = ask_first ? may_read(self) : 1;
        PyObject *chunk = wanted > 0 ? pa_tls_ask(self, self->calls, self->st->names.read, size, &again) : NULL;
        if (wanted == 0 || (wanted > 0 && chunk == NULL && again))
            break;
        int truth = chunk != NULL ? PyObject_IsTrue(chunk) : -1;
        if (truth > 0) {
            rc = collect(&first, &more, chunk);
            continue;
        }
        Py_XDECREF(chunk);
        *eof = truth == 0;
        rc = truth;
    }
    Py_XDECREF(size);
    if (rc == 0 && more != NULL) {
        Py_SETREF(first, join(more));
        more = NULL;
        rc = first != NULL ? 0 : -1;
    }
    Py_XDECREF(more);
    if (rc < 0)
        Py_CLEAR(first); /* as in asyncio: what came before the error is lost with it */
    *data = first;
    return rc;
}

int pa_tls_bio_read(pa_tls *self, PyObject **data, bool *eof) { return read_all(self, data, eof, false); }

static int bio_read(pa_tls *self, PyObject **data, bool *eof) { return read_all(self, data, eof, true); }

/* buffer, or memoryview(buffer)[start:]. New. */
static PyObject *rest_of(PyObject *buffer, Py_ssize_t start)
{
    if (start == 0)
        return Py_NewRef(buffer);
    PyObject *view = PyMemoryView_FromObject(buffer);
    PyObject *rest = view != NULL ? PySequence_GetSlice(view, start, PY_SSIZE_T_MAX) : NULL;
    Py_XDECREF(view);
    return rest;
}

/* calls.read(n, buffer[start:]). The count; -1 with an exception, or *again. */
static Py_ssize_t read_part(pa_tls *self, PyObject *buffer, Py_ssize_t start, Py_ssize_t n, bool *again)
{
    *again = false;
    PyObject *args[] = {Py_NewRef(self->calls != NULL ? self->calls : Py_None), PyLong_FromSsize_t(n), rest_of(buffer, start)};
    PyObject *result =
        args[1] != NULL && args[2] != NULL ? PyObject_VectorcallMethod(self->st->names.read, args, 3, NULL) : NULL;
    Py_ssize_t count = result != NULL ? PyLong_AsSsize_t(result) : -1;
    *again = result == NULL && self->st->tls_again != NULL && PyErr_ExceptionMatches(self->st->tls_again);
    if (*again)
        PyErr_Clear();
    for (int i = 0; i < 3; i++)
        Py_XDECREF(args[i]);
    Py_XDECREF(result);
    return count;
}

static int bio_read_into(pa_tls *self, PyObject *buffer, Py_ssize_t wants, Py_ssize_t *n, bool *eof)
{
    *eof = wants == 0;
    while (*n < wants && !*eof) {
        int wanted = may_read(self);
        if (wanted <= 0)
            return wanted;
        bool again;
        Py_ssize_t count = read_part(self, buffer, *n, wants - *n, &again);
        if (count < 0 && again)
            return 0;
        if (count < 0) /* a read() of the user's may say so; asyncio takes it for nothing */
            return PyErr_Occurred() ? -1 : 0;
        *n += count;
        *eof = count == 0;
    }
    return 0;
}

/* ---- Writing ---- */

/* What the next write() is given: the first chunk, or several small ones as one record. New. */
static PyObject *next_record(pa_tls *self)
{
    const pa_chunk *first = pa_write_queue_first(&self->put_off);
    if (first->len >= PA_TLS_RECORD || self->put_off.len == 1) {
        if (first->ptr == PyBytes_AS_STRING(first->owner))
            return Py_NewRef(first->owner);
        return PyBytes_FromStringAndSize(first->ptr, (Py_ssize_t)first->len);
    }
    size_t len = self->put_off.bytes < PA_TLS_RECORD ? self->put_off.bytes : PA_TLS_RECORD;
    PyObject *record = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)len);
    if (record != NULL)
        pa_write_queue_copy(&self->put_off, PyBytes_AS_STRING(record), len);
    return record;
}

int pa_tls_bio_write(pa_tls *self)
{
    while (!pa_write_queue_is_empty(&self->put_off)) {
        bool again = false;
        PyObject *record = next_record(self);
        PyObject *result = record != NULL ? pa_tls_ask(self, self->calls, self->st->names.write, record, &again) : NULL;
        Py_XDECREF(record);
        if (again)
            return 0;
        Py_ssize_t count = result != NULL ? PyLong_AsSsize_t(result) : -1;
        Py_XDECREF(result);
        if (count < 0) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_ValueError, "write() returned a negative number");
            return -1;
        }
        /* a write() of the user's may have taken the queue away */
        pa_write_queue_consume(&self->put_off, (size_t)count < self->put_off.bytes ? (size_t)count : self->put_off.bytes);
    }
    return 0;
}

static int bio_send(pa_tls *self)
{
    Py_ssize_t pending = bio_outgoing(self);
    if (pending <= 0)
        return pending < 0 ? -1 : 0;
    PyObject *data = PyObject_CallMethodNoArgs(self->outgoing, self->st->names.read);
    int rc = -1;
    if (data != NULL && !PyBytes_CheckExact(data))
        PyErr_Format(PyExc_TypeError, "a bytes-like object is required, not '%.100s'", Py_TYPE(data)->tp_name);
    else if (data != NULL)
        rc = pa_tls_send(self, data, PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data));
    Py_XDECREF(data);
    return rc;
}

static void bio_release(pa_tls *self) {}

const pa_tls_engine pa_tls_bio_engine = {
    .name = "bio",
    .feed = bio_feed,
    .keep = bio_keep,
    .read = bio_read,
    .read_into = bio_read_into,
    .write = pa_tls_bio_write,
    .send = bio_send,
    .incoming = bio_incoming,
    .outgoing = bio_outgoing,
    .release = bio_release,
};
