/* Waiting for a descriptor for one operation, and soon after for the next one: loop.sock_recv() and its kin.
 *
 * To the user it is what asyncio does: a Handle in the table, added for the operation and removed after it. The kernel is asked for less.
 * Where the Handle is the only one of its descriptor it is told as PA_POLL_ONCE, if the poller knows that. What was reported then is
 * silent, so that removing the Handle asks nothing of the kernel, and the next wait for the descriptor one cheap call.
 *
 * A busy loop spares that call, too. A reader that comes back before the loop has slept, twice in a row, is told as PA_POLL_EDGE, and stays
 * told when its wait ends. The next wait tells nothing: whoever waits has just been refused, so that what comes is new. Nothing hangs on that, though. Such
 * a wait is unsure, and so is the descriptor that nobody waits for: they are told anew, or taken away, before the loop sleeps, and if a
 * few polls have not ended them. Telling looks whether the descriptor is ready, and whether the number still stands for the same file.
 *
 * Nothing is remembered of files. Should the number stand for another one by the next wait, the kernel does not know it and gets it as a
 * new one. A file that lives on in a duplicate, when its number is closed, is never heard of again if it was silent; if it was not, its
 * reports have a tag that the number has not any more, or one that nobody waits for. A wait that is given up before its report is removed
 * from the kernel, too, at the latest before the loop sleeps.
 *
 * Level-triggered reports come again if nobody uses them, and these do not. So they are asked for again in all such cases: the operation
 * wants more (pa_loop_wait_again), a program's code between the poller and the Handle may pass over them (then nothing is told once, and
 * what was is told anew), it takes Handles out of loop._ready, or the tick fails. The loop's thread only.
 */
#include "core/loop_impl.h"
#include "rt/error.h"

#include <errno.h>

/* Polls that do not wait, of which a busy server needs two from one wait to the next: a wait is told of then, and what nobody waits for is
 * taken away. */
#define UNSURE_POLLS 4
#define UNUSED_POLLS 64
#define RETURNS 2 /* that make another one likely */

static bool may_wait_once(pa_loop *loop)
{
    return loop->selector == NULL && loop->poller != NULL && loop->poller_ops->once &&
           !(pa_loop_overrides(loop) & (PA_OVER_ADD_CALLBACK | PA_OVER_PROCESS_EVENTS | PA_OVER_RUN_ONCE | PA_OVER_HANDLE_RUN));
}

/* ---- Telling the poller later ---- */

unsigned pa_loop_tell_wait(pa_loop *loop, int fd, unsigned event)
{
    pa_fd_slot *slot = &loop->fds[fd];
    if (slot->told & PA_POLL_EDGE)
        return event == PA_POLL_IN ? slot->told : event | PA_POLL_ONCE;
    bool soon = event == PA_POLL_IN && slot->told == PA_POLL_ONCE && slot->sleeps == loop->sleeps;
    slot->returns = soon ? slot->returns + 1 : 0;
    if (slot->returns < RETURNS)
        return event | PA_POLL_ONCE;
    slot->returns = 0;
    return PA_POLL_IN | PA_POLL_EDGE;
}

bool pa_loop_note_unsure(pa_loop *loop, int fd)
{
    if (loop->fds[fd].unsure)
        return true;
    if (loop->unsure_len == loop->unsure_cap) {
        int cap = loop->unsure_cap > 0 ? loop->unsure_cap * 2 : 16; /* of descriptors, each once: no overflow */
        pa_unsure *grown = PyMem_Realloc(loop->unsure, (size_t)cap * sizeof(*grown));
        if (grown == NULL)
            return false;
        loop->unsure = grown;
        loop->unsure_cap = cap;
    }
    loop->unsure[loop->unsure_len++] = (pa_unsure){.fd = fd};
    loop->fds[fd].unsure = true;
    return true;
}

/* Whether the poller may have to be told of it. Not if another user of the descriptor has, or its Handle is queued: it ends the wait. */
static bool is_unsure(const pa_fd_slot *slot) { return slot->told & PA_POLL_EDGE && !(slot->wanted != 0 && slot->reported); }

/* 1 if the wait's Handle was queued, 0, or -1 with MemoryError. */
static int settle(pa_loop *loop, int fd)
{
    pa_fd_slot *slot = &loop->fds[fd];
    int rc = pa_loop_tell(loop, fd, slot->wanted != 0 ? slot->told : 0);
    if (rc == 0)
        return 0;
    slot->told = 0;
    if (slot->wanted == 0 || rc == -EBADF || rc == -EPERM) /* closed while somebody waits for it: asyncio waits for ever, too */
        return 0;
    /* Whoever waits is told of the error when he asks for more. */
    return pa_loop_push(loop, (pa_ready){.kind = PA_READY_HANDLE, .a = Py_NewRef(slot->reader)}) < 0 ? -1 : 1;
}

int pa_loop_settle(pa_loop *loop, bool sleeping)
{
    int kept = 0, rc = 0, queued = 0;
    for (int i = 0; i < loop->unsure_len; i++) {
        pa_unsure entry = loop->unsure[i];
        const pa_fd_slot *slot = &loop->fds[entry.fd];
        bool unsure = is_unsure(slot);
        if (unsure && rc >= 0 && (sleeping || ++entry.polls > (slot->wanted != 0 ? UNSURE_POLLS : UNUSED_POLLS))) {
            rc = settle(loop, entry.fd);
            queued |= rc > 0;
            unsure = false;
        }
        loop->fds[entry.fd].unsure = unsure;
        if (unsure)
            loop->unsure[kept++] = entry;
    }
    loop->unsure_len = kept;
    return rc < 0 ? -1 : queued;
}

/* A wait begins, or goes on, of which the poller was told at an earlier time. 0 or -1. */
static int begin_unsure(pa_loop *loop, int fd)
{
    loop->fds[fd].reported = false;
    int rc = pa_loop_note_unsure(loop, fd) ? 0 : pa_loop_tell(loop, fd, loop->fds[fd].told);
    if (rc < 0)
        pa_error_from_rc(rc);
    return rc < 0 ? -1 : 0;
}

/* ---- What was reported ---- */

/* Whether what was told of it is not told again by itself: it is silent, or was told of new things only. */
static bool is_told_once(const pa_fd_slot *slot)
{
    return slot->wanted != 0 && (slot->told == PA_POLL_ONCE || (slot->told & PA_POLL_EDGE && slot->reported));
}

static pa_fd_slot *slot_of_handle(pa_loop *loop, int fd, unsigned event, PyObject *handle)
{
    pa_fd_slot *slot = pa_loop_find_slot(loop, fd);
    return slot != NULL && (event == PA_POLL_IN ? slot->reader : slot->writer) == handle ? slot : NULL;
}

void pa_loop_was_reported(pa_loop *loop, int fd)
{
    pa_fd_slot *slot = &loop->fds[fd];
    slot->reported = true;
    slot->sleeps = loop->sleeps;
    if (slot->told & PA_POLL_ONCE)
        slot->told = PA_POLL_ONCE;
    if (loop->over.bits & (PA_OVER_ADD_CALLBACK | PA_OVER_HANDLE_RUN)) /* since the wait began */
        pa_loop_report_again(loop, &(pa_poll_event){.fd = fd}, 1);
}

void pa_loop_report_again(pa_loop *loop, const pa_poll_event *events, int count)
{
    PyObject *raised = pa_err_take();
    for (int i = 0; i < count; i++) {
        pa_fd_slot *slot = pa_loop_find_slot(loop, events[i].fd);
        if (slot == NULL || !(slot->told & (PA_POLL_ONCE | PA_POLL_EDGE)))
            continue;
        if (slot->told & PA_POLL_ONCE)
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
        if (is_told_once(&loop->fds[fd]))
            pa_loop_report_again(loop, &(pa_poll_event){.fd = fd}, 1);
}

/* ---- One wait ---- */

bool pa_loop_waits_natively(pa_loop *loop) { return !(pa_loop_overrides(loop) & PA_OVER_FDS); }

PyObject *pa_loop_wait_begin(pa_loop *loop, int fd, unsigned event, PyObject *callback, PyObject *context)
{
    if (pa_loop_check_free(loop, fd) < 0 || pa_loop_require_open(loop) < 0)
        return NULL;
    PyObject *nothing = PyTuple_New(0);
    PyObject *handle = nothing != NULL ? pa_handle_new(loop, callback, nothing, context) : NULL;
    Py_XDECREF(nothing);
    if (handle == NULL)
        return NULL;
    bool told = fd < loop->fds_len && loop->fds[fd].told & PA_POLL_EDGE;
    int rc = pa_loop_put_handle(loop, fd, event, handle, may_wait_once(loop));
    const pa_fd_slot *slot = rc == 0 && told ? slot_of_handle(loop, fd, event, handle) : NULL; /* cancelling another may have closed the loop */
    if (slot != NULL && slot->told & PA_POLL_EDGE)
        rc = begin_unsure(loop, fd);
    if (rc < 0)
        Py_CLEAR(handle);
    return handle;
}

int pa_loop_wait_again(pa_loop *loop, int fd, unsigned event, PyObject *handle)
{
    const pa_fd_slot *slot = loop->closed ? NULL : slot_of_handle(loop, fd, event, handle);
    if (slot == NULL || !(is_told_once(slot) || slot->told == 0))
        return 0;
    if (slot->told & PA_POLL_EDGE && may_wait_once(loop))
        return begin_unsure(loop, fd);
    unsigned wanted = slot->wanted;
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
