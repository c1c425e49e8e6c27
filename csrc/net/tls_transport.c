/* The application's transport of a TLS connection: its hot half. The rest is asyncio's _SSLProtocolTransport, which
 * pyasync.tls joins with this one; like the native socket transport it lies over the slots of asyncio's transport classes.
 *
 * It has two fields, asyncio's: the protocol, None after the second close(), and whether it was closed.
 */
#include "net/tls.h"
#include "rt/args.h"
#include "rt/call.h"
#include "rt/field.h"

typedef struct {
    PyObject_HEAD
    PyObject *base_slots[PA_TRANSPORT_BASE_SLOTS];
    pa_state *st;           /* borrowed */
    PyObject *ssl_protocol; /* owned; NULL for None */
    bool closed;
} pa_tls_transport;

#define TRANSPORT(obj) ((pa_tls_transport *)(obj))

static PyObject *transport_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    pa_state *st = pa_state_of_type(type);
    pa_tls_transport *self = st != NULL ? TRANSPORT(type->tp_alloc(type, 0)) : NULL;
    if (self != NULL)
        self->st = st;
    return (PyObject *)self;
}

/* The native protocol, new; NULL without an exception if it is anything else. */
static pa_tls *native_protocol(pa_tls_transport *self)
{
    PyObject *protocol = self->ssl_protocol;
    return protocol != NULL && pa_tls_is_native(self->st, protocol) ? PA_TLS(Py_NewRef(protocol)) : NULL;
}

/* self._ssl_protocol._write_appdata(data), whatever that is: also for None, and its error. 0 or -1. */
static int write_elsewhere(pa_tls_transport *self, PyObject *data)
{
    PyObject *protocol = Py_NewRef(self->ssl_protocol != NULL ? self->ssl_protocol : Py_None);
    int rc = data != NULL ? pa_call_nothing(PyObject_CallMethod(protocol, "_write_appdata", "O", data)) : -1;
    Py_DECREF(protocol);
    return rc;
}

static int write_many(pa_tls_transport *self, PyObject *list_of_data)
{
    pa_tls *protocol = native_protocol(self);
    if (protocol == NULL)
        return write_elsewhere(self, list_of_data);
    int rc = pa_tls_write_all(protocol, list_of_data);
    Py_DECREF(protocol);
    return rc;
}

static int write_one(pa_tls_transport *self, PyObject *data)
{
    pa_tls *protocol = PyBytes_CheckExact(data) ? native_protocol(self) : NULL;
    if (protocol != NULL) {
        int rc = pa_tls_write(protocol, data);
        Py_DECREF(protocol);
        return rc;
    }
    PyObject *one = PyTuple_Pack(1, data);
    int rc = one != NULL ? write_many(self, one) : -1;
    Py_XDECREF(one);
    return rc;
}

static PyObject *method_write(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"data", NULL};
    static const pa_signature signature = {"write", names, 1, 1};
    PyObject *data = pa_args_one(op, &signature, args, nargs, kwnames);
    if (data == NULL)
        return NULL;
    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        PyObject *name = PyType_GetName(Py_TYPE(data));
        if (name != NULL)
            PyErr_Format(PyExc_TypeError, "data: expecting a bytes-like instance, got %U", name);
        Py_XDECREF(name);
        return NULL;
    }
    int rc = PyObject_IsTrue(data);
    return pa_call_none(rc > 0 ? write_one(TRANSPORT(op), data) : rc);
}

static PyObject *method_writelines(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"list_of_data", NULL};
    static const pa_signature signature = {"writelines", names, 1, 1};
    PyObject *list_of_data = pa_args_one(op, &signature, args, nargs, kwnames);
    return list_of_data != NULL ? pa_call_none(write_many(TRANSPORT(op), list_of_data)) : NULL;
}

/* ---- Collection ---- */

static int transport_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(TRANSPORT(op)->ssl_protocol);
    return pa_transport_visit_slots(TRANSPORT(op)->st, op, visit, arg);
}

static int transport_clear(PyObject *op)
{
    Py_CLEAR(TRANSPORT(op)->ssl_protocol);
    pa_transport_clear_slots(TRANSPORT(op)->st, op);
    return 0;
}

static void transport_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    transport_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

/* ---- Tables ---- */

#define KEYWORDS(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS

static PyMethodDef transport_methods[] = {
    {"write", KEYWORDS(method_write),
     PyDoc_STR("write($self, /, data)\n--\n\nEncrypt and send `data` (bytes, bytearray or memoryview) without blocking.")},
    {"writelines", KEYWORDS(method_writelines),
     PyDoc_STR("writelines($self, /, list_of_data)\n--\n\nWrite several chunks; they share records.")},
    {NULL},
};

static PyGetSetDef transport_getset[] = {
    {"_ssl_protocol", pa_field_get, pa_field_set, NULL, (void *)offsetof(pa_tls_transport, ssl_protocol)},
    {"_closed", pa_flag_get, pa_flag_set, NULL, (void *)offsetof(pa_tls_transport, closed)},
    {NULL},
};

static PyType_Slot transport_slots[] = {
    {Py_tp_new, transport_new},
    {Py_tp_traverse, transport_traverse},
    {Py_tp_clear, transport_clear},
    {Py_tp_dealloc, transport_dealloc},
    {Py_tp_methods, transport_methods},
    {Py_tp_getset, transport_getset},
    {0, NULL},
};

static PyType_Spec transport_spec = {
    .name = "pyasync._core.SSLTransport",
    .basicsize = sizeof(pa_tls_transport),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = transport_slots,
};

int pa_tls_transport_setup(PyObject *module, pa_state *st)
{
    st->SSLTransport = pa_transport_make_base(module, st, &transport_spec, st->aio_FlowControlMixin);
    return st->SSLTransport != NULL ? PyModule_AddType(module, st->SSLTransport) : -1;
}
