/* The floor under the scheduler benchmarks: what CPython itself needs to step a coroutine, to call a callback in its
 * context or to await something, with next to nothing around it. No handle, no task object, no registry, no poller, no error
 * handling beyond stopping: not a loop anybody could use, only the distance to zero.
 *
 *     await floor.sleep(0)         gives way once
 *     floor.switch(coroutines)     steps them in turn until all have returned; the sum of what they returned
 *     floor.Ring().call_soon(f, *args), .run()
 *     floor.Nothing()              a lock, a queue, an event, a reader: has their methods, which do nothing
 *     floor.gather(*coroutines)    runs one after the other to its end
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* ---- an awaitable that yields None once ---- */

typedef struct {
    PyObject_HEAD
    int yielded;
} pause_object;

static PySendResult pause_send(PyObject *self, PyObject *value, PyObject **result)
{
    pause_object *pause = (pause_object *)self;
    (void)value;
    *result = Py_NewRef(Py_None);
    return pause->yielded++ ? PYGEN_RETURN : PYGEN_NEXT;
}

static PyObject *pause_next(PyObject *self)
{
    pause_object *pause = (pause_object *)self;
    return pause->yielded++ ? NULL : Py_NewRef(Py_None);
}

static PyAsyncMethods pause_async = {.am_await = PyObject_SelfIter, .am_send = pause_send};

static PyTypeObject pause_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "floor.Pause",
    .tp_basicsize = sizeof(pause_object),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_as_async = &pause_async,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = pause_next,
};

static PyObject *floor_sleep(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    pause_object *pause = PyObject_New(pause_object, &pause_type);
    (void)module, (void)args, (void)nargs;
    if (pause != NULL) {
        pause->yielded = 0;
    }
    return (PyObject *)pause;
}

/* ---- stepping coroutines ---- */

/* One step in the coroutine's context: 1 it waits, 0 it returned (its result added to *sum), -1 it raised. */
static int step(PyObject *coroutine, PyObject *context, long *sum)
{
    PyObject *result = NULL;
    if (PyContext_Enter(context) < 0) {
        return -1;
    }
    PySendResult state = PyIter_Send(coroutine, Py_None, &result);
    if (PyContext_Exit(context) < 0) {
        Py_XDECREF(result);
        return -1;
    }
    if (state == PYGEN_RETURN) {
        *sum += PyLong_AsLong(result);
    }
    Py_XDECREF(result);
    return state == PYGEN_NEXT ? 1 : state == PYGEN_RETURN && !PyErr_Occurred() ? 0 : -1;
}

static PyObject *floor_switch(PyObject *module, PyObject *coroutines)
{
    (void)module;
    long sum = 0;
    Py_ssize_t alive = PyObject_Length(coroutines);
    PyObject **waiting = alive < 0 ? NULL : PyMem_Calloc((size_t)alive + 1, sizeof *waiting);
    PyObject *context = PyContext_CopyCurrent(), *answer = NULL;
    if (waiting == NULL || context == NULL) {
        goto done;
    }
    for (Py_ssize_t i = 0; i < alive; i++) {
        waiting[i] = PySequence_GetItem(coroutines, i);
        if (waiting[i] == NULL) {
            goto done;
        }
    }
    while (alive > 0) {
        Py_ssize_t kept = 0;
        for (Py_ssize_t i = 0; i < alive; i++) {
            PyObject *coroutine = waiting[i];
            int state = step(coroutine, context, &sum);
            if (state < 0) {
                goto done;
            }
            waiting[i] = NULL;
            if (state == 1) {
                waiting[kept++] = coroutine;
            } else {
                Py_DECREF(coroutine);
            }
        }
        alive = kept;
    }
    answer = PyLong_FromLong(sum);
done:
    for (Py_ssize_t i = 0; waiting != NULL && i < alive; i++) {
        Py_XDECREF(waiting[i]);
    }
    PyMem_Free(waiting);
    Py_XDECREF(context);
    return answer;
}

/* ---- calling callbacks ---- */

enum { RING = 4096, MOST_ARGS = 2 };

typedef struct {
    PyObject *callback, *context, *args[MOST_ARGS];
    Py_ssize_t nargs;
} entry;

typedef struct {
    PyObject_HEAD
    size_t head, tail;
    PyObject *context;
    entry entries[RING];
} ring_object;

static PyObject *ring_call_soon(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    ring_object *ring = (ring_object *)self;
    if (nargs < 1 || nargs > 1 + MOST_ARGS || ring->tail - ring->head == RING) {
        PyErr_SetString(PyExc_ValueError, "the floor takes up to two arguments and 4,096 callbacks");
        return NULL;
    }
    entry *e = &ring->entries[ring->tail++ % RING];
    e->callback = Py_NewRef(args[0]);
    e->context = Py_NewRef(ring->context);
    e->nargs = nargs - 1;
    for (Py_ssize_t i = 1; i < nargs; i++) {
        e->args[i - 1] = Py_NewRef(args[i]);
    }
    Py_RETURN_NONE;
}

static PyObject *ring_run(PyObject *self, PyObject *unused)
{
    ring_object *ring = (ring_object *)self;
    (void)unused;
    while (ring->head != ring->tail) {
        entry e = ring->entries[ring->head++ % RING];
        PyObject *result = NULL;
        if (PyContext_Enter(e.context) == 0) {
            result = PyObject_Vectorcall(e.callback, e.args, (size_t)e.nargs, NULL);
            if (PyContext_Exit(e.context) < 0) {
                Py_CLEAR(result);
            }
        }
        Py_DECREF(e.callback);
        Py_DECREF(e.context);
        for (Py_ssize_t i = 0; i < e.nargs; i++) {
            Py_DECREF(e.args[i]);
        }
        if (result == NULL) {
            return NULL;
        }
        Py_DECREF(result);
    }
    Py_RETURN_NONE;
}

static PyObject *ring_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args, (void)kwargs;
    ring_object *ring = (ring_object *)type->tp_alloc(type, 0);
    if (ring != NULL && (ring->context = PyContext_CopyCurrent()) == NULL) {
        Py_CLEAR(ring);
    }
    return (PyObject *)ring;
}

static void ring_dealloc(PyObject *self)
{
    Py_XDECREF(((ring_object *)self)->context);
    Py_TYPE(self)->tp_free(self);
}

static PyMethodDef ring_methods[] = {
    {"call_soon", (PyCFunction)(void (*)(void))ring_call_soon, METH_FASTCALL, NULL},
    {"run", ring_run, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject ring_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "floor.Ring",
    .tp_basicsize = sizeof(ring_object),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = ring_new,
    .tp_dealloc = ring_dealloc,
    .tp_methods = ring_methods,
};

/* ---- awaiting what is there already ---- */

/* One awaitable for all whose result is None, and one that hands out `delivered` in one StopIteration, which is what 3.12 and later ask for. */
static PyObject *finished, *delivery, *delivered;
static PyStopIterationObject *stop;

static PySendResult finished_send(PyObject *self, PyObject *value, PyObject **result)
{
    (void)self, (void)value;
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static PyObject *finished_next(PyObject *self)
{
    (void)self;
    return NULL;
}

static PyAsyncMethods finished_async = {.am_await = PyObject_SelfIter, .am_send = finished_send};

static PyTypeObject finished_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "floor.Finished",
    .tp_basicsize = sizeof(PyObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_as_async = &finished_async,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = finished_next,
};

static PySendResult delivery_send(PyObject *self, PyObject *value, PyObject **result)
{
    (void)self, (void)value;
    *result = Py_NewRef(delivered);
    return PYGEN_RETURN;
}

static PyObject *delivery_next(PyObject *self)
{
    (void)self;
    Py_XSETREF(stop->value, Py_NewRef(delivered));
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(Py_NewRef((PyObject *)stop));
#else
    PyErr_SetObject(PyExc_StopIteration, (PyObject *)stop);
#endif
    return NULL;
}

static PyAsyncMethods delivery_async = {.am_await = PyObject_SelfIter, .am_send = delivery_send};

static PyTypeObject delivery_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "floor.Delivery",
    .tp_basicsize = sizeof(PyObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_as_async = &delivery_async,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = delivery_next,
};

static PyObject *nothing_enter(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    return Py_NewRef(finished);
}

static PyObject *nothing_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    (void)self, (void)args, (void)nargs;
    return Py_NewRef(finished);
}

static PyObject *nothing_put(PyObject *self, PyObject *item)
{
    (void)self;
    Py_XSETREF(delivered, Py_NewRef(item));
    return Py_NewRef(finished);
}

static PyObject *nothing_get(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    return Py_NewRef(delivery);
}

static PyObject *nothing_set(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    Py_RETURN_NONE;
}

static PyObject *nothing_wait(PyObject *self, PyObject *unused)
{
    (void)unused;
    return floor_sleep(self, NULL, 0);
}

static PyMethodDef nothing_methods[] = {
    {"__aenter__", nothing_enter, METH_NOARGS, NULL},
    {"__aexit__", (PyCFunction)(void (*)(void))nothing_exit, METH_FASTCALL, NULL},
    {"put", nothing_put, METH_O, NULL},
    {"get", nothing_get, METH_NOARGS, NULL},
    {"readline", nothing_get, METH_NOARGS, NULL},
    {"set", nothing_set, METH_NOARGS, NULL},
    {"clear", nothing_set, METH_NOARGS, NULL},
    {"wait", nothing_wait, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject nothing_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "floor.Nothing",
    .tp_basicsize = sizeof(PyObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = PyType_GenericNew,
    .tp_methods = nothing_methods,
};

static PyObject *floor_gather(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    (void)module;
    for (Py_ssize_t i = 0; i < nargs; i++) {
        PyObject *result = NULL;
        if (PyIter_Send(args[i], Py_None, &result) != PYGEN_RETURN) {
            Py_XDECREF(result);
            return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_RuntimeError, "the floor cannot wait in gather()");
        }
        Py_DECREF(result);
    }
    return Py_NewRef(finished);
}

static int make_awaitables(void)
{
    if (PyType_Ready(&finished_type) < 0 || PyType_Ready(&delivery_type) < 0) {
        return -1;
    }
    finished = PyObject_New(PyObject, &finished_type);
    delivery = PyObject_New(PyObject, &delivery_type);
    stop = (PyStopIterationObject *)PyObject_CallNoArgs(PyExc_StopIteration);
    return finished != NULL && delivery != NULL && stop != NULL ? 0 : -1;
}

static PyMethodDef floor_methods[] = {
    {"gather", (PyCFunction)(void (*)(void))floor_gather, METH_FASTCALL, NULL},
    {"sleep", (PyCFunction)(void (*)(void))floor_sleep, METH_FASTCALL, NULL},
    {"switch", floor_switch, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef floor_module = {PyModuleDef_HEAD_INIT, .m_name = "floor", .m_size = -1, .m_methods = floor_methods};

PyMODINIT_FUNC PyInit_floor(void)
{
    if (PyType_Ready(&pause_type) < 0 || make_awaitables() < 0) {
        return NULL;
    }
    PyObject *module = PyModule_Create(&floor_module);
    if (module != NULL && (PyModule_AddType(module, &ring_type) < 0 || PyModule_AddType(module, &nothing_type) < 0)) {
        Py_CLEAR(module);
    }
    return module;
}
