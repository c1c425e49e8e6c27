/* What differs between CPython 3.11 and 3.15. The only file that tests PY_VERSION_HEX or Py_GIL_DISABLED: everything else is written
 * against the newest API, and what an older CPython lacks is supplied here under the newer name with a pa_ prefix. */
#ifndef PA_RT_COMPAT_H
#define PA_RT_COMPAT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>

#if PY_VERSION_HEX < 0x030B0000
#error "pyasync needs CPython 3.11 or later"
#endif

/* ---- Members (structmember.h until 3.12) ---- */
#if PY_VERSION_HEX < 0x030C0000
#include <structmember.h>
#define Py_T_OBJECT_EX T_OBJECT_EX
#define Py_T_BOOL T_BOOL
#define Py_T_INT T_INT
#define Py_T_DOUBLE T_DOUBLE
#define Py_T_PYSSIZET T_PYSSIZET
#define Py_READONLY READONLY
#define _Py_T_OBJECT T_OBJECT
#endif

/* ---- The raised exception as one object (3.12) ---- */

/* New reference to the raised exception, traceback attached, and clears it; NULL when there is none. */
static inline PyObject *pa_err_take(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *tb;
    PyErr_Fetch(&type, &value, &tb);
    if (type == NULL)
        return NULL;
    PyErr_NormalizeException(&type, &value, &tb);
    if (tb != NULL)
        PyException_SetTraceback(value, tb);
    Py_XDECREF(type);
    Py_XDECREF(tb);
    return value;
#endif
}

/* Raises `exc` again; steals it. NULL clears. */
static inline void pa_err_restore(PyObject *exc)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(exc);
#else
    if (exc == NULL)
        PyErr_Clear();
    else
        PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(exc)), exc, PyException_GetTraceback(exc));
#endif
}

/* ---- Optional look-ups (3.13) ---- */

/* 1 and a new reference, 0 and NULL where the attribute is missing, -1 on another error. */
static inline int pa_getattr_optional(PyObject *obj, PyObject *name, PyObject **out)
{
#if PY_VERSION_HEX >= 0x030D0000
    return PyObject_GetOptionalAttr(obj, name, out);
#else
    *out = PyObject_GetAttr(obj, name);
    if (*out != NULL)
        return 1;
    if (!PyErr_ExceptionMatches(PyExc_AttributeError))
        return -1;
    PyErr_Clear();
    return 0;
#endif
}

/* 1 and a new reference, 0 and NULL where the key is missing, -1 on an error. */
static inline int pa_dict_get(PyObject *dict, PyObject *key, PyObject **out)
{
#if PY_VERSION_HEX >= 0x030D0000
    return PyDict_GetItemRef(dict, key, out);
#else
    *out = Py_XNewRef(PyDict_GetItemWithError(dict, key));
    return *out != NULL ? 1 : PyErr_Occurred() ? -1 : 0;
#endif
}

/* What a weak reference refers to: 1 and a new reference, 0 and NULL if it is gone, -1 on an error. */
static inline int pa_weakref_get(PyObject *ref, PyObject **out)
{
#if PY_VERSION_HEX >= 0x030D0000
    return PyWeakref_GetRef(ref, out);
#else
    PyObject *obj = PyWeakref_GetObject(ref);
    *out = obj == NULL || obj == Py_None ? NULL : Py_NewRef(obj);
    return obj == NULL ? -1 : *out != NULL;
#endif
}

/* ---- None, True and False: from 3.12 on nobody counts references to them ---- */
#if PY_VERSION_HEX >= 0x030C0000
#define pa_constant_ref(obj) (obj)
#define pa_constant_drop(obj) ((void)(obj))
#else
#define pa_constant_ref(obj) Py_NewRef(obj)
#define pa_constant_drop(obj) Py_DECREF(obj)
#endif

/* ---- Types ---- */

/* Until 3.11 a heap type's instance must visit the type itself even when the base's traverse is called; from 3.12 on the base does it. */
#if PY_VERSION_HEX < 0x030C0000
#define PA_BASE_VISITS_TYPE 0
#else
#define PA_BASE_VISITS_TYPE 1
#endif

/* How a type gets a dict and weak references without slots of its own (3.13 on for types with storage behind tp_basicsize; see
 * core/future.c). */
#if PY_VERSION_HEX >= 0x030D0000
#define PA_TPFLAGS_MANAGED (Py_TPFLAGS_MANAGED_DICT | Py_TPFLAGS_MANAGED_WEAKREF)
#else
#define PA_TPFLAGS_MANAGED 0
#endif

/* What lies before an instance of a Python class; a type derived from one has to say that it has it, too. */
#if PY_VERSION_HEX >= 0x030C0000
#define PA_TPFLAGS_PREHEADER Py_TPFLAGS_PREHEADER
#else
#define PA_TPFLAGS_PREHEADER 0
#endif

/* As PyObject_Init, which is a call: an object from a free list that its type does not count lives again. */
static inline void pa_object_init(PyObject *obj, PyTypeObject *type)
{
    Py_SET_TYPE(obj, type);
    Py_INCREF(type);
    _Py_NewReference(obj);
}

/* An object from a free list lives again: its type is set and counts it already. */
static inline void pa_object_revive(PyObject *obj)
{
    _Py_NewReference(obj);
}

/* For a deallocator: the object stays, with one reference, and its memory is good for another later (then: pa_object_end, _revive). */
static inline void pa_object_keep(PyObject *obj) { Py_INCREF(obj); }

/* The only reference to an object ends without its deallocator, for its memory goes on to another. A debug build counts references. */
static inline void pa_object_end(PyObject *obj)
{
#ifdef Py_REF_DEBUG
    Py_SET_REFCNT(obj, 2);
    Py_DECREF(obj);
#endif
    (void)obj;
}

/* So that the type's version can be compared later; without one (they can run out) whoever compares must look again each time. */
static inline void pa_type_assign_version(PyTypeObject *type)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyUnstable_Type_AssignVersionTag(type);
#else
    (void)type; /* an attribute look-up does it */
#endif
}

/* An object of `type` with `extra` zero bytes behind its tp_basicsize; all its fields are zero, the GC does not track it. New.
 * Until 3.11 the size of what the GC allocates comes from the type's tp_itemsize, and changing that of the real type would be seen by
 * finalizers that run inside the allocation: `carrier` is a private type with tp_itemsize 1 (NULL from 3.12 on). */
#define PA_NEEDS_CARRIER (PY_VERSION_HEX < 0x030C0000)
static inline PyObject *pa_gc_new_extra(PyTypeObject *carrier, PyTypeObject *type, size_t extra)
{
#if PA_NEEDS_CARRIER
    size_t total = (size_t)type->tp_basicsize + extra;
    PyVarObject *obj = PyObject_GC_NewVar(PyVarObject, carrier, (Py_ssize_t)(total - sizeof(PyVarObject)));
    if (obj == NULL)
        return NULL;
    memset((char *)obj + sizeof(PyObject), 0, total - sizeof(PyObject));
    PyObject_Init((PyObject *)obj, type);
    Py_DECREF(carrier);
    return (PyObject *)obj;
#else
    (void)carrier;
    return PyUnstable_Object_GC_NewWithExtraData(type, extra);
#endif
}

/* Whether nobody has asked for the tuple's hash, which tuples remember from 3.14 on. */
static inline int pa_tuple_is_unhashed(PyObject *tuple)
{
#if PY_VERSION_HEX >= 0x030E0000
    return ((PyTupleObject *)tuple)->ob_hash == -1;
#else
    (void)tuple;
    return 1;
#endif
}

/* Whether the interpreter is being taken down. */
static inline int pa_is_finalizing(void)
{
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing();
#else
    return _Py_IsFinalizing();
#endif
}

/* Why a setter refuses to delete an attribute: `attribute 'a' of 'T' objects cannot be deleted` from 3.14 on. */
static inline int pa_err_cannot_delete(PyObject *obj, const char *name)
{
#if PY_VERSION_HEX >= 0x030E0000
    PyErr_Format(PyExc_AttributeError, "attribute '%s' of '%s' objects cannot be deleted", name, Py_TYPE(obj)->tp_name);
#else
    (void)obj, (void)name;
    PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
#endif
    return -1;
}

/* What `await obj` raises for what is no awaitable, and for an __await__ that returned `iterator`. */
static inline void pa_err_cannot_await(PyObject *obj)
{
#if PY_VERSION_HEX >= 0x030E0000
    PyErr_Format(PyExc_TypeError, "'%.100s' object can't be awaited", Py_TYPE(obj)->tp_name);
#else
    PyErr_Format(PyExc_TypeError, "object %.100s can't be used in 'await' expression", Py_TYPE(obj)->tp_name);
#endif
}

static inline void pa_err_bad_await(PyObject *obj, PyObject *iterator, int is_coroutine)
{
#if PY_VERSION_HEX >= 0x030F0000
    if (is_coroutine)
        PyErr_Format(PyExc_TypeError, "%T.__await__() must return an iterator, not coroutine", obj);
    else
        PyErr_Format(PyExc_TypeError, "%T.__await__() must return an iterator, not %T", obj, iterator);
#else
    (void)obj;
    if (is_coroutine)
        PyErr_SetString(PyExc_TypeError, "__await__() returned a coroutine");
    else
        PyErr_Format(PyExc_TypeError, "__await__() returned non-iterator of type '%.100s'", Py_TYPE(iterator)->tp_name);
#endif
}

/* ---- What asyncio itself has, by version ---- */
#define PA_HAS_EAGER_TASKS (PY_VERSION_HEX >= 0x030C0000)
#define PA_HAS_TASK_CONTEXT (PY_VERSION_HEX >= 0x030C0000)          /* Task.get_context */
#define PA_UNCANCEL_TAKES_BACK (PY_VERSION_HEX >= 0x030D0000)       /* the last uncancel() undoes a cancellation not yet delivered */
#define PA_TASK_REPEATS_ATTRIBUTES (PY_VERSION_HEX < 0x030E0000)    /* asyncio.Task's own dict has Future's attributes */
#define PA_FUTURE_ITER_STAYS (PY_VERSION_HEX >= 0x030E0000)         /* the iterator of a done future may be asked again */
#define PA_STOP_SHOWS_NONE (PY_VERSION_HEX >= 0x030E0000)           /* a future's iterator ends with StopIteration(None) */
#define PA_REFUSES_SECOND_INIT (PY_VERSION_HEX >= 0x030F0000)       /* RuntimeError for __init__ of an initialised future */
#define PA_TASK_CHECKS_CONTEXT (PY_VERSION_HEX >= 0x030F0000)       /* TypeError for a context that is none */
#define PA_STOP_HAS_CONTEXT (PY_VERSION_HEX < 0x030E0000)           /* the StopIteration of a result has the handled exception as context */
#define PA_AWAIT_WARNS_OLD_THROW (PY_VERSION_HEX >= 0x030C0000)     /* throw(type, value, tb) is deprecated */
#define PA_AWAIT_TAKES_STOP (PY_VERSION_HEX >= 0x030C0000)          /* a StopIteration that leaves the awaited is a result, whoever raised it */
#define PA_THROW_STOP_AT_START (PY_VERSION_HEX >= 0x030C0000)       /* a StopIteration thrown into a coroutine not started stays one */
#define PA_DONE_CORO_IGNORES_THROWN (PY_VERSION_HEX >= 0x030F0000)  /* throw() of a coroutine that ended does not look at its arguments */
#define PA_HAS_QUEUE_SHUTDOWN (PY_VERSION_HEX >= 0x030D0000)
#define PA_CORO_HAS_STATE (PY_VERSION_HEX >= 0x030F0000)            /* coroutine.cr_state */
#define PA_HAS_SWAP_CURRENT_TASK (PY_VERSION_HEX >= 0x030E0000) /* per-thread current task and task list */
#define PA_KNOWS_DICT_ENTRIES (!PA_HAS_SWAP_CURRENT_TASK) /* rt/dict_slot.c: where the current task is in a dict */
#define PA_SLEEP_REFUSES_NAN (PY_VERSION_HEX >= 0x030D0000)
#define PA_NAN_IS_NO_TIMEOUT (PY_VERSION_HEX >= 0x030D0000)         /* before, waiting until NaN was not waiting */
#define PA_WAIT_FOR_MAKES_TASK (PY_VERSION_HEX < 0x030C0000) /* wait_for() runs a coroutine in a task of its own */
#define PA_COMPLETES_BY_CLASS (PY_VERSION_HEX >= 0x030D0000) /* as_completed() returns an _AsCompletedIterator; before, a generator */
#define PA_HAS_CALL_GRAPH (PY_VERSION_HEX >= 0x030E0000)

#define PA_HAS_SEVERAL_SEPARATORS (PY_VERSION_HEX >= 0x030D0000) /* StreamReader.readuntil((b"a", b"b")) */
#define PA_PROTOCOL_HOLDS_WRITER (PY_VERSION_HEX < 0x030D0000)   /* StreamReaderProtocol has a _stream_writer */

#define PA_SERVER_KNOWS_TRANSPORTS (PY_VERSION_HEX >= 0x030D0000) /* Server._attach(transport); before, it only counted */
#define PA_HAS_VECTORED_WRITELINES (PY_VERSION_HEX >= 0x030C0000)
#define PA_WRITELINES_SKIPS_FALSE (PY_VERSION_HEX >= 0x030E0000) /* chunks that are false are passed over, even None */
#if PY_VERSION_HEX >= 0x030E0000
#define PA_WRITE_TYPE_ERROR "data argument must be a bytes, bytearray, or memoryview object, not %R"
#else
#define PA_WRITE_TYPE_ERROR "data argument must be a bytes-like object, not %R"
#endif
#if PY_VERSION_HEX >= 0x030F0000 /* transports and servers take the context of their callbacks */
#define PA_TRANSPORT_CONTEXT_ARGUMENT "context",
#define PA_TRANSPORT_CONTEXT(value) (value)
#else
#define PA_TRANSPORT_CONTEXT_ARGUMENT
#define PA_TRANSPORT_CONTEXT(value) ((PyObject *)NULL)
#endif

#define PA_SENDS_EMPTY_DATAGRAMS (PY_VERSION_HEX >= 0x030D0000)
#define PA_DATAGRAM_COST (PY_VERSION_HEX >= 0x030D0000 ? 8 : 0) /* what a queued datagram counts besides its data, bytes */

/* ---- Module slots ---- */
#if PY_VERSION_HEX >= 0x030C0000
#define PA_MODULE_SLOT_INTERPRETERS {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#else
#define PA_MODULE_SLOT_INTERPRETERS
#endif
/* Until 3.11 all interpreters share what _asyncio keeps of tasks: the classes that we put there would be those of one of them. */
static inline int pa_interpreter_is_supported(void)
{
#if PY_VERSION_HEX < 0x030C0000
    return PyInterpreterState_Get() == PyInterpreterState_Main();
#else
    return 1;
#endif
}
#if PY_VERSION_HEX >= 0x030D0000
#define PA_MODULE_SLOT_GIL {Py_mod_gil, Py_MOD_GIL_USED},
#else
#define PA_MODULE_SLOT_GIL
#endif

/* ---- Locks: nothing while the GIL does their work ---- */
#ifdef Py_GIL_DISABLED
#define PA_HAS_GIL 0
#define PA_CRITICAL_BEGIN(obj) Py_BEGIN_CRITICAL_SECTION(obj)
#define PA_CRITICAL_END() Py_END_CRITICAL_SECTION()
typedef PyMutex pa_mutex;
#define pa_mutex_lock(m) PyMutex_Lock(m)
#define pa_mutex_unlock(m) PyMutex_Unlock(m)
#else
#define PA_HAS_GIL 1
#define PA_CRITICAL_BEGIN(obj) {
#define PA_CRITICAL_END() }
typedef char pa_mutex;
#define pa_mutex_lock(m) ((void)(m))
#define pa_mutex_unlock(m) ((void)(m))
#endif

#endif
