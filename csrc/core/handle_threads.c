/* Handles of call_soon_threadsafe() where asyncio gives them a lock (3.14 on): cancel() and cancelled() of another thread wait while the
 * callback runs, so that after cancel() nothing of it runs any more.
 *
 * asyncio holds an RLock around each call. Here a call only notes itself in a list of the module, in the frame that makes it; a lock
 * exists while somebody waits, made by who waits. Both lists hold records on C stacks: what is in them is being run or waited for.
 * Any thread may call any of this; the lists belong to whoever holds the GIL, without one to the mutex beside them.
 */
#include "core/handle.h"

typedef struct {
    pa_link link; /* in st->handle_waits */
    PyObject *handle;
    PyThread_type_lock lock;
} wait_record;

static bool runs_elsewhere(pa_state *st, PyObject *handle)
{
    unsigned long self = PyThread_get_thread_ident();
    for (pa_link *link = st->handle_runs.next; link != &st->handle_runs; link = link->next) {
        pa_handle_run_record *run = PA_LINK_OWNER(link, pa_handle_run_record, link);
        if (run->handle == handle && run->thread != self)
            return true;
    }
    return false;
}

/* Waits for the lock without the GIL; signal handlers run meanwhile and may raise. 0 or -1. */
static int wait_for(PyThread_type_lock lock)
{
    for (;;) {
        PyLockStatus status;
        Py_BEGIN_ALLOW_THREADS
        status = PyThread_acquire_lock_timed(lock, -1, 1);
        Py_END_ALLOW_THREADS
        if (status == PY_LOCK_ACQUIRED)
            return 0;
        if (PyErr_CheckSignals() < 0)
            return -1;
    }
}

int pa_handle_wait(pa_state *st, PyObject *handle)
{
    int rc = 0;
    while (rc == 0) {
        wait_record wait = {.handle = handle, .lock = NULL};
        pa_mutex_lock(&st->handle_lock);
        bool busy = runs_elsewhere(st, handle);
        if (busy && (wait.lock = PyThread_allocate_lock()) != NULL) {
            PyThread_acquire_lock(wait.lock, WAIT_LOCK);
            pa_list_append(&st->handle_waits, &wait.link);
        }
        pa_mutex_unlock(&st->handle_lock);
        if (!busy)
            return 0;
        if (wait.lock == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        rc = wait_for(wait.lock);
        pa_mutex_lock(&st->handle_lock);
        pa_link_remove(&wait.link);
        pa_mutex_unlock(&st->handle_lock);
        PyThread_free_lock(wait.lock);
    }
    return rc;
}

void pa_handle_run_begin(pa_state *st, PyObject *handle, pa_handle_run_record *run)
{
    run->handle = handle;
    run->thread = PyThread_get_thread_ident();
    pa_mutex_lock(&st->handle_lock);
    pa_list_append(&st->handle_runs, &run->link);
    pa_mutex_unlock(&st->handle_lock);
}

void pa_handle_run_end(pa_state *st, pa_handle_run_record *run)
{
    pa_mutex_lock(&st->handle_lock);
    pa_link_remove(&run->link);
    for (pa_link *link = st->handle_waits.next, *next; link != &st->handle_waits; link = next) {
        wait_record *wait = PA_LINK_OWNER(link, wait_record, link);
        next = link->next;
        if (wait->handle == run->handle) { /* whoever waits looks again: the handle may run in a frame further out */
            pa_link_remove(link);
            PyThread_release_lock(wait->lock);
        }
    }
    pa_mutex_unlock(&st->handle_lock);
}
