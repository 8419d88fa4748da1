//! Kernel interfaces besides KVM that guests' devices and memory are made from.

use nix::errno::Errno;

use super::answers::Answers;
use super::fact::{Area, Fact};
use super::files::HostFiles;
use super::identity::Identity;

pub(super) fn facts(files: &HostFiles, answers: &Answers) -> Vec<Fact> {
    let identity = Identity::read(files);
    vec![
        tun(answers.tun, &identity),
        vhost_net(answers.vhost_net),
        userfaultfd(files, answers.userfaultfd, &identity),
        io_uring(files, &identity),
    ]
}

fn warning(id: &'static str, summary: impl Into<String>, advice: &str) -> Fact {
    Fact::warning(Area::Devices, id, summary, advice)
}

fn ok(id: &'static str, summary: &str) -> Fact {
    Fact::ok(Area::Devices, id, summary)
}

/// TAP interfaces, which connect guests to the host's network.
fn tun(answer: Result<(), Errno>, identity: &Identity) -> Fact {
    const ID: &str = "tun";
    match answer {
        Ok(()) if identity.may_configure_network() => {
            ok(ID, "/dev/net/tun opens, and you may create interfaces")
        }
        Ok(()) => ok(
            ID,
            "/dev/net/tun opens; only an administrator can create interfaces for you",
        ),
        Err(Errno::EACCES | Errno::EPERM) => warning(
            ID,
            "no permission to open /dev/net/tun",
            "`sudo chmod 666 /dev/net/tun` (its usual mode); in a container: \
             `--device /dev/net/tun`",
        ),
        Err(_) => warning(
            ID,
            "no /dev/net/tun: no TAP interfaces",
            "`sudo modprobe tun`",
        ),
    }
}

/// vhost-net, which moves packets in the kernel. A mere option, so its absence is no warning.
fn vhost_net(answer: Result<(), Errno>) -> Fact {
    const ID: &str = "vhost-net";
    match answer {
        Ok(()) => ok(ID, "/dev/vhost-net opens"),
        Err(Errno::EACCES | Errno::EPERM) => ok(ID, "not for you (optional): it takes root"),
        Err(_) => ok(ID, "not loaded (optional): `sudo modprobe vhost_net`"),
    }
}

/// userfaultfd, which fills guest memory on demand. KVM's faults happen in the kernel, so the kind
/// for user-mode faults only, which everyone may have, is not enough.
fn userfaultfd(files: &HostFiles, answer: Result<(), Errno>, identity: &Identity) -> Fact {
    const ID: &str = "userfaultfd";
    let for_everyone = files.number("/proc/sys/vm/unprivileged_userfaultfd");
    if answer.is_ok() || for_everyone == Some(1) || identity.may_handle_kernel_faults() {
        return ok(ID, "allowed: guest memory can be filled on demand");
    }
    let summary = "forbidden: guest memory cannot be filled on demand";
    match (answer, for_everyone) {
        (Err(Errno::EACCES | Errno::EPERM), _) => {
            warning(ID, summary, "`sudo setfacl -m u:$USER:rw /dev/userfaultfd`")
        }
        (_, Some(_)) => warning(ID, summary, "`sudo sysctl vm.unprivileged_userfaultfd=1`"),
        (_, None) => warning(
            ID,
            "this kernel has none: guest memory cannot be filled on demand",
            "boot a kernel built with CONFIG_USERFAULTFD",
        ),
    }
}

/// io_uring, which administrators can switch off. Kernels before 6.6 have no switch.
fn io_uring(files: &HostFiles, identity: &Identity) -> Fact {
    const ID: &str = "io-uring";
    let advice = "`sudo sysctl kernel.io_uring_disabled=0`";
    match files.number("/proc/sys/kernel/io_uring_disabled") {
        None | Some(0) => ok(ID, "allowed"),
        Some(1) => {
            let group = files
                .number("/proc/sys/kernel/io_uring_group")
                .unwrap_or(-1);
            let is_member = u32::try_from(group).is_ok_and(|gid| identity.is_in(gid));
            if is_member || identity.is_administrator() {
                ok(ID, "allowed to you")
            } else {
                warning(
                    ID,
                    "only for the group that kernel.io_uring_group names",
                    advice,
                )
            }
        }
        Some(_) => warning(ID, "switched off for everyone", advice),
    }
}
