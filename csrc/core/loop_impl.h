/* The loop from inside: what the loop_*.c files, handle.c, signals.c and current.c share. Nobody else includes this.
 *
 * Everything in pa_loop belongs to the thread that runs the loop, except the inbox, its lock and `sleeping`.
 */
#ifndef PA_CORE_LOOP_IMPL_H
#define PA_CORE_LOOP_IMPL_H

#include "core/loop.h"
#include "core/handle.h"
#include "rt/override.h"

#include <stdbool.h>

#define PA_FREE_HANDLES_MAX 1024

/* One descriptor of the loop's table. `wanted` is what is waited for, `told` what the poller was told last, with which `tag`: the same, or
 * what loop_wait.c makes of it, whose the other fields are. Either a watch or the two Handles; see loop_fd.c. */
typedef struct {
    uint8_t wanted, told;
    bool reported : 1;    /* since the wait began */
    bool unsure : 1;      /* it is in loop->unsure */
    uint8_t returns;      /* waits in a row that began before the loop has slept */
    uint16_t tag, sleeps; /* loop->sleeps when it was reported */
    PyObject *reader, *writer; /* owned */
    pa_watch *watch;           /* the loop owns its owner while watch->events is not 0 */
} pa_fd_slot;

/* A descriptor whose wait, or whose end of waiting, the poller has not been told of. */
typedef struct {
    int fd;
    int polls; /* since */
} pa_unsure;

/* Handles that were freed and wait to be used again, chained through their first slot. */
typedef struct {
    PyObject *first;
    int len;
} pa_free_list;

/* Methods whose override has to be honoured by native callers (D2). */
enum {
    PA_OVER_CALL_SOON = 1u << 0,
    PA_OVER_SCHEDULING = 1u << 1, /* _call_soon or _check_closed: what call_soon consists of */
    PA_OVER_CALL_AT = 1u << 2,
    PA_OVER_TIME = 1u << 3,
    PA_OVER_RUN_ONCE = 1u << 4,
    PA_OVER_PROCESS_EVENTS = 1u << 5,
    PA_OVER_ADD_CALLBACK = 1u << 6,
    PA_OVER_WRITE_TO_SELF = 1u << 7,
    PA_OVER_TIMER_CANCELLED = 1u << 8,
    PA_OVER_CREATE_TASK = 1u << 10, /* BaseEventLoop.create_task was replaced, and we are not */
    PA_OVER_CREATE_FUTURE = 1u << 11,
    PA_OVER_CALL_LATER = 1u << 12,
    PA_OVER_OWN_CREATE_TASK = 1u << 13, /* ours was replaced */
    PA_OVER_SOON_THREADSAFE = 1u << 14,
    PA_OVER_FDS = 1u << 15, /* what the sock_* methods and add_reader() call: _add_reader, remove_reader and their kin */
    PA_OVER_HANDLE_RUN = 1u << 9, /* asyncio.Handle._run was replaced or rewritten: tracers do that */
};

/* Attributes that only asyncio's code and loop.py use. They have fields so that an ordinary loop has no dict at all: the interpreter then
 * finds `loop.call_soon` without looking into one. */
typedef enum {
    PA_COLD_DEFAULT_EXECUTOR,
    PA_COLD_EXECUTOR_SHUTDOWN_CALLED,
    PA_COLD_ASYNCGENS,
    PA_COLD_ASYNCGENS_SHUTDOWN_CALLED,
    PA_COLD_EXCEPTION_HANDLER,
    PA_COLD_ORIGIN_TRACKING_ENABLED,
    PA_COLD_ORIGIN_TRACKING_SAVED_DEPTH,
    PA_COLD_OLD_AGEN_HOOKS,
    PA_COLD_TRANSPORTS,
    PA_COLD_UNIX_SERVER_SOCKETS,
    PA_COLD_WATCHER,
    PA_COLD_TRANSPORTS_SEEN, /* not the user's: the _transports that loop_owner.c saw last, */
    PA_COLD_TRANSPORTS_DATA, /* and its dict */
    PA_COLD_LEN,
} pa_cold;

/* What the override bits were computed from. */
typedef struct {
    unsigned bits;
    unsigned type_tag, handle_tag; /* tp_version_tag of the loop's type and of asyncio.Handle; 0 never matches */
    PyTypeObject *type;            /* borrowed, compared only */
    Py_ssize_t dict_used;
    bool handle_rewritten;         /* asyncio.Handle._run has other code */
} pa_overrides;

struct pa_loop {
    PyObject_HEAD
    pa_state *st;
    pa_link link; /* of st->loops, while the poller is open */
    PyObject *dict, *weakrefs;
    PyObject *cold[PA_COLD_LEN]; /* NULL: there is no such attribute yet */

    pa_ready_ring ready;
    pa_heap timers; /* owns its TimerHandles */
    pa_overrides over;
    bool closed, stopping, debug;
    bool ticking;   /* run_ready() is at work: what is put off now runs when it ends */

    unsigned unchecked_ticks; /* since we last asked for signals */

    pa_link deferred; /* pa_deferred, see loop_defer.c */

    /* the current task of this loop as core/current.c left it */
    PyObject *current;       /* owned; NULL when the registry shows none or something foreign */
    Py_ssize_t current_hint; /* of pa_dict_slot */

    pa_mutex inbox_lock;
    pa_ready_ring inbox; /* what other threads scheduled, oldest first; all of it is newer than what lies in `ready` */
    bool sleeping;       /* the loop may be waiting in the poller: a push to the inbox has to wake it */

    const pa_poller_ops *poller_ops;
    pa_poller *poller; /* NULL before _open() and after close */
    pa_wakeup wakeup;
    pa_fd_slot *fds; /* indexed by descriptor */
    int fds_len;
    int watched; /* descriptors with something wanted, but for the loop's own */
    uint16_t last_tag, sleeps; /* how often the poller was told something, and asked to wait */
    pa_unsure *unsure;         /* loop_wait.c: the oldest first */
    int unsure_len, unsure_cap;
    pa_watch signal_watch; /* the reading end of the signal pair; fd -1 when there is none */
    int signal_read_fd;    /* the same descriptor, to be closed */
    int signal_fd;         /* its writing end, which signal.set_wakeup_fd gets */
    PyObject *signal_handlers; /* the dict _signal_handlers, or NULL */
    bool signal_run;       /* run_forever set the wakeup descriptor and has to take it back */
    char *read_buffer;

    PyObject *thread_id; /* what _run_forever_setup stored; NULL for None */
    unsigned long thread_ident;
    double clock_resolution, slow_callback_duration;
    PyObject *task_factory, *current_handle; /* NULL for None */
    PyObject *debug_object;                  /* what _debug was given, if that was no bool */
    PyObject *selector;                      /* what was assigned to _selector, or the view that was asked for */
    PyObject *scheduled_list;                /* the list last given out as _scheduled; see loop_views.c */
    Py_ssize_t timer_cancelled_count;
    int internal_fds;
    pa_free_list free_handles, free_timers, free_threadsafe;
};

/* ---- Overrides (loop_overrides.c) ---- */

/* Computes the bits anew. They are 0 for names that cannot be looked up. */
void pa_loop_find_overrides(pa_loop *loop);

static inline Py_ssize_t pa_loop_dict_used(const pa_loop *loop)
{
    return loop->dict != NULL ? PyDict_GET_SIZE(loop->dict) : 0;
}

static inline unsigned pa_loop_overrides(pa_loop *loop)
{
    PyTypeObject *type = Py_TYPE(loop);
    if (loop->over.type_tag == 0 || type->tp_version_tag != loop->over.type_tag || type != loop->over.type ||
        pa_loop_dict_used(loop) != loop->over.dict_used || loop->st->aio_Handle->tp_version_tag != loop->over.handle_tag)
        pa_loop_find_overrides(loop);
    return loop->over.bits;
}

/* Tracers rewrite Python functions in place, which changes no version. Once a tick for Handle._run, at each task for create_task. */
static inline void pa_loop_notice_tracer(pa_loop *loop)
{
    pa_state *st = loop->st;
    if (pa_override_rewritten(st->handle_run, st->handle_run_code) != loop->over.handle_rewritten)
        pa_loop_find_overrides(loop);
}

static inline bool pa_loop_traces_tasks(pa_state *st) { return pa_override_rewritten(st->base_create_task, st->base_create_task_code); }

/* ---- Ready entries (loop_sched.c) ---- */

int pa_loop_drain_inbox(pa_loop *loop);               /* 0 or -1 with MemoryError (the rest stays in the inbox) */
int pa_loop_push(pa_loop *loop, pa_ready entry);      /* steals the entry's references, on failure too. 0 or -1 */
void pa_ready_drop(pa_ready *entry);                  /* releases what an entry owns */
void pa_ring_drop(pa_ready_ring *ring);               /* ... of all entries; the ring is empty and freed afterwards */
PyObject *pa_ready_handle(pa_loop *loop, pa_ready *entry); /* borrowed: the entry's Handle; made and put in its place if need be */

/* What call_soon(callback, *args, context=None) was given, or call_at(when, callback, *args, context=None). */
typedef struct {
    PyObject *first;              /* borrowed: what stands before the callback */
    PyObject *callback, *context; /* borrowed; context NULL for None */
    PyObject *args;               /* new */
} pa_callback_args;

/* `first`: the name of what stands before the callback, or NULL. 0, or -1 with TypeError. */
int pa_callback_parse(PyObject *self, const char *name, const char *first, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames,
                      pa_callback_args *out);

int pa_loop_check_closed(pa_loop *loop);       /* 0 or -1 with RuntimeError; honours an overridden _check_closed */
int pa_loop_now(pa_loop *loop, double *now);   /* loop.time(). 0 or -1 */
int pa_loop_wake(pa_loop *loop);               /* what _write_to_self does. 0 or -1 with OSError */
/* The place of a time in the heap, infinite for what is no number that a double can hold: a tick then asks the object itself, as asyncio
 * does. 0, or -1 with TypeError for what cannot be compared with the other timers. */
int pa_loop_order_of(pa_loop *loop, PyObject *when, double *order);
int pa_loop_schedule(pa_loop *loop, PyObject *timer); /* puts a native TimerHandle into the heap, which takes a reference. 0 or -1 */
void pa_loop_unschedule(pa_state *st, PyObject *timer); /* takes a native TimerHandle out of the heap it is in, if any */
PyObject *pa_loop_take_timer(pa_loop *loop, pa_heap_entry *entry); /* the same, with the heap's reference: new */
int pa_loop_need_handles(pa_loop *loop); /* makes TimerHandles of all deadlines (deadline.c). 0 or -1 */
extern PyMethodDef pa_loop_sched_methods[];

/* Nothing to do most of the time: then there is no call. */
static inline int pa_loop_flush_current(pa_loop *loop) { return loop->current != NULL ? pa_current_flush(loop) : 0; }

/* ---- Handles (handle.c) ---- */

#define PA_HANDLE_FIELD(handle, offset) (*(PyObject **)((char *)(handle) + (offset)))

/* What a native TimerHandle has behind asyncio's slots. */
typedef struct {
    pa_heap_entry entry;
    pa_loop *loop; /* borrowed: whose heap it is in; NULL outside */
} pa_timer;

static inline pa_timer *pa_timer_of(pa_state *st, PyObject *handle) { return (pa_timer *)((char *)handle + st->handle.timer); }
static inline PyObject *pa_timer_handle(pa_state *st, pa_heap_entry *entry)
{
    return (PyObject *)((char *)entry - st->handle.timer - offsetof(pa_timer, entry));
}

/* A TimerHandle that is in no heap yet. when_object: what _when shows; NULL for float(when). New. */
PyObject *pa_timer_new(pa_loop *loop, PyObject *when_object, double when, PyObject *callback, PyObject *args, PyObject *context);
int pa_handle_cancel(pa_state *st, PyObject *handle); /* handle.cancel(). 0 or -1 */
int pa_timer_cancel(pa_state *st, PyObject *timer); /* TimerHandle.cancel of an exact one. 0 or -1 */
/* What call_soon_threadsafe returns: as pa_handle_new. */
PyObject *pa_handle_new_threadsafe(pa_loop *loop, PyObject *callback, PyObject *args, PyObject *context);
/* Exactly ours: the slots are where we know them and _run is not overridden. */
static inline bool pa_handle_is_exact(pa_state *st, PyObject *obj)
{
    return Py_TYPE(obj) == st->Handle || Py_TYPE(obj) == st->TimerHandle || Py_TYPE(obj) == st->ThreadSafeHandle;
}
/* callable(*args) in `context` (NULL: none; anything with run() will do). New result. */
PyObject *pa_call_in_context(PyObject *context, PyObject *callable, PyObject *const *args, Py_ssize_t nargs);
void pa_handle_free_list_clear(pa_free_list *list);
/* The end of a Handle of this loop whose last reference the caller has, not cancelled and nothing noted in it. Its callback, args and
 * context are the caller's from now on. */
void pa_handle_reuse(pa_loop *loop, PyObject *self);

/* ---- Running handles (handle_run.c) ---- */

/* Runs the Handle of an entry that has left the ring, if that is its last reference: 0, or -1 as pa_handle_run, and it is gone. 1, and
 * nothing happened, if somebody could see that. */
int pa_handle_run_last(pa_loop *loop, PyObject **handle);
int pa_handle_run_native(pa_state *st, PyObject *loop, PyObject *handle); /* Handle._run, not overridden. 0 or -1 */
/* Whether other threads may have it: the kind that call_soon_threadsafe gives where asyncio has one. */
bool pa_handle_is_shared(pa_state *st, PyObject *handle);
int pa_handle_truth_of_cancelled(pa_state *st, PyObject *handle); /* of an exact one: 0, 1 or -1 */
/* A slot that nobody has filled: no __init__ ran, or somebody deleted it. -1 with the slot's own AttributeError. */
int pa_handle_raise_missing(PyObject *self, const char *name);

/* ---- Errors (loop_errors.c) ---- */

/* "Exception in callback ...", as Handle._run reports what is raised now. loop: NULL for a handle without one. 0; -1 if it ends the loop or
 * the handler raised. */
int pa_handle_report(PyObject *loop, PyObject *handle);

/* ---- Running (loop_run.c) ---- */

/* From here to the other whoever posts to the inbox wakes us. False, and nothing happened, if somebody has posted already. */
bool pa_loop_fall_asleep(pa_loop *loop);
void pa_loop_wake_up(pa_loop *loop);

/* Asks the poller; wakeups from other threads end the wait. timeout in ns, negative: for ever. The number of events, or -1. */
int pa_loop_poll(pa_loop *loop, int64_t timeout, pa_poll_event *events, int max);
extern PyMethodDef pa_loop_run_methods[];

/* ---- The end of a tick (loop_defer.c) ---- */

/* Does what was put off. Keeps a raised exception, and goes on after a failure: the first one counts. 0, or -1 with what ends the run. */
int pa_loop_run_deferred(pa_loop *loop);

/* ---- Descriptors (loop_fd.c) ---- */
int pa_loop_open_poller(pa_loop *loop, const char *name); /* 0 or -1 */
void pa_loop_close_poller(pa_loop *loop);                 /* closes descriptors only; what the table owns is dropped */
static inline pa_fd_slot *pa_loop_find_slot(pa_loop *loop, int fd) { return fd >= 0 && fd < loop->fds_len ? &loop->fds[fd] : NULL; }
pa_fd_slot *pa_loop_need_slot(pa_loop *loop, int fd); /* of any fd >= 0; NULL with MemoryError */
int pa_loop_want(pa_loop *loop, int fd, unsigned events); /* makes the poller want this of fd, whose slot there is. 0, or -1 and nothing
                                                           * changed */
/* The same, where the poller is told `tell`: `events`, perhaps with PA_POLL_ONCE or PA_POLL_EDGE. */
int pa_loop_want_as(pa_loop *loop, int fd, unsigned events, unsigned tell);
int pa_loop_tell(pa_loop *loop, int fd, unsigned tell); /* tells the poller, whatever it was told before. 0, or -errno and nothing changed */
void pa_loop_want_nothing(pa_loop *loop, int fd); /* forgets what is wanted, where the poller has failed to */
int pa_loop_require_open(pa_loop *loop);            /* 0, or -1 with RuntimeError */
int pa_loop_check_free(pa_loop *loop, int fd);      /* 0, or -1 with RuntimeError if a transport that is not closing has fd */
/* Makes `handle` (NULL: none) the reader or writer of fd; *old is what it replaces, new. `once`: see loop_wait.c. 0, or -1 with nothing
 * changed. */
int pa_loop_exchange(pa_loop *loop, int fd, unsigned event, PyObject *handle, bool once, PyObject **old);
/* What _add_reader and _add_writer do with the Handle, which _remove_reader and _remove_writer take away. 0, or -1; 1 or 0, or -1. */
int pa_loop_put_handle(pa_loop *loop, int fd, unsigned event, PyObject *handle, bool once);
int pa_loop_drop_handle(pa_loop *loop, int fd, unsigned event);
int pa_loop_select(pa_loop *loop, int64_t timeout); /* the wait through _selector.select and _process_events. 0 or -1 */
int pa_loop_process(pa_loop *loop, const pa_poll_event *events, int count); /* queues what became ready. 0 or -1 */
/* After a fork, in the child: what we share with the parent (the poller, the wakeup, the signal pair) is replaced by our own. */
void pa_loop_part_from_parent(pa_loop *loop);
int pa_loop_fds_traverse(pa_loop *loop, visitproc visit, void *arg);

/* ---- Waits (loop_wait.c) ---- */
unsigned pa_loop_tell_wait(pa_loop *loop, int fd, unsigned event); /* what the poller is to be told of one that is alone at fd */
bool pa_loop_note_unsure(pa_loop *loop, int fd); /* false without memory: the poller has to be told at once */
/* Before the poller is asked, `sleeping`: to wait. 1 if something is ready by now, 0, or -1 with MemoryError. */
int pa_loop_settle(pa_loop *loop, bool sleeping);
/* What was told as PA_POLL_ONCE or PA_POLL_EDGE has been reported; and what was reported of such gets reported again, for whoever did not
 * use it, which keeps a raised exception. */
void pa_loop_was_reported(pa_loop *loop, int fd);
void pa_loop_report_again(pa_loop *loop, const pa_poll_event *events, int count);
void pa_loop_ready_is_taken(pa_loop *loop); /* a program takes Handles out of loop._ready, and may drop them: the same of all */

/* ---- Watches, readers and writers (loop_watch.c, loop_owner.c, loop_reader.c) ---- */
PyObject *pa_watch_callable(pa_loop *loop, const pa_ready *entry); /* stands for a PA_READY_IO entry: new */
int pa_loop_run_watch(pa_loop *loop, pa_ready *entry);    /* a PA_READY_IO entry. 0 or -1 as a callback's */
void pa_watch_release(pa_loop *loop, pa_watch *watch); /* nothing is wanted any more: gives the owner back */
/* As pa_loop_check_free(); `shown`: the descriptor as the user gave it. fd may be negative: nobody has that. */
int pa_loop_check_free_of(pa_loop *loop, int fd, PyObject *shown);
extern PyMethodDef pa_loop_reader_methods[];
extern PyMethodDef pa_loop_selector_methods[]; /* loop_selector.c */

/* ---- Signals (signals.c) ---- */
void pa_signals_init(pa_loop *loop);
static inline bool pa_signals_expected(const pa_loop *loop)
{
    return loop->signal_handlers != NULL && PyDict_Check(loop->signal_handlers) && PyDict_GET_SIZE(loop->signal_handlers) > 0;
}
int pa_signals_begin(pa_loop *loop); /* run_forever starts: signals shall end the poller's sleep. 0 or -1 */
void pa_signals_end(pa_loop *loop);  /* keeps the raised exception */
void pa_signals_part_from_parent(pa_loop *loop);
void pa_signals_close(pa_loop *loop); /* after the poller */
extern PyMethodDef pa_loop_signal_methods[];

/* ---- _ready and _scheduled (loop_views.c) ---- */
int pa_views_setup(PyObject *module, pa_state *st);
PyObject *pa_ready_view(pa_loop *loop);                    /* new */
int pa_ready_assign(pa_loop *loop, PyObject *handles);     /* _ready = handles */
PyObject *pa_scheduled_list(pa_loop *loop);                /* new */
int pa_scheduled_assign(pa_loop *loop, PyObject *handles); /* _scheduled = handles */
int pa_scheduled_sync(pa_loop *loop);                      /* what was done to the list happens to the heap. 0 or -1 */

#endif
