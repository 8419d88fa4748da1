//! Random draws from a seed.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// A source of draws.
#[derive(Debug)]
pub struct Draw(Xoshiro256PlusPlus);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// A number from `low` to `high`, each as likely.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        let span = (high - low).saturating_add(1);
        low + self.0.next_u64() % span
    }

    /// A number from `low` to `high`, each order of magnitude as likely.
    pub fn scale(&mut self, low: u64, high: u64) -> u64 {
        let bits = |number: u64| u64::from(64 - number.max(1).leading_zeros());
        let bits = self.between(bits(low), bits(high));
        let from = if bits <= 1 { 0 } else { 1 << (bits - 1) };
        let to = if bits >= 64 {
            u64::MAX
        } else {
            (1 << bits) - 1
        };
        self.between(from.clamp(low, high), to.clamp(low, high))
    }

    /// True in `percent` of all cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.between(0, 99) < percent
    }

    /// One of these.
    pub fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.between(0, of.len() as u64 - 1) as usize]
    }
}
