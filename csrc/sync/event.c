/* Event: a flag, and a queue of futures of those who wait for it. The class that programs see derives from this one and asyncio.Event.
 *
 * set() wakes everybody in the order they came and leaves them in the queue: each leaves by itself when it runs, as in asyncio, where
 * `_waiters` shows it.
 */
#include "sync/event.h"
#include "rt/args.h"
#include "sync/bound.h"
#include "sync/corofn.h"
#include "sync/waiters.h"

typedef struct {
    PyObject_HEAD
    pa_bound bound;
    PyObject *waiters; /* made when the first one waits */
    char value;
} event;

enum { GET_LOOP = 1 };

static unsigned find_overrides(PyObject *self)
{
    pa_state *st = PA_BOUND(self)->st;
    const pa_override names[] = {{st->names._get_loop, GET_LOOP}, {NULL, 0}};
    return pa_bound_find_overrides(self, st->Event, names);
}

static int event_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    const pa_override names[] = {{PA_BOUND(self)->st->names._get_loop, GET_LOOP}, {NULL, 0}};
    return pa_bound_setattr(self, name, value, names);
}

/* ---- wait() ---- */

static void leave(PyObject *self, pa_op *op)
{
    if (((event *)self)->waiters != NULL)
        (void)pa_waiters_remove(((event *)self)->waiters, op->a);
}

static PySendResult wait_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    PyObject *self = op->self;
    if (op->step == 1) {
        leave(self, op);
        if (thrown != NULL)
            return pa_op_raise(thrown);
    } else if (!((event *)self)->value) {
        PyObject *future = pa_bound_future(self, PA_BOUND_OVERRIDES(self, find_overrides) & GET_LOOP);
        if (future == NULL)
            return PYGEN_ERROR;
        op->a = future;
        op->step = 1;
        return pa_bound_push(self, &((event *)self)->waiters, future) < 0 ? PYGEN_ERROR : pa_op_wait(op, future);
    }
    *result = Py_NewRef(Py_True);
    return PYGEN_RETURN;
}

static void wait_abandon(pa_op *op) { leave(op->self, op); }

static const pa_op_kind wait_kind = {"wait", "Event.wait", wait_run, wait_abandon};

PyObject *pa_event_wait(PyObject *self) { return pa_op_new(PA_BOUND(self)->st, &wait_kind, self); }

static PyObject *event_wait(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return pa_args_none(self, "wait", args, nargs, kwnames) < 0 ? NULL : pa_event_wait(self);
}

static const pa_corofn_def event_coroutines[] = {
    {"wait", "Event.wait", event_wait,
     "wait($self, /)\n--\n\nBlock until the internal flag is true.\n\nReturn True, at once if the flag is true on entry."},
    {NULL, NULL, NULL, NULL},
};

/* ---- Methods ---- */

PyObject *pa_event_new(pa_state *st) { return pa_bound_new(st->Event, NULL, NULL); }

int pa_event_set(PyObject *self)
{
    event *e = (event *)self;
    if (e->value)
        return 0;
    e->value = 1;
    PyObject *waiters = Py_XNewRef(e->waiters);
    int rc = 0;
    for (size_t i = 0; rc >= 0 && i < pa_waiters_len(waiters); i++) {
        PyObject *future = Py_NewRef(pa_waiters_at(waiters, i));
        rc = pa_waiter_wake(e->bound.st, future, Py_True);
        Py_DECREF(future);
    }
    Py_XDECREF(waiters);
    return rc < 0 ? -1 : 0;
}

void pa_event_clear(PyObject *self) { ((event *)self)->value = 0; }

static PyObject *event_set(PyObject *self, PyObject *unused)
{
    if (pa_event_set(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *event_clear(PyObject *self, PyObject *unused)
{
    pa_event_clear(self);
    Py_RETURN_NONE;
}

static PyObject *event_is_set(PyObject *self, PyObject *unused) { return PyBool_FromLong(((event *)self)->value); }

static PyObject *event_repr(PyObject *self)
{
    return pa_bound_repr(self, PyUnicode_FromString(((event *)self)->value ? "set" : "unset"), pa_waiters_len(((event *)self)->waiters));
}

static int event_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {NULL};
    static const pa_signature sig = {"__init__", names, 0, 0};
    PyObject *given[1];
    if (pa_args_parse_tuple(self, &sig, args, kwargs, given) < 0)
        return -1;
    Py_CLEAR(((event *)self)->waiters);
    ((event *)self)->value = 0;
    return 0;
}

static PyObject *get_waiters(PyObject *self, void *unused) { return pa_bound_show_waiters(self, &((event *)self)->waiters, 1); }

static int set_waiters(PyObject *self, PyObject *value, void *unused)
{
    return pa_bound_assign_waiters(self, &((event *)self)->waiters, value);
}

/* ---- Setup ---- */

static int event_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(PA_BOUND(self)->loop);
    Py_VISIT(((event *)self)->waiters);
    return 0;
}

static int event_tp_clear(PyObject *self)
{
    Py_CLEAR(PA_BOUND(self)->loop);
    Py_CLEAR(((event *)self)->waiters);
    return 0;
}

static void event_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    (void)event_tp_clear(self);
    pa_bound_free(self);
}

PA_NO_ARGS(event_is_set, is_set)
PA_NO_ARGS(event_set, set)
PA_NO_ARGS(event_clear, clear)

static PyMethodDef event_methods[] = {
    {"is_set", PA_NO_ARGS_METHOD(event_is_set, is_set), "is_set($self, /)\n--\n\nReturn True if and only if the internal flag is true."},
    {"set", PA_NO_ARGS_METHOD(event_set, set), "set($self, /)\n--\n\nSet the flag to true and wake everybody who waits for that."},
    {"clear", PA_NO_ARGS_METHOD(event_clear, clear), "clear($self, /)\n--\n\nReset the flag to false: wait() will block again."},
    {"_get_loop", pa_bound_get_loop_method, METH_NOARGS, "_get_loop($self, /)\n--\n\n"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef event_getset[] = {
    {"_waiters", get_waiters, set_waiters, NULL, NULL},
    {"_loop", pa_bound_get_loop, pa_bound_set_loop, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef event_members[] = {
    {"_value", Py_T_BOOL, offsetof(event, value), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot event_slots[] = {
    {Py_tp_doc, (void *)"Event()\n--\n\nA flag that tasks can wait for: asyncio.Event in C."},
    {Py_tp_new, pa_bound_new},
    {Py_tp_init, event_init},
    {Py_tp_repr, event_repr},
    {Py_tp_setattro, event_setattro},
    {Py_tp_dealloc, event_dealloc},
    {Py_tp_traverse, event_traverse},
    {Py_tp_clear, event_tp_clear},
    {Py_tp_methods, event_methods},
    {Py_tp_getset, event_getset},
    {Py_tp_members, event_members},
    {0, NULL},
};

int pa_event_setup(PyObject *module, pa_state *st)
{
    PyType_Spec spec = {"pyasync._core.Event", sizeof(event), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
                        event_slots};
    st->Event = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return st->Event == NULL || pa_corofn_add_methods(st, st->Event, event_coroutines) < 0 ? -1 : PyModule_AddType(module, st->Event);
}
