/* What the files of TaskGroup share. */
#ifndef PA_SYNC_TASKGROUP_IMPL_H
#define PA_SYNC_TASKGROUP_IMPL_H

#include "rt/state.h"
#include "sync/traits.h"

typedef struct {
    PyObject_HEAD
    pa_state *st;
    PyObject *loop, *parent, *base_error, *waiter; /* NULL for None */
    PyObject *tasks;  /* a set; anything a program assigned */
    PyObject *errors; /* a list; NULL for None */
    PyObject *pending; /* the last cancellation while it was being left, NULL for none */
    PyObject *callback; /* of the tasks, while there are any and nothing is overridden: it owns the group */
    bool entered, exiting, aborting, parent_cancel_requested, cancel_on_enter;
    bool assigned; /* a method was assigned to the instance */
} pa_group;

static inline bool pa_group_has_own_methods(pa_group *g)
{
    pa_state *st = g->st;
    return !g->assigned && (Py_TYPE(g) == st->TaskGroup || pa_override_none(Py_TYPE(g), st->taskgroup_methods, &st->taskgroup_overrides));
}

/* Programs may take any field away, or replace it, whenever they run: what is used is owned. New; None for what is not there. */
static inline PyObject *pa_group_own(PyObject *field) { return Py_NewRef(field != NULL ? field : Py_None); }

/* ---- taskgroup.c ---- */

int pa_group_has_tasks(pa_group *g);                    /* bool(self._tasks): 1, 0 or -1 */
int pa_group_task_done(pa_group *g, PyObject *task);    /* self._on_task_done(task) of our own. 0 or -1 */
PyObject *pa_group_callback(pa_group *g);               /* self._on_task_done, to be called back. New */

/* ---- taskgroup_create.c ---- */

/* create_task(coro, *, name=None, context=None) and create_task(coro, **kwargs). */
PyObject *pa_group_create_task(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *pa_group_create_task_with_all(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);

#endif
