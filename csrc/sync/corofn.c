/* The coroutine function object. A C function cannot carry attributes, and a program tells a coroutine function by its code's flags or
 * by an attribute that asyncio and inspect have for callables without such code; hence a type of its own. It binds as a function does,
 * and the interpreter calls it as a method without binding it first.
 */
#include "rt/args.h"
#include "sync/corofn_impl.h"
#include "sync/fnhead.h"

typedef struct {
    pa_fnhead head;
    pa_state *st;    /* borrowed: the type owns the module */
    char is_special; /* a method that `async with` or `async for` looks up */
} corofn;

static PyObject *call_function(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    pa_fnhead *fn = PA_FNHEAD(self);
    return fn->def->call(fn->owner, args, PyVectorcall_NARGS(nargsf), kwnames);
}

PyObject *pa_corofn_call_bound(PyObject *function, PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return pa_fnhead_check_self(function, self) == 0 ? PA_FNHEAD(function)->def->call(self, args, nargs, kwnames) : NULL;
}

/* Apart, so that the usual call saves no registers. */
Py_NO_INLINE static PyObject *call_method_of_any(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    if (nargs == 0)
        return pa_args_refuse(PA_FNHEAD(self)->owner, PA_FNHEAD(self)->def->name, args, nargs, kwnames);
    return pa_corofn_call_bound(self, args[0], args + 1, nargs - 1, kwnames);
}

static PyObject *call_method(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    pa_fnhead *fn = PA_FNHEAD(self);
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    if (nargs > 0 && Py_TYPE(args[0])->tp_base == (PyTypeObject *)fn->owner)
        return fn->def->call(args[0], args + 1, nargs - 1, kwnames);
    return call_method_of_any(self, args, nargs, kwnames);
}

static PyObject *bind(PyObject *self, PyObject *instance, PyObject *type)
{
    corofn *fn = (corofn *)self;
    if (instance == NULL || instance == Py_None)
        return Py_NewRef(self);
    return fn->is_special ? pa_corofn_bind(fn->st, self, instance) : PyMethod_New(self, instance);
}

/* Empty, but with a coroutine's flag; mock looks for it before it asks whether this is a coroutine function. */
static PyObject *get_code(PyObject *self, void *unused)
{
    PyObject *code = (PyObject *)PyCode_NewEmpty("<pyasync>", PA_FNHEAD(self)->def->name, 1), *result = NULL;
    PyObject *replace = code != NULL ? PyObject_GetAttrString(code, "replace") : NULL;
    PyObject *flags = replace != NULL ? Py_BuildValue("{si}", "co_flags", CO_COROUTINE) : NULL;
    PyObject *nothing = flags != NULL ? PyTuple_New(0) : NULL;
    if (nothing != NULL)
        result = PyObject_Call(replace, nothing, flags);
    Py_XDECREF(nothing);
    Py_XDECREF(flags);
    Py_XDECREF(replace);
    Py_XDECREF(code);
    return result;
}

static PyObject *or_missing(PyObject *mark, const char *name)
{
    if (mark == NULL)
        PyErr_SetString(PyExc_AttributeError, name);
    return Py_XNewRef(mark);
}

static PyObject *get_asyncio_mark(PyObject *self, void *unused)
{
    return or_missing(((corofn *)self)->st->asyncio_coroutine_mark, "_is_coroutine");
}

static PyObject *get_inspect_mark(PyObject *self, void *unused)
{
    return or_missing(((corofn *)self)->st->inspect_coroutine_mark, "_is_coroutine_marker");
}

/* Where inspect has no mark for callables (3.11), it takes for a coroutine function what looks like a Python function and has such code:
 * then there are these attributes, too. */
static PyObject *get_function_looks(PyObject *self, void *name)
{
    return or_missing(((corofn *)self)->st->inspect_coroutine_mark == NULL ? Py_None : NULL, name);
}

/* inspect would read it from the code of what looks like a function. */
static PyObject *get_signature(PyObject *self, void *name)
{
    PyObject *text = get_function_looks(self, name);
    if (text == NULL)
        return NULL;
    Py_SETREF(text, pa_fnhead_get_text_signature(self, NULL));
    PyObject *inspect = text != NULL ? PyImport_ImportModule("inspect") : NULL;
    PyObject *class = inspect != NULL ? PyObject_GetAttrString(inspect, "Signature") : NULL;
    PyObject *result = class != NULL ? PyObject_CallMethod(inspect, "_signature_fromstr", "OOO", class, self, text) : NULL;
    Py_XDECREF(class);
    Py_XDECREF(inspect);
    Py_XDECREF(text);
    return result;
}

static int traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(PA_FNHEAD(self)->owner);
    return 0;
}

static int clear(PyObject *self)
{
    Py_CLEAR(PA_FNHEAD(self)->owner);
    return 0;
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (PA_FNHEAD(self)->weakrefs != NULL)
        PyObject_ClearWeakRefs(self);
    (void)clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyGetSetDef getset[] = {
    PA_FNHEAD_GETSETS,
    {"__code__", get_code, NULL, NULL, NULL},
    {"__signature__", get_signature, NULL, NULL, "__signature__"},
    {"__defaults__", get_function_looks, NULL, NULL, "__defaults__"},
    {"__kwdefaults__", get_function_looks, NULL, NULL, "__kwdefaults__"},
    {"__annotations__", get_function_looks, NULL, NULL, "__annotations__"},
    {"_is_coroutine", get_asyncio_mark, NULL, NULL, NULL},
    {"_is_coroutine_marker", get_inspect_mark, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef members[] = {
    PA_FNHEAD_MEMBERS,
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

static PyObject *new_corofn(pa_state *st, PyObject *owner, const pa_corofn_def *def)
{
    corofn *fn = PyObject_GC_New(corofn, st->CoroFunction);
    if (fn == NULL)
        return NULL;
    pa_fnhead_init((PyObject *)fn, owner, def, call_function, call_method);
    fn->st = st;
    fn->is_special = PyType_Check(owner) && def->name[0] == '_';
    PyObject_GC_Track(fn);
    return (PyObject *)fn;
}

static int add(pa_state *st, PyObject *owner, const pa_corofn_def *def)
{
    for (; def->name != NULL; def++) {
        PyObject *fn = new_corofn(st, owner, def);
        int rc = fn != NULL ? PyObject_SetAttrString(owner, def->name, fn) : -1;
        Py_XDECREF(fn);
        if (rc < 0)
            return -1;
    }
    return 0;
}

int pa_corofn_add_methods(pa_state *st, PyTypeObject *type, const pa_corofn_def *defs) { return add(st, (PyObject *)type, defs); }

int pa_corofn_add_functions(pa_state *st, PyObject *module, const pa_corofn_def *defs) { return add(st, module, defs); }

/* The attribute of the module, or NULL where this version has none. 0 or -1. */
static int import_mark(const char *module_name, const char *name, PyObject **mark)
{
    PyObject *module = PyImport_ImportModule(module_name), *key = PyUnicode_FromString(name);
    int rc = module != NULL && key != NULL ? pa_getattr_optional(module, key, mark) : -1;
    Py_XDECREF(module);
    Py_XDECREF(key);
    return rc < 0 ? -1 : 0;
}

int pa_corofn_setup(PyObject *module, pa_state *st)
{
    PyType_Spec spec = {"pyasync._core.coroutine_function", sizeof(corofn), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION |
                            Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR,
                        slots};
    st->CoroFunction = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    if (st->CoroFunction == NULL || pa_corofn_method_setup(module, st) < 0)
        return -1;
    if (import_mark("asyncio.coroutines", "_is_coroutine", &st->asyncio_coroutine_mark) < 0 ||
        import_mark("inspect", "_is_coroutine_mark", &st->inspect_coroutine_mark) < 0)
        return -1;
    if (st->inspect_coroutine_mark != NULL)
        return 0;
    return import_mark("inspect", "_is_coroutine_marker", &st->inspect_coroutine_mark); /* its name in early 3.12 */
}
