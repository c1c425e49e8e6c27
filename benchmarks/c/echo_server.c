/* The limit of the echo benchmarks: an echo server that does nothing but what the kernel demands. One thread, one epoll,
 * level-triggered; a readable connection is one recv into a shared buffer and one send of it. What a send does not take
 * is kept for that connection, which is then not read until it is out.
 *
 *     echo_server CPU [UNIX_PATH|udp]      CPU -1: any. Prints the address it listens on, serves until it is killed.
 *
 * With udp it is one socket, of which each report is answered until it is empty.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { BUFFER = 256 * 1024, EVENTS = 256 };

typedef struct {
    int fd;
    char *rest;
    size_t rest_at, rest_size;
} conn;

static int epfd;

static void die(const char *what)
{
    fprintf(stderr, "echo_server: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void watch(conn *c, int op, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};
    if (epoll_ctl(epfd, op, c->fd, &ev) < 0) {
        die("epoll_ctl");
    }
}

static int listen_inet(int type)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof in;
    int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&in, size) < 0 || (type == SOCK_STREAM && listen(fd, 1024) < 0) ||
        getsockname(fd, (struct sockaddr *)&in, &size) < 0) {
        die("listen");
    }
    printf("127.0.0.1:%d\n", ntohs(in.sin_port));
    return fd;
}

static int listen_unix(const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof un.sun_path) {
        errno = ENAMETOOLONG;
        die(path);
    }
    strcpy(un.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&un, sizeof un) < 0 || listen(fd, 1024) < 0) {
        die("listen");
    }
    printf("%s\n", path);
    return fd;
}

static void accept_all(int listener, int tcp)
{
    for (;;) {
        int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EAGAIN) {
                return;
            }
            die("accept");
        }
        if (tcp) {
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        }
        conn *c = calloc(1, sizeof *c);
        if (c == NULL) {
            die("calloc");
        }
        c->fd = fd;
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void answer_datagrams(int fd, char *buffer)
{
    for (;;) {
        struct sockaddr_storage from;
        socklen_t size = sizeof from;
        ssize_t n = recvfrom(fd, buffer, BUFFER, 0, (struct sockaddr *)&from, &size);
        if (n < 0) {
            if (errno == EAGAIN) {
                return;
            }
            die("recvfrom");
        }
        if (sendto(fd, buffer, (size_t)n, 0, (struct sockaddr *)&from, size) < 0 && errno != EAGAIN) {
            die("sendto");
        }
    }
}

static void drop(conn *c)
{
    close(c->fd);
    free(c->rest);
    free(c);
}

static void serve_readable(conn *c, char *buffer)
{
    ssize_t n = recv(c->fd, buffer, BUFFER, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) {
            drop(c);
        }
        return;
    }
    ssize_t sent = send(c->fd, buffer, (size_t)n, MSG_NOSIGNAL);
    if (sent == n) {
        return;
    }
    if (sent < 0) {
        if (errno != EAGAIN) {
            drop(c);
            return;
        }
        sent = 0;
    }
    c->rest_at = 0;
    c->rest_size = (size_t)(n - sent);
    c->rest = malloc(c->rest_size);
    if (c->rest == NULL) {
        die("malloc");
    }
    memcpy(c->rest, buffer + sent, c->rest_size);
    watch(c, EPOLL_CTL_MOD, EPOLLOUT);
}

static void serve_writable(conn *c)
{
    ssize_t n = send(c->fd, c->rest + c->rest_at, c->rest_size - c->rest_at, MSG_NOSIGNAL);
    if (n < 0) {
        if (errno != EAGAIN) {
            drop(c);
        }
        return;
    }
    c->rest_at += (size_t)n;
    if (c->rest_at == c->rest_size) {
        free(c->rest);
        c->rest = NULL;
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
    }
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: echo_server CPU [UNIX_PATH|udp]\n");
        return 2;
    }
    int cpu = atoi(argv[1]), tcp = argc == 2, udp = !tcp && strcmp(argv[2], "udp") == 0;
    cpu_set_t set;
    CPU_ZERO(&set);
    if (cpu >= 0) {
        CPU_SET(cpu, &set);
        if (sched_setaffinity(0, sizeof set, &set) < 0) {
            die("sched_setaffinity");
        }
    }
    char *buffer = malloc(BUFFER);
    epfd = epoll_create1(EPOLL_CLOEXEC);
    if (buffer == NULL || epfd < 0) {
        die("set-up");
    }
    conn listener = {.fd = tcp || udp ? listen_inet(udp ? SOCK_DGRAM : SOCK_STREAM) : listen_unix(argv[2])};
    fflush(stdout);
    watch(&listener, EPOLL_CTL_ADD, EPOLLIN);
    struct epoll_event events[EVENTS];
    for (;;) {
        int n = epoll_wait(epfd, events, EVENTS, -1);
        if (n < 0 && errno != EINTR) {
            die("epoll_wait");
        }
        for (int i = 0; i < n; i++) {
            conn *c = events[i].data.ptr;
            if (c == &listener && udp) {
                answer_datagrams(c->fd, buffer);
            } else if (c == &listener) {
                accept_all(c->fd, tcp);
            } else if (c->rest != NULL) {
                serve_writable(c);
            } else {
                serve_readable(c, buffer);
            }
        }
    }
}
