// Enums of Rust whose variants hold nothing.
// BUILD rustc --edition 2021 -g $SRC -o enums-rust
use std::hint::black_box;

#[derive(Clone, Copy)]
pub enum Weather {
    Sunny,
    Rainy,
}

#[repr(i64)]
#[derive(Clone, Copy)]
pub enum Far {
    Below = -5_000_000_000,
    Above = 7,
}

pub struct Day {
    pub weather: Weather,
    pub far: Far,
}

#[no_mangle]
#[inline(never)]
pub fn report(weather: Weather, far: Far, day: &Day) -> i64 {
    black_box(weather as i64 + far as i64 + day.weather as i64 + day.far as i64)
}

fn main() {
    report(Weather::Rainy, Far::Below, &Day { weather: Weather::Sunny, far: Far::Above });
}
