/* See observer.h. To a program it is a callable of one argument with the name of asyncio's closure. */
#include "sync/observer.h"

static PyObject *call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    pa_observer *observer = (pa_observer *)self;
    int bare = observer->kind->bare;
    if (PyVectorcall_NARGS(nargsf) != !bare || (kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 0)) {
        PyErr_Format(PyExc_TypeError, "%s() takes %s positional argument", observer->kind->qualname, bare ? "no" : "exactly one");
        return NULL;
    }
    PyObject *future = bare ? NULL : Py_NewRef(args[0]);
    Py_INCREF(self);
    int rc = observer->kind->done(observer, future);
    Py_DECREF(self);
    Py_XDECREF(future);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

pa_observer *pa_observer_new(pa_state *st, const pa_observer_kind *kind, PyObject *a, PyObject *b, PyObject *c)
{
    pa_observer *self = PyObject_GC_New(pa_observer, st->Observer);
    if (self == NULL)
        return NULL;
    self->vectorcall = call;
    self->kind = kind;
    self->st = st;
    self->a = Py_XNewRef(a);
    self->b = Py_XNewRef(b);
    self->c = Py_XNewRef(c);
    self->count = self->total = 0;
    self->flag = 0;
    PyObject_GC_Track(self);
    return self;
}

static int observer_traverse(PyObject *self, visitproc visit, void *arg)
{
    pa_observer *observer = (pa_observer *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(observer->a);
    Py_VISIT(observer->b);
    Py_VISIT(observer->c);
    return 0;
}

static int observer_clear(PyObject *self)
{
    pa_observer *observer = (pa_observer *)self;
    Py_CLEAR(observer->a);
    Py_CLEAR(observer->b);
    Py_CLEAR(observer->c);
    return 0;
}

static void observer_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)observer_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyObject *observer_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<function %s at %p>", ((pa_observer *)self)->kind->qualname, self);
}

static PyObject *get_name(PyObject *self, void *unused) { return PyUnicode_FromString(((pa_observer *)self)->kind->name); }

static PyObject *get_qualname(PyObject *self, void *unused) { return PyUnicode_FromString(((pa_observer *)self)->kind->qualname); }

static PyGetSetDef observer_getset[] = {
    {"__name__", get_name, NULL, NULL, NULL},
    {"__qualname__", get_qualname, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef observer_members[] = {
    {"__vectorcalloffset__", Py_T_PYSSIZET, offsetof(pa_observer, vectorcall), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot observer_slots[] = {
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_repr, observer_repr},
    {Py_tp_dealloc, observer_dealloc},
    {Py_tp_traverse, observer_traverse},
    {Py_tp_clear, observer_clear},
    {Py_tp_getset, observer_getset},
    {Py_tp_members, observer_members},
    {0, NULL},
};

int pa_observer_setup(PyObject *module, pa_state *st)
{
    PyType_Spec spec = {"pyasync._core.observer", sizeof(pa_observer), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION |
                            Py_TPFLAGS_HAVE_VECTORCALL,
                        observer_slots};
    st->Observer = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return st->Observer != NULL ? 0 : -1;
}
