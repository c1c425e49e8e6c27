/* What `async with` gets when it looks __aenter__ and __aexit__ up: it binds them, calls each once and drops it. A method object would do,
 * but costs more than the call; these come from a free list. To a program one looks like the method object: what is asked of it, other
 * than to be called, is asked of that, made for the occasion.
 */
#include "sync/corofn_impl.h"

typedef struct {
    PyObject_HEAD
    PyObject *function; /* NULL, as self, once the collector took it apart */
    PyObject *self;
    vectorcallfunc vectorcall;
} bound_method;

static PyObject *call(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    bound_method *method = (bound_method *)callable;
    if (method->function == NULL)
        return PyErr_Format(PyExc_RuntimeError, "the method was taken apart");
    PyObject *self = Py_NewRef(method->self);
    PyObject *result = pa_corofn_call_bound(method->function, self, args, PyVectorcall_NARGS(nargsf), kwnames);
    Py_DECREF(self);
    return result;
}

PyObject *pa_corofn_bind(pa_state *st, PyObject *function, PyObject *self)
{
    bound_method *method = (bound_method *)pa_free_take(&st->free_methods);
    if (method != NULL)
        pa_object_init((PyObject *)method, st->CoroMethod);
    else if ((method = PyObject_GC_New(bound_method, st->CoroMethod)) == NULL)
        return NULL;
    method->function = Py_NewRef(function);
    method->self = Py_NewRef(self);
    method->vectorcall = call;
    PyObject_GC_Track(method);
    return (PyObject *)method;
}

/* The method object: new. */
static PyObject *as_method(PyObject *obj)
{
    bound_method *method = (bound_method *)obj;
    if (method->function == NULL)
        return PyErr_Format(PyExc_RuntimeError, "the method was taken apart");
    return PyMethod_New(method->function, method->self);
}

static PyObject *get_attribute(PyObject *self, PyObject *name)
{
    PyObject *method = as_method(self), *value = method != NULL ? PyObject_GetAttr(method, name) : NULL;
    Py_XDECREF(method);
    return value;
}

static PyObject *repr(PyObject *self)
{
    PyObject *method = as_method(self), *text = method != NULL ? PyObject_Repr(method) : NULL;
    Py_XDECREF(method);
    return text;
}

static Py_hash_t hash(PyObject *self)
{
    PyObject *method = as_method(self);
    Py_hash_t value = method != NULL ? PyObject_Hash(method) : -1;
    Py_XDECREF(method);
    return value;
}

static PyObject *compare(PyObject *self, PyObject *other, int op)
{
    PyObject *mine = as_method(self), *theirs = NULL, *result = NULL;
    if (mine != NULL && (theirs = Py_IS_TYPE(other, Py_TYPE(self)) ? as_method(other) : Py_NewRef(other)) != NULL)
        result = PyObject_RichCompare(mine, theirs, op);
    Py_XDECREF(mine);
    Py_XDECREF(theirs);
    return result;
}

static int traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((bound_method *)self)->function);
    Py_VISIT(((bound_method *)self)->self);
    return 0;
}

static int clear(PyObject *self)
{
    Py_CLEAR(((bound_method *)self)->function);
    Py_CLEAR(((bound_method *)self)->self);
    return 0;
}

static void dealloc(PyObject *obj)
{
    PyTypeObject *type = Py_TYPE(obj);
    PyObject_GC_UnTrack(obj);
    (void)clear(obj);
    pa_state *st = pa_type_state(type);
    if (st == NULL || st->CoroMethod != type || !pa_free_keep_new(&st->free_methods, obj)) /* it has no finalizer */
        PyObject_GC_Del(obj);
    Py_DECREF(type);
}

static PyMemberDef members[] = {
    {"__vectorcalloffset__", Py_T_PYSSIZET, offsetof(bound_method, vectorcall), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_getattro, get_attribute},
    {Py_tp_repr, repr},
    {Py_tp_hash, hash},
    {Py_tp_richcompare, compare},
    {Py_tp_dealloc, dealloc},
    {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},
    {Py_tp_members, members},
    {0, NULL},
};

void pa_corofn_free_lists(pa_state *st)
{
    PyObject *obj;
    while ((obj = pa_free_take(&st->free_methods)) != NULL)
        PyObject_GC_Del(obj);
}

int pa_corofn_method_setup(PyObject *module, pa_state *st)
{
    PyType_Spec spec = {"pyasync._core.bound_coroutine_function", sizeof(bound_method), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION |
                            Py_TPFLAGS_HAVE_VECTORCALL,
                        slots};
    st->CoroMethod = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return st->CoroMethod != NULL ? 0 : -1;
}
