/* A binary min-heap of pointers whose entries know their place, so that removing one is O(log n) and immediate.
 *
 * An entry is embedded in its owner. Order: `when`, then `seq` (first scheduled first): equal times fire in scheduling order. The
 * heap owns its array only, never the entries.
 */
#ifndef PA_BASE_HEAP_H
#define PA_BASE_HEAP_H

#include <stddef.h>
#include <stdint.h>

#define PA_HEAP_OUT SIZE_MAX /* index of an entry that is in no heap */

typedef struct {
    double when;   /* seconds on the loop's clock */
    uint64_t seq;
    size_t index;  /* place in the heap, or PA_HEAP_OUT */
    void *owner;   /* its user's */
} pa_heap_entry;

typedef struct {
    pa_heap_entry **items;
    size_t len, cap;
    uint64_t next_seq;
} pa_heap;

void pa_heap_init(pa_heap *heap);
/* The array. Entries still in it are forgotten, and not touched: their owners may be gone. */
void pa_heap_free(pa_heap *heap);
/* `when` is set, the entry in no heap. Sets seq; 0 or -ENOMEM (entry stays out). */
int pa_heap_push(pa_heap *heap, pa_heap_entry *entry);
/* Nothing if it is out (an entry never pushed must say so: PA_HEAP_OUT). Shrinks the array when mostly empty; cannot fail. */
void pa_heap_remove(pa_heap *heap, pa_heap_entry *entry);
static inline pa_heap_entry *pa_heap_min(const pa_heap *heap) { return heap->len ? heap->items[0] : NULL; }

#endif
