/* Flow control of the write buffer: above `high` bytes the protocol is told to pause writing, at `low` or less to go on.
 *
 * asyncio takes any numbers that compare; the objects are kept to be given back, and whole bytes, rounded down and cut to what a size
 * can be, are what is compared. That is the same answer, because a buffer's size is an integer.
 */
#include "net/transport.h"
#include "rt/args.h"
#include "rt/error.h"
#include <math.h>

/* The protocol's method failed: the loop's handler is told. 0; -1 with SystemExit or KeyboardInterrupt. */
static int report_failure(pa_transport *self, const char *message)
{
    if (pa_error_is_exit())
        return -1;
    PyObject *exc = pa_err_take();
    int rc = 0;
    if (self->loop_obj != NULL) {
        PyObject *loop = Py_NewRef(self->loop_obj);
        PyObject *protocol = Py_NewRef(self->protocol != NULL ? self->protocol : Py_None);
        rc = pa_loop_report(loop, exc, message, "transport", (PyObject *)self, "protocol", protocol, NULL);
        Py_DECREF(protocol);
        Py_DECREF(loop);
    }
    Py_DECREF(exc);
    return rc;
}

int pa_flow_maybe_pause(pa_transport *self)
{
    if (self->queue.bytes <= self->high || self->protocol_paused || self->lost)
        return 0;
    self->protocol_paused = true;
    PyObject *result = pa_transport_call(self, self->st->names.pause_writing, NULL);
    if (result == NULL)
        return report_failure(self, "protocol.pause_writing() failed");
    Py_DECREF(result);
    return 0;
}

int pa_flow_maybe_resume(pa_transport *self)
{
    if (!self->protocol_paused || self->queue.bytes > self->low || self->lost)
        return 0;
    self->protocol_paused = false;
    PyObject *result = pa_transport_call(self, self->st->names.resume_writing, NULL);
    if (result == NULL)
        return report_failure(self, "protocol.resume_writing() failed");
    Py_DECREF(result);
    return 0;
}

/* ---- Limits ---- */

int pa_flow_limit_to_bytes(PyObject *limit, bool up, size_t *out)
{
    if (PyLong_Check(limit)) {
        int overflow;
        long long value = PyLong_AsLongLongAndOverflow(limit, &overflow);
        if (value == -1 && PyErr_Occurred())
            return -1;
        *out = overflow > 0 || value > PY_SSIZE_T_MAX ? (size_t)PY_SSIZE_T_MAX : (size_t)value;
        return 0;
    }
    double value = PyFloat_AsDouble(limit);
    if (value == -1.0 && PyErr_Occurred())
        return -1;
    *out = value >= (double)PY_SSIZE_T_MAX ? (size_t)PY_SSIZE_T_MAX : (size_t)(up ? ceil(value) : floor(value));
    return 0;
}

/* asyncio's defaults: high is 64 KiB, or four times a given low; low is a quarter of high. New references. */
static int complete_limits(PyObject **high, PyObject **low)
{
    PyObject *four = PyLong_FromLong(4);
    if (four == NULL)
        return -1;
    if (*high == NULL)
        *high = *low != NULL ? PyNumber_Multiply(four, *low) : PyLong_FromLong(64 * 1024);
    if (*high != NULL && *low == NULL)
        *low = PyNumber_FloorDivide(*high, four);
    Py_DECREF(four);
    return *high != NULL && *low != NULL ? 0 : -1;
}

static int check_limits(PyObject *high, PyObject *low)
{
    PyObject *zero = PyLong_FromLong(0);
    if (zero == NULL)
        return -1;
    int ok = PyObject_RichCompareBool(high, low, Py_GE);
    if (ok > 0)
        ok = PyObject_RichCompareBool(low, zero, Py_GE);
    Py_DECREF(zero);
    if (ok == 0)
        PyErr_Format(PyExc_ValueError, "high (%R) must be >= low (%R) must be >= 0", high, low);
    return ok > 0 ? 0 : -1;
}

static PyObject *set_write_buffer_limits(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"high", "low", NULL};
    static const pa_signature signature = {"set_write_buffer_limits", names, 2, 0};
    PyObject *v[PA_ARGS_MAX];
    if (pa_args_parse(op, &signature, args, nargs, kwnames, v) < 0)
        return NULL;
    pa_transport *self = PA_TRANSPORT(op);
    PyObject *high = v[0] != NULL && v[0] != Py_None ? Py_NewRef(v[0]) : NULL;
    PyObject *low = v[1] != NULL && v[1] != Py_None ? Py_NewRef(v[1]) : NULL;
    PyObject *result = NULL;
    size_t high_bytes, low_bytes;
    if (complete_limits(&high, &low) < 0 || check_limits(high, low) < 0 || pa_flow_limit_to_bytes(high, false, &high_bytes) < 0 ||
        pa_flow_limit_to_bytes(low, false, &low_bytes) < 0 || pa_stream_flush(self) < 0)
        goto done;
    self->high = high_bytes;
    self->low = low_bytes;
    Py_XSETREF(self->high_obj, Py_NewRef(high));
    Py_XSETREF(self->low_obj, Py_NewRef(low));
    if (pa_flow_maybe_pause(self) == 0)
        result = Py_NewRef(Py_None);
done:
    Py_XDECREF(high);
    Py_XDECREF(low);
    return result;
}

static PyObject *get_high(PyObject *op, void *closure)
{
    pa_transport *self = PA_TRANSPORT(op);
    return self->high_obj != NULL ? Py_NewRef(self->high_obj) : PyLong_FromSize_t(self->high);
}

static PyObject *get_low(PyObject *op, void *closure)
{
    pa_transport *self = PA_TRANSPORT(op);
    return self->low_obj != NULL ? Py_NewRef(self->low_obj) : PyLong_FromSize_t(self->low);
}

static PyObject *get_write_buffer_limits(PyObject *op, PyObject *unused)
{
    PyObject *low = get_low(op, NULL), *high = get_high(op, NULL);
    PyObject *result = low != NULL && high != NULL ? PyTuple_Pack(2, low, high) : NULL;
    Py_XDECREF(low);
    Py_XDECREF(high);
    return result;
}

static PyObject *get_write_buffer_size(PyObject *op, PyObject *unused)
{
    pa_transport *self = PA_TRANSPORT(op);
    if (pa_stream_flush(self) < 0)
        return NULL;
    return PyLong_FromSize_t(self->queue.bytes);
}

static PyObject *get_protocol_paused(PyObject *op, void *closure) { return PyBool_FromLong(PA_TRANSPORT(op)->protocol_paused); }

PA_NO_ARGS(get_write_buffer_limits, get_write_buffer_limits)
PA_NO_ARGS(get_write_buffer_size, get_write_buffer_size)

PyMethodDef pa_flow_methods[] = {
    {"set_write_buffer_limits", PA_WITH_KEYWORDS(set_write_buffer_limits),
     PyDoc_STR("set_write_buffer_limits($self, /, high=None, low=None)\n--\n\n"
               "Above `high` buffered bytes the protocol is paused, at `low` or less resumed.\n\n"
               "ValueError unless high >= low >= 0.")},
    {"get_write_buffer_limits", PA_NO_ARGS_METHOD(get_write_buffer_limits, get_write_buffer_limits),
     PyDoc_STR("get_write_buffer_limits($self, /)\n--\n\nThe pair (low, high), in bytes.")},
    {"get_write_buffer_size", PA_NO_ARGS_METHOD(get_write_buffer_size, get_write_buffer_size),
     PyDoc_STR("get_write_buffer_size($self, /)\n--\n\nHow many bytes wait to be sent.")},
    {NULL},
};

PyGetSetDef pa_flow_getsets[] = {
    {"_protocol_paused", get_protocol_paused},
    {"_high_water", get_high},
    {"_low_water", get_low},
    {NULL},
};
