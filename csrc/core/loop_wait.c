/* Waiting for a descriptor for one operation, and soon after for the next one: loop.sock_recv() and its kin.
 *
 * To the user it is what asyncio does: a Handle in the table, added for the operation and removed after it. The kernel is asked for less.
 * Where the Handle is the only one of its descriptor it is told as PA_POLL_ONCE, if the poller knows that. What was reported then is
 * silent, so that removing the Handle asks nothing of the kernel, and the next wait for the descriptor one cheap call. Nothing is
 * remembered of the file: should the number stand for another one by the next wait, the kernel does not know it and gets it as a new one;
 * and a file that lives on in a duplicate, when its number is closed, is never heard of again. A wait that is given up before its report
 * is removed from the kernel, too.
 *
 * Level-triggered reports come again if nobody uses them, and these do not. So they are asked for again in all such cases: the operation
 * wants more (pa_loop_wait_again), a program's code between the poller and the Handle may pass over them (then nothing is told once, and
 * what was is told anew), it takes Handles out of loop._ready, or the tick fails. The loop's thread only.
 */
#include "core/loop_impl.h"

static bool may_wait_once(pa_loop *loop)
{
    return loop->selector == NULL && loop->poller != NULL && loop->poller_ops->once &&
           !(pa_loop_overrides(loop) & (PA_OVER_ADD_CALLBACK | PA_OVER_PROCESS_EVENTS | PA_OVER_RUN_ONCE | PA_OVER_HANDLE_RUN));
}

/* Whether fd has `handle`, which has been reported once. */
static bool is_silent(pa_loop *loop, int fd, unsigned event, PyObject *handle)
{
    if (fd >= loop->fds_len || loop->fds[fd].told != PA_POLL_ONCE)
        return false;
    return (event == PA_POLL_IN ? loop->fds[fd].reader : loop->fds[fd].writer) == handle;
}

void pa_loop_was_reported(pa_loop *loop, int fd)
{
    loop->fds[fd].told = PA_POLL_ONCE;
    if (loop->over.bits & (PA_OVER_ADD_CALLBACK | PA_OVER_HANDLE_RUN)) /* since the wait began */
        pa_loop_report_again(loop, &(pa_poll_event){.fd = fd}, 1);
}

void pa_loop_report_again(pa_loop *loop, const pa_poll_event *events, int count)
{
    PyObject *raised = pa_err_take();
    for (int i = 0; i < count; i++) {
        pa_fd_slot *slot = events[i].fd < loop->fds_len ? &loop->fds[events[i].fd] : NULL;
        if (slot == NULL || !(slot->told & PA_POLL_ONCE))
            continue;
        slot->told = PA_POLL_ONCE;
        if (slot->wanted != 0 && pa_loop_want(loop, events[i].fd, slot->wanted) < 0)
            PyErr_WriteUnraisable((PyObject *)loop);
    }
    pa_err_restore(raised);
}

void pa_loop_ready_is_taken(pa_loop *loop)
{
    if (!may_wait_once(loop)) /* then nothing is silent; a program that runs all Handles itself comes here for each */
        return;
    for (int fd = 0; fd < loop->fds_len; fd++)
        if (loop->fds[fd].told == PA_POLL_ONCE && loop->fds[fd].wanted != 0)
            pa_loop_report_again(loop, &(pa_poll_event){.fd = fd}, 1);
}

bool pa_loop_waits_natively(pa_loop *loop) { return !(pa_loop_overrides(loop) & PA_OVER_FDS); }

PyObject *pa_loop_wait_begin(pa_loop *loop, int fd, unsigned event, PyObject *callback, PyObject *context)
{
    if (pa_loop_check_free(loop, fd) < 0 || pa_loop_require_open(loop) < 0)
        return NULL;
    PyObject *nothing = PyTuple_New(0);
    PyObject *handle = nothing != NULL ? pa_handle_new(loop, callback, nothing, context) : NULL;
    Py_XDECREF(nothing);
    if (handle != NULL && pa_loop_put_handle(loop, fd, event, handle, may_wait_once(loop)) < 0)
        Py_CLEAR(handle);
    return handle;
}

int pa_loop_wait_again(pa_loop *loop, int fd, unsigned event, PyObject *handle)
{
    if (loop->closed || !is_silent(loop, fd, event, handle))
        return 0;
    unsigned wanted = loop->fds[fd].wanted;
    return pa_loop_want_as(loop, fd, wanted, wanted == event && may_wait_once(loop) ? wanted | PA_POLL_ONCE : wanted);
}

int pa_loop_wait_end(pa_loop *loop, int fd, unsigned event, PyObject *handle)
{
    int cancelled = pa_handle_cancelled(loop->st, handle);
    if (cancelled != 0)
        return cancelled < 0 ? -1 : 0;
    if (pa_loop_check_free(loop, fd) < 0)
        return -1;
    return loop->closed || pa_loop_drop_handle(loop, fd, event) >= 0 ? 0 : -1;
}
