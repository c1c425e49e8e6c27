/* Attributes of our types that are plain fields: getters and setters of a PyGetSetDef. `closure` is the field's offset. */
#ifndef PA_RT_FIELDS_H
#define PA_RT_FIELDS_H

#include "rt/compat.h"
#include <stdbool.h>

PyObject *pa_field_get(PyObject *self, void *closure); /* an owned object; NULL shows as None */
int pa_field_set(PyObject *self, PyObject *value, void *closure);
PyObject *pa_flag_get(PyObject *self, void *closure); /* a bool */
int pa_flag_set(PyObject *self, PyObject *value, void *closure);

#endif
