/* Queue, PriorityQueue and LifoQueue. See queue.c. */
#ifndef PA_SYNC_QUEUE_H
#define PA_SYNC_QUEUE_H

#include "sync/op.h"

/* For an instance of exactly st->Queue: get(), new, and put_nowait(), 0 or -1. */
PyObject *pa_queue_get(PyObject *queue);
int pa_queue_put(PyObject *queue, PyObject *item);

int pa_queue_setup(PyObject *module, pa_state *st);

#endif
