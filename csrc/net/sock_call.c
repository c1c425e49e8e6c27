/* The attempts of loop.sock_*() by the methods of the socket, whatever class it is of: addresses, flags and error texts are theirs.
 *
 * An attempt belongs to the operation, which the caller owns; a method may do anything, even close the loop.
 */
#include "net/sock_impl.h"

#include <sys/socket.h>

static PyObject *only_arg(pa_sock_op *self) { return PyTuple_GET_ITEM(self->args, 0); }

bool pa_sock_would_block(void)
{
    if (!PyErr_ExceptionMatches(PyExc_BlockingIOError) && !PyErr_ExceptionMatches(PyExc_InterruptedError))
        return false;
    PyErr_Clear();
    return true;
}

int pa_sock_ask_number(pa_sock_op *self)
{
    if (self->number == NULL)
        self->number = PyObject_CallMethodNoArgs(self->sock, self->st->names.fileno);
    return self->number != NULL ? 0 : -1;
}

int pa_sock_check_free(pa_sock_op *self)
{
    PyObject *checked = pa_sock_ask_number(self) == 0
                            ? PyObject_CallMethodOneArg(self->loop, self->st->names._ensure_fd_no_transport, self->number)
                            : NULL;
    Py_XDECREF(checked);
    return checked != NULL ? 0 : -1;
}

PyObject *pa_sock_call(pa_sock_op *self)
{
    PyObject *method = PyObject_GetAttrString(self->sock, self->kind->method);
    PyObject *result = method != NULL ? PyObject_Call(method, self->args, NULL) : NULL;
    Py_XDECREF(method);
    return result;
}

int pa_sock_view_data(pa_sock_op *self)
{
    PyObject *view = PyMemoryView_FromObject(only_arg(self));
    if (view == NULL)
        return -1;
    const Py_buffer *buffer = PyMemoryView_GET_BUFFER(view);
    if (buffer->ndim != 1 || buffer->itemsize != 1)
        Py_SETREF(view, PyObject_CallMethod(view, "cast", "s", "B"));
    self->view = view;
    return view != NULL ? 0 : -1;
}

/* How many bytes went out: a number that a socket, or what looks like one, returned. Steals it. -1 with an exception. */
static Py_ssize_t count_sent(PyObject *sent)
{
    Py_ssize_t n = sent != NULL ? PyNumber_AsSsize_t(sent, PyExc_OverflowError) : -1;
    Py_XDECREF(sent);
    if (n < 0 && !PyErr_Occurred())
        PyErr_Format(PyExc_ValueError, "send() returned %zd", n);
    return n;
}

/* The first attempt gets the data as it is. What it leaves, and whatever has to wait, is looked at as bytes. */
static PyObject *begin_send(pa_sock_op *self)
{
    PyObject *data = only_arg(self), *sent = PyObject_CallMethod(self->sock, self->kind->method, "(O)", data);
    int blocked = sent == NULL;
    if (blocked && (!pa_sock_would_block() || (sent = PyLong_FromLong(0)) == NULL))
        return NULL;
    Py_ssize_t len = PyObject_Length(data);
    PyObject *all = len >= 0 ? PyLong_FromSsize_t(len) : NULL;
    int done = all != NULL ? PyObject_RichCompareBool(sent, all, Py_EQ) : -1;
    Py_XDECREF(all);
    if (done > 0 && !PyBytes_Check(data) && !PyByteArray_Check(data) && PyObject_CheckBuffer(data))
        done = blocked; /* the length is of items, not of bytes */
    if (done != 0) {
        Py_DECREF(sent);
        return done > 0 ? Py_NewRef(Py_None) : NULL;
    }
    if (pa_sock_check_free(self) < 0 || pa_sock_view_data(self) < 0) {
        Py_DECREF(sent);
        return NULL;
    }
    self->sent = count_sent(sent);
    if (self->sent < 0)
        return NULL;
    if (self->sent >= PyMemoryView_GET_BUFFER(self->view)->len)
        Py_RETURN_NONE;
    PyErr_SetNone(PyExc_BlockingIOError);
    return NULL;
}

PyObject *pa_sock_call_send(pa_sock_op *self)
{
    if (self->view == NULL)
        return begin_send(self);
    Py_ssize_t len = PyMemoryView_GET_BUFFER(self->view)->len;
    PyObject *rest = PySequence_GetSlice(self->view, self->sent, len);
    Py_ssize_t n = rest != NULL ? count_sent(PyObject_CallMethod(self->sock, self->kind->method, "O", rest)) : -1;
    Py_XDECREF(rest);
    if (n < 0)
        return NULL;
    if (n >= len - self->sent)
        Py_RETURN_NONE;
    self->sent += n;
    PyErr_SetNone(PyExc_BlockingIOError);
    return NULL;
}

/* What accept() returned as (connection, address). Steals it. New, or NULL with what unpacking it says. */
static PyObject *as_pair(PyObject *accepted)
{
    PyObject *pair = NULL;
    if (PyTuple_CheckExact(accepted))
        pair = Py_NewRef(accepted);
    else if (Py_TYPE(accepted)->tp_iter == NULL && !PySequence_Check(accepted))
        PyErr_Format(PyExc_TypeError, "cannot unpack non-iterable %.200s object", Py_TYPE(accepted)->tp_name);
    else
        pair = PySequence_Tuple(accepted);
    Py_DECREF(accepted);
    if (pair != NULL && PyTuple_GET_SIZE(pair) != 2) {
        if (PyTuple_GET_SIZE(pair) < 2)
            PyErr_Format(PyExc_ValueError, "not enough values to unpack (expected 2, got %zd)", PyTuple_GET_SIZE(pair));
        else
            PyErr_SetString(PyExc_ValueError, "too many values to unpack (expected 2)");
        Py_CLEAR(pair);
    }
    return pair;
}

PyObject *pa_sock_call_accept(pa_sock_op *self)
{
    PyObject *accepted = PyObject_CallMethod(self->sock, self->kind->method, NULL);
    PyObject *pair = accepted != NULL ? as_pair(accepted) : NULL;
    if (pair == NULL)
        return NULL;
    PyObject *result = PyObject_CallMethodOneArg(PyTuple_GET_ITEM(pair, 0), self->st->names.setblocking, Py_False);
    if (result == NULL)
        Py_CLEAR(pair);
    Py_XDECREF(result);
    return pair;
}

/* The connect() that was begun has ended: how is in SO_ERROR. */
static PyObject *finish_connect(pa_sock_op *self)
{
    PyObject *error = PyObject_CallMethod(self->sock, "getsockopt", "ii", SOL_SOCKET, SO_ERROR);
    long code = error != NULL ? PyLong_AsLong(error) : -1;
    Py_XDECREF(error);
    if (code == -1 && PyErr_Occurred())
        return NULL;
    if (code == 0)
        Py_RETURN_NONE;
    PyObject *text = PyUnicode_FromFormat("Connect call failed %S", only_arg(self));
    PyObject *exc = text != NULL ? PyObject_CallFunction(PyExc_OSError, "lN", code, text) : NULL;
    if (exc != NULL)
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
    Py_XDECREF(exc);
    return NULL;
}

PyObject *pa_sock_call_connect(pa_sock_op *self)
{
    if (self->sent)
        return finish_connect(self);
    self->sent = 1;
    PyObject *result = pa_sock_call(self);
    if (result == NULL)
        return NULL;
    Py_DECREF(result);
    Py_RETURN_NONE;
}
