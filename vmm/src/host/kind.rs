//! What stands behind `/dev/kvm`.

use std::fmt;

use serde::{Serialize, Serializer};

use super::files::HostFiles;

/// The processor's virtualization extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// Intel VT-x.
    Vmx,
    /// AMD-V.
    Svm,
}

impl Extension {
    /// The extension that the processor offers to the kernel. The kernel takes the flag away when
    /// the firmware has switched the extension off.
    pub(super) fn read(files: &HostFiles) -> Option<Self> {
        if cpu_has(files, "vmx") {
            Some(Self::Vmx)
        } else if cpu_has(files, "svm") {
            Some(Self::Svm)
        } else {
            None
        }
    }

    /// The kernel module that makes KVM use it.
    pub(super) fn module(self) -> &'static str {
        match self {
            Self::Vmx => "kvm_intel",
            Self::Svm => "kvm_amd",
        }
    }
}

/// Whether the kernel lists a feature of the (first) processor.
pub(super) fn cpu_has(files: &HostFiles, feature: &str) -> bool {
    let cpuinfo = files.text("/proc/cpuinfo").unwrap_or_default();
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags"));
    flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == feature))
}

impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vmx => "Intel VT-x",
            Self::Svm => "AMD-V",
        })
    }
}

/// What stands behind `/dev/kvm`, as far as the host tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvmKind {
    /// The processor runs guests: every guest works, at full speed.
    Hardware(Extension),
    /// kvm-pvm: no processor support. A guest's user mode runs natively, its kernel mode is
    /// emulated. Bare-metal guests work, a stock Linux kernel does not.
    Pvm,
    /// There is a `/dev/kvm`, but nothing tells what is behind it.
    Other,
    /// There is no `/dev/kvm`.
    None,
}

impl KvmKind {
    /// What the files of a host say.
    pub(super) fn read(files: &HostFiles) -> Self {
        if !files.exists("/dev/kvm") {
            return Self::None;
        }
        let loaded = |module: &str| files.exists(&format!("/sys/module/{module}"));
        match Extension::read(files) {
            // The processor could, yet the module that is loaded does without.
            Some(extension) if loaded("kvm_pvm") && !loaded(extension.module()) => Self::Pvm,
            Some(extension) => Self::Hardware(extension),
            None if loaded("kvm_pvm") => Self::Pvm,
            None => Self::Other,
        }
    }
}

impl fmt::Display for KvmKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hardware(extension) => write!(f, "hardware KVM ({extension})"),
            Self::Pvm => f.write_str("kvm-pvm (no hardware virtualization)"),
            Self::Other => f.write_str("KVM of an unknown kind"),
            Self::None => f.write_str("no KVM"),
        }
    }
}

impl Serialize for KvmKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Hardware(Extension::Vmx) => "vmx",
            Self::Hardware(Extension::Svm) => "svm",
            Self::Pvm => "pvm",
            Self::Other => "other",
            Self::None => "none",
        })
    }
}
