//! Names of things: indices into the engine's tables.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        pub struct $name(pub $inner);

        impl $name {
            /// Its place in a table that is ordered by id.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// A host CPU: its number on the host.
    CpuId(u16),
    "cpu"
);
id!(
    /// A virtual machine. The number of a VM that has left is given to a later one.
    VmId(u32),
    "vm"
);
id!(
    /// A vCPU, counted over all VMs. A VM's vCPUs follow each other. The numbers of a VM that has
    /// left are given to later ones.
    VcpuId(u32),
    "vcpu"
);
id!(
    /// What is scheduled at once: a vCPU or a gang.
    UnitId(u32),
    "unit"
);
