/* What the running asyncio does in the ways that changed between bug-fix releases, and the classes that pyasync made of our types:
 * pyasync.waiting finds out and tells. */
#ifndef PA_SYNC_TRAITS_H
#define PA_SYNC_TRAITS_H

#include "rt/state.h"

/* pa_state.traits */
#define PA_TRAITS(X)             \
    X(timeout_takes_subclasses)

enum {
#define PA_TRAIT(name) PA_TRAIT_INDEX_##name,
    PA_TRAITS(PA_TRAIT)
#undef PA_TRAIT
        PA_TRAITS_LEN
};

#define PA_HAS_TRAIT(st, name) (((st)->traits >> PA_TRAIT_INDEX_##name & 1u) != 0)

/* Whether `obj` is of the class that pyasync made of a native type, or of that type, and nobody has changed the class since. */
static inline int pa_is_plain(PyObject *obj, PyTypeObject *native, PyTypeObject *joined, unsigned version)
{
    PyTypeObject *type = Py_TYPE(obj);
    return type == native || (type == joined && version != 0 && type->tp_version_tag == version);
}

int pa_traits_setup(PyObject *module, pa_state *st);

#endif
