//! The QEMU process that is the lab host.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use super::wire::PORT_NAME;
use crate::child::die_with_parent;

/// The emulator's name in `PATH`.
pub const PROGRAM: &str = "qemu-system-x86_64";

/// Kernel parameters. The lab ends when its kernel panics; it trusts the emulated RDRAND, so that no
/// process waits for randomness; it keeps time by the TSC, as real KVM hosts do, which the kernel
/// would take for unstable here; nobody attacks it, so it needs no mitigations; and self-tests of
/// ciphers would take a second.
const KERNEL_PARAMETERS: &str = "console=ttyS0 panic=-1 random.trust_cpu=on tsc=reliable \
                                 mitigations=off cryptomgr.notests";

/// More of them where time is the host's: the timer repeats by itself instead of being set for one
/// tick at a time.
///
/// A lab on QEMU 7.2 has been seen to stand still with its timer's interrupt pending in the emulated
/// APIC, while a guest spun with its own interrupts off. (Presumably the request was lost: at VMRUN
/// QEMU changes the processor's requests without the lock under which its main loop adds to them.)
/// No other tick was to come. A periodic one brings to notice whatever is pending.
const PERIODIC_TICK: &str = "nohz=off highres=off";

/// What QEMU is started with.
#[derive(Debug)]
pub struct Machine<'a> {
    pub kernel: &'a Path,
    pub initramfs: &'a File,
    pub cpus: u32,
    pub memory_mib: u32,
    /// Time is counted in instructions instead of measured.
    pub icount: bool,
    /// Files behind virtio disks, in the order in which they appear in the lab.
    pub disks: &'a [PathBuf],
}

/// A running QEMU. Dropping it kills it.
#[derive(Debug)]
pub struct Qemu {
    child: Child,
    /// Carries the frames.
    pub wire: UnixStream,
    /// The lab's serial console and QEMU's own messages.
    pub log: UnixStream,
}

impl Qemu {
    /// Starts the lab host.
    pub fn start(machine: &Machine<'_>) -> io::Result<Self> {
        let (wire, far_wire) = UnixStream::pair()?;
        let (log, far_log) = UnixStream::pair()?;
        let mut command = Command::new(PROGRAM);
        command.args(arguments(machine));
        // The standard streams are the one way to hand over open files without unsafe code.
        command.stdin(OwnedFd::from(far_wire));
        command.stdout(OwnedFd::from(far_log.try_clone()?));
        command.stderr(OwnedFd::from(far_log));
        die_with_parent(&mut command);
        Ok(Self {
            child: command.spawn()?,
            wire,
            log,
        })
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Fails only when QEMU has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn arguments(machine: &Machine<'_>) -> Vec<String> {
    let own_fd = |file: &File| format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let mut arguments: Vec<String> = Vec::new();
    let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    add("-machine", "pc".into());
    add("-cpu", "max".into());
    add("-smp", machine.cpus.to_string());
    add("-m", machine.memory_mib.to_string());
    if machine.icount {
        add("-accel", "tcg,thread=single".into());
        add("-icount", "shift=0".into());
        add("-append", KERNEL_PARAMETERS.into());
    } else {
        add("-accel", "tcg,thread=multi".into());
        add("-append", format!("{KERNEL_PARAMETERS} {PERIODIC_TICK}"));
    }
    add("-kernel", machine.kernel.display().to_string());
    add("-initrd", own_fd(machine.initramfs));
    add("-display", "none".into());
    add("-chardev", "socket,id=log,fd=1".into());
    add("-serial", "chardev:log".into());
    add("-chardev", "socket,id=wire,fd=0".into());
    add("-device", "virtio-serial-pci".into());
    add(
        "-device",
        format!("virtserialport,chardev=wire,name={PORT_NAME}"),
    );
    for (index, disk) in machine.disks.iter().enumerate() {
        // QEMU's option syntax doubles a comma that is meant literally.
        let path = disk.display().to_string().replace(',', ",,");
        add(
            "-drive",
            format!("id=disk{index},if=none,format=raw,snapshot=on,file={path}"),
        );
        add("-device", format!("virtio-blk-pci,drive=disk{index}"));
    }
    arguments.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(String::from));
    arguments
}
