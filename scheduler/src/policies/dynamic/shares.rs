//! How many CPUs each VM may use: max-min fair by weight, in whole CPUs.

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
    for _ in shares.iter().sum()..cpus {
        let open = (0..shares.len()).filter(|&index| shares[index] < claimants[index].most);
        let least = open.min_by(|&a, &b| {
            let served = |index: usize| shares[index] >= claimants[index].wanted;
            let scaled =
                |of: usize, by: usize| u64::from(shares[of]) * u64::from(claimants[by].weight);
            (served(a), scaled(a, b)).cmp(&(served(b), scaled(b, a)))
        });
        let Some(least) = least else { break };
        shares[least] += 1;
    }
    shares
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
