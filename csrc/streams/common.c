/* What the stream classes share: whether a method is overridden, futures and wakeups. See streams.h. */
#include "core/future.h"
#include "rt/override.h"
#include "streams/streams.h"

/* ---- Overrides ---- */

int pa_streams_remember(pa_state *st)
{
    static const char *const reader[] = {"_wait_for_data", "_wakeup_waiter", "_maybe_resume_transport", "feed_data", "feed_eof",
                                         "exception",      "readuntil",      "readline",                "read",      NULL};
    static const char *const protocol[] = {"_drain_helper", "_stream_reader", "data_received", NULL};
    st->reader_methods = pa_override_originals(st->StreamReader, (PyObject *)st->aio_StreamReader, reader);
    st->protocol_methods = pa_override_originals(st->StreamReaderProtocol, (PyObject *)st->aio_StreamReaderProtocol, protocol);
    return st->reader_methods != NULL && st->protocol_methods != NULL ? 0 : -1;
}

static bool instance_hides_none(PyObject *dict, PyObject *methods)
{
    Py_ssize_t pos = 0;
    PyObject *name, *original;
    while (PyDict_Next(methods, &pos, &name, &original)) {
        int found = PyDict_Contains(dict, name);
        if (found < 0)
            PyErr_Clear();
        if (found != 0)
            return false;
    }
    return true;
}

static inline bool has_own_methods(PyTypeObject *type, PyObject *dict, PyObject *methods, pa_override_cache *cache)
{
    return pa_override_none(type, methods, cache) && (dict == NULL || PyDict_GET_SIZE(dict) == 0 || instance_hides_none(dict, methods));
}

bool pa_reader_has_own_methods(pa_reader *self)
{
    return has_own_methods(Py_TYPE(self), self->dict, self->st->reader_methods, &self->st->reader_overrides);
}

bool pa_protocol_has_own_methods(pa_stream_protocol *self)
{
    return has_own_methods(Py_TYPE(self), self->dict, self->st->protocol_methods, &self->st->protocol_overrides);
}

PyObject *pa_streams_ask_asyncio(PyObject *aio_class, const char *name, PyObject *self, PyObject *arg)
{
    PyObject *method = PyObject_GetAttrString(aio_class, name);
    PyObject *result = method != NULL ? PyObject_CallFunctionObjArgs(method, self, arg, NULL) : NULL;
    Py_XDECREF(method);
    return result;
}

/* ---- The loop ---- */

int pa_streams_source_traceback(pa_state *st, PyObject *loop, PyObject **out)
{
    *out = NULL;
    PyObject *debug = PyObject_CallMethodNoArgs(loop, st->names.get_debug);
    int truth = debug != NULL ? PyObject_IsTrue(debug) : -1;
    Py_XDECREF(debug);
    if (truth > 0)
        truth = (*out = PyObject_CallNoArgs(st->extract_stack)) != NULL ? 0 : -1;
    return truth;
}

PyObject *pa_streams_future(pa_state *st, PyObject *loop)
{
    PyObject *owned = Py_NewRef(loop != NULL ? loop : Py_None); /* the attribute was deleted: an AttributeError in any case */
    PyObject *future = PyObject_CallMethodNoArgs(owned, st->names.create_future);
    Py_DECREF(owned);
    return future;
}

int pa_streams_wake(pa_state *st, PyObject *waiter)
{
    if (Py_IS_TYPE(waiter, st->Future))
        return pa_future_resolve(waiter, Py_None);
    PyObject *cancelled = PyObject_CallMethodNoArgs(waiter, st->names.cancelled);
    int truth = cancelled != NULL ? PyObject_IsTrue(cancelled) : -1;
    Py_XDECREF(cancelled);
    if (truth != 0)
        return truth < 0 ? -1 : 0;
    PyObject *result = PyObject_CallMethodOneArg(waiter, st->names.set_result, Py_None);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}
