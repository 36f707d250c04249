# Writes, reads and calls at a known address, for the tests of watchpoints: watched.py WRITES READS [THREADS]
import ctypes
import mmap
import sys
import threading

ADDRESS = 0x10000000
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
MAP_FIXED = 0x10
flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_FIXED
if libc.mmap(ADDRESS, 4096, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0) != ADDRESS:
    sys.exit("cannot map the page")
word = ctypes.c_uint32.from_address(ADDRESS)
writes, reads = int(sys.argv[1]), int(sys.argv[2])


def work() -> None:
    for n in range(writes):
        word.value = n
    for _ in range(reads):
        word.value


for _ in range(int(sys.argv[3]) if len(sys.argv) > 3 else 0):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
if len(sys.argv) <= 3:
    work()
