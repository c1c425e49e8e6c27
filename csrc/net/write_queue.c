/* See write_queue.h. The ring never shrinks while it holds something; clear() frees it, and so does draining one that had grown large. */
#include "net/write_queue.h"
#include <errno.h>
#include <string.h>

#define FIRST_CAP 8
#define KEEP_CAP 64 /* an empty ring above this is given back */

/* Chunks in one call. More iovecs than this gain nothing that another call would not: the array lives on the stack. */
#define IOV_BATCH 256

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

static pa_chunk *chunk_at(const pa_write_queue *queue, size_t i) { return &queue->items[(queue->head + i) & (queue->cap - 1)]; }

static int grow(pa_write_queue *queue)
{
    size_t cap = queue->cap ? queue->cap * 2 : FIRST_CAP;
    pa_chunk *items = PyMem_Malloc(cap * sizeof(pa_chunk));
    if (items == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < queue->len; i++)
        items[i] = *chunk_at(queue, i);
    PyMem_Free(queue->items);
    queue->items = items;
    queue->head = 0;
    queue->cap = cap;
    return 0;
}

static void drop_ring(pa_write_queue *queue)
{
    PyMem_Free(queue->items);
    memset(queue, 0, sizeof(*queue));
}

static int push(pa_write_queue *queue, PyObject *owner, const char *ptr, size_t len)
{
    if (len == 0)
        return 0;
    if (queue->len == queue->cap && grow(queue) < 0)
        return -1;
    *chunk_at(queue, queue->len) = (pa_chunk){.owner = Py_XNewRef(owner), .ptr = ptr, .len = len};
    queue->len++;
    queue->bytes += len;
    return 0;
}

void pa_write_queue_clear(pa_write_queue *queue)
{
    pa_write_queue old = *queue;
    memset(queue, 0, sizeof(*queue));
    for (size_t i = 0; i < old.len; i++) {
        Py_XDECREF(chunk_at(&old, i)->owner);
        Py_XDECREF(chunk_at(&old, i)->to);
    }
    drop_ring(&old);
}

int pa_write_queue_push_bytes(pa_write_queue *queue, PyObject *bytes)
{
    return push(queue, bytes, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
}

int pa_write_queue_push_borrowed(pa_write_queue *queue, const char *ptr, size_t len) { return push(queue, NULL, ptr, len); }

int pa_write_queue_own_tail(pa_write_queue *queue)
{
    if (queue->len == 0)
        return 0;
    pa_chunk *tail = chunk_at(queue, queue->len - 1);
    if (tail->owner != NULL)
        return 0;
    PyObject *copy = PyBytes_FromStringAndSize(tail->ptr, (Py_ssize_t)tail->len);
    if (copy == NULL) {
        queue->bytes -= tail->len;
        queue->len--;
        return -1;
    }
    tail->owner = copy;
    tail->ptr = PyBytes_AS_STRING(copy);
    return 0;
}

const pa_chunk *pa_write_queue_first(const pa_write_queue *queue) { return chunk_at(queue, 0); }

size_t pa_write_queue_copy(const pa_write_queue *queue, char *to, size_t max)
{
    size_t copied = 0;
    for (size_t i = 0; i < queue->len && copied < max; i++) {
        const pa_chunk *chunk = chunk_at(queue, i);
        size_t len = chunk->len < max - copied ? chunk->len : max - copied;
        memcpy(to + copied, chunk->ptr, len);
        copied += len;
    }
    return copied;
}

void pa_write_queue_consume(pa_write_queue *queue, size_t taken)
{
    queue->bytes -= taken;
    while (taken > 0) {
        pa_chunk *first = chunk_at(queue, 0);
        if (first->len > taken) {
            first->ptr += taken;
            first->len -= taken;
            return;
        }
        taken -= first->len;
        Py_XDECREF(first->owner);
        queue->head = (queue->head + 1) & (queue->cap - 1);
        queue->len--;
    }
    if (queue->len == 0 && queue->cap > KEEP_CAP)
        drop_ring(queue);
}

static ssize_t send_iov(int fd, struct iovec *iov, size_t count)
{
    if (count == 1)
        return pa_sys_send(fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL);
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = count};
    return pa_sys_sendmsg(fd, &msg, MSG_NOSIGNAL);
}

static ssize_t write_iov(int fd, struct iovec *iov, size_t count)
{
    return count == 1 ? pa_sys_write(fd, iov[0].iov_base, iov[0].iov_len) : pa_sys_writev(fd, iov, (int)count);
}

/* One call. *offered is how many bytes it was given. */
static ssize_t move_once(const pa_write_queue *queue, int fd, ssize_t (*move)(int, struct iovec *, size_t), size_t *offered)
{
    struct iovec iov[IOV_BATCH];
    size_t count = queue->len < IOV_BATCH ? queue->len : IOV_BATCH;
    *offered = 0;
    for (size_t i = 0; i < count; i++) {
        const pa_chunk *chunk = chunk_at(queue, i);
        iov[i] = (struct iovec){.iov_base = (void *)chunk->ptr, .iov_len = chunk->len};
        *offered += chunk->len;
    }
    return move(fd, iov, count);
}

static int move_all(pa_write_queue *queue, int fd, ssize_t (*move)(int, struct iovec *, size_t))
{
    while (queue->len > 0) {
        size_t offered;
        ssize_t taken = move_once(queue, fd, move, &offered);
        if (taken == -EAGAIN || taken == -EWOULDBLOCK)
            return PA_QUEUE_FULL;
        if (taken < 0)
            return (int)taken;
        pa_write_queue_consume(queue, (size_t)taken);
        if ((size_t)taken < offered)
            return PA_QUEUE_FULL;
    }
    return PA_QUEUE_SENT;
}

int pa_write_queue_send(pa_write_queue *queue, int fd) { return move_all(queue, fd, send_iov); }

int pa_write_queue_write(pa_write_queue *queue, int fd) { return move_all(queue, fd, write_iov); }

/* ---- Datagrams ---- */

int pa_write_queue_push_datagram(pa_write_queue *queue, PyObject *bytes, PyObject *to, size_t cost)
{
    if (queue->len == queue->cap && grow(queue) < 0)
        return -1;
    size_t len = (size_t)PyBytes_GET_SIZE(bytes);
    *chunk_at(queue, queue->len) =
        (pa_chunk){.owner = Py_NewRef(bytes), .to = Py_XNewRef(to), .ptr = PyBytes_AS_STRING(bytes), .len = len};
    queue->len++;
    queue->bytes += len + cost;
    return 0;
}

pa_chunk pa_write_queue_pop_datagram(pa_write_queue *queue, size_t cost)
{
    pa_chunk chunk = *chunk_at(queue, 0);
    queue->head = (queue->head + 1) & (queue->cap - 1);
    queue->len--;
    queue->bytes -= chunk.len + cost;
    if (queue->len == 0 && queue->cap > KEEP_CAP)
        drop_ring(queue);
    return chunk;
}

int pa_write_queue_unpop_datagram(pa_write_queue *queue, pa_chunk chunk, size_t cost)
{
    if (queue->len == queue->cap && grow(queue) < 0) {
        Py_XDECREF(chunk.owner);
        Py_XDECREF(chunk.to);
        return -1;
    }
    queue->head = (queue->head - 1) & (queue->cap - 1);
    *chunk_at(queue, 0) = chunk;
    queue->len++;
    queue->bytes += chunk.len + cost;
    return 0;
}
