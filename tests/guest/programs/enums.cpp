// Enums of C++: scoped ones, with types of their own, declared before they are defined.
// BUILD g++ -O1 -g $SRC -o enums-cpp
#include <cstdint>

enum class Early : int;

namespace shop {
enum class Color : uint8_t { Red = 1, Blue = 250 };
enum class Depth : int64_t { Deep = -5000000000, Flat = 0 };
enum Plain { PlainOne = 1, PlainTwo };

struct Box {
    enum class Shape : short { Round = -1, Square = 1 };
    Shape shape;
    Color color : 8;
    Early early;
};

volatile long sink;

__attribute__((noinline)) void mark(Color color, Depth depth, Plain plain, const Box &box) {
    sink = long(color) + long(depth) + plain + long(box.shape);
}
} // namespace shop

enum class Early : int { Before = -7, After };

int main() {
    shop::Box box{shop::Box::Shape::Round, shop::Color::Blue, Early::Before};
    // All of it is in memory.
    asm volatile("" ::"r"(&box) : "memory");
    shop::mark(shop::Color::Blue, shop::Depth::Deep, shop::PlainTwo, box);
    shop::mark(shop::Color(9), shop::Depth(4), shop::Plain(0), box);
}
