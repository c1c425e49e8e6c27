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
} pa_heap_entry;

typedef struct {
    pa_heap_entry **items;
    size_t len, cap;
    uint64_t next_seq;
} pa_heap;

void pa_heap_init(pa_heap *heap);
void pa_heap_free(pa_heap *heap);                          /* the array; entries still in it are forgotten */
int pa_heap_push(pa_heap *heap, pa_heap_entry *entry);     /* sets seq; 0 or -ENOMEM (entry stays out) */
void pa_heap_remove(pa_heap *heap, pa_heap_entry *entry);  /* nothing if it is out; shrinks the array when mostly empty */
static inline pa_heap_entry *pa_heap_min(const pa_heap *heap) { return heap->len ? heap->items[0] : NULL; }

#endif
