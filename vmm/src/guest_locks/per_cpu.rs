//! Where Linux keeps its preempt count, by its own description.
//!
//! Linux before 6.2 has a per-CPU variable `__preempt_count`; from 6.2 to 6.14 it is a member of the
//! variable `pcpu_hot`; after that it is a variable again.

use super::btf::{Btf, Kind};
use crate::board::Unseen;

/// The section of the kernel that each processor has a copy of.
const SECTION: &str = ".data..percpu";
/// Its variable with the address of the copy itself, from where the section was linked to.
const OWN_OFFSET: &str = "this_cpu_off";
const COUNT: &str = "__preempt_count";
/// The structure, and the variable of the same name, that had the count for some years.
const HOT: &str = "pcpu_hot";
const HOT_COUNT: &str = "preempt_count";
/// A function that only kernels with preemption have. They are those that count spin locks.
const PREEMPTION: &str = "preempt_schedule";

/// The longest per-CPU section: fifty times what kernels have.
pub(super) const SECTION_LEN_MAX: u32 = 16 << 20;

/// Where in its per-CPU area a kernel has what is of use here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerCpu {
    /// The preempt count, 4 bytes.
    pub count: u32,
    /// The area's own offset, 8 bytes.
    pub own_offset: u32,
}

/// What the names in a kernel's types refer to.
#[derive(Debug, Default)]
struct Names {
    count: Option<u32>,
    own_offset: Option<u32>,
    hot: Option<u32>,
    count_in_hot: Option<u32>,
    has_preemption: bool,
}

impl Names {
    fn collect(btf: &Btf<'_>) -> Self {
        let mut names = Self::default();
        for record in btf.records() {
            let is = |name| btf.is_named(record.name, name);
            match record.kind {
                Kind::Variable if is(COUNT) => names.count = Some(record.number),
                Kind::Variable if is(OWN_OFFSET) => names.own_offset = Some(record.number),
                Kind::Variable if is(HOT) => names.hot = Some(record.number),
                Kind::Function if is(PREEMPTION) => names.has_preemption = true,
                Kind::Struct(mut members) if is(HOT) => {
                    let member = members.find(|(name, _)| btf.is_named(*name, HOT_COUNT));
                    names.count_in_hot = member.and_then(|(_, offset)| offset);
                }
                _ => {}
            }
        }
        names
    }
}

impl PerCpu {
    /// Reads a kernel's BTF. Any bytes are permitted.
    pub fn find(bytes: &[u8]) -> Result<Self, Unseen> {
        let btf = Btf::new(bytes).ok_or(Unseen::NoTypes)?;
        let names = Names::collect(&btf);
        let sections = btf.records().filter_map(|record| match record.kind {
            Kind::Section(entries) if btf.is_named(record.name, SECTION) => Some(entries),
            _ => None,
        });
        let (mut count, mut own_offset) = (None, None);
        for entry in sections.flatten() {
            let is = |name: Option<u32>| name == Some(entry.variable);
            if is(names.count) {
                count = Some(entry.offset);
            } else if is(names.own_offset) {
                own_offset = Some(entry.offset);
            } else if is(names.hot) && count.is_none() {
                let inside = names.count_in_hot;
                count = inside.and_then(|inside| entry.offset.checked_add(inside));
            }
        }
        let found = count.filter(|&at| is_readable(at, 4));
        let own_offset = own_offset.filter(|&at| is_readable(at, 8));
        let (Some(count), Some(own_offset)) = (found, own_offset) else {
            return Err(Unseen::NoVariable);
        };
        if !names.has_preemption {
            return Err(Unseen::NoPreemption);
        }
        Ok(Self { count, own_offset })
    }
}

/// Whether a word of `len` bytes may be there.
fn is_readable(offset: u32, len: u32) -> bool {
    offset.is_multiple_of(len) && offset <= SECTION_LEN_MAX - len
}

#[cfg(test)]
mod tests;
