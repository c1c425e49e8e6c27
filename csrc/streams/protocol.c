/* StreamReaderProtocol's C half: between a transport and a StreamReader.
 *
 * Data goes from a native transport to the reader without a call of data_received() where nobody has overridden that (receive() below,
 * which the transport finds in the module state). connection_made(), connection_lost(), the end of pauses and start_tls's replacement of
 * the transport are asyncio's own code on these attributes.
 */
#include "rt/args.h"
#include "streams/streams.h"

#define PROTOCOL(obj) ((pa_stream_protocol *)(obj))

/* ---- Lifecycle ---- */

static PyObject *protocol_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    pa_state *st = pa_state_of_type(type);
    pa_stream_protocol *self = st != NULL ? PROTOCOL(type->tp_alloc(type, 0)) : NULL;
    if (self != NULL)
        self->st = st;
    return (PyObject *)self;
}

static int init_loop(pa_stream_protocol *self, PyObject *loop)
{
    if (loop != NULL && loop != Py_None)
        Py_INCREF(loop);
    else {
        PyObject *get_event_loop = Py_NewRef(self->st->get_event_loop);
        loop = PyObject_CallNoArgs(get_event_loop);
        Py_DECREF(get_event_loop);
        if (loop == NULL)
            return -1;
    }
    Py_XSETREF(self->loop, loop);
    self->paused = self->connection_lost = false;
    Py_CLEAR(self->drain_waiters);
    return 0;
}

/* Only a weak reference: when the user drops the reader, what still arrives is dropped, too. */
static int init_reader(pa_stream_protocol *self, PyObject *reader)
{
    if (reader == Py_None) {
        Py_XSETREF(self->reader_ref, Py_NewRef(Py_None));
        return 0;
    }
    PyObject *ref = PyWeakref_NewRef(reader, NULL);
    if (ref == NULL)
        return -1;
    Py_XSETREF(self->reader_ref, ref);
    PyObject *traceback = PyObject_GetAttrString(reader, "_source_traceback");
    if (traceback == NULL)
        return -1;
    if (traceback == Py_None)
        Py_CLEAR(traceback);
    Py_XSETREF(self->source_traceback, traceback);
    return 0;
}

static int protocol_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"stream_reader", "client_connected_cb", "loop", NULL};
    static const pa_signature signature = {"__init__", names, 3, 1};
    pa_stream_protocol *self = PROTOCOL(op);
    PyObject *v[PA_ARGS_MAX];
    if (pa_args_parse_tuple(op, &signature, args, kwargs, v) < 0 || init_loop(self, v[2]) < 0 || init_reader(self, v[0]) < 0)
        return -1;
    PyObject *callback = v[1] != NULL ? v[1] : Py_None;
    if (callback != Py_None) /* a server's: nobody else holds the reader until there is a connection */
        Py_XSETREF(self->strong_reader, Py_NewRef(v[0]));
    if (PA_PROTOCOL_HOLDS_WRITER)
        Py_XSETREF(self->writer, Py_NewRef(Py_None));
    Py_XSETREF(self->client_connected_cb, Py_NewRef(callback));
    Py_XSETREF(self->task, Py_NewRef(Py_None));
    Py_XSETREF(self->transport, Py_NewRef(Py_None));
    self->reject = self->over_ssl = false;
    PyObject *closed = pa_streams_future(self->st, self->loop);
    Py_XSETREF(self->closed, closed);
    return closed != NULL ? 0 : -1;
}

static int protocol_traverse(PyObject *op, visitproc visit, void *arg)
{
    pa_stream_protocol *self = PROTOCOL(op);
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->dict);
    Py_VISIT(self->loop);
    Py_VISIT(self->drain_waiters);
    Py_VISIT(self->reader_ref);
    Py_VISIT(self->strong_reader);
    Py_VISIT(self->writer);
    Py_VISIT(self->client_connected_cb);
    Py_VISIT(self->task);
    Py_VISIT(self->transport);
    Py_VISIT(self->closed);
    Py_VISIT(self->source_traceback);
    return 0;
}

static int protocol_clear(PyObject *op)
{
    pa_stream_protocol *self = PROTOCOL(op);
    Py_CLEAR(self->dict);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->drain_waiters);
    Py_CLEAR(self->reader_ref);
    Py_CLEAR(self->strong_reader);
    Py_CLEAR(self->writer);
    Py_CLEAR(self->client_connected_cb);
    Py_CLEAR(self->task);
    Py_CLEAR(self->transport);
    Py_CLEAR(self->closed);
    Py_CLEAR(self->source_traceback);
    return 0;
}

static void protocol_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    if (PROTOCOL(op)->weakrefs != NULL)
        PyObject_ClearWeakRefs(op);
    protocol_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

pa_stream_protocol *pa_stream_protocol_from(pa_state *st, PyObject *obj)
{
    for (PyTypeObject *type = Py_TYPE(obj); type != NULL; type = type->tp_base)
        if (type == st->StreamReaderProtocol)
            return PROTOCOL(obj);
    return NULL;
}

/* ---- Data ---- */

/* self._stream_reader: new, may be None. NULL with an exception. */
static PyObject *get_reader(pa_stream_protocol *self)
{
    if (self->reader_ref == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_stream_reader_wr");
        return NULL;
    }
    if (self->reader_ref == Py_None || !PyWeakref_CheckRefExact(self->reader_ref))
        return self->reader_ref == Py_None ? Py_NewRef(Py_None) : PyObject_CallNoArgs(self->reader_ref);
    PyObject *reader;
    int rc = pa_weakref_get(self->reader_ref, &reader);
    return rc < 0 ? NULL : rc == 0 ? Py_NewRef(Py_None) : reader;
}

/* reader.feed_data(data) of any reader but a plain one. Steals `data` (NULL: with its exception raised). 0 or -1. */
static int feed_foreign(pa_state *st, PyObject *reader, PyObject *data)
{
    PyObject *result = data != NULL ? PyObject_CallMethodOneArg(reader, st->names.feed_data, data) : NULL;
    Py_XDECREF(data);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* See pa_state.receive_stream. */
static int receive(PyObject *protocol, const char *data, size_t len)
{
    pa_stream_protocol *self = PROTOCOL(protocol);
    if (self->reader_ref == NULL || !pa_protocol_has_own_methods(self))
        return 0;
    PyObject *obj = get_reader(self);
    if (obj == NULL)
        return -1;
    pa_reader *reader = pa_reader_from(self->st, obj);
    int rc = 0;
    if (reader != NULL && pa_reader_is_plain(reader)) {
        PyObject *bytes = NULL;
        if (pa_buffer_len(&reader->buffer) == 0) /* so that a read of all of it need not copy */
            rc = (bytes = PyBytes_FromStringAndSize(data, (Py_ssize_t)len)) != NULL ? 0 : -1;
        if (rc == 0)
            rc = pa_reader_feed(reader, bytes, data, len);
        Py_XDECREF(bytes);
    } else if (obj != Py_None) {
        rc = feed_foreign(self->st, obj, PyBytes_FromStringAndSize(data, (Py_ssize_t)len));
    }
    Py_DECREF(obj);
    return rc < 0 ? -1 : 1;
}

static PyObject *method_data_received(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"data", NULL};
    static const pa_signature signature = {"data_received", names, 1, 1};
    pa_stream_protocol *self = PROTOCOL(op);
    PyObject *data = pa_args_one(op, &signature, args, nargs, kwnames);
    if (data == NULL)
        return NULL;
    if (!pa_protocol_has_own_methods(self))
        return pa_streams_ask_asyncio(self->st->aio_StreamReaderProtocol, "data_received", op, data);
    PyObject *obj = get_reader(self);
    if (obj == NULL)
        return NULL;
    pa_reader *reader = pa_reader_from(self->st, obj);
    int rc = 0;
    if (reader != NULL && PyBytes_CheckExact(data) && pa_reader_is_plain(reader))
        rc = pa_reader_feed(reader, data, NULL, (size_t)PyBytes_GET_SIZE(data));
    else if (obj != Py_None)
        rc = feed_foreign(self->st, obj, Py_NewRef(data));
    Py_DECREF(obj);
    return rc == 0 ? Py_NewRef(Py_None) : NULL;
}

/* ---- Attributes ---- */

PyObject *pa_stream_protocol_drain_waiters(pa_stream_protocol *self)
{
    if (self->drain_waiters == NULL) {
        PyObject *deque = PyObject_CallNoArgs((PyObject *)self->st->deque);
        if (deque == NULL)
            return NULL;
        Py_XSETREF(self->drain_waiters, deque);
    }
    return Py_NewRef(self->drain_waiters);
}

static PyObject *get_drain_waiters(PyObject *op, void *unused)
{
    if (PROTOCOL(op)->loop == NULL) {
        PyErr_Format(PyExc_AttributeError, "'%s' object has no attribute '_drain_waiters'", Py_TYPE(op)->tp_name);
        return NULL;
    }
    return pa_stream_protocol_drain_waiters(PROTOCOL(op));
}

#define AT(field) ((void *)offsetof(pa_stream_protocol, field))
#define OBJECT(field) Py_T_OBJECT_EX, offsetof(pa_stream_protocol, field), 0

static PyMethodDef protocol_methods[] = {
    {"data_received", PA_WITH_KEYWORDS(method_data_received),
     PyDoc_STR("data_received($self, /, data)\n--\n\nFeeds the reader, if there is one.")},
    {NULL},
};

static PyMemberDef protocol_members[] = {
    {"__dictoffset__", Py_T_PYSSIZET, offsetof(pa_stream_protocol, dict), Py_READONLY},
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(pa_stream_protocol, weakrefs), Py_READONLY},
    {"_loop", OBJECT(loop)},
    {"_stream_reader_wr", OBJECT(reader_ref)},
    {"_strong_reader", OBJECT(strong_reader)},
    {"_stream_writer", OBJECT(writer)},
    {"_client_connected_cb", OBJECT(client_connected_cb)},
    {"_task", OBJECT(task)},
    {"_transport", OBJECT(transport)},
    {"_closed", OBJECT(closed)},
    {NULL},
};

static PyGetSetDef protocol_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict},
    {"_paused", pa_flag_get, pa_flag_set, NULL, AT(paused)},
    {"_connection_lost", pa_flag_get, pa_flag_set, NULL, AT(connection_lost)},
    {"_reject_connection", pa_flag_get, pa_flag_set, NULL, AT(reject)},
    {"_over_ssl", pa_flag_get, pa_flag_set, NULL, AT(over_ssl)},
    {"_source_traceback", pa_field_get, pa_field_set, NULL, AT(source_traceback)},
    {"_drain_waiters", get_drain_waiters, pa_field_set, NULL, AT(drain_waiters)},
    {NULL},
};

static PyType_Slot protocol_slots[] = {
    {Py_tp_doc, "StreamReaderProtocol(stream_reader, client_connected_cb=None, loop=None)\n--\n\n"
                "The native half of pyasync.StreamReaderProtocol."},
    {Py_tp_new, protocol_new},
    {Py_tp_init, protocol_init},
    {Py_tp_traverse, protocol_traverse},
    {Py_tp_clear, protocol_clear},
    {Py_tp_dealloc, protocol_dealloc},
    {Py_tp_methods, protocol_methods},
    {Py_tp_members, protocol_members},
    {Py_tp_getset, protocol_getset},
    {0, NULL},
};

static PyType_Spec protocol_spec = {
    .name = "pyasync._core.StreamReaderProtocol",
    .basicsize = sizeof(pa_stream_protocol),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = protocol_slots,
};

int pa_stream_protocol_setup(PyObject *module, pa_state *st)
{
    st->StreamReaderProtocol = (PyTypeObject *)PyType_FromModuleAndSpec(module, &protocol_spec, NULL);
    if (st->StreamReaderProtocol == NULL)
        return -1;
    st->receive_stream = receive;
    return PyModule_AddType(module, st->StreamReaderProtocol);
}
