//! How it is known what a VM's vCPUs hold, and why it is not.

use thiserror::Error;

/// How it is known what a VM's vCPUs hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockSource {
    /// As far as the guest tells through the guest page.
    Page,
    /// From Linux's preempt counts, once Linux has come up.
    Awaited,
    /// From Linux's preempt counts.
    Linux,
    /// Not at all.
    Unseen(Unseen),
}

/// Why it is not known what a Linux guest's vCPUs hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unseen {
    /// No BTF.
    #[error("its kernel carries no description of its types (BTF)")]
    NoTypes,
    /// BTF without what is wanted.
    #[error("its kernel describes no per-CPU preempt count")]
    NoVariable,
    /// Spin locks leave no trace.
    #[error("its kernel keeps no preempt count, since it is built without preemption")]
    NoPreemption,
    /// What is there is no per-CPU area.
    #[error("its kernel's per-CPU areas are not where GS points")]
    NoArea,
    /// Bits are set that always are 0.
    #[error("its kernel's preempt counts make no sense")]
    Nonsense,
    /// Nothing is held there.
    #[error("its kernel's preempt counts are not 0 in user mode")]
    HeldByUser,
}

/// What a board has for the reasons: the first of these numbers, and the following.
const FIRST_REASON: u32 = 3;
const REASONS: [Unseen; 6] = [
    Unseen::NoTypes,
    Unseen::NoVariable,
    Unseen::NoPreemption,
    Unseen::NoArea,
    Unseen::Nonsense,
    Unseen::HeldByUser,
];

impl LockSource {
    /// What a board has for it.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Page => 0,
            Self::Awaited => 1,
            Self::Linux => 2,
            Self::Unseen(reason) => FIRST_REASON + reason as u32,
        }
    }

    /// What a board says. A number without meaning is [`Page`](Self::Page).
    pub(super) fn of_number(number: u32) -> Self {
        match number {
            1 => Self::Awaited,
            2 => Self::Linux,
            FIRST_REASON.. => {
                let reason = REASONS.get((number - FIRST_REASON) as usize);
                reason.map_or(Self::Page, |&reason| Self::Unseen(reason))
            }
            _ => Self::Page,
        }
    }
}
