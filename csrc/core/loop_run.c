/* One tick, and the loop of ticks.
 *
 * A tick is asyncio's _run_once: wait in the poller (not at all if something is ready or the loop is to stop), queue what became
 * ready, queue the timers that are due, and run exactly the entries that the ring holds by then. An entry leaves the ring before it
 * runs, so that an exception that ends the run (SystemExit, KeyboardInterrupt, what an exception handler raised) leaves the rest of
 * the tick where it is, for the next run.
 *
 * The poller is not asked when it could not say anything new: nothing is watched but the loop's own wakeup, and we would not wait.
 * The thread state is given up only while waiting.
 */
#include "core/deadline.h"
#include "core/future_impl.h"
#include "core/loop_impl.h"
#include "core/task.h"
#include "rt/error.h"

#include <errno.h>
#include <math.h>

#define EVENTS_MAX 512
#define SIGNAL_CHECK_TICKS 64
#define TIMEOUT_MAX 86400.0 /* asyncio's MAXIMUM_SELECT_TIMEOUT, seconds */

/* ---- Running entries ---- */

/* "Executing <Handle ...> took 0.123 seconds". 0 or -1. */
static int warn_slow(pa_loop *loop, PyObject *handle, double seconds)
{
    pa_state *st = loop->st;
    PyObject *text = PyObject_CallOneArg(st->format_handle, handle), *result = NULL;
    PyObject *duration = text != NULL ? PyFloat_FromDouble(seconds) : NULL;
    PyObject *format = duration != NULL ? PyUnicode_FromString("Executing %s took %.3f seconds") : NULL;
    PyObject *logger = format != NULL ? PyObject_GetAttr(st->base_events, st->names.logger) : NULL;
    if (logger != NULL)
        result = PyObject_CallMethodObjArgs(logger, st->names.warning, format, text, duration, NULL);
    Py_XDECREF(logger);
    Py_XDECREF(format);
    Py_XDECREF(duration);
    Py_XDECREF(text);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* Debug mode: times the handle. */
static int run_timed(pa_loop *loop, PyObject *handle)
{
    double start, end;
    Py_XSETREF(loop->current_handle, Py_NewRef(handle));
    int rc = pa_loop_now(loop, &start);
    if (rc == 0)
        rc = pa_handle_run(loop, handle);
    if (rc == 0)
        rc = pa_loop_now(loop, &end);
    if (rc == 0 && end - start >= loop->slow_callback_duration)
        rc = warn_slow(loop, handle, end - start);
    Py_CLEAR(loop->current_handle);
    return rc;
}

static int run_handle(pa_loop *loop, pa_ready *entry)
{
    int rc = pa_handle_run_last(loop, &entry->a);
    if (rc <= 0)
        return rc;
    pa_state *st = loop->st;
    PyObject *handle = entry->a;
    int cancelled = pa_handle_is_exact(st, handle) && PA_HANDLE_FIELD(handle, st->handle.cancelled) == Py_False
                        ? 0
                        : pa_handle_cancelled(st, handle);
    if (cancelled != 0)
        return cancelled < 0 ? -1 : 0;
    return loop->debug ? run_timed(loop, handle) : pa_handle_run(loop, handle);
}

/* What a raw entry raised goes where a Handle's exception would go. */
static int report_raw(pa_loop *loop, pa_ready *entry)
{
    if (pa_error_is_exit())
        return -1;
    PyObject *raised = pa_err_take(), *handle = pa_ready_handle(loop, entry);
    if (handle == NULL) {
        Py_XDECREF(raised);
        return -1;
    }
    pa_err_restore(raised);
    return pa_handle_report((PyObject *)loop, handle);
}

static int run_callback(pa_loop *loop, pa_ready *entry)
{
    PyObject *result = pa_call_in_context(entry->context, entry->a, (PyObject **)&entry->b, 1);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* Runs one entry that has left the ring; the references that stay in it are the caller's. 0, or -1 with what ends the run. */
static int run_entry(pa_loop *loop, pa_ready *entry)
{
    if ((loop->debug || loop->over.bits & PA_OVER_HANDLE_RUN) && pa_ready_handle(loop, entry) == NULL)
        return -1;
    int rc = 0;
    if (entry->kind != PA_READY_STEP && entry->kind != PA_READY_WAKEUP && (rc = pa_loop_flush_current(loop)) < 0)
        return -1;
    switch ((pa_ready_kind)entry->kind) {
    case PA_READY_HANDLE:
        return run_handle(loop, entry);
    case PA_READY_STEP:
        rc = pa_task_step(loop, entry->a);
        break;
    case PA_READY_WAKEUP:
        rc = pa_task_wakeup(loop, entry->a, entry->b);
        /* With this entry the future ends, and what it alone holds may look for the current task while it does. */
        if (rc == 0 && Py_REFCNT(entry->b) == 1 && pa_future_holds_alone(entry->b))
            rc = pa_loop_flush_current(loop);
        break;
    case PA_READY_CALLBACK:
        rc = run_callback(loop, entry);
        break;
    case PA_READY_IO:
        rc = pa_loop_run_watch(loop, entry);
        break;
    }
    if (rc == 0)
        return 0;
    (void)pa_loop_flush_current(loop); /* no task is current in an exception handler; keeps the raised exception */
    return report_raw(loop, entry);
}

/* Runs the entries that are in the ring now, not those that they add. */
static int run_ready(pa_loop *loop)
{
    int rc = 0;
    for (size_t n = pa_ready_ring_len(&loop->ready); rc == 0 && n > 0 && pa_ready_ring_len(&loop->ready) > 0; n--) {
        pa_ready entry = pa_ready_ring_pop(&loop->ready);
        rc = run_entry(loop, &entry);
        if (entry.a == NULL)
            continue;
        if (rc < 0) {
            PyObject *raised = pa_err_take();
            pa_ready_drop(&entry);
            pa_err_restore(raised);
        } else {
            pa_ready_drop(&entry);
        }
    }
    return rc;
}

pa_loop_activity pa_loop_activity_of(pa_loop *loop)
{
    pa_mutex_lock(&loop->inbox_lock);
    size_t inbox = pa_ready_ring_len(&loop->inbox);
    pa_mutex_unlock(&loop->inbox_lock);
    return (pa_loop_activity){pa_ready_ring_len(&loop->ready), inbox, loop->timers.next_seq, loop->stopping};
}

bool pa_loop_was_active(pa_loop *loop, pa_loop_activity before)
{
    pa_loop_activity now = pa_loop_activity_of(loop);
    return now.ready != before.ready || now.inbox != before.inbox || now.timers != before.timers || now.stopping != before.stopping;
}

/* ---- Waiting ---- */

/* The first timer's time is no finite number: what `when - time()` is, or that it cannot be told, is the object's own affair, as in
 * asyncio. 0 or -1. */
static int ask_seconds_left(pa_loop *loop, PyObject *handle, double now, double *seconds)
{
    PyObject *when = PyObject_GetAttr(handle, loop->st->names._when), *time = when != NULL ? PyFloat_FromDouble(now) : NULL;
    PyObject *left = time != NULL ? PyNumber_Subtract(when, time) : NULL;
    *seconds = left != NULL ? PyFloat_AsDouble(left) : -1.0;
    int rc = *seconds == -1.0 && PyErr_Occurred() ? -1 : 0;
    Py_XDECREF(left);
    Py_XDECREF(time);
    Py_XDECREF(when);
    return rc;
}

/* Likewise, whether `when >= end`: 1, 0 or -1. */
static int ask_is_later(pa_loop *loop, PyObject *handle, double end)
{
    PyObject *when = PyObject_GetAttr(handle, loop->st->names._when), *time = when != NULL ? PyFloat_FromDouble(end) : NULL;
    int rc = time != NULL ? PyObject_RichCompareBool(when, time, Py_GE) : -1;
    Py_XDECREF(time);
    Py_XDECREF(when);
    return rc;
}

/* Nanoseconds to wait in the poller: 0 for not at all, -1 for ever. -2 with an exception. */
static int64_t pick_timeout(pa_loop *loop)
{
    double now;
    if (loop->stopping || pa_ready_ring_len(&loop->ready) > 0 || pa_ready_ring_len(&loop->inbox) > 0)
        return 0;
    pa_heap_entry *first = pa_heap_min(&loop->timers);
    if (first == NULL)
        return -1;
    if (pa_loop_now(loop, &now) < 0)
        return -2;
    double seconds = (first = pa_heap_min(&loop->timers)) != NULL ? first->when - now : 0.0;
    if (isinf(seconds)) {
        PyObject *handle = Py_NewRef(pa_timer_handle(loop->st, first));
        int rc = ask_seconds_left(loop, handle, now, &seconds);
        Py_DECREF(handle);
        if (rc < 0)
            return -2;
        if (PA_NAN_IS_NO_TIMEOUT && isnan(seconds)) { /* as the selector would, asked to wait that long */
            Py_XDECREF(PyLong_FromDouble(seconds));
            return -2;
        }
    }
    if (seconds > TIMEOUT_MAX)
        seconds = TIMEOUT_MAX;
    return seconds > 0.0 ? (int64_t)ceil(seconds * 1e9) : 0;
}

bool pa_loop_fall_asleep(pa_loop *loop)
{
    pa_mutex_lock(&loop->inbox_lock);
    loop->sleeping = pa_ready_ring_len(&loop->inbox) == 0;
    bool asleep = loop->sleeping;
    pa_mutex_unlock(&loop->inbox_lock);
    return asleep;
}

void pa_loop_wake_up(pa_loop *loop)
{
    pa_mutex_lock(&loop->inbox_lock);
    loop->sleeping = false;
    pa_mutex_unlock(&loop->inbox_lock);
}

/* Takes away what is told of files that have lost their number, and live on elsewhere. What is left. */
static int drop_strangers(pa_loop *loop, pa_poll_event *events, int count)
{
    int kept = 0;
    for (int i = 0; i < count; i++) {
        const pa_fd_slot *slot = pa_loop_find_slot(loop, events[i].fd);
        if (slot != NULL && slot->tag == events[i].tag)
            events[kept++] = events[i];
    }
    return kept;
}

int pa_loop_poll(pa_loop *loop, int64_t timeout, pa_poll_event *events, int max)
{
    if (loop->poller == NULL) {
        PyErr_SetString(PyExc_RuntimeError, loop->closed ? "Event loop is closed" : "the event loop was not initialised");
        return -1;
    }
    if (loop->unsure_len > 0) {
        int ready = pa_loop_settle(loop, timeout != 0);
        if (ready < 0)
            return -1;
        timeout = ready > 0 ? 0 : timeout;
    }
    if (timeout != 0 && !pa_loop_fall_asleep(loop))
        timeout = 0;
    loop->sleeps += timeout != 0;
    int count;
    if (timeout == 0) {
        count = loop->poller_ops->wait(loop->poller, 0, events, max);
    } else {
        const pa_poller_ops *ops = loop->poller_ops;
        pa_poller *poller = loop->poller;
        Py_BEGIN_ALLOW_THREADS
        count = ops->wait(poller, timeout, events, max);
        Py_END_ALLOW_THREADS
        pa_loop_wake_up(loop);
    }
    if (count == -EINTR)
        return PyErr_CheckSignals();
    if (count < 0) {
        pa_error_from_rc(count);
        return -1;
    }
    return loop->poller_ops->once ? drop_strangers(loop, events, count) : count;
}

/* Waits and queues what became ready. What is put off to the end of the tick goes out first: there is some if a callback runs the loop in
 * its turn. */
static int wait_for_events(pa_loop *loop)
{
    if (pa_link_is_linked(&loop->deferred) && pa_loop_run_deferred(loop) < 0)
        return -1;
    int64_t timeout = pick_timeout(loop);
    if (timeout == -2)
        return -1;
    if (loop->selector != NULL || loop->over.bits & PA_OVER_PROCESS_EVENTS)
        return pa_loop_select(loop, timeout);
    if (timeout == 0 && loop->watched == 0 && loop->poller != NULL && !pa_signals_expected(loop))
        return 0;
    pa_poll_event events[EVENTS_MAX];
    int count = pa_loop_poll(loop, timeout, events, EVENTS_MAX);
    return count < 0 ? -1 : pa_loop_process(loop, events, count);
}

/* Queues the timers that are due. */
static int queue_due(pa_loop *loop)
{
    double now;
    if (loop->timers.len == 0 && !(loop->over.bits & PA_OVER_TIME))
        return 0;
    if (pa_loop_now(loop, &now) < 0)
        return -1;
    /* What is due within the clock's resolution is due; at least the next number, or a timer could be waited for in vain. */
    double end = fmax(now + loop->clock_resolution, nextafter(now, HUGE_VAL));
    pa_heap_entry *first;
    while ((first = pa_heap_min(&loop->timers)) != NULL) {
        if (isinf(first->when)) {
            PyObject *handle = Py_NewRef(pa_timer_handle(loop->st, first));
            int later = ask_is_later(loop, handle, end);
            Py_DECREF(handle);
            if (later != 0)
                return later < 0 ? -1 : 0;
            if (pa_heap_min(&loop->timers) != first) /* by what was asked */
                continue;
        } else if (first->when >= end) {
            break;
        }
        if (first->owner != NULL) {
            if (pa_deadline_handle((pa_deadline *)first) < 0)
                return -1;
            continue;
        }
        /* Without room it stays in the heap, and is due in the next tick. */
        if (pa_ready_ring_len(&loop->inbox) > 0 && pa_loop_drain_inbox(loop) < 0)
            return -1;
        if (pa_ready_ring_reserve(&loop->ready) < 0) {
            PyErr_NoMemory();
            return -1;
        }
        PyObject *timer = pa_loop_take_timer(loop, first);
        if (pa_loop_push(loop, (pa_ready){.kind = PA_READY_HANDLE, .a = timer}) < 0)
            return -1;
    }
    return 0;
}

/* ---- Ticks ---- */

/* Whether the next tick begins without any Python code in between but what may run at any moment, as signal handlers do. Then the
 * current task stays noted, for the next step to overwrite. */
static inline bool next_tick_is_native(pa_loop *loop)
{
    return pa_ready_ring_len(&loop->ready) > 0 && !loop->stopping && loop->selector == NULL && loop->scheduled_list == NULL &&
           !pa_link_is_linked(&loop->deferred) && !(pa_loop_overrides(loop) & (PA_OVER_RUN_ONCE | PA_OVER_PROCESS_EVENTS | PA_OVER_TIME));
}

/* Whether such a tick would do nothing but run what is ready: nothing can have come from outside, and it is not yet time to ask for
 * signals. */
static inline bool next_tick_only_runs(pa_loop *loop)
{
    return pa_ready_ring_len(&loop->inbox) == 0 && loop->timers.len == 0 && loop->watched == 0 && loop->poller != NULL &&
           !pa_signals_expected(loop) && ++loop->unchecked_ticks < SIGNAL_CHECK_TICKS;
}

/* What is ready by now; and, with `more`, the ticks after it that are so plain. */
static int run_plain_ticks(pa_loop *loop, bool more)
{
    int rc = run_ready(loop);
    while (rc == 0 && more && next_tick_is_native(loop)) {
        if (!next_tick_only_runs(loop))
            return 0;
        pa_loop_notice_tracer(loop);
        rc = run_ready(loop);
    }
    if (rc == 0)
        return pa_loop_flush_current(loop);
    PyObject *raised = pa_err_take();
    if (pa_loop_flush_current(loop) < 0)
        PyErr_WriteUnraisable((PyObject *)loop);
    pa_err_restore(raised);
    return rc;
}

/* more: the caller goes on with the next tick at once, unless the loop is stopping. */
static int run_once(pa_loop *loop, bool more)
{
    pa_loop_overrides(loop);
    pa_loop_notice_tracer(loop);
    /* While there is something to run, Python code looks for signals itself; but callbacks need not be Python code. */
    bool idle = pa_ready_ring_len(&loop->ready) == 0 || ++loop->unchecked_ticks >= SIGNAL_CHECK_TICKS;
    if (idle) {
        loop->unchecked_ticks = 0;
        if (PyErr_CheckSignals() < 0)
            return -1;
    }
    if ((loop->scheduled_list != NULL && pa_scheduled_sync(loop) < 0))
        return -1;
    if (pa_ready_ring_len(&loop->inbox) > 0 && pa_loop_drain_inbox(loop) < 0)
        return -1;
    if (wait_for_events(loop) < 0)
        return -1;
    if ((pa_ready_ring_len(&loop->inbox) > 0 && pa_loop_drain_inbox(loop) < 0) || queue_due(loop) < 0)
        return -1;
    bool was_ticking = loop->ticking; /* a callback may run the loop in its turn */
    loop->ticking = true;
    int rc = run_plain_ticks(loop, more);
    if (pa_link_is_linked(&loop->deferred) && pa_loop_run_deferred(loop) < 0)
        rc = -1;
    loop->ticking = was_ticking;
    return rc;
}

static PyObject *loop_run_once(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (run_once((pa_loop *)self, false) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Notes the thread that runs a loop, the one that began last; false if it is noted already. */
static bool note_runner(pa_state *st)
{
    if (st->runner.state != NULL && pthread_equal(st->runner.thread, pthread_self()))
        return false;
    st->runner.thread = pthread_self();
    st->runner.state = PyThreadState_Get();
    return true;
}

/* Who noted itself runs no more. */
static void forget_runner(pa_state *st)
{
    if (st->runner.state != NULL && pthread_equal(st->runner.thread, pthread_self()))
        st->runner.state = NULL;
}

void pa_loop_forget_other_runner(pa_state *st)
{
    if (st->runner.state != NULL && !pthread_equal(st->runner.thread, pthread_self()))
        st->runner.state = NULL;
}

static PyObject *loop_run_ticks(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    pa_loop *loop = (pa_loop *)self;
    if (pa_signals_begin(loop) < 0)
        return NULL;
    bool noted = note_runner(loop->st);
    int rc;
    do {
        if (pa_loop_overrides(loop) & PA_OVER_RUN_ONCE) {
            PyObject *result = PyObject_CallMethodNoArgs(self, loop->st->names._run_once);
            rc = result != NULL ? 0 : -1;
            Py_XDECREF(result);
        } else {
            rc = run_once(loop, true);
        }
    } while (rc == 0 && !loop->stopping);
    if (noted)
        forget_runner(loop->st);
    pa_signals_end(loop);
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyMethodDef pa_loop_run_methods[] = {
    {"_run_once", loop_run_once, METH_NOARGS,
     PyDoc_STR("_run_once($self, /)\n--\n\nRun one full iteration: wait for I/O, queue what is due, call what is ready.")},
    {"_run_ticks", loop_run_ticks, METH_NOARGS,
     PyDoc_STR("_run_ticks($self, /)\n--\n\nIterations until stop() is called: the inner part of run_forever().")},
    {NULL},
};
