/* What the methods of a plain socket would do for loop.sock_*(), without them: a system call.
 *
 * Plain is exactly a socket.socket with nothing patched, and no time-out. Results and errors are the methods' own; what these do beside the
 * call (names to look up, audit events, an argument of another kind) is left to them. Each attempt looks anew, since a program may patch
 * the class, close the socket or give it a time-out while an operation waits.
 */
#include "net/sock_impl.h"
#include "base/sys.h"
#include "net/address.h"
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

/* Receives up to `count` bytes, which takes_count() has looked at. What the system call said; the bytes (new) if it went well, NULL with an
 * exception if there is no memory for them. The socket's method would make a bytes object of that size first, and cut it; the loop's
 * buffer is there already. */
static ssize_t receive_bytes(pa_loop *loop, int fd, PyObject *count_object, struct sockaddr_storage *from, socklen_t *len, PyObject **bytes)
{
    size_t count = (size_t)PyLong_AsLong(count_object), size;
    char *buffer = pa_loop_read_buffer(loop, &size);
    *bytes = NULL;
    if (buffer == NULL)
        return 0;
    if (count > size) {
        if ((*bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)count)) == NULL)
            return 0;
        buffer = PyBytes_AS_STRING(*bytes);
    }
    ssize_t rc = from == NULL ? pa_sys_recv(fd, buffer, count, MSG_DONTWAIT)
                              : pa_sys_recvfrom(fd, buffer, count, MSG_DONTWAIT, (struct sockaddr *)from, len);
    if (rc < 0)
        Py_CLEAR(*bytes);
    else if (*bytes == NULL)
        *bytes = PyBytes_FromStringAndSize(buffer, rc);
    else
        (void)_PyBytes_Resize(bytes, rc);
    return rc;
}

static Py_ssize_t call_recv(pa_loop *loop, PyObject *sock, int fd, PyObject *const *args, Py_ssize_t sent, PyObject **result)
{
    ssize_t rc = receive_bytes(loop, fd, args[0], NULL, NULL, result);
    if (rc < 0)
        return outcome_of(rc);
    return *result != NULL ? rc : -1;
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

/* sock.fileno() of a plain socket: -1 if it is closed, -2 with an exception. */
static int number_of(pa_state *st, PyObject *sock)
{
    PyObject *number = st->socket_fileno(sock, NULL);
    long fd = number != NULL ? PyLong_AsLong(number) : -1;
    Py_XDECREF(number);
    return fd == -1 && PyErr_Occurred() ? -2 : (int)fd;
}

/* ---- With addresses: of families whose addresses we know how to make and to read ---- */

/* The family, 0 for an unknown one, -1 with an exception. */
static int known_family(pa_state *st, PyObject *sock)
{
    PyObject *family = Py_TYPE(st->socket_family)->tp_descr_get(st->socket_family, sock, NULL);
    long value = family != NULL ? PyLong_AsLong(family) : -1;
    Py_XDECREF(family);
    if (value == -1 && PyErr_Occurred())
        return -1;
    return pa_address_is_known((int)value) ? (int)value : 0;
}

/* (what, address): steals `what`. As call() of pa_sock_plain. */
static Py_ssize_t with_address(PyObject *what, const struct sockaddr_storage *from, socklen_t len, PyObject **result)
{
    PyObject *address = what != NULL ? pa_address_object_raw((const struct sockaddr *)from, len) : NULL;
    *result = address != NULL ? PyTuple_Pack(2, what, address) : NULL;
    Py_XDECREF(what);
    Py_XDECREF(address);
    return *result != NULL ? 1 : -1;
}

static Py_ssize_t call_recvfrom(pa_loop *loop, PyObject *sock, int fd, PyObject *const *args, Py_ssize_t sent, PyObject **result)
{
    int family = known_family(pa_loop_state(loop), sock);
    if (family <= 0)
        return family < 0 ? -1 : PA_SOCK_ASK;
    struct sockaddr_storage from;
    socklen_t len = sizeof(from);
    PyObject *bytes;
    ssize_t rc = receive_bytes(loop, fd, args[0], &from, &len, &bytes);
    return rc < 0 ? outcome_of(rc) : with_address(bytes, &from, len, result);
}

/* recvfrom_into(buffer, nbytes) */
static int takes_part_of_buffer(PyObject *const *args)
{
    char *memory;
    return takes_count(args + 1) && plain_memory(args[0], 1, &memory) >= PyLong_AsLong(args[1]);
}

static Py_ssize_t call_recvfrom_into(pa_loop *loop, PyObject *sock, int fd, PyObject *const *args, Py_ssize_t sent, PyObject **result)
{
    int family = known_family(pa_loop_state(loop), sock);
    if (family <= 0)
        return family < 0 ? -1 : PA_SOCK_ASK;
    struct sockaddr_storage from;
    socklen_t len = sizeof(from);
    char *memory;
    (void)plain_memory(args[0], 1, &memory);
    ssize_t rc = pa_sys_recvfrom(fd, memory, (size_t)PyLong_AsLong(args[1]), MSG_DONTWAIT, (struct sockaddr *)&from, &len);
    return rc < 0 ? outcome_of(rc) : with_address(PyLong_FromSsize_t(rc), &from, len, result);
}

/* sendto(data, address) */
static int takes_datagram(PyObject *const *args)
{
    char *memory;
    return plain_memory(args[0], 0, &memory) >= 0;
}

static Py_ssize_t call_sendto(pa_loop *loop, PyObject *sock, int fd, PyObject *const *args, Py_ssize_t sent, PyObject **result)
{
    pa_state *st = pa_loop_state(loop);
    struct sockaddr_storage to;
    socklen_t len;
    int family = known_family(st, sock);
    if (family < 0)
        return -1;
    if (family == 0 || !pa_address_parse(family, args[1], &to, &len))
        return PA_SOCK_ASK;
    if (PySys_Audit("socket.sendto", "OO", sock, args[1]) < 0) /* as the method */
        return -1;
    char *memory;
    Py_ssize_t size = plain_memory(args[0], 0, &memory); /* the audit hook may have done anything to it, and to the socket */
    if ((fd = number_of(st, sock)) < -1)
        return -1;
    if (size < 0)
        return PA_SOCK_ASK;
    ssize_t rc = pa_sys_sendto(fd, memory, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&to, len);
    if (rc < 0)
        return outcome_of(rc);
    *result = PyLong_FromSsize_t(rc);
    return *result != NULL ? 1 : -1;
}

/* ---- accept() ---- */

static int takes_nothing(PyObject *const *args) { return 1; }

/* What socket.py's accept() makes a socket of, if it is that function which would be called: the class that is `socket` to it. New; NULL
 * without an exception for any other one. */
static PyObject *class_of_accepted(PyObject *sock)
{
    PyObject *method = PyObject_GetAttrString((PyObject *)Py_TYPE(sock), "accept"), *class = NULL;
    if (method != NULL && PyFunction_Check(method)) {
        PyObject *globals = PyFunction_GET_GLOBALS(method), *name = PyDict_GetItemString(globals, "__name__");
        if (name != NULL && PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, "socket") == 0)
            class = Py_XNewRef(PyDict_GetItemString(globals, "socket"));
    }
    Py_XDECREF(method);
    PyErr_Clear(); /* no accept() at all: calling it will say so */
    return class;
}

/* The socket object of an accepted connection, made as accept() makes it. New; NULL with an exception, and fd is closed. */
static PyObject *accepted_socket(PyObject *sock, PyObject *class, int fd)
{
    PyObject *family = PyObject_GetAttrString(sock, "family"), *type = NULL, *proto = NULL, *connection = NULL;
    if (family != NULL && (type = PyObject_GetAttrString(sock, "type")) != NULL &&
        (proto = PyObject_GetAttrString(sock, "proto")) != NULL)
        connection = PyObject_CallFunction(class, "OOOi", family, type, proto, fd);
    if (connection == NULL)
        (void)pa_sys_close(fd);
    Py_XDECREF(family);
    Py_XDECREF(type);
    Py_XDECREF(proto);
    return connection;
}

/* In vain accept() would raise a BlockingIOError, which, with a text in the user's language, costs several times as much as all the rest of
 * waiting for one. */
static Py_ssize_t call_accept(pa_loop *loop, PyObject *sock, int fd, PyObject *const *args, Py_ssize_t sent, PyObject **result)
{
    pa_state *st = pa_loop_state(loop);
    int family = known_family(st, sock);
    if (family < 0)
        return -1;
    PyObject *class = family > 0 ? class_of_accepted(sock) : NULL;
    if (class == NULL)
        return PA_SOCK_ASK;
    struct sockaddr_storage from;
    socklen_t len = sizeof(from);
    int rc = pa_sys_accept4(fd, (struct sockaddr *)&from, &len);
    if (rc < 0) {
        Py_DECREF(class);
        return outcome_of(rc);
    }
    PyObject *connection = accepted_socket(sock, class, rc);
    Py_DECREF(class);
    PyObject *done = connection != NULL ? PyObject_CallMethodOneArg(connection, st->names.setblocking, Py_False) : NULL;
    if (done == NULL)
        Py_CLEAR(connection);
    Py_XDECREF(done);
    return connection != NULL ? with_address(connection, &from, len, result) : -1;
}

const pa_sock_plain pa_sock_plain_recv = {takes_count, call_recv};
const pa_sock_plain pa_sock_plain_recv_into = {takes_buffer, call_recv_into};
const pa_sock_plain pa_sock_plain_recvfrom = {takes_count, call_recvfrom};
const pa_sock_plain pa_sock_plain_recvfrom_into = {takes_part_of_buffer, call_recvfrom_into};
const pa_sock_plain pa_sock_plain_send = {takes_data, call_send};
const pa_sock_plain pa_sock_plain_sendto = {takes_datagram, call_sendto};
const pa_sock_plain pa_sock_plain_accept = {takes_nothing, call_accept};

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
    return number_of(st, sock);
}

int pa_sock_plain_setup(pa_state *st)
{
    static const char *const methods[] = {"recv", "recv_into", "recvfrom", "recvfrom_into", "send", "sendto", "_accept", "fileno",
                                          "gettimeout", NULL};
    PyObject *base = NULL; /* socket.socket derives from it, and has its methods, unless a program patched it before we came */
    if (pa_import_from("socket", "socket", &st->socket_class) < 0 || pa_import_from("_socket", "socket", &base) < 0)
        return -1;
    st->socket_methods = pa_override_originals((PyTypeObject *)base, NULL, methods);
    st->socket_family = st->socket_methods != NULL ? PyObject_GetAttrString(base, "family") : NULL;
    int found = st->socket_family != NULL && pa_find_method(base, "fileno", METH_NOARGS, &st->socket_fileno) == 0 &&
                pa_find_method(base, "gettimeout", METH_NOARGS, &st->socket_gettimeout) == 0;
    Py_DECREF(base);
    return found ? 0 : -1;
}
