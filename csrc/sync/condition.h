/* Condition. See condition.c. */
#ifndef PA_SYNC_CONDITION_H
#define PA_SYNC_CONDITION_H

#include "sync/op.h"

int pa_condition_setup(PyObject *module, pa_state *st);

#endif
