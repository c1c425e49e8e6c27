/* Load client of the echo benchmarks: as many connections as asked, on one thread, each sending a message, waiting
 * for all of it to come back, comparing it byte by byte and sending the next (a closed loop, one message in flight a
 * connection). What it prints is one line of JSON.
 *
 *     echo_client HOST:PORT|/UNIX/PATH CONNECTIONS BYTES WARMUP_MS MEASURE_MS CPU
 *
 * CPU is the processor to stay on, -1 for any. The clock starts after the warm-up; requests finished in between count.
 * A wrong byte, a closed connection or a second without any answer ends the run with status 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { SUB_BITS = 6, SUB = 1 << SUB_BITS, BUCKETS = 64 * SUB, EVENTS = 256 };

typedef struct {
    int fd;
    size_t sent, received;
    uint64_t started_ns;
} conn;

/* Latencies in buckets 1/64 of a power of two wide: under 2 % of error at any size, no allocation while measuring. */
static uint64_t histogram[BUCKETS];
static uint64_t slowest_ns;

static unsigned char *message;
static size_t message_size;
static unsigned char *scratch;
static int epfd;

static void die(const char *what)
{
    fprintf(stderr, "echo_client: %s: %s\n", what, errno ? strerror(errno) : "wrong data");
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static unsigned bucket_of(uint64_t ns)
{
    if (ns < SUB) {
        return (unsigned)ns;
    }
    unsigned power = 63u - (unsigned)__builtin_clzll(ns);
    return (power - SUB_BITS + 1) * SUB + (unsigned)((ns >> (power - SUB_BITS)) & (SUB - 1));
}

static uint64_t bucket_floor_ns(unsigned bucket)
{
    unsigned row = bucket / SUB, column = bucket % SUB;
    return row == 0 ? column : ((uint64_t)(SUB + column)) << (row - 1);
}

static double percentile_us(double share, uint64_t total)
{
    uint64_t wanted = (uint64_t)(share * (double)total), seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (seen > wanted) {
            return (double)bucket_floor_ns(i) / 1e3;
        }
    }
    return (double)slowest_ns / 1e3;
}

static void watch(conn *c, int op, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};
    if (epoll_ctl(epfd, op, c->fd, &ev) < 0) {
        die("epoll_ctl");
    }
}

static int open_connection(const char *target)
{
    int fd, one = 1, rc;
    if (target[0] == '/') {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        if (strlen(target) >= sizeof un.sun_path) {
            errno = ENAMETOOLONG;
            die(target);
        }
        strcpy(un.sun_path, target);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        rc = fd < 0 ? -1 : connect(fd, (struct sockaddr *)&un, sizeof un);
    } else {
        struct sockaddr_in in = {.sin_family = AF_INET};
        char host[64];
        const char *colon = strrchr(target, ':');
        if (colon == NULL || (size_t)(colon - target) >= sizeof host) {
            errno = EINVAL;
            die(target);
        }
        memcpy(host, target, (size_t)(colon - target));
        host[colon - target] = 0;
        in.sin_port = htons((uint16_t)atoi(colon + 1));
        if (inet_pton(AF_INET, host, &in.sin_addr) != 1) {
            errno = EINVAL;
            die(host);
        }
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        rc = fd < 0 ? -1 : connect(fd, (struct sockaddr *)&in, sizeof in);
        if (rc == 0) {
            rc = setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        }
    }
    if (rc < 0) {
        die("connect");
    }
    return fd;
}

/* Send what is left of the message; true if all of it is out. */
static int push(conn *c)
{
    while (c->sent < message_size) {
        ssize_t n = send(c->fd, message + c->sent, message_size - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN) {
                return 0;
            }
            die("send");
        }
        c->sent += (size_t)n;
    }
    return 1;
}

static void start_request(conn *c)
{
    c->sent = c->received = 0;
    c->started_ns = now_ns();
    if (!push(c)) {
        watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
}

/* Take what has arrived; true if the answer is complete. */
static int pull(conn *c)
{
    ssize_t n = recv(c->fd, scratch, message_size - c->received, MSG_DONTWAIT);
    if (n < 0) {
        if (errno == EAGAIN) {
            return 0;
        }
        die("recv");
    }
    if (n == 0) {
        errno = ECONNRESET;
        die("the server closed");
    }
    if (memcmp(scratch, message + c->received, (size_t)n) != 0) {
        errno = 0;
        die("answer");
    }
    c->received += (size_t)n;
    return c->received == message_size;
}

static void stay_on(int cpu)
{
    cpu_set_t set;
    if (cpu < 0) {
        return;
    }
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0) {
        die("sched_setaffinity");
    }
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fprintf(stderr, "usage: echo_client HOST:PORT|PATH CONNECTIONS BYTES WARMUP_MS MEASURE_MS CPU\n");
        return 2;
    }
    int connections = atoi(argv[2]);
    message_size = (size_t)atol(argv[3]);
    uint64_t warmup_ns = strtoull(argv[4], NULL, 10) * 1000000u, measure_ns = strtoull(argv[5], NULL, 10) * 1000000u;
    stay_on(atoi(argv[6]));

    message = malloc(message_size);
    scratch = malloc(message_size);
    conn *conns = calloc((size_t)connections, sizeof *conns);
    epfd = epoll_create1(EPOLL_CLOEXEC);
    if (message == NULL || scratch == NULL || conns == NULL || epfd < 0) {
        die("set-up");
    }
    for (size_t i = 0; i < message_size; i++) {
        message[i] = (unsigned char)(i * 131 + (i >> 8) * 17);
    }
    for (int i = 0; i < connections; i++) {
        conns[i].fd = open_connection(argv[1]);
        watch(&conns[i], EPOLL_CTL_ADD, EPOLLIN);
    }

    uint64_t begin = now_ns(), from = begin + warmup_ns, until = from + measure_ns, now = begin;
    uint64_t total = 0, measured = 0;
    for (int i = 0; i < connections; i++) {
        start_request(&conns[i]);
    }
    struct epoll_event events[EVENTS];
    while (now < until) {
        int n = epoll_wait(epfd, events, EVENTS, 1000);
        if (n < 0 && errno != EINTR) {
            die("epoll_wait");
        }
        if (n == 0) {
            errno = ETIMEDOUT;
            die("a second without an answer");
        }
        for (int i = 0; i < n; i++) {
            conn *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT && push(c)) {
                watch(c, EPOLL_CTL_MOD, EPOLLIN);
            }
            if (!(events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) || !pull(c)) {
                continue;
            }
            now = now_ns();
            total++;
            if (now >= from && now < until) {
                uint64_t took = now - c->started_ns;
                histogram[bucket_of(took)]++;
                slowest_ns = took > slowest_ns ? took : slowest_ns;
                measured++;
            }
            start_request(c);
        }
        now = now_ns();
    }
    printf("{\"requests\": %llu, \"seconds\": %.6f, \"total_requests\": %llu, \"total_seconds\": %.6f, "
           "\"p50_us\": %.2f, \"p99_us\": %.2f, \"p999_us\": %.2f, \"max_us\": %.2f}\n",
           (unsigned long long)measured, (double)measure_ns / 1e9, (unsigned long long)total, (double)(now - begin) / 1e9,
           percentile_us(0.50, measured), percentile_us(0.99, measured), percentile_us(0.999, measured),
           (double)slowest_ns / 1e3);
    return measured == 0;
}
