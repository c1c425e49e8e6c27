/* sendfile(2) from a file to a user's socket, as asyncio's _sock_sendfile_native() does it: tried at once, and again whenever the socket
 * takes more, one call per report of the poller, until the file ends or `count` bytes have gone.
 *
 * What asyncio does, and is done here as well: the file's own position plays no part until the end, when it is put behind what was
 * sent; a part that went out is followed by a wait, even if it was the last; the first call's failure means "not with this file"
 * (SendfileNotAvailableError), a later one's is the connection's; a wait that is cancelled leaves the position as it was.
 *
 * It is for plain things only: a socket.socket that nobody patched, numbers that are ints, a loop none of whose methods that asyncio would
 * call was replaced, os.sendfile() and its kin as they were. With anything else asyncio's own code runs (sync/sendfile.c asks
 * first). The GIL is released for the call, which may read from a disk.
 *
 * A `sending` is what the loop's Handle calls (without arguments) and the future's done callback (called with the future). It owns what
 * it names, lives as long as its Handle or its future, and belongs to the loop's thread.
 */
#include "base/sys.h"
#include "core/future.h"
#include "net/net.h"
#include "net/sendfile.h"
#include "rt/call.h"
#include "rt/error.h"
#include "rt/override.h"

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

typedef struct {
    PyObject_HEAD
    pa_state *st;      /* borrowed */
    PyObject *loop;    /* owned, as the rest */
    PyObject *sock;
    PyObject *future;  /* NULL before the first wait and after the last */
    PyObject *handle;
    int64_t offset;    /* in the file: where the rest begins */
    Py_ssize_t count;  /* bytes wanted; 0: all there are */
    Py_ssize_t block;  /* the most of one call */
    Py_ssize_t total;  /* bytes gone */
    int file;
    int fd;            /* where it waits */
    vectorcallfunc vectorcall;
} sending;

/* ---- Who may be gone around ---- */

/* Of the loop. */
static const char *const loop_names[] = {
    "sock_sendfile", "_sock_sendfile_native", "_sock_sendfile_native_impl", "_sock_sendfile_update_filepos",
    "_sock_add_cancellation_callback", "_check_sendfile_params", "_sendfile_native", "create_future", "add_writer", "remove_writer",
    "_add_writer", "_remove_writer", "_ensure_fd_no_transport", NULL,
};

static const char *const os_names[] = {"sendfile", "fstat", "lseek", NULL};

/* Whether the functions of os are those that we found, and were Python's own then. 1, 0 or -1. */
static int os_is_ours(pa_state *st)
{
    Py_ssize_t pos = 0;
    PyObject *name, *original;
    while (PyDict_Next(st->os_calls, &pos, &name, &original)) {
        PyObject *now;
        int found = pa_getattr_optional(st->os, name, &now);
        Py_XDECREF(now);
        if (found <= 0 || now != original || !PyCFunction_CheckExact(original))
            return found < 0 ? -1 : 0;
    }
    return PyDict_GET_SIZE(st->os_calls) == (Py_ssize_t)Py_ARRAY_LENGTH(os_names) - 1;
}

int pa_sendfile_is_ours(PyObject *loop_obj)
{
    pa_loop *loop = (pa_loop *)loop_obj;
    pa_state *st = pa_loop_state(loop);
    if (!PA_SYS_HAVE_SENDFILE || pa_loop_is_debug(loop) || st->sendfile_methods == NULL || !pa_loop_waits_natively(loop) ||
        !pa_override_none(Py_TYPE(loop), st->sendfile_methods, &st->sendfile_overrides))
        return 0;
    int replaced = pa_loop_has_own(loop, st->sendfile_methods);
    return replaced != 0 ? (replaced < 0 ? -1 : 0) : os_is_ours(st);
}

/* ---- Arguments ---- */

/* Exactly a socket.socket of type SOCK_STREAM. */
static int is_stream_socket(pa_state *st, PyObject *sock)
{
    if (Py_TYPE(sock) != (PyTypeObject *)st->socket_class ||
        !pa_override_none(Py_TYPE(sock), st->socket_sending, &st->socket_sending_overrides))
        return 0;
    PyObject *type = Py_TYPE(st->socket_type)->tp_descr_get(st->socket_type, sock, NULL);
    long value = type != NULL ? PyLong_AsLong(type) : -1;
    Py_XDECREF(type);
    return value == -1 && PyErr_Occurred() ? -1 : value == SOCK_STREAM;
}

/* Whether a file was opened in binary mode, or does not say how. */
static int is_binary(pa_state *st, PyObject *file)
{
    PyObject *mode;
    int found = pa_getattr_optional(file, st->names.mode, &mode);
    if (found <= 0)
        return found < 0 ? -1 : 1;
    int binary = PyUnicode_CheckExact(mode) ? PyUnicode_FindChar(mode, 'b', 0, PyUnicode_GET_LENGTH(mode), 1) >= 0 : 0;
    Py_DECREF(mode);
    return binary;
}

/* An exact int from `least` on that the kernel's types hold. */
static bool is_number(PyObject *obj, long long least, long long most)
{
    int overflow = 1;
    long long value = PyLong_CheckExact(obj) ? PyLong_AsLongLongAndOverflow(obj, &overflow) : 0;
    return overflow == 0 && value >= least && value <= most;
}

int pa_sendfile_is_plain(PyObject *loop, PyObject *sock, PyObject *file, PyObject *offset, PyObject *count)
{
    pa_state *st = pa_loop_state((pa_loop *)loop);
    if (!is_number(offset, 0, INT64_MAX / 2) || !(count == Py_None || is_number(count, 1, PY_SSIZE_T_MAX)))
        return 0;
    int plain = pa_sendfile_is_ours(loop);
    if (plain > 0)
        plain = is_stream_socket(st, sock);
    return plain > 0 ? is_binary(st, file) : plain;
}

/* ---- Attempts ---- */

static void not_available(pa_state *st, const char *text, PyObject *context)
{
    PyErr_SetString(st->SendfileNotAvailable, text);
    if (context == NULL)
        return;
    PyObject *exc = pa_err_take();
    PyException_SetContext(exc, context);
    pa_err_restore(exc);
}

/* Puts the file's position behind what was sent. 0 or -1. */
static int place_file(sending *self)
{
    if (self->total == 0 && !self->st->sendfile_always_places)
        return 0;
    int64_t rc = pa_sys_lseek_set(self->file, self->offset);
    if (rc < 0)
        pa_error_from_errno((ssize_t)rc);
    return rc < 0 ? -1 : 0;
}

/* 1; -2 with an exception that the future is not to get, as asyncio has it. */
static int finish(sending *self, PyObject **result)
{
    if (place_file(self) == 0)
        *result = PyLong_FromSsize_t(self->total);
    return *result != NULL ? 1 : -2;
}

/* The system call failed. -1 with what the future gets, or -2 as finish(). */
static int fail(sending *self, ssize_t error)
{
    pa_error_from_errno(error);
    PyObject *cause = pa_err_take(), *exc;
    if (place_file(self) < 0) {
        exc = pa_err_take();
        PyException_SetContext(exc, cause);
        pa_err_restore(exc);
        return -2;
    }
    if (self->total > 0 && (error != -ENOTCONN || self->future == NULL)) {
        pa_err_restore(cause);
        return -1;
    }
    if (self->total == 0) {
        Py_DECREF(cause);
        not_available(self->st, "os.sendfile call failed", NULL);
    } else if ((exc = PyObject_CallFunction(PyExc_ConnectionError, "si", "socket is not connected", ENOTCONN)) != NULL) {
        PyException_SetCause(exc, cause);
        pa_err_restore(exc);
    } else {
        Py_DECREF(cause);
    }
    return -1;
}

static int descriptor(sending *self)
{
    PyObject *number = self->st->socket_fileno(self->sock, NULL);
    long fd = number != NULL ? PyLong_AsLong(number) : -1;
    Py_XDECREF(number);
    return (int)fd;
}

/* 1: over, with *result (new); 0: wait, for more, or for the socket; -1 and -2 as fail(). */
static int attempt(sending *self, PyObject **result)
{
    Py_ssize_t size = self->block;
    if (self->count > 0 && (size = self->count - self->total) <= 0)
        return finish(self, result);
    int fd = descriptor(self);
    if (PyErr_Occurred())
        return -2;
    ssize_t sent;
    Py_BEGIN_ALLOW_THREADS
    sent = pa_sys_sendfile(fd, self->file, self->offset, (size_t)size);
    Py_END_ALLOW_THREADS
    if (sent == 0)
        return finish(self, result);
    if (sent < 0)
        return sent == -EAGAIN || sent == -EWOULDBLOCK ? 0 : fail(self, sent);
    self->offset += sent;
    self->total += sent;
    return 0;
}

/* ---- Waiting ---- */

/* Nothing the second time, or if somebody else's writer has taken the place. 0 or -1; keeps the raised exception. */
static int stop_waiting(sending *self)
{
    PyObject *handle = self->handle;
    if (handle == NULL)
        return 0;
    PyObject *raised = pa_err_take();
    self->handle = NULL;
    int rc = pa_loop_wait_end((pa_loop *)self->loop, self->fd, PA_POLL_OUT, handle);
    Py_DECREF(handle);
    if (rc == 0)
        pa_err_restore(raised);
    else
        Py_XDECREF(raised);
    return rc;
}

/* The socket takes more. 0 or -1. */
static int on_ready(sending *self)
{
    if (self->future == NULL || self->handle == NULL)
        return 0;
    PyObject *future = Py_NewRef(self->future), *result = NULL;
    int rc = -1;
    if (pa_future_done(future)) { /* cancelled in this very tick */
        rc = stop_waiting(self) < 0 ? -1 : place_file(self);
        goto done;
    }
    int how = attempt(self, &result);
    if (how == 0) {
        rc = pa_loop_wait_again((pa_loop *)self->loop, self->fd, PA_POLL_OUT, self->handle);
        goto done;
    }
    if (stop_waiting(self) < 0 || how == -2)
        goto done;
    if (how > 0) {
        rc = pa_future_resolve(future, result);
    } else {
        PyObject *exc = pa_err_take();
        rc = pa_future_reject(future, exc);
        Py_DECREF(exc);
    }
done:
    Py_XDECREF(result);
    Py_DECREF(future);
    return rc;
}

/* The future is done, by us or cancelled. */
static int on_done(sending *self)
{
    Py_CLEAR(self->future);
    return stop_waiting(self);
}

static PyObject *sending_vectorcall(PyObject *op, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    sending *self = (sending *)Py_NewRef(op);
    int rc = (PyVectorcall_NARGS(nargsf) == 0 ? on_ready : on_done)(self);
    Py_DECREF(self);
    return pa_call_none(rc);
}

/* As asyncio's add_writer() and add_done_callback(). New: the future. */
static PyObject *wait_for_room(sending *self)
{
    pa_loop *loop = (pa_loop *)self->loop;
    PyObject *future = pa_future_new(loop), *context = PyContext_CopyCurrent();
    int rc = -1;
    if (future != NULL && context != NULL && (self->fd = descriptor(self)) >= 0) {
        self->future = Py_NewRef(future);
        self->handle = pa_loop_wait_begin(loop, self->fd, PA_POLL_OUT, (PyObject *)self, context);
        rc = self->handle != NULL ? pa_future_when_done(future, (PyObject *)self, context) : -1;
    } else if (!PyErr_Occurred()) { /* another thread closed it meanwhile */
        pa_error_from_errno(-EBADF);
    }
    if (rc < 0) {
        (void)stop_waiting(self);
        Py_CLEAR(self->future);
        Py_CLEAR(future);
    }
    Py_XDECREF(context);
    return future;
}

/* ---- Beginning ---- */

/* The file's descriptor and size. 0 or -1. */
static int look_at_file(pa_state *st, PyObject *file, int *fd, int64_t *size)
{
    PyObject *number = PyObject_CallMethodNoArgs(file, st->names.fileno);
    if (number == NULL) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError) || PyErr_ExceptionMatches(st->UnsupportedOperation))
            not_available(st, "not a regular file", pa_err_take());
        return -1;
    }
    int overflow;
    long value = PyLong_AsLongAndOverflow(number, &overflow); /* __index__(), too */
    if (overflow != 0 || value < INT_MIN || value > INT_MAX)
        PyErr_SetString(PyExc_OverflowError, "Python int too large to convert to C int");
    Py_DECREF(number);
    if (PyErr_Occurred())
        return -1;
    *fd = (int)value;
    struct stat about;
    int rc = pa_sys_fstat(*fd, &about);
    if (rc < 0) {
        pa_error_from_errno(rc);
        not_available(st, "not a regular file", pa_err_take());
        return -1;
    }
    *size = about.st_size;
    return 0;
}

static sending *new_sending(pa_state *st, PyObject *loop, PyObject *sock)
{
    sending *self = PyObject_GC_New(sending, st->Sending);
    if (self == NULL)
        return NULL;
    self->st = st;
    self->loop = Py_NewRef(loop);
    self->sock = Py_NewRef(sock);
    self->future = self->handle = NULL;
    self->offset = 0;
    self->count = self->block = self->total = 0;
    self->file = self->fd = -1;
    self->vectorcall = sending_vectorcall;
    PyObject_GC_Track(self);
    return self;
}

int pa_sendfile_begin(PyObject *loop, PyObject *sock, PyObject *file, PyObject *offset, PyObject *count, PyObject **result)
{
    pa_state *st = pa_loop_state((pa_loop *)loop);
    int64_t size;
    int fd;
    *result = NULL;
    if (look_at_file(st, file, &fd, &size) < 0)
        return -1;
    Py_ssize_t wanted = count != Py_None ? PyLong_AsSsize_t(count) : 0;
    if (wanted == 0 && size == 0) {
        *result = PyLong_FromLong(0);
        return *result != NULL ? 1 : -1;
    }
    sending *self = new_sending(st, loop, sock);
    if (self == NULL)
        return -1;
    self->file = fd;
    self->offset = PyLong_AsLongLong(offset);
    self->count = wanted;
    self->block = size < PY_SSIZE_T_MAX ? (Py_ssize_t)size : PY_SSIZE_T_MAX;
    int how = attempt(self, result);
    if (how == 0 && (*result = wait_for_room(self)) == NULL)
        how = -1;
    Py_DECREF(self);
    return how < 0 ? -1 : how;
}

/* ---- Type ---- */

static int sending_traverse(PyObject *op, visitproc visit, void *arg)
{
    sending *self = (sending *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->loop);
    Py_VISIT(self->sock);
    Py_VISIT(self->future);
    Py_VISIT(self->handle);
    return 0;
}

static int sending_clear(PyObject *op)
{
    sending *self = (sending *)op;
    Py_CLEAR(self->future);
    Py_CLEAR(self->handle);
    return 0;
}

static void sending_dealloc(PyObject *op)
{
    sending *self = (sending *)op;
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    sending_clear(op);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->sock);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *sending_repr(PyObject *op) { return PyUnicode_FromFormat("<sending a file on %R>", ((sending *)op)->sock); }

static PyMemberDef sending_members[] = {
    {"__vectorcalloffset__", Py_T_PYSSIZET, offsetof(sending, vectorcall), Py_READONLY, NULL},
    {NULL},
};

static PyType_Slot sending_slots[] = {
    {Py_tp_call, PyVectorcall_Call},       {Py_tp_repr, sending_repr},   {Py_tp_traverse, sending_traverse},
    {Py_tp_clear, sending_clear},          {Py_tp_dealloc, sending_dealloc}, {Py_tp_members, sending_members},
    {0, NULL},
};

static PyType_Spec sending_spec = {
    "pyasync._core._Sending", sizeof(sending), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_HAVE_VECTORCALL,
    sending_slots,
};

/* ---- Setup ---- */

/* _sendfile_originals(class): the loop's class as it is before any program has seen it. From 3.14 on asyncio places the file even where
 * nothing was sent: its function has no argument for that then. */
static PyObject *keep_originals(PyObject *module, PyObject *class)
{
    pa_state *st = pa_state_of_module(module);
    PyObject *methods = pa_override_originals((PyTypeObject *)class, NULL, loop_names);
    PyObject *place = methods != NULL ? PyDict_GetItemString(methods, "_sock_sendfile_update_filepos") : NULL;
    if (place != NULL && PyFunction_Check(place)) {
        st->sendfile_always_places = ((PyCodeObject *)PyFunction_GET_CODE(place))->co_argcount == 3;
        Py_XSETREF(st->sendfile_methods, Py_NewRef(methods));
    }
    Py_XDECREF(methods);
    return methods != NULL ? Py_NewRef(Py_None) : NULL;
}

static PyMethodDef functions[] = {
    {"_sendfile_originals", keep_originals, METH_O,
     PyDoc_STR("_sendfile_originals($module, class, /)\n--\n\nKeep the methods that sendfile() goes around.")},
    {NULL, NULL, 0, NULL},
};

int pa_sendfile_setup(PyObject *module, pa_state *st)
{
    static const char *const methods[] = {"fileno", NULL};
    st->Sending = (PyTypeObject *)PyType_FromModuleAndSpec(module, &sending_spec, NULL);
    PyObject *base = NULL;
    if (st->Sending == NULL || (st->os = PyImport_ImportModule("os")) == NULL || pa_import_from("_socket", "socket", &base) < 0)
        return -1;
    st->os_calls = pa_override_originals((PyTypeObject *)st->os, NULL, os_names);
    st->socket_sending = pa_override_originals((PyTypeObject *)base, NULL, methods);
    st->socket_type = PyObject_GetAttrString(base, "type");
    Py_DECREF(base);
    if (st->os_calls == NULL || st->socket_sending == NULL || st->socket_type == NULL ||
        pa_import_from("io", "UnsupportedOperation", &st->UnsupportedOperation) < 0 ||
        pa_import_from("asyncio.exceptions", "SendfileNotAvailableError", &st->SendfileNotAvailable) < 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}
