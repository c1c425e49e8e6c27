/* The place in a dict where the value of a key lies, for a value that is replaced much more often than it is looked up. */
#ifndef PA_RT_DICT_SLOT_H
#define PA_RT_DICT_SLOT_H

#include "rt/compat.h"

/* Where `key` (by identity) has its value in `dict`, for the owned reference there to be replaced by another, or NULL if that cannot be
 * told quickly; then PyDict_SetItem does it. Valid until anything is done to the dict. *hint is the caller's to keep: 0 at first. */
PyObject **pa_dict_slot(PyObject *dict, PyObject *key, Py_ssize_t *hint);

#endif
