/* Work put off to the end of the tick (pa_deferred): a list in the order in which it was asked for. An owner that is on the list is
 * kept alive by it. The loop's thread only; another thread that asks is told to do its work at once. */
#include "core/loop_impl.h"
#include "rt/error.h"

bool pa_loop_defer(pa_loop *loop, pa_deferred *work)
{
    if (pa_link_is_linked(&work->link))
        return true;
    if (!loop->ticking || loop->thread_ident != PyThread_get_thread_ident())
        return false;
    Py_INCREF(work->owner);
    pa_list_append(&loop->deferred, &work->link);
    return true;
}

void pa_loop_undefer(pa_loop *loop, pa_deferred *work)
{
    if (!pa_link_is_linked(&work->link))
        return;
    pa_link_remove(&work->link);
    Py_DECREF(work->owner);
}

int pa_loop_run_deferred(pa_loop *loop)
{
    PyObject *raised = pa_err_take();
    while (pa_link_is_linked(&loop->deferred)) {
        pa_deferred *work = PA_LINK_OWNER(loop->deferred.next, pa_deferred, link);
        PyObject *owner = Py_NewRef(work->owner);
        pa_loop_undefer(loop, work);
        if (work->run(loop, owner) < 0) {
            if (!pa_error_is_exit())
                pa_loop_report((PyObject *)loop, NULL, "Exception at the end of an iteration", NULL);
            PyObject *exc = pa_err_take();
            if (raised == NULL)
                raised = exc;
            else
                Py_XDECREF(exc);
        }
        Py_DECREF(owner);
    }
    if (raised == NULL)
        return 0;
    pa_err_restore(raised);
    return -1;
}
