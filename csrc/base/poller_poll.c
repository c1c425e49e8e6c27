/* The poller that every system has: poll(), which is told all descriptors each time.
 *
 * items[] holds what is registered, in no order; place[fd] is the index of fd in it plus 1, 0 if it is not registered. Ready
 * descriptors are gathered from a place that moves on with each wait, so that a short `max` starves nobody. A descriptor closed
 * behind our back is reported as everything asked for (POLLNVAL), so that its owner meets EBADF.
 *
 * Belongs to the loop's thread. But asyncio lets any thread call add_reader() while the loop sleeps, so wait() polls a copy and the
 * lock guards what it is copied from: such a call has effect from the next wait on. */
#include "base/sys.h"

#include "base/poller.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>

#define FIRST 16 /* descriptors */

struct pa_poller {
    pthread_mutex_t lock; /* of these: */
    struct pollfd *items;
    size_t len, cap;
    size_t *place;
    size_t place_len;
    /* wait()'s own: */
    struct pollfd *asked; /* the copy that is polled */
    size_t asked_cap;
    size_t next; /* where the next gathering starts */
};

static int poll_open(pa_poller **out)
{
    pa_poller *poller = pa_sys_malloc(sizeof(*poller));
    if (poller == NULL) return -ENOMEM;
    memset(poller, 0, sizeof(*poller));
    int err = pthread_mutex_init(&poller->lock, NULL);
    if (err != 0) {
        pa_sys_free(poller);
        return -err;
    }
    *out = poller;
    return 0;
}

static void poll_close(pa_poller *poller)
{
    pthread_mutex_destroy(&poller->lock);
    pa_sys_free(poller->items);
    pa_sys_free(poller->place);
    pa_sys_free(poller->asked);
    pa_sys_free(poller);
}

static int poll_fileno(const pa_poller *poller)
{
    (void)poller;
    return -1;
}

/* At least twice the old number and at least `least`; 0 if there can be no such array. */
static size_t grown(size_t cap, size_t least, size_t item_size)
{
    if (cap > SIZE_MAX / 2 / item_size || least > SIZE_MAX / item_size) return 0;
    cap = cap ? cap * 2 : FIRST;
    return cap < least ? least : cap;
}

static int make_place_locked(pa_poller *poller, int fd)
{
    size_t len = grown(poller->place_len, (size_t)fd + 1, sizeof(*poller->place));
    if (len == 0) return -ENOMEM;
    size_t *place = pa_sys_realloc(poller->place, len * sizeof(*place));
    if (place == NULL) return -ENOMEM;
    memset(place + poller->place_len, 0, (len - poller->place_len) * sizeof(*place));
    poller->place = place;
    poller->place_len = len;
    return 0;
}

static int make_item_locked(pa_poller *poller)
{
    size_t cap = grown(poller->cap, 0, sizeof(*poller->items));
    if (cap == 0) return -ENOMEM;
    struct pollfd *items = pa_sys_realloc(poller->items, cap * sizeof(*items));
    if (items == NULL) return -ENOMEM;
    poller->items = items;
    poller->cap = cap;
    return 0;
}

static void forget_locked(pa_poller *poller, int fd)
{
    if (fd < 0 || (size_t)fd >= poller->place_len || poller->place[fd] == 0) return;
    size_t i = poller->place[fd] - 1;
    poller->items[i] = poller->items[--poller->len];
    poller->place[poller->items[i].fd] = i + 1;
    poller->place[fd] = 0;
}

static int remember_locked(pa_poller *poller, int fd, short events)
{
    int err;
    if ((size_t)fd >= poller->place_len && (err = make_place_locked(poller, fd)) < 0) return err;
    if (poller->place[fd] == 0) {
        if (poller->len == poller->cap && (err = make_item_locked(poller)) < 0) return err;
        poller->items[poller->len].fd = fd;
        poller->items[poller->len].revents = 0;
        poller->place[fd] = ++poller->len;
    }
    poller->items[poller->place[fd] - 1].events = events;
    return 0;
}

static int poll_set(pa_poller *poller, int fd, unsigned was, unsigned want)
{
    (void)was;
    int err = 0;
    if (want != 0) {
        err = pa_sys_get_nonblocking(fd); /* asked only to learn whether there is such a descriptor */
        if (err < 0) return err;
    }
    pthread_mutex_lock(&poller->lock);
    if (want == 0)
        forget_locked(poller, fd);
    else
        err = remember_locked(poller, fd, (short)((want & PA_POLL_IN ? POLLIN : 0) | (want & PA_POLL_OUT ? POLLOUT : 0)));
    pthread_mutex_unlock(&poller->lock);
    return err;
}

/* Copies items to asked. Their number in *len; 0 or -ENOMEM. */
static int take_copy(pa_poller *poller, size_t *len)
{
    int err = 0;
    pthread_mutex_lock(&poller->lock);
    if (poller->asked_cap < poller->len) {
        struct pollfd *asked = pa_sys_realloc(poller->asked, poller->cap * sizeof(*asked));
        if (asked == NULL) {
            err = -ENOMEM;
            goto done;
        }
        poller->asked = asked;
        poller->asked_cap = poller->cap;
    }
    *len = poller->len;
    if (*len > 0) memcpy(poller->asked, poller->items, *len * sizeof(*poller->asked));
done:
    pthread_mutex_unlock(&poller->lock);
    return err;
}

static int poll_wait_events(pa_poller *poller, int64_t timeout_ns, pa_poll_event *events, int max)
{
    size_t len;
    int err = take_copy(poller, &len);
    if (err < 0) return err;
    int ready = pa_sys_poll(poller->asked, len, timeout_ns);
    if (ready <= 0) return ready;
    int count = 0;
    size_t i = poller->next;
    for (size_t seen = 0; seen < len && ready > 0 && count < max; seen++, i++) {
        if (i >= len) i = 0;
        const struct pollfd *item = &poller->asked[i];
        if (item->revents == 0) continue;
        ready--;
        events[count].fd = item->fd;
        events[count].tag = 0;
        events[count].events = (item->events & POLLIN && item->revents & ~POLLOUT ? PA_POLL_IN : 0u) |
                               (item->events & POLLOUT && item->revents & ~POLLIN ? PA_POLL_OUT : 0u);
        count++;
    }
    poller->next = i;
    return count;
}

const pa_poller_ops pa_poller_poll = {
    .name = "poll",
    .open = poll_open,
    .close = poll_close,
    .fileno = poll_fileno,
    .set = poll_set,
    .wait = poll_wait_events,
};
