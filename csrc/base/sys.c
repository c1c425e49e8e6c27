/* The seam to the system, as sys.h states it: each function makes one call, translates its error and asks first whether a test
 * wants it to fail. What a system lacks (accept4, pipe2, ppoll, descriptors born close-on-exec) is made up for here; PA_SYS_EMULATE
 * makes every system lack them, so that the substitutes can be tested where they are not needed. */
#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifdef PA_SYS_HAVE_EPOLL
#include <sys/epoll.h>
#include <sys/syscall.h>
#endif
#ifdef PA_SYS_HAVE_EVENTFD
#include <sys/eventfd.h>
#endif
#ifdef PA_SYS_HAVE_KQUEUE
#include <sys/event.h>
#endif
#if PA_SYS_HAVE_SENDFILE
#include <sys/sendfile.h>
#endif

#if !defined(__APPLE__) && !defined(PA_SYS_EMULATE)
#define HAVE_SOCK_FLAGS 1 /* socket types with SOCK_NONBLOCK and SOCK_CLOEXEC, accept4, pipe2 */
#define HAVE_PPOLL 1
#endif

/* --- faults --- */

/* Name, and whether it moves bytes and can therefore fall short. */
#define CALLS(X)                                                                                                                   \
    X(read, 1) X(write, 1) X(writev, 1) X(close, 0) X(dup, 0) X(lseek, 0) X(fstat, 0) X(fcntl, 0) X(pipe2, 0)                      \
    X(socket, 0) X(socketpair, 0) X(accept4, 0) X(connect, 0) X(bind, 0) X(listen, 0) X(shutdown, 0)                               \
    X(getsockopt, 0) X(setsockopt, 0) X(getsockname, 0) X(getpeername, 0)                                                          \
    X(recv, 1) X(recvfrom, 1) X(recvmsg, 1) X(send, 1) X(sendto, 1) X(sendmsg, 1) X(sendfile, 1)                                   \
    X(poll, 0) X(epoll_create1, 0) X(epoll_ctl, 0) X(epoll_wait, 0) X(epoll_pwait2, 0) X(eventfd, 0) X(kqueue, 0) X(kevent, 0)     \
    X(malloc, 0)

typedef enum {
#define AS_ENUM(name, moves_bytes) CALL_##name,
    CALLS(AS_ENUM)
#undef AS_ENUM
} call_id;

#ifdef PA_FAULTS
#include <stdatomic.h>
#include <string.h>

#define CUT_IOVS 16 /* a vectored call is cut to so many pieces as well: still short, as asked */

/* Static, because this is a test build's switchboard and not the library's state; atomic, because calls come from any thread and
 * from signal handlers. at 0: no order. */
typedef struct {
    const char *name;
    bool moves_bytes, onwards;
    int err;
    size_t limit;
    atomic_long at, count;
} call_faults;

static call_faults faults[] = {
#define AS_ENTRY(call, moves) {.name = #call, .moves_bytes = moves},
    CALLS(AS_ENTRY)
#undef AS_ENTRY
};
enum { CALL_COUNT = sizeof(faults) / sizeof(faults[0]) };

static call_faults *find_call(const char *name)
{
    for (size_t i = 0; i < CALL_COUNT; i++)
        if (strcmp(faults[i].name, name) == 0) return &faults[i];
    return NULL;
}

int pa_sys_fault_set(const char *name, long nth, int err, long limit)
{
    call_faults *call = find_call(name);
    if (call == NULL || nth == 0 || err < 0 || limit < 0) return -EINVAL;
    if (err == 0 && !call->moves_bytes) return -EINVAL;
    atomic_store(&call->at, 0);
    call->err = err;
    call->limit = (size_t)limit;
    call->onwards = nth < 0;
    atomic_store(&call->at, atomic_load(&call->count) + (nth < 0 ? -nth : nth));
    return 0;
}

long pa_sys_fault_count(const char *name)
{
    call_faults *call = find_call(name);
    return call == NULL ? -EINVAL : atomic_load(&call->count);
}

void pa_sys_fault_reset(void)
{
    for (size_t i = 0; i < CALL_COUNT; i++) {
        atomic_store(&faults[i].at, 0);
        atomic_store(&faults[i].count, 0);
    }
}

/* Counts the call. 0, or the -errno it is to fail with; *size (NULL: nothing to cut) may become less. */
static int fault(call_id id, size_t *size)
{
    call_faults *call = &faults[id];
    long count = atomic_fetch_add(&call->count, 1) + 1;
    long at = atomic_load(&call->at);
    if (at == 0 || count < at || (count > at && !call->onwards)) return 0;
    if (call->err != 0) return -call->err;
    if (size != NULL && *size > call->limit) *size = call->limit;
    return 0;
}

/* The same for pieces: *iov may come to point at a shortened copy, this thread's until its next vectored call. */
static int fault_iov(call_id id, const struct iovec **iov, size_t *count)
{
    static _Thread_local struct iovec cut[CUT_IOVS];
    size_t total = 0, left, kept = 0;
    for (size_t i = 0; i < *count; i++) total += (*iov)[i].iov_len;
    left = total;
    int err = fault(id, &left);
    if (err < 0 || left == total) return err;
    for (; kept < *count && kept < CUT_IOVS && (left > 0 || kept == 0); kept++) {
        cut[kept] = (*iov)[kept];
        if (cut[kept].iov_len > left) cut[kept].iov_len = left;
        left -= cut[kept].iov_len;
    }
    *iov = cut;
    *count = kept;
    return 0;
}

/* The same for messages: `cut` becomes *msg, with fewer bytes where a test wants that. */
static int fault_msg(call_id id, const struct msghdr *msg, struct msghdr *cut)
{
    const struct iovec *iov = msg->msg_iov;
    size_t count = (size_t)msg->msg_iovlen;
    int err = fault_iov(id, &iov, &count);
    *cut = *msg;
    cut->msg_iov = (struct iovec *)iov;
    cut->msg_iovlen = count;
    return err;
}

void *pa_sys_malloc(size_t size) { return fault(CALL_malloc, NULL) < 0 ? NULL : malloc(size); }
void *pa_sys_realloc(void *block, size_t size) { return fault(CALL_malloc, NULL) < 0 ? NULL : realloc(block, size); }

#else
static inline int fault(call_id id, size_t *size)
{
    (void)id, (void)size;
    return 0;
}

static inline int fault_iov(call_id id, const struct iovec **iov, size_t *count)
{
    (void)id, (void)iov, (void)count;
    return 0;
}
#endif

/* --- helpers --- */

static inline int status(int result) { return result < 0 ? -errno : result; }
static inline ssize_t moved(ssize_t result) { return result < 0 ? -errno : result; }

#define ON_SOME static inline __attribute__((unused)) /* needed on some systems only */

/* Takes a descriptor (or -errno) that was born without them to the flags that the contract promises; closes it if it cannot. */
ON_SOME int adopt(int fd, bool nonblocking)
{
    if (fd < 0) return fd;
    int err = status(fcntl(fd, F_SETFD, FD_CLOEXEC));
    if (err >= 0 && nonblocking) err = pa_sys_set_nonblocking(fd, true);
    if (err >= 0) return fd;
    close(fd);
    return err;
}

ON_SOME int adopt_pair(int fds[2], bool nonblocking)
{
    int err = adopt(fds[0], nonblocking);
    if (err < 0) {
        close(fds[1]);
        return err;
    }
    err = adopt(fds[1], nonblocking);
    if (err < 0) {
        close(fds[0]);
        return err;
    }
    return 0;
}

ON_SOME int64_t cut_timeout(int64_t ns) { return ns > PA_SYS_TIMEOUT_MAX ? PA_SYS_TIMEOUT_MAX : ns; }

ON_SOME int timeout_ms(int64_t ns) { return ns < 0 ? -1 : (int)((cut_timeout(ns) + 999999) / 1000000); }

/* NULL: for ever. */
ON_SOME struct timespec *timeout_spec(int64_t ns, struct timespec *spec)
{
    if (ns < 0) return NULL;
    ns = cut_timeout(ns);
    spec->tv_sec = (time_t)(ns / 1000000000);
    spec->tv_nsec = (long)(ns % 1000000000);
    return spec;
}

/* --- any descriptor --- */

ssize_t pa_sys_read(int fd, void *buf, size_t size)
{
    ssize_t n;
    do {
        n = fault(CALL_read, &size);
        if (n == 0) n = moved(read(fd, buf, size));
    } while (n == -EINTR);
    return n;
}

ssize_t pa_sys_write(int fd, const void *buf, size_t size)
{
    ssize_t n;
    do {
        n = fault(CALL_write, &size);
        if (n == 0) n = moved(write(fd, buf, size));
    } while (n == -EINTR);
    return n;
}

ssize_t pa_sys_writev(int fd, const struct iovec *iov, int count)
{
    size_t pieces = (size_t)count;
    ssize_t n;
    do {
        n = fault_iov(CALL_writev, &iov, &pieces);
        if (n == 0) n = moved(writev(fd, iov, (int)pieces));
    } while (n == -EINTR);
    return n;
}

int pa_sys_close(int fd)
{
    int forced = fault(CALL_close, NULL);
    int err = status(close(fd));
    if (forced < 0) err = forced;
    return err == -EINTR ? 0 : err;
}

int pa_sys_dup(int fd)
{
    int err = fault(CALL_dup, NULL);
    return err < 0 ? err : status(fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

int64_t pa_sys_lseek_set(int fd, int64_t offset)
{
    int err = fault(CALL_lseek, NULL);
    if (err < 0) return err;
    off_t position = lseek(fd, (off_t)offset, SEEK_SET);
    return position < 0 ? -errno : (int64_t)position;
}

int pa_sys_fstat(int fd, struct stat *st)
{
    int err = fault(CALL_fstat, NULL);
    return err < 0 ? err : status(fstat(fd, st));
}

int pa_sys_get_nonblocking(int fd)
{
    int err = fault(CALL_fcntl, NULL);
    if (err < 0) return err;
    int flags = status(fcntl(fd, F_GETFL));
    return flags < 0 ? flags : (flags & O_NONBLOCK) != 0;
}

int pa_sys_set_nonblocking(int fd, bool on)
{
    int err = fault(CALL_fcntl, NULL);
    if (err < 0) return err;
    int flags = status(fcntl(fd, F_GETFL));
    if (flags < 0) return flags;
    int wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    return wanted == flags ? 0 : status(fcntl(fd, F_SETFL, wanted));
}

int pa_sys_pipe2(int fds[2], int flags)
{
    int err = fault(CALL_pipe2, NULL);
    if (err < 0) return err;
#ifdef HAVE_SOCK_FLAGS
    return status(pipe2(fds, flags | O_CLOEXEC));
#else
    err = status(pipe(fds));
    return err < 0 ? err : adopt_pair(fds, (flags & O_NONBLOCK) != 0);
#endif
}

/* --- sockets --- */

int pa_sys_socket(int domain, int type, int protocol)
{
    int err = fault(CALL_socket, NULL);
    if (err < 0) return err;
#ifdef HAVE_SOCK_FLAGS
    return status(socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol));
#else
    return adopt(status(socket(domain, type, protocol)), true);
#endif
}

int pa_sys_socketpair(int domain, int type, int protocol, int fds[2])
{
    int err = fault(CALL_socketpair, NULL);
    if (err < 0) return err;
#ifdef HAVE_SOCK_FLAGS
    return status(socketpair(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol, fds));
#else
    err = status(socketpair(domain, type, protocol, fds));
    return err < 0 ? err : adopt_pair(fds, true);
#endif
}

int pa_sys_accept4(int fd, struct sockaddr *addr, socklen_t *len)
{
    int peer;
    do {
        peer = fault(CALL_accept4, NULL);
        if (peer < 0) continue;
#ifdef HAVE_SOCK_FLAGS
        peer = status(accept4(fd, addr, len, SOCK_NONBLOCK | SOCK_CLOEXEC));
#else
        peer = adopt(status(accept(fd, addr, len)), true);
#endif
    } while (peer == -EINTR);
    return peer;
}

int pa_sys_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    int err = fault(CALL_connect, NULL);
    if (err == 0) err = status(connect(fd, addr, len));
    return err == -EINTR ? -EINPROGRESS : err;
}

int pa_sys_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    int err = fault(CALL_bind, NULL);
    return err < 0 ? err : status(bind(fd, addr, len));
}

int pa_sys_listen(int fd, int backlog)
{
    int err = fault(CALL_listen, NULL);
    return err < 0 ? err : status(listen(fd, backlog));
}

int pa_sys_shutdown(int fd, int how)
{
    int err = fault(CALL_shutdown, NULL);
    return err < 0 ? err : status(shutdown(fd, how));
}

int pa_sys_getsockopt(int fd, int level, int option, void *value, socklen_t *len)
{
    int err = fault(CALL_getsockopt, NULL);
    return err < 0 ? err : status(getsockopt(fd, level, option, value, len));
}

int pa_sys_setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
    int err = fault(CALL_setsockopt, NULL);
    return err < 0 ? err : status(setsockopt(fd, level, option, value, len));
}

int pa_sys_getsockname(int fd, struct sockaddr *addr, socklen_t *len)
{
    int err = fault(CALL_getsockname, NULL);
    return err < 0 ? err : status(getsockname(fd, addr, len));
}

int pa_sys_getpeername(int fd, struct sockaddr *addr, socklen_t *len)
{
    int err = fault(CALL_getpeername, NULL);
    return err < 0 ? err : status(getpeername(fd, addr, len));
}

ssize_t pa_sys_recv(int fd, void *buf, size_t size, int flags)
{
    ssize_t n;
    do {
        n = fault(CALL_recv, &size);
        if (n == 0) n = moved(recv(fd, buf, size, flags));
    } while (n == -EINTR);
    return n;
}

ssize_t pa_sys_recvfrom(int fd, void *buf, size_t size, int flags, struct sockaddr *addr, socklen_t *len)
{
    ssize_t n;
    do {
        n = fault(CALL_recvfrom, &size);
        if (n == 0) n = moved(recvfrom(fd, buf, size, flags, addr, len));
    } while (n == -EINTR);
    return n;
}

ssize_t pa_sys_recvmsg(int fd, struct msghdr *msg, int flags)
{
    ssize_t n;
    do {
#ifdef PA_FAULTS
        struct msghdr cut;
        n = fault_msg(CALL_recvmsg, msg, &cut);
        if (n < 0) continue;
        n = moved(recvmsg(fd, &cut, flags));
        msg->msg_namelen = cut.msg_namelen;
        msg->msg_controllen = cut.msg_controllen;
        msg->msg_flags = cut.msg_flags;
#else
        n = moved(recvmsg(fd, msg, flags));
#endif
    } while (n == -EINTR);
    return n;
}

ssize_t pa_sys_send(int fd, const void *buf, size_t size, int flags)
{
    ssize_t n;
    do {
        n = fault(CALL_send, &size);
        if (n == 0) n = moved(send(fd, buf, size, flags));
    } while (n == -EINTR);
    return n;
}

ssize_t pa_sys_sendto(int fd, const void *buf, size_t size, int flags, const struct sockaddr *addr, socklen_t len)
{
    ssize_t n;
    do {
        n = fault(CALL_sendto, &size);
        if (n == 0) n = moved(sendto(fd, buf, size, flags, addr, len));
    } while (n == -EINTR);
    return n;
}

ssize_t pa_sys_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    ssize_t n;
    do {
#ifdef PA_FAULTS
        struct msghdr cut;
        n = fault_msg(CALL_sendmsg, msg, &cut);
        if (n == 0) n = moved(sendmsg(fd, &cut, flags));
#else
        n = moved(sendmsg(fd, msg, flags));
#endif
    } while (n == -EINTR);
    return n;
}

ssize_t pa_sys_sendfile(int fd, int file, int64_t offset, size_t size)
{
#if PA_SYS_HAVE_SENDFILE
    ssize_t n;
    do {
        off_t from = (off_t)offset;
        n = fault(CALL_sendfile, &size);
        if (n == 0) n = moved(sendfile(fd, file, &from, size));
    } while (n == -EINTR);
    return n;
#else
    (void)fd, (void)file, (void)offset, (void)size;
    return -ENOSYS;
#endif
}

/* --- waiting --- */

int pa_sys_poll(struct pollfd *fds, size_t count, int64_t timeout_ns)
{
    int err = fault(CALL_poll, NULL);
    if (err < 0) return err;
#ifdef HAVE_PPOLL
    struct timespec spec;
    return status(ppoll(fds, (nfds_t)count, timeout_spec(timeout_ns, &spec), NULL));
#else
    return status(poll(fds, (nfds_t)count, timeout_ms(timeout_ns)));
#endif
}

#ifdef PA_SYS_HAVE_EPOLL
int pa_sys_epoll_create1(void)
{
    int err = fault(CALL_epoll_create1, NULL);
    return err < 0 ? err : status(epoll_create1(EPOLL_CLOEXEC));
}

int pa_sys_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event)
{
    int err = fault(CALL_epoll_ctl, NULL);
    return err < 0 ? err : status(epoll_ctl(epoll_fd, op, fd, event));
}

int pa_sys_epoll_wait(int epoll_fd, struct epoll_event *events, int max, int64_t timeout_ns)
{
    int err = fault(CALL_epoll_wait, NULL);
    return err < 0 ? err : status(epoll_wait(epoll_fd, events, max, timeout_ms(timeout_ns)));
}

/* By number: musl and older C libraries have no wrapper for it. */
int pa_sys_epoll_pwait2(int epoll_fd, struct epoll_event *events, int max, int64_t timeout_ns)
{
    int err = fault(CALL_epoll_pwait2, NULL);
    if (err < 0) return err;
#ifdef SYS_epoll_pwait2
    int64_t ns = cut_timeout(timeout_ns);
    struct { int64_t seconds, nanoseconds; } spec = {ns / 1000000000, ns % 1000000000}; /* the kernel's, 64 bits everywhere */
    return status((int)syscall(SYS_epoll_pwait2, epoll_fd, events, max, ns < 0 ? NULL : &spec, NULL, (size_t)0));
#else
    (void)epoll_fd, (void)events, (void)max, (void)timeout_ns;
    return -ENOSYS;
#endif
}
#endif

#ifdef PA_SYS_HAVE_EVENTFD
int pa_sys_eventfd(unsigned value)
{
    int err = fault(CALL_eventfd, NULL);
    return err < 0 ? err : status(eventfd(value, EFD_CLOEXEC | EFD_NONBLOCK));
}
#endif

#ifdef PA_SYS_HAVE_KQUEUE
int pa_sys_kqueue(void)
{
    int err = fault(CALL_kqueue, NULL);
    return err < 0 ? err : adopt(status(kqueue()), false);
}

int pa_sys_kevent(int kqueue_fd, const struct kevent *changes, int count, struct kevent *events, int max, int64_t timeout_ns)
{
    int err = fault(CALL_kevent, NULL);
    if (err < 0) return err;
    struct timespec spec;
    return status(kevent(kqueue_fd, changes, count, events, max, timeout_spec(timeout_ns, &spec)));
}
#endif

int64_t pa_sys_clock(void)
{
#ifdef __APPLE__
    return (int64_t)clock_gettime_nsec_np(CLOCK_UPTIME_RAW);
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail: the clock exists and the address is good */
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
#endif
}
