// Enums of a program: in arguments, members, bit-fields and arrays, signed, unsigned and wide.
// BUILD gcc -O1 -g $SRC -o enums
// BUILD gcc -O2 -g -gdwarf-4 $SRC -o enums-dwarf4
// BUILD gcc -O1 -g -gsplit-dwarf $SRC -o enums-split
#include <unistd.h>

enum color { COLOR_NONE, COLOR_RED, COLOR_BLUE = 7 };
enum level { LEVEL_LOW = -3, LEVEL_MID = 0, LEVEL_HIGH = 200 };
enum bits { BIT_FIRST = 1, BIT_LAST = 0x80000000u };
enum wide { WIDE_ONE = 1, WIDE_MANY = 0x123456789abcdef0, WIDE_TOP = 0xfffffffffffffffeu };
enum __attribute__((packed)) small { SMALL_MINUS = -1, SMALL_FIVE = 5 };
typedef enum { MODE_OFF, MODE_ON } mode_t_;
// The kernel has one of this name, too.
enum pid_type { OWN_KIND = 1 };

struct item {
    enum color color;
    enum level level : 9;
    enum color field : 4;
    enum small many[2];
    mode_t_ mode;
    struct {
        enum bits inner;
    };
};

volatile long sink;

__attribute__((noinline)) void paint(enum color color, enum level level, enum bits bits, enum wide wide, enum small small) {
    sink = color + level + bits + wide + small;
}

__attribute__((noinline)) void keep(struct item *item, mode_t_ mode, enum pid_type kind) { sink = item->color + mode + kind; }

int main(void) {
    struct item item = {COLOR_BLUE, LEVEL_LOW, COLOR_RED, {SMALL_MINUS, SMALL_FIVE}, MODE_ON, {BIT_LAST}};
    // All of it is in memory.
    asm volatile("" ::"r"(&item) : "memory");
    paint(COLOR_RED, LEVEL_LOW, BIT_LAST, WIDE_MANY, SMALL_MINUS);
    paint(COLOR_BLUE, LEVEL_HIGH, BIT_FIRST, WIDE_TOP, SMALL_FIVE);
    paint((enum color)3, (enum level)-2, (enum bits)6, (enum wide)9, (enum small)2);
    keep(&item, MODE_ON, OWN_KIND);
    return 0;
}
