use std::fs;

use super::kernel::tests::{TestElf, bzimage, ram};
use super::*;
use crate::layout::{PVH_START_INFO, RESET_VECTOR, ZERO_PAGE};

const RSDP: GuestAddress = GuestAddress(0xe_0000);

/// A directory with a kernel, an initrd, and what is neither.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        fs::write(files.path("bzimage"), bzimage(&[0x90; 0x1000])).unwrap();
        fs::write(files.path("vmlinux"), TestElf::new().bytes()).unwrap();
        fs::write(files.path("initrd"), b"070701 and so on").unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn spec(&self, kernel: &str, initrd: Option<&str>) -> BootSpec {
        BootSpec {
            kernel: self.path(kernel),
            initrd: initrd.map(|name| self.path(name)),
            cmdline: "console=ttyS0 quiet".to_owned(),
            protocol: Protocol::Auto,
        }
    }

    fn refused(&self, spec: &BootSpec) -> String {
        let error = load(&ram(16), spec, RSDP).unwrap_err();
        let mut message = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            message += &format!(": {error}");
            source = error.source();
        }
        message.replace(self.0.path().to_str().unwrap(), "DIR")
    }
}

fn cmdline_in(ram: &GuestRam, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xff; len];
    ram.read_slice(&mut bytes, CMDLINE).unwrap();
    bytes
}

#[test]
fn both_formats_load_with_an_initrd_and_command_line() {
    let files = Files::new();
    for (kernel, rip) in [("bzimage", 0x20_0200), ("vmlinux", 0x20_0010)] {
        let ram = ram(16);
        let entry = load(&ram, &files.spec(kernel, Some("initrd")), RSDP).unwrap();
        let expected = Entry::Linux64 {
            rip: GuestAddress(rip),
            zero_page: ZERO_PAGE,
        };
        assert_eq!(entry, expected, "{kernel}");
        assert_eq!(cmdline_in(&ram, 20), b"console=ttyS0 quiet\0");
        let mut initrd = [0; 16];
        ram.read_slice(&mut initrd, GuestAddress(0xff_f000))
            .unwrap();
        assert_eq!(&initrd, b"070701 and so on");
    }
}

#[test]
fn the_pvh_entry_gets_the_start_info() {
    let files = Files::new();
    let entry = 0x20_0040u32;
    let kernel = TestElf::new().with_note(b"Xen\0", 18, &entry.to_le_bytes());
    fs::write(files.path("pvh"), kernel.bytes()).unwrap();
    let spec = BootSpec {
        protocol: Protocol::Pvh,
        ..files.spec("pvh", Some("initrd"))
    };
    let expected = Entry::Pvh {
        rip: GuestAddress(entry.into()),
        start_info: PVH_START_INFO,
    };
    assert_eq!(load(&ram(16), &spec, RSDP).unwrap(), expected);
}

#[test]
fn a_jump_to_the_firmware_finds_code() {
    let files = Files::new();
    let ram = ram(16);
    load(&ram, &files.spec("bzimage", None), RSDP).unwrap();
    assert_ne!(ram.read_obj::<u64>(RESET_VECTOR).unwrap(), 0);
}

#[test]
fn the_command_line_may_be_as_long_as_the_kernel_takes() {
    let files = Files::new();
    let mut spec = files.spec("bzimage", None);
    spec.cmdline = "x".repeat(2047);
    let ram = ram(16);
    ram.write_slice(&[0xff; 4096], CMDLINE).unwrap();
    load(&ram, &spec, RSDP).unwrap();
    let written = cmdline_in(&ram, 2048);
    assert_eq!((written[2046], written[2047]), (b'x', 0));
    spec.cmdline.push('x');
    assert_eq!(
        files.refused(&spec),
        "the command line has 2048 bytes, but this kernel takes only 2047"
    );
    spec.cmdline = "quiet\0init=/bin/sh".to_owned();
    assert_eq!(
        files.refused(&spec),
        "the command line has a NUL byte at position 5"
    );
}

#[test]
fn unusable_paths_are_named_with_their_fault() {
    let files = Files::new();
    nix::unistd::mkfifo(&files.path("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    fs::create_dir(files.path("directory")).unwrap();
    fs::write(files.path("empty"), b"").unwrap();
    for (kernel, initrd, message) in [
        (
            "absent",
            None,
            "cannot open the kernel DIR/absent: No such file or directory (os error 2)",
        ),
        (
            "directory",
            None,
            "the kernel DIR/directory is a directory, not a file",
        ),
        ("pipe", None, "the kernel DIR/pipe is a pipe, not a file"),
        (
            "empty",
            None,
            "cannot boot the kernel DIR/empty: the file is empty",
        ),
        (
            "initrd",
            None,
            "cannot boot the kernel DIR/initrd: it is a cpio archive, perhaps an initrd; give a \
             bzImage (vmlinuz) or an uncompressed 64-bit ELF kernel (vmlinux)",
        ),
        (
            "vmlinux",
            Some("absent"),
            "cannot open the initrd DIR/absent: No such file or directory (os error 2)",
        ),
        (
            "vmlinux",
            Some("directory"),
            "the initrd DIR/directory is a directory, not a file",
        ),
        (
            "vmlinux",
            Some("pipe"),
            "the initrd DIR/pipe is a pipe, not a file",
        ),
        (
            "vmlinux",
            Some("empty"),
            "cannot load the initrd DIR/empty: the file is empty",
        ),
    ] {
        assert_eq!(files.refused(&files.spec(kernel, initrd)), message);
    }
    let device = BootSpec {
        kernel: "/dev/null".into(),
        ..files.spec("vmlinux", None)
    };
    assert_eq!(
        files.refused(&device),
        "the kernel /dev/null is a character device, not a file"
    );
}

#[test]
fn an_initrd_larger_than_memory_is_refused_before_it_is_read() {
    let files = Files::new();
    let sparse = File::create(files.path("huge")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    assert_eq!(
        files.refused(&files.spec("vmlinux", Some("huge"))),
        "cannot load the initrd DIR/huge: it has 1073741824 KiB, but the guest's memory has only \
         13308 KiB left beside the kernel; give the guest more memory"
    );
}

#[test]
fn linux_is_told_by_path() {
    let files = Files::new();
    assert!(is_linux(&files.path("bzimage")).unwrap());
    assert!(!is_linux(&files.path("vmlinux")).unwrap());
    assert!(!is_linux(&files.path("initrd")).unwrap());
    assert!(matches!(
        is_linux(&files.path("absent")),
        Err(BootError::Open { .. })
    ));
}
