//! Serial numbers of disks, by which guests find them (`/dev/disk/by-id/virtio-...`).

use std::path::Path;

use super::OpenDiskError;

/// What virtio's get-id has room for.
const SERIAL_LEN: usize = 20;

/// Checks a serial that the user chose.
pub(super) fn check(serial: &str) -> Result<String, OpenDiskError> {
    let printable = serial.bytes().all(|byte| byte.is_ascii_graphic());
    if printable && (1..=SERIAL_LEN).contains(&serial.len()) {
        Ok(serial.to_owned())
    } else {
        Err(OpenDiskError::Serial {
            serial: serial.to_owned(),
        })
    }
}

/// A serial from the file's name without extension: the same on every start, and known to the user.
pub(super) fn from_path(path: &Path) -> String {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let usable = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
    let serial: String = name.chars().filter(usable).take(SERIAL_LEN).collect();
    if serial.is_empty() {
        "disk".to_owned()
    } else {
        serial
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_serial_is_printable_and_fits() {
        for good in ["a", "DATA-0001", &"x".repeat(SERIAL_LEN)] {
            assert_eq!(check(good).unwrap(), good);
        }
        for bad in [
            "",
            &"x".repeat(SERIAL_LEN + 1),
            "two words",
            "tab\t",
            "na\u{ef}ve",
            "\0",
        ] {
            let error = check(bad).unwrap_err();
            assert!(matches!(error, OpenDiskError::Serial { .. }), "{bad:?}");
        }
    }

    #[test]
    fn the_default_is_made_from_the_name() {
        for (path, serial) in [
            ("/var/images/root.img", "root"),
            ("debian-12-genericcloud-amd64.raw", "debian-12-genericclo"),
            ("my disk (2).img", "mydisk2"),
            ("/dev/sda1", "sda1"),
            ("\u{78c1}\u{76d8}.img", "disk"),
            ("/", "disk"),
        ] {
            assert_eq!(from_path(Path::new(path)), serial);
            assert_eq!(check(serial).unwrap(), serial);
        }
    }
}
