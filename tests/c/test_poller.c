/* The contract of base/poller.h, the same for every backend compiled in; with PA_FAULTS also for epoll without epoll_pwait2. */
#include "base/sys.h"

#include "base/poller.h"
#include "base/wakeup.h"

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#define FOR_EVER (-1)
#define MS INT64_C(1000000)
enum { IN = PA_POLL_IN, OUT = PA_POLL_OUT, BOTH = PA_POLL_IN | PA_POLL_OUT };

static const pa_poller_ops *ops;
static pa_poller *poller;

static void each_backend(void (*run)(void))
{
    for (const pa_poller_ops *const *backend = pa_poller_backends; *backend != NULL; backend++)
        for (int old_kernel = 0; old_kernel < 2; old_kernel++) {
            ops = *backend;
            check_about = ops->name;
            if (old_kernel) {
#ifdef PA_FAULTS
                if (strcmp(ops->name, "epoll") != 0) continue;
                CHECK_INT(pa_sys_fault_set("epoll_pwait2", -1, ENOSYS, 0), 0);
                check_about = "epoll without pwait2";
#else
                continue;
#endif
            }
            CHECK_INT(ops->open(&poller), 0);
            run();
            ops->close(poller);
#ifdef PA_FAULTS
            pa_sys_fault_reset();
#endif
        }
}

static void pair(int fds[2]) { CHECK_INT(pa_sys_socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0); }

static void close_pair(int fds[2])
{
    CHECK_INT(pa_sys_close(fds[0]), 0);
    CHECK_INT(pa_sys_close(fds[1]), 0);
}

/* What is ready of fd, of all that is ready at once; kqueue may say it in two events. */
static unsigned ready_bits(int fd, int64_t timeout_ns)
{
    pa_poll_event events[64];
    unsigned bits = 0;
    int count = ops->wait(poller, timeout_ns, events, 64);
    CHECK(count >= 0);
    for (int i = 0; i < count; i++) {
        CHECK(events[i].events != 0);
        if (events[i].fd == fd) bits |= events[i].events;
    }
    return bits;
}

CASE(found_by_name)
{
    CHECK(pa_poller_find(NULL) == pa_poller_backends[0]);
    CHECK(pa_poller_find("select") == NULL);
    CHECK(pa_poller_find("") == NULL);
    CHECK(strcmp(pa_poller_find("poll")->name, "poll") == 0);
    for (int i = 0; pa_poller_backends[i] != NULL; i++) CHECK(pa_poller_find(pa_poller_backends[i]->name) == pa_poller_backends[i]);
#ifdef __linux__
    CHECK(strcmp(pa_poller_find(NULL)->name, "epoll") == 0);
    CHECK(pa_poller_find("kqueue") == NULL);
#endif
}

static void kernel_object(void)
{
    int fd = ops->fileno(poller);
    if (strcmp(ops->name, "poll") == 0) {
        CHECK_INT(fd, -1);
    } else {
        CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    }
}

CASE(kernel_object_is_close_on_exec) { each_backend(kernel_object); }

static void readable(void)
{
    int fds[2];
    char c;
    pair(fds);
    CHECK_INT(ops->set(poller, fds[0], 0, IN), 0);
    CHECK_INT(ready_bits(fds[0], 0), 0);
    CHECK_INT(pa_sys_write(fds[1], "ab", 2), 2);
    for (int i = 0; i < 3; i++) CHECK_INT(ready_bits(fds[0], FOR_EVER), IN); /* level-triggered */
    CHECK_INT(pa_sys_read(fds[0], &c, 1), 1);
    CHECK_INT(ready_bits(fds[0], FOR_EVER), IN);
    CHECK_INT(pa_sys_read(fds[0], &c, 1), 1);
    CHECK_INT(ready_bits(fds[0], 0), 0);
    CHECK_INT(ops->set(poller, fds[0], IN, 0), 0);
    CHECK_INT(pa_sys_write(fds[1], "c", 1), 1);
    CHECK_INT(ready_bits(fds[0], 0), 0);
    close_pair(fds);
}

CASE(readable_as_long_as_there_is_data) { each_backend(readable); }

static void reported_once(void)
{
    enum { ONCE = PA_POLL_ONCE };
    int fds[2], others[2], duplicate;
    if (!ops->once) return;
    pair(fds);
    pair(others);
    CHECK_INT(ops->set(poller, fds[0], 0, IN | ONCE), 0);
    CHECK_INT(ready_bits(fds[0], 0), 0);
    CHECK_INT(pa_sys_write(fds[1], "a", 1), 1);
    CHECK_INT(ready_bits(fds[0], FOR_EVER), IN);
    CHECK_INT(ready_bits(fds[0], 0), 0);
    CHECK_INT(ops->set(poller, fds[0], ONCE, IN | ONCE), 0); /* asked for again: the data is still there */
    CHECK_INT(ready_bits(fds[0], FOR_EVER), IN);
    CHECK_INT(ops->set(poller, fds[0], ONCE, BOTH), 0); /* and as ever */
    for (int i = 0; i < 2; i++) CHECK_INT(ready_bits(fds[0], FOR_EVER), BOTH);
    CHECK_INT(ops->set(poller, fds[0], BOTH, OUT | ONCE), 0);
    CHECK_INT(ready_bits(fds[0], FOR_EVER), OUT);
    CHECK_INT(pa_sys_shutdown(fds[1], SHUT_RDWR), 0); /* not even a hang-up is reported then */
    CHECK_INT(ready_bits(fds[0], 0), 0);
    /* Another file under the number, while the one that was reported lives on. */
    duplicate = pa_sys_dup(fds[0]);
    CHECK_INT(dup2(others[0], fds[0]), fds[0]);
    CHECK_INT(ops->set(poller, fds[0], ONCE, IN | ONCE), 0);
    CHECK_INT(ready_bits(fds[0], 0), 0);
    CHECK_INT(pa_sys_write(others[1], "b", 1), 1);
    CHECK_INT(ready_bits(fds[0], FOR_EVER), IN);
    CHECK_INT(ready_bits(fds[0], 0), 0);
    CHECK_INT(pa_sys_close(fds[0]), 0);
    CHECK_INT(ops->set(poller, fds[0], ONCE, IN | ONCE), -EBADF);
    CHECK_INT(ops->set(poller, fds[0], ONCE, 0), 0);
    CHECK_INT(pa_sys_close(duplicate), 0);
    CHECK_INT(pa_sys_close(fds[1]), 0);
    close_pair(others);
}

CASE(reported_once_where_that_is_known) { each_backend(reported_once); }

static void writable(void)
{
    int fds[2];
    char block[4096] = {0};
    pair(fds);
    CHECK_INT(ops->set(poller, fds[0], 0, OUT), 0);
    CHECK_INT(ready_bits(fds[0], FOR_EVER), OUT);
    while (pa_sys_write(fds[0], block, sizeof(block)) > 0) {}
    CHECK_INT(ready_bits(fds[0], 0), 0);
    while (pa_sys_read(fds[1], block, sizeof(block)) > 0) {}
    CHECK_INT(ready_bits(fds[0], FOR_EVER), OUT);
    CHECK_INT(ops->set(poller, fds[0], OUT, 0), 0);
    close_pair(fds);
}

CASE(writable_as_long_as_there_is_room) { each_backend(writable); }

static void changing(void)
{
    static const unsigned steps[] = {IN, OUT, BOTH, BOTH, OUT, BOTH, IN, IN, 0, 0, BOTH, 0, OUT, IN, 0};
    int fds[2];
    unsigned was = 0;
    pair(fds);
    CHECK_INT(pa_sys_write(fds[1], "x", 1), 1);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        CHECK_INT(ops->set(poller, fds[0], was, steps[i]), 0);
        was = steps[i];
        CHECK_INT(ready_bits(fds[0], 0), was);
    }
    close_pair(fds);
}

CASE(interest_changes_in_every_way) { each_backend(changing); }

static void hang_up(void)
{
    for (unsigned want = 1; want <= 3; want++) {
        int fds[2];
        pair(fds);
        CHECK_INT(ops->set(poller, fds[0], 0, want), 0);
        CHECK_INT(pa_sys_close(fds[1]), 0);
        CHECK_INT(ready_bits(fds[0], FOR_EVER), want);
        CHECK_INT(ops->set(poller, fds[0], want, 0), 0);
        CHECK_INT(pa_sys_close(fds[0]), 0);

        CHECK_INT(pa_sys_pipe2(fds, O_NONBLOCK), 0);
        int watched = want == IN ? 0 : 1; /* the write end's error reaches one who only asks for IN, too */
        CHECK_INT(ops->set(poller, fds[watched], 0, want), 0);
        CHECK_INT(pa_sys_close(fds[!watched]), 0);
        CHECK_INT(ready_bits(fds[watched], FOR_EVER), want);
        CHECK_INT(ops->set(poller, fds[watched], want, 0), 0);
        CHECK_INT(pa_sys_close(fds[watched]), 0);
    }
}

CASE(hang_up_is_every_bit_asked_for) { each_backend(hang_up); }

static void refused(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t len = sizeof(addr);
    int error = 0;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = pa_sys_socket(AF_INET, SOCK_STREAM, 0); /* bound but never listening: its port refuses */
    CHECK(listener >= 0);
    CHECK_INT(pa_sys_bind(listener, (struct sockaddr *)&addr, len), 0);
    CHECK_INT(pa_sys_getsockname(listener, (struct sockaddr *)&addr, &len), 0);
    int fd = pa_sys_socket(AF_INET, SOCK_STREAM, 0);
    int err = pa_sys_connect(fd, (struct sockaddr *)&addr, len);
    CHECK(err == -EINPROGRESS || err == -ECONNREFUSED);
    CHECK_INT(ops->set(poller, fd, 0, OUT), 0);
    CHECK_INT(ready_bits(fd, 5000 * MS), OUT);
    if (err == -EINPROGRESS) {
        len = sizeof(error);
        CHECK_INT(pa_sys_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len), 0);
        CHECK_INT(error, ECONNREFUSED);
    }
    CHECK_INT(ops->set(poller, fd, OUT, 0), 0);
    CHECK_INT(pa_sys_close(fd), 0);
    CHECK_INT(pa_sys_close(listener), 0);
}

CASE(refused_connection_is_writable) { each_backend(refused); }

static void bad_descriptors(void)
{
    int fds[2];
    pair(fds);
    close_pair(fds);
    CHECK_INT(ops->set(poller, fds[0], 0, IN), -EBADF);
    CHECK_INT(ops->set(poller, -1, 0, OUT), -EBADF);
    CHECK_INT(ops->set(poller, 1 << 30, 0, OUT), -EBADF);
    CHECK_INT(ops->set(poller, fds[0], 0, 0), 0);
    CHECK_INT(ops->set(poller, -1, IN, 0), 0);
    CHECK_INT(ready_bits(-1, 0), 0);
}

CASE(bad_descriptors_are_refused) { each_backend(bad_descriptors); }

static int regular_file(void)
{
    char name[] = "/tmp/pa-test-XXXXXX";
    int fd = mkstemp(name);
    CHECK(fd >= 0);
    CHECK_INT(unlink(name), 0);
    return fd;
}

static void regular_files(void)
{
    int fd = regular_file();
    if (strcmp(ops->name, "epoll") == 0) {
        CHECK_INT(ops->set(poller, fd, 0, OUT), -EPERM);
    } else if (strcmp(ops->name, "poll") == 0) {
        CHECK_INT(ops->set(poller, fd, 0, BOTH), 0);
        CHECK_INT(ready_bits(fd, 0), BOTH);
        CHECK_INT(ops->set(poller, fd, BOTH, 0), 0);
    }
    CHECK_INT(pa_sys_close(fd), 0);
}

CASE(regular_files_are_told_apart) { each_backend(regular_files); }

/* The owner closed the descriptor without telling us. */
static void closed_behind_our_back(void)
{
    int fds[2];
    pair(fds);
    CHECK_INT(ops->set(poller, fds[0], 0, BOTH), 0);
    close_pair(fds);
    CHECK_INT(ops->set(poller, fds[0], BOTH, 0), 0);
    CHECK_INT(ready_bits(fds[0], 0), 0);

    pair(fds); /* and again, this time with a regular file of that number when the interest goes */
    CHECK_INT(ops->set(poller, fds[0], 0, IN), 0);
    close_pair(fds);
    int file = regular_file();
    CHECK_INT(file, fds[0]);
    CHECK_INT(ops->set(poller, fds[0], IN, 0), 0);
    CHECK_INT(ready_bits(fds[0], 0), 0);
    CHECK_INT(pa_sys_close(file), 0);
}

CASE(closed_descriptors_can_be_removed) { each_backend(closed_behind_our_back); }

/* The number stands for another file now, and the caller's table still has the old one's interest. */
static void used_again(void)
{
    for (unsigned was = 1; was <= 3; was++)
        for (unsigned want = 1; want <= 3; want++) {
            int old[2], new[2];
            pair(old);
            CHECK_INT(ops->set(poller, old[0], 0, was), 0);
            close_pair(old);
            pair(new);
            CHECK_INT(new[0], old[0]);
            CHECK_INT(pa_sys_write(new[1], "x", 1), 1);
            CHECK_INT(ops->set(poller, new[0], was, want), 0);
            CHECK_INT(ready_bits(new[0], 0), want);
            CHECK_INT(ops->set(poller, new[0], want, 0), 0);
            CHECK_INT(ready_bits(new[0], 0), 0);
            close_pair(new);
        }
}

CASE(reused_number_with_old_interest) { each_backend(used_again); }

/* The other way round: the caller's table was cleared, but the kernel has kept the registration, because a duplicate kept the file
 * alive and came back under the same number. */
static void kept_by_duplicate(void)
{
    int fds[2];
    pair(fds);
    CHECK_INT(ops->set(poller, fds[0], 0, IN), 0);
    int copy = pa_sys_dup(fds[0]);
    CHECK(copy >= 0);
    CHECK_INT(pa_sys_close(fds[0]), 0);
    CHECK_INT(ops->set(poller, fds[0], IN, 0), 0);
    CHECK_INT(dup2(copy, fds[0]), fds[0]);
    CHECK_INT(ops->set(poller, fds[0], 0, OUT), 0);
    CHECK_INT(ready_bits(fds[0], 0), OUT);
    CHECK_INT(ops->set(poller, fds[0], OUT, 0), 0);
    CHECK_INT(pa_sys_close(copy), 0);
    close_pair(fds);
}

CASE(registration_kept_by_a_duplicate) { each_backend(kept_by_duplicate); }

static void never_early(void)
{
    static const int64_t timeouts[] = {1, 1000, 300 * 1000, MS, 1500 * 1000, 7 * MS + 1, 20 * MS};
    pa_poll_event event;
    for (size_t i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++) {
        int64_t start = pa_sys_clock();
        CHECK_INT(ops->wait(poller, timeouts[i], &event, 1), 0);
        CHECK(pa_sys_clock() - start >= timeouts[i]);
    }
}

CASE(time_outs_never_end_early) { each_backend(never_early); }

#if defined(__linux__) && !defined(PA_SYS_EMULATE)
static void below_a_millisecond(void)
{
    pa_poll_event event;
    int64_t best = INT64_MAX;
    if (strcmp(check_about, "epoll without pwait2") == 0) return;
    for (int i = 0; i < 200 && best >= MS; i++) {
        int64_t start = pa_sys_clock();
        CHECK_INT(ops->wait(poller, 100 * 1000, &event, 1), 0);
        int64_t took = pa_sys_clock() - start;
        if (took < best) best = took;
    }
    CHECK(best < MS);
}

CASE(time_outs_below_a_millisecond_are_kept) { each_backend(below_a_millisecond); }
#endif

static void on_alarm(int number) { (void)number; }

static void alarm_in(int ms)
{
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval timer = {.it_value = {.tv_usec = ms * 1000}};
    CHECK_INT(sigaction(SIGALRM, &action, NULL), 0);
    CHECK_INT(setitimer(ITIMER_REAL, &timer, NULL), 0);
}

static void huge(void)
{
    static const int64_t timeouts[] = {INT64_MAX, INT64_MAX / 2, INT64_C(1) << 53, PA_SYS_TIMEOUT_MAX + 1, FOR_EVER, INT64_MIN};
    pa_poll_event event;
    for (size_t i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++) {
        alarm_in(2);
        int64_t start = pa_sys_clock();
        CHECK_INT(ops->wait(poller, timeouts[i], &event, 1), -EINTR);
        CHECK(pa_sys_clock() - start >= MS); /* it slept until the signal, and not until an overflowed time-out */
    }
}

CASE(huge_time_outs_and_signals) { each_backend(huge); }

static void *waker(void *wakeup)
{
    usleep(3000);
    (void)pa_wakeup_signal(wakeup);
    return NULL;
}

static void woken(void)
{
    pa_wakeup wakeup;
    pthread_t thread;
    CHECK_INT(pa_wakeup_open(&wakeup), 0);
    CHECK_INT(ops->set(poller, wakeup.read_fd, 0, IN), 0);
    CHECK_INT(pthread_create(&thread, NULL, waker, &wakeup), 0);
    CHECK_INT(ready_bits(wakeup.read_fd, FOR_EVER), IN);
    CHECK_INT(pa_wakeup_drain(&wakeup), 0);
    CHECK_INT(ready_bits(wakeup.read_fd, 0), 0);
    CHECK_INT(pthread_join(thread, NULL), 0);
    CHECK_INT(ops->set(poller, wakeup.read_fd, IN, 0), 0);
    pa_wakeup_close(&wakeup);
}

CASE(another_thread_wakes_it) { each_backend(woken); }

typedef struct {
    int fds[100][2];
    int failed;
} helper;

static void *registering(void *arg)
{
    helper *h = arg;
    usleep(2000);
    for (int i = 0; i < 100; i++) h->failed |= ops->set(poller, h->fds[i][0], 0, IN);
    for (int i = 1; i < 100; i++) h->failed |= ops->set(poller, h->fds[i][0], IN, 0);
    return NULL;
}

/* asyncio tolerates add_reader() from another thread while the loop waits; every array must survive growing meanwhile. */
static void registered_meanwhile(void)
{
    static helper h;
    pthread_t thread;
    h.failed = 0;
    for (int i = 0; i < 100; i++) pair(h.fds[i]);
    CHECK_INT(pthread_create(&thread, NULL, registering, &h), 0);
    for (int i = 0; i < 10; i++) CHECK_INT(ready_bits(h.fds[0][0], MS), 0);
    CHECK_INT(pthread_join(thread, NULL), 0);
    CHECK_INT(h.failed, 0);
    CHECK_INT(pa_sys_write(h.fds[0][1], "x", 1), 1);
    CHECK_INT(pa_sys_write(h.fds[1][1], "x", 1), 1);
    CHECK_INT(ready_bits(h.fds[0][0], FOR_EVER), IN);
    CHECK_INT(ready_bits(h.fds[1][0], FOR_EVER), 0);
    CHECK_INT(ops->set(poller, h.fds[0][0], IN, 0), 0);
    for (int i = 0; i < 100; i++) close_pair(h.fds[i]);
}

CASE(another_thread_registers_meanwhile) { each_backend(registered_meanwhile); }

/* A short array shows all of them in turn, though nobody reads. */
static void starving(void)
{
    enum { PAIRS = 60, MAX = 7 };
    int fds[PAIRS][2];
    int seen[4096] = {0};
    for (int i = 0; i < PAIRS; i++) {
        pair(fds[i]);
        CHECK(fds[i][0] < 4096);
        CHECK_INT(pa_sys_write(fds[i][1], "x", 1), 1);
        CHECK_INT(ops->set(poller, fds[i][0], 0, IN), 0);
    }
    for (int wait = 0; wait < 4 * (PAIRS / MAX + 1); wait++) {
        pa_poll_event events[MAX + 1];
        events[MAX].fd = -7;
        CHECK_INT(ops->wait(poller, 0, events, MAX), MAX);
        CHECK_INT(events[MAX].fd, -7);
        for (int i = 0; i < MAX; i++) seen[events[i].fd]++;
    }
    for (int i = 0; i < PAIRS; i++) {
        CHECK(seen[fds[i][0]] >= 2 && seen[fds[i][0]] <= 6);
        CHECK_INT(ops->set(poller, fds[i][0], IN, 0), 0);
        close_pair(fds[i]);
    }
}

CASE(a_short_array_starves_nobody) { each_backend(starving); }

/* Random interest, data and closing, against what must be ready. */
static void model(void)
{
    enum { PAIRS = 24 };
    int fds[PAIRS][2];
    unsigned want[PAIRS] = {0};
    bool data[PAIRS] = {false};
    char c;
    for (int i = 0; i < PAIRS; i++) pair(fds[i]);
    for (int step = 0; step < 3000; step++) {
        size_t i = check_random(PAIRS);
        switch (check_random(4)) {
        case 0:
            if (!data[i]) CHECK_INT(pa_sys_write(fds[i][1], "x", 1), 1);
            data[i] = true;
            break;
        case 1:
            CHECK_INT(pa_sys_read(fds[i][0], &c, 1), data[i] ? 1 : -EAGAIN);
            data[i] = false;
            break;
        case 2: {
            unsigned now = (unsigned)check_random(4);
            CHECK_INT(ops->set(poller, fds[i][0], want[i], now), 0);
            want[i] = now;
            break;
        }
        case 3: /* close it, told or untold, and make a new one, likely of the same number */
            if (check_random(8) != 0) break;
            if (check_random(2)) {
                CHECK_INT(ops->set(poller, fds[i][0], want[i], 0), 0);
                close_pair(fds[i]);
            } else {
                close_pair(fds[i]);
                CHECK_INT(ops->set(poller, fds[i][0], want[i], 0), 0);
            }
            pair(fds[i]);
            want[i] = 0;
            data[i] = false;
            break;
        }
        pa_poll_event events[2 * PAIRS];
        unsigned got[4096] = {0};
        int count = ops->wait(poller, 0, events, 2 * PAIRS);
        CHECK(count >= 0);
        for (int e = 0; e < count; e++) {
            CHECK(events[e].fd < 4096);
            CHECK((got[events[e].fd] & events[e].events) == 0);
            got[events[e].fd] |= events[e].events;
        }
        for (int p = 0; p < PAIRS; p++) {
            unsigned expected = want[p] & (data[p] ? BOTH : OUT);
            CHECK_INT(got[fds[p][0]], expected);
            count -= expected != 0;
        }
        if (strcmp(ops->name, "kqueue") != 0) CHECK_INT(count, 0);
    }
    for (int i = 0; i < PAIRS; i++) {
        CHECK_INT(ops->set(poller, fds[i][0], want[i], 0), 0);
        close_pair(fds[i]);
    }
}

CASE(agrees_with_a_model) { each_backend(model); }

#ifdef PA_FAULTS
CASE(opening_fails_cleanly)
{
    pa_poller *none;
    for (const pa_poller_ops *const *backend = pa_poller_backends; *backend != NULL; backend++) {
        CHECK_INT(pa_sys_fault_set("malloc", 1, ENOMEM, 0), 0);
        CHECK_INT((*backend)->open(&none), -ENOMEM);
    }
#ifdef PA_SYS_HAVE_EPOLL
    CHECK_INT(pa_sys_fault_set("epoll_create1", 1, EMFILE, 0), 0);
    CHECK_INT(pa_poller_find("epoll")->open(&none), -EMFILE);
#endif
}

CASE(poll_without_memory_stays_as_it_was)
{
    int fds[20][2], waits_failed = 0;
    ops = pa_poller_find("poll");
    CHECK_INT(ops->open(&poller), 0);
    for (int i = 0; i < 20; i++) {
        pair(fds[i]);
        CHECK_INT(pa_sys_write(fds[i][1], "x", 1), 1);
    }
    for (int i = 0; i < 20; i++) {
        CHECK_INT(pa_sys_fault_set("malloc", 1, ENOMEM, 0), 0);
        int err = ops->set(poller, fds[i][0], 0, IN);
        CHECK(err == 0 || err == -ENOMEM);
        if (err < 0) {
            CHECK_INT(ready_bits(fds[i][0], 0), 0);
            CHECK_INT(ops->set(poller, fds[i][0], 0, 0), 0);
            CHECK_INT(pa_sys_fault_set("malloc", 2, ENOMEM, 0), 0); /* the second array, where both have to grow */
            err = ops->set(poller, fds[i][0], 0, IN);
            CHECK(err == 0 || err == -ENOMEM);
        }
        pa_sys_fault_reset();
        if (err < 0) CHECK_INT(ops->set(poller, fds[i][0], 0, IN), 0);
        CHECK_INT(pa_sys_fault_set("malloc", 1, ENOMEM, 0), 0); /* the copy that wait() polls */
        pa_poll_event events[20];
        int count = ops->wait(poller, 0, events, 20);
        CHECK(count == i + 1 || count == -ENOMEM);
        waits_failed += count < 0;
        pa_sys_fault_reset();
        for (int j = 0; j < 20; j++) CHECK_INT(ready_bits(fds[j][0], 0), j <= i ? IN : 0);
    }
    CHECK_INT(waits_failed, 2); /* at the first and the second size */
    for (int i = 0; i < 20; i++) close_pair(fds[i]);
    ops->close(poller);
}

#ifdef PA_SYS_HAVE_EPOLL
CASE(epoll_passes_errors_on)
{
    int fds[2];
    pa_poll_event event;
    pair(fds);
    ops = pa_poller_find("epoll");
    CHECK_INT(ops->open(&poller), 0);
    CHECK_INT(pa_sys_fault_set("epoll_ctl", 1, ENOSPC, 0), 0);
    CHECK_INT(ops->set(poller, fds[0], 0, OUT), -ENOSPC);
    CHECK_INT(ops->set(poller, fds[0], 0, OUT), 0);
    CHECK_INT(pa_sys_fault_set("epoll_ctl", 1, ENOMEM, 0), 0);
    CHECK_INT(ops->set(poller, fds[0], OUT, BOTH), -ENOMEM);
    CHECK_INT(pa_sys_fault_set("epoll_wait", 1, EINTR, 0), 0);
    CHECK_INT(ops->wait(poller, 0, &event, 1), -EINTR);
    CHECK_INT(pa_sys_fault_set("epoll_pwait2", 1, EINTR, 0), 0);
    CHECK_INT(ops->wait(poller, MS, &event, 1), -EINTR);
    CHECK_INT(ops->wait(poller, MS, &event, 1), 1);
    pa_sys_fault_reset();
    CHECK_INT(pa_sys_fault_set("epoll_pwait2", 1, EPERM, 0), 0); /* what an old sandbox says */
    for (int i = 0; i < 3; i++) CHECK_INT(ops->wait(poller, MS, &event, 1), 1);
    CHECK_INT(pa_sys_fault_count("epoll_pwait2"), 1); /* asked once and for all */
    CHECK_INT(pa_sys_fault_count("epoll_wait"), 3);
    close_pair(fds);
    ops->close(poller);
}
#endif
#endif
