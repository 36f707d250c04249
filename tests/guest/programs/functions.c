// Functions with arguments of many types: called, inlined, static, with and without debug information.
// BUILD gcc -O1 -g $SRC -o functions
// BUILD gcc -O1 $SRC -o functions-plain
// BUILD gcc -O1 -g -no-pie $SRC -o functions-fixed
// BUILD gcc -O1 -g -static $SRC -o functions-static
// BUILD gcc -O1 -g -gz $SRC -o functions-compressed
// BUILD gcc -O1 -g -gdwarf-4 $SRC -o functions-dwarf4
// BUILD gcc -O1 $SRC -o functions-stripped && strip functions-stripped
// BUILD gcc -O1 -g $SRC -o functions-linked && objcopy --only-keep-debug functions-linked functions-linked.debug && strip functions-linked && objcopy --add-gnu-debuglink=functions-linked.debug functions-linked
// BUILD gcc -O1 -g -Wl,--build-id=0x0123456789abcdef $SRC -o functions-id && objcopy --only-keep-debug functions-id functions-id.debug && strip functions-id
// BUILD for v in 4 5; do gcc -O1 -g -gdwarf-$v -gsplit-dwarf $SRC -o functions-split$v; done
// BUILD for v in 4 5; do gcc -O1 -g -gdwarf-$v -gsplit-dwarf $SRC -o functions-packed$v; llvm-dwp-22 -e functions-packed$v -o functions-packed$v.dwp; rm functions-packed$v-*.dwo; done
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct point {
    int x;
    short y;
    unsigned tall : 3, wide : 5;
};

struct node {
    struct node *next;
    const char *name;
    struct point at;
    union {
        long number;
        char text[8];
    };
    uint8_t bytes[4];
};

enum color { RED, GREEN = 5, BLUE };
typedef unsigned long count_t;

volatile long sink;

__attribute__((noinline)) long many(int a, char b, count_t c, struct node *d, enum color e, const char *f, int g, long h) {
    sink = a + b + c + d->at.x + e + f[0] + g + h;
    return sink;
}

__attribute__((noinline)) double mixed(double ratio, int n, float f, long l) {
    sink = n + l;
    return ratio * n + f;
}

__attribute__((noinline)) short negative(signed char n, _Bool yes) {
    sink = n;
    return yes ? -n : n;
}

__attribute__((noinline)) int by_value(struct point p, int after) {
    sink = p.x;
    return p.x + p.y + after;
}

// Inlined at two places, and nowhere else.
static inline __attribute__((always_inline)) void inlined(long value, int twice) {
    sink = value * twice;
    sink += twice;
}

__attribute__((noinline)) void first(long n) {
    inlined(n + 1, 2); // the first place
    sink++;
}

__attribute__((noinline)) void second(long n) {
    sink = n;
    inlined(n, 3); // the second place
    sink++;
}

static __attribute__((noinline)) void hidden(int n) { sink = n; }

static void *thread(void *argument) {
    hidden((int)(long)argument);
    return NULL;
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 1;
    char name[] = "node name";
    struct node tail = {NULL, name, {7, -2, 5, 17}, {.text = "united"}, {1, 2, 3, 4}};
    struct node head = {&tail, name, {1, 2, 3, 4}, {.number = 99}, {9, 8, 7, 6}};
    for (int i = 0; i < rounds; i++) {
        many(-1, 'b', 3000000000, &head, GREEN, name, 7, -8);
        sink = mixed(0.5, 10, 1.5, 20);
        sink = negative(-3, 1);
        sink = by_value(head.at, 5);
        first(10);
        second(20);
        pthread_t threads[3];
        for (long t = 0; t < 3; t++)
            pthread_create(&threads[t], NULL, thread, (void *)(t + 1));
        for (int t = 0; t < 3; t++)
            pthread_join(threads[t], NULL);
        if (argc > 2)
            usleep(atoi(argv[2]));
    }
    return 0;
}
