/* Who has a descriptor: a transport of ours, or one of asyncio's own, refuses others as long as it is not closing.
 *
 * A transport of ours is the owner of the descriptor's watch; the others are in loop._transports, which nobody else fills. Asking may run a
 * transport's code.
 */
#include "core/loop_impl.h"
#include "rt/error.h"

/* Whether `owner` is a transport that is not closing: 0, 1 or -1. */
static int is_live_transport(pa_state *st, PyObject *owner)
{
    PyObject *method;
    int rc = pa_getattr_optional(owner, st->names.is_closing, &method);
    if (rc <= 0)
        return rc;
    PyObject *closing = PyObject_CallNoArgs(method);
    Py_DECREF(method);
    rc = closing != NULL ? PyObject_IsTrue(closing) : -1;
    Py_XDECREF(closing);
    return rc < 0 ? -1 : !rc;
}

static int raise_used(PyObject *fd, PyObject *transport)
{
    PyErr_Format(PyExc_RuntimeError, "File descriptor %R is used by transport %R", fd, transport);
    return -1;
}

/* Whether nobody is in loop._transports. It is a WeakValueDictionary, whose methods are Python code: its dict tells faster. 1, 0 or -1. */
static int has_no_python_transports(pa_loop *loop)
{
    PyObject *map = loop->cold[PA_COLD_TRANSPORTS];
    if (map == NULL)
        return 1;
    if (map != loop->cold[PA_COLD_TRANSPORTS_SEEN]) {
        PyObject *data = NULL;
        if (Py_TYPE(map) == (PyTypeObject *)loop->st->WeakValueDictionary && pa_getattr_optional(map, loop->st->names.data, &data) < 0)
            return -1;
        if (data != NULL && !PyDict_CheckExact(data))
            Py_CLEAR(data);
        Py_XSETREF(loop->cold[PA_COLD_TRANSPORTS_SEEN], Py_NewRef(map));
        Py_XSETREF(loop->cold[PA_COLD_TRANSPORTS_DATA], data);
    }
    PyObject *data = loop->cold[PA_COLD_TRANSPORTS_DATA];
    return data != NULL && PyDict_GET_SIZE(data) == 0;
}

/* asyncio's own transports register themselves in loop._transports. */
static int check_python_transports(pa_loop *loop, int fd, PyObject *shown)
{
    int rc = has_no_python_transports(loop);
    if (rc != 0)
        return rc < 0 ? -1 : 0;
    PyObject *transports = Py_NewRef(loop->cold[PA_COLD_TRANSPORTS]), *key = NULL, *transport = NULL;
    rc = -1;
    if ((key = PyLong_FromLong(fd)) == NULL ||
        (transport = PyObject_CallMethodOneArg(transports, loop->st->names.get, key)) == NULL)
        goto done;
    rc = transport == Py_None ? 0 : is_live_transport(loop->st, transport);
    if (rc > 0)
        rc = raise_used(shown, transport);
done:
    Py_XDECREF(transport);
    Py_XDECREF(key);
    Py_DECREF(transports);
    return rc;
}

/* `shown`: the descriptor as the user gave it. 0, or -1 with RuntimeError. */
int pa_loop_check_free_of(pa_loop *loop, int fd, PyObject *shown)
{
    pa_fd_slot *slot = pa_loop_find_slot(loop, fd);
    if (slot != NULL && slot->watch != NULL && slot->watch->owner != (PyObject *)loop) {
        PyObject *owner = Py_NewRef(slot->watch->owner);
        int live = is_live_transport(loop->st, owner);
        if (live > 0)
            live = raise_used(shown, owner);
        Py_DECREF(owner);
        if (live < 0)
            return -1;
    }
    return check_python_transports(loop, fd, shown);
}

int pa_loop_check_free(pa_loop *loop, int fd)
{
    if ((fd >= loop->fds_len || loop->fds[fd].watch == NULL) && has_no_python_transports(loop) > 0)
        return 0;
    PyObject *shown = PyLong_FromLong(fd);
    int rc = shown != NULL ? pa_loop_check_free_of(loop, fd, shown) : -1;
    Py_XDECREF(shown);
    return rc;
}
