/* What the files of queues share. */
#ifndef PA_SYNC_QUEUE_IMPL_H
#define PA_SYNC_QUEUE_IMPL_H

#include "sync/bound.h"
#include "sync/corofn.h"
#include "sync/queue.h"

#include <stdbool.h>

enum { PA_QUEUE_FIFO, PA_QUEUE_PRIORITY, PA_QUEUE_LIFO };

typedef struct {
    PyObject_HEAD
    pa_bound bound;
    PyObject *maxsize;      /* NULL: __init__ did not run */
    Py_ssize_t limit;       /* the same; 0: unlimited; -1: not an int of moderate size */
    PyObject *items;        /* `_queue`; NULL: not assigned */
    PyObject *getters, *putters;
    PyObject *finished;     /* the event `_finished`, made when somebody joins or looks; set while `unfinished` is 0 */
    Py_ssize_t unfinished;
    uint8_t order;          /* PA_QUEUE_FIFO, ... */
    char plain;             /* `items` is exactly the deque or list that _init makes */
    char usual;             /* that, a FIFO, and `maxsize` an ordinary int */
    char is_shutdown;
} pa_queue;

/* The methods whose override matters. */
enum {
    PA_QUEUE_GET_LOOP = 1,
    PA_QUEUE_INIT = 2,
    PA_QUEUE_PUT = 4,
    PA_QUEUE_GET = 8,
    PA_QUEUE_QSIZE = 16,
    PA_QUEUE_EMPTY = 32,
    PA_QUEUE_FULL = 64,
    PA_QUEUE_PUT_NOWAIT = 128,
    PA_QUEUE_GET_NOWAIT = 256,
    PA_QUEUE_WAKEUP_NEXT = 512,
};

/* ---- queue.c ---- */

unsigned pa_queue_find_overrides(PyObject *self);

static inline bool pa_queue_replaced(PyObject *self, unsigned bit)
{
    return (PA_BOUND_OVERRIDES(self, pa_queue_find_overrides) & bit) != 0;
}

/* Of a plain queue: nothing of it is overridden, and `items` is what _init makes. */
static inline bool pa_queue_is_plain(PyObject *self)
{
    return ((pa_queue *)self)->plain && PA_BOUND_OVERRIDES(self, pa_queue_find_overrides) == 0;
}

/* ---- queue_items.c: "native" is what our own methods do, the others ask those that override them ---- */

PyObject *pa_queue_items(PyObject *self);  /* `_queue`: borrowed */
Py_ssize_t pa_queue_qsize(PyObject *self); /* or -1 */
int pa_queue_native_empty(PyObject *self); /* 1, 0 or -1, as all four */
int pa_queue_native_full(PyObject *self);
int pa_queue_is_empty(PyObject *self);
int pa_queue_is_full(PyObject *self);

int pa_queue_native_put(PyObject *self, PyObject *item); /* 0 or -1 */
PyObject *pa_queue_native_get(PyObject *self);           /* new */

/* The oldest of them that still waits is woken. `waiters` is borrowed, NULL for none. 0 or -1. */
int pa_queue_native_wakeup_next(pa_state *st, PyObject *waiters);
int pa_queue_wakeup_next(PyObject *self, PyObject **waiters);

PyObject *pa_queue_finished(PyObject *self);                  /* the event, of the class that programs see: new */
int pa_queue_tell_finished(PyObject *self, PyObject *method); /* _finished.set() or .clear(). 0 or -1 */
int pa_queue_raise_if_shutdown(PyObject *self);               /* 0 or -1 */

PyObject *pa_queue_get_nowait(PyObject *self); /* new; put_nowait() is pa_queue_put() */

/* ---- queue_ops.c ---- */

extern const pa_corofn_def pa_queue_coroutines[];
/* The parameter of put() and put_nowait(). */
extern const char *const pa_queue_item_names[];

#endif
