/* Bytes that wait for a descriptor to take them: a FIFO of chunks, sent several at once.
 *
 * Shared by every transport that writes a stream. It knows Python's bytes, but runs no user code: what it keeps are exact bytes objects
 * (by reference, immutable) or its own copies, so releasing them calls nobody (a datagram's address may be anything: it is let go when the
 * queue is whole again). The one exception is a borrowed chunk: the last chunk
 * may point into a caller's buffer while one attempt to send is made, and is copied or gone before the caller releases that buffer.
 */
#ifndef PA_NET_WRITE_QUEUE_H
#define PA_NET_WRITE_QUEUE_H

#include "rt/compat.h"
#include "base/sys.h"
#include <stdbool.h>

typedef struct {
    PyObject *owner;  /* an exact bytes object that holds ptr; NULL for a borrowed chunk */
    PyObject *to;     /* of a datagram: where it goes, as the user gave it; NULL for none */
    const char *ptr;
    size_t len;       /* of a stream never 0 */
} pa_chunk;

typedef struct {
    pa_chunk *items;  /* a ring of `cap` places (a power of two, or 0) */
    size_t head, len, cap;
    size_t bytes;     /* sum of the chunks' lengths, and of what datagrams cost besides */
} pa_write_queue;

static inline bool pa_write_queue_is_empty(const pa_write_queue *queue) { return queue->len == 0; }

/* A zeroed struct is an empty queue. Drops everything, the ring too. */
void pa_write_queue_clear(pa_write_queue *queue);

/* Appends an exact bytes object; takes a new reference. Nothing for an empty one. 0, or -1 with MemoryError. */
int pa_write_queue_push_bytes(pa_write_queue *queue, PyObject *bytes);

/* Appends `len` bytes at `ptr` without copying them: the caller calls own_tail before `ptr` may change. 0, or -1 with MemoryError. */
int pa_write_queue_push_borrowed(pa_write_queue *queue, const char *ptr, size_t len);

/* Copies what is left of a borrowed last chunk. 0, or -1 with MemoryError: then the chunk is dropped, and the stream with it must be. */
int pa_write_queue_own_tail(pa_write_queue *queue);

/* Sends as much as the descriptor takes: send(2) for one chunk, sendmsg(2) for several. Drops what was taken. PA_QUEUE_SENT: the queue is
 * empty; PA_QUEUE_FULL: the descriptor takes no more for now; else -errno. */
enum { PA_QUEUE_SENT = 0, PA_QUEUE_FULL = 1 };
int pa_write_queue_send(pa_write_queue *queue, int fd);
/* The same for what need not be a socket: write(2) and writev(2). */
int pa_write_queue_write(pa_write_queue *queue, int fd);

/* ---- For who passes the bytes on without a descriptor ---- */

/* The first chunk, of a queue that is not empty. */
const pa_chunk *pa_write_queue_first(const pa_write_queue *queue);
/* Copies up to `max` bytes from the front; how many. */
size_t pa_write_queue_copy(const pa_write_queue *queue, char *to, size_t max);
/* Drops the first `taken` bytes. */
void pa_write_queue_consume(pa_write_queue *queue, size_t taken);

/* ---- Datagrams: never joined, sent one by one by whoever knows how. A queue holds either these or a stream. ---- */

/* Appends an exact bytes object, also an empty one, that counts `cost` bytes more than it has. 0, or -1 with MemoryError. */
int pa_write_queue_push_datagram(pa_write_queue *queue, PyObject *bytes, PyObject *to, size_t cost);
/* Takes the first; its references are the caller's. The queue is not empty. */
pa_chunk pa_write_queue_pop_datagram(pa_write_queue *queue, size_t cost);
/* Puts back what was just popped; takes the references over. The room is still there unless something was pushed meanwhile. 0, or -1
 * with MemoryError (then it is let go). */
int pa_write_queue_unpop_datagram(pa_write_queue *queue, pa_chunk chunk, size_t cost);

#endif
