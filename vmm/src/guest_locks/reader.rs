//! Reads one vCPU's preempt count, when that vCPU stands still.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use muster_devices::memory::GuestRam;
use vm_memory::{Bytes, GuestAddress};

use super::{GuestLocks, PerCpu, Task};
use crate::board::{LockSeen, Unseen};

/// So many looks in a row that make no sense are one too many.
const DOUBTS_MAX: u32 = 8;

/// x86's Linux keeps "somebody should run" in the count, inverted.
const NEED_RESCHED: u32 = 1 << 31;
/// Preemption is forbidden so many times over, soft interrupts, interrupts, NMIs: 24 bits. Others are
/// always 0.
const COUNTS: u32 = 0x00ff_ffff;
/// What an idle task counts, which is one that runs where there is nothing to do.
const IDLE: u32 = 1;

/// A vCPU that stands still, as its own thread can ask KVM about it.
pub trait Stopped {
    /// What it does.
    fn standing(&self) -> Option<Standing>;
    /// Where a system call enters the kernel, if that has been set.
    fn system_call_entry(&self) -> Option<u64>;
    /// Where in guest memory the vCPU would find this virtual address.
    fn translate(&self, address: u64) -> Option<GuestAddress>;
}

/// What a vCPU does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// It is in ring 3.
    pub in_user_mode: bool,
    /// It waits for an interrupt.
    pub is_halted: bool,
    /// The base of GS that the kernel has, or will have once it is entered.
    pub kernel_gs: u64,
}

/// Reads a vCPU's count. It belongs to the vCPU's thread.
#[derive(Debug)]
pub struct LockReader {
    locks: Arc<GuestLocks>,
    area: Option<Area>,
    doubts: u32,
}

/// A vCPU's per-CPU area.
#[derive(Debug, Clone, Copy)]
struct Area {
    base: u64,
    count: GuestAddress,
    own_offset: GuestAddress,
    /// Where the address of the task that runs is.
    current: Option<GuestAddress>,
}

impl Area {
    /// The area still is what it was taken for.
    fn is_own(&self, ram: &GuestRam) -> bool {
        let word = ram.load::<u64>(self.own_offset, Ordering::Relaxed);
        word.is_ok_and(|word| word == self.base)
    }
}

impl LockReader {
    /// For one vCPU of the guest.
    pub fn new(locks: Arc<GuestLocks>) -> Self {
        Self {
            locks,
            area: None,
            doubts: 0,
        }
    }

    /// What the vCPU is about. [`LockSeen::Free`] also if that cannot be told.
    pub fn look(&mut self, vcpu: &impl Stopped) -> LockSeen {
        if let Some(per_cpu) = self.locks.per_cpu() {
            return match self.read(per_cpu, vcpu) {
                Ok(seen) => {
                    self.doubts = 0;
                    seen
                }
                Err(doubt) => {
                    self.doubt(doubt);
                    LockSeen::Free
                }
            };
        }
        if self.locks.is_awaited()
            && let Some(entry) = vcpu.system_call_entry().filter(|&entry| is_kernel(entry))
            && let Some(address) = vcpu.translate(entry)
        {
            self.locks.look_at(address);
        }
        LockSeen::Free
    }

    fn read(&mut self, per_cpu: PerCpu, vcpu: &impl Stopped) -> Result<LockSeen, Unseen> {
        let ram = &self.locks.ram;
        if !self.area.is_some_and(|area| area.is_own(ram)) {
            self.area = find_area(ram, per_cpu, vcpu)?;
        }
        let Some(area) = self.area else {
            // The kernel has not started this vCPU yet.
            return Ok(LockSeen::Free);
        };
        let word = ram.load::<u32>(area.count, Ordering::Relaxed);
        let count = word.map_err(|_| Unseen::NoArea)? & !NEED_RESCHED;
        if count == 0 {
            return Ok(LockSeen::Free);
        }
        if count & !COUNTS != 0 {
            return Err(Unseen::Nonsense);
        }
        match vcpu.standing() {
            Some(standing) if standing.in_user_mode => Err(Unseen::HeldByUser),
            Some(standing) if standing.is_halted => Ok(LockSeen::Free),
            // On its way to halt, or back from there.
            Some(_) if count == IDLE && is_idle(ram, area, per_cpu.task, vcpu) => {
                Ok(LockSeen::Free)
            }
            Some(_) => Ok(LockSeen::Holding),
            None => Ok(LockSeen::Free),
        }
    }

    fn doubt(&mut self, doubt: Unseen) {
        self.doubts += 1;
        if self.doubts >= DOUBTS_MAX {
            self.locks.switch_off(doubt);
        }
    }
}

/// The vCPU's per-CPU area; `None` if it has none yet.
fn find_area(ram: &GuestRam, per_cpu: PerCpu, vcpu: &impl Stopped) -> Result<Option<Area>, Unseen> {
    let standing = vcpu.standing();
    let Some(standing) = standing.filter(|standing| is_kernel(standing.kernel_gs)) else {
        return Ok(None);
    };
    let base = standing.kernel_gs;
    let at = |offset: u32| vcpu.translate(base.checked_add(offset.into())?);
    let (Some(count), Some(own_offset)) = (at(per_cpu.count), at(per_cpu.own_offset)) else {
        // Kernels may hide their memory from user mode (page table isolation).
        return match standing.in_user_mode {
            true => Ok(None),
            false => Err(Unseen::NoArea),
        };
    };
    let area = Area {
        base,
        count,
        own_offset,
        current: per_cpu.task.and_then(|task| at(task.current)),
    };
    match area.is_own(ram) {
        true => Ok(Some(area)),
        false => Err(Unseen::NoArea),
    }
}

/// Whether the vCPU runs its idle task, as far as that can be told.
fn is_idle(ram: &GuestRam, area: Area, task: Option<Task>, vcpu: &impl Stopped) -> bool {
    let number = || {
        let current = ram.load::<u64>(area.current?, Ordering::Relaxed).ok()?;
        let number = current.checked_add(task?.number.into())?;
        let at = vcpu.translate(number).filter(|_| is_kernel(current))?;
        ram.load::<u32>(at, Ordering::Relaxed).ok()
    };
    number() == Some(0)
}

/// Whether an address is in the half that kernels have for themselves.
fn is_kernel(address: u64) -> bool {
    address >> 63 == 1
}

#[cfg(test)]
mod tests;
