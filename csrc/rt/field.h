/* Getters and setters of attributes that are fields of a struct, which asyncio's code and programs read and assign. `closure` is the
 * field's offset. */
#ifndef PA_RT_FIELD_H
#define PA_RT_FIELD_H

#include "rt/compat.h"

#include <stdbool.h>

/* An object; NULL: None. It cannot be deleted. */
PyObject *pa_field_get(PyObject *self, void *closure);
int pa_field_set(PyObject *self, PyObject *value, void *closure);
/* A bool. */
PyObject *pa_flag_get(PyObject *self, void *closure);
int pa_flag_set(PyObject *self, PyObject *value, void *closure);

#define PA_FIELD(name, type, field) {name, pa_field_get, pa_field_set, NULL, (void *)(uintptr_t)offsetof(type, field)}
#define PA_FLAG(name, type, field) {name, pa_flag_get, pa_flag_set, NULL, (void *)(uintptr_t)offsetof(type, field)}

#endif
