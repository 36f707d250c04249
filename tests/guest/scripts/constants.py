"""Compares what rtrace takes constants for with the running kernel's enumerators: prints what differs, and how many were
asked for. All would take minutes: it asks for those that moved between kernels, and for a sample of the others.
"""
import json
import re
import struct
import subprocess

ENUM, ENUM64 = 6, 19
# Bytes behind the first twelve of a type; for each of its parts where it has several.
FIXED = {1: 4, 3: 12, 14: 4, 17: 4}
PARTS = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}
MOVED = re.compile(r"(LINUX_MIB|IPSTATS_MIB|PERF_SAMPLE|BPF_MAP_TYPE)_|^[A-Z]{2,5}$")


def enumerators() -> dict[str, int]:
    """The first of each name, as 64 bits."""
    data = open("/sys/kernel/btf/vmlinux", "rb").read()
    header, types, types_len, strings = struct.unpack_from("=IIII", data, 4)
    at, end, found = header + types, header + types + types_len, {}
    text = lambda offset: data[(start := header + strings + offset):data.index(b"\0", start)].decode()
    while at < end:
        _, info, _ = struct.unpack_from("=III", data, at)
        kind, count = info >> 24 & 0x1f, info & 0xffff
        at += 12
        if kind in (ENUM, ENUM64):
            for i in range(count):
                if kind == ENUM:
                    name, low = struct.unpack_from("=II", data, at + 8 * i)
                    high = 0
                else:
                    name, low, high = struct.unpack_from("=III", data, at + 12 * i)
                found.setdefault(text(name), (high << 32 | low, kind == ENUM64))
        at += FIXED.get(kind, 0) + PARTS.get(kind, 0) * count
    return found


# Others may be names of the language.
known = {n: v for n, v in enumerators().items() if re.search(r"[A-Z]", n)}
names = [n for i, n in enumerate(sorted(known)) if MOVED.search(n) or i % 150 == 0]
groups = [names[i:i + 40] for i in range(0, len(names), 40)]
script = "begin { " + " ".join(f"print(({', '.join(g)}, 0));" for g in groups) + " exit() }"
with open("constants.rt", "w") as f:
    f.write(script)
lines = subprocess.run(["rtrace", "-f", "json", "constants.rt"], stdout=subprocess.PIPE, text=True).stdout.splitlines()
values = [v for line in map(json.loads, lines) if line["type"] == "value" for v in line["data"][:-1]]
for name, value in zip(names, values):
    right, wide = known[name]
    mask = (1 << 64) - 1 if wide else 0xffffffff
    if int(value) & mask != right:
        print(f"{name} is {value}, not {right}")
print(f"{len(values)} of {len(names)} compared; {sum(n.startswith('LINUX_MIB_') for n in names)} of LINUX_MIB")
