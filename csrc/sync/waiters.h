/* The queue in which operations wait: a FIFO of futures, the `_waiters`, `_getters` and `_putters` of asyncio's classes. To Python it is
 * what those are, a deque, as far as a queue of futures needs one; so code that derives from asyncio's classes finds its way. */
#ifndef PA_SYNC_WAITERS_H
#define PA_SYNC_WAITERS_H

#include "rt/state.h"
#include "base/ring.h"

typedef struct {
    PyObject *future; /* owned */
} pa_waiter;

PA_RING_DECLARE(pa_waiter_ring, pa_waiter)

typedef struct {
    PyObject_HEAD
    pa_waiter_ring ring;
    size_t changes; /* counts what was added and removed, so that a comparison in between notices */
    PyObject *weakrefs;
} pa_waiters;

PyObject *pa_waiters_new(pa_state *st); /* new */
/* A new queue with what `iterable` gives: what assigning to `_waiters` means. New. */
PyObject *pa_waiters_from(pa_state *st, PyObject *iterable);

static inline size_t pa_waiters_len(PyObject *waiters) { return waiters != NULL ? pa_waiter_ring_len(&((pa_waiters *)waiters)->ring) : 0; }
/* The i-th: borrowed. */
static inline PyObject *pa_waiters_at(PyObject *waiters, size_t i) { return pa_waiter_ring_at(&((pa_waiters *)waiters)->ring, i)->future; }

int pa_waiters_push(PyObject *waiters, PyObject *future); /* 0, or -1 with MemoryError */
PyObject *pa_waiters_pop(PyObject *waiters);              /* the oldest: new; NULL without an exception if there is none */
/* Takes the future out: 1, or 0 if it is not there. May drop the last reference to it. */
int pa_waiters_remove(PyObject *waiters, PyObject *future);

/* ---- Single waiters: futures of any kind ---- */

typedef enum { PA_WAITER_PENDING, PA_WAITER_CANCELLED, PA_WAITER_DONE, PA_WAITER_ERROR = -1 } pa_waiter_state;

pa_waiter_state pa_waiter_look(pa_state *st, PyObject *future); /* PA_WAITER_ERROR: an exception is set */
/* set_result(value) if it is not done. 1; 0 if it was done; -1 with an exception. */
int pa_waiter_wake(pa_state *st, PyObject *future, PyObject *value);
/* cancel(). 0 or -1. */
int pa_waiter_cancel(pa_state *st, PyObject *future);

int pa_waiters_setup(PyObject *module, pa_state *st);

#endif
