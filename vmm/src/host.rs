//! What this host offers to guests, and what stands in their way.
//!
//! Problem: a guest that does not start, or starts and runs badly, mostly does so because of the
//! host: a module that is not loaded, a group that the user is not in, a CPU without virtualization.
//!
//! Approach: everything is either read from files below a root ([`HostFiles`]) or answered by the
//! kernel. Judging is pure, so tests describe whole hosts as a folder of files.

mod files;
mod kind;

pub use files::HostFiles;
pub use kind::{Extension, KvmKind};

/// What stands behind `/dev/kvm` on this host.
pub fn kvm_kind() -> KvmKind {
    KvmKind::read(&HostFiles::system())
}
