/* What the methods of a plain socket would do for loop.sock_*(), without them: a system call.
 *
 * Plain is exactly a socket.socket with nothing patched, and no time-out. Results and errors are the methods' own; what these do beside the
 * call (names to look up, audit events, an argument of another kind) is left to them. Each attempt looks anew, since a program may patch
 * the class, close the socket or give it a time-out while an operation waits.
 */
#include "net/sock_impl.h"
#include "base/sys.h"
#include "rt/error.h"
#include "rt/override.h"

#include <errno.h>

enum { TAKES_MAX = 1 << 24 }; /* more may be more memory than there is, which the method has to say at once */

/* recv(n), recvfrom(n) */
static int takes_count(PyObject *const *args)
{
    PyObject *n = args[0];
    if (!PyLong_CheckExact(n))
        return 0;
    int overflow;
    long count = PyLong_AsLongAndOverflow(n, &overflow);
    return count > 0 && count <= TAKES_MAX && overflow == 0;
}

/* The memory of a bytes, bytearray or ordinary memoryview object. Its size, or -1 for anything else. */
static Py_ssize_t plain_memory(PyObject *obj, int writable, char **memory)
{
    *memory = NULL;
    if (PyByteArray_CheckExact(obj)) {
        *memory = PyByteArray_AS_STRING(obj);
        return PyByteArray_GET_SIZE(obj);
    }
    if (PyBytes_CheckExact(obj) && !writable) {
        *memory = PyBytes_AS_STRING(obj);
        return PyBytes_GET_SIZE(obj);
    }
    if (!PyMemoryView_Check(obj) || ((PyMemoryViewObject *)obj)->flags & _Py_MEMORYVIEW_RELEASED)
        return -1;
    const Py_buffer *view = PyMemoryView_GET_BUFFER(obj);
    *memory = view->buf;
    return (view->readonly && writable) || view->ndim != 1 || !PyBuffer_IsContiguous(view, 'C') ? -1 : view->len;
}

/* recv_into(buffer) */
static int takes_buffer(PyObject *const *args)
{
    char *memory;
    return plain_memory(args[0], 1, &memory) > 0;
}

/* send(data): asyncio compares what went out with len(data) */
static int takes_data(PyObject *const *args)
{
    PyObject *data = args[0];
    char *memory;
    return plain_memory(data, 0, &memory) >= 0 && (!PyMemoryView_Check(data) || PyMemoryView_GET_BUFFER(data)->itemsize == 1);
}

/* What a system call said: itself, 0 if the descriptor is not ready, -1 with the exception that the socket's method would have raised. */
static Py_ssize_t outcome_of(ssize_t rc)
{
    if (rc >= 0)
        return rc;
    if (rc == -EAGAIN || rc == -EWOULDBLOCK)
        return 0;
    pa_error_from_errno(rc);
    return -1;
}

/* The socket's method would make a bytes object of n bytes first, and cut it; the loop's buffer is there already. */
static Py_ssize_t call_recv(pa_loop *loop, PyObject *sock, int fd, PyObject *const *args, Py_ssize_t sent, PyObject **result)
{
    size_t count = (size_t)PyLong_AsLong(args[0]), size;
    char *buffer = pa_loop_read_buffer(loop, &size);
    PyObject *bytes = NULL;
    if (buffer == NULL)
        return -1;
    if (count > size) {
        if ((bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)count)) == NULL)
            return -1;
        buffer = PyBytes_AS_STRING(bytes);
    }
    ssize_t rc = pa_sys_recv(fd, buffer, count, MSG_DONTWAIT);
    if (rc < 0) {
        Py_XDECREF(bytes);
        return outcome_of(rc);
    }
    if (bytes == NULL)
        bytes = PyBytes_FromStringAndSize(buffer, rc);
    else
        (void)_PyBytes_Resize(&bytes, rc);
    *result = bytes;
    return bytes != NULL ? rc : -1;
}

static Py_ssize_t call_recv_into(pa_loop *loop, PyObject *sock, int fd, PyObject *const *args, Py_ssize_t sent, PyObject **result)
{
    char *memory;
    Py_ssize_t size = plain_memory(args[0], 1, &memory);
    ssize_t rc = pa_sys_recv(fd, memory, (size_t)size, MSG_DONTWAIT);
    if (rc < 0)
        return outcome_of(rc);
    *result = PyLong_FromSsize_t(rc);
    return *result != NULL ? rc : -1;
}

static Py_ssize_t call_send(pa_loop *loop, PyObject *sock, int fd, PyObject *const *args, Py_ssize_t sent, PyObject **result)
{
    char *memory;
    Py_ssize_t rest = plain_memory(args[0], 0, &memory) - sent;
    Py_ssize_t n = outcome_of(pa_sys_send(fd, memory + sent, (size_t)rest, MSG_DONTWAIT));
    if (n == rest)
        *result = Py_NewRef(Py_None);
    return n;
}

/* Looking (MSG_PEEK) at no bytes, which moves no offset of SO_PEEK_OFF, is harmless in these; CAN's sockets refuse it, AF_ALG's give away
 * what they show. 1, 0 or -1. */
static int can_peek(pa_state *st, PyObject *sock)
{
    PyObject *family = Py_TYPE(st->socket_family)->tp_descr_get(st->socket_family, sock, NULL);
    long value = family != NULL ? PyLong_AsLong(family) : -1;
    Py_XDECREF(family);
    if (value == -1 && PyErr_Occurred())
        return -1;
    return value == AF_INET || value == AF_INET6 || value == AF_UNIX;
}

/* Whether the first attempt of a plain socket would only raise BlockingIOError, which, with a text in the user's language, costs several
 * times as much as all the rest of waiting for one. Then there is no attempt. 1, 0, or -1 with an error: the kernel gives it out once. */
static int is_vain(pa_state *st, PyObject *sock, int fd)
{
    int peeks = can_peek(st, sock);
    if (peeks <= 0)
        return peeks;
    char nothing;
    int rc = (int)pa_sys_recv(fd, &nothing, 0, MSG_PEEK | MSG_DONTWAIT);
    if (rc >= 0 || rc == -EAGAIN || rc == -EWOULDBLOCK)
        return rc < 0;
    pa_error_from_errno(rc);
    return -1;
}

/* recvfrom() gives an address, too, which only the method knows how to make of every family's. */
static Py_ssize_t call_recvfrom(pa_loop *loop, PyObject *sock, int fd, PyObject *const *args, Py_ssize_t sent, PyObject **result)
{
    int vain = is_vain(pa_loop_state(loop), sock, fd);
    return vain > 0 ? 0 : vain < 0 ? -1 : PA_SOCK_ASK;
}

const pa_sock_plain pa_sock_plain_recv = {takes_count, call_recv};
const pa_sock_plain pa_sock_plain_recv_into = {takes_buffer, call_recv_into};
const pa_sock_plain pa_sock_plain_recvfrom = {takes_count, call_recvfrom};
const pa_sock_plain pa_sock_plain_send = {takes_data, call_send};

/* ---- Which sockets are plain ---- */

int pa_sock_plain_descriptor(pa_state *st, PyObject *sock)
{
    if (Py_TYPE(sock) != (PyTypeObject *)st->socket_class ||
        !pa_override_none(Py_TYPE(sock), st->socket_methods, &st->socket_overrides))
        return -1;
    PyObject *timeout = st->socket_gettimeout(sock, NULL);
    if (timeout == NULL)
        return -2;
    int blocks = !PyFloat_CheckExact(timeout) || PyFloat_AS_DOUBLE(timeout) != 0.0;
    Py_DECREF(timeout);
    if (blocks)
        return -1;
    PyObject *number = st->socket_fileno(sock, NULL);
    long fd = number != NULL ? PyLong_AsLong(number) : -1;
    Py_XDECREF(number);
    return fd == -1 && PyErr_Occurred() ? -2 : (int)fd;
}

/* The C function of a method without arguments, which saves the call's way there. 0 or -1. */
static int find_method(PyObject *type, const char *name, PyCFunction *function)
{
    PyObject *descr = PyObject_GetAttrString(type, name);
    if (descr == NULL)
        return -1;
    const PyMethodDef *def = Py_IS_TYPE(descr, &PyMethodDescr_Type) ? ((PyMethodDescrObject *)descr)->d_method : NULL;
    int found = def != NULL && def->ml_flags == METH_NOARGS;
    if (found)
        *function = def->ml_meth;
    else
        PyErr_Format(PyExc_ImportError, "sockets have no method %s() in C", name);
    Py_DECREF(descr);
    return found ? 0 : -1;
}

int pa_sock_plain_setup(pa_state *st)
{
    static const char *const methods[] = {"recv", "recv_into", "recvfrom", "send", "fileno", "gettimeout", NULL};
    PyObject *base = NULL; /* socket.socket derives from it, and has its methods, unless a program patched it before we came */
    if (pa_import_from("socket", "socket", &st->socket_class) < 0 || pa_import_from("_socket", "socket", &base) < 0)
        return -1;
    st->socket_methods = pa_override_originals((PyTypeObject *)base, NULL, methods);
    st->socket_family = st->socket_methods != NULL ? PyObject_GetAttrString(base, "family") : NULL;
    int found = st->socket_family != NULL && find_method(base, "fileno", &st->socket_fileno) == 0 &&
                find_method(base, "gettimeout", &st->socket_gettimeout) == 0;
    Py_DECREF(base);
    return found ? 0 : -1;
}
