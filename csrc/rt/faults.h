/* Python's hold on the seam's faults (base/sys.h), in builds with PA_FAULTS; in others there is nothing. */
#ifndef PA_RT_FAULTS_H
#define PA_RT_FAULTS_H

#include "rt/state.h"

#ifdef PA_FAULTS
int pa_faults_setup(PyObject *module, pa_state *st);
#endif

#endif
