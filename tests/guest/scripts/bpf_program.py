"""Loads BPF programs to be traced, and runs one of them ten times a second until it is killed.

`pass_packet` is an XDP program with BTF, which declares `struct xdp_md *ctx`; it calls `add_up(int first, int second,
struct sample *sample)` with 30, 12 and {7, 9}. `no_types` is a socket filter without BTF.
"""
import ctypes
import os
import struct
import time

NR_BPF = 321
PROG_LOAD, TEST_RUN, BTF_LOAD = 5, 10, 18
SOCKET_FILTER, XDP = 1, 6

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attr):
    buffer = ctypes.create_string_buffer(attr, len(attr))
    result = libc.syscall(NR_BPF, command, buffer, len(attr))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def address(data):
    keep.append(data)
    return ctypes.addressof(data)


keep = []
strings = bytearray(b"\0")


def name(text):
    strings.extend(text.encode() + b"\0")
    return len(strings) - len(text) - 1


def btf_type(text, kind, count, size_or_type, rest=b"", flag=0):
    return struct.pack("=III", name(text) if text else 0, flag << 31 | kind << 24 | count, size_or_type) + rest


def u32s(*numbers):
    return struct.pack(f"={len(numbers)}I", *numbers)


INT, PTR, STRUCT, FUNC, FUNC_PROTO = 1, 2, 4, 12, 13
types = [
    btf_type("int", INT, 0, 4, u32s(1 << 24 | 32)),                                                       # 1
    btf_type("unsigned int", INT, 0, 4, u32s(32)),                                                        # 2
    btf_type("xdp_md", STRUCT, 2, 8, u32s(name("data"), 2, 0, name("data_end"), 2, 32)),                  # 3
    btf_type("", PTR, 0, 3),                                                                              # 4
    btf_type("", FUNC_PROTO, 1, 1, u32s(name("ctx"), 4)),                                                 # 5
    btf_type("pass_packet", FUNC, 1, 5),                                                                  # 6
    btf_type("sample", STRUCT, 2, 8, u32s(name("seventh"), 2, 0, name("ninth"), 2, 32)),                  # 7
    btf_type("", PTR, 0, 7),                                                                              # 8
    btf_type("", FUNC_PROTO, 3, 1, u32s(name("first"), 1, name("second"), 1, name("sample"), 8)),         # 9
    btf_type("add_up", FUNC, 0, 9),                                                                       # 10
]
section = b"".join(types)
blob = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(section), len(section), len(strings)) + section + strings
data = ctypes.create_string_buffer(blob, len(blob))
btf = bpf(BTF_LOAD, struct.pack("=QQIIII", address(data), 0, len(blob), 0, 0, 0))


def insn(code, dst=0, src=0, off=0, imm=0):
    return struct.pack("=BBhi", code, dst | src << 4, off, imm)


def load(kind, label, code, functions=()):
    program = ctypes.create_string_buffer(code, len(code))
    license = ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(1 << 16)
    info = b"".join(u32s(*f) for f in functions)
    records = ctypes.create_string_buffer(info, len(info) or 1)
    attr = struct.pack("=IIQQIIQII16sII", kind, len(code) // 8, address(program), address(license), 1, len(log),
                       address(log), 0, 0, label.encode(), 0, 0)
    attr += struct.pack("=IIQI", btf if functions else 0, 8 if functions else 0, address(records) if functions else 0,
                        len(functions)) + bytes(28)
    try:
        return bpf(PROG_LOAD, attr)
    except OSError as error:
        raise SystemExit(f"{label}: {error}\n{log.value.decode()}")


EXIT = insn(0x95)
main = (insn(0x62, 10, off=-8, imm=7) + insn(0x62, 10, off=-4, imm=9)             # the sample, on the stack
        + insn(0xB7, 1, imm=30) + insn(0xB7, 2, imm=12) + insn(0xBF, 3, 10) + insn(0x07, 3, imm=-8)
        + insn(0x85, src=1, imm=2) + insn(0xB7, 0, imm=2) + EXIT)                   # add_up(…); XDP_PASS
add_up = insn(0xBF, 0, 1) + insn(0x0F, 0, 2) + EXIT
traced = load(XDP, "pass_packet", main + add_up, [(0, 6), (len(main) // 8, 10)])
untyped = load(SOCKET_FILTER, "no_types", insn(0xB7, 0) + EXIT)

packet = ctypes.create_string_buffer(64)
while True:
    bpf(TEST_RUN, struct.pack("=IIIIQQII", traced, 0, 64, 0, address(packet), 0, 1, 0) + bytes(32))
    time.sleep(0.1)
