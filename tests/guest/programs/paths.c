// Calls close(-4000) by so many different stacks: paths FIRST COUNT [PAUSE]. Each is a path of 20 calls to the left or to
// the right, by the bits of its number; after every 1000 it sleeps so many milliseconds.
//
// BUILD gcc -O1 -fno-omit-frame-pointer -fno-optimize-sibling-calls -o paths "$SRC"

#include <stdlib.h>
#include <unistd.h>

static volatile int sum;

__attribute__((noinline)) void right(unsigned path, int depth);

__attribute__((noinline)) void left(unsigned path, int depth) {
    if (depth == 0)
        close(-4000);
    else if (path & 1)
        right(path >> 1, depth - 1);
    else
        left(path >> 1, depth - 1);
    sum++;
}

__attribute__((noinline)) void right(unsigned path, int depth) {
    if (depth == 0)
        close(-4000);
    else if (path & 1)
        right(path >> 1, depth - 1);
    else
        left(path >> 1, depth - 1);
    sum += 2;
}

int main(int argc, char **argv) {
    unsigned first = argc > 1 ? atoi(argv[1]) : 0, count = argc > 2 ? atoi(argv[2]) : 1;
    for (unsigned n = 0; n < count; n++) {
        left(first + n, 20);
        if (argc > 3 && n % 1000 == 999)
            usleep(atoi(argv[3]) * 1000);
    }
    return 0;
}
