/* create_task(), the function. */
#ifndef PA_SYNC_CREATE_TASK_H
#define PA_SYNC_CREATE_TASK_H

#include "rt/state.h"

int pa_create_task_setup(PyObject *module, pa_state *st);

#endif
