// Names of C++, inlined functions, and information for debuggers in a file of its own.
//
// BUILD g++ -O2 -g -fno-optimize-sibling-calls -o shop "$SRC"
// BUILD objcopy --only-keep-debug shop shop.debug && strip -o shop-stripped shop && objcopy --add-gnu-debuglink=shop.debug shop-stripped

#include <cstdlib>
#include <string>
#include <unistd.h>

namespace shop {
template <class T> struct Cart {
    T sum = 0;
    static inline __attribute__((always_inline)) void pay(T price) {
        // Not through the C library, which has no base pointers; the call is still inside when the kernel has it.
        long result;
        asm volatile("syscall\n\tnop" : "=a"(result) : "a"(3), "D"(-3000L - 0 * price) : "rcx", "r11", "memory");
    }
    __attribute__((noipa)) void add(const std::string &, T price) {
        pay(price);
        sum += price;
    }
};
} // namespace shop

int main(int count, char **words) {
    shop::Cart<long> cart;
    for (int n = count > 1 ? std::atoi(words[1]) : 1; n > 0; n--) {
        cart.add("bread", n);
        if (n > 1)
            usleep(10000);
    }
    return cart.sum == 0;
}
