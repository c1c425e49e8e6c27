/* Locks, for Condition. `lock` is an instance of st->Lock. */
#ifndef PA_SYNC_LOCK_H
#define PA_SYNC_LOCK_H

#include "sync/op.h"

/* Whether `obj` is a native lock whose acquire, release and locked nobody replaced: these may be called instead. */
int pa_lock_is_plain(pa_state *st, PyObject *obj);
int pa_lock_try(PyObject *lock);           /* takes it if acquire() would not wait: 1, 0 or -1 */
PyObject *pa_lock_acquire(PyObject *lock); /* the operation acquire(): new */
int pa_lock_release(PyObject *lock);       /* 0, or -1 with RuntimeError */
int pa_lock_is_locked(PyObject *lock);

int pa_lock_setup(PyObject *module, pa_state *st);

#endif
