/* What the files of operations share. */
#ifndef PA_SYNC_OP_IMPL_H
#define PA_SYNC_OP_IMPL_H

#include "sync/op.h"

/* pa_op.status */
enum { PA_OP_CREATED, PA_OP_SUSPENDED, PA_OP_RUNNING, PA_OP_DONE };

/* pa_op.waits_for, what `waiter` is. ERROR: the exception that stands for a wait which could not begin. */
enum { PA_OP_FUTURE, PA_OP_ITERATOR, PA_OP_ERROR };

/* ---- op_wait.c ---- */

/* Goes on with the wait: PYGEN_NEXT with what it yields (new), or PYGEN_RETURN when it is over, with *exc (owned; set by the caller if it
 * was thrown in) or well. */
PySendResult pa_op_go_on_waiting(pa_op *op, PyObject *sent, PyObject **exc, PyObject **yielded);

/* ---- op_attributes.c ---- */

/* sys.set_coroutine_origin_tracking_depth(): the callers' (file, line, name), the nearest first. New. */
PyObject *pa_op_take_origin(int depth);

extern PyGetSetDef pa_op_getset[];

#endif
