//! MADT, the interrupt controllers: one local APIC per processor, one I/O APIC, no 8259.

use acpi_tables::Aml;
use acpi_tables::madt::{EnabledStatus, IoApic, ProcessorLocalApic};

use super::table;
use crate::layout::{IOAPIC, LOCAL_APIC};

const REVISION: u8 = 5;

/// The I/O APIC's own number: what KVM's has after reset.
const IOAPIC_ID: u8 = 0;
/// Local APIC IDs from here on are written as x2APIC entries: the byte is all ones or too small.
const X2APIC_IDS_FROM: u32 = 255;

const LOCAL_X2APIC: u8 = 9;
const LOCAL_APIC_NMI: u8 = 4;
const LOCAL_X2APIC_NMI: u8 = 10;
/// "All processors", by the width of the field.
const ALL: u8 = 0xff;
const ALL_WIDE: u32 = u32::MAX;
/// The local interrupt pin for NMIs, as on every PC.
const NMI_PIN: u8 = 1;

pub(super) fn build(cpus: u32) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend((LOCAL_APIC.0 as u32).to_le_bytes());
    // Flags: PCAT_COMPAT is clear, so there is no 8259 to mask.
    body.extend(0u32.to_le_bytes());
    for id in 0..cpus {
        match u8::try_from(id) {
            Ok(byte) if id < X2APIC_IDS_FROM => {
                ProcessorLocalApic::new(byte, byte, EnabledStatus::Enabled).to_aml_bytes(&mut body);
            }
            _ => push_x2apic(&mut body, id),
        }
    }
    IoApic::new(IOAPIC_ID, IOAPIC.0 as u32, 0).to_aml_bytes(&mut body);
    push_nmi(&mut body);
    if cpus > X2APIC_IDS_FROM {
        push_x2apic_nmi(&mut body);
    }
    table(*b"APIC", REVISION, &body)
}

/// Processor Local x2APIC structure; the processor's UID is its APIC ID.
fn push_x2apic(body: &mut Vec<u8>, id: u32) {
    body.extend([LOCAL_X2APIC, 16, 0, 0]);
    body.extend(id.to_le_bytes());
    body.extend((EnabledStatus::Enabled as u32).to_le_bytes());
    body.extend(id.to_le_bytes());
}

/// Local APIC NMI structure, polarity and trigger mode as the bus has them.
fn push_nmi(body: &mut Vec<u8>) {
    body.extend([LOCAL_APIC_NMI, 6, ALL, 0, 0, NMI_PIN]);
}

/// Local x2APIC NMI structure, likewise.
fn push_x2apic_nmi(body: &mut Vec<u8>) {
    body.extend([LOCAL_X2APIC_NMI, 12, 0, 0]);
    body.extend(ALL_WIDE.to_le_bytes());
    body.extend([NMI_PIN, 0, 0, 0]);
}
