#include "base/sys.h"

#include "base/wakeup.h"

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static bool is_readable(const pa_wakeup *wakeup)
{
    struct pollfd item = {.fd = wakeup->read_fd, .events = POLLIN};
    CHECK(poll(&item, 1, 0) >= 0);
    return item.revents != 0;
}

/* Every case is run with what this system prefers and, where that can be forced, with a pipe. */
static void each_kind(void (*run)(pa_wakeup *))
{
    for (int kind = 0; kind < 2; kind++) {
        pa_wakeup wakeup;
        check_about = kind ? "(pipe)" : "(preferred)";
        if (kind == 1) {
#ifdef PA_FAULTS
            CHECK_INT(pa_sys_fault_set("eventfd", 1, ENOSYS, 0), 0);
#else
            return;
#endif
        }
        CHECK_INT(pa_wakeup_open(&wakeup), 0);
        if (kind == 1) CHECK(wakeup.read_fd != wakeup.write_fd);
        run(&wakeup);
        pa_wakeup_close(&wakeup);
    }
}

static void flags(pa_wakeup *wakeup)
{
    int fds[2] = {wakeup->read_fd, wakeup->write_fd};
    for (int i = 0; i < 2; i++) {
        CHECK(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
        CHECK(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
    }
}

CASE(descriptors_are_nonblocking_and_close_on_exec) { each_kind(flags); }

static void signal_and_drain(pa_wakeup *wakeup)
{
    CHECK(!is_readable(wakeup));
    CHECK_INT(pa_wakeup_drain(wakeup), 0); /* nothing there is no error */
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i <= round; i++) CHECK_INT(pa_wakeup_signal(wakeup), 0);
        CHECK(is_readable(wakeup));
        CHECK_INT(pa_wakeup_drain(wakeup), 0);
        CHECK(!is_readable(wakeup));
    }
}

CASE(signals_until_drained) { each_kind(signal_and_drain); }

/* 1024 is the length of one read of drain(), 200,000 more than a pipe holds. */
static void many_signals(pa_wakeup *wakeup)
{
    static const int counts[] = {1023, 1024, 1025, 2048, 200000};
    for (int c = 0; c < 5; c++) {
        for (int i = 0; i < counts[c]; i++) CHECK_INT(pa_wakeup_signal(wakeup), 0);
        CHECK(is_readable(wakeup));
        CHECK_INT(pa_wakeup_drain(wakeup), 0);
        CHECK(!is_readable(wakeup));
    }
}

CASE(any_number_of_signals_fits) { each_kind(many_signals); }

static const pa_wakeup *from_handler;

static void handler(int number)
{
    (void)number;
    CHECK_INT(pa_wakeup_signal(from_handler), 0);
}

static void signal_handler(pa_wakeup *wakeup)
{
    from_handler = wakeup;
    CHECK(signal(SIGUSR1, handler) != SIG_ERR);
    for (int full = 0; full < 2; full++) { /* the second time with a pipe whose write fails with EAGAIN */
        for (int i = 0; i < full * 200000; i++) CHECK_INT(pa_wakeup_signal(wakeup), 0);
        errno = 4321;
        CHECK_INT(raise(SIGUSR1), 0);
        CHECK_INT(errno, 4321);
        CHECK(is_readable(wakeup));
        CHECK_INT(pa_wakeup_drain(wakeup), 0);
    }
}

CASE(a_signal_handler_may_call_and_errno_survives) { each_kind(signal_handler); }

static void *from_thread(void *wakeup)
{
    usleep(2000);
    return pa_wakeup_signal(wakeup) == 0 ? wakeup : NULL;
}

static void another_thread(pa_wakeup *wakeup)
{
    pthread_t thread;
    void *result;
    struct pollfd item = {.fd = wakeup->read_fd, .events = POLLIN};
    CHECK_INT(pthread_create(&thread, NULL, from_thread, wakeup), 0);
    CHECK_INT(poll(&item, 1, 10000), 1);
    CHECK_INT(pthread_join(thread, &result), 0);
    CHECK(result == wakeup);
}

CASE(another_thread_may_call) { each_kind(another_thread); }

static void after_close(pa_wakeup *wakeup)
{
    int read_fd = wakeup->read_fd, write_fd = wakeup->write_fd;
#ifdef PA_FAULTS
    pa_sys_fault_reset();
#endif
    pa_wakeup_close(wakeup);
#ifdef PA_FAULTS
    CHECK_INT(pa_sys_fault_count("close"), read_fd == write_fd ? 1 : 2); /* each once: its number may be another's by then */
#endif
    CHECK_INT(wakeup->read_fd, -1);
    CHECK_INT(wakeup->write_fd, -1);
    CHECK_INT(fcntl(read_fd, F_GETFD), -1);
    CHECK_INT(fcntl(write_fd, F_GETFD), -1);
    pa_wakeup_close(wakeup);
    CHECK_INT(pa_wakeup_signal(wakeup), -EBADF);
    CHECK_INT(pa_wakeup_drain(wakeup), -EBADF);
}

CASE(closed_once_and_for_all) { each_kind(after_close); }

#ifdef PA_FAULTS
CASE(failures_are_told)
{
    pa_wakeup wakeup;
#ifdef PA_SYS_HAVE_EVENTFD
    CHECK_INT(pa_sys_fault_set("eventfd", 1, EMFILE, 0), 0);
    CHECK_INT(pa_wakeup_open(&wakeup), -EMFILE);
    CHECK_INT(wakeup.read_fd, -1);
    CHECK_INT(pa_sys_fault_set("eventfd", 1, ENOSYS, 0), 0);
#endif
    CHECK_INT(pa_sys_fault_set("pipe2", 1, ENFILE, 0), 0);
    CHECK_INT(pa_wakeup_open(&wakeup), -ENFILE);
    CHECK_INT(wakeup.write_fd, -1);
    CHECK_INT(pa_wakeup_open(&wakeup), 0);
    CHECK_INT(pa_sys_fault_set("write", 1, EIO, 0), 0);
    CHECK_INT(pa_wakeup_signal(&wakeup), -EIO);
    CHECK_INT(pa_sys_fault_set("write", 1, EINTR, 0), 0);
    CHECK_INT(pa_wakeup_signal(&wakeup), 0);
    CHECK(is_readable(&wakeup));
    CHECK_INT(pa_sys_fault_set("read", 1, EIO, 0), 0);
    CHECK_INT(pa_wakeup_drain(&wakeup), -EIO);
    CHECK(is_readable(&wakeup));
    pa_wakeup_close(&wakeup);
}
#endif
