/* What the stream classes share: whether a method is overridden, futures and wakeups. See streams.h. */
#include "core/future.h"
#include "streams/streams.h"

/* ---- Overrides ---- */

/* {name: what the class has under it}: the C half's own, else what it inherits from asyncio's. New. */
static PyObject *originals(PyTypeObject *native, PyObject *aio_class, const char *const *names)
{
    PyObject *found = PyDict_New();
    for (; found != NULL && *names != NULL; names++) {
        PyObject *name = PyUnicode_InternFromString(*names), *value = NULL;
        int rc = name != NULL ? pa_getattr_optional((PyObject *)native, name, &value) : -1;
        if (rc == 0)
            rc = (value = PyObject_GetAttr(aio_class, name)) != NULL ? 1 : -1;
        if (rc < 0 || PyDict_SetItem(found, name, value) < 0)
            Py_CLEAR(found);
        Py_XDECREF(name);
        Py_XDECREF(value);
    }
    return found;
}

int pa_streams_remember(pa_state *st)
{
    static const char *const reader[] = {"_wait_for_data", "_wakeup_waiter", "_maybe_resume_transport", "feed_data", "feed_eof",
                                         "exception",      "readuntil",      "readline",                "read",      NULL};
    static const char *const protocol[] = {"_drain_helper", "_stream_reader", "data_received", NULL};
    st->reader_methods = originals(st->StreamReader, st->aio_StreamReader, reader);
    st->protocol_methods = originals(st->StreamReaderProtocol, st->aio_StreamReaderProtocol, protocol);
    return st->reader_methods != NULL && st->protocol_methods != NULL ? 0 : -1;
}

/* Whether the class has exactly these under their names. 1, 0, -1. */
static int class_has(PyTypeObject *type, PyObject *methods)
{
    Py_ssize_t pos = 0;
    PyObject *name, *original;
    while (PyDict_Next(methods, &pos, &name, &original)) {
        PyObject *value;
        int rc = pa_getattr_optional((PyObject *)type, name, &value);
        Py_XDECREF(value);
        if (rc < 0 || value != original)
            return rc < 0 ? -1 : 0;
    }
    return 1;
}

static bool look_at_class(PyTypeObject *type, PyObject *methods, pa_override_cache *cache)
{
    PyObject *raised = pa_err_take();
    int rc = class_has(type, methods);
    if (rc < 0)
        PyErr_Clear(); /* a metaclass in the way: asyncio's methods will meet it */
    pa_err_restore(raised);
    pa_type_assign_version(type);
    *cache = (pa_override_cache){type, type->tp_version_tag, rc > 0};
    return cache->none;
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
    bool none = cache->tag != 0 && cache->tag == type->tp_version_tag && cache->type == type ? cache->none
                                                                                               : look_at_class(type, methods, cache);
    return none && (dict == NULL || PyDict_GET_SIZE(dict) == 0 || instance_hides_none(dict, methods));
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

void pa_streams_raise(PyObject *exc)
{
    if (PyExceptionInstance_Check(exc))
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
    else if (PyExceptionClass_Check(exc))
        PyErr_SetNone(exc);
    else
        PyErr_SetString(PyExc_TypeError, "exceptions must derive from BaseException");
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
