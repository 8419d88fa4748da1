//! A disk workload with a reference: what every block of a disk has to hold after random I/O.
//!
//! Problem: a disk that loses, misplaces or tears writes looks fine until someone reads the right
//! block.
//!
//! Approach: a seed gives a sequence of operations. The content of a block follows from the seed, the
//! block's number and how often it was written, so a table of small numbers, the [`Reference`], says
//! what the whole disk holds. A guest runs the operations on its disk and checks what it reads; the
//! host runs them on a reference alone and checks the disk's file.
//!
//! Terms: a *block* is 4 KiB; its *version* is 0 while it holds zeroes, else the number of the
//! operation that wrote it.

use std::ops::Range;

/// Bytes in a block.
pub const BLOCK_LEN: usize = 4096;
/// Most blocks in one operation.
pub const OPERATION_BLOCKS_MAX: u32 = 32;

/// What happens to a range of blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// They are read and compared.
    Read(Range<u32>),
    /// They are written with this version.
    Write(Range<u32>, u32),
    /// They are made zero.
    Zero(Range<u32>),
    /// All that was written is made durable.
    Flush,
}

/// An endless sequence of operations.
#[derive(Debug, Clone)]
pub struct Workload {
    random: Random,
    blocks: u32,
    number: u32,
}

impl Workload {
    /// The sequence of `seed` for a disk with this many blocks.
    pub fn new(seed: u64, blocks: u32) -> Self {
        assert!(
            blocks > OPERATION_BLOCKS_MAX,
            "the disk is too small for the largest operation"
        );
        Self {
            random: Random(seed),
            blocks,
            number: 0,
        }
    }
}

impl Iterator for Workload {
    type Item = Operation;

    fn next(&mut self) -> Option<Operation> {
        self.number += 1;
        // Mostly small, as file systems do it.
        let len = match self.random.below(4) {
            0 => 1 + self.random.below(OPERATION_BLOCKS_MAX),
            _ => 1 + self.random.below(4),
        };
        let start = self.random.below(self.blocks - len);
        let range = start..start + len;
        Some(match self.random.below(100) {
            0..40 => Operation::Read(range),
            40..90 => Operation::Write(range, self.number),
            90..97 => Operation::Zero(range),
            _ => Operation::Flush,
        })
    }
}

/// What a disk has to hold.
#[derive(Debug, Clone)]
pub struct Reference {
    seed: u64,
    versions: Vec<u32>,
}

impl Reference {
    /// A disk of zeroes.
    pub fn new(seed: u64, blocks: u32) -> Self {
        Self {
            seed,
            versions: vec![0; blocks as usize],
        }
    }

    /// Notes an operation.
    pub fn apply(&mut self, operation: &Operation) {
        let (range, version) = match operation {
            Operation::Write(range, version) => (range, *version),
            Operation::Zero(range) => (range, 0),
            Operation::Read(_) | Operation::Flush => return,
        };
        self.versions[range.start as usize..range.end as usize].fill(version);
    }

    /// Fills `bytes` with what the blocks from `start` on have to hold.
    pub fn fill(&self, start: u32, bytes: &mut [u8]) {
        for (number, block) in (start..).zip(bytes.chunks_mut(BLOCK_LEN)) {
            match self.versions[number as usize] {
                0 => block.fill(0),
                version => fill_block(self.seed, number, version, block),
            }
        }
    }

    /// The first block in `bytes`, which start at block `start`, that is not as it has to be.
    pub fn first_difference(&self, start: u32, bytes: &[u8]) -> Option<u32> {
        let mut expected = [0; BLOCK_LEN];
        (start..)
            .zip(bytes.chunks(BLOCK_LEN))
            .find_map(|(number, block)| {
                self.fill(number, &mut expected);
                (block != expected).then_some(number)
            })
    }
}

fn fill_block(seed: u64, number: u32, version: u32, block: &mut [u8]) {
    let mut random = Random(seed ^ (u64::from(number) << 32 | u64::from(version)));
    for word in block.chunks_mut(8) {
        word.copy_from_slice(&random.next().to_le_bytes()[..word.len()]);
    }
}

/// SplitMix64: small, fast, and the same everywhere.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `limit`.
    fn below(&mut self, limit: u32) -> u32 {
        u32::try_from(self.next() % u64::from(limit)).expect("it is below a 32-bit number")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKS: u32 = 64;

    #[test]
    fn operations_stay_on_the_disk_and_all_kinds_occur() {
        let mut kinds = [0; 4];
        for operation in Workload::new(1, BLOCKS).take(10_000) {
            let range = match &operation {
                Operation::Read(range) => (0, range.clone()),
                Operation::Write(range, _) => (1, range.clone()),
                Operation::Zero(range) => (2, range.clone()),
                Operation::Flush => (3, 0..1),
            };
            kinds[range.0] += 1;
            let range = range.1;
            assert!(range.start < range.end && range.end <= BLOCKS, "{range:?}");
            assert!(range.len() <= OPERATION_BLOCKS_MAX as usize, "{range:?}");
        }
        assert!(kinds.iter().all(|&count| count > 100), "{kinds:?}");
    }

    #[test]
    fn the_reference_follows_writes_and_notices_every_other_block() {
        let mut reference = Reference::new(7, BLOCKS);
        let mut disk = vec![0; BLOCKS as usize * BLOCK_LEN];
        for operation in Workload::new(7, BLOCKS).take(300) {
            reference.apply(&operation);
            if let Operation::Write(range, _) | Operation::Zero(range) = operation {
                let bytes = range.start as usize * BLOCK_LEN..range.end as usize * BLOCK_LEN;
                reference.fill(range.start, &mut disk[bytes]);
            }
        }
        assert_eq!(reference.first_difference(0, &disk), None);
        for number in 0..BLOCKS as usize {
            disk[(number + 1) * BLOCK_LEN - 1] ^= 1;
            assert_eq!(reference.first_difference(0, &disk), Some(number as u32));
            disk[(number + 1) * BLOCK_LEN - 1] ^= 1;
        }
    }

    #[test]
    fn blocks_differ_by_place_version_and_seed() {
        let block = |seed, number, version| {
            let mut block = [0; BLOCK_LEN];
            fill_block(seed, number, version, &mut block);
            block
        };
        let first = block(1, 2, 3);
        assert_eq!(first, block(1, 2, 3));
        for other in [block(2, 2, 3), block(1, 3, 3), block(1, 2, 4)] {
            assert_ne!(first, other);
        }
    }
}
