/* A growable FIFO ring of fixed-size plain structs (memcpy-able), power-of-two capacity. The element type is the user's: RING code
 * is generated inline per type, so that push and pop are a copy and an index.
 *
 *   PA_RING_DECLARE(pa_ready_ring, pa_ready)      without a semicolon
 * gives the type pa_ready_ring and
 *   void pa_ready_ring_init(pa_ready_ring *)          no allocation
 *   void pa_ready_ring_free(pa_ready_ring *)          the array; elements are forgotten; ready for use again
 *   size_t pa_ready_ring_len(const pa_ready_ring *)
 *   int pa_ready_ring_push(pa_ready_ring *, pa_ready)  0 or -ENOMEM (nothing changed)
 *   int pa_ready_ring_reserve(pa_ready_ring *)        0: the next push does not fail; or -ENOMEM
 *   pa_ready pa_ready_ring_pop(pa_ready_ring *)        the oldest of a ring not empty; may shrink one far too large that it empties
 *   pa_ready *pa_ready_ring_at(const pa_ready_ring *, size_t i)  the i-th oldest; valid until the next push, pop or take
 *   pa_ready pa_ready_ring_take(pa_ready_ring *, size_t i)       removes the i-th oldest, keeping the order of the others (O(n))
 *
 * A ring belongs to one thread at a time. Element i lies at items[(head + i) & (cap - 1)]: head and tail only ever count upwards
 * and wrap with size_t, which the power-of-two capacity divides, so that no index is ever corrected and tail - head is the length.
 *
 * Shrinking happens at the moment the last element leaves, when there is nothing to copy, and by a quarter at a time: only if fewer
 * than an eighth of the places were used since the ring was last empty. A loop that bursts every tick therefore keeps its array.
 */
#ifndef PA_BASE_RING_H
#define PA_BASE_RING_H

#include "base/sys.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#define PA_RING_FIRST 16 /* places in the first array */
#define PA_RING_KEEP 1024 /* an array this large is never given back while the ring lives */

#define PA_RING_INLINE static inline __attribute__((unused))
#define PA_RING_RARE static __attribute__((unused, noinline, cold))

#define PA_RING_DECLARE(name, type)                                                                                                \
    typedef struct {                                                                                                               \
        type *items;                                                                                                               \
        size_t cap;   /* places in items: 0 or a power of two */                                                                   \
        size_t head;  /* number of the oldest element */                                                                           \
        size_t tail;  /* number the next one gets */                                                                               \
        size_t dry_at; /* head when the ring was last empty */                                                                     \
    } name;                                                                                                                        \
                                                                                                                                   \
    PA_RING_INLINE void name##_init(name *ring)                                                                                    \
    {                                                                                                                              \
        ring->items = NULL;                                                                                                        \
        ring->cap = ring->head = ring->tail = ring->dry_at = 0;                                                                    \
    }                                                                                                                              \
                                                                                                                                   \
    PA_RING_INLINE void name##_free(name *ring)                                                                                    \
    {                                                                                                                              \
        pa_sys_free(ring->items);                                                                                                  \
        name##_init(ring);                                                                                                         \
    }                                                                                                                              \
                                                                                                                                   \
    PA_RING_INLINE size_t name##_len(const name *ring) { return ring->tail - ring->head; }                                         \
                                                                                                                                   \
    PA_RING_INLINE type *name##_at(const name *ring, size_t i)                                                                     \
    {                                                                                                                              \
        return &ring->items[(ring->head + i) & (ring->cap - 1)];                                                                   \
    }                                                                                                                              \
                                                                                                                                   \
    PA_RING_RARE int name##_grow(name *ring)                                                                                       \
    {                                                                                                                              \
        if (ring->cap > SIZE_MAX / 2 / sizeof(type)) return -ENOMEM;                                                               \
        size_t cap = ring->cap ? ring->cap * 2 : PA_RING_FIRST;                                                                    \
        type *items = pa_sys_malloc(cap * sizeof(type));                                                                           \
        if (items == NULL) return -ENOMEM;                                                                                         \
        for (size_t i = ring->head; i != ring->tail; i++) items[i & (cap - 1)] = ring->items[i & (ring->cap - 1)];                 \
        pa_sys_free(ring->items);                                                                                                  \
        ring->items = items;                                                                                                       \
        ring->cap = cap;                                                                                                           \
        return 0;                                                                                                                  \
    }                                                                                                                              \
                                                                                                                                   \
    /* The ring, larger than it need be, has just run dry. Without memory for a smaller array the large one stays. */              \
    PA_RING_RARE void name##_dry(name *ring)                                                                                       \
    {                                                                                                                              \
        size_t used = ring->head - ring->dry_at;                                                                                   \
        ring->dry_at = ring->head;                                                                                                 \
        if (used >= ring->cap / 8) return;                                                                                         \
        size_t cap = ring->cap / 4 > PA_RING_KEEP ? ring->cap / 4 : PA_RING_KEEP;                                                  \
        type *items = pa_sys_malloc(cap * sizeof(type));                                                                           \
        if (items == NULL) return;                                                                                                 \
        pa_sys_free(ring->items);                                                                                                  \
        ring->items = items;                                                                                                       \
        ring->cap = cap;                                                                                                           \
    }                                                                                                                              \
                                                                                                                                   \
    PA_RING_INLINE int name##_reserve(name *ring)                                                                                  \
    {                                                                                                                              \
        return ring->tail - ring->head == ring->cap ? name##_grow(ring) : 0;                                                       \
    }                                                                                                                              \
                                                                                                                                   \
    PA_RING_INLINE int name##_push(name *ring, type item)                                                                          \
    {                                                                                                                              \
        if (name##_reserve(ring) < 0) return -ENOMEM;                                                                              \
        ring->items[ring->tail++ & (ring->cap - 1)] = item;                                                                        \
        return 0;                                                                                                                  \
    }                                                                                                                              \
                                                                                                                                   \
    PA_RING_INLINE type name##_pop(name *ring)                                                                                     \
    {                                                                                                                              \
        type item = ring->items[ring->head++ & (ring->cap - 1)];                                                                   \
        if (ring->head == ring->tail && ring->cap > PA_RING_KEEP) name##_dry(ring);                                                \
        return item;                                                                                                               \
    }                                                                                                                              \
                                                                                                                                   \
    /* Closes the gap from whichever end is nearer. */                                                                             \
    PA_RING_INLINE type name##_take(name *ring, size_t i)                                                                          \
    {                                                                                                                              \
        type item = *name##_at(ring, i);                                                                                           \
        size_t last = name##_len(ring) - 1;                                                                                        \
        if (i <= last / 2) {                                                                                                       \
            for (; i > 0; i--) *name##_at(ring, i) = *name##_at(ring, i - 1);                                                      \
            (void)name##_pop(ring);                                                                                                \
        } else {                                                                                                                   \
            for (; i < last; i++) *name##_at(ring, i) = *name##_at(ring, i + 1);                                                   \
            ring->tail--;                                                                                                          \
        }                                                                                                                          \
        return item;                                                                                                               \
    }

#endif
