/* See pyfn.h. Differs from a coroutine function (corofn.c) in that its code is real and can be written. */
#include "sync/pyfn.h"
#include "rt/args.h"
#include "rt/override.h"
#include "sync/fnhead.h"

typedef struct {
    pa_fnhead head;
    PyObject *original; /* the function of asyncio's; a Python function unless a program put something else there */
    PyObject *code;     /* what it had when this was made: pa_override_code(). None once it has other defaults */
    PyObject *dict;
} pyfn;

static PyObject *call_original(pyfn *fn, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    PyObject *original = Py_NewRef(fn->original);
    PyObject *result = PyObject_Vectorcall(original, args, nargsf, kwnames);
    Py_DECREF(original);
    return result;
}

static PyObject *call_function(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    pyfn *fn = (pyfn *)self;
    if (pa_override_rewritten(fn->original, fn->code))
        return call_original(fn, args, nargsf, kwnames);
    return fn->head.def->call(fn->head.owner, args, PyVectorcall_NARGS(nargsf), kwnames);
}

static PyObject *call_method(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    pyfn *fn = (pyfn *)self;
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    if (pa_override_rewritten(fn->original, fn->code))
        return call_original(fn, args, nargsf, kwnames);
    if (nargs == 0)
        return pa_args_refuse(fn->head.owner, fn->head.def->name, args, nargs, kwnames);
    return pa_fnhead_check_self(self, args[0]) == 0 ? fn->head.def->call(args[0], args + 1, nargs - 1, kwnames) : NULL;
}

static PyObject *bind(PyObject *self, PyObject *instance, PyObject *type)
{
    return instance == NULL || instance == Py_None ? Py_NewRef(self) : PyMethod_New(self, instance);
}

/* __code__ and what else one needs to call it. */
static PyObject *get_of_original(PyObject *self, void *name) { return PyObject_GetAttrString(((pyfn *)self)->original, name); }

static int set_of_original(PyObject *self, PyObject *value, void *name)
{
    PyObject *original = Py_NewRef(((pyfn *)self)->original);
    int rc = value != NULL ? PyObject_SetAttrString(original, name, value) : PyObject_DelAttrString(original, name);
    Py_DECREF(original);
    return rc;
}

/* Native code has asyncio's defaults in it. */
static int set_defaults(PyObject *self, PyObject *value, void *name)
{
    int rc = set_of_original(self, value, name);
    if (rc == 0)
        Py_SETREF(((pyfn *)self)->code, Py_NewRef(Py_None));
    return rc;
}

static int traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(PA_FNHEAD(self)->owner);
    Py_VISIT(((pyfn *)self)->original);
    Py_VISIT(((pyfn *)self)->code);
    Py_VISIT(((pyfn *)self)->dict);
    return 0;
}

/* Not of what a call needs: it may be called while the collector takes a cycle apart, and the module's end breaks it anyway. */
static int clear(PyObject *self)
{
    Py_CLEAR(((pyfn *)self)->dict);
    return 0;
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    pyfn *fn = (pyfn *)self;
    PyObject_GC_UnTrack(self);
    if (fn->head.weakrefs != NULL)
        PyObject_ClearWeakRefs(self);
    Py_XDECREF(fn->dict);
    Py_DECREF(fn->head.owner);
    Py_DECREF(fn->original);
    Py_DECREF(fn->code);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyGetSetDef getset[] = {
    PA_FNHEAD_GETSETS,
    {"__code__", get_of_original, set_of_original, NULL, "__code__"},
    {"__globals__", get_of_original, NULL, NULL, "__globals__"},
    {"__closure__", get_of_original, NULL, NULL, "__closure__"},
    {"__defaults__", get_of_original, set_defaults, NULL, "__defaults__"},
    {"__kwdefaults__", get_of_original, set_defaults, NULL, "__kwdefaults__"},
    {"__annotations__", get_of_original, set_of_original, NULL, "__annotations__"},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef members[] = {
    PA_FNHEAD_MEMBERS,
    {"__dictoffset__", Py_T_PYSSIZET, offsetof(pyfn, dict), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_descr_get, bind},
    {Py_tp_repr, pa_fnhead_repr},
    {Py_tp_dealloc, dealloc},
    {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},
    {Py_tp_getset, getset},
    {Py_tp_members, members},
    {Py_tp_methods, pa_fnhead_methods},
    {0, NULL},
};

static int add(pa_state *st, PyObject *owner, PyObject *home, const pa_corofn_def *def)
{
    PyObject *original = PyObject_GetAttrString(home, def->name), *code = original != NULL ? pa_override_code(original) : NULL;
    pyfn *fn = code != NULL ? PyObject_GC_New(pyfn, st->PyFunction) : NULL;
    if (fn == NULL) {
        Py_XDECREF(code);
        Py_XDECREF(original);
        return -1;
    }
    pa_fnhead_init((PyObject *)fn, owner, def, call_function, call_method);
    fn->original = original;
    fn->code = code;
    fn->dict = NULL;
    PyObject_GC_Track(fn);
    int rc = PyObject_SetAttrString(owner, def->name, (PyObject *)fn);
    Py_DECREF(fn);
    return rc;
}

int pa_pyfn_add_functions(pa_state *st, PyObject *module, const char *home, const pa_corofn_def *def)
{
    PyObject *there = PyImport_ImportModule(home);
    int rc = there != NULL ? 0 : -1;
    for (; rc == 0 && def->name != NULL; def++)
        rc = add(st, module, there, def);
    Py_XDECREF(there);
    return rc;
}

int pa_pyfn_add_method(pa_state *st, PyTypeObject *type, PyObject *original, const pa_corofn_def *def)
{
    return add(st, (PyObject *)type, original, def);
}

int pa_pyfn_setup(PyObject *module, pa_state *st)
{
    PyType_Spec spec = {"pyasync._core.function", sizeof(pyfn), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION |
                            Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR,
                        slots};
    st->PyFunction = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return st->PyFunction != NULL ? 0 : -1;
}
