/* A growable FIFO ring of fixed-size plain structs (memcpy-able), power-of-two capacity. The element type is the user's: RING code
 * is generated inline per type, so that push and pop are a copy and an index.
 *
 *   PA_RING_DECLARE(pa_ready_ring, pa_ready)
 * gives the type pa_ready_ring and
 *   void pa_ready_ring_init(pa_ready_ring *)          no allocation
 *   void pa_ready_ring_free(pa_ready_ring *)          the array; elements are forgotten
 *   size_t pa_ready_ring_len(const pa_ready_ring *)
 *   int pa_ready_ring_push(pa_ready_ring *, pa_ready)  0 or -ENOMEM (nothing changed)
 *   pa_ready pa_ready_ring_pop(pa_ready_ring *)        the oldest; the ring must not be empty; may shrink a far too large, empty ring
 *   pa_ready *pa_ready_ring_at(const pa_ready_ring *, size_t i)  the i-th oldest; valid until the next push or pop
 *   pa_ready pa_ready_ring_take(pa_ready_ring *, size_t i)       removes the i-th oldest, keeping the order of the others (O(n))
 */
#ifndef PA_BASE_RING_H
#define PA_BASE_RING_H
#error "to be written by the owner of csrc/base"
#endif
