//! The guest's RAM, as devices see it.

/// All RAM of one guest. Cloning shares the mappings.
///
/// Only volatile accessors of `vm-memory` are used: other vCPUs may change any byte at any time, so
/// no Rust reference into guest RAM may ever exist.
pub type GuestRam = vm_memory::GuestMemoryMmap<()>;
