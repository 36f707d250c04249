// A stack without frame pointers, through functions of its own, the C library and a signal handler, to system calls.
// With an argument it does so that many times, a hundredth of a second apart, and else once.
//
// BUILD gcc -O2 -fomit-frame-pointer -fno-optimize-sibling-calls -o frames "$SRC"
// BUILD gcc -O2 -g -fomit-frame-pointer -fno-optimize-sibling-calls -o frames-debug "$SRC"
// BUILD gcc -O2 -g -fomit-frame-pointer -fno-optimize-sibling-calls -ffunction-sections -c -o frames.o "$SRC"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile int sum;

// A system call at the innermost place, with a number that nothing else gives.
__attribute__((noinline)) void innermost(int number) {
    close(-number);
    sum++;
}

__attribute__((noinline)) int by_library(const void *a, const void *b) {
    char text[40];
    memset(text, sum, sizeof text);
    innermost(1000);
    sum += text[sum % 40];
    return *(const int *)a - *(const int *)b;
}

__attribute__((noinline)) void sorted(void) {
    int numbers[] = {2, 1};
    qsort(numbers, 2, sizeof *numbers, by_library);
    sum += numbers[0];
}

__attribute__((noinline)) void handler(int number) {
    innermost(2000);
    sum += number;
}

__attribute__((noinline)) void interrupted(void) {
    raise(SIGUSR1);
    sum++;
}

// A frame whose size is not known before it runs: its base pointer is in use.
__attribute__((noinline)) void any_size(int size) {
    char room[size];
    memset(room, 1, size);
    sorted();
    interrupted();
    sum += room[size / 2];
}

// Saves the registers that functions must keep.
__attribute__((noinline)) void keeping(int a, int b, int c, int d, int e, int f) {
    any_size(100 + a);
    sum += a * b + c * d + e * f;
}

int main(int count, char **words) {
    signal(SIGUSR1, handler);
    for (int n = count > 1 ? atoi(words[1]) : 1; n > 0; n--) {
        keeping(n & 1, 2, 3, 4, 5, 6);
        if (n > 1)
            usleep(10000);
    }
    return 0;
}
