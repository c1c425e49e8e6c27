/* to_thread(), wrap_future(), run_coroutine_threadsafe(), and the loop's run_in_executor(). */
#ifndef PA_SYNC_THREADS_H
#define PA_SYNC_THREADS_H

#include "rt/state.h"

int pa_threads_setup(PyObject *module, pa_state *st);

#endif
