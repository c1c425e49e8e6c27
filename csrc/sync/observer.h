/* A callback in C: what is a closure in asyncio's gather(), shield() or wait(), most of them a future's done-callback. */
#ifndef PA_SYNC_OBSERVER_H
#define PA_SYNC_OBSERVER_H

#include "rt/state.h"

typedef struct pa_observer pa_observer;

typedef struct {
    const char *name;     /* __name__ */
    const char *qualname; /* __qualname__, which repr(future) and the exception handler's message show */
    /* `future` is done. Both are alive for the call. 0; -1 with an exception, which the loop reports. */
    int (*done)(pa_observer *self, PyObject *future);
    int bare; /* it is no future's: called without an argument, `future` is NULL */
} pa_observer_kind;

/* Fields are the kind's to use as it likes; the objects are owned, visited and dropped at the end. */
struct pa_observer {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    const pa_observer_kind *kind;
    pa_state *st;
    PyObject *a, *b, *c;
    Py_ssize_t count, total;
    int flag;
};

/* New references are taken; all of them may be NULL. New. */
pa_observer *pa_observer_new(pa_state *st, const pa_observer_kind *kind, PyObject *a, PyObject *b, PyObject *c);

int pa_observer_setup(PyObject *module, pa_state *st);

#endif
