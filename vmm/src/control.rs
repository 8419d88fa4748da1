//! The control loop: everything that happens to a running VM from outside its vCPUs.
//!
//! It is the process's main thread. Its sources are signals, the ends of vCPU threads, and what a
//! person types ([`input`]); each is a subscriber of one event manager and turns what it reads into
//! [`Event`]s. The loop outlives restarts of the guest, so that nothing typed or signalled during
//! one is lost. It never waits for a vCPU thread: not even for a device's lock.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use muster_devices::bus::Shared;
use muster_devices::serial::SerialPort;
use nix::sys::signal::Signal;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::console::escape::Command;
use crate::vcpu::{Reporter, VcpuEnd};
use input::{InputSource, Port};
use signals::Signals;

mod input;
pub mod signals;

/// Something that the VM's lifecycle must answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A signal asks the VM to end.
    Terminate(Signal),
    /// The process was stopped and goes on; the terminal may have changed meanwhile.
    Continued,
    /// An escape command was typed.
    Command(Command),
    /// A vCPU thread ended by itself.
    Vcpu(VcpuEnd),
    /// It is time to look after what nobody reports.
    Tick,
}

type Queue = Rc<RefCell<VecDeque<Event>>>;

/// The event loop of one VM.
pub struct ControlLoop {
    manager: EventManager<Box<dyn MutEventSubscriber>>,
    queue: Queue,
    reporter: Reporter,
    port: Port,
    room: EventFd,
}

impl ControlLoop {
    /// A loop over `signals`, the ends of vCPUs and, with `reads_stdin`, standard input. Serial ports
    /// signal `room` when they have room for input again.
    pub fn new(signals: &Signals, room: EventFd, reads_stdin: bool) -> io::Result<Self> {
        let queue = Queue::default();
        let port = Port::default();
        let (sender, ends) = mpsc::channel();
        let wake = EventFd::new(EFD_NONBLOCK)?;
        let mut manager: EventManager<Box<dyn MutEventSubscriber>> =
            EventManager::new().map_err(io::Error::other)?;
        manager.add_subscriber(Box::new(SignalSource {
            signals: signals.clone(),
            queue: queue.clone(),
        }));
        manager.add_subscriber(Box::new(VcpuSource {
            ends,
            wake: wake.try_clone()?,
            queue: queue.clone(),
        }));
        if reads_stdin {
            let input = InputSource::new(port.clone(), room.try_clone()?, queue.clone())?;
            manager.add_subscriber(Box::new(input));
        }
        Ok(Self {
            manager,
            queue,
            reporter: Reporter::new(sender, wake),
            port,
            room,
        })
    }

    /// Where vCPU threads report their end.
    pub fn reporter(&self) -> &Reporter {
        &self.reporter
    }

    /// Gives input to `serial` from now on: the port of a new machine.
    pub fn attach(&self, serial: Shared<SerialPort>) -> io::Result<()> {
        *self.port.borrow_mut() = Some(serial);
        self.room.write(1)
    }

    /// Gives an [`Event::Tick`] again and again from now on.
    pub fn tick_every(&mut self, period: Duration) -> io::Result<()> {
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
        )?;
        timer.set(
            Expiration::Interval(TimeSpec::from(period)),
            TimerSetTimeFlags::empty(),
        )?;
        self.manager.add_subscriber(Box::new(TickSource {
            timer,
            queue: self.queue.clone(),
        }));
        Ok(())
    }

    /// Waits for the next event, moving console input meanwhile.
    pub fn next(&mut self) -> io::Result<Event> {
        loop {
            if let Some(event) = self.queue.borrow_mut().pop_front() {
                return Ok(event);
            }
            self.manager.run().map_err(io::Error::other)?;
        }
    }

    /// Forgets what vCPUs that have been stopped reported.
    pub fn forget_vcpus(&mut self) -> io::Result<()> {
        self.manager.run_with_timeout(0).map_err(io::Error::other)?;
        self.queue
            .borrow_mut()
            .retain(|event| !matches!(event, Event::Vcpu(_)));
        Ok(())
    }
}

/// Registers `fd` for input; failure means that the host is out of kernel memory.
fn watch<T: AsRawFd>(ops: &mut EventOps, fd: &T) {
    if let Err(error) = ops.add(Events::new(fd, EventSet::IN)) {
        tracing::error!(%error, "cannot watch an event source");
    }
}

struct SignalSource {
    signals: Signals,
    queue: Queue,
}

impl MutEventSubscriber for SignalSource {
    fn init(&mut self, ops: &mut EventOps) {
        watch(ops, self.signals.fd());
    }

    fn process(&mut self, _events: Events, _ops: &mut EventOps) {
        while let Some(signal) = self.signals.read() {
            let event = match signal {
                Signal::SIGCONT => Event::Continued,
                other => Event::Terminate(other),
            };
            self.queue.borrow_mut().push_back(event);
        }
    }
}

struct TickSource {
    timer: TimerFd,
    queue: Queue,
}

impl MutEventSubscriber for TickSource {
    fn init(&mut self, ops: &mut EventOps) {
        watch(ops, &self.timer.as_fd());
    }

    fn process(&mut self, _events: Events, _ops: &mut EventOps) {
        // Ticks that were missed are made up for by one.
        let _ = self.timer.wait();
        self.queue.borrow_mut().push_back(Event::Tick);
    }
}

struct VcpuSource {
    ends: Receiver<VcpuEnd>,
    wake: EventFd,
    queue: Queue,
}

impl MutEventSubscriber for VcpuSource {
    fn init(&mut self, ops: &mut EventOps) {
        watch(ops, &self.wake);
    }

    fn process(&mut self, _events: Events, _ops: &mut EventOps) {
        // Only resets the counter: the channel has the content.
        let _ = self.wake.read();
        self.queue
            .borrow_mut()
            .extend(self.ends.try_iter().map(Event::Vcpu));
    }
}
