/* Descriptors: the table of who waits for which, the poller behind it, and what is queued when one is ready.
 *
 * Invariants:
 *  - fds[fd].wanted is what is waited for; it is 0 exactly when nothing is, as far as the user can see. fds[fd].told is what the poller was
 *    told last: the same, but for the waits of loop_wait.c. What is reported with another tag than fds[fd].tag is another file's.
 *  - A slot holds a watch or Handles; both only if the watch is that of a transport that is closing and still sends, and the Handle is
 *    a reader. Its Handles are owned; of a watch's owner see loop_watch.c.
 *  - The table may move whenever user code runs: no pointer into it survives a call that can drop a reference.
 *  - A forked child gets a poller of its own at once: the set in the kernel that it inherited is the parent's, too, and whatever the
 *    child changed in it would be changed for both. Closing only closes descriptors, for the same reason.
 */
#include "core/loop_impl.h"
#include "rt/error.h"

#include <errno.h>

#define READ_BUFFER_SIZE (256 * 1024)

/* ---- The table ---- */

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

int pa_loop_tell(pa_loop *loop, int fd, unsigned tell)
{
    pa_fd_slot *slot = &loop->fds[fd];
    uint16_t tag = ++loop->last_tag;
    int rc = loop->poller_ops->set(loop->poller, fd, slot->told, tell != 0 ? tell | (unsigned)tag << PA_POLL_TAG : 0);
    if (rc < 0)
        return rc;
    slot->told = (uint8_t)tell;
    slot->tag = tag;
    return 0;
}

int pa_loop_want(pa_loop *loop, int fd, unsigned events) { return pa_loop_want_as(loop, fd, events, events); }

int pa_loop_want_as(pa_loop *loop, int fd, unsigned events, unsigned tell)
{
    pa_fd_slot *slot = &loop->fds[fd];
    unsigned was = slot->wanted;
    if (was == events && (slot->told == tell || loop->selector != NULL))
        return 0;
    /* what has been reported is silent, or will be told before the loop sleeps */
    if (events == 0 && (slot->told == PA_POLL_ONCE || (slot->told & PA_POLL_EDGE && pa_loop_note_unsure(loop, fd))))
        tell = slot->told;
    if (loop->selector != NULL) {
        if (tell_selector(loop, fd, was, events) < 0)
            return -1;
        if ((slot = pa_loop_find_slot(loop, fd)) == NULL)
            return raise_closed_meanwhile();
    } else if (loop->poller != NULL && tell != slot->told) { /* a forked child may have failed to make its own */
        int rc = pa_loop_tell(loop, fd, tell);
        if (rc < 0) {
            pa_error_from_rc(rc);
            return -1;
        }
    }
    slot->wanted = (uint8_t)events;
    slot->told = (uint8_t)tell;
    if (!is_internal(loop, fd))
        loop->watched += (events != 0) - (was != 0);
    return 0;
}

void pa_loop_want_nothing(pa_loop *loop, int fd)
{
    loop->watched -= loop->fds[fd].wanted != 0 && !is_internal(loop, fd);
    loop->fds[fd].wanted = loop->fds[fd].told = 0;
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
    if (pa_loop_want_as(loop, fd, events, once ? pa_loop_tell_wait(loop, fd, event) : events) < 0) {
        if ((slot = pa_loop_find_slot(loop, fd)) == NULL) {
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

/* ---- What became ready ---- */

/* A Handle whose descriptor is ready: queued; taken off the table if it was cancelled. 0 or -1. */
static int queue_handle(pa_loop *loop, int fd, unsigned event)
{
    pa_fd_slot *slot = pa_loop_find_slot(loop, fd);
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
    pa_fd_slot *slot = pa_loop_find_slot(loop, fd);
    if (slot == NULL)
        return 0;
    if (slot->told & (PA_POLL_ONCE | PA_POLL_EDGE))
        pa_loop_was_reported(loop, fd);
    if (events & PA_POLL_IN && slot->reader != NULL) {
        if (queue_handle(loop, fd, PA_POLL_IN) < 0)
            return -1;
        if ((slot = pa_loop_find_slot(loop, fd)) == NULL)
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
        slot->told = 0;
        if (slot->wanted != 0 && (rc = pa_loop_tell(loop, fd, slot->wanted)) < 0 && rc != -EBADF && rc != -EPERM)
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
            pa_watch_release(loop, slot.watch);
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
    loop->fds_len = loop->watched = loop->unsure_len = loop->unsure_cap = 0;
    PyMem_Free(loop->unsure);
    loop->unsure = NULL;
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
