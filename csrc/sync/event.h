/* Events, also for the files of other classes that keep one. */
#ifndef PA_SYNC_EVENT_H
#define PA_SYNC_EVENT_H

#include "sync/op.h"

PyObject *pa_event_new(pa_state *st);              /* a new event of the C type itself, not set */
int pa_event_set(PyObject *event);                 /* 0 or -1 */
void pa_event_clear(PyObject *event);
PyObject *pa_event_wait(PyObject *event);          /* the operation wait(): new */
int pa_event_setup(PyObject *module, pa_state *st);

#endif
