/* Whether a class has other methods than those that native code goes around. */
#ifndef PA_RT_OVERRIDE_H
#define PA_RT_OVERRIDE_H

#include "rt/state.h"

/* Whether two attributes of classes are one: identical, or methods with the same C function (see pa_override_own_methods). */
bool pa_override_same(PyObject *mine, PyObject *ours);

/* Gives a Python class methods of its own, the same as those of the C types of `module` that come next in its MRO. The interpreter calls
 * a C method without ado (3.13: 170 instructions less) only on instances of exactly the class that it was made for. 0 or -1. */
int pa_override_own_methods(PyObject *module, PyTypeObject *class);

/* {name: what the class, or else `fallback` (may be NULL), has under it}; names that neither has are left out where `fallback` is NULL. New. */
PyObject *pa_override_originals(PyTypeObject *type, PyObject *fallback, const char *const *names);

/* Looks anew, and remembers. What cannot be looked up counts as overridden, and leaves nothing raised. */
bool pa_override_look(PyTypeObject *type, PyObject *originals, pa_override_cache *cache);

/* Whether the class has exactly the originals under their names. The cache is for one set of originals and remembers one class. */
static inline bool pa_override_none(PyTypeObject *type, PyObject *originals, pa_override_cache *cache)
{
    return cache->tag != 0 && cache->tag == type->tp_version_tag && cache->type == type ? cache->none
                                                                                       : pa_override_look(type, originals, cache);
}

/* Tracers (ddtrace) wrap a Python function in place: they give it other code. What its code is now, to be compared later; None if somebody
 * has been there already. New; NULL with an exception. */
PyObject *pa_override_code(PyObject *function);

/* `code`: from pa_override_code(). */
static inline bool pa_override_rewritten(PyObject *function, PyObject *code)
{
    return PyFunction_Check(function) && PyFunction_GET_CODE(function) != code;
}

#endif
