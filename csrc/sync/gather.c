/* gather(): one observer is the callback of all children and counts them; it owns the list of children and the future that gather()
 * returned, as the closure does in asyncio.
 *
 * That future, _GatheringFuture, is a native future with two more fields, which lie inside its tp_basicsize where a Python subclass has
 * its slots. The class may be patched (tracers wrap its __init__), so it is made by calling it where its __init__ is not ours.
 *
 * Without a running loop, and without children, asyncio's own function does it, and where a tracer rewrote asyncio's
 * _GatheringFuture.__init__.
 */
#include "sync/gather.h"
#include "sync/ensure.h"
#include "sync/observer.h"
#include "sync/pyfn.h"
#include "core/future_any.h"
#include "core/future_impl.h"
#include "core/loop_calls.h"
#include "rt/args.h"
#include "rt/override.h"

/* ---- The future ---- */

typedef struct {
    PyObject *children;         /* NULL before __init__ */
    PyObject *cancel_requested; /* NULL for False */
} gathering;

static gathering *fields_of(PyObject *self)
{
    return (gathering *)((char *)self + pa_future_base(self)->tp_basicsize);
}

static int begin(PyObject *self, PyObject *children, PyObject *loop)
{
    if (pa_future_init(self, pa_future_find(self), loop) < 0)
        return -1;
    gathering *fields = fields_of(self);
    Py_XSETREF(fields->children, Py_NewRef(children));
    Py_CLEAR(fields->cancel_requested);
    return 0;
}

static int gathering_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"children", "loop", NULL};
    PyObject *children, *loop;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O$O:_GatheringFuture", names, &children, &loop))
        return -1;
    if (loop == Py_None && pa_future_find(self)->st->asserts) {
        PyErr_SetNone(PyExc_AssertionError);
        return -1;
    }
    return begin(self, children, loop);
}

/* child.cancel(msg=msg) for all. Whether one took it, or -1. */
static int cancel_children(pa_state *st, PyObject *children, PyObject *msg)
{
    int any = 0;
    PyObject *iterator = PyObject_GetIter(children), *child;
    if (iterator == NULL)
        return -1;
    while ((child = PyIter_Next(iterator)) != NULL) {
        int rc = pa_any_cancel(st, child, msg);
        Py_DECREF(child);
        if (rc < 0)
            break;
        any |= rc;
    }
    Py_DECREF(iterator);
    return PyErr_Occurred() ? -1 : any;
}

PyDoc_STRVAR(gathering_cancel_doc, "cancel($self, /, msg=None)\n--\n\n"
             "Cancel the children that are not done; True if there was one. msg goes to their\nCancelledError.");
static PyObject *gathering_cancel(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"msg", NULL};
    static const pa_signature sig = {"cancel", names, 1, 0};
    PyObject *given[1];
    if (pa_args_parse(self, &sig, args, nargs, kwnames, given) < 0)
        return NULL;
    pa_future *f = pa_future_get_alive(self);
    if (f == NULL)
        return NULL;
    PyObject *children = fields_of(self)->children;
    if (f->state != PA_FUTURE_PENDING || children == NULL)
        Py_RETURN_FALSE;
    Py_INCREF(children);
    int any = cancel_children(f->st, children, given[0] != NULL ? given[0] : Py_None);
    Py_DECREF(children);
    if (any > 0)
        Py_XSETREF(fields_of(self)->cancel_requested, Py_NewRef(Py_True));
    return any < 0 ? NULL : PyBool_FromLong(any);
}

static PyObject *get_children(PyObject *self, void *unused)
{
    PyObject *children = fields_of(self)->children;
    if (children == NULL)
        PyErr_SetString(PyExc_AttributeError, "_children");
    return Py_XNewRef(children);
}

static int set_children(PyObject *self, PyObject *value, void *unused)
{
    Py_XSETREF(fields_of(self)->children, Py_XNewRef(value));
    return 0;
}

static PyObject *get_cancel_requested(PyObject *self, void *unused)
{
    PyObject *requested = fields_of(self)->cancel_requested;
    return Py_NewRef(requested != NULL ? requested : Py_False);
}

static int set_cancel_requested(PyObject *self, PyObject *value, void *unused)
{
    Py_XSETREF(fields_of(self)->cancel_requested, Py_XNewRef(value));
    return 0;
}

static int gathering_traverse(PyObject *self, visitproc visit, void *arg)
{
    gathering *fields = fields_of(self);
    Py_VISIT(fields->children);
    Py_VISIT(fields->cancel_requested);
    return pa_future_find(self)->st->Future->tp_traverse(self, visit, arg);
}

static int gathering_clear(PyObject *self)
{
    gathering *fields = fields_of(self);
    Py_CLEAR(fields->children);
    Py_CLEAR(fields->cancel_requested);
    return pa_future_clear(self);
}

/* ---- The children's callback ---- */

/* Nobody will ask this child any more: an exception of its counts as retrieved. */
static int mark_retrieved(pa_state *st, PyObject *child)
{
    int cancelled = pa_any_cancelled(st, child);
    if (cancelled != 0)
        return cancelled < 0 ? -1 : 0;
    PyObject *exc = pa_any_exception(st, child);
    Py_XDECREF(exc);
    return exc != NULL ? 0 : -1;
}

/* What stands for a child in the list of results. New. */
static PyObject *outcome_of(pa_state *st, PyObject *child)
{
    int cancelled = pa_any_cancelled(st, child);
    if (cancelled < 0)
        return NULL;
    if (cancelled) {
        PyObject *msg = pa_any_cancel_message(st, child);
        if (msg == NULL)
            return NULL;
        if (msg == Py_None)
            Py_SETREF(msg, PyUnicode_FromString(""));
        PyObject *exc = msg != NULL ? PyObject_CallOneArg(st->CancelledError, msg) : NULL;
        Py_XDECREF(msg);
        return exc;
    }
    PyObject *exc = pa_any_exception(st, child);
    if (exc != Py_None)
        return exc;
    Py_DECREF(exc);
    return pa_any_result(st, child);
}

/* All children are done, `child` as the last one. The list is the program's, too. */
static int set_results(pa_observer *self, PyObject *outer, PyObject *child)
{
    pa_state *st = self->st;
    PyObject *results = PyList_New(0), *last = Py_NewRef(child);
    int rc = results != NULL ? 0 : -1;
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(self->b); i++) {
        Py_SETREF(last, Py_NewRef(PyList_GET_ITEM(self->b, i)));
        PyObject *outcome = outcome_of(st, last);
        rc = outcome != NULL ? PyList_Append(results, outcome) : -1;
        Py_XDECREF(outcome);
    }
    PyObject *requested = rc == 0 ? PyObject_GetAttr(outer, st->names._cancel_requested) : NULL;
    int cancelled = requested != NULL ? PyObject_IsTrue(requested) : -1;
    Py_XDECREF(requested);
    if (cancelled > 0) {
        /* whoever cancelled gather() gets the cancellation, even where the children's are results */
        PyObject *exc = pa_any_cancelled_error(st, last);
        rc = exc != NULL ? pa_any_set_exception(st, outer, exc) : -1;
        Py_XDECREF(exc);
    } else {
        rc = cancelled == 0 ? pa_any_set_result(st, outer, results) : -1;
    }
    Py_DECREF(last);
    Py_XDECREF(results);
    return rc;
}

/* From 3.14 on those that go on running have lost who awaits them. */
static int discard_awaited_by(pa_observer *self)
{
    for (Py_ssize_t i = 0; self->c != NULL && i < PyList_GET_SIZE(self->b); i++) {
        PyObject *child = Py_NewRef(PyList_GET_ITEM(self->b, i));
        int rc = pa_any_discard_awaited_by(self->st, child, self->c);
        Py_DECREF(child);
        if (rc < 0)
            return -1;
    }
    return 0;
}

/* The child's exception or cancellation ends gather(). 1, 0 if it has none, -1. */
static int fail_early(pa_observer *self, PyObject *outer, PyObject *child)
{
    pa_state *st = self->st;
    int cancelled = pa_any_cancelled(st, child);
    if (cancelled < 0)
        return -1;
    PyObject *exc = cancelled ? pa_any_cancelled_error(st, child) : pa_any_exception(st, child);
    if (exc == NULL)
        return -1;
    int failed = exc != Py_None, rc = 0;
    if (failed)
        rc = discard_awaited_by(self) == 0 ? pa_any_set_exception(st, outer, exc) : -1;
    Py_DECREF(exc);
    return rc < 0 ? -1 : failed;
}

/* a: the future of gather(), NULL while it is being made; b: the list of children; c: the task that called, from 3.14 on; flag:
 * return_exceptions; total: how many different children there are. */
static int child_done(pa_observer *self, PyObject *child)
{
    pa_state *st = self->st;
    self->count++;
    if (pa_any_discard_awaited_by(st, child, self->c) < 0)
        return -1;
    PyObject *outer = Py_XNewRef(self->a);
    int done = outer != NULL ? pa_any_done(st, outer) : 1;
    if (done != 0) {
        Py_XDECREF(outer);
        return done < 0 ? -1 : mark_retrieved(st, child);
    }
    int failed = self->flag ? 0 : fail_early(self, outer, child), rc = failed < 0 ? -1 : 0;
    if (failed == 0 && self->count == self->total)
        rc = set_results(self, outer, child);
    Py_DECREF(outer);
    return rc;
}

static const pa_observer_kind child_kind = {"_done_callback", "gather.<locals>._done_callback", child_done};

/* ---- gather() ---- */

#define FEW 16

/* What gather() has found out so far. */
typedef struct {
    pa_observer *observer;
    PyObject *loop;     /* NULL until it is known: owned */
    PyObject *children; /* the list */
    PyObject *known;    /* argument -> child; NULL where no argument is there twice */
    PyObject *finished; /* children that were done already, NULL for none */
    PyObject *context;  /* of all their callbacks: each would copy the same */
} progress;

/* Whether all arguments are few, equal nothing but themselves, and are there once: then none needs to be looked up. */
static bool are_distinct(PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs > FEW)
        return false;
    for (Py_ssize_t i = 0; i < nargs; i++) {
        PyTypeObject *type = Py_TYPE(args[i]);
        if (type->tp_hash != PyBaseObject_Type.tp_hash || type->tp_richcompare != PyBaseObject_Type.tp_richcompare)
            return false;
        for (Py_ssize_t j = 0; j < i; j++)
            if (args[j] == args[i])
                return false;
    }
    return true;
}

/* The child that an argument has become. 1 and a new reference, 0 or -1. */
static int find_child(progress *p, PyObject *arg, PyObject **child)
{
    *child = NULL;
    return p->known != NULL ? pa_dict_get(p->known, arg, child) : 0;
}

/* A new argument becomes a child. New, or NULL. */
static PyObject *adopt(pa_state *st, progress *p, PyObject *arg)
{
    PyObject *child = pa_ensure_future(st, arg, p->loop);
    if (child == NULL || (p->loop == NULL && (p->loop = pa_any_loop(st, child)) == NULL) ||
        (child != arg && pa_any_hush(st, child) < 0))
        goto failed;
    p->observer->total++;
    if (p->known != NULL && PyDict_SetItem(p->known, arg, child) < 0)
        goto failed;
    int done = PA_HAS_EAGER_TASKS ? pa_any_done(st, child) : 0;
    if (done < 0)
        goto failed;
    if (done) {
        if ((p->finished == NULL && (p->finished = PyList_New(0)) == NULL) || PyList_Append(p->finished, child) < 0)
            goto failed;
    } else if (pa_any_add_awaited_by(st, child, p->observer->c) < 0 ||
               pa_any_add_callback_in(st, child, (PyObject *)p->observer, p->context) < 0) {
        goto failed;
    }
    return child;
failed:
    Py_XDECREF(child);
    return NULL;
}

static PyObject *new_outer(pa_state *st, PyObject *children, PyObject *loop)
{
    PyTypeObject *type = st->GatheringFuture;
    if (type->tp_init == gathering_init) {
        PyObject *self = pa_future_type_new(type, NULL, NULL);
        if (self != NULL && begin(self, children, loop) < 0)
            Py_CLEAR(self);
        return self;
    }
    PyObject *args[] = {NULL, children, loop};
    return PyObject_Vectorcall((PyObject *)type, args + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, st->kw_loop);
}

static int run_finished(progress *p)
{
    for (Py_ssize_t i = 0; p->finished != NULL && i < PyList_GET_SIZE(p->finished); i++)
        if (child_done(p->observer, PyList_GET_ITEM(p->finished, i)) < 0)
            return -1;
    return 0;
}

static PyObject *gather_all(pa_state *st, progress *p, PyObject *const *args, Py_ssize_t nargs)
{
    for (Py_ssize_t i = 0; i < nargs; i++) {
        PyObject *child;
        int found = find_child(p, args[i], &child);
        if (found < 0 || (found == 0 && (child = adopt(st, p, args[i])) == NULL))
            return NULL;
        int rc = PyList_Append(p->children, child);
        Py_DECREF(child);
        if (rc < 0)
            return NULL;
    }
    PyObject *outer = new_outer(st, p->children, p->loop);
    if (outer == NULL)
        return NULL;
    Py_XSETREF(p->observer->a, Py_NewRef(outer));
    if (run_finished(p) < 0)
        Py_CLEAR(outer);
    return outer;
}

/* 1 and *flag, 0 where asyncio's function shall complain, -1. */
static int take_flag(Py_ssize_t nargs, PyObject *const *args, PyObject *kwnames, int *flag)
{
    Py_ssize_t nkw = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    *flag = 0;
    if (nkw == 0)
        return 1;
    if (nkw > 1 || PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "return_exceptions") != 0)
        return 0;
    *flag = PyObject_IsTrue(args[nargs]);
    return *flag < 0 ? -1 : 1;
}

PyDoc_STRVAR(gather_doc, "gather(*coros_or_futures, return_exceptions=False)\n--\n\n"
             "Return a future of the list of the results of all awaitables, in their order.\n\n"
             "Coroutines become tasks; all futures must belong to one loop. The first exception\n"
             "goes to the returned future at once and the others run on; with return_exceptions\n"
             "exceptions are results like any other. Cancelling the future cancels the children\n"
             "that are not done; a child that is cancelled counts as one that raised\nCancelledError.");
static PyObject *gather(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    pa_state *st = pa_state_of_module(module);
    PyObject *running, *task = NULL, *outer = NULL;
    int flag, usual = take_flag(nargs, args, kwnames, &flag);
    if (usual < 0 || pa_calls_running(st, &running) < 0)
        return NULL;
    int traced = pa_override_rewritten(st->gathering_init, st->gathering_init_code);
    if (!usual || nargs == 0 || running == NULL || traced) {
        PyObject *function = Py_NewRef(traced && running != NULL ? st->aio_gather : st->gather);
        Py_XDECREF(running);
        outer = PyObject_Vectorcall(function, args, (size_t)nargs, kwnames);
        Py_DECREF(function);
        return outer;
    }
    bool distinct = are_distinct(args, nargs);
    progress p = {.children = PyList_New(0), .known = distinct ? NULL : PyDict_New(), .context = PyContext_CopyCurrent()};
    if (p.children == NULL || (p.known == NULL && !distinct) || p.context == NULL)
        goto done;
    if (PA_HAS_CALL_GRAPH) {
        p.loop = Py_NewRef(running);
        if (pa_calls_current_task(st, running, &task) < 0)
            goto done;
    }
    if ((p.observer = pa_observer_new(st, &child_kind, NULL, p.children, task)) == NULL)
        goto done;
    p.observer->flag = flag;
    outer = gather_all(st, &p, args, nargs);
done:
    Py_XDECREF(p.observer);
    Py_XDECREF(p.loop);
    Py_XDECREF(p.children);
    Py_XDECREF(p.known);
    Py_XDECREF(p.finished);
    Py_XDECREF(p.context);
    Py_XDECREF(task);
    Py_DECREF(running);
    return outer;
}

/* ---- Setup ---- */

static PyMethodDef gathering_methods[] = {
    {"cancel", PA_WITH_KEYWORDS(gathering_cancel), gathering_cancel_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef gathering_getset[] = {
    {"_children", get_children, set_children, NULL, NULL},
    {"_cancel_requested", get_cancel_requested, set_cancel_requested, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(gathering_doc, "The future of gather(): cancelling it cancels the children, and it is cancelled when they are done.");

static PyType_Slot gathering_slots[] = {
    {Py_tp_doc, (void *)gathering_doc},
    {Py_tp_init, gathering_init},
    {Py_tp_dealloc, pa_future_dealloc},
    {Py_tp_traverse, gathering_traverse},
    {Py_tp_clear, gathering_clear},
    {Py_tp_methods, gathering_methods},
    {Py_tp_getset, gathering_getset},
    {0, NULL},
};

static const pa_corofn_def functions[] = {
    {"gather", "gather", gather, gather_doc},
    {NULL, NULL, NULL, NULL},
};

static int find_asyncios(pa_state *st)
{
    PyObject *tasks = PyImport_ImportModule("asyncio.tasks");
    PyObject *class = tasks != NULL ? PyObject_GetAttrString(tasks, "_GatheringFuture") : NULL;
    st->gathering_init = class != NULL ? PyObject_GetAttrString(class, "__init__") : NULL;
    st->gathering_init_code = st->gathering_init != NULL ? pa_override_code(st->gathering_init) : NULL;
    st->aio_gather = st->gathering_init_code != NULL ? PyObject_GetAttrString(tasks, "gather") : NULL;
    Py_XDECREF(class);
    Py_XDECREF(tasks);
    return st->aio_gather != NULL ? 0 : -1;
}

int pa_gather_setup(PyObject *module, pa_state *st)
{
    PyType_Spec spec = {"pyasync._GatheringFuture", (int)(st->aio_Future->tp_basicsize + (Py_ssize_t)sizeof(gathering)), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | PA_TPFLAGS_MANAGED, gathering_slots};
    PyObject *bases = PyTuple_Pack(1, st->Future);
    if (bases == NULL)
        return -1;
    st->GatheringFuture = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, bases);
    Py_DECREF(bases);
    if (st->GatheringFuture == NULL || PyModule_AddType(module, st->GatheringFuture) < 0 || find_asyncios(st) < 0)
        return -1;
    return pa_pyfn_add_functions(st, module, "asyncio.tasks", functions);
}
