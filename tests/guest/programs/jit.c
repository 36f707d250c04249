// Code that is made at run time, with what names it (/tmp/perf-PID.map): `jit KIND ROUNDS`. Each round is a system call in
// that code with a number that nothing else gives. KIND is what is in the place of the map: `map`, `fifo`, `sparse` (the
// names behind 8 GB of nothing), `none`; or `many`: so many mappings of code come before.
//
// BUILD gcc -O1 -fno-omit-frame-pointer -o jit "$SRC"
// BUILD gcc -O1 -fno-omit-frame-pointer -o jit-linked "$SRC" && echo apart > jit.debug && objcopy --add-gnu-debuglink=jit.debug jit-linked && rm jit.debug

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// close(-5000), with a frame.
static const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0xb8, 3, 0, 0, 0, 0xbf, 0x78, 0xec, 0xff, 0xff,
                                     0x0f, 0x05, 0x5d, 0xc3};

__attribute__((noinline)) void rounds(void (*made)(void), int count) {
    for (int i = 0; i < count; i++) {
        made();
        usleep(10000);
    }
}

int main(int argc, char **argv) {
    const char *kind = argc > 1 ? argv[1] : "map";
    char path[64], line[64];
    unsigned char *page = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(page + 64, code, sizeof code);
    snprintf(path, sizeof path, "/tmp/perf-%d.map", getpid());
    snprintf(line, sizeof line, "\n%lx 40 made_at_run_time\n", (long)page + 64);
    if (!strcmp(kind, "fifo")) {
        mkfifo(path, 0600);
    } else if (strcmp(kind, "none")) {
        int file = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);
        pwrite(file, line, strlen(line), strcmp(kind, "sparse") ? 0 : 8l << 30);
        close(file);
    }
    if (!strcmp(kind, "many")) {
        // Every second page has other rights, or they would become one.
        char *all = mmap(0, 40000l * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        for (long i = 0; i < 20000; i++)
            mprotect(all + i * 8192, 4096, PROT_READ | PROT_EXEC);
    }
    rounds((void (*)(void))(page + 64), argc > 2 ? atoi(argv[2]) : 3);
    if (argc > 3)
        sleep(atoi(argv[3]));
    unlink(path);
    return 0;
}
