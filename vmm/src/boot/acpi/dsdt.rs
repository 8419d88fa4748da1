//! DSDT, the devices: bytecode (AML) that the kernel interprets.
//!
//! ```text
//! \_S5          the sleep type to write for power off
//! \_SB.Cxxx     a processor each
//! \_SB.PWRB     the power button
//! \_SB.GED      the interrupt that means "the button was pressed"
//! \_SB.COM1     the serial port
//! \_SB.Vxxx     a virtio-mmio device each
//! ```

use acpi_tables::Aml;
use acpi_tables::aml::{
    Device, EISAName, IO, Interrupt, Memory32Fixed, Method, Name, Notify, Package, Path,
    ResourceTemplate, Scope,
};
use muster_devices::power::SLEEP_TYPE_S5;
use muster_devices::serial::SERIAL_LEN;
use muster_devices::virtio::mmio::MMIO_LEN;

use super::{AcpiSpec, table};
use crate::layout::{POWER_BUTTON_GSI, SERIAL_GSI, SERIAL_PORT, virtio_gsi, virtio_window};

/// 2 and above: integers have 64 bits.
const REVISION: u8 = 2;

/// "Pressed while the machine is on", for the power button.
const NOTIFY_PRESSED: u8 = 0x80;

pub(super) fn build(spec: &AcpiSpec) -> Vec<u8> {
    let mut devices = Vec::new();
    for cpu in 0..spec.cpus {
        processor(&mut devices, cpu);
    }
    power_button(&mut devices);
    serial_port(&mut devices);
    for index in 0..spec.virtio_devices {
        virtio_device(&mut devices, index);
    }

    let mut body = Vec::new();
    let sleep_type = Package::new(vec![&SLEEP_TYPE_S5, &0u8, &0u8, &0u8]);
    Name::new(Path::new("_S5_"), &sleep_type).to_aml_bytes(&mut body);
    body.extend(Scope::raw(Path::new("_SB_"), devices));
    table(*b"DSDT", REVISION, &body)
}

fn processor(out: &mut Vec<u8>, cpu: u32) {
    Device::new(
        numbered('C', cpu),
        vec![
            &Name::new(Path::new("_HID"), &"ACPI0007"),
            // Links it to the MADT's entry.
            &Name::new(Path::new("_UID"), &cpu),
        ],
    )
    .to_aml_bytes(out);
}

/// The button, and the generic event device that tells of its presses.
fn power_button(out: &mut Vec<u8>) {
    Device::new(
        Path::new("PWRB"),
        vec![
            &Name::new(Path::new("_HID"), &EISAName::new("PNP0C0C")),
            &Name::new(Path::new("_UID"), &0u8),
        ],
    )
    .to_aml_bytes(out);
    Device::new(
        Path::new("GED_"),
        vec![
            &Name::new(Path::new("_HID"), &"ACPI0013"),
            &Name::new(Path::new("_UID"), &0u8),
            &Name::new(
                Path::new("_CRS"),
                &ResourceTemplate::new(vec![&edge_interrupt(POWER_BUTTON_GSI, Sharing::Exclusive)]),
            ),
            // Its argument is the interrupt, of which there is only one.
            &Method::new(
                Path::new("_EVT"),
                1,
                true,
                vec![&Notify::new(&Path::new("PWRB"), &NOTIFY_PRESSED)],
            ),
        ],
    )
    .to_aml_bytes(out);
}

fn serial_port(out: &mut Vec<u8>) {
    Device::new(
        Path::new("COM1"),
        vec![
            &Name::new(Path::new("_HID"), &EISAName::new("PNP0501")),
            &Name::new(Path::new("_UID"), &1u8),
            &Name::new(
                Path::new("_CRS"),
                &ResourceTemplate::new(vec![
                    &IO::new(SERIAL_PORT, SERIAL_PORT, 1, SERIAL_LEN as u8),
                    &edge_interrupt(SERIAL_GSI, Sharing::Exclusive),
                ]),
            ),
        ],
    )
    .to_aml_bytes(out);
}

fn virtio_device(out: &mut Vec<u8>, index: usize) {
    let window = virtio_window(index).expect("the caller has checked the number of devices");
    let index = index as u32;
    Device::new(
        numbered('V', index),
        vec![
            &Name::new(Path::new("_HID"), &"LNRO0005"),
            &Name::new(Path::new("_UID"), &index),
            // Its accesses to memory are coherent with the processors' caches.
            &Name::new(Path::new("_CCA"), &1u8),
            &Name::new(
                Path::new("_CRS"),
                &ResourceTemplate::new(vec![
                    &Memory32Fixed::new(true, window.0 as u32, MMIO_LEN as u32),
                    &edge_interrupt(virtio_gsi(index as usize), Sharing::Shared),
                ]),
            ),
        ],
    )
    .to_aml_bytes(out);
}

#[derive(PartialEq, Eq)]
enum Sharing {
    Exclusive,
    Shared,
}

/// An interrupt that the device consumes: edge-triggered, active high.
fn edge_interrupt(gsi: u32, sharing: Sharing) -> Interrupt {
    Interrupt::new(true, true, false, sharing == Sharing::Shared, gsi)
}

/// A name of four characters, such as `C00A`.
fn numbered(letter: char, number: u32) -> Path {
    Path::new(&format!("{letter}{number:03X}"))
}
