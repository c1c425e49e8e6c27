/* Condition. See condition.c. */
#ifndef PA_SYNC_CONDITION_H
#define PA_SYNC_CONDITION_H

#include "sync/op.h"

/* Whether `obj` is a native condition with a native lock, of neither of which anybody replaced a method: then these may be called. */
int pa_condition_is_plain(pa_state *st, PyObject *obj);
PyObject *pa_condition_lock(PyObject *condition); /* borrowed */
PyObject *pa_condition_wait(PyObject *condition); /* the operation wait(): new */
int pa_condition_notify_all(PyObject *condition); /* 0 or -1 */

int pa_condition_setup(PyObject *module, pa_state *st);

#endif
