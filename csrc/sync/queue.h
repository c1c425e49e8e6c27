/* Queue, PriorityQueue and LifoQueue. See queue.c. */
#ifndef PA_SYNC_QUEUE_H
#define PA_SYNC_QUEUE_H

#include "sync/op.h"

int pa_queue_setup(PyObject *module, pa_state *st);

#endif
