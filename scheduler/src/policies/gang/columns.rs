//! Finding each member of a gang a column of its own.
//!
//! Problem: members may be forbidden some columns, so that taking the first free one can leave a later
//! member without any, though there is room for all.
//!
//! Approach: augmenting paths in a bipartite graph (Kuhn's algorithm): who finds no free column pushes
//! out another, who looks for a different one in turn. Who has no such trouble gets the column that it
//! had before, where its caches may still be warm, else the lowest free one.

use super::unit::Member;
use crate::{CpuId, CpuSet};

/// Columns among `free` for all members, or none if they do not all fit. `wishes` are what they
/// would rather have, by member; it may be shorter.
pub fn assign(members: &[Member], free: CpuSet, wishes: &[CpuId]) -> Option<Vec<CpuId>> {
    if members.len() > free.len() {
        return None;
    }
    let mut seats = Seats {
        members,
        left: free,
        columns: vec![None; members.len()],
    };
    for (member, &wish) in wishes.iter().enumerate().take(members.len()) {
        if seats.left.contains(wish) && members[member].allowed.contains(wish) {
            seats.sit(member, wish);
        }
    }
    for member in 0..members.len() {
        if seats.columns[member].is_none() && !seats.find(member, &mut CpuSet::EMPTY.clone(), free)
        {
            return None;
        }
    }
    seats.columns.into_iter().collect()
}

/// Who sits where while the columns are given out.
struct Seats<'a> {
    members: &'a [Member],
    left: CpuSet,
    columns: Vec<Option<CpuId>>,
}

impl Seats<'_> {
    fn sit(&mut self, member: usize, column: CpuId) {
        self.left.remove(column);
        self.columns[member] = Some(column);
    }

    /// Seats `member`, and others elsewhere if it must be. No column is tried twice, so that the depth
    /// is bounded by their number.
    fn find(&mut self, member: usize, tried: &mut CpuSet, free: CpuSet) -> bool {
        let Member {
            allowed, preferred, ..
        } = self.members[member];
        let best = (preferred & self.left).first();
        if let Some(column) = best.or_else(|| (allowed & self.left).first()) {
            self.sit(member, column);
            return true;
        }
        for column in ((allowed & free) - *tried).iter() {
            if tried.contains(column) {
                continue;
            }
            tried.insert(column);
            let sitting = self.columns.iter().position(|&taken| taken == Some(column));
            let other = sitting.expect("a column that is not left is taken");
            if self.find(other, tried, free) {
                self.columns[member] = Some(column);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
