// Memory for functions to be given: pointers in arrays, characters without a NUL, addresses as bytes.
//
// BUILD gcc -O0 -g0 -o memory "$SRC"

#include <stdint.h>

struct inner {
    int *number;
    const char *name;
};

struct outer {
    int *numbers[2];
    unsigned char mac[6];
    char full[5];
    unsigned char address[4];
    struct inner inner;
    struct inner *next;
    const char **names;
};

__attribute__((noinline)) int look(struct outer *o, uint64_t number) {
    return *o->numbers[0] + (int)number;
}

int main(void) {
    int numbers[] = {41, 42, 43};
    // On the stack, which is in memory: a probe cannot wait for pages of the file.
    char texts[][8] = {"first", "second", "next", "inside"};
    const char *names[] = {texts[0], texts[1], 0};
    struct inner next = {&numbers[2], texts[2]};
    struct outer o = {{&numbers[0], &numbers[1]}, {1, 0, 2, 0, 3, 4}, {'h', 'e', 'l', 'l', 'o'}, {127, 0, 0, 1}, {&numbers[1], texts[3]}, &next, names};
    return look(&o, (uint64_t)(uintptr_t)&next) == 0;
}
