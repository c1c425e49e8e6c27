/* See deadline.h. A time-out is set, and cancelled long before its time: it needs no handle, no callback, no context of its own. But
 * whoever looks (at loop._scheduled, at the time-out's handle, at a loop in debug mode), and the tick in which it is due, has to find the
 * TimerHandle that asyncio would have made. So deadlines lie in the heap among the TimerHandles, at their place in the order, and become
 * one on demand: st->deadline_to_handle, which the file that knows the owners sets, makes a handle, and that takes the entry's place.
 */
#include "core/deadline.h"
#include "core/loop_impl.h"

pa_loop *pa_deadline_loop(pa_state *st, PyObject *loop)
{
    pa_loop *native = pa_loop_from(st, loop);
    unsigned seen = PA_OVER_CALL_AT | PA_OVER_SCHEDULING | PA_OVER_TIME | PA_OVER_TIMER_CANCELLED | PA_OVER_HANDLE_RUN;
    return native != NULL && !native->debug && !native->closed && !(pa_loop_overrides(native) & seen) ? native : NULL;
}

int pa_deadline_set(pa_deadline *deadline, pa_loop *loop, PyObject *owner, double when)
{
    deadline->entry.when = when;
    deadline->entry.owner = owner;
    if (pa_heap_push(&loop->timers, &deadline->entry) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    Py_INCREF(owner);
    deadline->loop = loop;
    return 0;
}

void pa_deadline_drop(pa_deadline *deadline)
{
    pa_loop *loop = deadline->loop;
    if (loop == NULL)
        return;
    pa_heap_remove(&loop->timers, &deadline->entry);
    deadline->loop = NULL;
    Py_DECREF((PyObject *)deadline->entry.owner);
}

/* The handle, whose reference the heap takes, in the place of a deadline that is in the heap. */
static void put_in_place(pa_deadline *deadline, pa_loop *loop, PyObject *handle)
{
    pa_timer *timer = pa_timer_of(loop->st, handle);
    size_t index = deadline->entry.index;
    timer->entry = deadline->entry;
    timer->entry.owner = NULL;
    timer->loop = loop;
    Py_XSETREF(PA_HANDLE_FIELD(handle, loop->st->handle.scheduled), Py_NewRef(Py_True));
    loop->timers.items[index] = &timer->entry;
    deadline->entry.index = PA_HEAP_OUT;
    deadline->loop = NULL;
}

int pa_deadline_handle(pa_deadline *deadline)
{
    PyObject *owner = Py_NewRef((PyObject *)deadline->entry.owner);
    int rc = 0;
    while (rc == 0 && deadline->loop != NULL) {
        pa_loop *loop = (pa_loop *)Py_NewRef((PyObject *)deadline->loop);
        double when = deadline->entry.when;
        PyObject *handle = loop->st->deadline_to_handle(owner, deadline);
        if (handle == NULL) {
            rc = -1;
        } else if (deadline->loop == loop && deadline->entry.when == when) {
            put_in_place(deadline, loop, handle);
            Py_DECREF(owner); /* the heap's; it owns the handle instead */
        } else {
            Py_DECREF(handle); /* making it ran a finalizer, which dropped the deadline, set it anew or had the handle made */
        }
        Py_DECREF((PyObject *)loop);
    }
    Py_DECREF(owner);
    return rc;
}

int pa_loop_need_handles(pa_loop *loop)
{
    bool some = true;
    while (some) { /* making a handle may have changed anything: until a whole round finds none */
        some = false;
        for (size_t i = 0; i < loop->timers.len; i++)
            if (loop->timers.items[i]->owner != NULL) {
                if (pa_deadline_handle((pa_deadline *)loop->timers.items[i]) < 0)
                    return -1;
                some = true;
            }
    }
    return 0;
}
