/* What can be asked of a transport: its socket and extra info, made when asked for, and asyncio's private attributes.
 *
 * `_extra` is the dict that BaseTransport.get_extra_info() reads. asyncio fills it when the transport is made; here the first look does,
 * from the raw addresses kept since then, and from that moment it is an ordinary dict that anyone may change.
 */
#include "net/transport.h"

/* ---- The Python socket ---- */

/* socket.socket counts in _io_refs who still needs the descriptor: with one more, a close() behind our back is put off until the
 * transport is done, instead of leaving us with a number that the next connection may get. */
static int change_io_refs(pa_transport *self, int by)
{
    PyObject *refs = PyObject_GetAttr(self->sock, self->st->names._io_refs);
    if (refs == NULL)
        return -1;
    long value = PyLong_AsLong(refs);
    Py_DECREF(refs);
    if (value == -1 && PyErr_Occurred())
        return -1;
    PyObject *changed = PyLong_FromLong(value + by);
    int rc = changed != NULL ? PyObject_SetAttr(self->sock, self->st->names._io_refs, changed) : -1;
    Py_XDECREF(changed);
    return rc;
}

int pa_transport_hold_socket(pa_transport *self, PyObject *sock)
{
    int is_socket = PyObject_IsInstance(sock, self->st->socket_class);
    if (is_socket < 0)
        return -1;
    Py_XSETREF(self->sock, Py_NewRef(sock));
    if (is_socket && change_io_refs(self, 1) < 0)
        return -1;
    self->sock_held = is_socket;
    return 0;
}

/* socket.socket(family, type, proto, fd), non-blocking, which owns the descriptor from then on. */
static PyObject *wrap_fd(pa_transport *self)
{
    PyObject *sock =
        PyObject_CallFunction(self->st->socket_class, "iiii", self->family, self->type, self->proto, self->fd);
    if (sock == NULL)
        return NULL;
    PyObject *result = PyObject_CallMethodOneArg(sock, self->st->names.setblocking, Py_False);
    if (result == NULL || pa_transport_hold_socket(self, sock) < 0) {
        PyObject *exc = pa_err_take();
        Py_XDECREF(PyObject_CallMethod(sock, "detach", NULL));
        PyErr_Clear();
        Py_CLEAR(self->sock);
        Py_CLEAR(sock);
        pa_err_restore(exc);
    }
    Py_XDECREF(result);
    return sock;
}

/* The descriptor is gone, and no socket was ever made of it: one of the same kind, closed. */
static PyObject *make_closed_socket(pa_transport *self)
{
    PyObject *sock = PyObject_CallFunction(self->st->socket_class, "iii", self->family, self->type, self->proto);
    PyObject *result = sock != NULL ? PyObject_CallMethodNoArgs(sock, self->st->names.close) : NULL;
    if (result == NULL)
        Py_CLEAR(sock);
    Py_XDECREF(result);
    return sock;
}

PyObject *pa_transport_socket(pa_transport *self)
{
    if (self->sock != NULL)
        return Py_NewRef(self->sock);
    if (self->open)
        return wrap_fd(self);
    if (self->fd < 0)
        Py_RETURN_NONE;
    PyObject *sock = make_closed_socket(self);
    self->sock = Py_XNewRef(sock);
    return sock;
}

int pa_transport_close_fd(pa_transport *self)
{
    if (!self->open)
        return 0;
    self->open = false;
    if (self->sock == NULL) {
        pa_sys_close(self->fd); /* the descriptor is gone whatever it says */
        return 0;
    }
    PyObject *sock = Py_NewRef(self->sock);
    int rc = self->sock_held ? change_io_refs(self, -1) : 0;
    self->sock_held = false;
    PyObject *result = rc == 0 ? PyObject_CallMethodNoArgs(sock, self->st->names.close) : NULL;
    Py_XDECREF(result);
    Py_DECREF(sock);
    return result != NULL ? 0 : -1;
}

/* ---- Extra info ---- */

static int set_item(PyObject *dict, PyObject *key, PyObject *value)
{
    int rc = value != NULL ? PyObject_SetItem(dict, key, value) : -1;
    Py_XDECREF(value);
    return rc;
}

static int fill_extra(pa_transport *self, PyObject *extra)
{
    PyObject *sock = pa_transport_socket(self);
    if (sock == NULL)
        return -1;
    PyObject *wrapped = PyObject_CallOneArg(self->st->aio_TransportSocket, sock);
    Py_DECREF(sock);
    if (set_item(extra, self->st->names.socket, wrapped) < 0)
        return -1;
    if (self->named)
        return 0;
    if (set_item(extra, self->st->names.sockname, pa_address_object(self->local)) < 0)
        return -1;
    int has_peer = PySequence_Contains(extra, self->st->names.peername);
    if (has_peer != 0)
        return has_peer < 0 ? -1 : 0;
    return set_item(extra, self->st->names.peername, pa_address_object(self->peer));
}

static PyObject *get_extra(PyObject *op, void *closure)
{
    pa_transport *self = PA_TRANSPORT(op);
    if (self->extra == NULL && (self->extra = PyDict_New()) == NULL)
        return NULL;
    if (!self->extra_done && self->fd >= 0) {
        PyObject *extra = Py_NewRef(self->extra);
        self->extra_done = true;
        int rc = fill_extra(self, extra);
        Py_DECREF(extra);
        if (rc < 0) {
            self->extra_done = false;
            return NULL;
        }
    }
    return Py_NewRef(self->extra);
}

static int set_extra(PyObject *op, PyObject *value, void *closure)
{
    pa_transport *self = PA_TRANSPORT(op);
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_extra");
        return -1;
    }
    self->extra_done = true;
    Py_XSETREF(self->extra, Py_NewRef(value));
    return 0;
}

/* sock.getsockname() or getpeername(), None for an OSError. New. */
static PyObject *ask_socket(PyObject *sock, const char *method)
{
    PyObject *name = PyObject_CallMethod(sock, method, NULL);
    if (name == NULL && PyErr_ExceptionMatches(PyExc_OSError)) {
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    return name;
}

static int is_unknown(const pa_address *address)
{
    return address->len >= offsetof(struct sockaddr, sa_data) &&
           !pa_address_is_known(((const struct sockaddr *)address->raw)->sa_family);
}

int pa_transport_name_unknown_family(pa_transport *self)
{
    if (!is_unknown(self->local) && !is_unknown(self->peer))
        return 0;
    PyObject *sock = pa_transport_socket(self);
    if (sock == NULL)
        return -1;
    int rc = -1;
    if (self->extra == NULL && (self->extra = PyDict_New()) == NULL)
        goto done;
    if (set_item(self->extra, self->st->names.sockname, ask_socket(sock, "getsockname")) < 0)
        goto done;
    int has_peer = PySequence_Contains(self->extra, self->st->names.peername);
    if (has_peer < 0 || (!has_peer && set_item(self->extra, self->st->names.peername, ask_socket(sock, "getpeername")) < 0))
        goto done;
    self->named = true;
    rc = 0;
done:
    Py_DECREF(sock);
    return rc;
}

/* ---- repr and attributes ---- */

PyObject *pa_transport_repr(PyObject *op)
{
    pa_transport *self = PA_TRANSPORT(op);
    PyObject *name = PyType_GetName(Py_TYPE(op));
    if (name == NULL)
        return NULL;
    const char *state = !self->open ? " closed" : self->closing ? " closing" : "";
    PyObject *result;
    if (self->loop != NULL && !pa_loop_is_closed(self->loop))
        result = PyUnicode_FromFormat("<%U%s fd=%d read=%s write=<%s, bufsize=%zu>>", name, state, self->fd,
                                      self->watch.events & PA_POLL_IN ? "polling" : "idle",
                                      self->watch.events & PA_POLL_OUT ? "polling" : "idle",
                                      self->blocked ? self->queue.bytes : 0); /* what is put off counts as sent */
    else
        result = PyUnicode_FromFormat("<%U%s fd=%d>", name, state, self->fd);
    Py_DECREF(name);
    return result;
}

static PyObject *or_none(PyObject *object) { return Py_NewRef(object != NULL ? object : Py_None); }

static PyObject *get_sock(PyObject *op, void *closure)
{
    pa_transport *self = PA_TRANSPORT(op);
    if (!self->open)
        Py_RETURN_NONE;
    return pa_transport_socket(self);
}

static PyObject *get_sock_fd(PyObject *op, void *closure) { return PyLong_FromLong(PA_TRANSPORT(op)->fd); }
static PyObject *get_loop(PyObject *op, void *closure) { return or_none(PA_TRANSPORT(op)->loop_obj); }
static PyObject *get_protocol(PyObject *op, void *closure) { return or_none(PA_TRANSPORT(op)->protocol); }
static PyObject *get_server(PyObject *op, void *closure) { return or_none(PA_TRANSPORT(op)->server); }
static PyObject *get_empty_waiter(PyObject *op, void *closure) { return or_none(PA_TRANSPORT(op)->empty_waiter); }
static PyObject *get_conn_lost(PyObject *op, void *closure) { return PyLong_FromSsize_t(PA_TRANSPORT(op)->conn_lost); }
static PyObject *get_closing(PyObject *op, void *closure) { return PyBool_FromLong(PA_TRANSPORT(op)->closing); }
static PyObject *get_paused(PyObject *op, void *closure) { return PyBool_FromLong(PA_TRANSPORT(op)->paused); }
static PyObject *get_eof(PyObject *op, void *closure) { return PyBool_FromLong(PA_TRANSPORT(op)->eof); }
static PyObject *get_protocol_connected(PyObject *op, void *closure) { return PyBool_FromLong(PA_TRANSPORT(op)->fd >= 0); }

int pa_transport_setattr(PyObject *op, PyObject *name, PyObject *value)
{
    int rc = PyObject_GenericSetAttr(op, name, value);
    if (rc == 0 && PyUnicode_Check(name) && PyUnicode_Compare(name, PA_TRANSPORT(op)->st->names.write) == 0)
        PA_TRANSPORT(op)->own_write = value != NULL;
    return rc;
}

PyGetSetDef pa_transport_getsets[] = {
    {"_extra", get_extra, set_extra},
    {"_sock", get_sock},
    {"_sock_fd", get_sock_fd},
    {"_loop", get_loop},
    {"_protocol", get_protocol},
    {"_protocol_connected", get_protocol_connected},
    {"_server", get_server},
    {"_empty_waiter", get_empty_waiter},
    {"_conn_lost", get_conn_lost},
    {"_closing", get_closing},
    {"_paused", get_paused},
    {"_eof", get_eof},
    {NULL},
};
