"""Gives a bundle the kernel types of another kernel, and a checksum that fits (XXH64): bundle_types.py FILE"""
import struct
import sys

MASK = (1 << 64) - 1
P1, P2, P3, P4, P5 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63,
                      0x27D4EB2F165667C5)


def rotate(x: int, n: int) -> int:
    return (x << n | x >> 64 - n) & MASK


def one(acc: int, word: int) -> int:
    return rotate((acc + word * P2) & MASK, 31) * P1 & MASK


def xxh64(data: bytes) -> int:
    at, length = 0, len(data)
    if length >= 32:
        lanes = [(P1 + P2) & MASK, P2, 0, -P1 & MASK]
        while at + 32 <= length:
            lanes = [one(lane, word) for lane, word in zip(lanes, struct.unpack_from("<4Q", data, at))]
            at += 32
        acc = sum(rotate(lane, n) for lane, n in zip(lanes, (1, 7, 12, 18))) & MASK
        for lane in lanes:
            acc = ((acc ^ one(0, lane)) * P1 + P4) & MASK
    else:
        acc = P5
    acc = (acc + length) & MASK
    while at + 8 <= length:
        acc = (rotate(acc ^ one(0, struct.unpack_from("<Q", data, at)[0]), 27) * P1 + P4) & MASK
        at += 8
    if at + 4 <= length:
        acc = (rotate(acc ^ struct.unpack_from("<I", data, at)[0] * P1 & MASK, 23) * P2 + P3) & MASK
        at += 4
    for byte in data[at:]:
        acc = rotate(acc ^ byte * P5 & MASK, 11) * P1 & MASK
    acc = (acc ^ acc >> 33) * P2 & MASK
    acc = (acc ^ acc >> 29) * P3 & MASK
    return acc ^ acc >> 32


path = sys.argv[1]
with open(path, "rb") as f:
    data = f.read()
head, contents = data[:12], bytearray(data[20:])
assert struct.unpack_from("<Q", data, 12)[0] == xxh64(bytes(contents)), "the checksum is not XXH64 of the contents"
# The name `vmlinux` in the list of types is followed by the checksum of its type information, a varint.
at = contents.rindex(b"\x07vmlinux") + 8
contents[at] ^= 1
with open(path, "wb") as f:
    f.write(head + struct.pack("<Q", xxh64(bytes(contents))) + bytes(contents))
