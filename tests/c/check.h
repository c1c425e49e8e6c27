/* The little that the C tests need: cases that register themselves, checks that cannot be compiled away, a reproducible random
 * generator. A program runs the case named by its argument, or all of them, and prints their names. */
#ifndef PA_TESTS_CHECK_H
#define PA_TESTS_CHECK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *check_about = ""; /* printed with a failure: which backend, which variant */

#define CHECK(condition)                                                                                                           \
    do {                                                                                                                           \
        if (!(condition)) {                                                                                                        \
            fprintf(stderr, "%s:%d: %s: not true: %s  %s\n", __FILE__, __LINE__, __func__, #condition, check_about);               \
            exit(1);                                                                                                               \
        }                                                                                                                          \
    } while (0)

#define CHECK_INT(expression, expected)                                                                                            \
    do {                                                                                                                           \
        long long got_ = (long long)(expression), expected_ = (long long)(expected);                                               \
        if (got_ != expected_) {                                                                                                   \
            fprintf(stderr, "%s:%d: %s: %s is %lld, not %lld  %s\n", __FILE__, __LINE__, __func__, #expression, got_, expected_,   \
                    check_about);                                                                                                  \
            exit(1);                                                                                                               \
        }                                                                                                                          \
    } while (0)

#define CASE(name)                                                                                                                 \
    static void name(void);                                                                                                        \
    __attribute__((constructor)) static void check_add_##name(void) { check_add(#name, name); }                                    \
    static void name(void)

static struct {
    const char *name;
    void (*run)(void);
} check_cases[64];
static int check_count;

static void check_add(const char *name, void (*run)(void))
{
    if (check_count == 64) abort();
    check_cases[check_count].name = name;
    check_cases[check_count++].run = run;
}

static uint64_t check_seed = 88172645463325252u;

/* 0 <= result < below */
__attribute__((unused)) static size_t check_random(size_t below)
{
    check_seed ^= check_seed << 13;
    check_seed ^= check_seed >> 7;
    check_seed ^= check_seed << 17;
    return (size_t)(check_seed % below);
}

int main(int argc, char **argv)
{
    int ran = 0;
    for (int i = 0; i < check_count; i++) {
        if (argc > 1 && strcmp(argv[1], check_cases[i].name) != 0) continue;
        puts(check_cases[i].name);
        fflush(stdout);
        check_cases[i].run();
        ran++;
    }
    if (ran == 0) fprintf(stderr, "no such case\n");
    return ran == 0 ? 2 : 0;
}

#endif
