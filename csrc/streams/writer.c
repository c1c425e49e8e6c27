/* StreamWriter's C half: hands to the transport what is written, and drain(). Closing, start_tls(), repr() and the warning about a
 * writer that was forgotten are asyncio's own code on these attributes.
 *
 * drain() asks the reader for its exception, lets the loop turn once if the transport is closing (so that connection_lost can come), and
 * waits while the protocol is paused. A protocol whose _drain_helper() is overridden, or that is not ours, is asked for that instead.
 */
#include "rt/args.h"
#include "rt/error.h"
#include "streams/streams.h"
#include "sync/op.h"

#define WRITER(obj) ((pa_writer *)(obj))

/* ---- Lifecycle ---- */

static PyObject *writer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    pa_state *st = pa_state_of_type(type);
    pa_writer *self = st != NULL ? WRITER(type->tp_alloc(type, 0)) : NULL;
    if (self != NULL)
        self->st = st;
    return (PyObject *)self;
}

static int writer_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"transport", "protocol", "reader", "loop", NULL};
    static const pa_signature signature = {"__init__", names, 4, 4};
    pa_writer *self = WRITER(op);
    PyObject *v[PA_ARGS_MAX];
    if (pa_args_parse_tuple(op, &signature, args, kwargs, v) < 0)
        return -1;
    Py_XSETREF(self->transport, Py_NewRef(v[0]));
    Py_XSETREF(self->protocol, Py_NewRef(v[1]));
    if (v[2] != Py_None && self->st->asserts) { /* drain() expects that the reader has an exception() method */
        int is_reader = PyObject_IsInstance(v[2], self->st->aio_StreamReader);
        if (is_reader == 0)
            PyErr_SetNone(PyExc_AssertionError);
        if (is_reader <= 0)
            return -1;
    }
    Py_XSETREF(self->reader, Py_NewRef(v[2]));
    Py_XSETREF(self->loop, Py_NewRef(v[3]));
    Py_CLEAR(self->complete_fut);
    return 0;
}

static int writer_traverse(PyObject *op, visitproc visit, void *arg)
{
    pa_writer *self = WRITER(op);
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->dict);
    Py_VISIT(self->transport);
    Py_VISIT(self->protocol);
    Py_VISIT(self->reader);
    Py_VISIT(self->loop);
    Py_VISIT(self->complete_fut);
    return 0;
}

static int writer_clear(PyObject *op)
{
    pa_writer *self = WRITER(op);
    Py_CLEAR(self->dict);
    Py_CLEAR(self->transport);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->reader);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->complete_fut);
    return 0;
}

static void writer_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    if (WRITER(op)->weakrefs != NULL)
        PyObject_ClearWeakRefs(op);
    writer_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

/* ---- What the transport does ---- */

static PyObject *no_attribute(PyObject *op, const char *name)
{
    PyErr_Format(PyExc_AttributeError, "'%s' object has no attribute '%s'", Py_TYPE(op)->tp_name, name);
    return NULL;
}

/* self._transport.<name>(arg); arg may be NULL: no argument. New. */
static PyObject *call_transport(PyObject *op, PyObject *name, PyObject *arg)
{
    if (WRITER(op)->transport == NULL)
        return no_attribute(op, "_transport");
    PyObject *const args[] = {Py_NewRef(WRITER(op)->transport), arg};
    PyObject *result = PyObject_VectorcallMethod(name, args, arg != NULL ? 2 : 1, NULL);
    Py_DECREF(args[0]);
    return result;
}

/* The same for a method that returns None whatever the transport returned. */
static PyObject *pass_on(PyObject *op, PyObject *name, const pa_signature *signature, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *kwnames)
{
    PyObject *data = pa_args_one(op, signature, args, nargs, kwnames);
    PyObject *result = data != NULL ? call_transport(op, name, data) : NULL;
    if (result == NULL)
        return NULL;
    Py_DECREF(result);
    Py_RETURN_NONE;
}

static const char *const data_argument[] = {"data", NULL};

static PyObject *method_write(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const pa_signature signature = {"write", data_argument, 1, 1};
    return pass_on(op, WRITER(op)->st->names.write, &signature, args, nargs, kwnames);
}

static PyObject *method_writelines(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const pa_signature signature = {"writelines", data_argument, 1, 1};
    return pass_on(op, WRITER(op)->st->names.writelines, &signature, args, nargs, kwnames);
}

static PyObject *method_close(PyObject *op, PyObject *unused) { return call_transport(op, WRITER(op)->st->names.close, NULL); }

static PyObject *method_is_closing(PyObject *op, PyObject *unused)
{
    return call_transport(op, WRITER(op)->st->names.is_closing, NULL);
}

/* ---- drain() ---- */

enum { BEGIN, CLOSING, PAUSED, HELPER };

static int raise_reader_exception(pa_writer *self)
{
    if (self->reader == NULL) {
        no_attribute((PyObject *)self, "_reader");
        return -1;
    }
    if (self->reader == Py_None)
        return 0;
    pa_reader *reader = pa_reader_from(self->st, self->reader);
    if (reader != NULL && pa_reader_has_own_methods(reader))
        return pa_reader_check_exception(reader);
    PyObject *owned = Py_NewRef(self->reader);
    PyObject *exc = PyObject_CallMethodNoArgs(owned, self->st->names.exception);
    Py_DECREF(owned);
    if (exc == NULL || exc == Py_None) {
        Py_XDECREF(exc);
        return exc != NULL ? 0 : -1;
    }
    pa_raise_any(exc);
    Py_DECREF(exc);
    return -1;
}

static int transport_is_closing(PyObject *op)
{
    PyObject *closing = call_transport(op, WRITER(op)->st->names.is_closing, NULL);
    int truth = closing != NULL ? PyObject_IsTrue(closing) : -1;
    Py_XDECREF(closing);
    return truth;
}

/* Waits for the result of calling `callable` with `arg`. Steals callable (NULL: with its exception raised). */
static PySendResult await_call(pa_op *op, PyObject *callable, PyObject *arg)
{
    PyObject *awaitable = callable != NULL ? PyObject_CallFunctionObjArgs(callable, arg, NULL) : NULL;
    PySendResult how = awaitable != NULL ? pa_op_await(op, awaitable) : PYGEN_ERROR;
    Py_XDECREF(callable);
    Py_XDECREF(awaitable);
    return how;
}

static PySendResult turn_once(pa_op *op)
{
    op->step = CLOSING;
    PyObject *zero = PyLong_FromLong(0);
    PySendResult how = zero != NULL ? await_call(op, Py_NewRef(op->st->aio_sleep), zero) : PYGEN_ERROR;
    Py_XDECREF(zero);
    return how;
}

/* The waiter, op->b, goes into the protocol's queue, op->c. */
static PySendResult wait_for_resume(pa_op *op, pa_stream_protocol *protocol)
{
    PyObject *waiters = pa_stream_protocol_drain_waiters(protocol);
    PyObject *waiter = waiters != NULL ? pa_streams_future(op->st, protocol->loop) : NULL;
    PyObject *added = waiter != NULL ? PyObject_CallMethodOneArg(waiters, op->st->names.append, waiter) : NULL;
    Py_XSETREF(op->b, waiter);
    Py_XSETREF(op->c, waiters);
    if (added == NULL)
        return PYGEN_ERROR;
    Py_DECREF(added);
    op->step = PAUSED;
    return pa_op_wait(op, op->b);
}

static PySendResult leave_queue(pa_op *op, PyObject *thrown, PyObject **result)
{
    PyObject *removed = PyObject_CallMethod(op->c, "remove", "O", op->b);
    if (removed == NULL)
        return PYGEN_ERROR;
    Py_DECREF(removed);
    if (thrown != NULL)
        return pa_op_raise(thrown);
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

/* What help_draining() does with the protocol, alive for the call. */
static PySendResult ask_helper(pa_op *op, PyObject *protocol_obj, PyObject **result)
{
    pa_stream_protocol *protocol = pa_stream_protocol_from(op->st, protocol_obj);
    if (protocol == NULL || !pa_protocol_has_own_methods(protocol)) {
        op->step = HELPER;
        return await_call(op, PyObject_GetAttr(protocol_obj, op->st->names._drain_helper), NULL);
    }
    if (protocol->connection_lost) {
        PyErr_SetString(PyExc_ConnectionResetError, "Connection lost");
        return PYGEN_ERROR;
    }
    if (protocol->paused)
        return wait_for_resume(op, protocol);
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

/* await self._protocol._drain_helper() */
static PySendResult help_draining(pa_op *op, PyObject **result)
{
    pa_writer *self = WRITER(op->self);
    if (self->protocol == NULL) {
        no_attribute(op->self, "_protocol");
        return PYGEN_ERROR;
    }
    PyObject *protocol = Py_NewRef(self->protocol); /* asking it may have it replaced */
    PySendResult how = ask_helper(op, protocol, result);
    Py_DECREF(protocol);
    return how;
}

static PySendResult drain_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    if (op->step == PAUSED)
        return leave_queue(op, thrown, result);
    if (thrown != NULL)
        return pa_op_raise(thrown);
    if (op->step == HELPER) {
        *result = Py_NewRef(Py_None);
        return PYGEN_RETURN;
    }
    if (op->step == BEGIN) {
        if (raise_reader_exception(WRITER(op->self)) < 0)
            return PYGEN_ERROR;
        int closing = transport_is_closing(op->self);
        if (closing != 0)
            return closing < 0 ? PYGEN_ERROR : turn_once(op);
    }
    return help_draining(op, result);
}

static const pa_op_kind drain_kind = {"drain", "StreamWriter.drain", drain_run, NULL};

static PyObject *method_drain(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return pa_args_none(op, "drain", args, nargs, kwnames) == 0 ? pa_op_new(WRITER(op)->st, &drain_kind, op) : NULL;
}

static const pa_corofn_def writer_operations[] = {
    {"drain", "StreamWriter.drain", method_drain,
     PyDoc_STR("drain($self, /)\n--\n\nFlush the write buffer: waits while there is too much in it.\n\n"
               "Raises the reader's exception, if it has one, and ConnectionResetError after the connection was lost.")},
    {NULL},
};

/* ---- Attributes ---- */

/* A future that is done: nothing uses it, but asyncio's writer has one. */
static PyObject *get_complete_fut(PyObject *op, void *unused)
{
    pa_writer *self = WRITER(op);
    if (self->loop == NULL)
        return no_attribute(op, "_complete_fut");
    if (self->complete_fut == NULL) {
        PyObject *future = pa_streams_future(self->st, self->loop);
        PyObject *done = future != NULL ? PyObject_CallMethodOneArg(future, self->st->names.set_result, Py_None) : NULL;
        if (done == NULL) {
            Py_XDECREF(future);
            return NULL;
        }
        Py_DECREF(done);
        Py_XSETREF(self->complete_fut, future);
    }
    return Py_NewRef(self->complete_fut);
}

/* ---- Tables ---- */

#define OBJECT(field) Py_T_OBJECT_EX, offsetof(pa_writer, field), 0
#define KEYWORDS(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS

PA_NO_ARGS(method_close, close)
PA_NO_ARGS(method_is_closing, is_closing)

static PyMethodDef writer_methods[] = {
    {"write", KEYWORDS(method_write), PyDoc_STR("write($self, /, data)\n--\n\nSend data (bytes-like); what cannot go at once is buffered.")},
    {"writelines", KEYWORDS(method_writelines),
     PyDoc_STR("writelines($self, /, data)\n--\n\nSend an iterable of bytes-like objects.")},
    {"close", PA_NO_ARGS_METHOD(method_close, close),
     PyDoc_STR("close($self, /)\n--\n\nClose the connection when what is buffered has been sent. See wait_closed().")},
    {"is_closing", PA_NO_ARGS_METHOD(method_is_closing, is_closing),
     PyDoc_STR("is_closing($self, /)\n--\n\nWhether the connection is closed or being closed.")},
    {NULL},
};

static PyMemberDef writer_members[] = {
    {"__dictoffset__", Py_T_PYSSIZET, offsetof(pa_writer, dict), Py_READONLY},
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(pa_writer, weakrefs), Py_READONLY},
    {"_transport", OBJECT(transport)},
    {"_protocol", OBJECT(protocol)},
    {"_reader", OBJECT(reader)},
    {"_loop", OBJECT(loop)},
    {NULL},
};

static PyGetSetDef writer_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict},
    {"_complete_fut", get_complete_fut, pa_field_set, NULL, (void *)offsetof(pa_writer, complete_fut)},
    {NULL},
};

static PyType_Slot writer_slots[] = {
    {Py_tp_doc, "StreamWriter(transport, protocol, reader, loop)\n--\n\nThe native half of pyasync.StreamWriter."},
    {Py_tp_new, writer_new},
    {Py_tp_init, writer_init},
    {Py_tp_traverse, writer_traverse},
    {Py_tp_clear, writer_clear},
    {Py_tp_dealloc, writer_dealloc},
    {Py_tp_methods, writer_methods},
    {Py_tp_members, writer_members},
    {Py_tp_getset, writer_getset},
    {0, NULL},
};

static PyType_Spec writer_spec = {
    .name = "pyasync._core.StreamWriter",
    .basicsize = sizeof(pa_writer),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = writer_slots,
};

int pa_writer_setup(PyObject *module, pa_state *st)
{
    st->StreamWriter = (PyTypeObject *)PyType_FromModuleAndSpec(module, &writer_spec, NULL);
    if (st->StreamWriter == NULL || pa_corofn_add_methods(st, st->StreamWriter, writer_operations) < 0)
        return -1;
    return PyModule_AddType(module, st->StreamWriter);
}

int pa_streams_setup(PyObject *module, pa_state *st)
{
    if (pa_import_from("asyncio.streams", "StreamReader", &st->aio_StreamReader) < 0 ||
        pa_import_from("asyncio.streams", "StreamReaderProtocol", &st->aio_StreamReaderProtocol) < 0 ||
        pa_import_from("asyncio.exceptions", "IncompleteReadError", &st->IncompleteReadError) < 0 ||
        pa_import_from("asyncio.exceptions", "LimitOverrunError", &st->LimitOverrunError) < 0 ||
        pa_import_from("asyncio.tasks", "sleep", &st->aio_sleep) < 0)
        return -1;
    if (pa_reader_setup(module, st) < 0 || pa_stream_protocol_setup(module, st) < 0 || pa_writer_setup(module, st) < 0)
        return -1;
    return pa_streams_remember(st);
}
