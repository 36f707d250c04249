// Functions whose last argument is 4242, after what is passed in every way there is.
// BUILD for v in 4 5; do for o in 0 2; do g++ -std=c++17 -O$o -g -gdwarf-$v $SRC -o convention-g$o-$v; done; done
#include <string>

volatile long sink;
#define PART __attribute__((noinline, noclone))

struct Large { long a, b, c; };
struct Mixed { double d; long n; };
struct Floats { float a, b, c; };
struct Empty {};
struct Pair { long a; int b; };
struct __attribute__((packed)) Packed { char c; long n; };
struct Extended { long double x; };
struct Method {
    long a, b, c;
    PART Large get(int last) { sink = last + a; return {1, 2, 3}; }
};

extern "C" {
PART Large hidden(int last) { sink = last; return {last, 2, 3}; }
PART void mixed(Mixed m, int last) { sink = m.n + last; }
PART void wide(__int128 w, int last) { sink = (long)w + last; }
PART void empty(Empty, int last) { sink = last; }
PART void text(std::string s, int last) { sink = s.size() + last; }
PART std::string makes(int last) { sink = last; return std::string(1, (char)last); }
PART void floats(Floats f, double d, int last) { sink = f.a + d + last; }
PART void packed(Packed p, int last) { sink = p.n + last; }
PART void spilled(long a, long b, long c, long d, long e, Pair p, int last) { sink = a + p.a + last; }
PART void pair(Pair p, int last) { sink = p.a + p.b + last; }
PART void stacked(long a, long b, long c, long d, long e, long f, Extended x, Large l, int last) { sink = a + l.b + (long)x.x + last; }
PART void extended(long double x, long a, long b, long c, long d, long e, long f, int last) { sink = x + last; }
PART long double returned(int last) { sink = last; return last; }
}

int main() {
    Large l{1, 2, 3};
    Method m{1, 2, 3};
    sink = m.get(4242).b;
    sink = hidden(4242).b;
    mixed({1.5, 7}, 4242);
    wide(5, 4242);
    empty({}, 4242);
    text("text", 4242);
    makes(4242);
    floats({1, 2, 3}, 4, 4242);
    packed({1, 2}, 4242);
    spilled(1, 2, 3, 4, 5, {6, 7}, 4242);
    pair({6, 7}, 4242);
    stacked(1, 2, 3, 4, 5, 6, {7}, l, 4242);
    extended(1, 2, 3, 4, 5, 6, 7, 4242);
    sink = returned(4242);
}
