// A library with functions and static probes, and a program that uses it.
// BUILD gcc -O1 -g -fPIC -shared $SRC -o libsample.so.1 -Wl,-soname,libsample.so.1 -DLIBRARY
// BUILD gcc -O1 -g $SRC -o uses-library ./libsample.so.1 -Wl,-rpath,'$ORIGIN'
#include "sdt.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef LIBRARY
SEMAPHORE(sample, counted);
extern unsigned short sample_counted_semaphore_of(void);
unsigned short sample_counted_semaphore_of(void) { return sample_counted_semaphore; }

int sample_double(int n) {
    PROBE(sample, doubled, "0", "-4@%[n]", : : [n] "nor"(n));
    if (sample_counted_semaphore)
        PROBE(sample, counted, "sample_counted_semaphore", "-4@%[n]", : : [n] "nor"(n));
    return n * 2;
}
#else
int sample_double(int n);

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 3;
    long sum = 0;
    for (int i = 0; i < rounds; i++) {
        sum += sample_double(i);
        if (argc > 2)
            usleep(atoi(argv[2]));
    }
    printf("%ld\n", sum);
    return 0;
}
#endif
