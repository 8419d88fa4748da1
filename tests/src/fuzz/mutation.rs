//! Inputs made from seeds, the same ones in every run.
//!
//! libFuzzer is guided by what code an input reaches and finds far more, given time. This finds
//! what a change breaks badly, in a second, in every run of the tests.

/// A generator of pseudo-random numbers (SplitMix64): the same seed, the same numbers.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The generator with this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, or 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % (end.max(1) as u64)) as usize
    }
}

/// Numbers at which arithmetic goes wrong.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_f000,
    u64::MAX,
];

/// An input made from `seeds`, of which there must be one: one of them after a few changes.
pub fn mutate(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(6) {
        change(&mut input, &seeds[random.below(seeds.len())], random);
    }
    input
}

fn change(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(input.len());
    match random.below(7) {
        0 if !input.is_empty() => input[at] ^= 1 << random.below(8),
        1 if !input.is_empty() => input[at] = random.number() as u8,
        2 => {
            // A number of 1 to 8 bytes, at a multiple of its length as in most structures.
            let len = 1 << random.below(4);
            let number = EDGES[random.below(EDGES.len())].to_le_bytes();
            let at = at - at % len;
            for (byte, edge) in input.iter_mut().skip(at).zip(&number[..len]) {
                *byte = *edge;
            }
        }
        3 => input.truncate(at),
        4 => {
            let end = (at + random.below(64)).min(input.len());
            let copy = input[at..end].to_vec();
            let to = random.below(input.len());
            input.splice(to..to, copy);
        }
        5 => drop(input.drain(at..(at + random.below(16)).min(input.len()))),
        _ => {
            let from = random.below(other.len());
            input.truncate(at);
            input.extend(&other[from..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs() {
        let seeds = [b"first seed".to_vec(), b"second".to_vec()];
        let inputs = |seed| {
            let mut random = Random::new(seed);
            (0..50)
                .map(|_| mutate(&seeds, &mut random))
                .collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
    }

    #[test]
    fn an_empty_seed_is_no_obstacle() {
        let mut random = Random::new(7);
        for _ in 0..1000 {
            mutate(&[vec![]], &mut random);
        }
    }
}
