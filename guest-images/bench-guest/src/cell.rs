//! A place that the first vCPU fills before the others may look.
#![expect(unsafe_code, reason = "shares a value that is written once")]

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

/// A value that is set once.
pub struct Once<T> {
    set: AtomicBool,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: `get` reads only what `set` has published, and `set` writes only before that; the first
// vCPU alone calls it.
unsafe impl<T: Sync> Sync for Once<T> {}

impl<T> Once<T> {
    /// Not set yet.
    pub const fn new() -> Self {
        Self {
            set: AtomicBool::new(false),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Sets it. For the first vCPU alone.
    pub fn set(&self, value: T) {
        assert!(!self.set.load(Ordering::Relaxed), "it is set once");
        // SAFETY: nobody reads before the flag, and nobody else writes.
        unsafe { (*self.value.get()).write(value) };
        self.set.store(true, Ordering::Release);
    }

    /// The value, once it is there.
    pub fn get(&self) -> Option<&T> {
        if !self.set.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: the flag says that it has been written, and it is never written again.
        Some(unsafe { (*self.value.get()).assume_init_ref() })
    }

    /// The value; waits for it.
    pub fn wait(&self) -> &T {
        loop {
            if let Some(value) = self.get() {
                return value;
            }
            core::hint::spin_loop();
        }
    }
}
