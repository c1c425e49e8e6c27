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

PyObject *pa_deadline_handle(pa_deadline *deadline)
{
    pa_loop *loop = deadline->loop;
    pa_state *st = loop->st;
    PyObject *owner = Py_NewRef((PyObject *)deadline->entry.owner);
    PyObject *handle = st->deadline_to_handle(owner, deadline);
    if (handle != NULL && deadline->loop == loop) { /* making it may have run a finalizer that dropped the deadline */
        pa_timer *timer = pa_timer_of(st, handle);
        size_t index = deadline->entry.index;
        timer->entry = deadline->entry;
        timer->entry.owner = NULL;
        timer->loop = loop;
        Py_XSETREF(PA_HANDLE_FIELD(handle, st->handle.scheduled), Py_NewRef(Py_True));
        loop->timers.items[index] = &timer->entry;
        deadline->entry.index = PA_HEAP_OUT;
        deadline->loop = NULL;
        Py_DECREF(owner); /* the heap's; it owns the handle instead */
    } else if (handle != NULL) {
        Py_CLEAR(handle);
        PyErr_SetString(PyExc_RuntimeError, "the timer is not scheduled any more");
    }
    Py_DECREF(owner);
    return handle;
}

PyObject *pa_loop_timer_of(pa_loop *loop, pa_heap_entry *entry)
{
    return entry->owner == NULL ? pa_timer_handle(loop->st, entry) : pa_deadline_handle((pa_deadline *)entry);
}

int pa_loop_need_handles(pa_loop *loop)
{
    bool some = true;
    while (some) { /* making a handle may have changed anything: until a whole round finds none */
        some = false;
        for (size_t i = 0; i < loop->timers.len; i++)
            if (loop->timers.items[i]->owner != NULL) {
                if (pa_loop_timer_of(loop, loop->timers.items[i]) == NULL)
                    return -1;
                some = true;
            }
    }
    return 0;
}
