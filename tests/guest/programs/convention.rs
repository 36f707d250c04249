// Functions whose last argument is 4242; some never read it, or another one.
// BUILD rustc --edition 2021 -g $SRC -o convention-rust-0
// BUILD rustc --edition 2021 -O -g $SRC -o convention-rust-2
use std::hint::black_box;

pub struct Large(pub [u64; 3]);

#[no_mangle]
#[inline(never)]
pub fn slices(text: &str, yes: bool, n: u8, last: u32) -> usize {
    black_box(text.len() + yes as usize + n as usize + last as usize)
}

#[no_mangle]
#[inline(never)]
pub fn lists(text: &str, list: &[u16], _mutable: &mut [i8], last: u32) -> usize {
    black_box(text);
    black_box(list);
    black_box(_mutable);
    black_box(last as usize)
}

#[no_mangle]
#[inline(never)]
pub fn plain(n: u64, last: u32) -> u64 {
    black_box(n + u64::from(last))
}

#[no_mangle]
#[inline(never)]
pub fn hidden(n: u64, last: u32) -> Large {
    black_box(Large([n, u64::from(last), 3]))
}

#[no_mangle]
#[inline(never)]
pub fn unit(_nothing: (), last: u32) -> u32 {
    black_box(last)
}

#[no_mangle]
#[inline(never)]
pub fn array(_floats: [f32; 2], last: u32) -> u32 {
    black_box(last)
}

#[no_mangle]
#[inline(never)]
pub fn unnamed(_: u64, last: u32) -> u32 {
    black_box(last)
}

#[inline(never)]
fn call(closure: &dyn Fn(u32) -> u32) -> u32 {
    closure(4242)
}

fn main() {
    let captured = black_box(7);
    black_box(call(&|last| black_box(captured) + last));
    unit((), black_box(4242));
    array([1.0, 2.0], black_box(4242));
    unnamed(black_box(1), black_box(4242));
    lists(black_box("words"), black_box(&[1, 2, 500]), black_box(&mut [-1, 2]), black_box(4242));
    slices(black_box("text"), black_box(true), black_box(3), black_box(4242));
    plain(black_box(1), black_box(4242));
    black_box(hidden(black_box(1), black_box(4242)));
}
