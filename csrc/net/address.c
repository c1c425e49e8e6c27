/* See address.h. */
#include "net/address.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

pa_address *pa_address_copy(const struct sockaddr *addr, socklen_t len)
{
    pa_address *address = PyMem_Malloc(sizeof(pa_address) + len);
    if (address == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    address->len = len;
    memcpy(address->raw, addr, len);
    return address;
}

static pa_address *ask(int fd, int (*call)(int, struct sockaddr *, socklen_t *))
{
    struct sockaddr_storage storage;
    socklen_t len = sizeof(storage);
    if (call(fd, (struct sockaddr *)&storage, &len) < 0)
        len = 0;
    if (len > sizeof(storage))
        len = sizeof(storage);
    return pa_address_copy((struct sockaddr *)&storage, len);
}

pa_address *pa_address_local(int fd) { return ask(fd, pa_sys_getsockname); }

pa_address *pa_address_peer(int fd) { return ask(fd, pa_sys_getpeername); }

int pa_address_is_known(int family) { return family == AF_INET || family == AF_INET6 || family == AF_UNIX; }

/* Decimal digits of 0 to 255 at `to`; behind the last one. */
static char *put_byte(char *to, unsigned number)
{
    if (number >= 100)
        *to++ = (char)('0' + number / 100);
    if (number >= 10)
        *to++ = (char)('0' + number / 10 % 10);
    *to++ = (char)('0' + number % 10);
    return to;
}

/* ('1.2.3.4', 80). Written by hand: a datagram server makes one for each new peer, and inet_ntop() goes through printf. */
static PyObject *inet_object(const struct sockaddr_in *addr)
{
    char host[INET_ADDRSTRLEN], *end = host;
    const unsigned char *bytes = (const unsigned char *)&addr->sin_addr;
    for (int i = 0; i < 4; i++) {
        if (i > 0)
            *end++ = '.';
        end = put_byte(end, bytes[i]);
    }
    PyObject *text = PyUnicode_FromStringAndSize(host, end - host), *port = PyLong_FromLong(ntohs(addr->sin_port));
    PyObject *pair = text != NULL && port != NULL ? PyTuple_Pack(2, text, port) : NULL;
    Py_XDECREF(text);
    Py_XDECREF(port);
    return pair;
}

static PyObject *inet6_object(const struct sockaddr_in6 *addr)
{
    char host[INET6_ADDRSTRLEN];
    if (inet_ntop(AF_INET6, &addr->sin6_addr, host, sizeof(host)) == NULL)
        return PyErr_SetFromErrno(PyExc_OSError);
    return Py_BuildValue("siII", host, (int)ntohs(addr->sin6_port), (unsigned)ntohl(addr->sin6_flowinfo),
                         (unsigned)addr->sin6_scope_id);
}

/* A path; '' for an unnamed socket; bytes for a name in Linux's abstract space (it starts with a NUL and may hold more of them). */
static PyObject *unix_object(const struct sockaddr_un *addr, socklen_t len)
{
    size_t size = len > offsetof(struct sockaddr_un, sun_path) ? len - offsetof(struct sockaddr_un, sun_path) : 0;
#ifdef __linux__
    if (size > 0 && addr->sun_path[0] == '\0')
        return PyBytes_FromStringAndSize(addr->sun_path, (Py_ssize_t)size);
#endif
    return PyUnicode_DecodeFSDefaultAndSize(addr->sun_path, (Py_ssize_t)strnlen(addr->sun_path, size));
}

PyObject *pa_address_object_raw(const struct sockaddr *addr, socklen_t len)
{
    if (len == 0)
        Py_RETURN_NONE;
    struct sockaddr_storage storage = {0};
    memcpy(&storage, addr, len);
    switch (storage.ss_family) {
    case AF_INET:
        return inet_object((struct sockaddr_in *)&storage);
    case AF_INET6:
        return inet6_object((struct sockaddr_in6 *)&storage);
    case AF_UNIX:
        return unix_object((struct sockaddr_un *)&storage, len);
    }
    PyErr_Format(PyExc_SystemError, "address of unknown family %d", (int)storage.ss_family);
    return NULL;
}

PyObject *pa_address_object(const pa_address *address)
{
    return pa_address_object_raw((const struct sockaddr *)address->raw, address->len);
}

/* ---- From Python ---- */

/* An exact int from 0 to max. 1 or 0. */
static int parse_number(PyObject *object, unsigned long max, unsigned long *out)
{
    if (!PyLong_CheckExact(object))
        return 0;
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow || value < 0 || (unsigned long long)value > max)
        return 0;
    *out = (unsigned long)value;
    return 1;
}

/* (host, port, ...) with a numeric host. 1 or 0. */
static int parse_host_port(PyObject *object, int family, void *host, in_port_t *port)
{
    if (!PyTuple_CheckExact(object) || PyTuple_GET_SIZE(object) < 2 || !PyUnicode_CheckExact(PyTuple_GET_ITEM(object, 0)))
        return 0;
    Py_ssize_t len;
    unsigned long number;
    const char *text = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(object, 0), &len);
    if (text == NULL) {
        PyErr_Clear(); /* the socket will say what is wrong with it */
        return 0;
    }
    if (strlen(text) != (size_t)len || inet_pton(family, text, host) != 1 ||
        !parse_number(PyTuple_GET_ITEM(object, 1), 0xffff, &number))
        return 0;
    *port = htons((uint16_t)number);
    return 1;
}

static int parse_inet6(PyObject *object, struct sockaddr_in6 *addr)
{
    unsigned long flow = 0, scope = 0;
    if (!parse_host_port(object, AF_INET6, &addr->sin6_addr, &addr->sin6_port) || PyTuple_GET_SIZE(object) > 4)
        return 0;
    if (PyTuple_GET_SIZE(object) > 2 && !parse_number(PyTuple_GET_ITEM(object, 2), 0xfffff, &flow))
        return 0;
    if (PyTuple_GET_SIZE(object) > 3 && !parse_number(PyTuple_GET_ITEM(object, 3), 0xffffffff, &scope))
        return 0;
    addr->sin6_flowinfo = htonl((uint32_t)flow);
    addr->sin6_scope_id = (uint32_t)scope;
    return 1;
}

/* A path; not a name in the abstract space. */
static int parse_unix(PyObject *object, struct sockaddr_un *addr, socklen_t *len)
{
    PyObject *bytes = PyBytes_CheckExact(object)     ? Py_NewRef(object)
                      : PyUnicode_CheckExact(object) ? PyUnicode_EncodeFSDefault(object)
                                                     : NULL;
    if (bytes == NULL) {
        PyErr_Clear();
        return 0;
    }
    size_t size = (size_t)PyBytes_GET_SIZE(bytes);
    int usable = size > 0 && size < sizeof(addr->sun_path) && PyBytes_AS_STRING(bytes)[0] != '\0';
    if (usable) {
        memcpy(addr->sun_path, PyBytes_AS_STRING(bytes), size);
        *len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + 1);
    }
    Py_DECREF(bytes);
    return usable;
}

int pa_address_parse(int family, PyObject *object, struct sockaddr_storage *out, socklen_t *len)
{
    memset(out, 0, sizeof(*out));
    out->ss_family = (sa_family_t)family;
    struct sockaddr_in *inet = (struct sockaddr_in *)out;
    switch (family) {
    case AF_INET:
        *len = sizeof(struct sockaddr_in);
        return parse_host_port(object, AF_INET, &inet->sin_addr, &inet->sin_port) && PyTuple_GET_SIZE(object) == 2;
    case AF_INET6:
        *len = sizeof(struct sockaddr_in6);
        return parse_inet6(object, (struct sockaddr_in6 *)out);
    case AF_UNIX:
        return parse_unix(object, (struct sockaddr_un *)out, len);
    }
    return 0;
}
