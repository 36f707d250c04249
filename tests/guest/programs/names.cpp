// Names of C++: namespaces, overloads, templates, members, operators.
// BUILD g++ -O1 -g $SRC -o names
// BUILD g++ -O1 $SRC -o names-plain
// BUILD g++ -O2 $SRC -o names-copies
#include <string>

volatile long sink;

namespace shop {
struct item {
    int price;
    __attribute__((noinline)) int total(int count) const { return price * count; }
    __attribute__((noinline)) item operator+(int more) const { return item{price + more}; }
};

__attribute__((noinline)) void sell(int n) { sink = n; }
__attribute__((noinline)) void sell(const char *what, long n) { sink = what[0] + n; }

template <typename T> __attribute__((noinline)) T twice(T value) {
    sink = static_cast<long>(value);
    return value + value;
}

__attribute__((noinline)) void by_reference(const std::string &text, item &thing) { sink = text.size() + thing.price; }

// Its result is a type of another ABI, which its name says: label[abi:cxx11](int).
__attribute__((noinline)) std::string label(int n) { return std::string(n, 'x'); }

namespace {
__attribute__((noinline)) void hidden(int n) { sink = n; }
} // namespace

// With -O2 a copy without the second parameter: level.constprop.0.
static __attribute__((noinline)) long level(int n, int step) {
    for (int i = 0; i < n; i += step)
        sink = i * step;
    return sink;
}
} // namespace shop

namespace {
__attribute__((noinline)) void nowhere(int n) { sink = n; }
} // namespace

int main() {
    shop::item thing{3};
    sink = thing.total(4);
    sink = (thing + 5).price;
    shop::sell(1);
    shop::sell("x", 2);
    sink = shop::twice<int>(21) + shop::twice<long>(40);
    shop::by_reference("text", thing);
    sink = shop::label(4).size();
    shop::hidden(5);
    nowhere(6);
    sink = shop::level(7, 3) + shop::level(8, 3);
    auto local = [](int n) __attribute__((noinline)) { sink = n; };
    local(9);
    return 0;
}
