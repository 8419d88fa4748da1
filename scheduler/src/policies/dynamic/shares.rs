//! How many CPUs each VM may use: max-min fair by weight, in whole CPUs.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A VM that wants CPUs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claimant {
    pub weight: u32,
    /// How many it can make good use of now.
    pub wanted: u32,
    /// How many it could use at most.
    pub most: u32,
}

/// Shares out `cpus`, of which there are at least as many as claimants. Everybody gets one; then the
/// next goes again and again to whoever has the least for his weight, of those who want more; then
/// likewise to those who could use more.
pub(super) fn share_out(claimants: &[Claimant], cpus: u32) -> Vec<u32> {
    let mut shares: Vec<u32> = claimants
        .iter()
        .map(|claimant| claimant.most.min(1))
        .collect();
    let given: u32 = shares.iter().sum();
    let open = (0..shares.len()).filter(|&index| shares[index] < claimants[index].most);
    let turns = open.map(|index| Reverse(Next::new(claimants, index, shares[index])));
    let mut next = BinaryHeap::from_iter(turns);
    for _ in given..cpus {
        let Some(Reverse(Next { index, .. })) = next.pop() else {
            break;
        };
        shares[index] += 1;
        if shares[index] < claimants[index].most {
            next.push(Reverse(Next::new(claimants, index, shares[index])));
        }
    }
    shares
}

/// Somebody who could use one more CPU. The least is the next to get one.
#[derive(Debug, PartialEq, Eq)]
struct Next {
    /// It has all that it makes good use of.
    served: bool,
    share: u32,
    weight: u32,
    index: usize,
}

impl Next {
    fn new(claimants: &[Claimant], index: usize, share: u32) -> Self {
        let claimant = &claimants[index];
        Self {
            served: share >= claimant.wanted,
            share,
            weight: claimant.weight,
            index,
        }
    }
}

impl Ord for Next {
    fn cmp(&self, other: &Self) -> Ordering {
        // Shares over weights, as whole numbers.
        let scaled = |share: u32, weight: u32| u64::from(share) * u64::from(weight);
        let here = scaled(self.share, other.weight);
        let there = scaled(other.share, self.weight);
        (self.served, here, self.index).cmp(&(other.served, there, other.index))
    }
}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(claimants: &[(u32, u32, u32)], cpus: u32) -> Vec<u32> {
        let claimant = |&(weight, wanted, most): &(u32, u32, u32)| Claimant {
            weight,
            wanted,
            most,
        };
        share_out(&claimants.iter().map(claimant).collect::<Vec<_>>(), cpus)
    }

    #[test]
    fn equals_get_equal_parts() {
        assert_eq!(shares(&[(256, 8, 8), (256, 8, 8)], 8), [4, 4]);
        assert_eq!(shares(&[(256, 8, 8); 3], 8), [3, 3, 2]);
        assert_eq!(shares(&[(256, 8, 8)], 4), [4]);
        assert!(shares(&[], 4).is_empty());
    }

    #[test]
    fn who_wants_less_leaves_it_to_the_others() {
        assert_eq!(
            shares(&[(256, 2, 8), (256, 8, 8), (256, 8, 8)], 12),
            [2, 5, 5]
        );
        // What nobody wants goes to whoever could use it, and no further.
        assert_eq!(shares(&[(256, 1, 3), (256, 2, 2)], 8), [3, 2]);
        assert_eq!(shares(&[(256, 0, 0), (256, 1, 4)], 4), [0, 4]);
    }

    #[test]
    fn weights_count() {
        assert_eq!(shares(&[(512, 8, 8), (256, 8, 8)], 6), [4, 2]);
        assert_eq!(shares(&[(10_000, 8, 8), (1, 8, 8)], 4), [3, 1]);
    }
}
