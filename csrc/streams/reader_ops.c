/* StreamReader's read(), readexactly(), readuntil(), readline() and `async for`: operations (sync/op.h) that take from the buffer.
 *
 * What is in the buffer is given at once. Otherwise the operation makes itself a future, the reader's `waiter`, which feed_data(),
 * feed_eof() or set_exception() resolve; only one may wait at a time. Each step looks at the buffer anew: between the wakeup and the
 * step anybody may have read from it.
 *
 * Of a reader that is not plain (streams.h), and for arguments that only Python makes sense of, the methods return asyncio's coroutines.
 */
#include "rt/args.h"
#include "streams/streams.h"
#include "sync/op.h"

enum { START, WAITED };

#define READER(op) ((pa_reader *)(op)->self)

/* ---- Waiting ---- */

static PySendResult wait_for_data(pa_op *op)
{
    pa_reader *self = READER(op);
    if (self->waiter != NULL) {
        const char *name = op->kind->name;
        PyErr_Format(PyExc_RuntimeError, "%s() called while another coroutine is already waiting for incoming data",
                     strcmp(name, "readline") == 0 || strcmp(name, "__anext__") == 0 ? "readuntil" : name);
        return PYGEN_ERROR;
    }
    if (self->eof && op->st->asserts) {
        PyErr_SetString(PyExc_AssertionError, "_wait_for_data after EOF");
        return PYGEN_ERROR;
    }
    if (self->paused && pa_reader_resume(self) < 0) /* or it would wait for ever for more than the limit */
        return PYGEN_ERROR;
    PyObject *future = pa_streams_future(op->st, self->loop);
    if (future == NULL)
        return PYGEN_ERROR;
    pa_buffer_trim(&self->buffer);
    Py_XSETREF(self->waiter, future);
    op->step = WAITED;
    Py_INCREF(future);
    PySendResult how = pa_op_wait(op, future);
    Py_DECREF(future);
    return how;
}

/* At the beginning of each step. 1 if a wait is over, 0 at the start, -1 with what the wait raised. */
static int come_back(pa_op *op, PyObject *thrown)
{
    if (op->step == START)
        return 0;
    Py_CLEAR(READER(op)->waiter);
    if (thrown == NULL)
        return 1;
    pa_op_raise(thrown);
    return -1;
}

static bool nothing_yet(const pa_reader *self) { return pa_buffer_len(&self->buffer) == 0 && !self->eof; }

/* ---- Taking ---- */

static PySendResult finish_with(PyObject *value, PyObject **result)
{
    *result = value;
    return value != NULL ? PYGEN_RETURN : PYGEN_ERROR;
}

static PyObject *take(pa_reader *self, size_t n)
{
    PyObject *data = pa_buffer_take(&self->buffer, n);
    if (data != NULL && pa_reader_maybe_resume(self) < 0)
        Py_CLEAR(data);
    return data;
}

/* Raises `exc`, which it steals; NULL: what is raised already. */
static PySendResult raise_new(PyObject *exc)
{
    if (exc != NULL)
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
    Py_XDECREF(exc);
    return PYGEN_ERROR;
}

/* IncompleteReadError(all there is, expected) */
static PySendResult fail_incomplete(pa_op *op, PyObject *expected)
{
    PyObject *partial = pa_buffer_take(&READER(op)->buffer, PY_SSIZE_T_MAX);
    PyObject *exc = partial != NULL ? PyObject_CallFunctionObjArgs(op->st->IncompleteReadError, partial, expected, NULL) : NULL;
    Py_XDECREF(partial);
    return raise_new(exc);
}

/* ---- read() ---- */

static PySendResult read_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    pa_reader *self = READER(op);
    int came_back = come_back(op, thrown);
    if (came_back < 0)
        return PYGEN_ERROR;
    if (!came_back) {
        if (pa_reader_check_exception(self) < 0)
            return PYGEN_ERROR;
        if (op->number == 0)
            return finish_with(PyBytes_FromStringAndSize(NULL, 0), result);
        if (nothing_yet(self))
            return wait_for_data(op);
    }
    return finish_with(take(self, (size_t)op->number), result);
}

static const pa_op_kind read_kind = {"read", "StreamReader.read", read_run, NULL};

/* read(-1): blocks of up to the limit, gathered in the list op->a. */
static PySendResult read_all_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    pa_reader *self = READER(op);
    int came_back = come_back(op, thrown);
    if (came_back < 0 || (op->a == NULL && (op->a = PyList_New(0)) == NULL))
        return PYGEN_ERROR;
    for (;;) {
        if (!came_back) {
            if (pa_reader_check_exception(self) < 0)
                return PYGEN_ERROR;
            if (nothing_yet(self))
                return wait_for_data(op);
        }
        came_back = 0;
        PyObject *block = take(self, self->limit_bytes > 0 ? self->limit_bytes : PY_SSIZE_T_MAX);
        if (block == NULL)
            return PYGEN_ERROR;
        if (PyBytes_GET_SIZE(block) == 0) {
            *result = PyObject_CallMethodOneArg(block, op->st->names.join, op->a);
            Py_DECREF(block);
            return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
        }
        int rc = PyList_Append(op->a, block);
        Py_DECREF(block);
        if (rc < 0)
            return PYGEN_ERROR;
    }
}

static const pa_op_kind read_all_kind = {"read", "StreamReader.read", read_all_run, NULL};

/* ---- readexactly() ---- */

/* op->a is n as it was given, op->number the same. */
static PySendResult exactly_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    pa_reader *self = READER(op);
    int came_back = come_back(op, thrown);
    if (came_back < 0)
        return PYGEN_ERROR;
    if (!came_back) {
        if (op->number < 0) {
            PyErr_SetString(PyExc_ValueError, "readexactly size can not be less than zero");
            return PYGEN_ERROR;
        }
        if (pa_reader_check_exception(self) < 0)
            return PYGEN_ERROR;
        if (op->number == 0)
            return finish_with(PyBytes_FromStringAndSize(NULL, 0), result);
    }
    if (pa_buffer_len(&self->buffer) >= (size_t)op->number)
        return finish_with(take(self, (size_t)op->number), result);
    return self->eof ? fail_incomplete(op, op->a) : wait_for_data(op);
}

static const pa_op_kind exactly_kind = {"readexactly", "StreamReader.readexactly", exactly_run, NULL};

/* ---- readuntil() ---- */

/* op->a: the separator, exact bytes, or a tuple of several, the shortest first; NULL: a newline. op->number: where the search goes on.
 * Only what cannot be the beginning of a separator is passed over. */
typedef struct {
    Py_ssize_t start, end;
} match;

static void look_for(const pa_buffer *buffer, size_t from, const char *separator, size_t len, match *best)
{
    Py_ssize_t start = pa_buffer_find(buffer, from, separator, len);
    if (start >= 0 && (best->end == 0 || start + (Py_ssize_t)len < best->end))
        *best = (match){start, start + (Py_ssize_t)len};
}

/* The separators' sizes, and the match that ends first; its `end` is 0 if there is none. */
static match search(pa_op *op, size_t *shortest, size_t *longest)
{
    const pa_buffer *buffer = &READER(op)->buffer;
    match best = {0, 0};
    size_t from = (size_t)op->number;
    *shortest = *longest = 1;
    if (op->a == NULL) {
        look_for(buffer, from, "\n", 1, &best);
        return best;
    }
    int several = PyTuple_Check(op->a);
    for (Py_ssize_t i = 0; i < (several ? PyTuple_GET_SIZE(op->a) : 1); i++) {
        PyObject *separator = several ? PyTuple_GET_ITEM(op->a, i) : op->a;
        *longest = (size_t)PyBytes_GET_SIZE(separator);
        if (i == 0)
            *shortest = *longest;
        look_for(buffer, from, PyBytes_AS_STRING(separator), *longest, &best);
    }
    return best;
}

static PySendResult fail_overrun(pa_op *op, const char *text, size_t consumed)
{
    PyObject *exc = PyObject_CallFunction(op->st->LimitOverrunError, "sn", text, (Py_ssize_t)consumed);
    return raise_new(exc);
}

static int check_separator(PyObject *separator)
{
    if (separator == NULL)
        return 0;
    if (PyTuple_Check(separator) && PyTuple_GET_SIZE(separator) == 0) {
        PyErr_SetString(PyExc_ValueError, "Separator should contain at least one element");
        return -1;
    }
    if (PyBytes_GET_SIZE(PyTuple_Check(separator) ? PyTuple_GET_ITEM(separator, 0) : separator) == 0) {
        PyErr_SetString(PyExc_ValueError, "Separator should be at least one-byte string");
        return -1;
    }
    return 0;
}

static PySendResult until_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    pa_reader *self = READER(op);
    int came_back = come_back(op, thrown);
    if (came_back < 0)
        return PYGEN_ERROR;
    if (!came_back && (check_separator(op->a) < 0 || pa_reader_check_exception(self) < 0))
        return PYGEN_ERROR;
    size_t shortest, longest, len = pa_buffer_len(&self->buffer);
    match found = search(op, &shortest, &longest);
    if (found.end > 0) {
        if ((size_t)found.start > self->limit_bytes)
            return fail_overrun(op, "Separator is found, but chunk is longer than limit", (size_t)found.start);
        return finish_with(take(self, (size_t)found.end), result);
    }
    if (len >= (size_t)op->number + shortest) {
        op->number = len + 1 > longest ? (int64_t)(len + 1 - longest) : 0;
        if ((size_t)op->number > self->limit_bytes)
            return fail_overrun(op, "Separator is not found, and chunk exceed the limit", (size_t)op->number);
    }
    return self->eof ? fail_incomplete(op, Py_None) : wait_for_data(op);
}

static const pa_op_kind until_kind = {"readuntil", "StreamReader.readuntil", until_run, NULL};

/* ---- readline() and __anext__() ---- */

/* The line was too long: it goes from the buffer, up to its end if that is there. Steals `exc`, the LimitOverrunError. */
static PySendResult fail_line(pa_reader *self, PyObject *exc)
{
    PyObject *attribute = PyObject_GetAttrString(exc, "consumed"), *args = NULL, *error = NULL;
    Py_ssize_t consumed = attribute != NULL ? PyLong_AsSsize_t(attribute) : -1;
    if (attribute == NULL || (consumed == -1 && PyErr_Occurred()))
        goto done;
    size_t len = pa_buffer_len(&self->buffer);
    bool ends = consumed >= 0 && (size_t)consumed < len && pa_buffer_data(&self->buffer)[consumed] == '\n';
    if (pa_buffer_drop(&self->buffer, ends ? (size_t)consumed + 1 : len) < 0 || pa_reader_maybe_resume(self) < 0)
        goto done;
    if ((args = PyObject_GetAttrString(exc, "args")) == NULL || !PyTuple_Check(args))
        goto done;
    error = PyTuple_GET_SIZE(args) > 0 ? PyObject_CallOneArg(PyExc_ValueError, PyTuple_GET_ITEM(args, 0)) : NULL;
    if (error != NULL) {
        PyException_SetContext(error, Py_NewRef(exc));
        pa_err_restore(error);
    } else if (!PyErr_Occurred()) {
        PyErr_SetString(PyExc_IndexError, "tuple index out of range");
    }
done:
    Py_XDECREF(attribute);
    Py_XDECREF(args);
    Py_DECREF(exc);
    return PYGEN_ERROR;
}

/* The first line, if it lies in the buffer and nothing is odd about it or the reader: what the steps of readuntil() come to then. False: it
 * is for them. */
static bool take_line(pa_reader *self, PyObject **result)
{
    const pa_buffer *buffer = &self->buffer;
    if (buffer->shared != NULL || buffer->len == 0 || self->exception != NULL)
        return false;
    const char *newline = memchr(buffer->data, '\n', buffer->len);
    if (newline == NULL || (size_t)(newline - buffer->data) > self->limit_bytes)
        return false;
    *result = take(self, (size_t)(newline - buffer->data) + 1);
    return true;
}

static PySendResult line_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    if (op->step == START && take_line(READER(op), result))
        return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
    PySendResult how = until_run(op, thrown, result);
    if (how != PYGEN_ERROR)
        return how;
    PyObject *exc = pa_err_take();
    if (PyErr_GivenExceptionMatches(exc, op->st->IncompleteReadError)) {
        PyObject *partial = PyObject_GetAttrString(exc, "partial");
        Py_DECREF(exc);
        return finish_with(partial, result);
    }
    if (PyErr_GivenExceptionMatches(exc, op->st->LimitOverrunError))
        return fail_line(READER(op), exc);
    pa_err_restore(exc);
    return PYGEN_ERROR;
}

static const pa_op_kind line_kind = {"readline", "StreamReader.readline", line_run, NULL};

static PySendResult anext_run(pa_op *op, PyObject *thrown, PyObject **result)
{
    PySendResult how = line_run(op, thrown, result);
    if (how != PYGEN_RETURN || !PyBytes_Check(*result) || PyBytes_GET_SIZE(*result) > 0)
        return how;
    Py_CLEAR(*result);
    PyErr_SetNone(PyExc_StopAsyncIteration);
    return PYGEN_ERROR;
}

static const pa_op_kind anext_kind = {"__anext__", "StreamReader.__anext__", anext_run, NULL};

PyObject *pa_reader_anext(PyObject *op)
{
    pa_reader *self = (pa_reader *)op;
    if (!pa_reader_is_plain(self))
        return pa_streams_ask_asyncio(self->st->aio_StreamReader, "__anext__", op, NULL);
    return pa_op_new(self->st, &anext_kind, op);
}

/* ---- Methods ---- */

/* A number of bytes; false if it is none that the native code takes. What is larger than can be is as good as the largest. */
static bool as_count(PyObject *n, int64_t *out)
{
    if (!PyLong_Check(n))
        return false;
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(n, &overflow);
    *out = overflow > 0 || value > PY_SSIZE_T_MAX ? PY_SSIZE_T_MAX : overflow < 0 ? -1 : value;
    return true;
}

static PyObject *method_read(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"n", NULL};
    static const pa_signature signature = {"read", names, 1, 0};
    pa_reader *self = (pa_reader *)op;
    PyObject *n;
    int64_t count = -1;
    if (pa_args_parse(op, &signature, args, nargs, kwnames, &n) < 0)
        return NULL;
    if (!pa_reader_is_plain(self) || (n != NULL && !as_count(n, &count)))
        return pa_streams_ask_asyncio(self->st->aio_StreamReader, "read", op, n);
    PyObject *result = pa_op_new(self->st, count < 0 ? &read_all_kind : &read_kind, op);
    if (result != NULL)
        ((pa_op *)result)->number = count;
    return result;
}

static PyObject *method_readexactly(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"n", NULL};
    static const pa_signature signature = {"readexactly", names, 1, 1};
    pa_reader *self = (pa_reader *)op;
    PyObject *n = pa_args_one(op, &signature, args, nargs, kwnames);
    int64_t count;
    if (n == NULL)
        return NULL;
    if (!pa_reader_is_plain(self) || !as_count(n, &count))
        return pa_streams_ask_asyncio(self->st->aio_StreamReader, "readexactly", op, n);
    pa_op *result = (pa_op *)pa_op_new(self->st, &exactly_kind, op);
    if (result != NULL) {
        result->number = count;
        result->a = Py_NewRef(n);
    }
    return (PyObject *)result;
}

static Py_ssize_t length_at(PyObject *list, Py_ssize_t i) { return PyBytes_GET_SIZE(PyList_GET_ITEM(list, i)); }

/* A tuple of exact bytes, the shortest first, as sorted(key=len). New; NULL without an exception if they are anything else. */
static PyObject *sort_separators(PyObject *tuple)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++)
        if (!PyBytes_CheckExact(PyTuple_GET_ITEM(tuple, i)))
            return NULL;
    PyObject *list = PySequence_List(tuple);
    for (Py_ssize_t i = 1; list != NULL && i < PyList_GET_SIZE(list); i++)
        for (Py_ssize_t k = i; k > 0 && length_at(list, k) < length_at(list, k - 1); k--) {
            PyObject *longer = PyList_GET_ITEM(list, k - 1);
            PyList_SET_ITEM(list, k - 1, PyList_GET_ITEM(list, k));
            PyList_SET_ITEM(list, k, longer);
        }
    PyObject *sorted = list != NULL ? PyList_AsTuple(list) : NULL;
    Py_XDECREF(list);
    return sorted;
}

static PyObject *method_readuntil(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"separator", NULL};
    static const pa_signature signature = {"readuntil", names, 1, 0};
    pa_reader *self = (pa_reader *)op;
    PyObject *separator, *taken = NULL;
    if (pa_args_parse(op, &signature, args, nargs, kwnames, &separator) < 0)
        return NULL;
    if (separator != NULL && PyBytes_CheckExact(separator))
        taken = Py_NewRef(separator);
    else if (PA_HAS_SEVERAL_SEPARATORS && separator != NULL && PyTuple_CheckExact(separator))
        taken = sort_separators(separator);
    if (PyErr_Occurred())
        return NULL;
    PyObject *result = NULL;
    if (!pa_reader_is_plain(self) || (separator != NULL && taken == NULL))
        result = pa_streams_ask_asyncio(self->st->aio_StreamReader, "readuntil", op, separator);
    else if ((result = pa_op_new(self->st, &until_kind, op)) != NULL)
        ((pa_op *)result)->a = Py_XNewRef(taken);
    Py_XDECREF(taken);
    return result;
}

static PyObject *method_readline(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    pa_reader *self = (pa_reader *)op;
    if (pa_args_none(op, "readline", args, nargs, kwnames) < 0)
        return NULL;
    if (!pa_reader_is_plain(self))
        return pa_streams_ask_asyncio(self->st->aio_StreamReader, "readline", op, NULL);
    return pa_op_new(self->st, &line_kind, op);
}

const pa_corofn_def pa_reader_operations[] = {
    {"read", "StreamReader.read", method_read,
     PyDoc_STR("read($self, /, n=-1)\n--\n\nUp to n bytes, as soon as there is one; n < 0: everything up to EOF.\n\n"
               "At EOF an empty bytes object.")},
    {"readexactly", "StreamReader.readexactly", method_readexactly,
     PyDoc_STR("readexactly($self, /, n)\n--\n\nExactly n bytes.\n\n"
               "IncompleteReadError, with what there is as its `partial`, if EOF comes before.")},
    {"readuntil", "StreamReader.readuntil", method_readuntil,
     PyDoc_STR("readuntil($self, /, separator=b'\\n')\n--\n\nEverything up to and with the separator.\n\n"
               "LimitOverrunError, and nothing is read, if that is more than the limit (bytes);\n"
               "IncompleteReadError, with what there is as its `partial`, if EOF comes before.\n"
               "From 3.13 on a tuple of separators may be given: whichever comes first.")},
    {"readline", "StreamReader.readline", method_readline,
     PyDoc_STR("readline($self, /)\n--\n\nA line with its newline; at EOF what is left of one.\n\n"
               "ValueError if it is longer than the limit (bytes): it is dropped then.")},
    {NULL},
};
