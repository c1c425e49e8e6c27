/* StreamReader's C half: its attributes, and what fills the buffer. What is awaited is in reader_ops.c.
 *
 * A plain reader (see streams.h) wakes its waiter and pauses its transport here; for any other these methods are asyncio's, called with
 * the reader, so that they find what is overridden.
 */
#include "rt/error.h"
#include "streams/streams.h"
#include "core/loop.h"
#include "rt/args.h"

#define DEFAULT_LIMIT (64 * 1024) /* bytes */
#define LIMIT_MAX ((size_t)PY_SSIZE_T_MAX / 4)

#define READER(obj) ((pa_reader *)(obj))

pa_reader *pa_reader_from(pa_state *st, PyObject *obj)
{
    for (PyTypeObject *type = Py_TYPE(obj); type != NULL; type = type->tp_base)
        if (type == st->StreamReader)
            return READER(obj);
    return NULL;
}

/* ---- Lifecycle ---- */

static PyObject *reader_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    pa_state *st = pa_state_of_type(type);
    pa_reader *self = st != NULL ? READER(type->tp_alloc(type, 0)) : NULL;
    if (self != NULL)
        self->st = st;
    return (PyObject *)self;
}

/* The limit as a number of bytes; 0 if it is none we can work with. */
static size_t limit_in_bytes(PyObject *limit)
{
    if (!PyLong_Check(limit))
        return 0;
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(limit, &overflow);
    if (overflow > 0 || (value > 0 && (unsigned long long)value > LIMIT_MAX))
        return LIMIT_MAX;
    return value > 0 ? (size_t)value : 0;
}

static void set_limit(pa_reader *self, PyObject *limit)
{
    self->limit_bytes = limit_in_bytes(limit);
    Py_XSETREF(self->limit, Py_NewRef(limit));
}

static int check_limit(PyObject *limit)
{
    PyObject *zero = PyLong_FromLong(0);
    int refused = zero != NULL ? PyObject_RichCompareBool(limit, zero, Py_LE) : -1;
    Py_XDECREF(zero);
    if (refused > 0)
        PyErr_SetString(PyExc_ValueError, "Limit cannot be <= 0");
    return refused == 0 ? 0 : -1;
}

/* Everything as at the beginning. Steals loop. */
static void reset(pa_reader *self, PyObject *loop)
{
    pa_buffer_clear(&self->buffer);
    self->eof = self->paused = false;
    Py_CLEAR(self->waiter);
    Py_CLEAR(self->exception);
    Py_CLEAR(self->transport);
    Py_XSETREF(self->loop, loop);
}

static int reader_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"limit", "loop", NULL};
    static const pa_signature signature = {"__init__", names, 2, 0};
    pa_reader *self = READER(op);
    PyObject *v[PA_ARGS_MAX];
    if (pa_args_parse_tuple(op, &signature, args, kwargs, v) < 0)
        return -1;
    PyObject *limit = v[0] != NULL ? Py_NewRef(v[0]) : PyLong_FromLong(DEFAULT_LIMIT);
    PyObject *loop = NULL, *traceback;
    int rc = -1;
    if (limit == NULL || (v[0] != NULL && check_limit(limit) < 0))
        goto done;
    set_limit(self, limit);
    if (v[1] != NULL && v[1] != Py_None)
        loop = Py_NewRef(v[1]);
    else {
        PyObject *get_event_loop = Py_NewRef(self->st->get_event_loop);
        loop = PyObject_CallNoArgs(get_event_loop);
        Py_DECREF(get_event_loop);
        if (loop == NULL)
            goto done;
    }
    reset(self, Py_NewRef(loop));
    rc = pa_streams_source_traceback(self->st, loop, &traceback);
    if (rc == 0 && traceback != NULL)
        Py_XSETREF(self->source_traceback, traceback);
done:
    Py_XDECREF(limit);
    Py_XDECREF(loop);
    return rc;
}

static int reader_traverse(PyObject *op, visitproc visit, void *arg)
{
    pa_reader *self = READER(op);
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->dict);
    Py_VISIT(self->loop);
    Py_VISIT(self->waiter);
    Py_VISIT(self->exception);
    Py_VISIT(self->transport);
    Py_VISIT(self->source_traceback);
    Py_VISIT(self->limit);
    Py_VISIT(self->buffer.shared);
    return 0;
}

static int reader_clear(PyObject *op)
{
    pa_reader *self = READER(op);
    Py_CLEAR(self->dict);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->waiter);
    Py_CLEAR(self->exception);
    Py_CLEAR(self->transport);
    Py_CLEAR(self->source_traceback);
    Py_CLEAR(self->limit);
    pa_buffer_clear(&self->buffer);
    return 0;
}

static void reader_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    if (READER(op)->weakrefs != NULL)
        PyObject_ClearWeakRefs(op);
    reader_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

/* ---- Waking, pausing, resuming ---- */

static int wake_waiter(pa_reader *self)
{
    PyObject *waiter = self->waiter;
    if (waiter == NULL)
        return 0;
    self->waiter = NULL;
    int rc = pa_streams_wake(self->st, waiter);
    Py_DECREF(waiter);
    return rc;
}

/* The buffer is over twice the limit: no more of this. A transport that cannot be paused is not asked again. */
static int pause_transport(pa_reader *self)
{
    PyObject *transport = Py_NewRef(self->transport);
    PyObject *result = PyObject_CallMethodNoArgs(transport, self->st->names.pause_reading);
    Py_DECREF(transport);
    if (result != NULL) {
        self->paused = true;
        Py_DECREF(result);
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_NotImplementedError))
        return -1;
    PyErr_Clear();
    Py_CLEAR(self->transport);
    return 0;
}

int pa_reader_resume(pa_reader *self)
{
    self->paused = false;
    PyObject *transport = Py_NewRef(self->transport != NULL ? self->transport : Py_None);
    PyObject *result = PyObject_CallMethodNoArgs(transport, self->st->names.resume_reading);
    Py_DECREF(transport);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

int pa_reader_feed(pa_reader *self, PyObject *bytes, const char *data, size_t len)
{
    if (self->eof && self->st->asserts) {
        PyErr_SetString(PyExc_AssertionError, "feed_data after feed_eof");
        return -1;
    }
    if (len == 0)
        return 0;
    int rc = bytes != NULL ? pa_buffer_append_bytes(&self->buffer, bytes) : pa_buffer_append(&self->buffer, data, len);
    if (rc < 0 || wake_waiter(self) < 0)
        return -1;
    if (self->transport != NULL && !self->paused && pa_buffer_len(&self->buffer) > 2 * self->limit_bytes)
        return pause_transport(self);
    return 0;
}

int pa_reader_feed_eof(pa_reader *self)
{
    self->eof = true;
    return wake_waiter(self);
}

int pa_reader_check_exception(pa_reader *self)
{
    if (self->exception == NULL)
        return 0;
    PyObject *exc = Py_NewRef(self->exception);
    pa_raise_any(exc);
    Py_DECREF(exc);
    return -1;
}

/* ---- Methods ---- */

static PyObject *feed_buffer(pa_reader *self, PyObject *data)
{
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    int rc = pa_reader_feed(self, NULL, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return rc == 0 ? Py_NewRef(Py_None) : NULL;
}

static PyObject *method_feed_data(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"data", NULL};
    static const pa_signature signature = {"feed_data", names, 1, 1};
    pa_reader *self = READER(op);
    PyObject *data = pa_args_one(op, &signature, args, nargs, kwnames);
    if (data == NULL)
        return NULL;
    if (pa_reader_is_plain(self)) {
        if (PyBytes_CheckExact(data))
            return pa_reader_feed(self, data, NULL, (size_t)PyBytes_GET_SIZE(data)) == 0 ? Py_NewRef(Py_None) : NULL;
        if (PyByteArray_CheckExact(data) && data != self->buffer.shared)
            return feed_buffer(self, data);
    }
    return pa_streams_ask_asyncio(self->st->aio_StreamReader, "feed_data", op, data);
}

static PyObject *method_feed_eof(PyObject *op, PyObject *unused)
{
    pa_reader *self = READER(op);
    if (!pa_reader_is_plain(self))
        return pa_streams_ask_asyncio(self->st->aio_StreamReader, "feed_eof", op, NULL);
    return pa_reader_feed_eof(self) == 0 ? Py_NewRef(Py_None) : NULL;
}

static PyObject *method_at_eof(PyObject *op, PyObject *unused)
{
    pa_reader *self = READER(op);
    if (!pa_reader_is_plain(self))
        return pa_streams_ask_asyncio(self->st->aio_StreamReader, "at_eof", op, NULL);
    return PyBool_FromLong(self->eof && pa_buffer_len(&self->buffer) == 0);
}

static PyObject *method_exception(PyObject *op, PyObject *unused)
{
    PyObject *exc = READER(op)->exception;
    return Py_NewRef(exc != NULL ? exc : Py_None);
}

static PyObject *reader_aiter(PyObject *op) { return Py_NewRef(op); }

static PyObject *get_buffer(PyObject *op, void *unused)
{
    if (READER(op)->loop == NULL) {
        PyErr_Format(PyExc_AttributeError, "'%s' object has no attribute '_buffer'", Py_TYPE(op)->tp_name);
        return NULL;
    }
    return pa_buffer_share(&READER(op)->buffer);
}

static int set_buffer(PyObject *op, PyObject *value, void *unused)
{
    if (value == NULL)
        return pa_err_cannot_delete(op, "_buffer");
    if (!PyByteArray_Check(value)) {
        PyErr_Format(PyExc_TypeError, "_buffer must be a bytearray, not %.100s", Py_TYPE(value)->tp_name);
        return -1;
    }
    pa_buffer_assign(&READER(op)->buffer, value);
    return 0;
}

static int set_limit_attribute(PyObject *op, PyObject *value, void *unused)
{
    if (value == NULL)
        return pa_err_cannot_delete(op, "_limit");
    set_limit(READER(op), value);
    return 0;
}

/* ---- Tables ---- */

#define AT(field) ((void *)offsetof(pa_reader, field))

PA_NO_ARGS(method_feed_eof, feed_eof)
PA_NO_ARGS(method_at_eof, at_eof)
PA_NO_ARGS(method_exception, exception)

static PyMethodDef reader_methods[] = {
    {"feed_data", PA_WITH_KEYWORDS(method_feed_data),
     PyDoc_STR("feed_data($self, /, data)\n--\n\nAppend data and wake who waits for it; pauses the transport when there is too much.")},
    {"feed_eof", PA_NO_ARGS_METHOD(method_feed_eof, feed_eof), PyDoc_STR("feed_eof($self, /)\n--\n\nThere will be no more data.")},
    {"at_eof", PA_NO_ARGS_METHOD(method_at_eof, at_eof),
     PyDoc_STR("at_eof($self, /)\n--\n\nReturn True if the buffer is empty and 'feed_eof' was called.")},
    {"exception", PA_NO_ARGS_METHOD(method_exception, exception),
     PyDoc_STR("exception($self, /)\n--\n\nThe exception that was set with set_exception(), or None.")},
    {NULL},
};

static PyMemberDef reader_members[] = {
    {"__dictoffset__", Py_T_PYSSIZET, offsetof(pa_reader, dict), Py_READONLY},
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(pa_reader, weakrefs), Py_READONLY},
    {"_loop", Py_T_OBJECT_EX, offsetof(pa_reader, loop), 0},
    {NULL},
};

static PyGetSetDef reader_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict},
    {"_buffer", get_buffer, set_buffer},
    {"_limit", pa_field_get, set_limit_attribute, NULL, AT(limit)},
    {"_eof", pa_flag_get, pa_flag_set, NULL, AT(eof)},
    {"_paused", pa_flag_get, pa_flag_set, NULL, AT(paused)},
    {"_waiter", pa_field_get, pa_field_set, NULL, AT(waiter)},
    {"_exception", pa_field_get, pa_field_set, NULL, AT(exception)},
    {"_transport", pa_field_get, pa_field_set, NULL, AT(transport)},
    {"_source_traceback", pa_field_get, pa_field_set, NULL, AT(source_traceback)},
    {NULL},
};

static PyType_Slot reader_slots[] = {
    {Py_tp_doc, "StreamReader(limit=65536, loop=None)\n--\n\nThe native half of pyasync.StreamReader."},
    {Py_tp_new, reader_new},
    {Py_tp_init, reader_init},
    {Py_tp_traverse, reader_traverse},
    {Py_tp_clear, reader_clear},
    {Py_tp_dealloc, reader_dealloc},
    {Py_tp_methods, reader_methods},
    {Py_tp_members, reader_members},
    {Py_tp_getset, reader_getset},
    {Py_am_aiter, reader_aiter},
    {Py_am_anext, pa_reader_anext},
    {0, NULL},
};

static PyType_Spec reader_spec = {
    .name = "pyasync._core.StreamReader",
    .basicsize = sizeof(pa_reader),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = reader_slots,
};

int pa_reader_setup(PyObject *module, pa_state *st)
{
    st->StreamReader = (PyTypeObject *)PyType_FromModuleAndSpec(module, &reader_spec, NULL);
    if (st->StreamReader == NULL || pa_corofn_add_methods(st, st->StreamReader, pa_reader_operations) < 0)
        return -1;
    return PyModule_AddType(module, st->StreamReader);
}
