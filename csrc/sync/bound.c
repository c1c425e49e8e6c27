/* See bound.h. asyncio binds an object to the loop that runs when it is first used in a way that has to wait; so it happens here, in the
 * order of asyncio's own code.
 */
#include "sync/bound.h"
#include "sync/waiters.h"
#include "core/future.h"
#include "core/loop.h"
#include "core/loop_calls.h"
#include "rt/args.h"
#include "rt/override.h"
#include "sync/corofn.h"

/* ---- Overrides ---- */

static int is_replaced(PyObject *self, PyTypeObject *native, PyObject *name)
{
    PyObject *mine = NULL, *ours = NULL;
    if (pa_getattr_optional((PyObject *)Py_TYPE(self), name, &mine) < 0 || pa_getattr_optional((PyObject *)native, name, &ours) < 0) {
        Py_XDECREF(mine);
        return -1;
    }
    int replaced = !pa_override_same(mine, ours);
    Py_XDECREF(mine);
    Py_XDECREF(ours);
    return replaced;
}

unsigned pa_bound_find_overrides(PyObject *self, PyTypeObject *native, const pa_override *names)
{
    pa_bound *bound = PA_BOUND(self);
    PyObject *raised = pa_err_take();
    unsigned bits = bound->assigned;
    for (; names->name != NULL; names++) {
        int rc = is_replaced(self, native, names->name);
        if (rc < 0)
            PyErr_WriteUnraisable(self);
        if (rc != 0)
            bits |= names->bit;
    }
    pa_err_restore(raised);
    pa_type_assign_version(Py_TYPE(self));
    bound->replaced = bits;
    bound->type = Py_TYPE(self);
    bound->type_tag = Py_TYPE(self)->tp_version_tag;
    return bits;
}

int pa_bound_setattr(PyObject *self, PyObject *name, PyObject *value, const pa_override *names)
{
    if (PyObject_GenericSetAttr(self, name, value) < 0)
        return -1;
    for (; PyUnicode_CheckExact(name) && names->name != NULL; names++)
        if (names->name == name || PyUnicode_Compare(names->name, name) == 0) {
            PA_BOUND(self)->assigned |= names->bit;
            PA_BOUND(self)->type_tag = 0;
        }
    return 0;
}

/* ---- The loop ---- */

PyObject *pa_bound_loop(PyObject *self, int replaced)
{
    pa_bound *bound = PA_BOUND(self);
    if (replaced)
        return PyObject_CallMethodNoArgs(self, bound->st->names._get_loop);
    PyObject *loop;
    if (pa_calls_running(bound->st, &loop) < 0)
        return NULL;
    if (loop == NULL)
        loop = Py_NewRef(Py_None);
    else if (bound->loop == NULL)
        bound->loop = Py_NewRef(loop);
    if (loop != (bound->loop != NULL ? bound->loop : Py_None)) {
        PyErr_Format(PyExc_RuntimeError, "%R is bound to a different event loop", self);
        Py_CLEAR(loop);
    }
    return loop;
}

PyObject *pa_loop_any_future(pa_state *st, PyObject *loop)
{
    pa_loop *native = pa_loop_from(st, loop);
    if (native != NULL && !pa_loop_replaces_create_future(native))
        return pa_future_new(native);
    return PyObject_CallMethodNoArgs(loop, st->names.create_future);
}

PyObject *pa_bound_future(PyObject *self, int replaced)
{
    PyObject *loop = pa_bound_loop(self, replaced);
    PyObject *future = loop != NULL ? pa_loop_any_future(PA_BOUND(self)->st, loop) : NULL;
    Py_XDECREF(loop);
    return future;
}

PyObject *pa_bound_get_loop(PyObject *self, void *unused)
{
    PyObject *loop = PA_BOUND(self)->loop;
    return Py_NewRef(loop != NULL ? loop : Py_None);
}

int pa_bound_set_loop(PyObject *self, PyObject *value, void *unused)
{
    Py_XSETREF(PA_BOUND(self)->loop, value == NULL || value == Py_None ? NULL : Py_NewRef(value));
    return 0;
}

PyObject *pa_bound_get_loop_method(PyObject *self, PyObject *unused) { return pa_bound_loop(self, 0); }

/* ---- What the types share ---- */

PyObject *pa_bound_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    pa_state *st = pa_state_of_type(type);
    PyObject *self = st != NULL ? type->tp_alloc(type, 0) : NULL;
    if (self != NULL)
        PA_BOUND(self)->st = st;
    return self;
}

void pa_bound_free(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_CLEAR(PA_BOUND(self)->loop);
    type->tp_free(self);
    Py_DECREF(type);
}

PyObject *pa_bound_repr(PyObject *self, PyObject *extra, size_t waiters)
{
    if (extra != NULL && waiters > 0)
        Py_SETREF(extra, PyUnicode_FromFormat("%U, waiters:%zu", extra, waiters));
    PyObject *plain = extra != NULL ? PyBaseObject_Type.tp_repr(self) : NULL, *head = NULL, *repr = NULL;
    if (plain != NULL && (head = PyUnicode_Substring(plain, 0, PyUnicode_GET_LENGTH(plain) - 1)) != NULL)
        repr = PyUnicode_FromFormat("%U [%U]>", head, extra);
    Py_XDECREF(head);
    Py_XDECREF(plain);
    Py_XDECREF(extra);
    return repr;
}

PyObject *pa_bound_show_waiters(PyObject *self, PyObject **waiters, int make)
{
    if (*waiters == NULL && make)
        *waiters = pa_waiters_new(PA_BOUND(self)->st);
    if (*waiters == NULL)
        return make ? NULL : Py_NewRef(Py_None);
    return Py_NewRef(*waiters);
}

int pa_bound_assign_waiters(PyObject *self, PyObject **waiters, PyObject *value)
{
    pa_state *st = PA_BOUND(self)->st;
    PyObject *now = value == NULL || value == Py_None ? NULL : Py_TYPE(value) == st->Waiters ? Py_NewRef(value) : pa_waiters_from(st, value);
    if (now == NULL && PyErr_Occurred())
        return -1;
    Py_XSETREF(*waiters, now);
    return 0;
}

int pa_bound_push(PyObject *self, PyObject **waiters, PyObject *future)
{
    if (*waiters == NULL && (*waiters = pa_waiters_new(PA_BOUND(self)->st)) == NULL)
        return -1;
    return pa_waiters_push(*waiters, future);
}

/* ---- async with ---- */

PySendResult pa_with_enter(pa_op *op, PyObject *thrown, PyObject **result, int replaced, PySendResult (*acquire)(pa_op *, PyObject *))
{
    if (op->step == 0 && replaced) {
        PyObject *theirs = PyObject_CallMethodNoArgs(op->self, op->st->names.acquire);
        op->step = PA_WITH_THEIRS;
        PySendResult how = theirs != NULL ? pa_op_await(op, theirs) : PYGEN_ERROR;
        Py_XDECREF(theirs);
        return how;
    }
    PySendResult how = op->step != PA_WITH_THEIRS ? acquire(op, thrown) : thrown != NULL ? pa_op_raise(thrown) : PYGEN_RETURN;
    if (how == PYGEN_RETURN)
        *result = Py_NewRef(Py_None);
    return how;
}

PySendResult pa_with_exit(pa_op *op, PyObject **result, int replaced, int (*release)(PyObject *))
{
    if (replaced) {
        PyObject *released = PyObject_CallMethodNoArgs(op->self, op->st->names.release);
        if (released == NULL)
            return PYGEN_ERROR;
        Py_DECREF(released);
    } else if (release(op->self) < 0) {
        return PYGEN_ERROR;
    }
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

PyObject *pa_with_enter_op(PyObject *self, const pa_op_kind *kind, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return pa_args_none(self, "__aenter__", args, nargs, kwnames) < 0 ? NULL : pa_op_new(PA_BOUND(self)->st, kind, self);
}

PyObject *pa_with_exit_op(PyObject *self, const pa_op_kind *kind, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"exc_type", "exc", "tb", NULL};
    static const pa_signature sig = {"__aexit__", names, 3, 3};
    PyObject *given[3];
    if ((nargs != 3 || kwnames != NULL) && pa_args_parse(self, &sig, args, nargs, kwnames, given) < 0)
        return NULL;
    return pa_op_new(PA_BOUND(self)->st, kind, self);
}
