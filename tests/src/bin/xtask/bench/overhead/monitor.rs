//! The monitors that take part, and their guest.

use std::path::Path;
use std::process::Command;

/// The guest's memory.
pub const MEMORY_MIB: u64 = 512;

/// Prints `!` on the serial port, then sleeps for ever. The bytes mean the same in 32-bit mode, where
/// PVH enters, and in 64-bit mode.
const CODE: [u8; 12] = [
    0xba, 0xf8, 0x03, 0x00, 0x00, // mov edx, 0x3f8
    0xb0, b'!', // mov al, '!'
    0xee, // out dx, al
    0xfa, // cli
    0xf4, // hlt
    0xeb, 0xfd, // jmp to the hlt
];
const LOAD_ADDRESS: u64 = 0x10_0000;

/// A virtual machine monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Monitor {
    Muster,
    QemuMicrovm,
}

impl Monitor {
    pub const ALL: [Self; 2] = [Self::Muster, Self::QemuMicrovm];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Muster => "muster",
            Self::QemuMicrovm => "QEMU microvm",
        }
    }

    /// Runs the guest with one disk and its console on standard input and output.
    pub fn command(self, muster: &Path, kernel: &Path, disk: &Path, vcpus: u32) -> Command {
        let vcpus = vcpus.to_string();
        let memory = format!("{MEMORY_MIB}M");
        match self {
            Self::Muster => {
                let mut command = Command::new(muster);
                command.args(["run", "--memory", &memory, "--cpus", &vcpus]);
                command.arg("--kernel").arg(kernel);
                command.arg("--disk").arg(disk);
                command
            }
            Self::QemuMicrovm => {
                let mut command = Command::new("qemu-system-x86_64");
                let machine = "microvm,x-option-roms=off,pit=off,pic=off,rtc=off,isa-serial=on";
                command.args(["-machine", machine, "-accel", "kvm", "-cpu", "host"]);
                command.args(["-m", &memory, "-smp", &vcpus]);
                command.args(["-nodefaults", "-no-user-config", "-nographic"]);
                command.args(["-serial", "stdio", "-kernel"]).arg(kernel);
                let drive = format!("id=disk,format=raw,if=none,file={}", disk.display());
                command.args(["-drive", &drive, "-device", "virtio-blk-device,drive=disk"]);
                command
            }
        }
    }
}

/// The guest as a 64-bit ELF file with a segment of code, and a note that makes it a PVH kernel.
pub fn kernel() -> Vec<u8> {
    const FILE_HEADER_LEN: u16 = 64;
    const SEGMENT_HEADER_LEN: u16 = 56;
    let code_at = u64::from(FILE_HEADER_LEN + 2 * SEGMENT_HEADER_LEN);
    let code_len = CODE.len() as u64;
    let note = pvh_note();
    let note_len = note.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let mut add = |bytes: &[u8]| file.extend_from_slice(bytes);
    add(&2_u16.to_le_bytes()); // executable
    add(&62_u16.to_le_bytes()); // x86-64
    add(&1_u32.to_le_bytes());
    add(&LOAD_ADDRESS.to_le_bytes()); // entry
    add(&u64::from(FILE_HEADER_LEN).to_le_bytes()); // where segment headers are
    add(&[0; 12]); // no sections, no flags
    for half in [FILE_HEADER_LEN, SEGMENT_HEADER_LEN, 2, 0, 0, 0] {
        add(&half.to_le_bytes());
    }
    let load = [
        code_at,
        LOAD_ADDRESS,
        LOAD_ADDRESS,
        code_len,
        code_len,
        0x1000,
    ];
    let notes = [code_at + code_len, 0, 0, note_len, note_len, 4];
    for (kind, words) in [(1_u32, load), (4, notes)] {
        add(&kind.to_le_bytes());
        add(&5_u32.to_le_bytes()); // readable, executable
        for word in words {
            add(&word.to_le_bytes());
        }
    }
    add(&CODE);
    add(&note);
    file
}

/// XEN_ELFNOTE_PHYS32_ENTRY.
fn pvh_note() -> Vec<u8> {
    let entry = u32::try_from(LOAD_ADDRESS).expect("below 4 GiB");
    let mut note = Vec::new();
    for word in [4_u32, 4, 18] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"Xen\0");
    note.extend(entry.to_le_bytes());
    note
}
