//! `muster-init` in a real Debian kernel, on QEMU's emulated PC.
//!
//! Needs qemu-system-x86_64, e2fsprogs, mmdebstrap and, for the first run, Debian's archive.

mod debian;
mod machine;
mod small;
