//! FADT, the fixed description: which of the PC's fixed hardware there is. None; and where the
//! registers for power off and reset are.

use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use muster_devices::power::{RESET, RESET_VALUE, SLEEP_CONTROL, SLEEP_STATUS};
use vm_memory::GuestAddress;

use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID, to_bytes};
use crate::layout::POWER_PORT;

/// `IAPC_BOOT_ARCH`: do not probe for VGA. The bits for legacy devices and the keyboard controller
/// stay clear, which says that they are absent.
const NO_VGA: u16 = 1 << 2;
/// `IAPC_BOOT_ARCH`: there is no CMOS clock.
const NO_CMOS_RTC: u16 = 1 << 5;

pub(super) fn build(dsdt: GuestAddress) -> Vec<u8> {
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .dsdt_64(dsdt.0)
        .flag(Flags::HwReducedAcpi)
        // The instruction WBINVD works.
        .flag(Flags::Wbinvd)
        // The power button is a device in the DSDT, and a sleep button would be.
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::ResetRegSup)
        // No clock that could wake the machine.
        .flag(Flags::FixRtc)
        .flag(Flags::Headless);
    fadt.iapc_boot_arch = (NO_VGA | NO_CMOS_RTC).into();
    fadt.reset_reg = power_register(RESET);
    fadt.reset_value = RESET_VALUE;
    fadt.sleep_control_reg = power_register(SLEEP_CONTROL);
    fadt.sleep_status_reg = power_register(SLEEP_STATUS);
    to_bytes(&fadt.finalize())
}

/// One byte of the power registers.
fn power_register(offset: u64) -> GAS {
    let address = u64::from(POWER_PORT) + offset;
    GAS::new(
        AddressSpace::SystemIo,
        8,
        0,
        AccessSize::ByteAccess,
        address,
    )
}
