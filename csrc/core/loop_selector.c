/* The poller seen as a selector, and a selector of the user's in the poller's place.
 *
 * asyncio's loop has `_selector`, and code exists that wraps or replaces it, or that replaces _process_events. Where either is so, a
 * tick goes the way asyncio's goes: _selector.select(timeout), then _process_events(its result). What the view in pyasync/loop.py is
 * made of is here, too. The loop's thread only.
 */
#include "core/loop_impl.h"
#include "rt/error.h"

#include <math.h>

#define EVENTS_MAX 512

static PyObject *or_none(PyObject *obj) { return Py_NewRef(obj != NULL ? obj : Py_None); }

/* One pair (key, mask) as selectors give it. */
static int process_pair(pa_loop *loop, PyObject *pair)
{
    PyObject *key, *fd = NULL, *two = PySequence_Tuple(pair);
    unsigned mask;
    if (two != NULL && PyArg_ParseTuple(two, "OI", &key, &mask))
        fd = PyObject_GetAttrString(key, "fd");
    Py_XDECREF(two);
    if (fd == NULL)
        return -1;
    long number = PyLong_AsLong(fd);
    Py_DECREF(fd);
    if (number == -1 && PyErr_Occurred())
        return -1;
    pa_poll_event event = {.fd = (int)number, .events = mask};
    return number < 0 || number > INT_MAX ? 0 : pa_loop_process(loop, &event, 1);
}

static PyObject *fd_process_events(PyObject *self, PyObject *pairs)
{
    PyObject *list = PySequence_Tuple(pairs);
    int rc = list != NULL ? 0 : -1;
    for (Py_ssize_t i = 0; rc == 0 && i < PyTuple_GET_SIZE(list); i++)
        rc = process_pair((pa_loop *)self, PyTuple_GET_ITEM(list, i));
    Py_XDECREF(list);
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

int pa_loop_select(pa_loop *loop, int64_t timeout)
{
    PyObject *self = (PyObject *)loop, *events = NULL, *result = NULL;
    PyObject *selector = PyObject_GetAttr(self, loop->st->names._selector);
    PyObject *seconds = timeout < 0 ? Py_NewRef(Py_None) : PyFloat_FromDouble((double)timeout / 1e9);
    if (timeout != 0 && !pa_loop_fall_asleep(loop) && seconds != NULL)
        Py_SETREF(seconds, PyFloat_FromDouble(0.0));
    if (selector != NULL && seconds != NULL)
        events = PyObject_CallMethodOneArg(selector, loop->st->names.select, seconds);
    pa_loop_wake_up(loop);
    if (events != NULL)
        result = PyObject_CallMethodOneArg(self, loop->st->names._process_events, events);
    Py_XDECREF(seconds);
    Py_XDECREF(selector);
    Py_XDECREF(events);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* _poll_events(timeout or None) -> [(fd, mask), ...]: what a selector view's select() is made of. */
static PyObject *fd_poll_events(PyObject *self, PyObject *timeout)
{
    pa_loop *loop = (pa_loop *)self;
    double seconds = timeout != Py_None ? PyFloat_AsDouble(timeout) : -1.0;
    if (timeout != Py_None && seconds == -1.0 && PyErr_Occurred())
        return NULL;
    int64_t ns = timeout == Py_None ? -1 : seconds <= 0.0 ? 0 : seconds > 86400.0 ? PA_SYS_TIMEOUT_MAX : (int64_t)ceil(seconds * 1e9);
    pa_poll_event events[EVENTS_MAX];
    if (pa_link_is_linked(&loop->deferred)) { /* as in a native iteration */
        if (pa_loop_run_deferred(loop) < 0)
            return NULL;
        ns = pa_ready_ring_len(&loop->ready) > 0 ? 0 : ns;
    }
    int count = pa_loop_poll(loop, ns, events, EVENTS_MAX);
    pa_loop_report_again(loop, events, count); /* whoever has the pairs may pass over them */
    PyObject *list = count >= 0 ? PyList_New(0) : NULL;
    for (int i = 0; list != NULL && i < count; i++) {
        if (events[i].fd == loop->wakeup.read_fd) {
            if (pa_loop_process(loop, &events[i], 1) < 0)
                Py_CLEAR(list);
            continue;
        }
        PyObject *pair = Py_BuildValue("(iI)", events[i].fd, events[i].events);
        if (pair == NULL || PyList_Append(list, pair) < 0)
            Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    return list;
}

/* _watched_fds() -> [(fd, mask, reader or None, writer or None), ...] */
static PyObject *fd_watched(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    pa_loop *loop = (pa_loop *)self;
    PyObject *list = PyList_New(0);
    for (int fd = 0; list != NULL && fd < loop->fds_len; fd++) {
        pa_fd_slot *slot = &loop->fds[fd];
        if (slot->wanted == 0)
            continue;
        PyObject *row = Py_BuildValue("(iINN)", fd, slot->wanted, or_none(slot->reader), or_none(slot->writer));
        if (row == NULL || PyList_Append(list, row) < 0)
            Py_CLEAR(list);
        Py_XDECREF(row);
    }
    return list;
}

/* _watch_fd(fd, mask, reader or None, writer or None): register, modify and unregister (mask 0) of a selector view. */
static PyObject *fd_watch(PyObject *self, PyObject *args)
{
    pa_loop *loop = (pa_loop *)self;
    int fd;
    unsigned mask;
    PyObject *reader, *writer;
    if (!PyArg_ParseTuple(args, "iIOO", &fd, &mask, &reader, &writer))
        return NULL;
    if (fd < 0 || mask > (PA_POLL_IN | PA_POLL_OUT))
        return PyErr_Format(PyExc_ValueError, "Invalid events or file descriptor: %u, %d", mask, fd);
    if (pa_loop_require_open(loop) < 0 || pa_loop_need_slot(loop, fd) == NULL)
        return NULL;
    if (loop->fds[fd].watch != NULL)
        return PyErr_Format(PyExc_RuntimeError, "File descriptor %d is used by transport %R", fd, loop->fds[fd].watch->owner);
    if (pa_loop_want(loop, fd, mask) < 0)
        return NULL;
    pa_fd_slot *slot = &loop->fds[fd];
    PyObject *old[2] = {slot->reader, slot->writer};
    slot->reader = mask != 0 && reader != Py_None ? Py_NewRef(reader) : NULL;
    slot->writer = mask != 0 && writer != Py_None ? Py_NewRef(writer) : NULL;
    Py_XDECREF(old[0]);
    Py_XDECREF(old[1]);
    Py_RETURN_NONE;
}

/* ---- Tables ---- */

PyMethodDef pa_loop_selector_methods[] = {
    {"_process_events", fd_process_events, METH_O,
     PyDoc_STR("_process_events($self, event_list)\n--\n\nQueue the callbacks of a selector's (key, mask) pairs.")},
    {"_poll_events", fd_poll_events, METH_O, PyDoc_STR("_poll_events($self, timeout)\n--\n\nWait; the (fd, mask) pairs that are ready.")},
    {"_watched_fds", fd_watched, METH_NOARGS, PyDoc_STR("_watched_fds($self, /)\n--\n\n(fd, mask, reader, writer) of all.")},
    {"_watch_fd", fd_watch, METH_VARARGS, PyDoc_STR("_watch_fd($self, fd, mask, reader, writer)\n--\n\nSet one; mask 0 removes it.")},
    {NULL},
};
