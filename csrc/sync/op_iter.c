/* What operation.__await__() returns where a program calls it: an iterator, as coroutine.__await__() gives one, so that
 * `yield from operation.__await__()` works in a generator. `await operation` does without: its slot gives the operation itself.
 */
#include "sync/op.h"

typedef struct {
    PyObject_HEAD
    PyObject *op; /* NULL once the collector took it apart */
} op_iter;

PyObject *pa_op_iter_new(pa_state *st, PyObject *op)
{
    op_iter *self = PyObject_GC_New(op_iter, st->OperationIter);
    if (self == NULL)
        return NULL;
    self->op = Py_NewRef(op);
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

static PyObject *method_of(PyObject *self, const char *name)
{
    PyObject *op = ((op_iter *)self)->op;
    return PyObject_GetAttrString(op != NULL ? op : Py_None, name);
}

static PyObject *iter_send(PyObject *self, PyObject *value)
{
    PyObject *method = method_of(self, "send"), *result = method != NULL ? PyObject_CallOneArg(method, value) : NULL;
    Py_XDECREF(method);
    return result;
}

static PyObject *iter_next(PyObject *self) { return ((op_iter *)self)->op != NULL ? iter_send(self, Py_None) : NULL; }

static PyObject *iter_throw(PyObject *self, PyObject *args)
{
    PyObject *method = method_of(self, "throw"), *result = method != NULL ? PyObject_CallObject(method, args) : NULL;
    Py_XDECREF(method);
    return result;
}

static PyObject *iter_close(PyObject *self, PyObject *unused)
{
    PyObject *method = method_of(self, "close"), *result = method != NULL ? PyObject_CallNoArgs(method) : NULL;
    Py_XDECREF(method);
    return result;
}

static int iter_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((op_iter *)self)->op);
    return 0;
}

static int iter_clear(PyObject *self)
{
    Py_CLEAR(((op_iter *)self)->op);
    return 0;
}

static void iter_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)iter_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"send", iter_send, METH_O, "send(arg) -> send 'arg' into coroutine,\nreturn next yielded value or raise StopIteration."},
    {"throw", iter_throw, METH_VARARGS,
     "throw(value)\n\nRaise exception in coroutine, return next yielded value or raise\nStopIteration."},
    {"close", iter_close, METH_NOARGS, "close() -> raise GeneratorExit inside coroutine."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, iter_next},
    {Py_tp_dealloc, iter_dealloc},
    {Py_tp_traverse, iter_traverse},
    {Py_tp_clear, iter_clear},
    {Py_tp_methods, methods},
    {0, NULL},
};

int pa_op_iter_setup(PyObject *module, pa_state *st)
{
    PyType_Spec spec = {"pyasync._core.coroutine_wrapper", sizeof(op_iter), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
    st->OperationIter = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return st->OperationIter != NULL ? 0 : -1;
}
