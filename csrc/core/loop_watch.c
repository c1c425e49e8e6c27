/* Watches: the transports' way to a descriptor. See pa_watch in core/loop.h; what stands for an entry of one where a user looks is here, too.
 *
 * A watch lies in its owner, and the loop owns that while watch->events is not 0, unless the owner is the loop itself: then it would own
 * itself. The loop's thread only.
 */
#include "core/loop_impl.h"
#include "rt/error.h"

void pa_watch_release(pa_loop *loop, pa_watch *watch)
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
    pa_fd_slot *slot = pa_loop_find_slot(loop, fd);
    if (slot != NULL && slot->watch != NULL)
        pa_watch_detach(loop, slot->watch);
    slot = pa_loop_find_slot(loop, fd);
    if (slot != NULL && (slot->reader != NULL || slot->writer != NULL) && displace_handles(loop, fd) < 0)
        return -1;
    /* all of these may have run user code, which may have closed the loop */
    if (pa_loop_require_open(loop) < 0 || (slot = pa_loop_need_slot(loop, fd)) == NULL)
        return -1;
    slot->watch = watch;
    if (pa_loop_want(loop, fd, events) < 0) {
        if ((slot = pa_loop_find_slot(loop, fd)) != NULL && slot->watch == watch)
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
        pa_watch_release(loop, watch);
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
            if (fd < loop->fds_len)
                pa_loop_want_nothing(loop, fd);
        }
        if (fd < loop->fds_len && loop->fds[fd].watch == watch)
            loop->fds[fd].watch = NULL;
    }
    watch->fd = -1;
    if (watch->events != 0)
        pa_watch_release(loop, watch);
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
