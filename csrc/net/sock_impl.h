/* What sock_ops.c, sock_call.c and sock_plain.c share. Nobody else includes this. */
#ifndef PA_NET_SOCK_IMPL_H
#define PA_NET_SOCK_IMPL_H

#include "core/loop.h"
#include "net/sock_ops.h"

#include <stdbool.h>

typedef struct pa_sock_op pa_sock_op;

/* How a plain socket does it: the system call that its method would make (sock_plain.c). */
typedef struct {
    int (*takes)(PyObject *const *args); /* whether that is all that the method would do, with these arguments */
    /* `sent` bytes have gone out before. The number of bytes (0: would block), or the result, new, in *result; -1 with an exception;
     * PA_SOCK_ASK, nothing done: the method has to. */
    Py_ssize_t (*call)(pa_loop *loop, PyObject *sock, int fd, PyObject *const *args, Py_ssize_t sent, PyObject **result);
} pa_sock_plain;

enum { PA_SOCK_ASK = -2 };

struct pa_sock_kind {
    const char *method;                     /* of the socket, looked up at every attempt */
    PyObject *(*attempt)(pa_sock_op *self); /* new; NULL with BlockingIOError to wait on, or another exception */
    int writing;
    int into_future;            /* what the first attempt raises goes through the future, after fileno() was asked */
    const pa_sock_plain *plain; /* NULL: nothing but the method */
};

struct pa_sock_op {
    PyObject_HEAD
    pa_state *st;      /* borrowed */
    PyObject *loop;    /* owned, as the rest */
    PyObject *sock;
    const pa_sock_kind *kind;
    PyObject *args;    /* a tuple: what the socket's method is called with */
    PyObject *view;    /* sendall: a memoryview of the data's bytes, once not all of it went out at the first attempt */
    PyObject *number;  /* what the socket's fileno() said */
    PyObject *future;  /* NULL until the first attempt would have blocked */
    PyObject *handle;  /* what add_reader or add_writer returned */
    Py_ssize_t sent;   /* sendall: bytes gone; connect: 1 when the call was made */
    int fd;            /* the descriptor, where loop_wait.c waits for it; else -1 */
    vectorcallfunc vectorcall;
};

/* ---- By the socket's methods (sock_call.c) ---- */

PyObject *pa_sock_call(pa_sock_op *self); /* the kind's method, and no more */
PyObject *pa_sock_call_send(pa_sock_op *self);
PyObject *pa_sock_call_accept(pa_sock_op *self);
PyObject *pa_sock_call_connect(pa_sock_op *self);
bool pa_sock_would_block(void); /* whether the raised exception means that the descriptor is not ready; clears it then */
int pa_sock_ask_number(pa_sock_op *self); /* sock.fileno(), asked once. 0 or -1 */
int pa_sock_check_free(pa_sock_op *self); /* asyncio's check before an operation waits: no transport may have the descriptor. 0 or -1 */
int pa_sock_view_data(pa_sock_op *self);  /* the data of sendall() as bytes, whatever its items are. 0 or -1 */

/* ---- By a system call (sock_plain.c) ---- */

extern const pa_sock_plain pa_sock_plain_recv, pa_sock_plain_recv_into, pa_sock_plain_recvfrom, pa_sock_plain_recvfrom_into;
extern const pa_sock_plain pa_sock_plain_send, pa_sock_plain_sendto, pa_sock_plain_accept;
/* The descriptor of a plain socket that never blocks; -1 for any other, or a closed one; -2 with an exception. */
int pa_sock_plain_descriptor(pa_state *st, PyObject *sock);
int pa_sock_plain_setup(pa_state *st);

#endif
