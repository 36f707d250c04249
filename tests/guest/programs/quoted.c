// A static probe whose name has quotes, as sys/sdt.h makes them of a string.
// BUILD gcc -O1 -no-pie $SRC -o quoted
#include <stdio.h>

int main(void) {
    __asm__ volatile("990: nop\n"
                     ".pushsection .note.stapsdt,\"\",\"note\"\n"
                     ".balign 4\n.4byte 992f-991f, 994f-993f, 3\n"
                     "991: .asciz \"stapsdt\"\n992: .balign 4\n"
                     "993: .8byte 990b, 0, 0\n"
                     ".asciz \"demo\", \"\\\"quoted\\\"\", \"-4@$7\"\n"
                     "994: .balign 4\n.popsection\n");
    puts("done");
    return 0;
}
