#include "base/sys.h"

#include "base/heap.h"

#include "check.h"

#include <errno.h>
#include <math.h>

static void check_invariants(const pa_heap *heap)
{
    CHECK(heap->len <= heap->cap);
    for (size_t i = 0; i < heap->len; i++) {
        const pa_heap_entry *entry = heap->items[i];
        CHECK_INT(entry->index, i);
        if (i == 0) continue;
        const pa_heap_entry *parent = heap->items[(i - 1) / 2];
        CHECK(parent->when < entry->when || (parent->when == entry->when && parent->seq < entry->seq));
    }
}

static pa_heap_entry *pop(pa_heap *heap)
{
    pa_heap_entry *entry = pa_heap_min(heap);
    if (entry != NULL) pa_heap_remove(heap, entry);
    return entry;
}

CASE(empty)
{
    pa_heap heap;
    pa_heap_init(&heap);
    CHECK(pa_heap_min(&heap) == NULL);
    CHECK(heap.items == NULL);
    pa_heap_free(&heap);
    pa_heap_free(&heap);
}

CASE(equal_times_come_in_scheduling_order)
{
    enum { N = 1000 };
    static pa_heap_entry entries[N];
    pa_heap heap;
    pa_heap_init(&heap);
    for (int i = 0; i < N; i++) {
        entries[i].when = i % 7;
        CHECK_INT(pa_heap_push(&heap, &entries[i]), 0);
    }
    check_invariants(&heap);
    for (int when = 0; when < 7; when++)
        for (int i = when; i < N; i += 7) CHECK(pop(&heap) == &entries[i]);
    CHECK(pop(&heap) == NULL);
    pa_heap_free(&heap);
}

/* The model: an unordered array, searched for its least. */
static size_t model_min(pa_heap_entry *const *model, size_t len)
{
    size_t best = 0;
    for (size_t i = 1; i < len; i++)
        if (model[i]->when < model[best]->when || (model[i]->when == model[best]->when && model[i]->seq < model[best]->seq)) best = i;
    return best;
}

CASE(agrees_with_a_model)
{
    enum { N = 600 };
    static pa_heap_entry entries[N];
    pa_heap_entry *in[N], *out[N];
    size_t in_len = 0, out_len = N;
    pa_heap heap;
    pa_heap_init(&heap);
    for (int i = 0; i < N; i++) {
        entries[i].index = PA_HEAP_OUT;
        out[i] = &entries[i];
    }
    for (int step = 0; step < 40000; step++) {
        bool filling = step / 2000 % 2 == 0;
        size_t what = check_random(10);
        if (out_len > 0 && (in_len == 0 || (filling ? what < 7 : what < 3))) {
            size_t i = check_random(out_len);
            pa_heap_entry *entry = out[i];
            entry->when = (double)check_random(50) / 4;
            CHECK_INT(pa_heap_push(&heap, entry), 0);
            out[i] = out[--out_len];
            in[in_len++] = entry;
        } else {
            size_t least = model_min(in, in_len);
            CHECK(pa_heap_min(&heap) == in[least]);
            size_t i = what % 2 ? least : check_random(in_len);
            pa_heap_entry *entry = in[i];
            pa_heap_remove(&heap, entry);
            CHECK(entry->index == PA_HEAP_OUT);
            in[i] = in[--in_len];
            out[out_len++] = entry;
        }
        CHECK_INT(heap.len, in_len);
        if (step % 50 == 0) check_invariants(&heap);
    }
    pa_heap_free(&heap);
}

CASE(removing_what_is_out_does_nothing)
{
    pa_heap heap;
    pa_heap_entry a = {.when = 1}, b = {.when = 2}, never = {.when = 0, .index = PA_HEAP_OUT};
    pa_heap_init(&heap);
    pa_heap_remove(&heap, &never);
    CHECK_INT(pa_heap_push(&heap, &a), 0);
    CHECK_INT(pa_heap_push(&heap, &b), 0);
    pa_heap_remove(&heap, &a);
    pa_heap_remove(&heap, &a);
    pa_heap_remove(&heap, &never);
    CHECK(pa_heap_min(&heap) == &b);
    pa_heap_free(&heap);
    pa_heap_remove(&heap, &b); /* forgotten with the array */
    CHECK(pa_heap_min(&heap) == NULL);
}

CASE(shrinks_and_never_to_and_fro)
{
    enum { N = 20000 };
    static pa_heap_entry entries[N];
    pa_heap heap;
    pa_heap_init(&heap);
    for (int i = 0; i < N; i++) {
        entries[i].when = (double)check_random(1000);
        CHECK_INT(pa_heap_push(&heap, &entries[i]), 0);
    }
    size_t full = heap.cap;
    while (heap.len > 0) {
        (void)pop(&heap);
        CHECK(heap.cap <= 64 || heap.len > heap.cap / 4);
    }
    CHECK(full >= N);
    CHECK_INT(heap.cap, 64);
    for (int i = 0; i < 100; i++) CHECK_INT(pa_heap_push(&heap, &entries[i]), 0);
    while (heap.cap > 64) (void)pop(&heap);
    for (int i = 0; i < 20; i++) { /* at the very edge: in and out must not resize each time */
        CHECK_INT(pa_heap_push(&heap, &entries[N - 1 - i]), 0);
        CHECK_INT(heap.cap, 64);
        (void)pop(&heap);
        CHECK_INT(heap.cap, 64);
    }
    check_invariants(&heap);
    pa_heap_free(&heap);
}

CASE(strange_times_keep_their_places)
{
    pa_heap heap;
    pa_heap_entry entries[200];
    static const double times[] = {INFINITY, -INFINITY, NAN, 0.0, -0.0, 1e308};
    pa_heap_init(&heap);
    for (int i = 0; i < 200; i++) {
        entries[i].when = times[check_random(6)];
        CHECK_INT(pa_heap_push(&heap, &entries[i]), 0);
    }
    for (int i = 0; i < 200; i += 2) pa_heap_remove(&heap, &entries[i]);
    for (size_t i = 0; i < heap.len; i++) CHECK_INT(heap.items[i]->index, i);
    for (int i = 1; i < 200; i += 2) CHECK(heap.items[entries[i].index] == &entries[i]);
    for (int i = 1; i < 200; i += 2) pa_heap_remove(&heap, &entries[i]);
    CHECK_INT(heap.len, 0);
    pa_heap_free(&heap);
}

CASE(a_size_beyond_memory_is_refused)
{
    pa_heap heap;
    pa_heap_entry entry = {.when = 1};
    pa_heap_init(&heap);
    heap.len = heap.cap = SIZE_MAX / 2 / sizeof(void *) + 1;
    CHECK_INT(pa_heap_push(&heap, &entry), -ENOMEM);
    CHECK(entry.index == PA_HEAP_OUT);
}

#ifdef PA_FAULTS
CASE(without_memory_nothing_changes)
{
    pa_heap heap;
    pa_heap_entry entries[300];
    pa_heap_init(&heap);
    CHECK_INT(pa_sys_fault_set("malloc", 1, ENOMEM, 0), 0);
    entries[0].when = 5;
    CHECK_INT(pa_heap_push(&heap, &entries[0]), -ENOMEM);
    CHECK(entries[0].index == PA_HEAP_OUT);
    pa_heap_remove(&heap, &entries[0]);
    CHECK(pa_heap_min(&heap) == NULL);
    CHECK_INT(pa_sys_fault_set("malloc", 3, ENOMEM, 0), 0); /* the growth from 128 to 256 */
    for (int i = 0; i < 300; i++) {
        entries[i].when = 300 - i;
        int err = pa_heap_push(&heap, &entries[i]);
        CHECK_INT(err, i == 128 ? -ENOMEM : 0);
        if (err < 0) CHECK_INT(pa_heap_push(&heap, &entries[i]), 0);
    }
    check_invariants(&heap);
    CHECK_INT(heap.len, 300);
    size_t cap = heap.cap;
    CHECK_INT(pa_sys_fault_set("malloc", -1, ENOMEM, 0), 0);
    for (int i = 299; i >= 0; i--) CHECK(pop(&heap) == &entries[i]);
    CHECK_INT(heap.cap, cap); /* could not shrink, did not suffer */
    pa_sys_fault_reset();
    pa_heap_free(&heap);
}
#endif
