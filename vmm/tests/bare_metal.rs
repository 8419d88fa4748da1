//! Bare-metal guests of a few instructions on the host's real KVM, through the same code as
//! `muster run`. They run wherever /dev/kvm opens, with hardware behind it or without.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_vmm::boot::Protocol;
use muster_vmm::host::{self, KvmKind};
use muster_vmm::lifecycle::{self, GuestEnd, RunError};
use muster_vmm::{ConsoleSpec, OnReboot, VmSpec};
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::{SigSet, Signal};

#[path = "bare_metal/guests.rs"]
mod guests;

/// Where the code is loaded and entered.
const LOAD_ADDRESS: u64 = 0x10_0000;
/// Where a test may leave a number for its guest: a page after the code.
const ARGUMENT_OFFSET: usize = 0x1000;

/// A 64-bit ELF file whose only segment is `code`, and one page on `argument`.
fn elf(code: &[u8], argument: u32) -> Vec<u8> {
    const HEADERS: usize = 64 + 56;
    let mut memory = code.to_vec();
    assert!(memory.len() <= ARGUMENT_OFFSET);
    memory.resize(ARGUMENT_OFFSET, 0);
    memory.extend(argument.to_le_bytes());

    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend(2u16.to_le_bytes()); // ET_EXEC
    file.extend(62u16.to_le_bytes()); // EM_X86_64
    file.extend(1u32.to_le_bytes());
    file.extend(LOAD_ADDRESS.to_le_bytes()); // entry
    file.extend(64u64.to_le_bytes()); // program headers
    file.extend(0u64.to_le_bytes());
    file.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1u32.to_le_bytes()); // PT_LOAD
    file.extend(7u32.to_le_bytes());
    let len = memory.len() as u64;
    for word in [HEADERS as u64, LOAD_ADDRESS, LOAD_ADDRESS, len, len, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    assert_eq!(file.len(), HEADERS);
    file.extend(memory);
    file
}

struct Guest {
    dir: tempfile::TempDir,
    spec: VmSpec,
}

impl Guest {
    fn new(code: &[u8]) -> Self {
        Self::with_argument(code, 0)
    }

    fn with_argument(code: &[u8], argument: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let kernel = dir.path().join("guest.elf");
        fs::write(&kernel, elf(code, argument)).unwrap();
        let spec = VmSpec {
            cpus: 1,
            memory_bytes: 64 << 20,
            kernel,
            protocol: Protocol::Auto,
            initrd: None,
            cmdline: String::new(),
            disks: Vec::new(),
            console: ConsoleSpec::File(dir.path().join("console")),
            on_reboot: OnReboot::Exit,
            node: None,
        };
        Self { dir, spec }
    }

    fn cpus(mut self, cpus: u32) -> Self {
        self.spec.cpus = cpus;
        self
    }

    fn run(&self) -> Result<GuestEnd, RunError> {
        lifecycle::run(&self.spec)
    }

    fn console(&self) -> String {
        fs::read_to_string(self.dir.path().join("console")).unwrap()
    }
}

/// Whether KVM can be tried here. Where it cannot, the test says so, or fails if KVM is required.
fn kvm_is_here() -> bool {
    let Err(error) = muster_vmm::kvm::open() else {
        return true;
    };
    assert!(
        std::env::var_os("MUSTER_REQUIRE_KVM").is_none(),
        "KVM is required: {error}"
    );
    eprintln!("SKIPPED, no KVM: {error}");
    false
}

fn powered_off(status: u8) -> GuestEnd {
    GuestEnd::PowerOff { status }
}

#[test]
fn port_io_reaches_the_console_and_the_exit_status() {
    if !kvm_is_here() {
        return;
    }
    let guest = Guest::new(guests::hello());
    assert_eq!(guest.run().unwrap(), powered_off(42));
    assert_eq!(guest.console(), "hello\n");
}

#[test]
fn devices_answer_and_holes_read_as_ones() {
    if !kvm_is_here() {
        return;
    }
    assert_eq!(Guest::new(guests::probe()).run().unwrap(), powered_off(0));
}

#[test]
fn hlt_sleeps_until_the_timer() {
    if !kvm_is_here() {
        return;
    }
    assert_eq!(Guest::new(guests::sleep()).run().unwrap(), powered_off(1));
}

#[test]
fn application_processors_start() {
    if !kvm_is_here() {
        return;
    }
    for cpus in [2, 4, 64] {
        let guest = Guest::with_argument(guests::start_others(), cpus - 1).cpus(cpus);
        assert_eq!(
            guest.run().unwrap(),
            powered_off(cpus as u8 - 1),
            "{cpus} vCPUs"
        );
    }
}

#[test]
fn a_triple_fault_ends_the_guest() {
    if !kvm_is_here() {
        return;
    }
    assert_eq!(
        Guest::new(guests::triple_fault()).run().unwrap(),
        GuestEnd::TripleFault
    );
}

#[test]
fn a_reset_ends_the_guest_when_asked_to() {
    if !kvm_is_here() {
        return;
    }
    assert_eq!(Guest::new(guests::reset()).run().unwrap(), GuestEnd::Reset);
}

/// Runs the guest; two termination signals come while it runs.
fn run_with_two_signals(guest: &Guest) -> GuestEnd {
    // To this thread alone: others of the test's runner do not block the signal and would die.
    let supervisor = pthread_self();
    let sender = std::thread::spawn(move || {
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(300));
            // The run may have ended with the first.
            let _ = pthread_kill(supervisor, Signal::SIGTERM);
        }
    });
    // Whichever way it ends, the second signal must not end the test.
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTERM);
    mask.thread_block().unwrap();
    let end = guest.run().unwrap();
    sender.join().unwrap();
    end
}

#[test]
fn a_second_signal_ends_a_guest_that_ignores_the_power_button() {
    if !kvm_is_here() {
        return;
    }
    let guest = Guest::new(guests::spin()).cpus(2);
    assert_eq!(
        run_with_two_signals(&guest),
        GuestEnd::Killed(Signal::SIGTERM)
    );
}

#[test]
fn a_signal_ends_a_guest_that_resets_for_ever() {
    if !kvm_is_here() {
        return;
    }
    let mut guest = Guest::new(guests::reset());
    guest.spec.on_reboot = OnReboot::Restart;
    assert_eq!(run_with_two_signals(&guest), GuestEnd::Reset);
}

#[test]
fn a_console_file_survives_a_guest_that_cannot_start() {
    if !kvm_is_here() {
        return;
    }
    let mut guest = Guest::new(guests::hello());
    let console = guest.dir.path().join("console");
    guest.spec.initrd = Some("no-such-initrd".into());
    guest.run().unwrap_err();
    assert!(!console.exists());
    fs::write(&console, "precious").unwrap();
    guest.run().unwrap_err();
    assert_eq!(guest.console(), "precious");
}

#[test]
fn threads_and_descriptors_do_not_outlive_the_guest() {
    if !kvm_is_here() {
        return;
    }
    let count = |what: &str| {
        fs::read_dir(Path::new("/proc/self").join(what))
            .unwrap()
            .count()
    };
    let guest = Guest::new(guests::hello()).cpus(4);
    guest.run().unwrap();
    let before = (count("fd"), count("task"));
    for _ in 0..20 {
        guest.run().unwrap();
    }
    assert_eq!((count("fd"), count("task")), before);
}

#[test]
fn a_stock_kernel_is_refused_where_ring_0_is_emulated() {
    if host::kvm_kind() != KvmKind::Pvm {
        eprintln!("SKIPPED, this is not kvm-pvm");
        return;
    }
    let guest = Guest::new(guests::hello());
    // As much of a bzImage as it takes to be one.
    let mut kernel = vec![0; 0x1000];
    kernel[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    fs::write(&guest.spec.kernel, kernel).unwrap();
    let error = guest.run().unwrap_err();
    assert!(matches!(error, RunError::LinuxOnPvm), "{error}");
}

#[test]
fn a_missing_kernel_is_named() {
    if !kvm_is_here() {
        return;
    }
    let mut guest = Guest::new(guests::hello());
    guest.spec.kernel = PathBuf::from("no-such-kernel");
    let error = guest.run().unwrap_err().to_string();
    assert!(error.contains("no-such-kernel"), "{error}");
}
