#include "base/ring.h"

#include "check.h"

typedef struct {
    uint32_t number;
    char rest[36];
} wide;

PA_RING_DECLARE(int_ring, int)
PA_RING_DECLARE(byte_ring, unsigned char)
PA_RING_DECLARE(wide_ring, wide)

static bool is_power_of_two(size_t n) { return n != 0 && (n & (n - 1)) == 0; }

CASE(first_in_first_out)
{
    int_ring ring;
    int_ring_init(&ring);
    CHECK_INT(int_ring_len(&ring), 0);
    CHECK(ring.items == NULL);
    for (int i = 0; i < 10000; i++) CHECK_INT(int_ring_push(&ring, i), 0);
    CHECK_INT(int_ring_len(&ring), 10000);
    for (int i = 0; i < 10000; i++) CHECK_INT(int_ring_pop(&ring), i);
    CHECK_INT(int_ring_len(&ring), 0);
    int_ring_free(&ring);
    CHECK_INT(int_ring_push(&ring, 7), 0); /* ready for use again */
    CHECK_INT(int_ring_pop(&ring), 7);
    int_ring_free(&ring);
}

CASE(elements_of_any_size)
{
    byte_ring bytes;
    wide_ring wides;
    byte_ring_init(&bytes);
    wide_ring_init(&wides);
    for (uint32_t i = 0; i < 700; i++) {
        wide w = {.number = i};
        memset(w.rest, (int)i, sizeof(w.rest));
        CHECK_INT(byte_ring_push(&bytes, (unsigned char)i), 0);
        CHECK_INT(wide_ring_push(&wides, w), 0);
        if (i % 3 == 0) (void)byte_ring_pop(&bytes), (void)wide_ring_pop(&wides);
    }
    for (uint32_t i = 234; i < 700; i++) {
        wide w = wide_ring_pop(&wides);
        CHECK_INT(byte_ring_pop(&bytes), (unsigned char)i);
        CHECK_INT(w.number, i);
        CHECK_INT((unsigned char)w.rest[35], (unsigned char)i);
    }
    byte_ring_free(&bytes);
    wide_ring_free(&wides);
}

/* Random operations, compared with an array that is shifted by hand. */
static void compare_with_model(size_t start)
{
    enum { MOST = 3000 };
    static int model[MOST];
    size_t len = 0;
    int next = 0;
    int_ring ring;
    int_ring_init(&ring);
    ring.head = ring.tail = ring.dry_at = start;
    for (int round = 0; round < 40; round++) {
        bool filling = round % 2 == 0;
        for (int step = 0; step < 1000; step++) {
            size_t what = check_random(10);
            if (len > 0 && what == 0) {
                size_t i = check_random(len);
                CHECK_INT(int_ring_take(&ring, i), model[i]);
                memmove(model + i, model + i + 1, (--len - i) * sizeof(int));
            } else if (len > 0 && (filling ? what < 3 : what < 8)) {
                CHECK_INT(int_ring_pop(&ring), model[0]);
                memmove(model, model + 1, --len * sizeof(int));
            } else if (len < MOST) {
                CHECK_INT(int_ring_push(&ring, next), 0);
                model[len++] = next++;
            }
            CHECK_INT(int_ring_len(&ring), len);
            if (len > 0) {
                size_t i = check_random(len);
                CHECK_INT(*int_ring_at(&ring, i), model[i]);
            }
            CHECK(is_power_of_two(ring.cap) || ring.cap == 0);
        }
        for (size_t i = 0; i < len; i++) CHECK_INT(*int_ring_at(&ring, i), model[i]);
    }
    int_ring_free(&ring);
}

CASE(agrees_with_a_model) { compare_with_model(0); }

CASE(agrees_with_a_model_while_its_numbers_wrap) { compare_with_model(SIZE_MAX - 700); }

CASE(take_every_position)
{
    for (int len = 1; len < 40; len++)
        for (int gone = 0; gone < len; gone++) {
            int_ring ring;
            int_ring_init(&ring);
            for (int i = 0; i < 11; i++) { /* so that the elements lie across the array's end */
                CHECK_INT(int_ring_push(&ring, -1), 0);
                (void)int_ring_pop(&ring);
            }
            for (int i = 0; i < len; i++) CHECK_INT(int_ring_push(&ring, i), 0);
            CHECK_INT(int_ring_take(&ring, (size_t)gone), gone);
            for (int i = 0; i < len; i++)
                if (i != gone) CHECK_INT(int_ring_pop(&ring), i);
            CHECK_INT(int_ring_len(&ring), 0);
            int_ring_free(&ring);
        }
}

static void burst(int_ring *ring, int count)
{
    for (int i = 0; i < count; i++) CHECK_INT(int_ring_push(ring, i), 0);
    for (int i = 0; i < count; i++) CHECK_INT(int_ring_pop(ring), i);
}

CASE(a_large_array_is_given_back_when_the_burst_is_over)
{
    int_ring ring;
    int_ring_init(&ring);
    burst(&ring, 100000);
    CHECK_INT(ring.cap, 131072);
    int *items = ring.items;
    for (int i = 0; i < 100; i++) burst(&ring, 100000);
    CHECK(ring.items == items); /* used to the full every time: kept */
    for (int i = 0; i < 10; i++) burst(&ring, 3);
    CHECK_INT(ring.cap, PA_RING_KEEP);
    burst(&ring, 5000);
    int_ring_free(&ring);
}

CASE(a_ring_taken_empty_shrinks_too)
{
    int_ring ring;
    int_ring_init(&ring);
    burst(&ring, 100000);
    for (int i = 0; i < 10; i++) {
        CHECK_INT(int_ring_push(&ring, i), 0);
        CHECK_INT(int_ring_take(&ring, 0), i);
    }
    CHECK_INT(ring.cap, PA_RING_KEEP);
    int_ring_free(&ring);
}

CASE(a_size_beyond_memory_is_refused)
{
    /* As if half of all memory were full; nothing is touched because the growth is refused before. */
    wide_ring ring;
    wide_ring_init(&ring);
    ring.cap = ring.tail = SIZE_MAX / 2 / sizeof(wide) + 1;
    CHECK_INT(wide_ring_push(&ring, (wide){0}), -ENOMEM);
    CHECK_INT(ring.tail, SIZE_MAX / 2 / sizeof(wide) + 1);
}

#ifdef PA_FAULTS
CASE(without_memory_nothing_changes)
{
    int_ring ring;
    int_ring_init(&ring);
    CHECK_INT(pa_sys_fault_set("malloc", 1, ENOMEM, 0), 0);
    CHECK_INT(int_ring_push(&ring, 1), -ENOMEM);
    CHECK_INT(int_ring_len(&ring), 0);
    for (int i = 0; i < PA_RING_FIRST; i++) CHECK_INT(int_ring_push(&ring, i), 0);
    CHECK_INT(pa_sys_fault_set("malloc", -1, ENOMEM, 0), 0);
    CHECK_INT(int_ring_push(&ring, 99), -ENOMEM);
    CHECK_INT(int_ring_push(&ring, 99), -ENOMEM);
    pa_sys_fault_reset();
    CHECK_INT(int_ring_push(&ring, PA_RING_FIRST), 0);
    for (int i = 0; i <= PA_RING_FIRST; i++) CHECK_INT(int_ring_pop(&ring), i);

    burst(&ring, 100000);
    size_t cap = ring.cap;
    CHECK_INT(pa_sys_fault_set("malloc", -1, ENOMEM, 0), 0);
    for (int i = 0; i < 10; i++) burst(&ring, 3);
    CHECK_INT(ring.cap, cap); /* no memory for a smaller array: the large one serves on */
    pa_sys_fault_reset();
    burst(&ring, 3);
    CHECK(ring.cap < cap);
    int_ring_free(&ring);
}
#endif
