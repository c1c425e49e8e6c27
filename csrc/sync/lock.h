/* Locks, for Condition. */
#ifndef PA_SYNC_LOCK_H
#define PA_SYNC_LOCK_H

#include "sync/op.h"

int pa_lock_setup(PyObject *module, pa_state *st);

#endif
