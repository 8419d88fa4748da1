//! Randomness from a seed.
//!
//! Each purpose has a stream of its own: what one vCPU draws does not depend on when another one gets
//! to draw, so that every policy is shown the same work.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::Nanos;

use super::scenario::Spread;

/// What a stream is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// The work of a vCPU: its group, VM and number.
    Vcpu,
    /// Who gets a lock: its group, VM and number.
    Lock,
    /// When VMs of a group arrive, and how large.
    Arrivals,
    /// How long orders for a CPU take.
    Actuation,
    /// When a CPU is stolen.
    Steal,
    /// When CPUs go away.
    Outages,
    /// Late and lost things.
    Faults,
    /// Which latencies are kept.
    Samples,
}

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub(super) struct Stream(Xoshiro256PlusPlus);

impl Stream {
    /// The stream for a purpose.
    pub(super) fn new(seed: u64, purpose: Purpose, of: [u32; 3]) -> Self {
        let words = [purpose as u32, of[0], of[1], of[2]];
        let mixed = words.iter().fold(seed, |state, &word| {
            mix(state ^ mix(u64::from(word).wrapping_add(1)))
        });
        Self(Xoshiro256PlusPlus::seed_from_u64(mixed))
    }

    /// A number below `limit`, which must not be 0.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(limit)) >> 64) as u64
    }

    /// Whether something with this chance happens.
    pub(super) fn chance(&mut self, percent: u32) -> bool {
        // Nothing is drawn for what is not wanted.
        percent > 0 && self.below(100) < u64::from(percent)
    }

    /// A time with this mean, at least 1 ns, as the times between independent events are.
    pub(super) fn exponential(&mut self, mean: Nanos) -> Nanos {
        let bits = self.0.next_u64() >> 11;
        let uniform = (bits as f64 + 0.5) / (1u64 << 53) as f64;
        ((-libm::log(uniform) * mean as f64) as Nanos).max(1)
    }

    /// A time with this mean, at least 1 ns.
    pub(super) fn around(&mut self, mean: Nanos, spread: Spread) -> Nanos {
        match spread {
            Spread::Fixed => mean.max(1),
            Spread::Uniform => 1 + self.below(2 * mean.max(1)),
            Spread::Exponential => self.exponential(mean),
        }
    }
}

/// Scatters the bits of a number: the finaliser of Stafford's thirteenth variant of MurmurHash3's.
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests;
