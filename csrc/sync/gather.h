/* gather() and its future. */
#ifndef PA_SYNC_GATHER_H
#define PA_SYNC_GATHER_H

#include "rt/state.h"

int pa_gather_setup(PyObject *module, pa_state *st);

#endif
