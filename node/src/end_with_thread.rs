//! A defect in one of the threads that hold gates ends the whole process.
//!
//! Otherwise leases would be renewed for ever while nobody opens the gates. When the process ends, VMs
//! see it, and go on without it.

use std::{process, thread};

/// Ends the process if this thread panics while it lives.
pub(crate) struct EndWithThread;

impl Drop for EndWithThread {
    fn drop(&mut self) {
        if thread::panicking() {
            process::abort();
        }
    }
}

#[cfg(test)]
mod tests;
