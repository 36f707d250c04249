// Static probes with every form of argument, with a semaphore and without, and one probe at several places.
// BUILD gcc -O1 $SRC -o usdt
// BUILD gcc -O1 -no-pie $SRC -o usdt-fixed
// BUILD gcc -O1 -static $SRC -o usdt-static
// BUILD gcc -O1 $SRC -o usdt-stripped && strip usdt-stripped
#include "sdt.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

SEMAPHORE(demo, guarded);
long numbers[] = {10, 11, 12, 13};
int global = 77;

// One probe, three places; its arguments lie elsewhere at each.
static __attribute__((noinline)) void places(int n) {
    long local = n * 100;
    PROBE(demo, place, "0", "-4@$1 -8@%[x]", : : [x] "r"(local));
    PROBE(demo, place, "0", "-4@$2 -8@%[x]", : : [x] "m"(local));
    PROBE(demo, place, "0", "-4@$3 -8@$-300", : :);
}

// The registers are chosen here, for the note to name them.
static __attribute__((noinline)) void forms(long *list, long index) {
    PROBE(demo, index, "0", "8@(%%rax,%%rdx,8) 8@8(%%rax,%%rdx,8) 8@16(%%rax)", : : "a"(list), "d"(index));
    PROBE(demo, global, "0", "-4@global(%%rip) 8@8+numbers(%%rip)", : :);
    PROBE(demo, narrow, "0", "1@%%al -1@%%al 1@%%ah 2@%%ax -2@%%ax -4@%%eax 4@%%eax 8@%%rax", : : "a"(-2L));
    // On the stack: a constant may lie on a page that was not read yet, and that BPF cannot wait for.
    char text[] = "hello";
    PROBE(demo, text, "0", "8@%[s] 4@$5", : : [s] "r"(text), "m"(text));
    struct { int a, b, c; } three = {1, 2, 3};
    PROBE(demo, odd, "0", "12@%[s] 3@%%ecx 12@%%rcx 4@$7", : : [s] "m"(three), "c"(0x030201));
    PROBE(demo, floating, "0", "8f@%%xmm0 4@$6", : :);
    PROBE(other, text, "0", "", : :);
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 1, seen = 0;
    for (int i = 0; i < rounds; i++) {
        places(i + 1);
        forms(numbers, 1);
        if (demo_guarded_semaphore) {
            seen++;
            PROBE(demo, guarded, "demo_guarded_semaphore", "-4@%[i]", : : [i] "nor"(i));
        }
        if (argc > 2)
            usleep(atoi(argv[2]));
    }
    printf("guarded %d of %d, counter %d\n", seen, rounds, demo_guarded_semaphore);
    return 0;
}
