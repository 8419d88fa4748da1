//! The ACPI tables: how a stock kernel learns which processors and devices there are.
//!
//! Approach: the hardware-reduced profile. It has none of the PC's fixed power-management hardware,
//! which would have to be emulated; power off, reset and the power button are three registers and
//! one interrupt instead. There is no 8259, no PIT, no keyboard controller, no VGA and no CMOS
//! clock, and the tables say so, for a kernel that knows does not probe.
//!
//! ```text
//! RSDP -> XSDT -> FADT (power registers) -> DSDT (devices, as bytecode)
//!              -> MADT (processors, I/O APIC)
//! ```
//!
//! Source: ACPI Specification 6.5, chapters 4, 5 and 6.

use acpi_tables::Aml;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use muster_devices::memory::GuestRam;
use thiserror::Error;
use vm_memory::{Bytes, GuestAddress};

use super::BootError;
use crate::layout::{ACPI_END, ACPI_START, VIRTIO_DEVICES_MAX};

mod dsdt;
mod fadt;
mod madt;

/// Who made the tables.
const OEM_ID: [u8; 6] = *b"MUSTER";
const OEM_TABLE_ID: [u8; 8] = *b"MUSTERVM";
const OEM_REVISION: u32 = 1;

/// Length of the header that all tables but the RSDP begin with.
const HEADER_LEN: u32 = 36;
/// Processors have names of a letter and three hexadecimal digits.
const CPUS_MAX: u32 = 0x1000;
/// Tables begin at multiples of this.
const TABLE_ALIGN: u64 = 16;

/// What the tables describe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcpiSpec {
    /// Number of processors. Their APIC IDs count from 0.
    pub cpus: u32,
    /// Number of virtio-mmio devices, which are where the layout puts them.
    pub virtio_devices: usize,
}

/// A table, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcpiTable {
    /// Four characters, or "RSD PTR ".
    pub signature: &'static str,
    /// Where it must lie: other tables point to it.
    pub address: GuestAddress,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// The tables could not be made.
#[derive(Debug, Error)]
pub enum AcpiError {
    /// Too many processors and devices.
    #[error(
        "the ACPI tables for {cpus} CPUs and {devices} devices need {len} bytes of {room}; \
         use fewer of them"
    )]
    TooLarge {
        /// Number of processors.
        cpus: u32,
        /// Number of virtio devices.
        devices: usize,
        /// Bytes of all tables.
        len: u64,
        /// Bytes reserved for them.
        room: u64,
    },
    /// More processors than there are names for.
    #[error("the ACPI tables can name {CPUS_MAX} CPUs, not {cpus}")]
    TooManyCpus {
        /// Number of processors.
        cpus: u32,
    },
    /// More devices than there are register windows.
    #[error("a guest can have {VIRTIO_DEVICES_MAX} virtio devices, not {devices}")]
    TooManyDevices {
        /// Number of virtio devices.
        devices: usize,
    },
}

/// Writes the tables to `ram` and returns the address of the RSDP.
pub fn write(ram: &GuestRam, spec: &AcpiSpec) -> Result<GuestAddress, BootError> {
    for table in build(spec)? {
        ram.write_slice(&table.bytes, table.address)?;
    }
    Ok(ACPI_START)
}

/// Makes the tables. The first is the RSDP, at the beginning of the area.
pub fn build(spec: &AcpiSpec) -> Result<Vec<AcpiTable>, AcpiError> {
    let AcpiSpec {
        cpus,
        virtio_devices: devices,
    } = *spec;
    if cpus > CPUS_MAX {
        return Err(AcpiError::TooManyCpus { cpus });
    }
    if devices > VIRTIO_DEVICES_MAX {
        return Err(AcpiError::TooManyDevices { devices });
    }
    let mut next = ACPI_START.0;
    let mut place = |signature, bytes: Vec<u8>| {
        let address = GuestAddress(next);
        next = (next + bytes.len() as u64).next_multiple_of(TABLE_ALIGN);
        AcpiTable {
            signature,
            address,
            bytes,
        }
    };

    // Each table points to others. The RSDP comes first because kernels search for it from there,
    // so its place is taken before the XSDT's address is known.
    let mut rsdp = place("RSD PTR ", vec![0; Rsdp::len()]);
    let dsdt = place("DSDT", dsdt::build(spec));
    let fadt = place("FACP", fadt::build(dsdt.address));
    let madt = place("APIC", madt::build(cpus));
    let xsdt = place("XSDT", xsdt(&[fadt.address, madt.address]));
    rsdp.bytes = to_bytes(&Rsdp::new(OEM_ID, xsdt.address.0));

    if next > ACPI_END.0 {
        return Err(AcpiError::TooLarge {
            cpus,
            devices,
            len: next - ACPI_START.0,
            room: ACPI_END.0 - ACPI_START.0,
        });
    }
    Ok(vec![rsdp, dsdt, fadt, madt, xsdt])
}

fn xsdt(tables: &[GuestAddress]) -> Vec<u8> {
    let mut xsdt = XSDT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    for address in tables {
        xsdt.add_entry(address.0);
    }
    to_bytes(&xsdt)
}

/// A table with the common header. The body comes in one piece because every append sums up the
/// whole table again.
fn table(signature: [u8; 4], revision: u8, body: &[u8]) -> Vec<u8> {
    let mut sdt = Sdt::new(
        signature,
        HEADER_LEN,
        revision,
        OEM_ID,
        OEM_TABLE_ID,
        OEM_REVISION,
    );
    sdt.append_slice(body);
    sdt.as_slice().to_vec()
}

fn to_bytes(aml: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    aml.to_aml_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests;
