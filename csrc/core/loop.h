/* The event loop's C half: the ready ring, timers, descriptors, wakeup. What other files need of it.
 *
 * pyasync.EventLoop is class EventLoop(_core.EventLoop, asyncio.BaseEventLoop); every struct here belongs to the C base, so it is the
 * same for every Python subclass. A loop belongs to the thread that runs it; the only entry for other threads is
 * call_soon_threadsafe (the locked inbox, and the wakeup if the loop sleeps).
 *
 * One tick (loop_run.c): take the inbox, wait in the poller (not at all if something is ready), queue what became ready (I/O in the
 * poller's order, then due timers), run exactly the entries that were in the ring by then. What is added meanwhile runs in the next.
 */
#ifndef PA_CORE_LOOP_H
#define PA_CORE_LOOP_H

#include "rt/state.h"
#include "base/heap.h"
#include "base/poller.h"
#include "base/ring.h"
#include "base/wakeup.h"

typedef struct pa_loop pa_loop;

/* ---- The ready ring ---- */

typedef enum {
    PA_READY_HANDLE,   /* a: a Handle */
    PA_READY_STEP,     /* a: an exact or derived native Task, to be stepped for the first time or after a bare yield */
    PA_READY_WAKEUP,   /* a: a native Task, b: the native future it waited for */
    PA_READY_CALLBACK, /* a: callable, b: its one argument (a future), context: where to run it */
    PA_READY_IO,       /* a: a watch's owner, b: the pa_watch inside it, events: what is ready */
} pa_ready_kind;

/* Plain data, copied in and out of the ring. Object pointers are owned by the entry (b not for PA_READY_IO). */
typedef struct {
    uint32_t kind;
    uint32_t events;
    PyObject *a;
    void *b;
    PyObject *context;
} pa_ready;

PA_RING_DECLARE(pa_ready_ring, pa_ready)

/* What BaseEventLoop.call_soon does, without a Handle: closed and thread checks (the latter in debug mode), then the end of the
 * FIFO. Where the user could see a difference (debug mode; an overridden call_soon) these make the Handle and call `call_soon`. They
 * take new references of what they keep. 0, or -1 with an exception. */
int pa_loop_soon_step(pa_loop *loop, PyObject *task);
int pa_loop_soon_wakeup(pa_loop *loop, PyObject *task, PyObject *future);
int pa_loop_soon_callback(pa_loop *loop, PyObject *callback, PyObject *arg, PyObject *context);

/* call_soon_threadsafe(callback, arg), likewise: from any thread, through the inbox. */
int pa_loop_soon_threadsafe(pa_loop *loop, PyObject *callback, PyObject *arg);

/* ---- Descriptors that native code watches ---- */

/* Embedded in a transport or another owner that is a Python object. The loop owns a reference to `owner` while `events` is not 0, so
 * what is watched stays alive, as a bound method in a selector keeps an asyncio transport alive. Per descriptor there is either one
 * watch or the Handles of add_reader/add_writer; while a closing transport still sends, a reader may stand beside its watch. */
typedef struct {
    int fd;            /* -1: not attached */
    unsigned events;   /* PA_POLL_* wanted now */
    PyObject *owner;   /* borrowed: the object this struct lies in */
    PyObject *context; /* borrowed from the owner; entered around on_ready, NULL for none */
    /* Called from the ring with the events that are both ready and still wanted. 0; or -1 with an exception, which the loop gives to
     * its exception handler unless it is SystemExit or KeyboardInterrupt, which end the run. */
    int (*on_ready)(pa_loop *loop, PyObject *owner, unsigned events);
} pa_watch;

int pa_watch_attach(pa_loop *loop, pa_watch *watch, int fd, unsigned events); /* 0, or -1 with OSError/RuntimeError */
int pa_watch_set(pa_loop *loop, pa_watch *watch, unsigned events);            /* change what is wanted; 0 or -1 */
void pa_watch_detach(pa_loop *loop, pa_watch *watch);                         /* before closing the fd; idempotent; may drop the
                                                                                 loop's reference to the owner; keeps the raised exception */

/* ---- Waiting for a descriptor as the sock_* methods do: core/loop_wait.c ---- */

/* Whether the methods that asyncio's code calls for it are ours: else whoever waits has to call them by name. */
bool pa_loop_waits_natively(pa_loop *loop);
/* _ensure_fd_no_transport(fd), then _add_reader(fd, callback) (PA_POLL_IN) or _add_writer (PA_POLL_OUT). The callback, called without
 * arguments whenever fd is ready, calls pa_loop_wait_again() if that was not enough. `context` may be NULL. New: the Handle. */
PyObject *pa_loop_wait_begin(pa_loop *loop, int fd, unsigned event, PyObject *callback, PyObject *context);
int pa_loop_wait_again(pa_loop *loop, int fd, unsigned event, PyObject *handle); /* 0 or -1 */
/* remove_reader(fd) or remove_writer(fd), unless the Handle was cancelled, by whoever displaced it. 0 or -1. */
int pa_loop_wait_end(pa_loop *loop, int fd, unsigned event, PyObject *handle);

/* A buffer that every read of this loop may use, from one on_ready call to its return; never across user code that may re-enter it:
 * whoever calls user code first takes what it needs out of it. *size is its length in bytes (256 KiB). NULL with MemoryError. */
char *pa_loop_read_buffer(pa_loop *loop, size_t *size);
/* For who has to call user code while the buffer still holds something: takes it away from the loop, and gives it back. */
void pa_loop_take_read_buffer(pa_loop *loop);
void pa_loop_return_read_buffer(pa_loop *loop, char *buffer);

/* ---- The end of a tick ---- */

/* Work that a native object puts off until the entries of the running tick have run, once however often it asks. Embedded in the owner,
 * of which the loop holds a reference meanwhile. */
typedef struct {
    pa_link link;
    PyObject *owner;                               /* borrowed: the object this struct lies in */
    int (*run)(pa_loop *loop, PyObject *owner);    /* no longer put off when called; 0, or -1 as a watch's on_ready */
} pa_deferred;

/* Puts the work off (nothing if it is already). False, with nothing done, if no tick of this loop is running in this thread: then the
 * caller does it at once. */
bool pa_loop_defer(pa_loop *loop, pa_deferred *work);
/* The work is done, or not needed any more. Idempotent; may drop the loop's reference to the owner. */
void pa_loop_undefer(pa_loop *loop, pa_deferred *work);

/* What user code that was called has scheduled shows in this: whether it put anything into the ready ring or the inbox, set a timer, or
 * stopped the loop. */
typedef struct {
    size_t ready, inbox;
    uint64_t timers;
    bool stopping;
} pa_loop_activity;

pa_loop_activity pa_loop_activity_of(pa_loop *loop);
bool pa_loop_was_active(pa_loop *loop, pa_loop_activity before);

/* ---- Properties ---- */

/* The native loop behind `obj`, borrowed, or NULL (no exception) if it is none. Python subclasses of the loop count. */
pa_loop *pa_loop_from(pa_state *st, PyObject *obj);
pa_state *pa_loop_state(pa_loop *loop);
int pa_loop_is_closed(const pa_loop *loop);
int pa_loop_is_debug(const pa_loop *loop);
int pa_loop_is_running(const pa_loop *loop);
/* The executor that run_in_executor(given, ...) uses: borrowed; NULL where asyncio's code has to make one, to check or to refuse. */
PyObject *pa_loop_executor(pa_loop *loop, PyObject *given);
int pa_loop_replaces_create_future(pa_loop *loop); /* whether create_future has to be called by its name */

/* Whether the instance itself has an attribute under one of these names (a dict's keys). 1, 0 or -1. */
int pa_loop_has_own(pa_loop *loop, PyObject *names);

/* loop.call_exception_handler({...}): message, and what is not NULL of exception (borrowed), and key/value pairs given as
 * (const char *key, PyObject *borrowed value)..., NULL. If an exception is raised and `exception` is NULL it is taken. 0, or -1 if the
 * handler let SystemExit or KeyboardInterrupt through. */
int pa_loop_report(PyObject *loop, PyObject *exception, const char *message, ...);

/* ---- Current task (D5) ---- */

/* core/current.c keeps what it knows of a loop in the loop's own struct: see `current` in core/loop_impl.h.
 *
 * Who runs on this loop, as asyncio.current_task sees it. Between consecutive native steps of one native loop the registry is only
 * overwritten; pa_current_leave is called before anything foreign runs. See core/current.c. */

/* Makes `task` current. RuntimeError if another task is being executed on the loop. `native` is NULL for a foreign loop. 0 or -1. */
int pa_current_enter(pa_state *st, PyObject *loop, pa_loop *native, PyObject *task);
/* The step of `task` is over. On a native loop this is lazy (pa_current_flush does the work). Keeps the raised exception. 0 or -1. */
int pa_current_leave(pa_state *st, PyObject *loop, pa_loop *native, PyObject *task);
/* Makes the registry true (no current task) before foreign code runs or a tick ends. Cheap when there is nothing to do. */
int pa_current_flush(pa_loop *loop);
/* Exchanges the current task for `task` (NULL: none) at once, for eager starts; *previous is new or NULL. 0 or -1. */
int pa_current_swap(pa_state *st, PyObject *loop, pa_loop *native, PyObject *task, PyObject **previous);

/* ---- Setup ---- */
int pa_handle_setup(PyObject *module, pa_state *st);
int pa_loop_setup(PyObject *module, pa_state *st);

#endif
