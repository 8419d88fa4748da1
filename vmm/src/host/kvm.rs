//! KVM: is it there, may this user have it, and is it good enough?

use nix::errno::Errno;
use serde::Serialize;

use super::answers::{Answers, KvmAnswer, NodeMode};
use super::fact::{Area, Fact};
use super::files::HostFiles;
use super::identity::{self, Identity};
use super::kind::{Extension, KvmKind, cpu_has};
use crate::kvm::API_VERSION;

/// KVM, for programs.
#[derive(Debug, Clone, Serialize)]
pub struct KvmReport {
    /// What stands behind `/dev/kvm`: `vmx`, `svm`, `pvm`, `other` or `none`.
    pub kind: KvmKind,
    /// This user can open it.
    pub usable: bool,
    /// The processor is itself a virtual one: guests are nested and exits are slow.
    pub nested: bool,
    /// Version of KVM's API.
    pub api_version: Option<i32>,
    /// The most vCPUs that a VM can have.
    pub vcpus_max: Option<usize>,
    /// Capabilities that muster needs or likes and that are missing.
    pub missing_capabilities: Vec<&'static str>,
}

impl KvmReport {
    pub(super) fn new(files: &HostFiles, answers: &Answers) -> Self {
        let kvm = answers.kvm.as_ref().ok();
        Self {
            kind: KvmKind::read(files),
            usable: kvm.is_some(),
            nested: is_virtual_machine(files),
            api_version: kvm.map(|kvm| kvm.api_version),
            vcpus_max: kvm.map(|kvm| kvm.vcpus_max),
            missing_capabilities: kvm.map_or_else(Vec::new, |kvm| {
                [&kvm.lacks_required[..], &kvm.lacks_wanted[..]].concat()
            }),
        }
    }
}

pub(super) fn facts(files: &HostFiles, answers: &Answers, report: &KvmReport) -> Vec<Fact> {
    let kvm = match &answers.kvm {
        Ok(kvm) => kvm,
        Err(Errno::EACCES) => return vec![no_permission(files, answers.kvm_node)],
        Err(Errno::EPERM) => {
            return vec![problem(
                "the rules of a container forbid /dev/kvm",
                "start the container with `--device /dev/kvm`",
            )];
        }
        Err(Errno::ENOENT | Errno::ENODEV | Errno::ENXIO) => return vec![absent(files)],
        Err(errno) => {
            return vec![problem(
                format!("/dev/kvm cannot be opened: {}", errno.desc()),
                "see `sudo dmesg | grep -i kvm` for the kernel's reason",
            )];
        }
    };
    let mut facts = vec![present(report, kvm), capabilities(kvm)];
    if let KvmKind::Hardware(extension) = report.kind {
        facts.extend(nested_paging(files, extension));
    }
    facts
}

fn problem(summary: impl Into<String>, advice: impl Into<String>) -> Fact {
    Fact::problem(Area::Kvm, "kvm", summary, advice)
}

/// `/dev/kvm` opens.
fn present(report: &KvmReport, kvm: &KvmAnswer) -> Fact {
    const ID: &str = "kvm";
    let KvmAnswer {
        api_version,
        vcpus_max,
        ..
    } = kvm;
    if *api_version != API_VERSION {
        return problem(
            format!("/dev/kvm speaks API version {api_version}, muster speaks {API_VERSION}"),
            "boot a stock kernel: every Linux since 2.6.22 speaks version 12",
        );
    }
    match kvm.creates_vm {
        Ok(()) => {}
        Err(Errno::EBUSY) => {
            return problem(
                "KVM creates no VM: another hypervisor uses the processor's virtualization",
                "stop the other one (VirtualBox, VMware), then `sudo modprobe -r vboxdrv vmmon`",
            );
        }
        Err(errno) => {
            return problem(
                format!("KVM creates no VM: {}", errno.desc()),
                "see `sudo dmesg | grep -i kvm` for the kernel's reason",
            );
        }
    }
    let size = format!("API {api_version}, up to {vcpus_max} vCPUs in a guest");
    match report.kind {
        KvmKind::Hardware(extension) if report.nested => Fact::ok(
            Area::Kvm,
            ID,
            format!("{extension}, nested in another hypervisor (slower exits), {size}"),
        ),
        KvmKind::Hardware(extension) => Fact::ok(Area::Kvm, ID, format!("{extension}, {size}")),
        KvmKind::Pvm => Fact::warning(
            Area::Kvm,
            ID,
            "kvm-pvm, no hardware virtualization: bare-metal guests run, stock Linux does not",
            "for stock Linux use a host with Intel VT-x or AMD-V, or the lab host: \
             `cargo xtask lab`",
        ),
        KvmKind::Other | KvmKind::None => Fact::warning(
            Area::Kvm,
            ID,
            format!("neither Intel VT-x nor AMD-V, yet /dev/kvm opens: {size}"),
            "try a guest; if it hangs, `ls -d /sys/module/kvm*` tells what implements KVM here",
        ),
    }
}

fn capabilities(kvm: &KvmAnswer) -> Fact {
    const ID: &str = "kvm-capabilities";
    if !kvm.lacks_required.is_empty() {
        return Fact::problem(
            Area::Kvm,
            ID,
            format!("missing, and needed: {}", kvm.lacks_required.join(", ")),
            "boot a newer kernel, one that was built with CONFIG_KVM and CONFIG_EVENTFD",
        );
    }
    if !kvm.lacks_wanted.is_empty() {
        return Fact::warning(
            Area::Kvm,
            ID,
            format!("missing, and good to have: {}", kvm.lacks_wanted.join(", ")),
            "boot a newer kernel: guests keep time less well without",
        );
    }
    Fact::ok(Area::Kvm, ID, "all that muster needs")
}

/// Whether guest memory is translated by the processor. Without, every change of a guest's page
/// tables is an exit.
fn nested_paging(files: &HostFiles, extension: Extension) -> Option<Fact> {
    const ID: &str = "nested-paging";
    let module = extension.module();
    let parameter = match extension {
        Extension::Vmx => "ept",
        Extension::Svm => "npt",
    };
    let value = files.text(&format!("/sys/module/{module}/parameters/{parameter}"))?;
    Some(match value.as_str() {
        "Y" | "1" => Fact::ok(Area::Kvm, ID, format!("on ({parameter})")),
        _ => Fact::warning(
            Area::Kvm,
            ID,
            format!("off ({parameter}): guests that change their page tables are slow"),
            format!("`sudo modprobe -r {module} && sudo modprobe {module} {parameter}=1`"),
        ),
    })
}

/// `/dev/kvm` is there, but not for this user.
fn no_permission(files: &HostFiles, node: Option<NodeMode>) -> Fact {
    let summary = "no permission to open /dev/kvm";
    let group = node.filter(|node| node.gid != 0 && node.mode & 0o060 == 0o060);
    let Some(NodeMode { gid, .. }) = group else {
        let create = if identity::group_exists(files, "kvm") {
            ""
        } else {
            "sudo groupadd --system kvm && "
        };
        return problem(
            format!("{summary}: it is for root only"),
            format!(
                "`{create}sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm && \
                 sudo usermod -aG kvm $USER`, then log in again"
            ),
        );
    };
    let name = identity::group_name(files, gid).unwrap_or_else(|| gid.to_string());
    let identity = Identity::read(files);
    if identity.is_in(gid) {
        return problem(
            format!("{summary}, although you are in group {name}"),
            "a security module forbids it: see `sudo dmesg | grep -iE 'apparmor|avc'`",
        );
    }
    if identity.will_be_in(files, gid) {
        return problem(
            format!("{summary}: you joined group {name} after this session began"),
            format!("log in again, or open a shell with `newgrp {name}`"),
        );
    }
    problem(
        format!("{summary}: it is for group {name}"),
        format!("`sudo usermod -aG {name} $USER`, then log in again"),
    )
}

/// There is no `/dev/kvm`, or nothing behind it.
fn absent(files: &HostFiles) -> Fact {
    let loaded = ["kvm_intel", "kvm_amd", "kvm_pvm"]
        .iter()
        .find(|module| is_loaded(files, module));
    match (loaded, Extension::read(files)) {
        _ if is_container(files) => problem(
            "this container has no /dev/kvm",
            "start the container with `--device /dev/kvm`, on a host that `muster doctor` approves",
        ),
        (Some(module), _) => problem(
            format!("{module} is loaded, but /dev/kvm is missing"),
            "`sudo mknod /dev/kvm c 10 232 && sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm`",
        ),
        (None, Some(extension)) => problem(
            format!("the processor has {extension}, but its KVM module is not loaded"),
            format!(
                "`sudo modprobe {}`; if it says \"not supported\", switch {extension} on in the \
                 firmware's setup",
                extension.module()
            ),
        ),
        (None, None) if is_virtual_machine(files) => problem(
            "this is a virtual machine without nested virtualization",
            "give it the host's processor (QEMU: `-cpu host`; clouds: ask for nesting), \
             or use the lab host: `cargo xtask lab`",
        ),
        (None, None) => problem(
            "the processor offers no virtualization: it has none, or the firmware has switched it \
             off",
            "switch Intel VT-x (AMD: SVM) on in the firmware's setup; otherwise use the lab host: \
             `cargo xtask lab`",
        ),
    }
}

fn is_loaded(files: &HostFiles, module: &str) -> bool {
    files.exists(&format!("/sys/module/{module}"))
}

/// Whether the processor says that a hypervisor runs it.
fn is_virtual_machine(files: &HostFiles) -> bool {
    cpu_has(files, "hypervisor")
}

/// Whether this process lives in a container, by the marks that container engines leave.
fn is_container(files: &HostFiles) -> bool {
    [
        "/.dockerenv",
        "/run/.containerenv",
        "/run/systemd/container",
    ]
    .iter()
    .any(|mark| files.exists(mark))
}
