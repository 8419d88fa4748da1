//! The command line: whole ones, and the specification of a disk.
//!
//! Input of the first: arguments, separated by NUL. Of the second: the text of one `--disk`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use muster::Command;
use muster_vmm::{DiskSpec, VmSpec};

/// The machine that `muster run` would start with these arguments, if it would.
fn parse<'a>(arguments: impl IntoIterator<Item = &'a [u8]>) -> Option<VmSpec> {
    let arguments = arguments.into_iter().map(OsStr::from_bytes);
    match muster::parse([OsStr::new("muster")].into_iter().chain(arguments)) {
        Ok(parsed) => match parsed.command() {
            Command::Run(run) => Some(run.spec()),
            _ => None,
        },
        Err(error) => {
            assert!(
                !error.to_string().trim().is_empty(),
                "refused without a word"
            );
            None
        }
    }
}

/// Parses a command line and checks that only machines within bounds come of it.
pub fn run(bytes: &[u8]) {
    let Some(spec) = parse(bytes.split(|byte| *byte == 0)) else {
        return;
    };
    assert!((1..=64).contains(&spec.cpus), "{spec:?}");
    assert!(
        spec.memory_bytes >= 64 << 20 && spec.memory_bytes.is_multiple_of(4096),
        "{spec:?}"
    );
    for disk in &spec.disks {
        check(disk);
    }
}

/// Parses the specification of a disk, writes it anew and expects the same disk of that.
pub fn run_disk(bytes: &[u8]) {
    let Some(disk) = parse_disk(bytes) else {
        return;
    };
    check(&disk);
    assert_eq!(parse_disk(&text(&disk)), Some(disk));
}

fn parse_disk(text: &[u8]) -> Option<DiskSpec> {
    // Behind the equals sign a text is a value, also one that begins with a dash.
    let option = [b"--disk=", text].concat();
    let spec = parse(
        ["run", "--kernel=k"]
            .map(str::as_bytes)
            .into_iter()
            .chain([&option[..]]),
    )?;
    let [disk] = <[DiskSpec; 1]>::try_from(spec.disks).expect("one disk was given");
    Some(disk)
}

fn check(disk: &DiskSpec) {
    assert!(!disk.path.as_os_str().is_empty(), "{disk:?}");
}

/// The specification of a disk as a person would type it.
fn text(disk: &DiskSpec) -> Vec<u8> {
    let quoted = |text: &[u8]| {
        let byte = |byte: &u8| {
            if *byte == b',' {
                vec![b','; 2]
            } else {
                vec![*byte]
            }
        };
        text.iter().flat_map(byte).collect::<Vec<u8>>()
    };
    let mut text = quoted(disk.path.as_os_str().as_bytes());
    if disk.read_only {
        text.extend(b",ro");
    }
    if let Some(serial) = &disk.serial {
        text.extend(b",serial=");
        text.extend(quoted(serial.as_bytes()));
    }
    text
}

/// Command lines with every option.
pub fn seeds() -> Vec<Vec<u8>> {
    let lines: [&[&str]; 11] = [
        &["run", "--kernel", "vmlinuz"],
        &[
            "run",
            "--kernel=k",
            "--initrd",
            "i",
            "--cmdline",
            "quiet",
            "--cmdline=-- x",
        ],
        &[
            "run",
            "--kernel=k",
            "--raw-cmdline",
            "console=ttyS0",
            "--boot-protocol",
            "pvh",
        ],
        &[
            "run",
            "--kernel=k",
            "--cpus",
            "64",
            "--memory",
            "5G",
            "--on-reboot",
            "exit",
        ],
        &[
            "run",
            "--kernel=k",
            "--disk",
            "a.img",
            "--disk=b,,c.img,ro,serial=x",
        ],
        &[
            "run",
            "--kernel=k",
            "--console",
            "file=log",
            "--memory=65536KiB",
        ],
        &["run", "--help"],
        &["doctor", "--json"],
        &["sched", "policies", "--json"],
        &[
            "sim",
            "sched",
            "x.toml",
            "--policy=gang:quantum=20ms,backfill+smart",
            "--seed",
            "7",
            "--from=1ms",
            "--to=2s",
            "--svg",
            "x",
        ],
        &["--version"],
    ];
    lines
        .iter()
        .map(|line| line.join("\0").into_bytes())
        .collect()
}

/// Disks with every option.
pub fn disk_seeds() -> Vec<Vec<u8>> {
    [
        "disk.img",
        "/dev/vda,ro",
        "a,,b.img,serial=S-1",
        "-x,ro,serial=a,,b",
        "x,serial=",
        ",ro",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_command_lines_and_disks_that_are_accepted() {
        let is_machine = |line: &Vec<u8>| parse(line.split(|byte| *byte == 0)).is_some();
        let machines: Vec<_> = seeds().iter().map(is_machine).collect();
        assert_eq!(
            machines,
            [
                true, true, true, true, true, true, false, false, false, false, false
            ]
        );
        let disks: Vec<_> = disk_seeds()
            .iter()
            .map(|text| parse_disk(text).is_some())
            .collect();
        assert_eq!(disks, [true, true, true, true, true, false]);
    }
}
