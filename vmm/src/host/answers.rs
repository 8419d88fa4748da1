//! What the kernel answers when asked by system calls rather than through its files.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;

use kvm_ioctls::{Cap, Kvm};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{AccessFlags, access};

use super::cgroups;
use super::files::HostFiles;
use crate::kvm::REQUIRED;

/// What makes guests boot or run better.
const WANTED: [(Cap, &str); 5] = [
    (Cap::TscDeadlineTimer, "TSC deadline timer"),
    (Cap::X2ApicApi, "x2APIC ids"),
    (Cap::Clocksource, "kvm-clock"),
    (Cap::AdjustClock, "clock adjustment"),
    (Cap::GetTscKhz, "TSC frequency"),
];

/// What an opened `/dev/kvm` says about itself.
#[derive(Debug, Clone)]
pub(super) struct KvmAnswer {
    pub api_version: i32,
    pub vcpus_max: usize,
    /// Whether it creates a VM when asked to.
    pub creates_vm: Result<(), Errno>,
    /// Missing capabilities without which no guest runs.
    pub lacks_required: Vec<&'static str>,
    /// Missing capabilities without which guests run less well.
    pub lacks_wanted: Vec<&'static str>,
}

/// Group and permission bits of a device node.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodeMode {
    pub gid: u32,
    pub mode: u32,
}

/// How far a user without privileges may raise priorities.
#[derive(Debug, Clone, Copy)]
pub(super) struct PriorityLimits {
    /// RLIMIT_RTPRIO: the highest real-time priority allowed, 0 for none.
    pub real_time: u64,
    /// RLIMIT_NICE: 20 minus the lowest nice value allowed.
    pub nice: u64,
}

impl PriorityLimits {
    pub(super) fn ask() -> Self {
        let soft_limit = |resource| getrlimit(resource).map_or(0, |(soft, _hard)| soft);
        Self {
            real_time: soft_limit(Resource::RLIMIT_RTPRIO),
            nice: soft_limit(Resource::RLIMIT_NICE),
        }
    }
}

/// What the kernel answered.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    pub kvm: Result<KvmAnswer, Errno>,
    pub kvm_node: Option<NodeMode>,
    pub tun: Result<(), Errno>,
    pub vhost_net: Result<(), Errno>,
    pub userfaultfd: Result<(), Errno>,
    pub priorities: PriorityLimits,
    /// The user may create control groups below its own.
    pub cgroup_writable: bool,
}

impl Answers {
    /// Asks the running kernel. `files` tells where to ask about control groups.
    pub fn ask(files: &HostFiles) -> Self {
        let group = cgroups::own_directory(files).map(|path| files.locate(&path));
        Self {
            kvm: ask_kvm(),
            kvm_node: fs::metadata("/dev/kvm").ok().map(|node| NodeMode {
                gid: node.gid(),
                mode: node.mode(),
            }),
            tun: open("/dev/net/tun"),
            vhost_net: open("/dev/vhost-net"),
            userfaultfd: open("/dev/userfaultfd"),
            priorities: PriorityLimits::ask(),
            cgroup_writable: group.is_some_and(|path| access(&path, AccessFlags::W_OK).is_ok()),
        }
    }
}

fn ask_kvm() -> Result<KvmAnswer, Errno> {
    let kvm = Kvm::new().map_err(|error| Errno::from_raw(error.errno()))?;
    let lacking = |capabilities: &[(Cap, &'static str)]| {
        let missing = capabilities
            .iter()
            .filter(|(cap, _)| !kvm.check_extension(*cap));
        missing.map(|(_, name)| *name).collect()
    };
    Ok(KvmAnswer {
        api_version: kvm.get_api_version(),
        vcpus_max: kvm.get_max_vcpus(),
        // The processor's extension is switched on only now: another hypervisor may have it.
        creates_vm: kvm
            .create_vm()
            .map(drop)
            .map_err(|error| Errno::from_raw(error.errno())),
        lacks_required: lacking(&REQUIRED),
        lacks_wanted: lacking(&WANTED),
    })
}

/// Opens a device node the way its user would. Only that tells for certain: permission bits know
/// nothing of the device rules of containers, nor of a node without a driver.
pub(super) fn open(path: &str) -> Result<(), Errno> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(_closed) => Ok(()),
        Err(error) => Err(errno(&error)),
    }
}

fn errno(error: &io::Error) -> Errno {
    error
        .raw_os_error()
        .map_or(Errno::UnknownErrno, Errno::from_raw)
}
