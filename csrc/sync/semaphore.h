/* Semaphore and BoundedSemaphore. See semaphore.c. */
#ifndef PA_SYNC_SEMAPHORE_H
#define PA_SYNC_SEMAPHORE_H

#include "sync/op.h"

int pa_semaphore_setup(PyObject *module, pa_state *st);

#endif
