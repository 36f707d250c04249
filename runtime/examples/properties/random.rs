//! Random choices: the same seed gives the same scripts everywhere.

pub struct Random(fastrand::Rng);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(fastrand::Rng::with_seed(seed))
    }

    pub fn bits(&mut self) -> u64 {
        self.0.u64(..)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0.u64(..limit)
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }

    /// A value that arithmetic may go wrong on: an end of some width, a small number, or anything.
    pub fn interesting(&mut self) -> i64 {
        let width = self.pick(&[8, 16, 32, 64]);
        match self.below(6) {
            0 => self.below(10) as i64 - 4,
            1 => self.below(600) as i64 - 300,
            // The ends of signed and unsigned integers, and their neighbours.
            2 => (i64::MAX >> (64 - width)).wrapping_add(self.below(5) as i64 - 2),
            3 => (i64::MIN >> (64 - width)).wrapping_add(self.below(5) as i64 - 2),
            4 => ((u64::MAX >> (64 - width)) as i64).wrapping_add(self.below(5) as i64 - 2),
            _ => (self.bits() >> self.below(64)) as i64,
        }
    }
}
