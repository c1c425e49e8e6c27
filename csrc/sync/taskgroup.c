/* TaskGroup: the tasks made in it, the errors they ended with, and the wait for them when it is left.
 *
 * What users see is pyasync.TaskGroup, class TaskGroup(_core.TaskGroup, asyncio.TaskGroup); repr() is asyncio's. All state lies under the
 * names that asyncio's has (`_tasks`, `_errors`, ...), which programs read and write. Methods that a subclass overrides, or a patch
 * replaces, are called by name.
 *
 * The callback of the tasks is one object per group: `done` owns the group and the tasks own `done`, as they own the bound method in
 * asyncio.
 *
 * How the group leaves changed in bug-fix releases; PA_HAS_TRAIT asks for what the running one does.
 */
#include "sync/taskgroup.h"
#include "sync/corofn.h"
#include "sync/observer.h"
#include "sync/op.h"
#include "sync/pyfn.h"
#include "sync/taskgroup_impl.h"
#include "core/future_any.h"
#include "core/loop_calls.h"
#include "rt/args.h"
#include "rt/field.h"
#include "rt/error.h"
#include "rt/call.h"

/* bool(field): 1, 0 or -1. */
static int is_true(PyObject *field)
{
    if (field == NULL)
        return 0;
    if (PyAnySet_CheckExact(field))
        return PySet_GET_SIZE(field) > 0;
    if (PyList_CheckExact(field))
        return PyList_GET_SIZE(field) > 0;
    return pa_call_truth(Py_NewRef(field));
}

int pa_group_has_tasks(pa_group *g) { return is_true(g->tasks); }

static int has_errors(pa_group *g) { return is_true(g->errors); }

/* self._is_base_error(exc): 1, 0 or -1. */
static int is_base_error(pa_group *g, PyObject *exc)
{
    if (!pa_group_has_own_methods(g))
        return pa_call_truth(PyObject_CallMethodOneArg((PyObject *)g, g->st->names._is_base_error, exc));
    if (PyExceptionInstance_Check(exc))
        return PyErr_GivenExceptionMatches(exc, PyExc_SystemExit) || PyErr_GivenExceptionMatches(exc, PyExc_KeyboardInterrupt);
    if (g->st->asserts)
        PyErr_SetNone(PyExc_AssertionError);
    return g->st->asserts ? -1 : 0;
}

/* self._errors.append(exc) */
static int add_error(pa_group *g, PyObject *exc)
{
    if (g->errors != NULL && PyList_CheckExact(g->errors))
        return PyList_Append(g->errors, exc);
    PyObject *errors = pa_group_own(g->errors);
    int rc = pa_call_nothing(PyObject_CallMethod(errors, "append", "O", exc));
    Py_DECREF(errors);
    return rc;
}

/* ---- Aborting ---- */

static int abort_tasks(pa_group *g)
{
    g->aborting = 1;
    PyObject *tasks = pa_group_own(g->tasks), *iterator = PyObject_GetIter(tasks), *task;
    Py_DECREF(tasks);
    if (iterator == NULL)
        return -1;
    while ((task = PyIter_Next(iterator)) != NULL) {
        int rc = pa_any_done(g->st, task);
        if (rc == 0)
            rc = pa_any_cancel(g->st, task, NULL);
        Py_DECREF(task);
        if (rc < 0)
            break;
    }
    Py_DECREF(iterator);
    return PyErr_Occurred() ? -1 : 0;
}

static int call_abort(pa_group *g)
{
    return pa_group_has_own_methods(g) ? abort_tasks(g) : pa_call_nothing(PyObject_CallMethodNoArgs((PyObject *)g, g->st->names._abort));
}

/* The parent's cancellation is ours: __aexit__ takes it back. */
static int cancel_parent(pa_group *g)
{
    PyObject *parent = pa_group_own(g->parent);
    g->parent_cancel_requested = 1;
    int rc = pa_any_cancel(g->st, parent, NULL);
    Py_DECREF(parent);
    return rc < 0 ? -1 : 0;
}

/* ---- The tasks' callback ---- */

static int report_orphan(pa_group *g, PyObject *task, PyObject *exc)
{
    PyObject *parent = pa_group_own(g->parent);
    PyObject *message = PyUnicode_FromFormat("Task %R has errored out but its parent task %S is already completed", task, parent);
    PyObject *context = message != NULL ? Py_BuildValue("{sOsOsO}", "message", message, "exception", exc, "task", task) : NULL;
    PyObject *loop = pa_group_own(g->loop);
    int rc = context != NULL ? pa_call_nothing(PyObject_CallMethodOneArg(loop, g->st->names.call_exception_handler, context)) : -1;
    Py_DECREF(loop);
    Py_DECREF(parent);
    Py_XDECREF(context);
    Py_XDECREF(message);
    return rc;
}

/* The task ended with `exc`. */
static int take_error(pa_group *g, PyObject *task, PyObject *exc)
{
    if (add_error(g, exc) < 0)
        return -1;
    int base = is_base_error(g, exc);
    if (base < 0)
        return -1;
    if (base && g->base_error == NULL)
        g->base_error = Py_NewRef(exc);
    PyObject *parent = pa_group_own(g->parent);
    int rc = pa_any_done(g->st, parent);
    if (rc > 0)
        rc = report_orphan(g, task, exc);
    else if (rc == 0 && !g->aborting && !g->parent_cancel_requested)
        rc = call_abort(g) == 0 ? cancel_parent(g) : -1;
    Py_DECREF(parent);
    return rc;
}

/* self._tasks.discard(task), and whoever waits for the last one goes on. */
static int remove_task(pa_group *g, PyObject *task)
{
    PyObject *tasks = pa_group_own(g->tasks);
    int rc = PySet_CheckExact(tasks) ? PySet_Discard(tasks, task) : pa_call_nothing(PyObject_CallMethod(tasks, "discard", "O", task));
    Py_DECREF(tasks);
    if (rc < 0)
        return -1;
    PyObject *parent = Py_XNewRef(g->parent);
    rc = pa_any_discard_awaited_by(g->st, task, parent);
    Py_XDECREF(parent);
    if (rc < 0)
        return -1;
    int left = pa_group_has_tasks(g);
    if (left != 0)
        return left < 0 ? -1 : 0;
    Py_CLEAR(g->callback); /* no cycle stays behind */
    if (g->waiter == NULL)
        return 0;
    PyObject *waiter = Py_NewRef(g->waiter);
    rc = pa_any_done(g->st, waiter);
    if (rc == 0)
        rc = pa_any_set_result(g->st, waiter, Py_True);
    Py_DECREF(waiter);
    return rc < 0 ? -1 : 0;
}

int pa_group_task_done(pa_group *g, PyObject *task)
{
    if (remove_task(g, task) < 0)
        return -1;
    int cancelled = pa_any_cancelled(g->st, task);
    if (cancelled != 0)
        return cancelled < 0 ? -1 : 0;
    PyObject *exc = pa_any_exception(g->st, task);
    int rc = exc == NULL ? -1 : exc != Py_None ? take_error(g, task, exc) : 0;
    Py_XDECREF(exc);
    return rc;
}

static int observe(pa_observer *self, PyObject *task)
{
    if (self->a == NULL)
        return 0; /* the garbage collector took it apart */
    PyObject *g = Py_NewRef(self->a);
    int rc = pa_group_task_done((pa_group *)g, task);
    Py_DECREF(g);
    return rc;
}

static const pa_observer_kind task_kind = {"_on_task_done", "TaskGroup._on_task_done", observe};

static PyObject *on_task_done(PyObject *self, PyObject *task)
{
    return pa_group_task_done((pa_group *)self, task) == 0 ? Py_NewRef(Py_None) : NULL;
}

/* self._on_task_done, to be called back. New. */
PyObject *pa_group_callback(pa_group *g)
{
    if (pa_group_has_own_methods(g)) {
        if (g->callback == NULL)
            g->callback = (PyObject *)pa_observer_new(g->st, &task_kind, (PyObject *)g, NULL, NULL);
        return Py_XNewRef(g->callback);
    }
    return PyObject_GetAttr((PyObject *)g, g->st->names._on_task_done);
}

/* ---- Entering ---- */

static int cancel_group(pa_group *g)
{
    if (!g->entered) {
        g->cancel_on_enter = 1;
        return 0;
    }
    int some = g->exiting ? pa_group_has_tasks(g) : 1;
    if (some <= 0 || g->aborting)
        return some < 0 ? -1 : 0;
    if (call_abort(g) < 0)
        return -1;
    return g->parent != NULL && !g->parent_cancel_requested ? cancel_parent(g) : 0;
}

static int enter(pa_group *g)
{
    pa_state *st = g->st;
    if (g->entered) {
        PyErr_Format(PyExc_RuntimeError, "TaskGroup %R has already been entered", g);
        return -1;
    }
    if (g->loop == NULL) {
        PyObject *running = pa_calls_need_running(st);
        if (running == NULL)
            return -1;
        Py_XSETREF(g->loop, running);
    }
    PyObject *parent, *loop = pa_group_own(g->loop);
    int rc = pa_calls_need_task(st, loop, &parent);
    Py_DECREF(loop);
    if (rc < 0)
        return -1;
    Py_XSETREF(g->parent, parent);
    if (parent == NULL) {
        PyErr_Format(PyExc_RuntimeError, "TaskGroup %R cannot determine the parent task", g);
        return -1;
    }
    g->entered = 1;
    if (!g->cancel_on_enter)
        return 0;
    return pa_group_has_own_methods(g) ? cancel_group(g) : pa_call_nothing(PyObject_CallMethodNoArgs((PyObject *)g, st->names.cancel));
}

static PySendResult enter_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    if (enter((pa_group *)op->self) < 0)
        return PYGEN_ERROR;
    *result = Py_NewRef(op->self);
    return PYGEN_RETURN;
}

/* ---- Leaving ----
 *
 * The operation's fields: self the group, a the type and b the value of the body's exception (None for none), c the CancelledError that
 * is to go on (NULL for none). */

/* Whether the body ended by a cancellation. 1, 0 or -1. */
static int is_cancellation(pa_state *st, PyObject *type)
{
    if (type == Py_None)
        return 0;
    return PA_HAS_TRAIT(st, group_takes_subclasses) ? PyObject_IsSubclass(type, st->CancelledError) : type == st->CancelledError;
}

/* Takes back the cancellation that is ours; if none is left, it does not go on. */
static int take_back(pa_group *g, pa_op *op)
{
    if (!g->parent_cancel_requested)
        return 0;
    PyObject *parent = pa_group_own(g->parent);
    long left = pa_any_uncancel(g->st, parent);
    Py_DECREF(parent);
    if (left == -1 && PyErr_Occurred())
        return -1;
    if (left == 0)
        Py_CLEAR(op->c);
    else if (PA_HAS_TRAIT(g->st, group_keeps_pending) && op->c == NULL && g->pending != NULL)
        op->c = Py_NewRef(g->pending);
    return 0;
}

static int begin_leaving(pa_group *g, pa_op *op)
{
    g->exiting = 1;
    int base = op->b != Py_None ? is_base_error(g, op->b) : 0;
    if (base < 0)
        return -1;
    if (base && g->base_error == NULL)
        g->base_error = Py_NewRef(op->b);
    int cancelled = is_cancellation(g->st, op->a);
    if (cancelled < 0)
        return -1;
    if (cancelled && op->b != Py_None)
        op->c = Py_NewRef(op->b);
    if (!PA_HAS_TRAIT(g->st, group_leaves_late) && take_back(g, op) < 0)
        return -1;
    return op->a != Py_None && !g->aborting ? call_abort(g) : 0;
}

/* The raised exception gets no context but its own: raise ... from None, or again. */
static int raise_error(PyObject *exc)
{
    exc = Py_NewRef(exc);
    pa_raise_any(exc);
    Py_DECREF(exc);
    return -1;
}

/* The cancel count stays what it was, and the parent is cancelled again if somebody else did it. */
static int cancel_again(pa_group *g)
{
    if (!PA_HAS_TRAIT(g->st, group_leaves_late))
        return 0;
    PyObject *parent = pa_group_own(g->parent);
    long count = pa_any_cancelling(g->st, parent);
    int rc = count == -1 && PyErr_Occurred() ? -1 : 0;
    if (count > 0)
        rc = pa_any_uncancel(g->st, parent) == -1 && PyErr_Occurred() ? -1 : pa_any_cancel(g->st, parent, NULL) < 0 ? -1 : 0;
    Py_DECREF(parent);
    return rc;
}

static int raise_group(pa_group *g, pa_op *op)
{
    if (cancel_again(g) < 0)
        return -1;
    PyObject *errors = pa_group_own(g->errors);
    Py_CLEAR(g->errors);
    int lone = PA_HAS_TRAIT(g->st, group_lets_generators_exit) && op->a != Py_None ? PyObject_IsSubclass(op->a, PyExc_GeneratorExit) : 0;
    if (lone > 0 && PyList_CheckExact(errors) && PyList_GET_SIZE(errors) == 1) {
        raise_error(op->b);
    } else if (lone >= 0) {
        PyObject *exc = PyObject_CallFunction(PyExc_BaseExceptionGroup, "sO", "unhandled errors in a TaskGroup", errors);
        if (exc != NULL) {
            PyException_SetCause(exc, NULL); /* from None */
            raise_error(exc);
            Py_DECREF(exc);
        }
    }
    Py_DECREF(errors);
    return -1;
}

/* All tasks are done. 0, or -1 with what goes on. */
static int end(pa_group *g, pa_op *op)
{
    if (g->base_error != NULL)
        return raise_error(g->base_error);
    if (PA_HAS_TRAIT(g->st, group_leaves_late) && take_back(g, op) < 0)
        return -1;
    int errors = has_errors(g);
    if (errors < 0)
        return -1;
    if (op->c != NULL && !errors)
        return raise_error(op->c);
    int cancelled = is_cancellation(g->st, op->a);
    if (cancelled < 0 || (op->a != Py_None && !cancelled && add_error(g, op->b) < 0) || (errors = has_errors(g)) < 0)
        return -1;
    return errors ? raise_group(g, op) : 0;
}

/* From 3.14 on a group that was left keeps nothing that a traceback could hang on. */
static void forget(pa_group *g)
{
    Py_CLEAR(g->pending);
    if (!PA_HAS_TRAIT(g->st, group_forgets))
        return;
    Py_CLEAR(g->parent);
    Py_CLEAR(g->errors);
    Py_CLEAR(g->base_error);
}

/* A cancellation while it waits. */
static int note_cancellation(pa_group *g, pa_op *op, PyObject *exc)
{
    Py_XSETREF(g->pending, Py_NewRef(exc));
    if (g->aborting)
        return 0;
    Py_XSETREF(op->c, Py_NewRef(exc));
    return call_abort(g);
}

/* 1: it waits; 0: done; -1. */
static int leave(pa_group *g, pa_op *op, PyObject *thrown)
{
    if (op->step == 0) {
        op->step = 1;
        if (begin_leaving(g, op) < 0)
            return -1;
    } else {
        if (thrown != NULL) {
            int cancelled = PyErr_GivenExceptionMatches(thrown, g->st->CancelledError);
            if (!cancelled) {
                pa_op_raise(thrown);
                return -1;
            }
            if (note_cancellation(g, op, thrown) < 0)
                return -1;
        }
        Py_CLEAR(g->waiter);
    }
    int some = pa_group_has_tasks(g);
    if (some <= 0)
        return some < 0 ? -1 : end(g, op);
    PyObject *waiter = Py_XNewRef(g->waiter);
    if (waiter == NULL) {
        PyObject *loop = pa_group_own(g->loop);
        waiter = pa_calls_create_future(g->st, loop);
        Py_DECREF(loop);
        if (waiter == NULL)
            return -1;
        Py_XSETREF(g->waiter, Py_NewRef(waiter));
    }
    PySendResult how = pa_op_wait(op, waiter);
    Py_DECREF(waiter);
    return how == PYGEN_NEXT ? 1 : -1;
}

static PySendResult leave_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    pa_group *g = (pa_group *)op->self;
    int rc = leave(g, op, thrown);
    if (rc > 0)
        return PYGEN_NEXT;
    PyObject *raised = pa_err_take();
    forget(g);
    pa_err_restore(raised);
    if (rc < 0)
        return PYGEN_ERROR;
    *result = Py_NewRef(PA_HAS_TRAIT(g->st, group_suppresses) ? Py_True : Py_None);
    return PYGEN_RETURN;
}

static const pa_op_kind enter_kind = {"__aenter__", "TaskGroup.__aenter__", enter_run, NULL};
static const pa_op_kind leave_kind = {"__aexit__", "TaskGroup.__aexit__", leave_run, NULL};

static PyObject *aenter(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    if (pa_args_none(self, "__aenter__", args, nargs, kwnames) < 0)
        return NULL;
    return pa_op_new(((pa_group *)self)->st, &enter_kind, self);
}

static PyObject *aexit(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"et", "exc", "tb", NULL};
    static const pa_signature sig = {"__aexit__", names, 3, 3};
    PyObject *given[3];
    if (pa_args_parse(self, &sig, args, nargs, kwnames, given) < 0)
        return NULL;
    pa_op *op = (pa_op *)pa_op_new(((pa_group *)self)->st, &leave_kind, self);
    if (op != NULL) {
        op->a = Py_NewRef(given[0]);
        op->b = Py_NewRef(given[1]);
    }
    return (PyObject *)op;
}

/* ---- Lifecycle ---- */

static PyObject *group_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    pa_state *st = pa_state_of_type(type);
    pa_group *g = st != NULL ? (pa_group *)type->tp_alloc(type, 0) : NULL;
    if (g != NULL)
        g->st = st;
    return (PyObject *)g;
}

static int group_clear(PyObject *self)
{
    pa_group *g = (pa_group *)self;
    Py_CLEAR(g->loop);
    Py_CLEAR(g->parent);
    Py_CLEAR(g->base_error);
    Py_CLEAR(g->waiter);
    Py_CLEAR(g->tasks);
    Py_CLEAR(g->errors);
    Py_CLEAR(g->pending);
    Py_CLEAR(g->callback);
    return 0;
}

static int group_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {NULL};
    static const pa_signature sig = {"__init__", names, 0, 0};
    pa_group *g = (pa_group *)self;
    if (pa_args_parse_tuple(self, &sig, args, kwargs, NULL) < 0)
        return -1;
    (void)group_clear(self);
    g->entered = g->exiting = g->aborting = g->parent_cancel_requested = g->cancel_on_enter = 0;
    Py_XSETREF(g->tasks, PySet_New(NULL)); /* what was dropped may have assigned others */
    Py_XSETREF(g->errors, PyList_New(0));
    return g->tasks != NULL && g->errors != NULL ? 0 : -1;
}

static int group_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    pa_group *g = (pa_group *)self;
    return pa_traits_setattr(self, name, value, g->st->taskgroup_methods, &g->assigned);
}

static int group_traverse(PyObject *self, visitproc visit, void *arg)
{
    pa_group *g = (pa_group *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(g->loop);
    Py_VISIT(g->parent);
    Py_VISIT(g->base_error);
    Py_VISIT(g->waiter);
    Py_VISIT(g->tasks);
    Py_VISIT(g->errors);
    Py_VISIT(g->pending);
    Py_VISIT(g->callback);
    return 0;
}

static void group_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)group_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- Methods and attributes ---- */

static PyObject *abort_method(PyObject *self, PyObject *unused)
{
    return abort_tasks((pa_group *)self) == 0 ? Py_NewRef(Py_None) : NULL;
}

PyDoc_STRVAR(cancel_doc, "cancel($self, /)\n--\n\n"
             "Cancel the tasks of the group and its body; the group is then left without a\nCancelledError.\n\n"
             "Before it is entered: as soon as it is. After it was left: nothing.");
static PyObject *cancel_method(PyObject *self, PyObject *unused)
{
    return cancel_group((pa_group *)self) == 0 ? Py_NewRef(Py_None) : NULL;
}

#define OBJECT(name, field) PA_FIELD(name, pa_group, field)
#define FLAG(name, field) PA_FLAG(name, pa_group, field)

static PyGetSetDef group_getset[] = {
    OBJECT("_loop", loop),
    OBJECT("_parent_task", parent),
    OBJECT("_tasks", tasks),
    OBJECT("_errors", errors),
    OBJECT("_base_error", base_error),
    OBJECT("_on_completed_fut", waiter),
    FLAG("_entered", entered),
    FLAG("_exiting", exiting),
    FLAG("_aborting", aborting),
    FLAG("_parent_cancel_requested", parent_cancel_requested),
    FLAG("_cancel_on_enter", cancel_on_enter),
    {NULL, NULL, NULL, NULL, NULL},
};

#define CREATE_TASK_DOC "Make a task of a coroutine in this group and return it.\n\nRuntimeError where the group takes no tasks: " \
                        "before it is entered, when it is left or\nshuts down."

/* Which of the two asyncio has says its signature: see taskgroup's setup. */
static const pa_corofn_def create_task_methods[] = {
    {"create_task", "TaskGroup.create_task", pa_group_create_task,
     "create_task($self, /, coro, *, name=None, context=None)\n--\n\n" CREATE_TASK_DOC},
    {"create_task", "TaskGroup.create_task", pa_group_create_task_with_all,
     "create_task($self, /, coro, **kwargs)\n--\n\n" CREATE_TASK_DOC},
};

PA_NO_ARGS(cancel_method, cancel)

static PyMethodDef cancel_methods[] = {
    {"cancel", PA_NO_ARGS_METHOD(cancel_method, cancel), cancel_doc},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef group_methods[] = {
    {"_abort", abort_method, METH_NOARGS, PyDoc_STR("_abort($self, /)\n--\n\n")},
    {"_on_task_done", on_task_done, METH_O, PyDoc_STR("_on_task_done($self, task, /)\n--\n\n")},
    {NULL, NULL, 0, NULL},
};

static const pa_corofn_def group_corofns[] = {
    {"__aenter__", "TaskGroup.__aenter__", aenter, "__aenter__($self, /)\n--\n\n"},
    {"__aexit__", "TaskGroup.__aexit__", aexit, "__aexit__($self, /, et, exc, tb)\n--\n\n"},
    {NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(group_doc, "TaskGroup()\n--\n\nThe native half of pyasync.TaskGroup.");

static PyType_Slot group_slots[] = {
    {Py_tp_doc, (void *)group_doc},
    {Py_tp_new, group_new},
    {Py_tp_init, group_init},
    {Py_tp_setattro, group_setattro},
    {Py_tp_dealloc, group_dealloc},
    {Py_tp_traverse, group_traverse},
    {Py_tp_clear, group_clear},
    {Py_tp_methods, group_methods},
    {Py_tp_getset, group_getset},
    {0, NULL},
};

/* Whether asyncio's class has the attribute. 1, 0 or -1. */
static int original_has(PyObject *original, PyObject *name)
{
    PyObject *value = NULL;
    int found = pa_getattr_optional(original, name, &value);
    Py_XDECREF(value);
    return found;
}

int pa_taskgroup_setup(PyObject *module, pa_state *st)
{
    PyType_Spec spec = {"pyasync._core.TaskGroup", sizeof(pa_group), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, group_slots};
    st->TaskGroup = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    PyObject *asyncio = PyImport_ImportModule("asyncio.taskgroups");
    PyObject *original = asyncio != NULL ? PyObject_GetAttrString(asyncio, "TaskGroup") : NULL;
    int cancels = original != NULL ? original_has(original, st->names.cancel) : -1, rc = -1;
    if (st->TaskGroup == NULL || cancels < 0 || (cancels && pa_type_add_methods(st->TaskGroup, cancel_methods) < 0) ||
        pa_corofn_add_methods(st, st->TaskGroup, group_corofns) < 0 ||
        pa_pyfn_add_method(st, st->TaskGroup, original, &create_task_methods[PA_HAS_CALL_GRAPH]) < 0)
        goto done;
    rc = PyModule_AddType(module, st->TaskGroup);
done:
    Py_XDECREF(original);
    Py_XDECREF(asyncio);
    return rc;
}
