/* Functions of asyncio's that native code goes around while they are what asyncio made them. Programs replace them (`asyncio.tasks._wait =
 * f`) and tracers rewrite their code in place: then what is there is called. */
#ifndef PA_SYNC_ORIGINALS_H
#define PA_SYNC_ORIGINALS_H

#include "rt/state.h"

/* In the order of the list in pyasync.overlays. */
typedef enum {
    PA_ORIGINAL_WAIT,            /* asyncio.tasks._wait */
    PA_ORIGINAL_SHIELD,          /* asyncio.tasks.shield */
    PA_ORIGINAL_AS_COMPLETED,    /* asyncio.tasks.as_completed */
    PA_ORIGINAL_CHAIN_FUTURE,    /* asyncio.futures._chain_future */
    PA_ORIGINAL_WRAP_FUTURE,     /* asyncio.futures.wrap_future */
    PA_ORIGINAL_RUN_IN_EXECUTOR, /* asyncio.BaseEventLoop.run_in_executor */
    PA_ORIGINALS_LEN
} pa_original;

/* Whether it is in its place, it or what install() puts there, and has the code that asyncio gave it. 1, 0 or -1. */
int pa_original_stands(pa_state *st, pa_original which);
/* What is in its place now: new. */
PyObject *pa_original_now(pa_state *st, pa_original which);
/* asyncio's function: borrowed. */
PyObject *pa_original_function(pa_state *st, pa_original which);

int pa_originals_setup(PyObject *module, pa_state *st);

#endif
