//! How a vCPU's thread is made to leave the guest.
//!
//! Problem: a signal interrupts KVM_RUN, but one that comes a moment before the thread enters it is
//! lost, and the guest runs on.
//!
//! Approach: the signal's handler sets `immediate_exit` in the thread's own `kvm_run` page. If the
//! signal comes before the entry, KVM_RUN returns at once because of the flag; if it comes after, the
//! signal itself interrupts. The thread clears the flag before it looks at whatever might have
//! changed. So anybody who changes something and then sends [`signal`] is heard: also another process,
//! which does not have the page.
#![expect(
    unsafe_code,
    reason = "a signal handler, which finds its page by a pointer"
)]

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler, unblock_signal};

use crate::kvm::RunPage;

thread_local! {
    /// The flag of the vCPU that this thread runs.
    static FLAG: Cell<*const AtomicU8> = const { Cell::new(ptr::null()) };
}

/// The signal that makes a vCPU's thread look again.
pub fn signal() -> i32 {
    SIGRTMIN()
}

/// Installs the handler, for all threads of the process.
pub fn install_handler() -> io::Result<()> {
    extern "C" fn set_flag(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
        let flag = FLAG.get();
        if !flag.is_null() {
            // SAFETY: `Listening` keeps the page mapped as long as the pointer is here, and only this
            // thread, which the handler interrupts, changes it.
            unsafe { &*flag }.store(1, Ordering::SeqCst);
        }
    }
    register_signal_handler(signal(), set_flag).map_err(Into::into)
}

/// While this lives, the signal makes this thread's vCPU leave the guest.
pub struct Listening {
    page: Arc<RunPage>,
    alarm: libc::timer_t,
    // The thread that made it must drop it.
    _not_send: PhantomData<*const ()>,
}

impl Listening {
    /// This thread runs the vCPU of `page` from now on.
    pub fn start(page: Arc<RunPage>) -> io::Result<Self> {
        // Whoever started this process may have blocked it.
        unblock_signal(signal()).map_err(|error| io::Error::other(format!("{error:?}")))?;
        let alarm = create_alarm()?;
        FLAG.set(page.immediate_exit());
        Ok(Self {
            page,
            alarm,
            _not_send: PhantomData,
        })
    }

    /// Has this thread signalled once after so long.
    pub fn alarm(&self, after: Duration) {
        // SAFETY: all zeroes is a valid `itimerspec`.
        let mut when: libc::itimerspec = unsafe { mem::zeroed() };
        when.it_value.tv_sec = after.as_secs() as i64;
        // Zero would switch the alarm off.
        when.it_value.tv_nsec = i64::from(after.subsec_nanos().max(1));
        // SAFETY: the timer lives as long as `self`, and nothing is written back.
        let set = unsafe { libc::timer_settime(self.alarm, 0, &when, ptr::null_mut()) };
        assert_eq!(set, 0, "the timer exists and the time is valid");
    }

    /// To be called before the thread looks at what may have changed: a signal from now on makes the
    /// next entry return.
    pub fn clear(&self) {
        self.page.immediate_exit().store(0, Ordering::SeqCst);
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        FLAG.set(ptr::null());
        // SAFETY: it was created with `self` and is deleted once.
        unsafe { libc::timer_delete(self.alarm) };
    }
}

/// A timer that signals this thread.
fn create_alarm() -> io::Result<libc::timer_t> {
    // SAFETY: all zeroes is a valid `sigevent`.
    let mut event: libc::sigevent = unsafe { mem::zeroed() };
    event.sigev_notify = libc::SIGEV_THREAD_ID;
    event.sigev_signo = signal();
    event.sigev_notify_thread_id = nix::unistd::gettid().as_raw();
    let mut alarm: libc::timer_t = ptr::null_mut();
    // SAFETY: both point to live structures of their types.
    match unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut alarm) } {
        0 => Ok(alarm),
        _ => Err(io::Error::last_os_error()),
    }
}
