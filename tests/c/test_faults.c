/* The switchboard of a PA_FAULTS build: orders are obeyed exactly, and the seam keeps its promises under them. */
#include "base/sys.h"

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#ifndef PA_FAULTS
#error "compile with -DPA_FAULTS"
#endif

static int fds[2];

static void open_pair(int type)
{
    pa_sys_fault_reset();
    CHECK_INT(pa_sys_socketpair(AF_UNIX, type, 0, fds), 0);
}

static void close_pair(void)
{
    pa_sys_fault_reset();
    for (int i = 0; i < 2; i++) CHECK_INT(pa_sys_close(fds[i]), 0);
}

CASE(nonsense_is_refused)
{
    CHECK_INT(pa_sys_fault_set("frobnicate", 1, EIO, 0), -EINVAL);
    CHECK_INT(pa_sys_fault_set("read", 0, EIO, 0), -EINVAL);
    CHECK_INT(pa_sys_fault_set("read", 1, -EIO, 0), -EINVAL);
    CHECK_INT(pa_sys_fault_set("read", 1, 0, -1), -EINVAL);
    CHECK_INT(pa_sys_fault_set("close", 1, 0, 1), -EINVAL);
    CHECK_INT(pa_sys_fault_count("frobnicate"), -EINVAL);
    CHECK_INT(pa_sys_fault_set("read", 1, 0, 0), 0);
    pa_sys_fault_reset();
}

CASE(the_nth_call_and_no_other)
{
    char c;
    open_pair(SOCK_STREAM);
    CHECK_INT(pa_sys_send(fds[1], "abcdef", 6, 0), 6);
    CHECK_INT(pa_sys_recv(fds[0], &c, 1, 0), 1);
    CHECK_INT(pa_sys_fault_set("recv", 3, ECONNRESET, 0), 0);
    CHECK_INT(pa_sys_recv(fds[0], &c, 1, 0), 1);
    CHECK_INT(pa_sys_read(fds[0], &c, 1), 1); /* another name */
    CHECK_INT(pa_sys_recv(fds[0], &c, 1, 0), 1);
    CHECK_INT(pa_sys_recv(fds[0], &c, 1, 0), -ECONNRESET);
    CHECK_INT(pa_sys_recv(fds[0], &c, 1, 0), 1);
    CHECK_INT(c, 'e'); /* the failed call took nothing */
    CHECK_INT(pa_sys_fault_count("recv"), 5);
    CHECK_INT(pa_sys_fault_count("read"), 1);
    CHECK_INT(pa_sys_fault_count("write"), 0);
    CHECK_INT(pa_sys_fault_set("recv", 1, EIO, 0), 0);
    CHECK_INT(pa_sys_fault_set("recv", 2, EPIPE, 0), 0); /* replaces the order before */
    CHECK_INT(pa_sys_recv(fds[0], &c, 1, 0), 1);
    CHECK_INT(pa_sys_recv(fds[0], &c, 1, 0), -EPIPE);
    close_pair();
}

CASE(from_the_nth_on_until_reset)
{
    open_pair(SOCK_STREAM);
    CHECK_INT(pa_sys_fault_set("send", -2, ENOBUFS, 0), 0);
    CHECK_INT(pa_sys_send(fds[0], "a", 1, 0), 1);
    for (int i = 0; i < 3; i++) CHECK_INT(pa_sys_send(fds[0], "a", 1, 0), -ENOBUFS);
    pa_sys_fault_reset();
    CHECK_INT(pa_sys_fault_count("send"), 0);
    CHECK_INT(pa_sys_send(fds[0], "a", 1, 0), 1);
    close_pair();
}

CASE(every_call_that_moves_bytes_can_fall_short)
{
    char buf[8];
    struct iovec in = {.iov_base = buf, .iov_len = 8}, out = {.iov_base = "abcdefgh", .iov_len = 8};
    struct msghdr in_msg = {.msg_iov = &in, .msg_iovlen = 1}, out_msg = {.msg_iov = &out, .msg_iovlen = 1};
    static const char *const names[] = {"write", "writev", "send", "sendto", "sendmsg", "read", "recv", "recvfrom", "recvmsg"};
    for (int limit = 0; limit <= 8; limit++) {
        open_pair(SOCK_STREAM);
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) CHECK_INT(pa_sys_fault_set(names[i], 1, 0, limit), 0);
        CHECK_INT(pa_sys_write(fds[1], "abcdefgh", 8), limit);
        CHECK_INT(pa_sys_writev(fds[1], &out, 1), limit);
        CHECK_INT(pa_sys_send(fds[1], "abcdefgh", 8, 0), limit);
        CHECK_INT(pa_sys_sendto(fds[1], "abcdefgh", 8, 0, NULL, 0), limit);
        CHECK_INT(pa_sys_sendmsg(fds[1], &out_msg, 0), limit);
        CHECK_INT(pa_sys_write(fds[1], "abcdefghabcdefghabcdefghabcdefgh", 32), 32);
        CHECK_INT(pa_sys_read(fds[0], buf, 8), limit);
        CHECK_INT(pa_sys_recv(fds[0], buf, 8, 0), limit);
        CHECK_INT(pa_sys_recvfrom(fds[0], buf, 8, 0, NULL, NULL), limit);
        CHECK_INT(pa_sys_recvmsg(fds[0], &in_msg, 0), limit);
        CHECK(in_msg.msg_iov == &in && in_msg.msg_iovlen == 1 && in.iov_len == 8); /* the caller's own are untouched */
        for (int i = 0; i < limit; i++) CHECK_INT(buf[i], 'a' + (limit * 3 + i) % limit);
        close_pair();
    }
}

CASE(a_vectored_call_is_cut_between_and_inside_pieces)
{
    static char letters[40];
    struct iovec out[40];
    char buf[64];
    for (int i = 0; i < 40; i++) {
        letters[i] = (char)('A' + i);
        out[i] = (struct iovec){.iov_base = letters + i, .iov_len = 1};
    }
    struct iovec big[3] = {{.iov_base = "abc", .iov_len = 3}, {.iov_base = "", .iov_len = 0}, {.iov_base = "defg", .iov_len = 4}};
    for (int limit = 0; limit <= 9; limit++) {
        int expected = limit < 7 ? limit : 7;
        open_pair(SOCK_STREAM);
        CHECK_INT(pa_sys_fault_set("writev", 1, 0, limit), 0);
        CHECK_INT(pa_sys_writev(fds[1], big, 3), expected);
        CHECK_INT(big[2].iov_len, 4);
        if (expected > 0) {
            CHECK_INT(pa_sys_read(fds[0], buf, sizeof(buf)), expected);
            CHECK(memcmp(buf, "abcdefg", (size_t)expected) == 0);
        }
        close_pair();
    }
    open_pair(SOCK_STREAM);
    CHECK_INT(pa_sys_fault_set("writev", 1, 0, 39), 0);
    ssize_t n = pa_sys_writev(fds[1], out, 40); /* more pieces than the cut keeps: shorter still, never longer */
    CHECK(n > 0 && n <= 39);
    CHECK_INT(pa_sys_writev(fds[1], out, 40), 40);
    CHECK_INT(pa_sys_read(fds[0], buf, (size_t)n), n);
    CHECK(memcmp(buf, letters, (size_t)n) == 0);
    close_pair();
}

CASE(interrupted_calls_are_repeated)
{
    char buf[4];
    struct iovec iov = {.iov_base = buf, .iov_len = 4};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    static const char *const names[] = {"write", "writev", "send", "sendto", "sendmsg", "read", "recv", "recvfrom", "recvmsg", "accept4"};
    open_pair(SOCK_STREAM);
    memset(buf, 'x', sizeof(buf));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) CHECK_INT(pa_sys_fault_set(names[i], 1, EINTR, 0), 0);
    CHECK_INT(pa_sys_write(fds[1], buf, 4), 4);
    CHECK_INT(pa_sys_writev(fds[1], &iov, 1), 4);
    CHECK_INT(pa_sys_send(fds[1], buf, 4, 0), 4);
    CHECK_INT(pa_sys_sendto(fds[1], buf, 4, 0, NULL, 0), 4);
    CHECK_INT(pa_sys_sendmsg(fds[1], &msg, 0), 4);
    CHECK_INT(pa_sys_read(fds[0], buf, 4), 4);
    CHECK_INT(pa_sys_recv(fds[0], buf, 4, 0), 4);
    CHECK_INT(pa_sys_recvfrom(fds[0], buf, 4, 0, NULL, NULL), 4);
    CHECK_INT(pa_sys_recvmsg(fds[0], &msg, 0), 4);
    CHECK_INT(pa_sys_accept4(-1, NULL, NULL), -EBADF);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) CHECK_INT(pa_sys_fault_count(names[i]), 2);
    CHECK_INT(pa_sys_fault_set("connect", 1, EINTR, 0), 0);
    CHECK_INT(pa_sys_connect(-1, NULL, 0), -EINPROGRESS);
    CHECK_INT(pa_sys_fault_count("connect"), 1);
    CHECK_INT(pa_sys_fault_set("poll", 1, EINTR, 0), 0);
    CHECK_INT(pa_sys_poll(NULL, 0, 0), -EINTR); /* waiting is not repeated */
    close_pair();
}

CASE(close_closes_whatever_it_says)
{
    open_pair(SOCK_STREAM);
    CHECK_INT(pa_sys_fault_set("close", 1, EIO, 0), 0);
    CHECK_INT(pa_sys_close(fds[0]), -EIO);
    CHECK_INT(fcntl(fds[0], F_GETFD), -1);
    CHECK_INT(pa_sys_fault_set("close", 1, EINTR, 0), 0);
    CHECK_INT(pa_sys_close(fds[1]), 0);
    CHECK_INT(fcntl(fds[1], F_GETFD), -1);
    pa_sys_fault_reset();
}

CASE(every_other_call_fails_on_demand)
{
    int pair[2], value = 0;
    socklen_t len = sizeof(value);
#define FAILS(name, call)                                                                                                          \
    CHECK_INT(pa_sys_fault_set(name, 1, ENOMEM, 0), 0);                                                                            \
    CHECK_INT(call, -ENOMEM);                                                                                                      \
    CHECK_INT(pa_sys_fault_count(name), 1)
    pa_sys_fault_reset();
    FAILS("dup", pa_sys_dup(0));
    FAILS("fstat", pa_sys_fstat(0, NULL));
    FAILS("fcntl", pa_sys_get_nonblocking(0));
    FAILS("pipe2", pa_sys_pipe2(pair, 0));
    FAILS("socket", pa_sys_socket(AF_UNIX, SOCK_STREAM, 0));
    FAILS("socketpair", pa_sys_socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    FAILS("accept4", pa_sys_accept4(0, NULL, NULL));
    FAILS("connect", pa_sys_connect(0, NULL, 0));
    FAILS("bind", pa_sys_bind(0, NULL, 0));
    FAILS("listen", pa_sys_listen(0, 0));
    FAILS("shutdown", pa_sys_shutdown(0, 0));
    FAILS("getsockopt", pa_sys_getsockopt(0, 0, 0, &value, &len));
    FAILS("setsockopt", pa_sys_setsockopt(0, 0, 0, &value, len));
    FAILS("getsockname", pa_sys_getsockname(0, NULL, NULL));
    FAILS("getpeername", pa_sys_getpeername(0, NULL, NULL));
    pa_sys_fault_reset();
    CHECK_INT(pa_sys_fault_set("malloc", 2, ENOMEM, 0), 0);
    void *block = pa_sys_malloc(8);
    CHECK(block != NULL);
    CHECK(pa_sys_realloc(block, 16) == NULL);
    block = pa_sys_realloc(block, 16);
    CHECK(block != NULL);
    pa_sys_free(block);
    pa_sys_fault_reset();
}

#ifdef PA_SYS_EMULATE
/* Where flags are set one by one, a failure half-way must not leave descriptors behind. */
CASE(half_made_descriptors_are_closed)
{
    int pair[2];
    int first = pa_sys_dup(0);
    CHECK_INT(pa_sys_close(first), 0);
    pa_sys_fault_reset();
    for (long nth = 1; nth <= 2; nth++) {
        CHECK_INT(pa_sys_fault_set("fcntl", nth, EIO, 0), 0);
        CHECK_INT(pa_sys_socketpair(AF_UNIX, SOCK_STREAM, 0, pair), -EIO);
        CHECK_INT(pa_sys_fault_set("fcntl", nth, EIO, 0), 0);
        CHECK_INT(pa_sys_pipe2(pair, O_NONBLOCK), -EIO);
    }
    CHECK_INT(pa_sys_fault_set("fcntl", 1, EIO, 0), 0);
    CHECK_INT(pa_sys_socket(AF_UNIX, SOCK_STREAM, 0), -EIO);
    int left = pa_sys_dup(0);
    CHECK_INT(left, first);
    CHECK_INT(pa_sys_close(left), 0);
    pa_sys_fault_reset();
}
#endif
