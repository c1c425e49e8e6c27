/* wait_for(). */
#ifndef PA_SYNC_WAIT_FOR_H
#define PA_SYNC_WAIT_FOR_H

#include "rt/state.h"

int pa_wait_for_setup(PyObject *module, pa_state *st);

#endif
