/* What a program may ask an operation. It has no frame and no code: cr_code and cr_frame are made when somebody looks, so that a stack that
 * ends in this operation shows its name. Where it was made is noted only while origins are recorded.
 */
#include "sync/op_impl.h"

#include <frameobject.h>

/* ---- Where it was made: sys.set_coroutine_origin_tracking_depth() ---- */

static PyObject *frame_entry(PyFrameObject *frame)
{
    PyCodeObject *code = PyFrame_GetCode(frame);
    PyObject *entry = Py_BuildValue("OiO", code->co_filename, PyFrame_GetLineNumber(frame), code->co_name);
    Py_DECREF(code);
    return entry;
}

PyObject *pa_op_take_origin(int depth)
{
    PyObject *list = PyList_New(0), *origin = NULL;
    PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get());
    while (list != NULL && frame != NULL && depth-- > 0) {
        PyObject *entry = frame_entry(frame);
        if (entry == NULL || PyList_Append(list, entry) < 0)
            Py_CLEAR(list);
        Py_XDECREF(entry);
        PyFrameObject *back = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    Py_XDECREF(frame);
    if (list != NULL)
        origin = PyList_AsTuple(list);
    Py_XDECREF(list);
    return origin;
}

/* ---- Attributes ---- */

static PyObject *get_name(PyObject *self, void *unused) { return PyUnicode_FromString(((pa_op *)self)->kind->name); }

static PyObject *get_qualname(PyObject *self, void *unused) { return PyUnicode_FromString(((pa_op *)self)->kind->qualname); }

static PyObject *get_await(PyObject *self, void *unused)
{
    pa_op *op = (pa_op *)self;
    return Py_NewRef(op->status == PA_OP_SUSPENDED ? op->waiter : Py_None);
}

static PyObject *get_running(PyObject *self, void *unused) { return PyBool_FromLong(((pa_op *)self)->status == PA_OP_RUNNING); }

static PyObject *get_suspended(PyObject *self, void *unused) { return PyBool_FromLong(((pa_op *)self)->status == PA_OP_SUSPENDED); }

#if PA_CORO_HAS_STATE
static PyObject *get_state(PyObject *self, void *unused)
{
    static const char *const names[] = {
        [PA_OP_CREATED] = "CORO_CREATED",
        [PA_OP_SUSPENDED] = "CORO_SUSPENDED",
        [PA_OP_RUNNING] = "CORO_RUNNING",
        [PA_OP_DONE] = "CORO_CLOSED",
    };
    return PyUnicode_InternFromString(names[((pa_op *)self)->status]);
}
#endif

static PyObject *get_origin(PyObject *self, void *unused)
{
    PyObject *origin = ((pa_op *)self)->origin;
    return Py_NewRef(origin != NULL ? origin : Py_None);
}

static PyObject *get_code(PyObject *self, void *unused)
{
    return (PyObject *)PyCode_NewEmpty("<pyasync>", ((pa_op *)self)->kind->name, 1);
}

static PyObject *get_frame(PyObject *self, void *unused)
{
    pa_op *op = (pa_op *)self;
    if (op->status == PA_OP_DONE)
        Py_RETURN_NONE;
    if (op->st->frame_of != NULL)
        return PyObject_CallFunction(op->st->frame_of, "ss", op->kind->name, op->kind->qualname);
    PyObject *globals = PyDict_New(), *code = get_code(self, NULL), *frame = NULL;
    if (globals != NULL && code != NULL)
        frame = (PyObject *)PyFrame_New(PyThreadState_Get(), (PyCodeObject *)code, globals, NULL);
    Py_XDECREF(globals);
    Py_XDECREF(code);
    return frame;
}

PyGetSetDef pa_op_getset[] = {
    {"__name__", get_name, NULL, "name of the coroutine", NULL},
    {"__qualname__", get_qualname, NULL, "qualified name of the coroutine", NULL},
    {"cr_await", get_await, NULL, "object being awaited on, or None", NULL},
    {"cr_running", get_running, NULL, NULL, NULL},
    {"cr_suspended", get_suspended, NULL, NULL, NULL},
#if PA_CORO_HAS_STATE
    {"cr_state", get_state, NULL, NULL, NULL},
#endif
    {"cr_origin", get_origin, NULL, NULL, NULL},
    {"cr_code", get_code, NULL, NULL, NULL},
    {"cr_frame", get_frame, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
