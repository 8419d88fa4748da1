//! The kernel recipe against Debian's archive: needs apt, its sources and the network.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use muster_guest_images::kernel::modules::ModulesError;
use muster_guest_images::{Cache, ImageError, Kernel};

fn kernel() -> Kernel {
    let cache = Cache::open_default().unwrap();
    Kernel::debian_cloud(&cache).expect("Debian's cloud kernel, through apt")
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap()
        .to_string_lossy()
        .replace('-', "_")
}

#[test]
fn vmlinux_is_the_elf_image_with_the_pvh_entry() {
    let kernel = kernel();
    let elf = fs::read(&kernel.vmlinux).unwrap();
    assert_eq!(
        &elf[..6],
        b"\x7fELF\x02\x01",
        "a 64-bit little-endian ELF image"
    );
    // Xen's note of type 18 gives the PVH entry point.
    let note = [
        &4u32.to_le_bytes()[..],
        &8u32.to_le_bytes(),
        &18u32.to_le_bytes(),
        b"Xen\0",
    ]
    .concat();
    assert!(
        elf.windows(note.len()).any(|window| window == note),
        "no PVH note"
    );
    let banner = format!("Linux version {} ", kernel.version);
    assert!(
        elf.windows(banner.len())
            .any(|window| window == banner.as_bytes())
    );
}

#[test]
fn modules_come_after_what_they_need() {
    let kernel = kernel();
    let files = kernel
        .module_closure(&["virtio-blk", "kvm_amd", "ext4"])
        .unwrap();
    assert!(files.iter().all(|path| path.is_file()), "{files:?}");
    let names: Vec<_> = files.iter().map(|path| stem(path)).collect();
    let place = |name: &str| names.iter().position(|other| other == name);
    for (first, then) in [
        ("virtio", "virtio_blk"),
        ("virtio_ring", "virtio_blk"),
        ("kvm", "kvm_amd"),
        ("irqbypass", "kvm"),
    ] {
        assert!(
            place(first).unwrap() < place(then).unwrap(),
            "{first} before {then}: {names:?}"
        );
    }
    assert_eq!(
        names.iter().collect::<HashSet<_>>().len(),
        names.len(),
        "{names:?}"
    );
}

#[test]
fn what_is_built_in_needs_no_file() {
    let kernel = kernel();
    let builtin = fs::read_to_string(kernel.modules_dir.join("modules.builtin")).unwrap();
    let names: Vec<_> = builtin.lines().map(|line| stem(Path::new(line))).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert!(names.len() > 10);
    assert!(kernel.module_closure(&names).unwrap().is_empty());
}

#[test]
fn an_unknown_module_is_named() {
    let error = kernel().module_closure(&["no_such_module"]).unwrap_err();
    assert!(
        matches!(&error, ImageError::Modules(ModulesError::Unknown { name }) if name == "no_such_module"),
        "{error}"
    );
}
