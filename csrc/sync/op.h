/* An operation: what `sleep(1)`, `lock.acquire()` or `queue.get()` return instead of a coroutine. See op.c for the contract it keeps.
 *
 * Its body is a C function that is run up to its next wait, again and again, as a coroutine's body would be: `run` looks at op->step to
 * know where it stopped. The future it waits for goes straight to the task, so from a task's side there is no operation at all.
 *
 * A body in outline:
 *
 *   static PySendResult get_run(pa_op *op, PyObject *thrown, PyObject **result)
 *   {
 *       if (op->step == 1) {                        // the wait is over
 *           ... undo what was done for it ...
 *           if (thrown != NULL)
 *               return pa_op_raise(thrown);
 *       }
 *       if (have it) { *result = new reference; return PYGEN_RETURN; }
 *       op->step = 1;
 *       return pa_op_wait(op, future);              // or pa_op_await(op, anything awaitable)
 *   }
 */
#ifndef PA_SYNC_OP_H
#define PA_SYNC_OP_H

#include "rt/state.h"

#include <stdint.h>

typedef struct pa_op pa_op;

typedef struct {
    const char *name;     /* "acquire": __name__ */
    const char *qualname; /* "Lock.acquire": __qualname__; repr(); "coroutine 'Lock.acquire' was never awaited" */
    /* Runs the body from op->step on; op->step is 0 at the start. `thrown` (borrowed) is what `await` raised at the wait: an exception
     * thrown in, a CancelledError for instance, or one with which the awaited thing ended. NULL at the start and after a wait that ended
     * well. Returns
     *   PYGEN_RETURN  *result (new) is what `await` gives;
     *   PYGEN_ERROR   an exception is set;
     *   PYGEN_NEXT    it waits: the return of pa_op_wait() or pa_op_await().
     * The operation, and all it owns, is alive for the call. It may run user code: op's own fields stay as they are meanwhile, since a
     * running operation refuses send, throw and close (ValueError, as a coroutine does). */
    PySendResult (*run)(pa_op *op, PyObject *thrown, PyObject **result);
    /* Called once when the operation ends while it waits without being run to its end (close(), or the last reference dropped), to undo
     * what `run` did: leave a queue of waiters, say. It may run user code; an exception it sets is raised by close(). NULL where `run`
     * does that itself: it gets a GeneratorExit as `thrown` then. Neither is called for an operation that was not started. */
    void (*abandon)(pa_op *op);
} pa_op_kind;

/* Fields are the kind's to use as it likes, except where it says otherwise. Object fields are owned, visited and dropped at the end. */
struct pa_op {
    PyObject_HEAD
    const pa_op_kind *kind;
    pa_state *st;         /* borrowed: the type owns the module */
    PyObject *self;       /* the lock, the queue, ... */
    PyObject *a, *b, *c;
    PyObject *waiter;     /* op_wait.c's: what it waits for: a native future, or the iterator of anything else; stays until the next wait */
    PyObject *outcome;    /* op_wait.c's: what that iterator returned */
    PyObject *origin;     /* op.c's: where it was made, if that is recorded */
    PyObject *weakrefs;
    int64_t number;
    int step;
    uint8_t status;       /* op.c's */
    uint8_t waits_for;    /* op_wait.c's: what `waiter` is */
    uint8_t finalized;    /* op.c's: the collector knows that, too, and does not forget it */
    uint8_t was_spare;    /* op.c's: the collector has known it for longer than it is in use */
};

/* A new operation, not started. `self` may be NULL; new references are taken. New. */
PyObject *pa_op_new(pa_state *st, const pa_op_kind *kind, PyObject *self);

/* For `run`, to end with `return pa_op_wait(op, future)`: wait until the future is done, as `await future`. `run` is called again with
 * op->step as it is now (at once, if the future is done, or with what is `thrown` if it cannot be awaited). PYGEN_NEXT in any case. The
 * future (borrowed) may be of any loop; a native one costs nothing. */
PySendResult pa_op_wait(pa_op *op, PyObject *future);

/* The same for anything that can be awaited (a coroutine, an operation, an object with __await__): what it yields is passed on, what is
 * sent or thrown goes to it first. TypeError for what cannot be awaited. `awaitable` is borrowed. */
PySendResult pa_op_await(pa_op *op, PyObject *awaitable);

/* The same without anything to wait for: a bare yield, which lets everybody else run once. */
PySendResult pa_op_yield(pa_op *op);

/* In `run` after any of them: what `await` returned, new; NULL with what it raised. */
PyObject *pa_op_outcome(pa_op *op);

/* Raises `thrown`, which stays the caller's. PYGEN_ERROR. */
PySendResult pa_op_raise(PyObject *thrown);

/* Frees what is kept for reuse. */
void pa_op_free_lists(pa_state *st);

/* ---- op_iter.c ---- */
PyObject *pa_op_iter_new(pa_state *st, PyObject *op); /* new */
int pa_op_iter_setup(PyObject *module, pa_state *st);

int pa_op_setup(PyObject *module, pa_state *st);

#endif
