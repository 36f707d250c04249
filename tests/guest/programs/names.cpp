// Names of C++: namespaces, overloads, templates, members, operators.
// BUILD g++ -O1 -g $SRC -o names
// BUILD g++ -O1 $SRC -o names-plain
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
} // namespace shop

int main() {
    shop::item thing{3};
    sink = thing.total(4);
    sink = (thing + 5).price;
    shop::sell(1);
    shop::sell("x", 2);
    sink = shop::twice<int>(21) + shop::twice<long>(40);
    shop::by_reference("text", thing);
    return 0;
}
