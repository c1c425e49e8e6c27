/* The seam: every system call the project makes goes through here.
 *
 * A call returns what the system call returns if that is >= 0, else -errno; errno itself means nothing to callers. Descriptors made
 * here are close-on-exec, and sockets non-blocking. Nothing here keeps state or touches Python: any thread may call.
 *
 * EINTR. Data and socket calls retry it inside (the descriptors are non-blocking, there is nothing to be kept from). connect() goes
 * on in the background when interrupted, so it answers -EINPROGRESS. close() has closed the descriptor whatever it says, so it
 * answers 0. Only the calls that wait (epoll_*, kevent, poll) return -EINTR, so that signal handlers get their turn.
 *
 * With PA_FAULTS the nth call can be made to fail or to fall short; without it, nothing of that remains in the code.
 *
 * Include this before any system header (or after Python.h): it asks for the GNU names.
 */
#ifndef PA_BASE_SYS_H
#define PA_BASE_SYS_H

#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

struct pollfd;
struct stat;

#if defined(__linux__)
#define PA_SYS_HAVE_SENDFILE 1 /* as Linux has it; others differ */
#define PA_SYS_HAVE_EPOLL 1
#define PA_SYS_HAVE_EVENTFD 1
#elif defined(__APPLE__) || defined(__FreeBSD__) || defined(__OpenBSD__) || defined(__NetBSD__) || defined(__DragonFly__)
#define PA_SYS_HAVE_KQUEUE 1
#endif
#ifndef PA_SYS_HAVE_SENDFILE
#define PA_SYS_HAVE_SENDFILE 0
#endif

/* The most iovecs that one writev, sendmsg or recvmsg takes, on every system we know. */
#define PA_SYS_IOV_MAX 1024

/* Time-outs are nanoseconds, negative for ever, and never end early for want of resolution. Kernels differ in how long a time-out
 * they take, so a longer one is cut to this: whoever waits has to look at the clock again. */
#define PA_SYS_TIMEOUT_MAX (INT64_C(86400) * 1000000000)

/* --- any descriptor --- */
ssize_t pa_sys_read(int fd, void *buf, size_t size);
ssize_t pa_sys_write(int fd, const void *buf, size_t size);
ssize_t pa_sys_writev(int fd, const struct iovec *iov, int count);
int pa_sys_close(int fd); /* always closes; 0 if interrupted */
int pa_sys_dup(int fd);
int64_t pa_sys_lseek_set(int fd, int64_t offset); /* the new position */
int pa_sys_fstat(int fd, struct stat *st);
int pa_sys_set_nonblocking(int fd, bool on); /* fcntl */
int pa_sys_get_nonblocking(int fd);          /* fcntl; 0, 1 or -errno */
int pa_sys_pipe2(int fds[2], int flags);     /* flags: O_NONBLOCK or 0; both ends close-on-exec */

/* --- sockets --- */
int pa_sys_socket(int domain, int type, int protocol);
int pa_sys_socketpair(int domain, int type, int protocol, int fds[2]);
int pa_sys_accept4(int fd, struct sockaddr *addr, socklen_t *len); /* the new one is non-blocking and close-on-exec */
int pa_sys_connect(int fd, const struct sockaddr *addr, socklen_t len);
int pa_sys_bind(int fd, const struct sockaddr *addr, socklen_t len);
int pa_sys_listen(int fd, int backlog);
int pa_sys_shutdown(int fd, int how);
int pa_sys_getsockopt(int fd, int level, int option, void *value, socklen_t *len);
int pa_sys_setsockopt(int fd, int level, int option, const void *value, socklen_t len);
int pa_sys_getsockname(int fd, struct sockaddr *addr, socklen_t *len);
int pa_sys_getpeername(int fd, struct sockaddr *addr, socklen_t *len);
ssize_t pa_sys_recv(int fd, void *buf, size_t size, int flags);
ssize_t pa_sys_recvfrom(int fd, void *buf, size_t size, int flags, struct sockaddr *addr, socklen_t *len);
ssize_t pa_sys_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t pa_sys_send(int fd, const void *buf, size_t size, int flags);
ssize_t pa_sys_sendto(int fd, const void *buf, size_t size, int flags, const struct sockaddr *addr, socklen_t len);
ssize_t pa_sys_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t pa_sys_sendfile(int fd, int file, int64_t offset, size_t size); /* -ENOSYS without PA_SYS_HAVE_SENDFILE */

/* --- waiting; -EINTR on a signal --- */
int pa_sys_poll(struct pollfd *fds, size_t count, int64_t timeout_ns); /* ppoll where there is one */
#ifdef PA_SYS_HAVE_EPOLL
struct epoll_event;
int pa_sys_epoll_create1(void);
int pa_sys_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);
int pa_sys_epoll_wait(int epoll_fd, struct epoll_event *events, int max, int64_t timeout_ns);   /* rounds up to milliseconds */
int pa_sys_epoll_pwait2(int epoll_fd, struct epoll_event *events, int max, int64_t timeout_ns); /* -ENOSYS before Linux 5.11 */
#endif
#ifdef PA_SYS_HAVE_EVENTFD
int pa_sys_eventfd(unsigned value); /* non-blocking */
#endif
#ifdef PA_SYS_HAVE_KQUEUE
struct kevent;
int pa_sys_kqueue(void);
int pa_sys_kevent(int kqueue_fd, const struct kevent *changes, int count, struct kevent *events, int max, int64_t timeout_ns);
#endif

/* The clock of Python's time.monotonic(), in nanoseconds. */
int64_t pa_sys_clock(void);

/* --- memory, for what base/ owns: the C allocator, which needs no thread state --- */
#ifdef PA_FAULTS

/* The nth following call of that name (1: the next one) fails with err; with err 0 and a call that moves bytes, it moves `limit`
 * bytes at most (0: as at the end of the stream). A negative nth means the -nth and every one after it. One order per name; it
 * stands until it is replaced or reset. Names are those of the functions above without pa_sys_, plus "fcntl" for the two about
 * blocking, and "malloc" for malloc and realloc. A repeated (EINTR) call counts each time. 0, or -EINVAL: no such call, nth 0, err or
 * limit negative, err 0 for a call that cannot fall short. */
int pa_sys_fault_set(const char *call, long nth, int err, long limit);
long pa_sys_fault_count(const char *call); /* calls since the start or the last reset; -EINVAL: no such call */
void pa_sys_fault_reset(void);             /* forgets every order and every count */

void *pa_sys_malloc(size_t size);
void *pa_sys_realloc(void *block, size_t size);

#else
static inline void *pa_sys_malloc(size_t size) { return malloc(size); }
static inline void *pa_sys_realloc(void *block, size_t size) { return realloc(block, size); }
#endif
static inline void pa_sys_free(void *block) { free(block); }

#endif
