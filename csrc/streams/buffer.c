/* See buffer.h. Memory grows by doubling, so that what is fed in small pieces is moved a constant number of times. */
#include "streams/buffer.h"
#include <string.h>

#define FIRST_CAPACITY 256
#define TRIM_ABOVE 4096 /* less is not worth a copy */

/* Lets go of what holds the bytes, but not of `shared`. */
static void forget(pa_buffer *b)
{
    PyObject *chunk = b->chunk;
    PyMem_Free(b->memory);
    b->memory = b->data = NULL;
    b->capacity = b->len = 0;
    b->chunk = NULL;
    Py_XDECREF(chunk);
}

void pa_buffer_clear(pa_buffer *b)
{
    forget(b);
    Py_CLEAR(b->shared);
}

/* Back to where nothing is, if nobody else can put something into the bytearray any more. */
static void unshare_empty(pa_buffer *b)
{
    if (b->shared != NULL && Py_REFCNT(b->shared) == 1 && PyByteArray_CheckExact(b->shared) && PyByteArray_GET_SIZE(b->shared) == 0)
        Py_CLEAR(b->shared);
}

/* The unread bytes now lie in memory of `capacity` bytes, at its beginning. */
static int move_to(pa_buffer *b, size_t capacity)
{
    char *memory = PyMem_Malloc(capacity);
    if (memory == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    size_t len = b->len;
    if (len > 0)
        memcpy(memory, b->data, len);
    forget(b);
    b->memory = b->data = memory;
    b->capacity = capacity;
    b->len = len;
    return 0;
}

/* Makes room for `more` bytes behind the unread ones. */
static int reserve(pa_buffer *b, size_t more)
{
    if (more > (size_t)PY_SSIZE_T_MAX / 2 - b->len) {
        PyErr_NoMemory();
        return -1;
    }
    size_t wanted = b->len + more;
    if (b->memory != NULL) {
        size_t before = (size_t)(b->data - b->memory);
        if (before + wanted <= b->capacity)
            return 0;
        if (wanted <= b->capacity && before >= b->capacity / 2) { /* half of it is read: worth moving */
            memmove(b->memory, b->data, b->len);
            b->data = b->memory;
            return 0;
        }
    }
    size_t capacity = FIRST_CAPACITY;
    while (capacity < wanted)
        capacity *= 2;
    if (capacity < wanted + wanted / 4) /* it will go on growing */
        capacity *= 2;
    return move_to(b, capacity);
}

static int append_shared(pa_buffer *b, const char *data, size_t len)
{
    Py_ssize_t before = PyByteArray_GET_SIZE(b->shared);
    if (len > (size_t)(PY_SSIZE_T_MAX - before)) {
        PyErr_NoMemory();
        return -1;
    }
    if (PyByteArray_Resize(b->shared, before + (Py_ssize_t)len) < 0)
        return -1;
    memcpy(PyByteArray_AS_STRING(b->shared) + before, data, len);
    return 0;
}

int pa_buffer_append(pa_buffer *b, const char *data, size_t len)
{
    unshare_empty(b);
    if (b->shared != NULL)
        return append_shared(b, data, len);
    if (reserve(b, len) < 0)
        return -1;
    memcpy(b->data + b->len, data, len);
    b->len += len;
    return 0;
}

int pa_buffer_append_bytes(pa_buffer *b, PyObject *bytes)
{
    unshare_empty(b);
    if (b->shared != NULL || b->len > 0)
        return pa_buffer_append(b, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
    forget(b);
    b->chunk = Py_NewRef(bytes);
    b->data = PyBytes_AS_STRING(bytes);
    b->len = (size_t)PyBytes_GET_SIZE(bytes);
    return 0;
}

/* del bytearray[:n] */
static int drop_shared(pa_buffer *b, size_t n)
{
    PyObject *shared = Py_NewRef(b->shared); /* the method may be overridden */
    int rc = PySequence_DelSlice(shared, 0, (Py_ssize_t)n);
    Py_DECREF(shared);
    unshare_empty(b);
    return rc;
}

int pa_buffer_drop(pa_buffer *b, size_t n)
{
    if (b->shared != NULL)
        return drop_shared(b, n);
    if (n >= b->len)
        forget(b);
    else {
        b->data += n;
        b->len -= n;
    }
    return 0;
}

PyObject *pa_buffer_take(pa_buffer *b, size_t n)
{
    size_t len = pa_buffer_len(b);
    if (n > len)
        n = len;
    PyObject *result = NULL;
    if (b->shared == NULL && b->chunk != NULL && n == (size_t)PyBytes_GET_SIZE(b->chunk))
        result = Py_NewRef(b->chunk);
    else if ((result = PyBytes_FromStringAndSize(pa_buffer_data(b), (Py_ssize_t)n)) == NULL)
        return NULL;
    if (pa_buffer_drop(b, n) < 0)
        Py_CLEAR(result);
    return result;
}

void pa_buffer_trim(pa_buffer *b)
{
    size_t held = b->chunk != NULL ? (size_t)PyBytes_GET_SIZE(b->chunk) : b->capacity;
    if (held > TRIM_ABOVE && b->len < held / 4 && move_to(b, b->len * 2) < 0)
        PyErr_Clear(); /* then it stays as it is */
}

PyObject *pa_buffer_share(pa_buffer *b)
{
    if (b->shared == NULL) {
        PyObject *shared = PyByteArray_FromStringAndSize(b->data, (Py_ssize_t)b->len);
        if (shared == NULL)
            return NULL;
        forget(b);
        b->shared = shared;
    }
    return Py_NewRef(b->shared);
}

void pa_buffer_assign(pa_buffer *b, PyObject *bytearray)
{
    forget(b);
    Py_XSETREF(b->shared, Py_NewRef(bytearray));
}

Py_ssize_t pa_buffer_find(const pa_buffer *b, size_t from, const char *needle, size_t len)
{
    const char *data = pa_buffer_data(b);
    size_t size = pa_buffer_len(b);
    if (from > size || len > size - from)
        return -1;
    const char *found = len == 1 ? memchr(data + from, needle[0], size - from) : memmem(data + from, size - from, needle, len);
    return found != NULL ? found - data : -1;
}
