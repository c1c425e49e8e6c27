/* The seam as it is without faults: results, -errno, the promised flags. */
#include "base/sys.h"

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#ifdef PA_SYS_HAVE_EPOLL
#include <sys/epoll.h>
#endif

static bool is_cloexec(int fd) { return fcntl(fd, F_GETFD) & FD_CLOEXEC; }
static bool is_nonblocking(int fd) { return fcntl(fd, F_GETFL) & O_NONBLOCK; }

static int next_fd(void)
{
    int fd = pa_sys_dup(0);
    CHECK(fd >= 0);
    CHECK_INT(pa_sys_close(fd), 0);
    return fd;
}

CASE(errors_are_negative_errno)
{
    char c = 0;
    struct stat st;
    struct iovec iov = {.iov_base = &c, .iov_len = 1};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct sockaddr *any = (struct sockaddr *)&addr;
    socklen_t len = sizeof(addr);
    int value = 0;
    CHECK_INT(pa_sys_read(-1, &c, 1), -EBADF);
    CHECK_INT(pa_sys_write(-1, &c, 1), -EBADF);
    CHECK_INT(pa_sys_writev(-1, &iov, 1), -EBADF);
    CHECK_INT(pa_sys_close(-1), -EBADF);
    CHECK_INT(pa_sys_dup(-1), -EBADF);
    CHECK_INT(pa_sys_fstat(-1, &st), -EBADF);
    CHECK_INT(pa_sys_set_nonblocking(-1, true), -EBADF);
    CHECK_INT(pa_sys_get_nonblocking(-1), -EBADF);
    CHECK_INT(pa_sys_accept4(-1, NULL, NULL), -EBADF);
    CHECK_INT(pa_sys_connect(-1, any, len), -EBADF);
    CHECK_INT(pa_sys_bind(-1, any, len), -EBADF);
    CHECK_INT(pa_sys_listen(-1, 1), -EBADF);
    CHECK_INT(pa_sys_shutdown(-1, SHUT_RD), -EBADF);
    CHECK_INT(pa_sys_getsockname(-1, any, &len), -EBADF);
    CHECK_INT(pa_sys_getpeername(-1, any, &len), -EBADF);
    CHECK_INT(pa_sys_setsockopt(-1, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof(value)), -EBADF);
    len = sizeof(value);
    CHECK_INT(pa_sys_getsockopt(-1, SOL_SOCKET, SO_ERROR, &value, &len), -EBADF);
    CHECK_INT(pa_sys_recv(-1, &c, 1, 0), -EBADF);
    CHECK_INT(pa_sys_recvfrom(-1, &c, 1, 0, any, &len), -EBADF);
    CHECK_INT(pa_sys_recvmsg(-1, &msg, 0), -EBADF);
    CHECK_INT(pa_sys_send(-1, &c, 1, 0), -EBADF);
    CHECK_INT(pa_sys_sendto(-1, &c, 1, 0, any, sizeof(addr)), -EBADF);
    CHECK_INT(pa_sys_sendmsg(-1, &msg, 0), -EBADF);
    CHECK_INT(pa_sys_socket(-1, SOCK_STREAM, 0), -EAFNOSUPPORT);
#ifdef PA_SYS_HAVE_EPOLL
    struct epoll_event event;
    CHECK_INT(pa_sys_epoll_ctl(-1, EPOLL_CTL_ADD, 0, &event), -EBADF);
    CHECK_INT(pa_sys_epoll_wait(-1, &event, 1, 0), -EBADF);
    int err = pa_sys_epoll_pwait2(-1, &event, 1, 0);
    CHECK(err == -EBADF || err == -ENOSYS || err == -EPERM);
#endif
}

CASE(new_descriptors_have_the_promised_flags)
{
    int fds[2];
    CHECK_INT(pa_sys_pipe2(fds, 0), 0);
    for (int i = 0; i < 2; i++) {
        CHECK(is_cloexec(fds[i]) && !is_nonblocking(fds[i]));
        CHECK_INT(pa_sys_close(fds[i]), 0);
    }
    CHECK_INT(pa_sys_pipe2(fds, O_NONBLOCK), 0);
    for (int i = 0; i < 2; i++) {
        CHECK(is_cloexec(fds[i]) && is_nonblocking(fds[i]));
        CHECK_INT(pa_sys_close(fds[i]), 0);
    }
    CHECK_INT(pa_sys_socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    for (int i = 0; i < 2; i++) CHECK(is_cloexec(fds[i]) && is_nonblocking(fds[i]));
    int copy = pa_sys_dup(fds[0]);
    CHECK(is_cloexec(copy));
    CHECK_INT(pa_sys_close(copy), 0);
    for (int i = 0; i < 2; i++) CHECK_INT(pa_sys_close(fds[i]), 0);
    int fd = pa_sys_socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(is_cloexec(fd) && is_nonblocking(fd));
    CHECK_INT(pa_sys_close(fd), 0);
}

CASE(blocking_is_switched_and_read)
{
    int fds[2];
    CHECK_INT(pa_sys_pipe2(fds, 0), 0);
    CHECK_INT(pa_sys_get_nonblocking(fds[0]), 0);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(pa_sys_set_nonblocking(fds[0], true), 0);
        CHECK_INT(pa_sys_get_nonblocking(fds[0]), 1);
        CHECK(is_nonblocking(fds[0]) && !is_nonblocking(fds[1]));
    }
    CHECK_INT(pa_sys_set_nonblocking(fds[0], false), 0);
    CHECK_INT(pa_sys_get_nonblocking(fds[0]), 0);
    CHECK_INT(pa_sys_close(fds[0]), 0);
    CHECK_INT(pa_sys_close(fds[0]), -EBADF);
    CHECK_INT(pa_sys_close(fds[1]), 0);
}

CASE(a_unix_connection)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX}, peer;
    socklen_t len = sizeof(peer);
    char buf[16];
    struct stat st;
    int value = 0;
    char dir[] = "/tmp/pa-test-XXXXXX";
    CHECK(mkdtemp(dir) != NULL);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", dir);
    int first = next_fd();
    int server = pa_sys_socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_INT(pa_sys_bind(server, (struct sockaddr *)&addr, sizeof(addr)), 0);
    CHECK_INT(pa_sys_listen(server, 4), 0);
    CHECK_INT(pa_sys_accept4(server, NULL, NULL), -EAGAIN);
    int client = pa_sys_socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_INT(pa_sys_connect(client, (struct sockaddr *)&addr, sizeof(addr)), 0);
    int conn = pa_sys_accept4(server, (struct sockaddr *)&peer, &len);
    CHECK(conn >= 0 && is_cloexec(conn) && is_nonblocking(conn));
    CHECK_INT(peer.sun_family, AF_UNIX);
    len = sizeof(peer);
    CHECK_INT(pa_sys_getpeername(client, (struct sockaddr *)&peer, &len), 0);
    CHECK(strcmp(peer.sun_path, addr.sun_path) == 0);
    len = sizeof(peer);
    CHECK_INT(pa_sys_getsockname(conn, (struct sockaddr *)&peer, &len), 0);
    CHECK(strcmp(peer.sun_path, addr.sun_path) == 0);
    len = sizeof(value);
    CHECK_INT(pa_sys_getsockopt(conn, SOL_SOCKET, SO_TYPE, &value, &len), 0);
    CHECK_INT(value, SOCK_STREAM);
    value = 1;
    CHECK_INT(pa_sys_setsockopt(conn, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof(value)), 0);
    CHECK_INT(pa_sys_fstat(conn, &st), 0);
    CHECK(S_ISSOCK(st.st_mode));

    struct iovec iov[2] = {{.iov_base = "ab", .iov_len = 2}, {.iov_base = "cde", .iov_len = 3}};
    CHECK_INT(pa_sys_writev(client, iov, 2), 5);
    CHECK_INT(pa_sys_send(client, "fg", 2, 0), 2);
    CHECK_INT(pa_sys_recv(conn, buf, 4, 0), 4);
    CHECK(memcmp(buf, "abcd", 4) == 0);
    CHECK_INT(pa_sys_read(conn, buf, sizeof(buf)), 3);
    CHECK(memcmp(buf, "efg", 3) == 0);
    CHECK_INT(pa_sys_read(conn, buf, sizeof(buf)), -EAGAIN);
    CHECK_INT(pa_sys_shutdown(client, SHUT_WR), 0);
    CHECK_INT(pa_sys_recv(conn, buf, sizeof(buf), 0), 0);
    CHECK_INT(pa_sys_close(conn), 0);
    CHECK_INT(pa_sys_close(client), 0);
    CHECK_INT(pa_sys_close(server), 0);
    CHECK_INT(next_fd(), first);
    CHECK_INT(unlink(addr.sun_path), 0);
    CHECK_INT(rmdir(dir), 0);
}

CASE(datagrams_and_messages)
{
    int fds[2];
    char buf[16], left[3], right[13];
    struct sockaddr_un addr;
    socklen_t len = sizeof(addr);
    struct iovec out[2] = {{.iov_base = "abc", .iov_len = 3}, {.iov_base = "defg", .iov_len = 4}};
    struct iovec in[2] = {{.iov_base = left, .iov_len = 3}, {.iov_base = right, .iov_len = 13}};
    struct msghdr msg = {.msg_iov = out, .msg_iovlen = 2};
    CHECK_INT(pa_sys_socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
    CHECK_INT(pa_sys_sendmsg(fds[0], &msg, 0), 7);
    CHECK_INT(pa_sys_sendto(fds[0], "x", 1, 0, NULL, 0), 1);
    msg.msg_iov = in;
    CHECK_INT(pa_sys_recvmsg(fds[1], &msg, 0), 7);
    CHECK(memcmp(left, "abc", 3) == 0 && memcmp(right, "defg", 4) == 0);
    CHECK_INT(pa_sys_recvfrom(fds[1], buf, sizeof(buf), 0, (struct sockaddr *)&addr, &len), 1);
    CHECK_INT(buf[0], 'x');
    CHECK_INT(pa_sys_send(fds[0], "long", 4, 0), 4);
    in[0].iov_len = 2;
    msg.msg_iovlen = 1;
    CHECK_INT(pa_sys_recvmsg(fds[1], &msg, 0), 2);
    CHECK(msg.msg_flags & MSG_TRUNC);
    for (int i = 0; i < 2; i++) CHECK_INT(pa_sys_close(fds[i]), 0);
}

CASE(the_clock_is_monotonic_in_nanoseconds)
{
    int64_t before = pa_sys_clock();
    struct timespec pause = {.tv_nsec = 2000000};
    CHECK_INT(nanosleep(&pause, NULL), 0);
    int64_t after = pa_sys_clock();
    CHECK(after - before >= 2000000 && after - before < INT64_C(60) * 1000000000);
#ifdef __linux__
    struct timespec now;
    CHECK_INT(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    CHECK((int64_t)now.tv_sec * 1000000000 + now.tv_nsec - after < INT64_C(60) * 1000000000);
#endif
}

CASE(poll_waits_its_time)
{
    struct pollfd item;
    int fds[2];
    int64_t start = pa_sys_clock();
    CHECK_INT(pa_sys_poll(NULL, 0, 1), 0);
    CHECK(pa_sys_clock() - start >= 1);
    start = pa_sys_clock();
    CHECK_INT(pa_sys_poll(NULL, 0, 3000001), 0);
    CHECK(pa_sys_clock() - start >= 3000001);
    CHECK_INT(pa_sys_pipe2(fds, O_NONBLOCK), 0);
    item.fd = fds[1];
    item.events = POLLOUT;
    CHECK_INT(pa_sys_poll(&item, 1, -1), 1);
    CHECK_INT(pa_sys_poll(&item, 1, INT64_MAX), 1);
    CHECK_INT(item.revents, POLLOUT);
    for (int i = 0; i < 2; i++) CHECK_INT(pa_sys_close(fds[i]), 0);
}
