/* Load client of the connection benchmarks: connects, reads until the server closes, closes; a batch of connections under way at a time.
 * Prints one line of JSON.
 *
 *     connect_client HOST PORT BATCH WARMUP_MS MEASURE_MS CPU
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 256 };

static void die(const char *what)
{
    fprintf(stderr, "connect_client: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int open_connection(const struct sockaddr_in *to)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof *to) < 0) {
        die("connect");
    }
    return fd;
}

/* The server says one byte and goes. */
static void await_end(int fd)
{
    char buffer[16];
    ssize_t n, total = 0;
    while ((n = recv(fd, buffer, sizeof buffer, 0)) > 0) {
        total += n;
    }
    if (n < 0 || total != 1) {
        die("answer");
    }
    close(fd);
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fprintf(stderr, "usage: connect_client HOST PORT BATCH WARMUP_MS MEASURE_MS CPU\n");
        return 2;
    }
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    int batch = atoi(argv[3]), cpu = atoi(argv[6]), fds[MOST];
    if (inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 || batch < 1 || batch > MOST) {
        errno = EINVAL;
        die("arguments");
    }
    if (cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        if (sched_setaffinity(0, sizeof set, &set) < 0) {
            die("sched_setaffinity");
        }
    }
    uint64_t now = now_ns(), warm = now + strtoull(argv[4], NULL, 10) * 1000000u, long_enough = strtoull(argv[5], NULL, 10) * 1000000u;
    uint64_t from = 0, total = 0, measured = 0;
    while (measured == 0 || now - from < long_enough) {    /* one batch at least, however busy the machine is */
        for (int i = 0; i < batch; i++) {
            fds[i] = open_connection(&to);
        }
        for (int i = 0; i < batch; i++) {
            await_end(fds[i]);
        }
        now = now_ns();
        total += (uint64_t)batch;
        if (from != 0) {
            measured += (uint64_t)batch;
        } else if (now >= warm) {
            from = now;
        }
    }
    printf("{\"requests\": %llu, \"seconds\": %.6f, \"total_requests\": %llu}\n", (unsigned long long)measured,
           (double)(now - from) / 1e9, (unsigned long long)total);
    return 0;
}
