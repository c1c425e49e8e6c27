/* shield(). */
#ifndef PA_SYNC_SHIELD_H
#define PA_SYNC_SHIELD_H

#include "rt/state.h"

int pa_shield_setup(PyObject *module, pa_state *st);

#endif
