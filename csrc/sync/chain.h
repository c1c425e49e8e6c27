/* A concurrent.futures.Future and a future of asyncio's, each of which learns how the other one ended. */
#ifndef PA_SYNC_CHAIN_H
#define PA_SYNC_CHAIN_H

#include "rt/state.h"

/* A new future of the loop, with the outcome of `concurrent`, which is cancelled with it: what wrap_future(concurrent, loop=loop) returns.
 * New, or NULL. `concurrent` is a concurrent.futures.Future. */
PyObject *pa_chain_wrap(pa_state *st, PyObject *concurrent, PyObject *loop);

/* The same the other way round: `concurrent` gets the outcome of `future`, a future of asyncio's, and cancels it. 0 or -1. */
int pa_chain_lead(pa_state *st, PyObject *future, PyObject *concurrent);

int pa_chain_setup(PyObject *module, pa_state *st);

#endif
