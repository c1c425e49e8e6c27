/* The protocol object of a TLS connection: asyncio's attributes as fields, its life, and the choice of the engine. See tls.h.
 *
 * asyncio's __init__ runs as it is, but for the receive buffer that it makes: the native transport below needs none, so it is told that
 * max_size is 0 (its get_buffer() makes one for a transport that does). What it assigns lands in the fields. The engine is chosen when
 * _state becomes WRAPPED: the handshake is over, and nothing has been read or written yet.
 */
#include "net/tls.h"
#include "net/net.h"
#include "rt/args.h"
#include "rt/call.h"
#include "rt/error.h"
#include "rt/field.h"

#define MANY ((size_t)PY_SSIZE_T_MAX)

/* ---- Choice of the engine ---- */

/* Whether context.wrap_bio is ssl.SSLContext's own. 1, 0 or -1. */
static int wraps_plainly(pa_state *st, PyObject *context)
{
    PyObject *plain = PyObject_GetAttrString(st->SSLContext, "wrap_bio");
    PyObject *method = plain != NULL ? PyObject_GetAttrString(context, "wrap_bio") : NULL;
    int rc = method != NULL ? PyMethod_Check(method) && PyMethod_GET_FUNCTION(method) == plain && PyMethod_GET_SELF(method) == context : -1;
    Py_XDECREF(method);
    Py_XDECREF(plain);
    return rc;
}

/* What asks for each message is Python code, and its errors are raised by Python's methods only. 1, 0 or -1. */
static int is_watched(PyObject *context)
{
    PyObject *callback = PyObject_GetAttrString(context, "_msg_callback");
    Py_XDECREF(callback);
    return callback != NULL ? callback != Py_None : -1;
}

/* The documented conditions (D9) for leaving SSLObject out of the data phase. 1, 0 or -1. */
static int may_drive_openssl(pa_tls *self)
{
    if (self->ssl == NULL || Py_TYPE(self->sslobj) != (PyTypeObject *)self->st->SSLObject)
        return 0;
    PyObject *context = PyObject_GetAttrString((PyObject *)self, "_sslcontext");
    int rc = context != NULL ? wraps_plainly(self->st, context) : -1;
    if (rc > 0) {
        int watched = is_watched(context);
        rc = watched < 0 ? -1 : !watched;
    }
    Py_XDECREF(context);
    return rc;
}

static int choose_engine(pa_tls *self)
{
    if (self->engine != &pa_tls_bio_engine || self->st->tls_choice == PA_TLS_BIO || self->sslobj == NULL)
        return 0;
    int rc = may_drive_openssl(self);
    return rc > 0 ? (pa_tls_openssl_adopt(self) < 0 ? -1 : 0) : rc;
}

/* ---- Making ---- */

static PyObject *tls_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    pa_state *st = pa_state_of_type(type);
    pa_tls *self = st != NULL ? PA_TLS(type->tp_alloc(type, 0)) : NULL;
    if (self == NULL)
        return NULL;
    self->st = st;
    self->flush = (pa_deferred){.owner = (PyObject *)self, .run = pa_tls_run_deferred};
    pa_link_init(&self->flush.link);
    self->engine = &pa_tls_bio_engine;
    self->outgoing_pause = self->incoming_pause = MANY;
    return (PyObject *)self;
}

/* asyncio's __init__(self, *args, **kwargs). 0 or -1. */
static int init_as_asyncio(pa_tls *self, PyObject *args, PyObject *kwargs)
{
    PyObject *all = PyTuple_New(PyTuple_GET_SIZE(args) + 1);
    PyObject *init = all != NULL ? PyObject_GetAttrString(self->st->aio_SSLProtocol, "__init__") : NULL;
    int rc = -1;
    if (init != NULL) {
        PyTuple_SET_ITEM(all, 0, Py_NewRef((PyObject *)self));
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); i++)
            PyTuple_SET_ITEM(all, i + 1, Py_NewRef(PyTuple_GET_ITEM(args, i)));
        rc = pa_call_nothing(PyObject_Call(init, all, kwargs));
    }
    Py_XDECREF(init);
    Py_XDECREF(all);
    return rc;
}

static int tls_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    pa_tls *self = PA_TLS(op);
    if (self->loop_obj != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the protocol is initialised already");
        return -1;
    }
    int direct = self->st->tls_choice != PA_TLS_BIO ? pa_openssl_usable(self->st) : 0;
    PyObject *none = direct >= 0 ? PyLong_FromLong(0) : NULL;
    if (none == NULL || PyObject_SetAttr(op, self->st->names.max_size, none) < 0) {
        Py_XDECREF(none);
        return -1;
    }
    Py_DECREF(none);
    if (direct)
        pa_openssl_forget_made();
    int rc = init_as_asyncio(self, args, kwargs);
    if (direct)
        self->ssl = pa_tls_openssl_of(pa_openssl_made(), self->calls);
    PyObject *raised = rc < 0 ? pa_err_take() : NULL;
    if (PyObject_DelAttr(op, self->st->names.max_size) < 0)
        rc = -1;
    if (raised != NULL) {
        PyErr_Clear();
        pa_err_restore(raised);
    }
    return rc;
}

/* ---- Attributes that are more than a field ---- */

static int refuse_deletion(PyObject *value)
{
    if (value == NULL)
        PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
    return value == NULL;
}

static PyObject *or_none(PyObject *value) { return Py_NewRef(value != NULL ? value : Py_None); }

static void assign(PyObject **field, PyObject *value)
{
    PyObject *old = *field;
    *field = value != Py_None ? Py_NewRef(value) : NULL;
    Py_XDECREF(old);
}

static int set_loop(PyObject *op, PyObject *value, void *closure)
{
    if (refuse_deletion(value))
        return -1;
    pa_tls *self = PA_TLS(op);
    if (self->loop != NULL)
        pa_loop_undefer(self->loop, &self->flush);
    self->loop = pa_loop_from(self->st, value);
    assign(&self->loop_obj, value);
    return 0;
}

static int set_transport(PyObject *op, PyObject *value, void *closure)
{
    if (refuse_deletion(value))
        return -1;
    pa_tls *self = PA_TLS(op);
    self->raw = PyObject_TypeCheck(value, self->st->SocketTransport) ? PA_TRANSPORT(value) : NULL;
    assign(&self->transport, value);
    return 0;
}

static int set_state(PyObject *op, PyObject *value, void *closure)
{
    if (refuse_deletion(value))
        return -1;
    pa_tls *self = PA_TLS(op);
    assign(&self->state, value);
    return value == self->st->tls_wrapped ? choose_engine(self) : 0;
}

static int set_sslobj(PyObject *op, PyObject *value, void *closure)
{
    if (refuse_deletion(value))
        return -1;
    pa_tls *self = PA_TLS(op);
    PyObject *calls = NULL;
    if (Py_TYPE(value) != (PyTypeObject *)self->st->SSLObject)
        calls = Py_NewRef(value);
    else if ((calls = PyObject_GetAttrString(value, "_sslobj")) == NULL)
        return -1;
    self->engine->release(self);
    self->engine = &pa_tls_bio_engine;
    self->ssl = NULL;
    assign(&self->calls, calls);
    Py_DECREF(calls);
    assign(&self->sslobj, value);
    return 0;
}

PyObject *pa_tls_backlog(pa_tls *self)
{
    if (self->backlog == NULL && (self->backlog = PyObject_CallNoArgs((PyObject *)self->st->deque)) == NULL)
        return NULL;
    PyObject *backlog = Py_NewRef(self->backlog);
    while (!pa_write_queue_is_empty(&self->put_off)) {
        const pa_chunk *chunk = pa_write_queue_first(&self->put_off);
        size_t len = chunk->len;
        PyObject *data = PyBytes_FromStringAndSize(chunk->ptr, (Py_ssize_t)len);
        int rc = data != NULL ? pa_call_nothing(PyObject_CallMethodOneArg(backlog, self->st->names.append, data)) : -1;
        Py_XDECREF(data);
        if (rc < 0) {
            Py_DECREF(backlog);
            return NULL;
        }
        pa_write_queue_consume(&self->put_off, len);
        self->backlog_bytes += (Py_ssize_t)len;
    }
    return backlog;
}

static PyObject *get_backlog(PyObject *op, void *closure) { return pa_tls_backlog(PA_TLS(op)); }

static int set_backlog(PyObject *op, PyObject *value, void *closure)
{
    if (refuse_deletion(value))
        return -1;
    pa_write_queue_clear(&PA_TLS(op)->put_off);
    assign(&PA_TLS(op)->backlog, value);
    return 0;
}

static PyObject *get_buffer_size(PyObject *op, void *closure)
{
    return PyLong_FromSsize_t(PA_TLS(op)->backlog_bytes + (Py_ssize_t)PA_TLS(op)->put_off.bytes);
}

static int set_buffer_size(PyObject *op, PyObject *value, void *closure)
{
    if (refuse_deletion(value))
        return -1;
    Py_ssize_t size = PyLong_AsSsize_t(value);
    if (size == -1 && PyErr_Occurred())
        return -1;
    PA_TLS(op)->backlog_bytes = size - (Py_ssize_t)PA_TLS(op)->put_off.bytes;
    return 0;
}

/* The water marks: what was given, and the bytes to compare with. */
typedef struct {
    size_t given, bytes; /* offsets */
    bool up;
} water_mark;

#define MARK(name, number, round_up) {offsetof(pa_tls, name), offsetof(pa_tls, number), round_up}
static const water_mark outgoing_high = MARK(outgoing_high, outgoing_pause, true), outgoing_low = MARK(outgoing_low, outgoing_resume, false);
static const water_mark incoming_high = MARK(incoming_high, incoming_pause, true), incoming_low = MARK(incoming_low, incoming_resume, false);

static PyObject *get_mark(PyObject *op, void *closure)
{
    const water_mark *mark = closure;
    return or_none(*(PyObject **)((char *)op + mark->given));
}

static int set_mark(PyObject *op, PyObject *value, void *closure)
{
    const water_mark *mark = closure;
    if (refuse_deletion(value) || pa_flow_limit_to_bytes(value, mark->up, (size_t *)((char *)op + mark->bytes)) < 0)
        return -1;
    assign((PyObject **)((char *)op + mark->given), value);
    return 0;
}

static PyObject *get_engine(PyObject *op, void *closure) { return PyUnicode_FromString(PA_TLS(op)->engine->name); }

/* ---- Collection ---- */

static int tls_traverse(PyObject *op, visitproc visit, void *arg)
{
    pa_tls *self = PA_TLS(op);
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->dict);
    Py_VISIT(self->loop_obj);
    Py_VISIT(self->transport);
    Py_VISIT(self->app_protocol);
    Py_VISIT(self->app_transport);
    Py_VISIT(self->app_get_buffer);
    Py_VISIT(self->app_buffer_updated);
    Py_VISIT(self->state);
    Py_VISIT(self->sslobj);
    Py_VISIT(self->incoming);
    Py_VISIT(self->outgoing);
    Py_VISIT(self->calls);
    Py_VISIT(self->backlog);
    Py_VISIT(self->outgoing_high);
    Py_VISIT(self->outgoing_low);
    Py_VISIT(self->incoming_high);
    Py_VISIT(self->incoming_low);
    return 0;
}

static int tls_clear(PyObject *op)
{
    pa_tls *self = PA_TLS(op);
    self->engine->release(self);
    self->engine = &pa_tls_bio_engine;
    self->ssl = NULL;
    if (self->loop != NULL)
        pa_loop_undefer(self->loop, &self->flush);
    self->loop = NULL;
    self->raw = NULL;
    Py_CLEAR(self->dict);
    Py_CLEAR(self->loop_obj);
    Py_CLEAR(self->transport);
    Py_CLEAR(self->app_protocol);
    Py_CLEAR(self->app_transport);
    Py_CLEAR(self->app_get_buffer);
    Py_CLEAR(self->app_buffer_updated);
    Py_CLEAR(self->state);
    Py_CLEAR(self->sslobj);
    Py_CLEAR(self->incoming);
    Py_CLEAR(self->outgoing);
    Py_CLEAR(self->calls);
    Py_CLEAR(self->backlog);
    Py_CLEAR(self->outgoing_high);
    Py_CLEAR(self->outgoing_low);
    Py_CLEAR(self->incoming_high);
    Py_CLEAR(self->incoming_low);
    return 0;
}

static void tls_dealloc(PyObject *op)
{
    pa_tls *self = PA_TLS(op);
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(op);
    tls_clear(op);
    pa_write_queue_clear(&self->put_off);
    pa_tls_bytes_clear(&self->in);
    pa_tls_bytes_clear(&self->out);
    type->tp_free(op);
    Py_DECREF(type);
}

/* ---- Tables ---- */

/* After connection_lost(): memory that only an open connection needs. */
static PyObject *method_release(PyObject *op, PyObject *unused)
{
    pa_tls *self = PA_TLS(op);
    if (self->loop != NULL)
        pa_loop_undefer(self->loop, &self->flush);
    pa_write_queue_clear(&self->put_off);
    self->engine->release(self);
    Py_RETURN_NONE;
}

static PyMethodDef tls_methods[] = {
    {"_release", method_release, METH_NOARGS, NULL},
    {NULL},
};

#define AT(field) ((void *)offsetof(pa_tls, field))

static PyMemberDef tls_members[] = {
    {"__dictoffset__", Py_T_PYSSIZET, offsetof(pa_tls, dict), Py_READONLY},
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(pa_tls, weakrefs), Py_READONLY},
    {"_conn_lost", Py_T_PYSSIZET, offsetof(pa_tls, conn_lost), 0},
    {NULL},
};

static PyGetSetDef tls_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict},
    {"_loop", pa_field_get, set_loop, NULL, AT(loop_obj)},
    {"_transport", pa_field_get, set_transport, NULL, AT(transport)},
    {"_state", pa_field_get, set_state, NULL, AT(state)},
    {"_sslobj", pa_field_get, set_sslobj, NULL, AT(sslobj)},
    {"_incoming", pa_field_get, pa_field_set, NULL, AT(incoming)},
    {"_outgoing", pa_field_get, pa_field_set, NULL, AT(outgoing)},
    {"_app_protocol", pa_field_get, pa_field_set, NULL, AT(app_protocol)},
    {"_app_transport", pa_field_get, pa_field_set, NULL, AT(app_transport)},
    {"_app_protocol_get_buffer", pa_field_get, pa_field_set, NULL, AT(app_get_buffer)},
    {"_app_protocol_buffer_updated", pa_field_get, pa_field_set, NULL, AT(app_buffer_updated)},
    {"_app_protocol_is_buffer", pa_flag_get, pa_flag_set, NULL, AT(app_is_buffer)},
    {"_app_reading_paused", pa_flag_get, pa_flag_set, NULL, AT(app_reading_paused)},
    {"_app_writing_paused", pa_flag_get, pa_flag_set, NULL, AT(app_writing_paused)},
    {"_ssl_reading_paused", pa_flag_get, pa_flag_set, NULL, AT(ssl_reading_paused)},
    {"_ssl_writing_paused", pa_flag_get, pa_flag_set, NULL, AT(ssl_writing_paused)},
    {"_write_backlog", get_backlog, set_backlog},
    {"_write_buffer_size", get_buffer_size, set_buffer_size},
    {"_outgoing_high_water", get_mark, set_mark, NULL, (void *)&outgoing_high},
    {"_outgoing_low_water", get_mark, set_mark, NULL, (void *)&outgoing_low},
    {"_incoming_high_water", get_mark, set_mark, NULL, (void *)&incoming_high},
    {"_incoming_low_water", get_mark, set_mark, NULL, (void *)&incoming_low},
    {"_engine", get_engine, NULL, "How the connection's bytes are encrypted: 'bio' or 'openssl'."},
    {NULL},
};

static PyType_Slot tls_slots[] = {
    {Py_tp_doc, "The native half of pyasync.tls.SSLProtocol."},
    {Py_tp_new, tls_new},
    {Py_tp_init, tls_init},
    {Py_tp_traverse, tls_traverse},
    {Py_tp_clear, tls_clear},
    {Py_tp_dealloc, tls_dealloc},
    {Py_tp_methods, tls_methods},
    {Py_tp_members, tls_members},
    {Py_tp_getset, tls_getset},
    {0, NULL},
};

static PyType_Spec tls_spec = {
    .name = "pyasync._core.SSLProtocol",
    .basicsize = sizeof(pa_tls),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = tls_slots,
};

/* ---- Setup ---- */

/* _use_tls_engine(name): what PYASYNC_TLS says. */
static PyObject *use_engine(PyObject *module, PyObject *name)
{
    static const char *const names[] = {"auto", "bio", "openssl"};
    pa_state *st = pa_state_of_module(module);
    for (int i = PA_TLS_AUTO; i <= PA_TLS_OPENSSL; i++)
        if (PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, names[i]) == 0) {
            st->tls_choice = i;
            Py_RETURN_NONE;
        }
    PyErr_Format(PyExc_ValueError, "PYASYNC_TLS must be 'auto', 'bio' or 'openssl', not %R", name);
    return NULL;
}

/* _tls_reason(): why OpenSSL is not driven directly in this process, or None. */
static PyObject *get_reason(PyObject *module, PyObject *unused)
{
    pa_state *st = pa_state_of_module(module);
    if (st->tls_choice == PA_TLS_BIO)
        return PyUnicode_FromString("PYASYNC_TLS=bio");
    return pa_openssl_usable(st) < 0 ? NULL : or_none(st->tls_reason);
}

static PyMethodDef module_functions[] = {
    {"_use_tls_engine", use_engine, METH_O, NULL},
    {"_tls_reason", get_reason, METH_NOARGS, NULL},
    {NULL},
};

static int import_states(pa_state *st)
{
    static const struct {
        const char *name;
        size_t at;
    } members[] = {
        {"WRAPPED", offsetof(pa_state, tls_wrapped)},
        {"DO_HANDSHAKE", offsetof(pa_state, tls_handshake)},
        {"FLUSHING", offsetof(pa_state, tls_flushing)},
        {"SHUTDOWN", offsetof(pa_state, tls_shutdown)},
    };
    PyObject *states = PyObject_GetAttrString(st->sslproto, "SSLProtocolState");
    int rc = states != NULL ? 0 : -1;
    for (size_t i = 0; rc == 0 && i < Py_ARRAY_LENGTH(members); i++) {
        PyObject *member = PyObject_GetAttrString(states, members[i].name);
        *(PyObject **)((char *)st + members[i].at) = member;
        rc = member != NULL ? 0 : -1;
    }
    Py_XDECREF(states);
    return rc;
}

/* A Python without ssl has none of these: then nobody can make a protocol. */
static int import_ssl(pa_state *st)
{
    if (st->ssl_socket_class == Py_None)
        return 0;
    if (pa_import_from("ssl", "SSLObject", &st->SSLObject) < 0 || pa_import_from("ssl", "SSLContext", &st->SSLContext) < 0 ||
        pa_import_from("ssl", "MemoryBIO", &st->MemoryBIO) < 0)
        return -1;
    st->tls_again = PyObject_GetAttrString(st->sslproto, "SSLAgainErrors");
    return st->tls_again != NULL ? 0 : -1;
}

int pa_tls_setup(PyObject *module, pa_state *st)
{
    if (pa_import_from("asyncio", "sslproto", &st->sslproto) < 0 || import_states(st) < 0 || import_ssl(st) < 0 ||
        pa_import_from("asyncio.sslproto", "SSLProtocol", &st->aio_SSLProtocol) < 0)
        return -1;
    st->SSLProtocol = (PyTypeObject *)PyType_FromModuleAndSpec(module, &tls_spec, NULL);
    if (st->SSLProtocol == NULL || pa_type_add_methods(st->SSLProtocol, pa_tls_data_methods) < 0 ||
        PyModule_AddType(module, st->SSLProtocol) < 0 || PyModule_AddFunctions(module, module_functions) < 0)
        return -1;
    return pa_tls_transport_setup(module, st);
}
