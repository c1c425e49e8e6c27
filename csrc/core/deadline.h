/* A timer without a handle, for those who are sure to cancel nearly all they set: what a native time-out puts into the loop's heap. */
#ifndef PA_CORE_DEADLINE_H
#define PA_CORE_DEADLINE_H

#include "core/loop.h"
#include "base/heap.h"

typedef struct {
    pa_heap_entry entry; /* entry.owner: the object that the deadline is a field of; the heap owns it */
    pa_loop *loop;       /* borrowed: in whose heap it lies; NULL outside */
} pa_deadline;

/* For a field that is zero so far. */
static inline void pa_deadline_init(pa_deadline *deadline) { deadline->entry.index = SIZE_MAX; }

/* The loop, borrowed, if it takes deadlines: a native one where nobody could tell a deadline from what call_at() schedules. Else NULL. */
pa_loop *pa_deadline_loop(pa_state *st, PyObject *loop);
/* It lies in no heap. `when` is finite. 0, or -1 with MemoryError. */
int pa_deadline_set(pa_deadline *deadline, pa_loop *loop, PyObject *owner, double when);
/* Takes it out of the heap if it is in one, which may be the owner's end. */
void pa_deadline_drop(pa_deadline *deadline);
/* It is in a heap: puts a TimerHandle in its place, the owner's to know, unless it is out of the heap by the time there is one. 0 or -1. */
int pa_deadline_handle(pa_deadline *deadline);

#endif
