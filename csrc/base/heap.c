/* The binary heap of heap.h.
 *
 * Invariants: items[i]->index == i for every i < len; no entry comes before its parent; an entry outside has index PA_HEAP_OUT.
 * One thread at a time. A NaN in `when` spoils the order of its neighbours, never the indices.
 */
#include "base/heap.h"

#include "base/sys.h"

#include <errno.h>
#include <stdbool.h>

#define HEAP_KEEP 64 /* entries: an array this small is not shrunk */

static bool comes_before(const pa_heap_entry *a, const pa_heap_entry *b)
{
    return a->when < b->when || (a->when == b->when && a->seq < b->seq);
}

static void put(pa_heap *heap, size_t index, pa_heap_entry *entry)
{
    heap->items[index] = entry;
    entry->index = index;
}

/* Both carry a hole at `index` to where `entry` belongs, and put it there. */
static void sift_up(pa_heap *heap, size_t index, pa_heap_entry *entry)
{
    while (index > 0) {
        size_t parent = (index - 1) / 2;
        if (!comes_before(entry, heap->items[parent])) break;
        put(heap, index, heap->items[parent]);
        index = parent;
    }
    put(heap, index, entry);
}

static void sift_down(pa_heap *heap, size_t index, pa_heap_entry *entry)
{
    /* While index < len / 2 it has a left child, and 2 * index + 1 cannot overflow. */
    while (index < heap->len / 2) {
        size_t child = 2 * index + 1;
        if (child + 1 < heap->len && comes_before(heap->items[child + 1], heap->items[child])) child++;
        if (!comes_before(heap->items[child], entry)) break;
        put(heap, index, heap->items[child]);
        index = child;
    }
    put(heap, index, entry);
}

static int resize(pa_heap *heap, size_t cap)
{
    if (cap > SIZE_MAX / 2 / sizeof(*heap->items)) return -ENOMEM;
    pa_heap_entry **items = pa_sys_realloc(heap->items, cap * sizeof(*items));
    if (items == NULL) return -ENOMEM;
    heap->items = items;
    heap->cap = cap;
    return 0;
}

void pa_heap_init(pa_heap *heap)
{
    heap->items = NULL;
    heap->len = heap->cap = 0;
    heap->next_seq = 0;
}

void pa_heap_free(pa_heap *heap)
{
    pa_sys_free(heap->items);
    heap->items = NULL;
    heap->len = heap->cap = 0;
}

int pa_heap_push(pa_heap *heap, pa_heap_entry *entry)
{
    entry->index = PA_HEAP_OUT;
    if (heap->len == heap->cap) {
        int err = resize(heap, heap->cap ? heap->cap * 2 : HEAP_KEEP);
        if (err < 0) return err;
    }
    entry->seq = heap->next_seq++;
    sift_up(heap, heap->len++, entry);
    return 0;
}

void pa_heap_remove(pa_heap *heap, pa_heap_entry *entry)
{
    size_t index = entry->index;
    if (index >= heap->len) return; /* out, or forgotten by pa_heap_free() */
    entry->index = PA_HEAP_OUT;
    pa_heap_entry *last = heap->items[--heap->len];
    if (last != entry) {
        if (index > 0 && comes_before(last, heap->items[(index - 1) / 2]))
            sift_up(heap, index, last);
        else
            sift_down(heap, index, last);
    }
    /* A quarter full becomes half full: neither the next push nor the next removal resizes again. If there is no memory for a
     * smaller array, the larger one serves as well. */
    if (heap->cap > HEAP_KEEP && heap->len <= heap->cap / 4) (void)resize(heap, heap->cap / 2);
}
