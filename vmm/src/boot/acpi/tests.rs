use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use vm_memory::Bytes;

use super::*;
use crate::layout::{virtio_gsi, virtio_window};
use crate::memory::{MemorySpec, allocate};

const SMALL: AcpiSpec = AcpiSpec {
    cpus: 1,
    virtio_devices: 1,
};
const LARGE: AcpiSpec = AcpiSpec {
    cpus: 64,
    virtio_devices: 80,
};

/// What two runs of ACPICA's compiler make of a table: to source, and back to bytes.
struct Disassembly {
    source: String,
    recompiled: Option<Vec<u8>>,
    messages: String,
}

fn run_iasl(dir: &Path, arguments: &[&str]) -> Output {
    Command::new("iasl")
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap_or_else(|error| {
            panic!("cannot run iasl ({error}); it is in Debian's package acpica-tools")
        })
}

fn disassemble(table: &AcpiTable) -> Disassembly {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("table.aml"), &table.bytes).unwrap();
    let text = |output: &Output| {
        let (out, err) = (&output.stdout, &output.stderr);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(err));
        format!(
            "{}{}",
            String::from_utf8_lossy(out),
            String::from_utf8_lossy(err)
        )
    };
    let mut messages = text(&run_iasl(dir.path(), &["-d", "table.aml"]));
    let source = fs::read_to_string(dir.path().join("table.dsl")).unwrap();
    // -oa: no optimisation, so that the bytes can be compared. -we: warnings count as errors.
    messages += &text(&run_iasl(
        dir.path(),
        &["-oa", "-we", "-p", "again", "table.dsl"],
    ));
    let recompiled = fs::read(dir.path().join("again.aml")).ok();
    Disassembly {
        source,
        recompiled,
        messages,
    }
}

fn find<'a>(tables: &'a [AcpiTable], signature: &str) -> &'a AcpiTable {
    tables
        .iter()
        .find(|table| table.signature == signature)
        .unwrap()
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

#[test]
fn the_compiler_accepts_every_table_without_a_word() {
    for spec in [SMALL, LARGE] {
        let tables = build(&spec).unwrap();
        for signature in ["DSDT", "FACP", "APIC"] {
            let Disassembly {
                messages, source, ..
            } = disassemble(find(&tables, signature));
            for word in ["Warning  ", "Error  ", "Remark  ", "Incorrect", "Invalid"] {
                assert!(!messages.contains(word), "{signature}: {messages}");
                assert!(!source.contains(word), "{signature}: {source}");
            }
        }
    }
}

#[test]
fn the_bytecode_survives_disassembly_and_compilation() {
    let tables = build(&LARGE).unwrap();
    let dsdt = find(&tables, "DSDT");
    let recompiled = disassemble(dsdt)
        .recompiled
        .expect("the compiler writes a table");
    // The headers differ in the compiler's own name, and so in the checksum.
    let body = HEADER_LEN as usize;
    assert_eq!(recompiled[body..], dsdt.bytes[body..]);
}

#[test]
fn the_dsdt_has_every_processor_and_device() {
    let source = disassemble(find(&build(&LARGE).unwrap(), "DSDT")).source;
    let count = |text: &str| source.matches(text).count();
    assert_eq!(count(r#""ACPI0007""#), 64);
    assert_eq!(count(r#""LNRO0005""#), 80);
    assert_eq!(count(r#""ACPI0013""#), 1);
    assert_eq!(count(r#"EisaId ("PNP0501")"#), 1);
    assert_eq!(count(r#"EisaId ("PNP0C0C")"#), 1);
    assert_eq!(count("Notify (PWRB, 0x80)"), 1);
    assert_eq!(count("Name (_S5, Package (0x04)"), 1);
    assert_eq!(
        count("Interrupt (ResourceConsumer, Edge, ActiveHigh, Shared, ,, )"),
        80
    );
    assert_eq!(
        count("Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, )"),
        2
    );
    for index in [0, 14, 15, 79] {
        let at = source.find(&format!("Device (V{index:03X})")).unwrap();
        let end = source[at + 1..]
            .find("Device (")
            .map_or(source.len(), |end| at + 1 + end);
        let device = &source[at..end];
        let base = format!(
            "0x{:08X},         // Address Base",
            virtio_window(index).unwrap().0
        );
        let gsi = format!("0x{:08X},\n", virtio_gsi(index));
        assert!(
            device.contains(&base) && device.contains(&gsi),
            "{base} {gsi} {device}"
        );
        assert!(
            device.contains("0x00000200,         // Address Length"),
            "{device}"
        );
    }
}

#[test]
fn the_fadt_describes_a_machine_without_pc_hardware() {
    let source = disassemble(find(&build(&SMALL).unwrap(), "FACP")).source;
    let field = |name: &str| {
        let line = source
            .lines()
            .find(|line| line.contains(&format!("{name} :")));
        line.unwrap_or_else(|| panic!("no {name} in {source}"))
            .rsplit(" : ")
            .next()
            .unwrap()
    };
    for (name, value) in [
        ("Hardware Reduced (V5)", "1"),
        ("Reset Register Supported (V2)", "1"),
        ("Control Method Power Button (V1)", "1"),
        ("Control Method Sleep Button (V1)", "1"),
        ("RTC wake not in fixed reg space (V1)", "1"),
        ("Legacy Devices Supported (V2)", "0"),
        ("8042 Present on ports 60/64 (V2)", "0"),
        ("VGA Not Present (V4)", "1"),
        ("CMOS RTC Not Present (V5)", "1"),
        ("PCIe ASPM Not Supported (V4)", "0"),
        ("MSI Not Supported (V4)", "0"),
        ("Value to cause reset", "01"),
    ] {
        assert_eq!(field(name), value, "{name}");
    }
    let registers = [
        "Reset Register",
        "Sleep Control Register",
        "Sleep Status Register",
    ];
    for (name, address) in std::iter::zip(registers, [0x602, 0x600, 0x601]) {
        // Title, address space, width, offset, access width, address.
        let at = source.find(&format!("{name} :")).unwrap();
        let register: String = source[at..].lines().take(6).collect();
        assert!(register.contains("01 [SystemIO]"), "{register}");
        assert!(register.contains("[Byte Access:8]"), "{register}");
        assert!(register.contains(&format!("{address:016X}")), "{register}");
    }
}

#[test]
fn the_madt_counts_processors_and_has_no_8259() {
    let source = disassemble(find(&build(&LARGE).unwrap(), "APIC")).source;
    assert_eq!(source.matches("[Processor Local APIC]").count(), 64);
    assert_eq!(source.matches("[I/O APIC]").count(), 1);
    assert_eq!(source.matches("[Local APIC NMI]").count(), 1);
    assert_eq!(source.matches("Local x2APIC]").count(), 0);
    assert!(source.contains("PC-AT Compatibility : 0"), "{source}");
    assert!(source.contains("Local Apic Address : FEE00000"), "{source}");
    assert!(source.contains("Address : FEC00000"), "{source}");
}

#[test]
fn processors_beyond_a_byte_are_x2apics() {
    let spec = AcpiSpec {
        cpus: 300,
        virtio_devices: 0,
    };
    let table = disassemble(find(&build(&spec).unwrap(), "APIC"));
    let count = |text: &str| table.source.matches(text).count();
    assert_eq!(count("[Processor Local APIC]"), 255);
    assert_eq!(count("[Processor Local x2APIC]"), 45);
    assert_eq!(count("[Local x2APIC NMI]"), 1);
}

#[test]
fn checksums_lengths_and_pointers_are_right() {
    for spec in [SMALL, LARGE] {
        let tables = build(&spec).unwrap();
        for table in &tables {
            assert_eq!(sum(&table.bytes), 0, "{}", table.signature);
            assert!(table.bytes.starts_with(table.signature.as_bytes()));
            if table.signature != "RSD PTR " {
                let len = u32::from_le_bytes(table.bytes[4..8].try_into().unwrap());
                assert_eq!(len as usize, table.bytes.len(), "{}", table.signature);
            }
        }
        let [rsdp, dsdt, fadt, madt, xsdt] = tables.as_slice() else {
            unreachable!()
        };
        // The first version's part has a checksum of its own.
        assert_eq!(sum(&rsdp.bytes[..20]), 0);
        assert_eq!(u64_at(&rsdp.bytes, 24), xsdt.address.0);
        assert_eq!(xsdt.bytes.len(), 36 + 16);
        assert_eq!(u64_at(&xsdt.bytes, 36), fadt.address.0);
        assert_eq!(u64_at(&xsdt.bytes, 44), madt.address.0);
        assert_eq!(u64_at(&fadt.bytes, 140), dsdt.address.0);
    }
}

#[test]
fn tables_are_written_where_they_point_and_do_not_overlap() {
    let ram = allocate(MemorySpec { size: 2 << 20 }).unwrap();
    let rsdp = write(&ram, &LARGE).unwrap();
    assert_eq!(rsdp, ACPI_START);
    let mut end = ACPI_START.0;
    for table in build(&LARGE).unwrap() {
        assert!(table.address.0 >= end && table.address.0 % TABLE_ALIGN == 0);
        end = table.address.0 + table.bytes.len() as u64;
        let mut bytes = vec![0; table.bytes.len()];
        ram.read_slice(&mut bytes, table.address).unwrap();
        assert_eq!(bytes, table.bytes, "{}", table.signature);
    }
    assert!(end <= ACPI_END.0);
}

#[test]
fn the_largest_machine_fits_and_larger_ones_are_refused() {
    let largest = AcpiSpec {
        cpus: 64,
        virtio_devices: VIRTIO_DEVICES_MAX,
    };
    assert!(build(&largest).is_ok());
    let refused = |cpus, virtio_devices| {
        build(&AcpiSpec {
            cpus,
            virtio_devices,
        })
        .unwrap_err()
    };
    assert!(matches!(
        refused(1, VIRTIO_DEVICES_MAX + 1),
        AcpiError::TooManyDevices { .. }
    ));
    assert!(matches!(
        refused(u32::MAX, 1),
        AcpiError::TooManyCpus { cpus: u32::MAX }
    ));
    let error = refused(CPUS_MAX, VIRTIO_DEVICES_MAX);
    assert!(matches!(error, AcpiError::TooLarge { .. }), "{error}");
    assert!(
        error.to_string().contains("4096 CPUs and 512 devices"),
        "{error}"
    );
}
