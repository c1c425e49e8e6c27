/* What the running asyncio does in the ways that changed between bug-fix releases, and the classes that pyasync made of our types:
 * pyasync.waiting finds out and tells. */
#ifndef PA_SYNC_TRAITS_H
#define PA_SYNC_TRAITS_H

#include "rt/override.h"

/* pa_state.traits */
#define PA_TRAITS(X)                                                                                                    \
    X(timeout_takes_subclasses)   /* a subclass of CancelledError counts as one */                                      \
    X(group_takes_subclasses)     /* the same in __aexit__ */                                                           \
    X(group_leaves_late)          /* __aexit__ takes the parent's cancellation back after the wait, not before */       \
    X(group_forgets)              /* __aexit__ drops the parent and the errors */                                       \
    X(group_keeps_pending)        /* a cancellation of others' while the group aborts goes on */                        \
    X(group_lets_generators_exit) /* a lone GeneratorExit is raised as it is */                                         \
    X(group_suppresses)           /* __aexit__ returns True */                                                          \
    X(group_closes_refused)       /* create_task closes a coroutine that it refuses */                                  \
    X(group_passes_name)          /* create_task gives the name to the loop; else it calls set_name */                  \
    X(group_takes_done_at_once)   /* a task that is done when it is made gets no callback */                            \
    X(group_cancels_late)         /* a task that aborted the group before it was in it is cancelled */                  \
    X(as_completed_counts_back)   /* a wait that fails leaves its place to another */                                   \
    X(chain_asks_running)         /* chained futures tell each other at once in the running loop of the one that is told */

enum {
#define PA_TRAIT(name) PA_TRAIT_INDEX_##name,
    PA_TRAITS(PA_TRAIT)
#undef PA_TRAIT
        PA_TRAITS_LEN
};

#define PA_HAS_TRAIT(st, name) (((st)->traits >> PA_TRAIT_INDEX_##name & 1u) != 0)

/* For tp_setattro: a method assigned to an instance hides the class's. Notes it in *assigned where it is one of `methods`. 0 or -1. */
int pa_traits_setattr(PyObject *self, PyObject *name, PyObject *value, PyObject *methods, bool *assigned);

/* Keeps the class, and what it has under these names of methods. 0 or -1. */
int pa_class_take(PyObject *class, const char *const *names, PyTypeObject **place, PyObject **methods);

int pa_traits_setup(PyObject *module, pa_state *st);

#endif
