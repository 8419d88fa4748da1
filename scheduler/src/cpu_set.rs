//! Sets of host CPUs.

use std::fmt;
use std::ops::{BitAnd, BitOr, Sub};
use std::str::FromStr;

use crate::CpuId;

/// The most CPUs that a host may have.
pub const CPUS_MAX: usize = 1024;

const WORDS: usize = CPUS_MAX / 64;

/// A set of CPUs with numbers below [`CPUS_MAX`]. Written as Linux writes them: `0-3,8`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuSet([u64; WORDS]);

impl CpuSet {
    /// No CPU.
    pub const EMPTY: Self = Self([0; WORDS]);
    /// Every CPU that there could be.
    pub const ALL: Self = Self([u64::MAX; WORDS]);

    /// CPUs 0 to `count - 1`.
    ///
    /// # Panics
    /// Over [`CPUS_MAX`].
    pub fn first_n(count: usize) -> Self {
        assert!(count <= CPUS_MAX, "{count} CPUs");
        let mut set = Self::EMPTY;
        for (index, word) in set.0.iter_mut().enumerate() {
            let bits = count.saturating_sub(index * 64).min(64);
            *word = if bits == 64 {
                u64::MAX
            } else {
                (1 << bits) - 1
            };
        }
        set
    }

    /// Just this one.
    pub fn only(cpu: CpuId) -> Self {
        let mut set = Self::EMPTY;
        set.insert(cpu);
        set
    }

    /// Whether `cpu` is in.
    pub fn contains(&self, cpu: CpuId) -> bool {
        let index = cpu.index();
        index < CPUS_MAX && self.0[index / 64] >> (index % 64) & 1 == 1
    }

    /// Adds a CPU.
    ///
    /// # Panics
    /// For a number from [`CPUS_MAX`] on.
    pub fn insert(&mut self, cpu: CpuId) {
        self.0[cpu.index() / 64] |= 1 << (cpu.index() % 64);
    }

    /// Takes a CPU out.
    pub fn remove(&mut self, cpu: CpuId) {
        if cpu.index() < CPUS_MAX {
            self.0[cpu.index() / 64] &= !(1 << (cpu.index() % 64));
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// The one with the lowest number.
    pub fn first(&self) -> Option<CpuId> {
        self.iter().next()
    }

    /// All, from the lowest number up.
    pub fn iter(&self) -> Iter {
        Iter {
            words: self.0,
            index: 0,
        }
    }

    /// Whether every member is in `other` too.
    pub fn is_subset(&self, other: &Self) -> bool {
        (*self - *other).is_empty()
    }
}

/// The members of a [`CpuSet`].
#[derive(Debug, Clone)]
pub struct Iter {
    words: [u64; WORDS],
    index: usize,
}

impl Iterator for Iter {
    type Item = CpuId;

    fn next(&mut self) -> Option<CpuId> {
        while self.index < WORDS {
            let word = &mut self.words[self.index];
            if *word != 0 {
                let bit = word.trailing_zeros() as usize;
                *word &= *word - 1;
                return Some(CpuId((self.index * 64 + bit) as u16));
            }
            self.index += 1;
        }
        None
    }
}

impl FromIterator<CpuId> for CpuSet {
    fn from_iter<I: IntoIterator<Item = CpuId>>(cpus: I) -> Self {
        let mut set = Self::EMPTY;
        cpus.into_iter().for_each(|cpu| set.insert(cpu));
        set
    }
}

fn combine(a: CpuSet, b: CpuSet, op: impl Fn(u64, u64) -> u64) -> CpuSet {
    CpuSet(std::array::from_fn(|index| op(a.0[index], b.0[index])))
}

impl BitAnd for CpuSet {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        combine(self, other, |a, b| a & b)
    }
}

impl BitOr for CpuSet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        combine(self, other, |a, b| a | b)
    }
}

impl Sub for CpuSet {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        combine(self, other, |a, b| a & !b)
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cpus = self.iter().map(|cpu| cpu.0).peekable();
        let mut separator = "";
        while let Some(first) = cpus.next() {
            let mut last = first;
            while let Some(next) = cpus.next_if_eq(&(last + 1)) {
                last = next;
            }
            write!(f, "{separator}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

impl fmt::Debug for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

/// What is wrong with the text of a [`CpuSet`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpuSetError {
    /// A part is neither a number nor a range.
    #[error("{0:?} is not a CPU number or a range like 0-3")]
    NotARange(String),
    /// A range runs backwards.
    #[error("the range {0:?} ends before it begins")]
    Backwards(String),
    /// A number is too large.
    #[error("CPU {0} is over the highest possible number {max}", max = CPUS_MAX - 1)]
    TooLarge(u64),
}

impl FromStr for CpuSet {
    type Err = CpuSetError;

    fn from_str(text: &str) -> Result<Self, CpuSetError> {
        let mut set = Self::EMPTY;
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<u64>().ok();
            let (Some(first), Some(last)) = (number(first), number(last)) else {
                return Err(CpuSetError::NotARange(part.to_owned()));
            };
            if first > last {
                return Err(CpuSetError::Backwards(part.to_owned()));
            }
            if last >= CPUS_MAX as u64 {
                return Err(CpuSetError::TooLarge(last));
            }
            (first..=last).for_each(|cpu| set.insert(CpuId(cpu as u16)));
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests;
