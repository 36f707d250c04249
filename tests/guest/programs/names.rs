// Names of Rust: modules, methods, generic functions.
// BUILD rustc --edition 2021 -O -g $SRC -o names-rust
// BUILD rustc --edition 2021 -O -g -C symbol-mangling-version=v0 $SRC -o names-rust-v0
use std::hint::black_box;

mod shop {
    use std::hint::black_box;

    pub struct Item {
        pub price: u32,
    }

    impl Item {
        #[inline(never)]
        pub fn total(&self, count: u32) -> u32 {
            black_box(self.price) * count
        }
    }

    pub trait Shape {
        fn area(&self, scale: u32) -> u32;
    }

    pub struct Circle(pub u32);

    impl Shape for Circle {
        #[inline(never)]
        fn area(&self, scale: u32) -> u32 {
            black_box(self.0) * scale + 1
        }
    }

    #[inline(never)]
    pub fn sell<T: std::fmt::Debug>(what: T, count: u32) -> u32 {
        black_box(what);
        black_box(count)
    }
}

fn main() {
    use shop::Shape;
    let item = shop::Item { price: black_box(3) };
    black_box(item.total(black_box(4)));
    black_box(shop::Circle(black_box(2)).area(black_box(21)));
    black_box(shop::sell("text", 5));
    black_box(shop::sell(7u64, 6));
}
