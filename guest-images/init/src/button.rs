//! The ACPI power button, as the kernel's input devices report it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;

const INPUT: &str = "/dev/input";

/// `struct input_event` on 64-bit Linux: a time of two words, then type, code and value.
const EVENT_BYTES: usize = 24;
const EVENTS_PER_READ: usize = 64;
const KEY_EVENT: u16 = 1;
const KEY_POWER: u16 = 116;
const PRESSED: i32 = 1;

/// Opens all input devices, without waiting for input. A guest without any is fine.
pub fn open() -> Vec<File> {
    let Ok(items) = fs::read_dir(INPUT) else {
        return Vec::new();
    };
    let open = |path| {
        OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)
    };
    items
        .flatten()
        .filter(|item| item.file_name().as_encoded_bytes().starts_with(b"event"))
        .filter_map(|item| open(item.path()).ok())
        .collect()
}

/// Takes what the device has to say; whether the power button was pressed. An error means that the
/// device is gone.
pub fn was_pressed(mut device: &File) -> io::Result<bool> {
    let mut buffer = [0; EVENT_BYTES * EVENTS_PER_READ];
    match device.read(&mut buffer) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(count) => Ok(has_press(&buffer[..count])),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether these events have a press of the power button among them.
fn has_press(events: &[u8]) -> bool {
    events.chunks_exact(EVENT_BYTES).any(|event| {
        let half = |at: usize| u16::from_ne_bytes([event[at], event[at + 1]]);
        let value = i32::from_ne_bytes([event[20], event[21], event[22], event[23]]);
        (half(16), half(18), value) == (KEY_EVENT, KEY_POWER, PRESSED)
    })
}

#[cfg(test)]
mod tests;
