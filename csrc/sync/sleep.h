/* sleep(). */
#ifndef PA_SYNC_SLEEP_H
#define PA_SYNC_SLEEP_H

#include "rt/state.h"

int pa_sleep_setup(PyObject *module, pa_state *st);

#endif
