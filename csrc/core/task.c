/* pyasync.Task: a real subclass of pyasync.Future and asyncio.Task. This file is the object; task_step.c runs the coroutine.
 *
 * Layout: see future.c. tp_basicsize is asyncio.Task's and a pa_task; the fields lie at its end in Task and all its subclasses, and one
 * zero word follows whatever tp_basicsize a class has.
 *
 * Names: "Task-<n>", counted per module from 1 as asyncio counts its own; asyncio's C counter cannot be reached, so a program that
 * makes tasks of both kinds may see a number twice. The string is made when somebody asks for it (on 3.14 at once: debuggers read it
 * out of the base's field).
 *
 * A task is in the registries (registry.c) from its first scheduling until it is done or goes away.
 */
#include "core/task.h"
#include "core/future_impl.h"
#include "core/registry.h"
#include "rt/args.h"

/* ---- Names ---- */

/* The name as far as there is one: borrowed, or NULL. */
static PyObject *name_object(const pa_task *t) { return t->name & 1 ? NULL : (PyObject *)t->name; }

static int tell_base_name(PyObject *self, pa_task *t)
{
    PyObject *args[] = {NULL, self, name_object(t)};
    PyObject *result = PyObject_Vectorcall(t->future.st->base_set_name, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    if (result == NULL)
        return -1;
    Py_DECREF(result);
    return 0;
}

/* "Task-<number>", several times faster than by a format: from 3.14 on each task needs it. New. */
static PyObject *numbered_name(uint64_t number)
{
    char text[] = "Task-18446744073709551615", *end = text + sizeof(text) - 1, *at = end;
    do
        *--at = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    memmove(at -= 5, "Task-", 5);
    return PyUnicode_FromStringAndSize(at, end - at);
}

/* Borrowed; NULL with MemoryError, or for a task without a name. */
static PyObject *name_of(pa_task *t)
{
    if (t->name & 1) {
        PyObject *name = numbered_name((uint64_t)t->name >> 1);
        if (name == NULL)
            return NULL;
        t->name = (uintptr_t)name;
    }
    return name_object(t);
}

/* name None or NULL: the next number. */
static int set_name(PyObject *self, pa_task *t, PyObject *name)
{
    uintptr_t word;
    if (name == NULL || name == Py_None)
        word = (uintptr_t)++t->future.st->task_name_counter << 1 | 1;
    else if ((word = (uintptr_t)(PyUnicode_CheckExact(name) ? Py_NewRef(name) : PyObject_Str(name))) == 0)
        return -1;
    PyObject *former = name_object(t);
    t->name = word;
    Py_XDECREF(former);
    if (!PA_HAS_SWAP_CURRENT_TASK)
        return 0;
    return name_of(t) != NULL ? tell_base_name(self, t) : -1;
}

/* ---- Lifecycle ---- */

static int check_coroutine(pa_task *t, PyObject *coro)
{
    if (PyCoro_CheckExact(coro) || Py_TYPE(coro) == t->future.st->Operation)
        return 0;
    PyObject *answer = PyObject_CallOneArg(t->future.st->iscoroutine, coro);
    if (answer == NULL)
        return -1;
    int rc = PyObject_IsTrue(answer);
    Py_DECREF(answer);
    if (rc == 0)
        PyErr_Format(PyExc_TypeError, "a coroutine was expected, got %R", coro);
    return rc > 0 ? 0 : -1;
}

static int set_context(pa_task *t, PyObject *context)
{
    if (context == NULL || context == Py_None) {
        context = PyContext_CopyCurrent();
        if (context == NULL)
            return -1;
    } else if (PA_TASK_CHECKS_CONTEXT && !PyContext_CheckExact(context)) {
        PyErr_Format(PyExc_TypeError, "a contextvars.Context was expected, got %s", Py_TYPE(context)->tp_name);
        return -1;
    } else {
        Py_INCREF(context);
    }
    Py_XSETREF(t->context, context);
    return 0;
}

/* Everything after the future's part. eager: start at once. */
static int begin(PyObject *self, pa_task *t, PyObject *coro, PyObject *name, PyObject *context, int eager)
{
    t->future.log_destroy = 0;
    if (check_coroutine(t, coro) < 0 || set_context(t, context) < 0)
        return -1;
    Py_CLEAR(t->waiter);
    t->future.must_cancel = 0;
    t->future.log_destroy = 1;
    t->future.cancels = 0;
    t->future.ring = t->future.is_native && PyContext_CheckExact(t->context);
    Py_XSETREF(t->coro, Py_NewRef(coro));
    if (set_name(self, t, name) < 0)
        return -1;
    if (!eager)
        return pa_task_soon_step(self, t, NULL) < 0 ? -1 : pa_registry_add(t->future.st, self, &t->link);
    int rc = pa_task_eager_start(self, t);
    if (rc < 0 && PA_TASK_CHECKS_CONTEXT)
        t->future.log_destroy = 0;
    return rc;
}

/* Whether eager_start has its effect: only on a running loop. 1, 0 or -1. */
static int is_eager(pa_task *t, PyObject *eager_start)
{
    int rc = eager_start != NULL ? PyObject_IsTrue(eager_start) : 0;
    if (rc <= 0)
        return rc;
    PyObject *running = PyObject_CallMethodNoArgs(t->future.loop, t->future.st->names.is_running);
    if (running == NULL)
        return -1;
    rc = PyObject_IsTrue(running);
    Py_DECREF(running);
    return rc;
}

static const char *const init_names[] = {"coro", "loop", "name", "context", PA_HAS_EAGER_TASKS ? "eager_start" : NULL, NULL};
static const pa_signature init_sig = {"__init__", init_names, 1, 1};
#define INIT_ARGS 5

static int init(PyObject *self, pa_task *t, PyObject *const *given)
{
    if (pa_future_init(self, &t->future, given[1]) < 0)
        return -1;
    int eager = is_eager(t, PA_HAS_EAGER_TASKS ? given[4] : NULL);
    return eager < 0 ? -1 : begin(self, t, given[0], given[2], given[3], eager);
}

static int task_tp_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *given[INIT_ARGS];
    pa_future *f = pa_future_get(self);
    if (f == NULL || pa_args_parse_tuple(self, &init_sig, args, kwargs, given) < 0)
        return -1;
    return init(self, (pa_task *)f, given);
}

/* Task(coro, ...) of the exact type, without a tuple and a dict. */
static PyObject *task_vectorcall(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    PyObject *given[INIT_ARGS];
    if (pa_args_parse(type, &init_sig, args, PyVectorcall_NARGS(nargsf), kwnames, given) < 0)
        return NULL;
    PyObject *self = pa_future_type_new((PyTypeObject *)type, NULL, NULL);
    if (self != NULL && init(self, pa_task_find(self), given) < 0)
        Py_CLEAR(self);
    return self;
}

PyObject *pa_task_new(pa_loop *loop, PyObject *coro, PyObject *name, PyObject *context, int eager_start)
{
    pa_state *st = pa_loop_state(loop);
    PyObject *self = pa_future_alloc(st, st->Task, 1);
    if (self == NULL)
        return NULL;
    pa_task *t = pa_task_find(self);
    int rc = pa_future_init_native(&t->future, loop);
    PyObject_GC_Track(self);
    if (rc < 0 || begin(self, t, coro, name, context, eager_start && pa_loop_is_running(loop)) < 0)
        Py_CLEAR(self);
    return self;
}

static int task_traverse(PyObject *self, visitproc visit, void *arg)
{
    pa_task *t = (pa_task *)pa_future_find(self);
    Py_VISIT(t->coro);
    Py_VISIT(t->context);
    Py_VISIT(name_object(t));
    Py_VISIT(t->waiter);
    int rc = pa_future_traverse_fields(&t->future, visit, arg);
    if (rc != 0)
        return rc;
    if (!PA_BASE_VISITS_TYPE)
        Py_VISIT(Py_TYPE(self));
    return pa_future_base(self)->tp_traverse(self, visit, arg);
}

static void clear_fields(pa_task *t)
{
    t->future.ring = 0;
    Py_CLEAR(t->coro);
    Py_CLEAR(t->context);
    Py_CLEAR(t->waiter);
    pa_future_clear_fields(&t->future);
}

static int task_clear(PyObject *self)
{
    pa_task *t = (pa_task *)pa_future_find(self);
    pa_link_remove(&t->link);
    clear_fields(t);
    return pa_future_base(self)->tp_clear(self);
}

static void report_destroyed(PyObject *self, pa_task *t)
{
    pa_state *st = t->future.st;
    PyObject *raised = pa_err_take(), *source = PA_FUTURE_RARE(&t->future, source_tb);
    PyObject *context = PyDict_New();
    PyObject *message = PyUnicode_FromString("Task was destroyed but it is pending!");
    if (context == NULL || message == NULL || PyDict_SetItem(context, st->names.message, message) < 0 ||
        PyDict_SetItem(context, st->names.task, self) < 0 ||
        (source != NULL && PyDict_SetItem(context, st->names.source_traceback, source) < 0))
        PyErr_WriteUnraisable(self);
    else
        pa_future_call_handler(&t->future, context, self);
    Py_XDECREF(context);
    Py_XDECREF(message);
    pa_err_restore(raised);
}

static int is_destroyed_pending(pa_task *t)
{
    return t->future.state == PA_FUTURE_PENDING && t->future.log_destroy && t->future.loop != NULL;
}

/* It leaves CPython's list (3.14) here: when the collector takes the interpreter apart, nobody may be left to ask in dealloc. */
static void task_finalize(PyObject *self)
{
    pa_task *t = pa_task_find(self);
    if (t == NULL || !pa_future_state_lives(self))
        return;
    if (is_destroyed_pending(t))
        report_destroyed(self, t);
    pa_future_report_exception(self, &t->future);
    pa_registry_remove(t->future.st, self, &t->link);
}

/* From 3.14 on CPython's list of tasks does not own them, and anybody may have registered this one: leaving it is no option. But once
 * _asyncio itself is being taken apart, it cannot be asked any more; then the finalizer has done it. */
static void leave_registries(PyObject *self, pa_task *t)
{
    pa_link_remove(&t->link);
    if (!PA_HAS_SWAP_CURRENT_TASK || !pa_future_state_lives(self) || (pa_is_finalizing() && PyObject_GC_IsFinalized(self)))
        return;
    Py_SET_REFCNT(self, 1); /* an argument must be alive */
    pa_registry_remove(t->future.st, self, &t->link);
    Py_SET_REFCNT(self, 0);
}

void pa_task_dealloc(PyObject *self)
{
    pa_task *t = (pa_task *)pa_future_find(self);
    if ((t->future.log_tb || is_destroyed_pending(t)) && PyObject_CallFinalizerFromDealloc(self) < 0)
        return;
    leave_registries(self, t);
    PyObject_GC_UnTrack(self);
    PyObject_ClearWeakRefs(self);
    clear_fields(t);
    Py_XDECREF(name_object(t));
    t->name = 0;
    (void)pa_future_base(self)->tp_clear(self);
    pa_future_free(self);
}

/* ---- Cancelling ---- */

int pa_task_cancel_waiter(pa_task *t, PyObject *msg)
{
    PyObject *waiter = Py_NewRef(t->waiter);
    pa_future *f = pa_future_is_exact(waiter) ? pa_future_find(waiter) : NULL;
    int rc;
    if (f != NULL && Py_TYPE(waiter) == f->st->Future) {
        rc = pa_future_do_cancel(waiter, f, msg);
    } else if (f != NULL && f->is_task) {
        if ((rc = Py_EnterRecursiveCall(" while calling a Python object")) == 0) {
            rc = pa_task_do_cancel(waiter, (pa_task *)f, msg);
            Py_LeaveRecursiveCall();
        }
    } else {
        PyObject *answer = PyObject_CallMethodOneArg(waiter, t->future.st->names.cancel, msg);
        rc = answer != NULL ? PyObject_IsTrue(answer) : -1;
        Py_XDECREF(answer);
    }
    Py_DECREF(waiter);
    return rc;
}

int pa_task_do_cancel(PyObject *self, pa_task *t, PyObject *msg)
{
    t->future.log_tb = 0;
    if (t->future.state != PA_FUTURE_PENDING)
        return 0;
    t->future.cancels++;
    if (t->waiter != NULL) {
        /* it stays in t->waiter: it may be a task that ignores the cancellation and has to be cancelled again */
        int rc = pa_task_cancel_waiter(t, msg);
        if (rc != 0)
            return rc;
    }
    /* a step is scheduled or running: it takes the cancellation with it */
    if (pa_future_set_cancel_msg(&t->future, msg) < 0)
        return -1;
    t->future.must_cancel = 1;
    return 1;
}

int pa_task_do_uncancel(pa_task *t)
{
    if (t->future.cancels > 0 && --t->future.cancels == 0 && PA_UNCANCEL_TAKES_BACK)
        t->future.must_cancel = 0;
    return t->future.cancels;
}

PyDoc_STRVAR(task_cancel_doc, "cancel($self, /, msg=None)\n--\n\n"
             "Ask for a CancelledError to be raised in the task's coroutine.\n\n"
             "It is thrown into the coroutine, with `msg` as its argument, on the loop's next\ntick; the coroutine may "
             "handle it. Each call counts for cancelling().\nReturn False if the task is done already, True otherwise.");
static PyObject *task_cancel(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"msg", NULL};
    static const pa_signature sig = {"cancel", names, 1, 0};
    PyObject *given[1];
    pa_future *f = pa_args_parse(self, &sig, args, nargs, kwnames, given) == 0 ? pa_future_get(self) : NULL;
    if (f == NULL)
        return NULL;
    int rc = pa_task_do_cancel(self, (pa_task *)f, given[0] != NULL ? given[0] : Py_None);
    return rc < 0 ? NULL : PyBool_FromLong(rc);
}

PyDoc_STRVAR(task_cancelling_doc, "cancelling($self, /)\n--\n\n"
             "Return how many cancellations were asked for by cancel() and not taken back by\nuncancel().");
static PyObject *task_cancelling(PyObject *self, PyObject *unused)
{
    pa_task *t = (pa_task *)pa_future_get(self);
    return t != NULL ? PyLong_FromLong(t->future.cancels) : NULL;
}

PyDoc_STRVAR(task_uncancel_doc, "uncancel($self, /)\n--\n\n"
             "Take one cancellation back and return how many are left.\n\n"
             "For code that catches CancelledError and goes on.");
static PyObject *task_uncancel(PyObject *self, PyObject *unused)
{
    pa_task *t = (pa_task *)pa_future_get(self);
    return t != NULL ? PyLong_FromLong(pa_task_do_uncancel(t)) : NULL;
}

/* ---- Methods ---- */

static PyObject *task_set_result(PyObject *self, PyObject *result)
{
    PyErr_SetString(PyExc_RuntimeError, "Task does not support set_result operation");
    return NULL;
}

static PyObject *task_set_exception(PyObject *self, PyObject *exception)
{
    PyErr_SetString(PyExc_RuntimeError, "Task does not support set_exception operation");
    return NULL;
}

static PyObject *or_none(PyObject *obj) { return Py_NewRef(obj != NULL ? obj : Py_None); }

static PyObject *task_get_coro(PyObject *self, PyObject *unused)
{
    pa_task *t = (pa_task *)pa_future_get(self);
    return t != NULL ? or_none(t->coro) : NULL;
}

PyObject *pa_task_context(PyObject *task) { return pa_task_find(task)->context; }

#if PA_HAS_TASK_CONTEXT
static PyObject *task_get_context(PyObject *self, PyObject *unused)
{
    pa_task *t = (pa_task *)pa_future_get(self);
    return t != NULL ? or_none(t->context) : NULL;
}
#endif

static PyObject *task_get_name(PyObject *self, PyObject *unused)
{
    pa_task *t = (pa_task *)pa_future_get(self);
    if (t == NULL)
        return NULL;
    return t->name == 0 ? Py_NewRef(Py_None) : Py_XNewRef(name_of(t));
}

static PyObject *task_set_name(PyObject *self, PyObject *value)
{
    pa_task *t = (pa_task *)pa_future_get(self);
    if (t == NULL)
        return NULL;
    PyObject *name = PyUnicode_CheckExact(value) ? Py_NewRef(value) : PyObject_Str(value);
    int rc = name != NULL ? set_name(self, t, name) : -1;
    Py_XDECREF(name);
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(task_get_stack_doc, "get_stack($self, /, *, limit=None)\n--\n\n"
             "Return the list of stack frames of the task's coroutine, oldest first.\n\n"
             "For a suspended coroutine that is the frame where it waits; for one that ended\nwith an exception, the frames of "
             "its traceback; else nothing. `limit` keeps the\nnewest frames of a stack and the oldest of a traceback.");
static PyObject *task_get_stack(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"limit", NULL};
    static const pa_signature sig = {"get_stack", names, 0, 0};
    PyObject *given[1];
    pa_future *f = pa_args_parse(self, &sig, args, nargs, kwnames, given) == 0 ? pa_future_get(self) : NULL;
    if (f == NULL)
        return NULL;
    return PyObject_CallFunctionObjArgs(f->st->task_get_stack, self, given[0] != NULL ? given[0] : Py_None, NULL);
}

PyDoc_STRVAR(task_print_stack_doc, "print_stack($self, /, *, limit=None, file=None)\n--\n\n"
             "Print the stack or the traceback of the task's coroutine to `file` (sys.stderr).\n\n"
             "The frames are those of get_stack(limit=limit), printed as by traceback.");
static PyObject *task_print_stack(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"limit", "file", NULL};
    static const pa_signature sig = {"print_stack", names, 0, 0};
    PyObject *given[2];
    pa_future *f = pa_args_parse(self, &sig, args, nargs, kwnames, given) == 0 ? pa_future_get(self) : NULL;
    if (f == NULL)
        return NULL;
    return PyObject_CallFunctionObjArgs(f->st->task_print_stack, self, given[0] != NULL ? given[0] : Py_None,
                                        given[1] != NULL ? given[1] : Py_None, NULL);
}

static PyObject *task_repr(PyObject *self)
{
    pa_future *f = pa_future_get_alive(self);
    return f != NULL ? PyObject_CallOneArg(f->st->task_repr, self) : NULL;
}

/* ---- Attributes ---- */

static PyObject *get_fut_waiter(PyObject *self, void *unused)
{
    pa_task *t = (pa_task *)pa_future_get(self);
    return t != NULL ? or_none(t->waiter) : NULL;
}

static PyObject *get_coro(PyObject *self, void *unused) { return task_get_coro(self, NULL); }

static PyObject *get_must_cancel(PyObject *self, void *unused)
{
    pa_task *t = (pa_task *)pa_future_get(self);
    return t != NULL ? PyBool_FromLong(t->future.must_cancel) : NULL;
}

static PyObject *get_log_destroy(PyObject *self, void *unused)
{
    pa_task *t = (pa_task *)pa_future_get(self);
    return t != NULL ? PyBool_FromLong(t->future.log_destroy) : NULL;
}

static int set_log_destroy(PyObject *self, PyObject *value, void *unused)
{
    pa_task *t = (pa_task *)pa_future_get(self);
    if (t == NULL)
        return -1;
    if (value == NULL)
        return pa_err_cannot_delete(self, "_log_destroy_pending");
    int truth = PyObject_IsTrue(value);
    if (truth < 0)
        return -1;
    t->future.log_destroy = (uint8_t)truth;
    return 0;
}

/* ---- Setup ---- */

static PyMethodDef task_methods[] = {
    {"cancel", PA_WITH_KEYWORDS(task_cancel), task_cancel_doc},
    {"cancelling", task_cancelling, METH_NOARGS, task_cancelling_doc},
    {"uncancel", task_uncancel, METH_NOARGS, task_uncancel_doc},
    {"set_result", task_set_result, METH_O, "set_result($self, result, /)\n--\n\n"},
    {"set_exception", task_set_exception, METH_O, "set_exception($self, exception, /)\n--\n\n"},
    {"get_coro", task_get_coro, METH_NOARGS, "get_coro($self, /)\n--\n\n"},
#if PA_HAS_TASK_CONTEXT
    {"get_context", task_get_context, METH_NOARGS, "get_context($self, /)\n--\n\n"},
#endif
    {"get_name", task_get_name, METH_NOARGS, "get_name($self, /)\n--\n\n"},
    {"set_name", task_set_name, METH_O, "set_name($self, value, /)\n--\n\n"},
    {"get_stack", PA_WITH_KEYWORDS(task_get_stack), task_get_stack_doc},
    {"print_stack", PA_WITH_KEYWORDS(task_print_stack), task_print_stack_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef task_getset[] = {
    {"_fut_waiter", get_fut_waiter, NULL, NULL, NULL},
    {"_coro", get_coro, NULL, NULL, NULL},
    {"_must_cancel", get_must_cancel, NULL, NULL, NULL},
    {"_log_destroy_pending", get_log_destroy, set_log_destroy, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#if PA_HAS_EAGER_TASKS
#define TASK_SIGNATURE "Task(coro, *, loop=None, name=None, context=None, eager_start=False)"
#else
#define TASK_SIGNATURE "Task(coro, *, loop=None, name=None, context=None)"
#endif
PyDoc_STRVAR(task_doc, TASK_SIGNATURE "\n--\n\nA coroutine that an event loop runs: asyncio.Task in C.");

static PyType_Slot task_slots[] = {
    {Py_tp_doc, (void *)task_doc},
    {Py_tp_new, pa_future_type_new},
    {Py_tp_init, task_tp_init},
    {Py_tp_dealloc, pa_task_dealloc},
    {Py_tp_finalize, task_finalize},
    {Py_tp_traverse, task_traverse},
    {Py_tp_clear, task_clear},
    {Py_tp_repr, task_repr},
    {Py_tp_iter, pa_future_iter},
    {Py_am_await, pa_future_iter},
    {Py_tp_methods, task_methods},
    {Py_tp_getset, task_getset},
    {0, NULL},
};

/* Steals the descriptor of an attribute that Future has, too. 0 or -1. */
static int add_attribute(PyTypeObject *type, const char *name, PyObject *descr)
{
    int rc = descr != NULL ? PyDict_SetItemString(type->tp_dict, name, descr) : -1;
    Py_XDECREF(descr);
    return rc;
}

/* asyncio.Task has methods of Future in its own dict, and up to 3.13 the other attributes: error texts name the class that has them. And
 * the interpreter calls a method in C without ado only on exactly the class that has it. */
static int add_future_attributes(PyTypeObject *type, PyObject *theirs)
{
    for (PyGetSetDef *def = pa_future_getset; PA_TASK_REPEATS_ATTRIBUTES && def->name != NULL; def++)
        if (add_attribute(type, def->name, PyDescr_NewGetSet(type, def)) < 0)
            return -1;
    for (PyMethodDef *def = pa_future_methods; def->ml_name != NULL; def++)
        if (PyMapping_HasKeyString(theirs, def->ml_name) && PyDict_GetItemString(type->tp_dict, def->ml_name) == NULL &&
            add_attribute(type, def->ml_name, PyDescr_NewMethod(type, def)) < 0)
            return -1;
    PyType_Modified(type);
    return 0;
}

int pa_task_setup(PyObject *module, pa_state *st)
{
    if (pa_task_step_setup(module, st) < 0)
        return -1;
    if ((st->base_set_name = PyObject_GetAttr((PyObject *)st->aio_Task, st->names.set_name)) == NULL)
        return -1;
    PyType_Spec spec = {"pyasync.Task", (int)(st->aio_Task->tp_basicsize + (Py_ssize_t)sizeof(pa_task)), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | PA_TPFLAGS_MANAGED,
                        task_slots};
    PyObject *bases = PyTuple_Pack(2, st->Future, st->aio_Task);
    if (bases == NULL)
        return -1;
    st->Task = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, bases);
    Py_DECREF(bases);
    PyObject *theirs = st->Task != NULL ? PyObject_GetAttrString((PyObject *)st->aio_Task, "__dict__") : NULL;
    int rc = theirs != NULL ? add_future_attributes(st->Task, theirs) : -1;
    Py_XDECREF(theirs);
    if (rc < 0)
        return -1;
    st->Task->tp_vectorcall = task_vectorcall;
    return PyModule_AddType(module, st->Task);
}
