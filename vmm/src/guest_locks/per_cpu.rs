//! Where Linux keeps its preempt count, by its own description.
//!
//! Linux before 6.2 has per-CPU variables `__preempt_count` and `current_task`; from 6.2 to 6.14 they are
//! members of the variable `pcpu_hot`; after that they are variables again.

use super::btf::{Btf, Entries, Kind, Members};
use crate::board::Unseen;

/// The section of the kernel that each processor has a copy of.
const SECTION: &str = ".data..percpu";
/// Its variable with the address of the copy itself, from where the section was linked to.
const OWN_OFFSET: &str = "this_cpu_off";
const COUNT: &str = "__preempt_count";
const CURRENT: &str = "current_task";
/// The structure, and the variable of the same name, that had both for some years.
const HOT: &str = "pcpu_hot";
const HOT_COUNT: &str = "preempt_count";
/// The structure of a task, and its number in it.
const TASK: &str = "task_struct";
const TASK_NUMBER: &str = "pid";
/// A function that only kernels with preemption have. They are those that count spin locks.
const PREEMPTION: &str = "preempt_schedule";

/// The longest per-CPU section: fifty times what kernels have. A task is shorter.
pub(super) const SECTION_LEN_MAX: u32 = 16 << 20;

/// Where in its per-CPU area a kernel has what is of use here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerCpu {
    /// The preempt count, 4 bytes.
    pub count: u32,
    /// The area's own offset, 8 bytes.
    pub own_offset: u32,
    /// The task that runs, if that is known.
    pub task: Option<Task>,
}

/// How to learn which task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// Where in the area its address is, 8 bytes.
    pub current: u32,
    /// Where in the task its number is, 4 bytes. Idle tasks have 0, and nobody else.
    pub number: u32,
}

/// What the names in a kernel's types refer to.
#[derive(Debug, Default)]
struct Names<'a> {
    section: Option<Entries<'a>>,
    count: Option<u32>,
    own_offset: Option<u32>,
    current: Option<u32>,
    hot: Option<u32>,
    hot_members: Option<Members<'a>>,
    task_members: Option<Members<'a>>,
    has_preemption: bool,
}

impl<'a> Names<'a> {
    fn collect(btf: &Btf<'a>) -> Self {
        let mut names = Self::default();
        for record in btf.records() {
            let is = |name| btf.is_named(record.name, name);
            match record.kind {
                Kind::Variable if is(COUNT) => names.count = Some(record.number),
                Kind::Variable if is(OWN_OFFSET) => names.own_offset = Some(record.number),
                Kind::Variable if is(CURRENT) => names.current = Some(record.number),
                Kind::Variable if is(HOT) => names.hot = Some(record.number),
                Kind::Function if is(PREEMPTION) => names.has_preemption = true,
                Kind::Struct(members) if is(HOT) => names.hot_members = Some(members),
                Kind::Struct(members) if is(TASK) => names.task_members = Some(members),
                Kind::Section(entries) if is(SECTION) => names.section = Some(entries),
                _ => {}
            }
        }
        names
    }

    /// Where in the section a variable is.
    fn place(&self, variable: Option<u32>) -> Option<u32> {
        let variable = variable?;
        let mut entries = self.section?;
        let entry = entries.find(|entry| entry.variable == variable)?;
        Some(entry.offset)
    }
}

impl PerCpu {
    /// Reads a kernel's BTF. Any bytes are permitted.
    pub fn find(bytes: &[u8]) -> Result<Self, Unseen> {
        let btf = Btf::new(bytes).ok_or(Unseen::NoTypes)?;
        let names = Names::collect(&btf);
        let member = |members: Option<Members<'_>>, name| {
            let (_, offset) = members?.find(|&(at, _)| btf.is_named(at, name))?;
            offset
        };
        // A variable of its own, or a member of the hot one.
        let place = |variable, name| {
            names.place(variable).or_else(|| {
                let inside = member(names.hot_members, name)?;
                names.place(names.hot)?.checked_add(inside)
            })
        };
        let count = place(names.count, HOT_COUNT).filter(|&at| is_readable(at, 4));
        let own_offset = names.place(names.own_offset);
        let own_offset = own_offset.filter(|&at| is_readable(at, 8));
        let (Some(count), Some(own_offset)) = (count, own_offset) else {
            return Err(Unseen::NoVariable);
        };
        if !names.has_preemption {
            return Err(Unseen::NoPreemption);
        }
        let current = place(names.current, CURRENT).filter(|&at| is_readable(at, 8));
        let number = member(names.task_members, TASK_NUMBER).filter(|&at| is_readable(at, 4));
        let task = current.zip(number);
        Ok(Self {
            count,
            own_offset,
            task: task.map(|(current, number)| Task { current, number }),
        })
    }
}

/// Whether a word of `len` bytes may be there.
fn is_readable(offset: u32, len: u32) -> bool {
    offset.is_multiple_of(len) && offset <= SECTION_LEN_MAX - len
}

#[cfg(test)]
mod tests;
