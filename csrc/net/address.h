/* Socket addresses, kept raw (a few dozen bytes, no Python objects) until someone asks: most connections are never asked. They are
 * taken when the connection is made, because after a reset the kernel no longer knows the peer. */
#ifndef PA_NET_ADDRESS_H
#define PA_NET_ADDRESS_H

#include "rt/compat.h"
#include "base/sys.h"

/* One address; len 0 means that there is none (None for Python). */
typedef struct {
    socklen_t len;
    unsigned char raw[];
} pa_address;

/* What the kernel says, or a copy of addr. New, freed with PyMem_Free; NULL with MemoryError. A socket without that name gives an
 * address of length 0. */
pa_address *pa_address_local(int fd);
pa_address *pa_address_peer(int fd);
pa_address *pa_address_copy(const struct sockaddr *addr, socklen_t len);

/* Whether pa_address_object knows the family (IPv4, IPv6, Unix); for the others ask the Python socket. */
int pa_address_is_known(int family);

/* As socket.getsockname() and getpeername() give it. New; NULL with an exception. */
PyObject *pa_address_object(const pa_address *address);

/* The same for an address that is not kept. */
PyObject *pa_address_object_raw(const struct sockaddr *addr, socklen_t len);

/* The other way round, as socket.sendto() reads an address of that family, if that takes no more than translating it: a numeric host,
 * a path; in exact str, int and tuple, which nobody can change. 1; 0 without an exception: ask the socket. */
int pa_address_parse(int family, PyObject *object, struct sockaddr_storage *out, socklen_t *len);

#endif
