//! Who takes part in the boot benchmark: muster and its peer, each with both command lines.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use muster_tests::boot_timing::Contender;
use muster_vmm::OnReboot;
use muster_vmm::boot::cmdline;

/// Where the files of a run are in the lab.
pub const KERNEL: &str = "/lab/vmlinux";
pub const INITRAMFS: &str = "/lab/initramfs.cpio";
pub const MUSTER: &str = "/lab/bin/muster";

pub const MEMORY_MIB: u32 = 128;

/// What everyone's guest is told.
const WORDS: &str = "reboot=k panic=1 quiet";

/// What the ratios of the table relate to: [`QEMU`] with the usual command line.
pub const REFERENCE: &str = "QEMU microvm";

const QEMU: &str = "/usr/bin/qemu-system-x86_64";

/// Firmware that QEMU's microvm loads, where Debian has it.
const QEMU_DATA: &str = "/usr/share/qemu";
const QEMU_FIRMWARE: [&str; 5] = [
    "bios-microvm.bin",
    "qboot.rom",
    "pvh.bin",
    "linuxboot_dma.bin",
    "kvmvapic.bin",
];

/// The command line that guests of this size usually get.
pub fn usual_line() -> String {
    format!("console=ttyS0 {WORDS}")
}

/// The command line that muster gives its guests if [`WORDS`] are added.
pub fn muster_line() -> String {
    cmdline::with_defaults(OnReboot::Restart, &[WORDS.to_owned()])
}

/// Everyone, in the order of the table.
pub fn all() -> Vec<Contender> {
    vec![
        muster("muster run", ["--cmdline", WORDS]),
        muster(
            "muster run, usual command line",
            ["--raw-cmdline", &usual_line()],
        ),
        qemu_microvm(REFERENCE, &usual_line()),
        qemu_microvm("QEMU microvm, muster's command line", &muster_line()),
    ]
}

fn contender(name: &str, argv: &[&str]) -> Contender {
    Contender {
        name: name.to_owned(),
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
    }
}

fn muster(name: &str, cmdline: [&str; 2]) -> Contender {
    let memory = format!("{MEMORY_MIB}M");
    let mut argv = vec![MUSTER, "run", "--kernel", KERNEL, "--initrd", INITRAMFS];
    argv.extend(cmdline);
    argv.extend(["--cpus", "1", "--memory", &memory]);
    contender(name, &argv)
}

/// As its documentation recommends for Linux with a serial console.
fn qemu_microvm(name: &str, cmdline: &str) -> Contender {
    let memory = format!("{MEMORY_MIB}M");
    let machine = "microvm,x-option-roms=off,pit=off,pic=off,rtc=off,isa-serial=on";
    let mut argv = vec![QEMU, "-machine", machine, "-accel", "kvm", "-cpu", "host"];
    argv.extend(["-smp", "1", "-m", &memory, "-nodefaults", "-no-user-config"]);
    argv.extend(["-nographic", "-serial", "stdio"]);
    argv.extend(["-kernel", KERNEL, "-initrd", INITRAMFS, "-append", cmdline]);
    contender(name, &argv)
}

/// QEMU, its libraries and its firmware, at their places on this host.
pub fn qemu_files() -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd")
        .arg(QEMU)
        .output()
        .context("cannot start ldd")?;
    let list = String::from_utf8(output.stdout)?;
    let libraries = list
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from);
    let firmware = QEMU_FIRMWARE
        .iter()
        .map(|name| Path::new(QEMU_DATA).join(name));
    Ok([PathBuf::from(QEMU)]
        .into_iter()
        .chain(libraries)
        .chain(firmware.filter(|path| path.exists()))
        .collect())
}

/// The first line of what QEMU says about itself.
pub fn qemu_version() -> Result<String> {
    let output = Command::new(QEMU).arg("--version").output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
