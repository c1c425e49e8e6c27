/* An operation: what `sleep(1)`, `lock.acquire()` or `queue.get()` return instead of a coroutine. See op.c for the contract it keeps.
 *
 * Its body is a C function that is run up to its next wait, again and again, as a coroutine's body would be: `run` looks at op->step to
 * know where it stopped. What is awaited in between lies in op->waiter; the task that awaits the operation gets it, so from a task's
 * side there is no operation at all, only a future.
 */
#ifndef PA_SYNC_OP_H
#define PA_SYNC_OP_H

#include "rt/state.h"

typedef struct pa_op pa_op;

typedef struct {
    const char *name;     /* "acquire": __name__ */
    const char *qualname; /* "Lock.acquire": __qualname__; repr(); "coroutine 'Lock.acquire' was never awaited" */
    /* Runs the body from op->step on; op->step is 0 at the start. `thrown` (borrowed) is the exception that was thrown in at the wait, a
     * CancelledError for instance; NULL if the wait ended by itself. Returns
     *   PYGEN_RETURN  *result (new) is what `await` gives;
     *   PYGEN_ERROR   an exception is set;
     *   PYGEN_NEXT    it waits: the return of pa_op_wait() or pa_op_await().
     * The operation, and all it owns, is alive for the call. It may run user code: op's own fields stay as they are meanwhile, since a
     * running operation refuses send, throw and close (ValueError, as a coroutine does). */
    PySendResult (*run)(pa_op *op, PyObject *thrown, PyObject **result);
    /* Called once when the operation ends without having been run to its end (close(), or the last reference dropped while it waits), to
     * undo what `run` did: leave a queue of waiters, say. NULL if GeneratorExit given to `run` as `thrown` does that. */
    void (*abandon)(pa_op *op);
} pa_op_kind;

/* Fields are the kind's to use as it likes, except where it says otherwise. Object fields are owned, visited and dropped at the end. */
struct pa_op {
    PyObject_HEAD
    const pa_op_kind *kind;
    pa_state *st;
    PyObject *self;       /* the lock, the queue, ... */
    PyObject *a, *b, *c;
    PyObject *waiter;     /* op.c's: the future, or the iterator of a foreign awaitable, that it waits for */
    PyObject *weakrefs;
    pa_link link;         /* in a queue of waiters */
    int64_t number;
    int step;
    uint8_t status;       /* op.c's */
};

/* A new operation, not started. `self` may be NULL; new references are taken. */
PyObject *pa_op_new(pa_state *st, const pa_op_kind *kind, PyObject *self);

/* For `run`, to end with `return pa_op_wait(op, future, result)`: wait until the future is done. `run` is called again with op->step as it
 * is now; it asks the future for its outcome itself if it cares: it still lies in op->waiter then. `future` is borrowed. */
PySendResult pa_op_wait(pa_op *op, PyObject *future, PyObject **result);

/* The same for anything that can be awaited (a coroutine, a future of any kind, an object with __await__): what it yields is passed on,
 * what is sent or thrown goes to it. When it ends, `run` is called with its result in *op->awaited..., see pa_op_outcome(). */
PySendResult pa_op_await(pa_op *op, PyObject *awaitable, PyObject **result);
/* In `run` after pa_op_await(): the value it returned, new; NULL with its exception raised. */
PyObject *pa_op_outcome(pa_op *op);

int pa_op_setup(PyObject *module, pa_state *st);

#endif
