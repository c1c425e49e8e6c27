/* The list of native tasks that are not done, and how asyncio.all_tasks() and asyncio.tasks._scheduled_tasks see it (D5). */
#ifndef PA_CORE_REGISTRY_H
#define PA_CORE_REGISTRY_H

#include "rt/state.h"

/* A task enters when it is made; its link leaves the native list when it is done. From 3.14 on the task is also registered with
 * _asyncio, until pa_registry_remove, which its finalizer or deallocator calls. 0 or -1. */
int pa_registry_add(pa_state *st, PyObject *task, pa_link *link);
void pa_registry_remove(pa_state *st, PyObject *task, pa_link *link);

/* Module function _native_tasks() -> list of native tasks alive, for the WeakSet subclass that stands in asyncio's place. */
int pa_registry_setup(PyObject *module, pa_state *st);

#endif
