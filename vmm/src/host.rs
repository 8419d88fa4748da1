//! What this host offers to guests, and what stands in their way.
//!
//! Problem: when a guest does not start or runs badly, the host is mostly to blame: a module is
//! not loaded, the user is not in a group, the processor has no virtualization.
//!
//! Approach: a host is described by what its files say ([`HostFiles`]) and by what its kernel
//! answers when asked directly (`Answers`). Everything else here only judges
//! the two, so tests make up whole hosts from a folder of files and a few answers.
//!
//! Terms: a [`Fact`] is one thing found out, with its [`Status`] and, where it is not as it should
//! be, one line of advice. A problem is what keeps every guest from running; a warning is anything
//! less. All facts together are a [`HostReport`].

mod answers;
mod cgroups;
mod cpus;
mod fact;
mod files;
mod identity;
mod kind;
mod kvm;
mod memory;
mod nodes;
mod scheduling;
mod system;

use serde::Serialize;

use answers::{Answers, PriorityLimits};

pub use cgroups::CgroupReport;
pub use cpus::CpuReport;
pub use fact::{Area, Fact, Status};
pub use files::HostFiles;
pub use kind::{Extension, KvmKind};
pub use kvm::KvmReport;
pub use memory::{HugePagePool, MemoryReport};
pub use scheduling::SchedulingReport;

/// Version of the form of [`HostReport`]. Grows when a field changes its meaning or goes away; new
/// fields and new facts may appear without it.
pub const REPORT_SCHEMA: u32 = 1;

/// Which guests can run on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guests {
    /// All: stock Linux kernels and bare-metal programs.
    All,
    /// Bare-metal programs, but no stock Linux kernel.
    BareMetal,
    /// None, until the problems are solved.
    None,
}

/// All that was found out about a host.
#[derive(Debug, Clone, Serialize)]
pub struct HostReport {
    /// [`REPORT_SCHEMA`].
    pub schema: u32,
    /// Which guests can run here. [`Guests::None`] exactly if a fact is a problem.
    pub guests: Guests,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: Option<String>,
    /// KVM.
    pub kvm: KvmReport,
    /// Processors.
    pub cpus: CpuReport,
    /// Memory.
    pub memory: MemoryReport,
    /// What the user may ask of the host's scheduler.
    pub scheduling: SchedulingReport,
    /// Control groups.
    pub cgroups: CgroupReport,
    /// Every fact, grouped by area.
    pub facts: Vec<Fact>,
}

/// What stands behind `/dev/kvm` on this host.
pub fn kvm_kind() -> KvmKind {
    KvmKind::read(&HostFiles::system())
}

/// Finds out what this host offers. Changes nothing, and works for every user on any host.
pub fn survey() -> HostReport {
    let files = HostFiles::system();
    let answers = Answers::ask(&files);
    judge(&files, &answers)
}

/// What this user may ask of the host's scheduler: a part of the survey that is quickly had.
pub fn scheduling() -> SchedulingReport {
    SchedulingReport::new(&HostFiles::system(), PriorityLimits::ask())
}

/// The report about a host with these files and answers.
fn judge(files: &HostFiles, answers: &Answers) -> HostReport {
    let kvm = KvmReport::new(files, answers);
    let cpus = CpuReport::read(files);
    let memory = MemoryReport::read(files);
    let scheduling = SchedulingReport::new(files, answers.priorities);
    let cgroups = CgroupReport::new(files, answers);
    let facts: Vec<Fact> = [
        kvm::facts(files, answers, &kvm),
        nodes::facts(files, answers),
        scheduling::facts(&scheduling),
        cgroups::facts(&cgroups),
        memory::facts(&memory),
        system::facts(files, &cpus),
    ]
    .into_iter()
    .flatten()
    .collect();
    let guests = match kvm.kind {
        _ if facts.iter().any(|fact| fact.status == Status::Problem) => Guests::None,
        KvmKind::Pvm => Guests::BareMetal,
        _ => Guests::All,
    };
    HostReport {
        schema: REPORT_SCHEMA,
        guests,
        kernel: system::kernel_release(files),
        kvm,
        cpus,
        memory,
        scheduling,
        cgroups,
        facts,
    }
}

#[cfg(test)]
mod tests;
