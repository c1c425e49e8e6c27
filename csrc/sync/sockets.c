/* loop.sock_recv() and its kin: the coroutines around net/sock_ops.c. Arguments are looked at when the coroutine starts; one that need
 * not wait makes no future. sock_connect(), which resolves names, and sock_recvfrom_into() are in pyasync/sockets.py.
 */
#include "sync/sockets.h"
#include "sync/corofn.h"
#include "sync/op.h"
#include "core/loop.h"
#include "net/sock_ops.h"
#include "rt/args.h"

enum { START, WAITED };

typedef struct {
    pa_op_kind base;
    const pa_sock_kind *what;
    int count; /* of arguments behind the socket */
} sock_kind;

/* self: the loop, a: the socket, b, c: the other arguments. */
static PySendResult sock_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    if (op->step == WAITED) {
        if (thrown != NULL)
            return pa_op_raise(thrown);
        *result = pa_op_outcome(op);
        return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
    }
    const sock_kind *kind = (const sock_kind *)op->kind;
    PyObject *const args[] = {op->b, op->c}, *future;
    int done = pa_sock_begin(op->self, kind->what, op->a, args, kind->count, &future);
    if (done < 0)
        return PYGEN_ERROR;
    if (done > 0) {
        *result = future;
        return PYGEN_RETURN;
    }
    op->step = WAITED; /* and *result stays as it is: the future may have failed already */
    PySendResult how = pa_op_wait(op, future);
    Py_DECREF(future);
    return how;
}

static const sock_kind kinds[] = {
#define KIND(name, count) {{"sock_" #name, "BaseSelectorEventLoop.sock_" #name, sock_run, NULL}, &pa_sock_##name, count}
    KIND(recv, 1), KIND(recv_into, 1), KIND(recvfrom, 1), KIND(sendall, 1), KIND(sendto, 2), KIND(accept, 0),
#undef KIND
};

enum { RECV, RECV_INTO, RECVFROM, SENDALL, SENDTO, ACCEPT };

static PyObject *call(PyObject *loop, int which, const char *const *names, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    const sock_kind *kind = &kinds[which];
    const pa_signature sig = {kind->base.name, names, kind->count + 1, kind->count + 1};
    PyObject *given[3] = {NULL, NULL, NULL};
    if (pa_args_parse(loop, &sig, args, nargs, kwnames, given) < 0)
        return NULL;
    pa_op *op = (pa_op *)pa_op_new(pa_loop_state((pa_loop *)loop), &kind->base, loop);
    if (op == NULL)
        return NULL;
    op->a = Py_NewRef(given[0]);
    op->b = Py_XNewRef(given[1]);
    op->c = Py_XNewRef(given[2]);
    return (PyObject *)op;
}

static PyObject *sock_recv(PyObject *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"sock", "n", NULL};
    return call(loop, RECV, names, args, nargs, kwnames);
}

static PyObject *sock_recv_into(PyObject *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"sock", "buf", NULL};
    return call(loop, RECV_INTO, names, args, nargs, kwnames);
}

static PyObject *sock_recvfrom(PyObject *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"sock", "bufsize", NULL};
    return call(loop, RECVFROM, names, args, nargs, kwnames);
}

static PyObject *sock_sendall(PyObject *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"sock", "data", NULL};
    return call(loop, SENDALL, names, args, nargs, kwnames);
}

static PyObject *sock_sendto(PyObject *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"sock", "data", "address", NULL};
    return call(loop, SENDTO, names, args, nargs, kwnames);
}

static PyObject *sock_accept(PyObject *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"sock", NULL};
    return call(loop, ACCEPT, names, args, nargs, kwnames);
}

static const pa_corofn_def methods[] = {
#define METHOD(name, doc) {#name, "BaseSelectorEventLoop." #name, name, doc}
    METHOD(sock_recv, "sock_recv($self, sock, n)\n--\n\n"
                      "Receive up to n bytes; b'' at the end of the stream. The socket must be non-blocking."),
    METHOD(sock_recv_into, "sock_recv_into($self, sock, buf)\n--\n\nReceive into the writable buffer buf; return the number of bytes."),
    METHOD(sock_recvfrom, "sock_recvfrom($self, sock, bufsize)\n--\n\n"
                          "Receive a datagram of up to bufsize bytes; return (data, address)."),
    METHOD(sock_sendall, "sock_sendall($self, sock, data)\n--\n\n"
                         "Send all of data. After an error there is no telling how much of it was sent."),
    METHOD(sock_sendto, "sock_sendto($self, sock, data, address)\n--\n\nSend a datagram to address; return the number of bytes sent."),
    METHOD(sock_accept, "sock_accept($self, sock)\n--\n\n"
                        "Accept a connection on a listening socket; return (connection, address). The connection is\nnon-blocking."),
#undef METHOD
    {NULL, NULL, NULL, NULL},
};

int pa_sockets_setup(PyObject *module, pa_state *st)
{
    return pa_corofn_add_methods(st, st->EventLoop, methods);
}
