/* Load client of the benchmarks: as many connections as asked, on one thread, each sending a message and waiting for all of the
 * answer, which is compared. It prints "measuring" when the warm-up is over, and at the end a line of JSON.
 *
 *     echo_client [options] [udp:]HOST:PORT|/UNIX/PATH CONNECTIONS BYTES WARMUP_MS MEASURE_MS CPU
 *
 *     -r RATE    requests a second over all connections (default: each connection sends as soon as it has its answer)
 *     -q FILE    the message, instead of BYTES of a pattern
 *     -a FILE    the answer, where it is not the message itself
 *     -c N       only its first N bytes are compared, of the others there must be as many
 *     -u FILE    sent first on every connection; what comes back, up to an empty line, is passed over
 *
 * CPU is the processor to stay on, -1 for any. The clock starts after the warm-up; requests finished in between count.
 * A wrong byte, a closed connection or ten seconds without any answer end the run with status 1 (a busy machine makes a server wait).
 *
 * With udp: a connection is a connected socket and a message one datagram; a lost one ends the run.
 *
 * With a rate nothing is omitted when the server stalls: request k is due at k / RATE, on connection k modulo CONNECTIONS, and its latency
 * counts from then, also when it could only be sent later because the answer before it was late. All that became due
 * in the measured time is waited for.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { SUB_BITS = 6, SUB = 1 << SUB_BITS, BUCKETS = 64 * SUB, EVENTS = 256, STALL_MS = 10000 };

typedef struct {
    int fd;
    int busy;
    size_t sent, received;
    uint64_t started_ns;        /* when the request was sent or, with a rate, was due */
    uint64_t sent_count;        /* with a rate: how many of this connection's requests were sent */
    uint64_t due_count;         /* and how many have become due */
} conn;

/* Latencies in buckets 1/64 of a power of two wide: under 2 % of error at any size, no allocation while measuring. */
static uint64_t histogram[BUCKETS];
static uint64_t slowest_ns;

static unsigned char *message, *answer;
static unsigned char *hello;
static size_t message_size, answer_size, compared, hello_size;
static unsigned char *scratch;
static int epfd;

static int connections;
static double interval_ns;      /* between two requests; 0: as fast as the answers come */
static uint64_t begin_ns;

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
        int udp = strncmp(target, "udp:", 4) == 0;
        target += udp ? 4 : 0;
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
        fd = socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
        rc = fd < 0 ? -1 : connect(fd, (struct sockaddr *)&in, sizeof in);
        if (rc == 0 && !udp) {
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

static uint64_t due_ns(uint64_t number)
{
    return begin_ns + (uint64_t)(interval_ns * (double)number);
}

static void start_request(conn *c, uint64_t since_ns)
{
    c->sent = c->received = 0;
    c->busy = 1;
    c->started_ns = since_ns;
    if (!push(c)) {
        watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
}

/* With a rate: send the next request of an idle connection, if one is due. */
static void start_due(conn *c, int index)
{
    if (!c->busy && c->sent_count < c->due_count) {
        start_request(c, due_ns(c->sent_count++ * (uint64_t)connections + (uint64_t)index));
    }
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Take what has arrived; true if the answer is complete. */
static int pull(conn *c)
{
    ssize_t n = recv(c->fd, scratch, answer_size - c->received, MSG_DONTWAIT);
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
    if (c->received < compared && memcmp(scratch, answer + c->received, least((size_t)n, compared - c->received)) != 0) {
        errno = 0;
        die("answer");
    }
    c->received += (size_t)n;
    return c->received == answer_size;
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

static unsigned char *load_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) < 0) {
        die(path);
    }
    *size = (size_t)ftell(file);
    rewind(file);
    unsigned char *content = malloc(*size + 1);
    if (content == NULL || fread(content, 1, *size, file) != *size) {
        die(path);
    }
    fclose(file);
    return content;
}

/* Blocking: say what the protocol wants said first, and wait for the end of the answer's header. */
static void greet(int fd, const unsigned char *hello, size_t size)
{
    static const char end[] = "\r\n\r\n";
    size_t matched = 0;
    if (send(fd, hello, size, MSG_NOSIGNAL) != (ssize_t)size) {
        die("greeting");
    }
    while (matched < sizeof end - 1) {
        char byte;
        if (recv(fd, &byte, 1, 0) != 1) {
            die("greeting");
        }
        matched = byte == end[matched] ? matched + 1 : byte == end[0];
    }
}

/* Wait for answers, or until the next request is due; how many events came. */
static int wait_for_events(struct epoll_event *events, uint64_t next_due_ns)
{
    if (next_due_ns == 0) {
        int n = epoll_wait(epfd, events, EVENTS, STALL_MS);
        if (n == 0) {
            errno = ETIMEDOUT;
            die("ten seconds without an answer");
        }
        return n;
    }
    uint64_t now = now_ns();
    if (next_due_ns > now) {            /* epoll_wait() counts milliseconds, ppoll() nanoseconds */
        struct pollfd pfd = {.fd = epfd, .events = POLLIN};
        struct timespec left = {.tv_sec = (time_t)((next_due_ns - now) / 1000000000u), .tv_nsec = (long)((next_due_ns - now) % 1000000000u)};
        ppoll(&pfd, 1, &left, NULL);
    }
    return epoll_wait(epfd, events, EVENTS, 0);
}

static void parse_options(int argc, char **argv)
{
    static const char usage[] = "usage: echo_client [-r RATE] [-q FILE] [-a FILE] [-c N] [-u FILE] HOST:PORT|PATH CONNECTIONS BYTES WARMUP_MS "
                                "MEASURE_MS CPU\n";
    int option;
    compared = SIZE_MAX;
    while ((option = getopt(argc, argv, "+r:q:a:c:u:")) != -1) {
        switch (option) {
        case 'r': interval_ns = 1e9 / atof(optarg); break;
        case 'q': message = load_file(optarg, &message_size); break;
        case 'a': answer = load_file(optarg, &answer_size); break;
        case 'c': compared = (size_t)atol(optarg); break;
        case 'u': hello = load_file(optarg, &hello_size); break;
        default: fputs(usage, stderr); exit(2);
        }
    }
    if (argc - optind != 6) {
        fputs(usage, stderr);
        exit(2);
    }
    connections = atoi(argv[optind + 1]);
    stay_on(atoi(argv[optind + 5]));
    if (message == NULL) {
        message_size = (size_t)atol(argv[optind + 2]);
        message = malloc(message_size + 1);
        for (size_t i = 0; message != NULL && i < message_size; i++) {
            message[i] = (unsigned char)(i * 131 + (i >> 8) * 17);
        }
    }
    if (answer == NULL) {
        answer = message;
        answer_size = message_size;
    }
    compared = least(compared, answer_size);
}

/* Everything between the first request and the last; what is counted goes to the histogram and to *total and
 * *measured, at least one; how long the measured part took. */
static uint64_t run(conn *conns, uint64_t from, uint64_t until, uint64_t *total, uint64_t *measured)
{
    struct epoll_event events[EVENTS];
    uint64_t now = begin_ns, scheduled = 0, last_answer = begin_ns;
    int rated = interval_ns > 0, announced = 0;
    for (int i = 0; !rated && i < connections; i++) {
        start_request(&conns[i], now);
    }
    while (rated ? *total < scheduled || due_ns(scheduled) < until : now < until || *measured == 0) {
        if (!announced && now >= from) {
            puts("measuring");
            fflush(stdout);
            announced = 1;
            from = rated ? from : now;
        }
        while (rated && due_ns(scheduled) <= now && due_ns(scheduled) < until) {
            int index = (int)(scheduled++ % (uint64_t)connections);
            conns[index].due_count++;
            start_due(&conns[index], index);
        }
        int n = wait_for_events(events, rated && due_ns(scheduled) < until ? due_ns(scheduled) : 0);
        if (n < 0 && errno != EINTR) {
            die("epoll_wait");
        }
        for (int i = 0; i < n; i++) {
            conn *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT && push(c)) {
                watch(c, EPOLL_CTL_MOD, EPOLLIN);
            }
            if (!(events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) || !pull(c)) {
                continue;
            }
            now = last_answer = now_ns();
            c->busy = 0;
            ++*total;
            if (announced && (!rated || c->started_ns >= from)) {
                uint64_t took = now - c->started_ns;
                histogram[bucket_of(took)]++;
                slowest_ns = took > slowest_ns ? took : slowest_ns;
                ++*measured;
            }
            if (rated) {
                start_due(c, (int)(c - conns));
            } else {
                start_request(c, now);
            }
        }
        now = now_ns();
        if (now - last_answer > STALL_MS * 1000000ull && interval_ns < 5e8) {
            errno = ETIMEDOUT;
            die("ten seconds without an answer");
        }
    }
    return now - from;
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    const char *target = argv[optind];
    uint64_t warmup_ns = strtoull(argv[optind + 3], NULL, 10) * 1000000u, measure_ns = strtoull(argv[optind + 4], NULL, 10) * 1000000u;
    scratch = malloc(answer_size + 1);
    conn *conns = calloc((size_t)connections, sizeof *conns);
    epfd = epoll_create1(EPOLL_CLOEXEC);
    if (message == NULL || scratch == NULL || conns == NULL || epfd < 0 || prctl(PR_SET_TIMERSLACK, 1ul) < 0) {
        die("set-up");
    }
    for (int i = 0; i < connections; i++) {
        conns[i].fd = open_connection(target);
        if (hello != NULL) {
            greet(conns[i].fd, hello, hello_size);
        }
        watch(&conns[i], EPOLL_CTL_ADD, EPOLLIN);
    }

    uint64_t total = 0, measured = 0;
    begin_ns = now_ns();
    uint64_t took_ns = run(conns, begin_ns + warmup_ns, begin_ns + warmup_ns + measure_ns, &total, &measured);
    if (measured == 0) {
        errno = ETIMEDOUT;
        die("nothing could be measured");
    }
    printf("{\"requests\": %llu, \"seconds\": %.6f, \"total_requests\": %llu, \"total_seconds\": %.6f, "
           "\"p50_us\": %.2f, \"p99_us\": %.2f, \"p999_us\": %.2f, \"max_us\": %.2f}\n",
           (unsigned long long)measured, (double)took_ns / 1e9, (unsigned long long)total, (double)(now_ns() - begin_ns) / 1e9,
           percentile_us(0.50, measured), percentile_us(0.99, measured), percentile_us(0.999, measured),
           (double)slowest_ns / 1e3);
    return 0;
}
