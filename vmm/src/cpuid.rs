//! What the guest reads with the CPUID instruction.
//!
//! KVM lists what the host's processor and KVM itself can give a guest. Three things are added to
//! that list: who this vCPU is, how the vCPUs form one package of single-threaded cores that share
//! a last-level cache, and the local APIC's deadline timer, which needs no calibration. kvm-clock,
//! which tells Linux the TSC's frequency, and the invariant TSC are in KVM's list already.
//!
//! Sources: Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E; Linux,
//! `Documentation/virt/kvm/x86/cpuid.rst`.

use kvm_bindings::{CpuId, kvm_cpuid_entry2};

use crate::kvm::Vm;

/// A field of a register: `width` bits from bit `low` on.
#[derive(Clone, Copy)]
struct Field {
    low: u32,
    width: u32,
}

impl Field {
    const fn new(low: u32, width: u32) -> Self {
        Self { low, width }
    }

    /// Writes `value`, or the largest that fits.
    fn set(self, register: &mut u32, value: u32) {
        let max = ((1u64 << self.width) - 1) as u32;
        *register = *register & !(max << self.low) | value.min(max) << self.low;
    }

    fn get(self, register: u32) -> u32 {
        (register >> self.low) & ((1u64 << self.width) - 1) as u32
    }
}

/// Leaf 1 ECX.
const TSC_DEADLINE: u32 = 1 << 24;
const HYPERVISOR: u32 = 1 << 31;
const X2APIC: u32 = 1 << 21;
/// Leaf 1 EDX: more than one logical processor in the package.
const HTT: u32 = 1 << 28;
/// Leaf 0x8000_0001 ECX: legacy multi-core flag, and the topology extensions leaves below.
const CMP_LEGACY: u32 = 1 << 1;
const TOPOLOGY_EXTENSIONS: u32 = 1 << 22;

/// Level types of leaves 0xb and 0x1f.
const LEVEL_SMT: u32 = 1;
const LEVEL_CORE: u32 = 2;

/// The last-level cache's level in leaves 4 and 0x8000_001d: shared by all vCPUs.
const SHARED_CACHE_LEVEL: u32 = 3;

/// The CPUID leaves of one vCPU.
///
/// They are the same for all but the vCPU's own APIC ID, so [`Template::for_vcpu`] is cheap.
#[derive(Debug, Clone)]
pub struct Template {
    entries: Vec<kvm_cpuid_entry2>,
}

impl Template {
    /// The leaves of a VM with `cpus` vCPUs.
    pub fn new(vm: &Vm, cpus: u32) -> Self {
        Self::from_entries(vm.supported_cpuid().as_slice(), cpus, vm.has_tsc_deadline())
    }

    fn from_entries(supported: &[kvm_cpuid_entry2], cpus: u32, tsc_deadline: bool) -> Self {
        let amd = supported.iter().any(is_amd);
        let mut entries: Vec<_> = supported
            .iter()
            // Rebuilt below: the host's own topology is not the guest's.
            .filter(|entry| !matches!(entry.function, 0xb | 0x1f))
            .copied()
            .collect();
        for entry in &mut entries {
            match entry.function {
                0x1 => features(entry, cpus, tsc_deadline),
                // Type 0 ends the list of caches.
                0x4 if entry.eax & 0x1f != 0 => {
                    Field::new(26, 6).set(&mut entry.eax, (1 << id_bits(cpus)) - 1);
                    share_cache(entry, cpus);
                }
                0x8000_0001 if amd && cpus > 1 => entry.ecx |= CMP_LEGACY,
                0x8000_0008 if amd => {
                    Field::new(0, 8).set(&mut entry.ecx, cpus - 1);
                    Field::new(12, 4).set(&mut entry.ecx, id_bits(cpus));
                }
                0x8000_001d if entry.eax & 0x1f != 0 => share_cache(entry, cpus),
                _ => {}
            }
        }
        let max_leaf = entries
            .iter()
            .find(|entry| entry.function == 0)
            .map_or(0, |entry| entry.eax);
        for leaf in [0xb, 0x1f] {
            if leaf <= max_leaf {
                entries.extend(topology(leaf, cpus));
            }
        }
        Self { entries }
    }

    /// The leaves of the vCPU with APIC ID `apic_id`.
    pub fn for_vcpu(&self, apic_id: u32) -> CpuId {
        let mut entries = self.entries.clone();
        let topology_extensions = entries
            .iter()
            .any(|entry| entry.function == 0x8000_0001 && entry.ecx & TOPOLOGY_EXTENSIONS != 0);
        for entry in &mut entries {
            match entry.function {
                0x1 => Field::new(24, 8).set(&mut entry.ebx, apic_id),
                0xb | 0x1f => entry.edx = apic_id,
                0x8000_001e if topology_extensions => {
                    entry.eax = apic_id;
                    // One thread per core; all in node 0.
                    entry.ebx = apic_id & 0xff;
                    entry.ecx = 0;
                }
                _ => {}
            }
        }
        CpuId::from_entries(&entries).expect("two more leaves than KVM lists fit")
    }
}

/// Whether `entry` is leaf 0 of a processor that follows AMD's rules for the leaves above
/// 0x8000_0000. The vendor's name is in EBX, EDX, ECX.
fn is_amd(entry: &kvm_cpuid_entry2) -> bool {
    let name = [entry.ebx, entry.edx, entry.ecx]
        .map(u32::to_le_bytes)
        .concat();
    entry.function == 0 && matches!(&name[..], b"AuthenticAMD" | b"HygonGenuine")
}

/// Leaf 1: features and the number of logical processors.
fn features(entry: &mut kvm_cpuid_entry2, cpus: u32, tsc_deadline: bool) {
    entry.ecx |= HYPERVISOR | X2APIC;
    if tsc_deadline {
        entry.ecx |= TSC_DEADLINE;
    }
    Field::new(16, 8).set(&mut entry.ebx, cpus);
    if cpus > 1 {
        entry.edx |= HTT;
    } else {
        entry.edx &= !HTT;
    }
}

/// How many bits an APIC ID takes within the package.
fn id_bits(cpus: u32) -> u32 {
    cpus.next_power_of_two().trailing_zeros()
}

/// One sub-leaf of the deterministic cache leaves: who shares this cache.
fn share_cache(entry: &mut kvm_cpuid_entry2, cpus: u32) {
    let level = Field::new(5, 3).get(entry.eax);
    let sharers = if level >= SHARED_CACHE_LEVEL {
        1 << id_bits(cpus)
    } else {
        1
    };
    Field::new(14, 12).set(&mut entry.eax, sharers - 1);
}

/// The extended topology leaf: one thread a core, all cores in one package, and the end.
fn topology(function: u32, cpus: u32) -> [kvm_cpuid_entry2; 3] {
    let level = |index: u32, kind: u32, shift: u32, processors: u32| kvm_cpuid_entry2 {
        function,
        index,
        flags: kvm_bindings::KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
        eax: shift,
        ebx: processors,
        ecx: kind << 8 | index,
        ..Default::default()
    };
    [
        level(0, LEVEL_SMT, 0, 1),
        level(1, LEVEL_CORE, id_bits(cpus), cpus),
        level(2, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests;
