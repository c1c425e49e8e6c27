/* Bytes that a TLS connection holds: a FIFO in one piece of memory, without Python. A zeroed struct is an empty one. */
#ifndef PA_NET_TLS_BYTES_H
#define PA_NET_TLS_BYTES_H

#include "rt/state.h"
#include <string.h>

#define PA_TLS_BYTES_MIN 4096
#define PA_TLS_SCRATCH_MAX (512 * 1024) /* what had to grow above this is not kept for others */

typedef struct {
    char *data;
    size_t start, len, cap; /* `len` bytes at data + start */
} pa_tls_bytes;

static inline char *pa_tls_bytes_at(const pa_tls_bytes *self) { return self->data + self->start; }

static inline void pa_tls_bytes_clear(pa_tls_bytes *self)
{
    PyMem_RawFree(self->data);
    *self = (pa_tls_bytes){NULL};
}

/* Drops the first `len`. */
static inline void pa_tls_bytes_drop(pa_tls_bytes *self, size_t len)
{
    self->start += len;
    self->len -= len;
    if (self->len == 0)
        self->start = 0;
}

/* Appends. 0, or -1 with nothing done and no exception: no memory. */
static inline int pa_tls_bytes_add(pa_tls_bytes *self, const char *data, size_t len)
{
    if (self->len + len > self->cap) {
        size_t cap = self->cap > 0 ? self->cap : PA_TLS_BYTES_MIN;
        while (cap < self->len + len)
            cap *= 2;
        char *grown = PyMem_RawMalloc(cap);
        if (grown == NULL)
            return -1;
        if (self->len > 0)
            memcpy(grown, pa_tls_bytes_at(self), self->len);
        PyMem_RawFree(self->data);
        *self = (pa_tls_bytes){.data = grown, .len = self->len, .cap = cap};
    } else if (self->start + self->len + len > self->cap) {
        memmove(self->data, pa_tls_bytes_at(self), self->len);
        self->start = 0;
    }
    memcpy(pa_tls_bytes_at(self) + self->len, data, len);
    self->len += len;
    return 0;
}

/* Memory for an empty one, from what another connection has left; none is not an error. */
static inline void pa_tls_bytes_borrow(pa_state *st, pa_tls_bytes *self)
{
    if (self->data != NULL)
        return;
    *self = (pa_tls_bytes){.data = st->tls_scratch.data, .cap = st->tls_scratch.cap};
    st->tls_scratch.data = NULL;
    st->tls_scratch.cap = 0;
}

/* Gives the memory of an empty one back. */
static inline void pa_tls_bytes_return(pa_state *st, pa_tls_bytes *self)
{
    if (st->tls_scratch.data == NULL && self->cap <= PA_TLS_SCRATCH_MAX) {
        st->tls_scratch.data = self->data;
        st->tls_scratch.cap = self->cap;
        *self = (pa_tls_bytes){NULL};
    } else
        pa_tls_bytes_clear(self);
}

#endif
