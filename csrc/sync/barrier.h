/* Barrier. See barrier.c. */
#ifndef PA_SYNC_BARRIER_H
#define PA_SYNC_BARRIER_H

#include "sync/op.h"

int pa_barrier_setup(PyObject *module, pa_state *st);

#endif
