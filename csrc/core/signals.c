/* Signals: the descriptor that signal.set_wakeup_fd gets, and what comes out of its other end.
 *
 * CPython's C handler only notes that a signal came and writes its number to the wakeup descriptor; Python's handlers run when the main
 * thread asks (PyErr_CheckSignals). A signal between that question and the poller's sleep would go unnoticed until something else
 * happens. So while the loop runs in the main thread, and nobody else has set a wakeup descriptor, ours is set: whichever thread the
 * kernel interrupts, the poller wakes. What was there before comes back at the end of the run.
 *
 * The numbers read from the pair go to self._process_self_data(), where asyncio's add_signal_handler expects them: its dict of
 * handlers, its checks and its texts are used as they are (pyasync/loop.py). An eventfd will not do for this: the C handler writes
 * single bytes. The pair is made when it is first needed and lives as long as the poller.
 */
#include "core/loop_impl.h"
#include "rt/error.h"

#include <errno.h>

/* ---- Reading ---- */

static int process_data(pa_loop *loop, const char *data, Py_ssize_t size)
{
    PyObject *bytes = PyBytes_FromStringAndSize(data, size);
    if (bytes == NULL) /* nobody has heard of them: back to where they came from, where there is room now, to be reported again */
        (void)pa_sys_send(loop->signal_fd, data, (size_t)size, 0);
    PyObject *result = bytes != NULL ? PyObject_CallMethodOneArg((PyObject *)loop, loop->st->names._process_self_data, bytes) : NULL;
    Py_XDECREF(bytes);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

static int read_signals(pa_loop *loop, PyObject *owner, unsigned events)
{
    char data[4096];
    while (loop->signal_watch.fd >= 0) {
        ssize_t size = pa_sys_recv(loop->signal_watch.fd, data, sizeof(data), 0);
        if (size <= 0) {
            if (size == 0 || size == -EAGAIN)
                return 0;
            pa_error_from_rc((int)size);
            return -1;
        }
        if (process_data(loop, data, size) < 0)
            return -1;
    }
    return 0;
}

/* ---- The pair ---- */

void pa_signals_init(pa_loop *loop)
{
    loop->signal_fd = loop->signal_read_fd = -1;
    loop->signal_watch = (pa_watch){.fd = -1, .owner = (PyObject *)loop, .on_ready = read_signals};
}

static int open_pair(pa_loop *loop)
{
    if (loop->signal_fd >= 0)
        return 0;
    int fds[2], rc = pa_sys_socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
    if (rc < 0) {
        pa_error_from_rc(rc);
        return -1;
    }
    if (pa_watch_attach(loop, &loop->signal_watch, fds[0], PA_POLL_IN) < 0) {
        pa_sys_close(fds[0]);
        pa_sys_close(fds[1]);
        return -1;
    }
    loop->signal_fd = fds[1];
    loop->signal_read_fd = fds[0];
    return 0;
}

void pa_signals_close(pa_loop *loop)
{
    if (loop->signal_fd < 0)
        return;
    loop->signal_watch.fd = -1;
    loop->signal_watch.events = 0;
    pa_sys_close(loop->signal_fd);
    pa_sys_close(loop->signal_read_fd);
    loop->signal_fd = loop->signal_read_fd = -1;
}

/* ---- The interpreter's wakeup descriptor ---- */

/* signal.set_wakeup_fd(fd): what was there before, or -2 with an exception (ValueError outside the main thread). Of ours nobody has to
 * hear that it is full: asyncio sets none for a program that only has Python's own handlers, and a profiler's signals fill the pair
 * while a callback computes. */
static int set_wakeup_fd(pa_loop *loop, int fd)
{
    PyObject *number = PyLong_FromLong(fd), *before = NULL;
    PyObject *keywords = number != NULL ? PyTuple_Pack(1, loop->st->names.warn_on_full_buffer) : NULL;
    if (keywords != NULL) {
        PyObject *args[] = {number, fd == loop->signal_fd ? Py_False : Py_True};
        before = PyObject_Vectorcall(loop->st->set_wakeup_fd, args, 1, keywords);
    }
    Py_XDECREF(keywords);
    Py_XDECREF(number);
    long was = before != NULL ? PyLong_AsLong(before) : -2;
    Py_XDECREF(before);
    return PyErr_Occurred() ? -2 : (int)was;
}

/* What the child's signals wrote into the pair would come out in the parent. A new pair is made when the child runs the loop; but a
 * selector of the user's is shared with the parent, who would lose its end of the pair if the child took that out. */
void pa_signals_part_from_parent(pa_loop *loop)
{
    if (loop->signal_fd < 0)
        return;
    int was = set_wakeup_fd(loop, -1);
    if (was >= 0 && was != loop->signal_fd)
        was = set_wakeup_fd(loop, was);
    if (was == -2)
        PyErr_Clear(); /* not the main thread: then none of ours is set */
    loop->signal_run = false;
    if (loop->selector != NULL)
        return;
    pa_watch_detach(loop, &loop->signal_watch);
    pa_signals_close(loop);
}

/* Sets ours if none is set. 0, or -1 with an exception; not being in the main thread is none.
 *
 * There is no asking for the descriptor without unsetting it, and set_wakeup_fd() gives the GIL up meanwhile: a signal that comes then
 * is written nowhere. While there are handlers, add_signal_handler has set ours, and it stays. */
static int claim(pa_loop *loop)
{
    if (pa_signals_expected(loop) && loop->signal_fd >= 0) {
        loop->signal_run = true;
        return 0;
    }
    int was = set_wakeup_fd(loop, -1);
    if (was == -2) {
        if (!PyErr_ExceptionMatches(PyExc_ValueError))
            return -1;
        PyErr_Clear();
        return 0;
    }
    if (was >= 0 && was != loop->signal_fd)
        return set_wakeup_fd(loop, was) == -2 ? -1 : 0;
    if (open_pair(loop) < 0)
        return -1;
    loop->signal_run = true;
    return set_wakeup_fd(loop, loop->signal_fd) == -2 ? -1 : 0;
}

int pa_signals_begin(pa_loop *loop)
{
    if (loop->poller == NULL || loop->signal_run)
        return 0;
    return claim(loop);
}

void pa_signals_end(pa_loop *loop)
{
    if (!loop->signal_run)
        return;
    loop->signal_run = false;
    if (pa_signals_expected(loop)) /* asyncio, too, leaves it set while there are handlers */
        return;
    PyObject *raised = pa_err_take();
    int was = set_wakeup_fd(loop, -1);
    if (was >= 0 && was != loop->signal_fd)
        was = set_wakeup_fd(loop, was);
    if (was == -2)
        PyErr_WriteUnraisable((PyObject *)loop);
    pa_err_restore(raised);
}

/* ---- Methods ---- */

static PyObject *signals_fileno(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    pa_loop *loop = (pa_loop *)self;
    if (pa_loop_check_closed(loop) < 0 || open_pair(loop) < 0)
        return NULL;
    return PyLong_FromLong(loop->signal_fd);
}

static PyObject *signals_reclaim(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    pa_loop *loop = (pa_loop *)self;
    if (loop->signal_run && claim(loop) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyMethodDef pa_loop_signal_methods[] = {
    {"_signal_fileno", signals_fileno, METH_NOARGS,
     PyDoc_STR("_signal_fileno($self, /)\n--\n\nThe descriptor to which signal numbers are to be written.")},
    {"_reclaim_wakeup_fd", signals_reclaim, METH_NOARGS,
     PyDoc_STR("_reclaim_wakeup_fd($self, /)\n--\n\nThe last signal handler is gone; while running we still want to be woken.")},
    {NULL},
};
