/* Operations on a user's socket, for the coroutines around them. See sock_ops.c. */
#ifndef PA_NET_SOCK_OPS_H
#define PA_NET_SOCK_OPS_H

#include "rt/state.h"

typedef struct pa_sock_kind pa_sock_kind;

extern const pa_sock_kind pa_sock_recv, pa_sock_recv_into, pa_sock_recvfrom, pa_sock_sendall, pa_sock_sendto, pa_sock_accept;

/* asyncio's checks, then the first attempt, with what comes after the socket in `args`. 1: *result (new) is the result; 0: it is a future to
 * wait for; -1 with an exception. */
int pa_sock_begin(PyObject *loop, const pa_sock_kind *kind, PyObject *sock, PyObject *const *args, Py_ssize_t nargs, PyObject **result);

#endif
