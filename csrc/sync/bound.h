/* What locks, events and queues have in common: the loop they get bound to, the futures they make on it, and which of their methods a
 * program replaced. Their structs begin with a PyObject_HEAD and a pa_bound. */
#ifndef PA_SYNC_BOUND_H
#define PA_SYNC_BOUND_H

#include "sync/op.h"

/* A method that native code goes around while nobody has replaced it. */
typedef struct {
    PyObject *name; /* borrowed from st->names */
    unsigned bit;
} pa_override;

typedef struct {
    pa_state *st;    /* borrowed: the type owns the module */
    PyObject *loop;  /* NULL: bound to none yet */
    unsigned replaced, assigned; /* bits of the overrides: all of them; those in the instance's dict */
    unsigned type_tag;           /* tp_version_tag of the type for which `replaced` was computed; 0 never matches */
    PyTypeObject *type;          /* borrowed, compared only */
} pa_bound;

typedef struct {
    PyObject_HEAD
    pa_bound bound;
} pa_bound_object;

/* tp_new: everything zero but the state. The arguments are tp_init's. */
PyObject *pa_bound_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);
/* The end of a tp_dealloc, after the fields were cleared. */
void pa_bound_free(PyObject *self);
/* object.__repr__(self) without its closing bracket, then " [extra]>", or " [extra, waiters:n]>" where n > 0. New. Steals `extra`. */
PyObject *pa_bound_repr(PyObject *self, PyObject *extra, size_t waiters);
/* A bool attribute. */
#define PA_BOOL(value) Py_NewRef((value) ? Py_True : Py_False)

/* `_waiters` of a queue that may not exist yet: makes it, or gives None. New. */
PyObject *pa_bound_show_waiters(PyObject *self, PyObject **waiters, int make);
int pa_bound_assign_waiters(PyObject *self, PyObject **waiters, PyObject *value);
/* Appends a future to the queue, which is made if it does not exist yet. 0 or -1. */
int pa_bound_push(PyObject *self, PyObject **waiters, PyObject *future);

#define PA_BOUND(self) (&((pa_bound_object *)(self))->bound)

/* Which methods a subclass, a patch or an assignment replaced. `native` is our type; `names` ends with a NULL name. */
unsigned pa_bound_find_overrides(PyObject *self, PyTypeObject *native, const pa_override *names);

/* Runs `find` only if the type may have changed since. */
#define PA_BOUND_OVERRIDES(self, find)                                                                                             \
    (PA_BOUND(self)->type_tag != 0 && Py_TYPE(self)->tp_version_tag == PA_BOUND(self)->type_tag &&                                  \
             Py_TYPE(self) == PA_BOUND(self)->type                                                                                 \
         ? PA_BOUND(self)->replaced                                                                                                \
         : find(self))

/* For tp_setattro: assigning to a name of the list counts as an override. 0 or -1. */
int pa_bound_setattr(PyObject *self, PyObject *name, PyObject *value, const pa_override *names);

/* self._get_loop(): the running loop (None: there is none), to which self is bound now. New, or NULL with RuntimeError if it is bound to
 * another. `replaced`: whether to call the method itself. */
PyObject *pa_bound_loop(PyObject *self, int replaced);

/* self._get_loop().create_future(): new. */
PyObject *pa_bound_future(PyObject *self, int replaced);

/* loop.create_future() for a loop of any kind: new. */
PyObject *pa_loop_any_future(pa_state *st, PyObject *loop);

/* ---- async with ---- */

/* The body of __aenter__: takes what `acquire` takes (the body of an acquire(), without its result), or awaits self.acquire() where that is
 * `replaced`. op->step is `acquire`'s own, and PA_WITH_THEIRS. */
enum { PA_WITH_THEIRS = 100 };
PySendResult pa_with_enter(pa_op *op, PyObject *thrown, PyObject **result, int replaced,
                           PySendResult (*acquire)(pa_op *, PyObject *));
/* The body of __aexit__. */
PySendResult pa_with_exit(pa_op *op, PyObject **result, int replaced, int (*release)(PyObject *));
/* The methods themselves, which only check their arguments. New. */
PyObject *pa_with_enter_op(PyObject *self, const pa_op_kind *kind, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *pa_with_exit_op(PyObject *self, const pa_op_kind *kind, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
#define PA_WITH_ENTER "_ContextManagerMixin.__aenter__"
#define PA_WITH_EXIT "_ContextManagerMixin.__aexit__"

/* The attribute `_loop` and the method `_get_loop` for the types' tables. */
PyObject *pa_bound_get_loop(PyObject *self, void *unused);
int pa_bound_set_loop(PyObject *self, PyObject *value, void *unused);
PyObject *pa_bound_get_loop_method(PyObject *self, PyObject *unused);

#endif
