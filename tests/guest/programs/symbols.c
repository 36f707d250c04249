// Calls a function of libc of which it has several, one for each kind of processor.
// BUILD gcc -O1 -fno-builtin $SRC -o compares
// The program of functions.c with its symbols in .gnu_debugdata, and with a small one that unpacks to a large one.
// BUILD gcc -O1 $(dirname $SRC)/functions.c -o functions-mini && objcopy --only-keep-debug functions-mini mini && xz -f mini && strip functions-mini && objcopy --add-section .gnu_debugdata=mini.xz functions-mini && rm mini.xz
// BUILD gcc -O1 -s $(dirname $SRC)/functions.c -o functions-bomb && head -c 100M /dev/zero | xz -0 > bomb.xz && objcopy --add-section .gnu_debugdata=bomb.xz functions-bomb && rm bomb.xz
#include <string.h>

int main(void) {
    const char *texts[] = {"one", "two", "three"};
    int sum = 0;
    for (int i = 0; i < 3; i++)
        sum += memcmp(texts[i], "other", 2 + i);
    return sum == 0;
}
