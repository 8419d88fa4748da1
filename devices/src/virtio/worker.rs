//! A thread that serves one running queue.
//!
//! The thread sleeps in reading the queue's kick eventfd. To stop it, a flag is set and the same
//! eventfd written, so it needs no other. The flag is looked at before every chain: a driver that
//! adds chains for ever cannot hold up a stop.

use std::io;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use virtio_queue::{Error as RingError, QueueT};
use vmm_sys_util::eventfd::EventFd;

use super::service::{ChainService, QueueServer};
use super::{QueueResources, QueueState, VirtioInterrupt};
use crate::THREAD_STACK_LEN;

/// A running queue. Dropping it stops it.
pub struct QueueWorker {
    kick: EventFd,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<QueueState>>,
}

impl QueueWorker {
    /// Begins to serve queue `index`. The thread is called `name`, cut after 15 bytes.
    pub fn start(
        name: &str,
        index: u16,
        mut resources: QueueResources,
        state: Option<QueueState>,
        service: impl ChainService + 'static,
    ) -> io::Result<Self> {
        if let Some(state) = state {
            resources.queue.set_next_avail(state.next_avail);
            resources.queue.set_next_used(state.next_used);
        }
        let kick = resources.kick.try_clone()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .stack_size(THREAD_STACK_LEN)
            .spawn(move || run(index, resources, service, &stopped))?;
        Ok(Self {
            kick,
            stop,
            thread: Some(thread),
        })
    }

    /// Stops the thread and says where the queue stood. The request in flight is finished first.
    pub fn stop(mut self) -> QueueState {
        self.join().expect("only `drop` joins after this")
    }

    fn join(&mut self) -> Option<QueueState> {
        let thread = self.thread.take()?;
        self.stop.store(true, Ordering::Release);
        self.kick.write(1).expect("an eventfd can be written");
        // A panic in there is a defect: it goes on in whoever stops the queue.
        Some(
            thread
                .join()
                .unwrap_or_else(|panic| panic::resume_unwind(panic)),
        )
    }
}

impl Drop for QueueWorker {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.join();
        }
    }
}

/// Tells the driver that its device is gone when the thread panics, which is a defect.
struct PanicGuard<'a>(&'a dyn VirtioInterrupt);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.needs_reset();
        }
    }
}

/// The thread: serves until it is stopped or the ring breaks.
fn run(
    index: u16,
    resources: QueueResources,
    service: impl ChainService,
    stop: &AtomicBool,
) -> QueueState {
    let QueueResources {
        mut queue,
        ram,
        kick,
        interrupt,
        features: _,
    } = resources;
    let _guard = PanicGuard(&*interrupt);
    let mut server = QueueServer::new(&mut queue, &ram, service);
    // There may be chains from before the start, whose kick is lost.
    while !stop.load(Ordering::Acquire) {
        if let Err(error) = drain(index, &mut server, &*interrupt, stop) {
            tracing::warn!(queue = index, %error, "the guest has broken a ring; its queue stops");
            interrupt.needs_reset();
            break;
        }
        if let Err(error) = kick.read() {
            tracing::error!(queue = index, %error, "cannot wait for the guest; its queue stops");
            interrupt.needs_reset();
            break;
        }
    }
    tracing::debug!(
        queue = index,
        malformed = server.malformed(),
        "queue stopped"
    );
    drop(server);
    QueueState {
        next_avail: queue.next_avail(),
        next_used: queue.next_used(),
    }
}

/// Serves all available chains, and leaves with the driver's notifications enabled.
fn drain(
    index: u16,
    server: &mut QueueServer<'_, impl ChainService>,
    interrupt: &dyn VirtioInterrupt,
    stop: &AtomicBool,
) -> Result<(), RingError> {
    loop {
        let ram = server.ram();
        server.queue.disable_notification(ram)?;
        while !stop.load(Ordering::Acquire) && server.serve_next()? {
            if server.queue.needs_notification(ram)? {
                interrupt.used_buffers(index);
            }
        }
        // A chain that came in before notifications were on again is seen here.
        if stop.load(Ordering::Acquire) || !server.queue.enable_notification(ram)? {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
