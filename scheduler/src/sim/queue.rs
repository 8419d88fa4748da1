//! What will happen, in order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::{CpuId, Nanos, VcpuId};

/// Something that will happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happening {
    /// The vCPU on a CPU stops, for a switch.
    Stop(CpuId),
    /// The next vCPU starts there.
    Start(CpuId),
    /// What a CPU is doing is done.
    Progress(CpuId),
    /// A CPU is stolen.
    Steal(CpuId),
    /// And given back.
    StealOver(CpuId),
    /// An interrupt wakes a vCPU.
    Wake(VcpuId),
    /// A message from the second vCPU interrupts the first, both of the VM with this number.
    Message(VcpuId, VcpuId, u32),
    /// A VM of a group arrives: the group, and the VM's number in it.
    Arrive(u32, u32),
    /// The same, and another one follows.
    ArriveNext(u32, u32),
    /// The VM with this number leaves.
    Leave(u32),
    /// A CPU goes away.
    Offline(CpuId),
    /// And comes back.
    Online(CpuId),
    /// Some CPU goes away by chance.
    Outage,
    /// A policy of the scenario is put in charge.
    Swap(u32),
    /// Measuring begins.
    Measure,
}

/// The number of an event: by it one knows whether an event is still meant when it happens.
pub(super) type Token = u64;

/// See the module's head. Events of one moment happen in the order in which they were put in.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<(Nanos, Token, Happening)>>,
    last: Token,
}

impl Queue {
    pub(super) fn push(&mut self, at: Nanos, what: Happening) -> Token {
        self.last += 1;
        self.heap.push(Reverse((at, self.last, what)));
        self.last
    }

    pub(super) fn next_at(&self) -> Option<Nanos> {
        self.heap.peek().map(|&Reverse((at, ..))| at)
    }

    pub(super) fn pop(&mut self) -> Option<(Nanos, Token, Happening)> {
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}
