//! The exit-status port: how a guest says with which status its VM should end.
//!
//! A guest that runs one job (a test, a build) writes the job's exit status here and powers off;
//! `muster run` then exits with that status. The value of the last write counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::bus::{Action, Device};

/// The port: outside every range that PC hardware uses.
pub const EXIT_STATUS_PORT: u64 = 0x501;

/// One write-only byte. Reads give the last value, so a guest can check that the port is there.
#[derive(Debug, Default)]
pub struct ExitStatus {
    value: Arc<AtomicU8>,
}

impl ExitStatus {
    /// A port whose value is read through `value` after the guest has ended.
    pub fn new(value: Arc<AtomicU8>) -> Self {
        Self { value }
    }
}

impl Device for ExitStatus {
    fn read(&mut self, _offset: u64, data: &mut [u8]) {
        data.fill(self.value.load(Ordering::Relaxed));
    }

    fn write(&mut self, _offset: u64, data: &[u8]) -> Action {
        if let [value] = data {
            self.value.store(*value, Ordering::Relaxed);
        }
        Action::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_byte_written_is_the_status() {
        let value = Arc::new(AtomicU8::new(0));
        let mut port = ExitStatus::new(value.clone());
        for status in [7, 42] {
            assert_eq!(port.write(0, &[status]), Action::None);
        }
        port.write(0, &[1, 2]);
        assert_eq!(value.load(Ordering::Relaxed), 42);
        let mut back = [0];
        port.read(0, &mut back);
        assert_eq!(back, [42]);
    }
}
