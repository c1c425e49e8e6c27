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

static PyObject *inet_object(const struct sockaddr_in *addr)
{
    char host[INET_ADDRSTRLEN];
    if (inet_ntop(AF_INET, &addr->sin_addr, host, sizeof(host)) == NULL)
        return PyErr_SetFromErrno(PyExc_OSError);
    return Py_BuildValue("si", host, (int)ntohs(addr->sin_port));
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

PyObject *pa_address_object(const pa_address *address)
{
    if (address->len == 0)
        Py_RETURN_NONE;
    struct sockaddr_storage storage = {0};
    memcpy(&storage, address->raw, address->len);
    switch (storage.ss_family) {
    case AF_INET:
        return inet_object((struct sockaddr_in *)&storage);
    case AF_INET6:
        return inet6_object((struct sockaddr_in6 *)&storage);
    case AF_UNIX:
        return unix_object((struct sockaddr_un *)&storage, address->len);
    }
    PyErr_Format(PyExc_SystemError, "address of unknown family %d", (int)storage.ss_family);
    return NULL;
}
