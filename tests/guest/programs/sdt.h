// Static probes (USDT) of our own: a nop, and a note in section .note.stapsdt that says where it is and where its
// arguments are found. The format: https://sourceware.org/systemtap/wiki/UserSpaceProbeImplementation
#pragma once

// The counter of the tracers that listen. It lies in a section of its own, zero in the file; the kernel adds to it.
#define SEMAPHORE(provider, name) \
    __attribute__((section(".probes"), used, visibility("hidden"))) volatile unsigned short provider##_##name##_semaphore

// `semaphore` is the name of a counter, or 0; `arguments` as the note has them, "-4@%[n] 8@$5"; then, with them, the
// operands of the assembler instruction: : : [n] "nor"(n)
#define PROBE(provider, name, semaphore, arguments, ...)                                   \
    __asm__ volatile("990: nop\n"                                                          \
                     ".pushsection .note.stapsdt,\"\",\"note\"\n"                          \
                     ".balign 4\n.4byte 992f-991f, 994f-993f, 3\n"                         \
                     "991: .asciz \"stapsdt\"\n992: .balign 4\n"                           \
                     "993: .8byte 990b, _.stapsdt.base, " semaphore "\n"                   \
                     ".asciz \"" #provider "\", \"" #name "\", \"" arguments "\"\n"        \
                     "994: .balign 4\n.popsection\n"                                       \
                     ".ifndef _.stapsdt.base\n"                                            \
                     ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n" \
                     ".weak _.stapsdt.base\n.hidden _.stapsdt.base\n"                      \
                     "_.stapsdt.base: .space 1\n.size _.stapsdt.base, 1\n"                 \
                     ".popsection\n.endif\n" __VA_ARGS__)
