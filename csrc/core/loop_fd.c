/* Descriptors: the table of who waits for which, the poller behind it, and the methods around both.
 *
 * Invariants:
 *  - fds[fd].wanted is what is waited for; it is 0 exactly when nothing is, as far as the user can see. fds[fd].told is what the poller was
 *    told last: the same, but for waits that are told as PA_POLL_ONCE (loop_wait.c).
 *  - A slot holds a watch or Handles; both only if the watch is that of a transport that is closing and still sends, and the Handle is
 *    a reader. Its Handles are owned; a watch's owner is owned while watch->events is not 0, unless the owner is the loop itself.
 *  - The table may move whenever user code runs: no pointer into it survives a call that can drop a reference.
 *  - A forked child gets a poller of its own at once: the set in the kernel that it inherited is the parent's, too, and whatever the
 *    child changed in it would be changed for both. Closing only closes descriptors, for the same reason.
 */
#include "core/loop_impl.h"
#include "rt/args.h"
#include "rt/error.h"

#include <errno.h>

#define READ_BUFFER_SIZE (256 * 1024)

/* ---- The table ---- */

static pa_fd_slot *find_slot(pa_loop *loop, int fd) { return fd >= 0 && fd < loop->fds_len ? &loop->fds[fd] : NULL; }

/* The slot of fd, making the table longer if need be. NULL with MemoryError, or OSError: a number that is no descriptor must not make
 * the table as long as it is large. */
pa_fd_slot *pa_loop_need_slot(pa_loop *loop, int fd)
{
    if (fd >= loop->fds_len) {
        int rc = loop->selector == NULL || fd > INT_MAX / 2 ? pa_sys_get_nonblocking(fd) : 0;
        if (rc < 0) {
            pa_error_from_rc(rc);
            return NULL;
        }
        int len = loop->fds_len > 0 ? loop->fds_len : 64;
        while (len <= fd)
            len = len > INT_MAX / 2 ? INT_MAX : len * 2;
        pa_fd_slot *fds = PyMem_Realloc(loop->fds, (size_t)len * sizeof(*fds));
        if (fds == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        memset(fds + loop->fds_len, 0, (size_t)(len - loop->fds_len) * sizeof(*fds));
        loop->fds = fds;
        loop->fds_len = len;
    }
    return &loop->fds[fd];
}

/* The wakeup and the signal pair: they do not count as something that is watched. */
static bool is_internal(const pa_loop *loop, int fd)
{
    return fd == loop->wakeup.read_fd || (loop->fds[fd].watch != NULL && loop->fds[fd].watch->owner == (PyObject *)loop);
}

static PyObject *or_none(PyObject *obj) { return Py_NewRef(obj != NULL ? obj : Py_None); }

/* Tells a selector object of the user's. 0 or -1. */
static int tell_selector(pa_loop *loop, int fd, unsigned was, unsigned want)
{
    PyObject *result;
    if (want == 0)
        result = PyObject_CallMethod(loop->selector, "unregister", "i", fd);
    else
        result = PyObject_CallMethod(loop->selector, was == 0 ? "register" : "modify", "iI(NN)", fd, want,
                                     or_none(loop->fds[fd].reader), or_none(loop->fds[fd].writer));
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* For a selector, or anything else of the user's, that closed the loop when it was asked: the table is gone. -1 with RuntimeError. */
static int raise_closed_meanwhile(void)
{
    PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
    return -1;
}

int pa_loop_want(pa_loop *loop, int fd, unsigned events) { return pa_loop_want_as(loop, fd, events, events); }

int pa_loop_want_as(pa_loop *loop, int fd, unsigned events, unsigned tell)
{
    pa_fd_slot *slot = &loop->fds[fd];
    unsigned was = slot->wanted;
    if (was == events && (slot->told == tell || loop->selector != NULL))
        return 0;
    if (events == 0 && slot->told == PA_POLL_ONCE)
        tell = PA_POLL_ONCE; /* what has been reported is silent */
    if (loop->selector != NULL) {
        if (tell_selector(loop, fd, was, events) < 0)
            return -1;
        if ((slot = find_slot(loop, fd)) == NULL)
            return raise_closed_meanwhile();
    } else if (loop->poller != NULL && tell != slot->told) { /* a forked child may have failed to make its own */
        int rc = loop->poller_ops->set(loop->poller, fd, slot->told, tell);
        if (rc < 0) {
            pa_error_from_rc(rc);
            return -1;
        }
    }
    slot->wanted = events;
    slot->told = tell;
    if (!is_internal(loop, fd))
        loop->watched += (events != 0) - (was != 0);
    return 0;
}

int pa_loop_require_open(pa_loop *loop)
{
    if (pa_loop_check_closed(loop) < 0)
        return -1;
    if (loop->poller == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the event loop was not initialised");
        return -1;
    }
    return 0;
}

/* ---- Watches ---- */

static void release_owner(pa_loop *loop, pa_watch *watch)
{
    watch->events = 0;
    if (watch->owner != (PyObject *)loop)
        Py_DECREF(watch->owner);
}

/* What the Handles of a slot want. */
static unsigned handles_want(const pa_fd_slot *slot)
{
    return (slot->reader != NULL ? PA_POLL_IN : 0u) | (slot->writer != NULL ? PA_POLL_OUT : 0u);
}

/* Removes both Handles and cancels them: another user of the descriptor has come. 0 or -1. */
static int displace_handles(pa_loop *loop, int fd)
{
    PyObject *gone[2] = {loop->fds[fd].reader, loop->fds[fd].writer};
    int rc = 0;
    loop->fds[fd].reader = loop->fds[fd].writer = NULL;
    for (int i = 0; i < 2; i++) {
        PyObject *result = gone[i] != NULL && rc == 0 ? PyObject_CallMethodNoArgs(gone[i], loop->st->names.cancel) : NULL;
        if (gone[i] != NULL && rc == 0 && result == NULL)
            rc = -1;
        Py_XDECREF(result);
        Py_XDECREF(gone[i]);
    }
    return rc;
}

int pa_watch_attach(pa_loop *loop, pa_watch *watch, int fd, unsigned events)
{
    watch->fd = -1;
    watch->events = 0;
    if (fd < 0) {
        PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %d", fd);
        return -1;
    }
    if (pa_loop_require_open(loop) < 0 || pa_loop_check_free(loop, fd) < 0)
        return -1;
    pa_fd_slot *slot = find_slot(loop, fd);
    if (slot != NULL && slot->watch != NULL)
        pa_watch_detach(loop, slot->watch);
    slot = find_slot(loop, fd);
    if (slot != NULL && (slot->reader != NULL || slot->writer != NULL) && displace_handles(loop, fd) < 0)
        return -1;
    /* all of these may have run user code, which may have closed the loop */
    if (pa_loop_require_open(loop) < 0 || (slot = pa_loop_need_slot(loop, fd)) == NULL)
        return -1;
    slot->watch = watch;
    if (pa_loop_want(loop, fd, events) < 0) {
        if ((slot = find_slot(loop, fd)) != NULL && slot->watch == watch)
            slot->watch = NULL;
        return -1;
    }
    watch->fd = fd;
    watch->events = events;
    if (events != 0 && watch->owner != (PyObject *)loop)
        Py_INCREF(watch->owner);
    return 0;
}

int pa_watch_set(pa_loop *loop, pa_watch *watch, unsigned events)
{
    if (watch->events == events)
        return 0;
    if (watch->fd < 0 || loop->closed)
        return events == 0 ? 0 : pa_loop_require_open(loop);
    if (pa_loop_want(loop, watch->fd, events | handles_want(&loop->fds[watch->fd])) < 0)
        return -1;
    unsigned was = watch->events;
    watch->events = events;
    if (was == 0 && watch->owner != (PyObject *)loop)
        Py_INCREF(watch->owner);
    if (events == 0)
        release_owner(loop, watch);
    return 0;
}

void pa_watch_detach(pa_loop *loop, pa_watch *watch)
{
    if (watch->fd < 0)
        return;
    int fd = watch->fd;
    PyObject *raised = pa_err_take();
    /* a closed loop's table may still stand, while close() drops callbacks: the slot has to forget the watch all the same */
    if (fd < loop->fds_len && loop->fds[fd].watch == watch) {
        if (!loop->closed && pa_loop_want(loop, fd, handles_want(&loop->fds[fd])) < 0) {
            PyErr_WriteUnraisable(watch->owner);
            if (fd < loop->fds_len) {
                loop->watched -= loop->fds[fd].wanted != 0 && !is_internal(loop, fd);
                loop->fds[fd].wanted = loop->fds[fd].told = 0;
            }
        }
        if (fd < loop->fds_len && loop->fds[fd].watch == watch)
            loop->fds[fd].watch = NULL;
    }
    watch->fd = -1;
    if (watch->events != 0)
        release_owner(loop, watch);
    pa_err_restore(raised);
}

int pa_loop_run_watch(pa_loop *loop, pa_ready *entry)
{
    pa_watch *watch = entry->b;
    unsigned events = entry->events & watch->events;
    if (watch->fd < 0 || events == 0)
        return 0;
    PyObject *context = watch->context;
    if (context == NULL)
        return watch->on_ready(loop, entry->a, events);
    Py_INCREF(context);
    int rc = PyContext_Enter(context);
    if (rc == 0) {
        rc = watch->on_ready(loop, entry->a, events);
        if (PyContext_Exit(context) < 0)
            rc = -1;
    }
    Py_DECREF(context);
    return rc;
}

/* ---- What stands for a watch's entry where the user can see it: a callable made of (loop, owner, address of the watch, events) ---- */

static PyObject *call_watch(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    pa_loop *loop = (pa_loop *)PyTuple_GET_ITEM(self, 0);
    pa_ready entry = {.kind = PA_READY_IO, .a = PyTuple_GET_ITEM(self, 1), .b = PyLong_AsVoidPtr(PyTuple_GET_ITEM(self, 2)),
                      .events = (uint32_t)PyLong_AsUnsignedLong(PyTuple_GET_ITEM(self, 3))};
    if (pa_loop_run_watch(loop, &entry) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef call_watch_def = {"_ready", call_watch, METH_NOARGS, NULL};

PyObject *pa_watch_callable(pa_loop *loop, const pa_ready *entry)
{
    /* Transports have methods under asyncio's names: those read better in a message. */
    PyObject *name = entry->events == PA_POLL_IN    ? loop->st->names._read_ready
                     : entry->events == PA_POLL_OUT ? loop->st->names._write_ready
                                                    : NULL;
    PyObject *method;
    int found = name != NULL ? pa_getattr_optional(entry->a, name, &method) : 0;
    if (found != 0)
        return found > 0 ? method : NULL;
    PyObject *self = Py_BuildValue("(OONI)", (PyObject *)loop, entry->a, PyLong_FromVoidPtr(entry->b), (unsigned)entry->events);
    PyObject *callable = self != NULL ? PyCFunction_New(&call_watch_def, self) : NULL;
    Py_XDECREF(self);
    return callable;
}

/* ---- Who has a descriptor ---- */

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
static int check_free(pa_loop *loop, int fd, PyObject *shown)
{
    pa_fd_slot *slot = find_slot(loop, fd);
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
    int rc = shown != NULL ? check_free(loop, fd, shown) : -1;
    Py_XDECREF(shown);
    return rc;
}

/* int(obj.fileno()), or obj if it is an int. New; NULL with ValueError("Invalid file object: ..."). */
static PyObject *file_number(pa_state *st, PyObject *obj)
{
    if (PyLong_Check(obj))
        return Py_NewRef(obj);
    PyObject *number = PyObject_CallMethodNoArgs(obj, st->names.fileno);
    PyObject *integer = number != NULL ? PyNumber_Long(number) : NULL;
    Py_XDECREF(number);
    if (integer == NULL &&
        (PyErr_ExceptionMatches(PyExc_AttributeError) || PyErr_ExceptionMatches(PyExc_TypeError) ||
         PyErr_ExceptionMatches(PyExc_ValueError))) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "Invalid file object: %R", obj);
    }
    return integer;
}

#define FD_TOO_LARGE (-2)

/* As selectors look at what they are to watch. The descriptor; FD_TOO_LARGE, nothing raised, for a number that none can have; -1 with
 * an exception. */
static int descriptor_of(pa_state *st, PyObject *obj)
{
    PyObject *integer = file_number(st, obj);
    if (integer == NULL)
        return -1;
    int overflow;
    long fd = PyLong_AsLongAndOverflow(integer, &overflow);
    if (overflow < 0 || (overflow == 0 && fd < 0)) {
        PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %S", integer);
        fd = -1;
    } else if (overflow > 0 || fd > INT_MAX) {
        fd = FD_TOO_LARGE;
    }
    Py_DECREF(integer);
    return (int)fd;
}

static int ensure_free(pa_loop *loop, PyObject *obj)
{
    PyObject *integer = file_number(loop->st, obj);
    if (integer == NULL)
        return -1;
    int overflow;
    long fd = PyLong_AsLongAndOverflow(integer, &overflow); /* -1 if it does not fit: nobody has that one either */
    Py_DECREF(integer);
    return check_free(loop, fd < 0 || fd > INT_MAX ? -1 : (int)fd, obj);
}

/* ---- Handles ---- */

int pa_loop_exchange(pa_loop *loop, int fd, unsigned event, PyObject *handle, bool once, PyObject **old)
{
    pa_fd_slot *slot = pa_loop_need_slot(loop, fd);
    if (slot == NULL)
        return -1;
    PyObject **place = event == PA_POLL_IN ? &slot->reader : &slot->writer;
    unsigned events = handle != NULL ? slot->wanted | event : slot->wanted & ~event;
    *old = *place;
    *place = Py_XNewRef(handle);
    once = once && events == event && slot->watch == NULL && slot->told != events; /* not while somebody else waits, too */
    if (pa_loop_want_as(loop, fd, events, once ? events | PA_POLL_ONCE : events) < 0) {
        if ((slot = find_slot(loop, fd)) == NULL) {
            Py_CLEAR(*old);
            return -1;
        }
        place = event == PA_POLL_IN ? &slot->reader : &slot->writer;
        Py_XDECREF(*place);
        *place = *old;
        *old = NULL;
        return -1;
    }
    return 0;
}

static int cancel_handle(pa_state *st, PyObject *handle /* steals */)
{
    int rc = pa_handle_cancel(st, handle);
    Py_DECREF(handle);
    return rc;
}

int pa_loop_put_handle(pa_loop *loop, int fd, unsigned event, PyObject *handle, bool once)
{
    PyObject *old = NULL;
    pa_fd_slot *slot = find_slot(loop, fd);
    /* A transport that is closing has it. What it still sends goes on beside a reader; a writer takes its place. */
    if (slot != NULL && slot->watch != NULL && (event == PA_POLL_OUT || !(slot->watch->events & PA_POLL_OUT)))
        pa_watch_detach(loop, slot->watch);
    /* fileno() and dropping a transport run user code, which may have closed the loop */
    if (pa_loop_require_open(loop) < 0 || pa_loop_exchange(loop, fd, event, handle, once, &old) < 0)
        return -1;
    return old != NULL ? cancel_handle(loop->st, old) : 0;
}

int pa_loop_drop_handle(pa_loop *loop, int fd, unsigned event)
{
    pa_fd_slot *slot = find_slot(loop, fd);
    PyObject *old = NULL;
    if (slot == NULL || (event == PA_POLL_IN ? slot->reader : slot->writer) == NULL)
        return 0;
    if (pa_loop_exchange(loop, fd, event, NULL, false, &old) < 0 || cancel_handle(loop->st, old) < 0)
        return -1;
    return 1;
}

/* What _add_reader(fd, callback, *args, context=None) does. New: the Handle. */
static PyObject *add_handle(pa_loop *loop, const pa_callback_args *call, unsigned event)
{
    pa_state *st = loop->st;
    PyObject *handle = NULL;
    if (pa_loop_require_open(loop) < 0)
        return NULL;
    int fd = descriptor_of(st, call->first);
    if (fd == FD_TOO_LARGE)
        PyErr_SetString(PyExc_OverflowError, "Python int too large to convert to C int");
    if (fd < 0 || (handle = pa_handle_new(loop, call->callback, call->args, call->context)) == NULL)
        return NULL;
    if (pa_loop_put_handle(loop, fd, event, handle, false) < 0)
        Py_CLEAR(handle);
    return handle;
}

/* True, False, or NULL with an exception. */
static PyObject *remove_handle(pa_loop *loop, PyObject *obj, unsigned event)
{
    if (loop->closed)
        Py_RETURN_FALSE;
    int fd = descriptor_of(loop->st, obj);
    if (fd == -1)
        return NULL;
    int dropped = pa_loop_drop_handle(loop, fd, event);
    return dropped < 0 ? NULL : PyBool_FromLong(dropped);
}

static PyObject *add_inner(pa_loop *loop, const char *fname, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames, unsigned event)
{
    pa_callback_args call;
    if (pa_callback_parse((PyObject *)loop, fname, "fd", in, nargs, kwnames, &call) < 0)
        return NULL;
    PyObject *handle = add_handle(loop, &call, event);
    Py_DECREF(call.args);
    return handle;
}

static PyObject *fd_add_reader_inner(PyObject *self, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames)
{
    return add_inner((pa_loop *)self, "_add_reader", in, nargs, kwnames, PA_POLL_IN);
}

static PyObject *fd_add_writer_inner(PyObject *self, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames)
{
    return add_inner((pa_loop *)self, "_add_writer", in, nargs, kwnames, PA_POLL_OUT);
}

/* The public ones look for a transport first, take no context, and return None. */
static PyObject *add_public(pa_loop *loop, const char *fname, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames, unsigned event)
{
    pa_callback_args call;
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++)
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, i), "context") == 0)
            return pa_args_refuse((PyObject *)loop, fname, in, nargs, kwnames);
    if (pa_callback_parse((PyObject *)loop, fname, "fd", in, nargs, kwnames, &call) < 0)
        return NULL;
    PyObject *handle = ensure_free(loop, call.first) == 0 ? add_handle(loop, &call, event) : NULL;
    Py_DECREF(call.args);
    if (handle == NULL)
        return NULL;
    Py_DECREF(handle);
    Py_RETURN_NONE;
}

static PyObject *fd_add_reader(PyObject *self, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames)
{
    return add_public((pa_loop *)self, "add_reader", in, nargs, kwnames, PA_POLL_IN);
}

static PyObject *fd_add_writer(PyObject *self, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames)
{
    return add_public((pa_loop *)self, "add_writer", in, nargs, kwnames, PA_POLL_OUT);
}

static PyObject *fd_remove_reader_inner(PyObject *self, PyObject *fd) { return remove_handle((pa_loop *)self, fd, PA_POLL_IN); }
static PyObject *fd_remove_writer_inner(PyObject *self, PyObject *fd) { return remove_handle((pa_loop *)self, fd, PA_POLL_OUT); }

static PyObject *remove_public(pa_loop *loop, const char *fname, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames,
                               unsigned event)
{
    const pa_signature signature = {fname, (const char *const[]){"fd", NULL}, 1, 1};
    PyObject *fd = pa_args_one((PyObject *)loop, &signature, in, nargs, kwnames);
    if (fd == NULL || ensure_free(loop, fd) < 0)
        return NULL;
    return remove_handle(loop, fd, event);
}

static PyObject *fd_remove_reader(PyObject *self, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames)
{
    return remove_public((pa_loop *)self, "remove_reader", in, nargs, kwnames, PA_POLL_IN);
}

static PyObject *fd_remove_writer(PyObject *self, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames)
{
    return remove_public((pa_loop *)self, "remove_writer", in, nargs, kwnames, PA_POLL_OUT);
}

static PyObject *fd_ensure_no_transport(PyObject *self, PyObject *fd)
{
    if (ensure_free((pa_loop *)self, fd) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- What became ready ---- */

/* A Handle whose descriptor is ready: queued; taken off the table if it was cancelled. 0 or -1. */
static int queue_handle(pa_loop *loop, int fd, unsigned event)
{
    pa_fd_slot *slot = find_slot(loop, fd);
    PyObject *handle = slot == NULL ? NULL : event == PA_POLL_IN ? slot->reader : slot->writer;
    if (handle == NULL)
        return 0;
    Py_INCREF(handle);
    int cancelled = pa_handle_cancelled(loop->st, handle), rc = cancelled < 0 ? -1 : 0;
    if (cancelled == 0 && loop->over.bits & PA_OVER_ADD_CALLBACK) {
        PyObject *result = PyObject_CallMethodOneArg((PyObject *)loop, loop->st->names._add_callback, handle);
        rc = result != NULL ? 0 : -1;
        Py_XDECREF(result);
    } else if (cancelled == 0) {
        return pa_loop_push(loop, (pa_ready){.kind = PA_READY_HANDLE, .a = handle});
    } else if (cancelled > 0) {
        PyObject *old = NULL;
        rc = pa_loop_exchange(loop, fd, event, NULL, false, &old);
        Py_XDECREF(old);
    }
    Py_DECREF(handle);
    return rc;
}

static int queue_event(pa_loop *loop, int fd, unsigned events)
{
    if (fd == loop->wakeup.read_fd) {
        int rc = pa_wakeup_drain(&loop->wakeup);
        if (rc < 0)
            pa_error_from_rc(rc);
        return rc < 0 ? -1 : 0;
    }
    pa_fd_slot *slot = find_slot(loop, fd);
    if (slot == NULL)
        return 0;
    if (slot->told & PA_POLL_ONCE)
        pa_loop_was_reported(loop, fd);
    if (events & PA_POLL_IN && slot->reader != NULL) {
        if (queue_handle(loop, fd, PA_POLL_IN) < 0)
            return -1;
        if ((slot = find_slot(loop, fd)) == NULL)
            return 0;
    }
    if (slot->watch != NULL) {
        if ((slot->watch->events & events) == 0)
            return 0;
        return pa_loop_push(loop, (pa_ready){.kind = PA_READY_IO, .events = events, .a = Py_NewRef(slot->watch->owner),
                                             .b = slot->watch});
    }
    return events & PA_POLL_OUT ? queue_handle(loop, fd, PA_POLL_OUT) : 0;
}

int pa_loop_process(pa_loop *loop, const pa_poll_event *events, int count)
{
    for (int i = 0; i < count; i++)
        if (queue_event(loop, events[i].fd, events[i].events) < 0) {
            pa_loop_report_again(loop, events + i, count - i);
            return -1;
        }
    return 0;
}

/* ---- Opening and closing ---- */

int pa_loop_open_poller(pa_loop *loop, const char *name)
{
    const pa_poller_ops *ops = pa_poller_find(name);
    if (ops == NULL) {
        PyObject *names = PyUnicode_FromString(pa_poller_backends[0]->name);
        for (int i = 1; names != NULL && pa_poller_backends[i] != NULL; i++)
            Py_XSETREF(names, PyUnicode_FromFormat("%U, %s", names, pa_poller_backends[i]->name));
        if (names != NULL)
            PyErr_Format(PyExc_ValueError, "there is no poller named '%s' here, only: %U (PYASYNC_POLLER chooses)", name, names);
        Py_XDECREF(names);
        return -1;
    }
    int rc = ops->open(&loop->poller);
    if (rc < 0) {
        pa_error_from_rc(rc);
        return -1;
    }
    loop->poller_ops = ops;
    if ((rc = pa_wakeup_open(&loop->wakeup)) < 0) {
        pa_error_from_rc(rc);
    } else if (pa_loop_need_slot(loop, loop->wakeup.read_fd) != NULL && pa_loop_want(loop, loop->wakeup.read_fd, PA_POLL_IN) == 0) {
        loop->internal_fds++;
        pa_list_append(&loop->st->loops, &loop->link);
        return 0;
    }
    pa_wakeup_close(&loop->wakeup);
    ops->close(loop->poller);
    loop->poller = NULL;
    return -1;
}

/* A new poller and wakeup in place of the parent's, with the same descriptors in it, as far as the child still has them. */
static int replace_poller(pa_loop *loop)
{
    pa_poller *poller;
    loop->fds[loop->wakeup.read_fd].wanted = loop->fds[loop->wakeup.read_fd].told = 0;
    pa_wakeup_close(&loop->wakeup);
    loop->poller_ops->close(loop->poller);
    loop->poller = NULL;
    int rc = loop->poller_ops->open(&poller);
    if (rc < 0)
        return rc;
    loop->poller = poller;
    if ((rc = pa_wakeup_open(&loop->wakeup)) < 0)
        return rc;
    if (pa_loop_need_slot(loop, loop->wakeup.read_fd) == NULL) {
        PyErr_Clear();
        return -ENOMEM;
    }
    loop->fds[loop->wakeup.read_fd].wanted = PA_POLL_IN;
    for (int fd = 0; fd < loop->fds_len; fd++) {
        pa_fd_slot *slot = &loop->fds[fd];
        slot->told = slot->wanted;
        if (slot->wanted != 0 && (rc = loop->poller_ops->set(poller, fd, 0, slot->wanted)) < 0 && rc != -EBADF && rc != -EPERM)
            return rc;
    }
    return 0;
}

void pa_loop_part_from_parent(pa_loop *loop)
{
    if (loop->selector == NULL) { /* a user's selector is its owner's business */
        int rc = replace_poller(loop);
        if (rc < 0) {
            pa_error_from_rc(rc);
            PyErr_WriteUnraisable((PyObject *)loop);
        }
    }
    pa_signals_part_from_parent(loop); /* after the poller: what it takes out of the old one would be gone for the parent, too */
}

static void empty_slot(pa_loop *loop, int fd)
{
    pa_fd_slot slot = loop->fds[fd];
    loop->fds[fd] = (pa_fd_slot){0};
    Py_XDECREF(slot.reader);
    Py_XDECREF(slot.writer);
    if (slot.watch != NULL) {
        slot.watch->fd = -1;
        if (slot.watch->events != 0)
            release_owner(loop, slot.watch);
    }
}

void pa_loop_close_poller(pa_loop *loop)
{
    if (loop->poller != NULL) {
        pa_poller *poller = loop->poller;
        pa_mutex_lock(&loop->inbox_lock);
        loop->poller = NULL;
        loop->sleeping = false;
        pa_wakeup_close(&loop->wakeup);
        pa_mutex_unlock(&loop->inbox_lock);
        loop->poller_ops->close(poller);
        loop->internal_fds--;
    }
    pa_link_remove(&loop->link);
    for (int fd = 0; fd < loop->fds_len; fd++)
        empty_slot(loop, fd);
    PyMem_Free(loop->fds);
    loop->fds = NULL;
    loop->fds_len = loop->watched = 0;
    PyMem_Free(loop->read_buffer);
    loop->read_buffer = NULL;
}

int pa_loop_fds_traverse(pa_loop *loop, visitproc visit, void *arg)
{
    for (int fd = 0; fd < loop->fds_len; fd++) {
        pa_fd_slot *slot = &loop->fds[fd];
        Py_VISIT(slot->reader);
        Py_VISIT(slot->writer);
        if (slot->watch != NULL && slot->watch->events != 0 && slot->watch->owner != (PyObject *)loop)
            Py_VISIT(slot->watch->owner);
    }
    return 0;
}

char *pa_loop_read_buffer(pa_loop *loop, size_t *size)
{
    if (loop->read_buffer == NULL && (loop->read_buffer = PyMem_Malloc(READ_BUFFER_SIZE)) == NULL)
        PyErr_NoMemory();
    *size = READ_BUFFER_SIZE;
    return loop->read_buffer;
}

void pa_loop_take_read_buffer(pa_loop *loop) { loop->read_buffer = NULL; }

void pa_loop_return_read_buffer(pa_loop *loop, char *buffer)
{
    if (loop->read_buffer == NULL && !loop->closed)
        loop->read_buffer = buffer;
    else
        PyMem_Free(buffer);
}

/* ---- Tables ---- */

#define FAST(function) (PyCFunction)(void (*)(void))(function)

PyMethodDef pa_loop_fd_methods[] = {
    {"add_reader", FAST(fd_add_reader), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("add_reader($self, fd, callback, *args)\n--\n\n"
               "Call callback(*args) whenever fd (a descriptor or an object with fileno()) can be read. Replaces an earlier reader.\n\n"
               "ValueError for what has no descriptor, RuntimeError if a transport has it, OSError from the system.")},
    {"remove_reader", FAST(fd_remove_reader), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("remove_reader($self, fd)\n--\n\nUndo add_reader(). Returns whether there was one.")},
    {"add_writer", FAST(fd_add_writer), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("add_writer($self, fd, callback, *args)\n--\n\n"
               "Call callback(*args) whenever fd can be written. Replaces an earlier writer.")},
    {"remove_writer", FAST(fd_remove_writer), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("remove_writer($self, fd)\n--\n\nUndo add_writer(). Returns whether there was one.")},
    {"_add_reader", FAST(fd_add_reader_inner), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("_add_reader($self, fd, callback, *args, context=None)\n--\n\n")},
    {"_remove_reader", fd_remove_reader_inner, METH_O, PyDoc_STR("_remove_reader($self, fd)\n--\n\n")},
    {"_add_writer", FAST(fd_add_writer_inner), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("_add_writer($self, fd, callback, *args, context=None)\n--\n\n")},
    {"_remove_writer", fd_remove_writer_inner, METH_O, PyDoc_STR("_remove_writer($self, fd)\n--\n\n")},
    {"_ensure_fd_no_transport", fd_ensure_no_transport, METH_O, PyDoc_STR("_ensure_fd_no_transport($self, fd)\n--\n\n")},
    {NULL},
};
