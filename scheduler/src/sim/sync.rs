//! What the vCPUs of a VM wait for: locks, barriers, mailboxes.

use std::collections::VecDeque;

use crate::VcpuId;

use super::random::Stream;
use super::scenario::{LockKind, Workload};

/// What the vCPUs of a VM share in a phase of its workload.
#[derive(Debug)]
pub(super) enum Shared {
    Nothing,
    Locks(Vec<Lock>),
    Barrier(Barrier),
    Mailboxes(Vec<Mailbox>),
}

impl Shared {
    /// For a VM with this number of vCPUs.
    pub(super) fn new(workload: &Workload, vcpus: u32, random: &Stream) -> Self {
        match *workload {
            Workload::Lock { lock, locks, .. } => {
                Self::Locks((0..locks).map(|_| Lock::new(lock, random)).collect())
            }
            Workload::Barrier { .. } => Self::Barrier(Barrier::default()),
            Workload::RequestReply { .. } => {
                Self::Mailboxes((0..vcpus / 2).map(|_| Mailbox::Empty).collect())
            }
            _ => Self::Nothing,
        }
    }
}

/// A lock.
#[derive(Debug)]
pub(super) struct Lock {
    kind: LockKind,
    /// Whose it is, though it may not know yet.
    pub(super) owner: Option<VcpuId>,
    waiters: VecDeque<VcpuId>,
    random: Stream,
}

/// What becomes of a lock that was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It is this waiter's now.
    Granted(VcpuId),
    /// Nobody has it. This waiter, if there is one, sleeps and has to be woken to try.
    Free(Option<VcpuId>),
}

impl Lock {
    fn new(kind: LockKind, random: &Stream) -> Self {
        Self {
            kind,
            owner: None,
            waiters: VecDeque::new(),
            random: random.clone(),
        }
    }

    /// Takes it, if nobody has it.
    pub(super) fn try_take(&mut self, vcpu: VcpuId) -> bool {
        if self.owner.is_none() {
            self.owner = Some(vcpu);
            self.waiters.retain(|&waiter| waiter != vcpu);
        }
        self.owner == Some(vcpu)
    }

    pub(super) fn wait(&mut self, vcpu: VcpuId) {
        self.waiters.push_back(vcpu);
    }

    /// How many cache lines move until the next one has it.
    pub(super) fn lines(&self) -> u64 {
        match self.kind {
            LockKind::Tas | LockKind::Ticket => 1 + self.waiters.len() as u64,
            LockKind::Queue => 1,
        }
    }

    /// Its owner leaves it. `spins` tells who looks at it right now, `sleeps` who must be woken.
    pub(super) fn leave(
        &mut self,
        spins: impl Fn(VcpuId) -> bool,
        sleeps: impl Fn(VcpuId) -> bool,
    ) -> Next {
        self.owner = None;
        let next = match self.kind {
            LockKind::Ticket | LockKind::Queue => self.waiters.pop_front(),
            LockKind::Tas => {
                let trying = self.waiters.iter().filter(|&&waiter| spins(waiter)).count();
                let winner = (trying > 0).then(|| self.random.below(trying as u64) as usize);
                let places = (0..self.waiters.len()).filter(|&place| spins(self.waiters[place]));
                let place = winner.and_then(|winner| places.into_iter().nth(winner));
                place.and_then(|place| self.waiters.remove(place))
            }
        };
        match next {
            Some(vcpu) => {
                self.owner = Some(vcpu);
                Next::Granted(vcpu)
            }
            None => Next::Free(self.waiters.iter().copied().find(|&waiter| sleeps(waiter))),
        }
    }
}

/// A barrier.
#[derive(Debug, Default)]
pub(super) struct Barrier {
    /// How often it has opened.
    pub(super) opened: u64,
    /// Who waits at it.
    pub(super) waiting: Vec<VcpuId>,
}

/// Between two vCPUs that exchange requests and replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mailbox {
    Empty,
    Request,
    Reply,
}
