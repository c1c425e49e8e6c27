/* The iterator of as_completed(). */
#ifndef PA_SYNC_AS_COMPLETED_H
#define PA_SYNC_AS_COMPLETED_H

#include "rt/state.h"

int pa_as_completed_setup(PyObject *module, pa_state *st);

#endif
