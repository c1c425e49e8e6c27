/* What is done with the result of a call whose value does not matter, or matters as a truth value only. */
#ifndef PA_RT_CALL_H
#define PA_RT_CALL_H

#include "rt/compat.h"

/* Both steal `result`, which is NULL if the call raised. 0 or -1. */
static inline int pa_call_nothing(PyObject *result)
{
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* 1, 0 or -1. */
static inline int pa_call_truth(PyObject *result)
{
    int truth = result != NULL ? PyObject_IsTrue(result) : -1;
    Py_XDECREF(result);
    return truth;
}

/* What a method returns for 0, or -1 with an exception: None (new) or NULL. */
static inline PyObject *pa_call_none(int rc)
{
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

#endif
