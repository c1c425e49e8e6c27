/* TaskGroup. */
#ifndef PA_SYNC_TASKGROUP_H
#define PA_SYNC_TASKGROUP_H

#include "rt/state.h"

int pa_taskgroup_setup(PyObject *module, pa_state *st);

#endif
