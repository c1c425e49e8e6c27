/* The unread bytes of a StreamReader.
 *
 * They lie in one of four places, and move only when they must:
 *   nowhere      nothing is unread, and no memory is held;
 *   `chunk`      the bytes object that was fed last: nothing is copied, and a read of all of it gives that very object;
 *   `memory`     our own, when more was fed before the last chunk was read;
 *   `shared`     a bytearray, once somebody has looked at reader._buffer: from then on it holds the bytes, as asyncio's does, and may be
 *                changed by anybody. When it is empty and nobody else has it any more, we are back at nowhere.
 *
 * Functions that return -1 or NULL raised an exception and changed nothing. None runs user code, unless `shared` is of a class derived
 * from bytearray.
 */
#ifndef PA_STREAMS_BUFFER_H
#define PA_STREAMS_BUFFER_H

#include "rt/compat.h"
#include <stdbool.h>

typedef struct {
    char *data;        /* the first unread byte, in chunk or memory */
    size_t len;        /* how many are unread there */
    char *memory;
    size_t capacity;   /* of memory */
    PyObject *chunk;   /* exact bytes */
    PyObject *shared;  /* what reader._buffer gives: a bytearray */
} pa_buffer;

static inline size_t pa_buffer_len(const pa_buffer *b)
{
    return b->shared == NULL ? b->len : (size_t)PyByteArray_GET_SIZE(b->shared);
}

/* Valid until the next call of any other function here. */
static inline const char *pa_buffer_data(const pa_buffer *b)
{
    return b->shared == NULL ? b->data : PyByteArray_AS_STRING(b->shared);
}

int pa_buffer_append(pa_buffer *b, const char *data, size_t len);
/* The same with an exact bytes object, of which it may keep a reference. */
int pa_buffer_append_bytes(pa_buffer *b, PyObject *bytes);
/* Removes the first n bytes (all, if there are fewer) and returns them. New. */
PyObject *pa_buffer_take(pa_buffer *b, size_t n);
int pa_buffer_drop(pa_buffer *b, size_t n);
/* The reader is going to wait: gives back memory that is out of proportion to what is unread. */
void pa_buffer_trim(pa_buffer *b);

/* reader._buffer. New. */
PyObject *pa_buffer_share(pa_buffer *b);
void pa_buffer_assign(pa_buffer *b, PyObject *bytearray);

void pa_buffer_clear(pa_buffer *b);

/* Where `needle` (at least one byte) begins at or after `from`, or -1. */
Py_ssize_t pa_buffer_find(const pa_buffer *b, size_t from, const char *needle, size_t len);

#endif
