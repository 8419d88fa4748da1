//! The control loop: everything that happens to a running VM from outside its vCPUs.
//!
//! It is the process's main thread. Three sources feed it: signals, the ends of vCPU threads, and
//! what a person types. Each is a subscriber of one event manager and turns what it reads into
//! [`Event`]s.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::mpsc::Receiver;

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use muster_devices::bus::{Shared, lock};
use muster_devices::serial::SerialPort;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use vmm_sys_util::eventfd::EventFd;

use crate::console::escape::{Command, EscapeFilter};
use crate::vcpu::VcpuEnd;

/// Signals that ask the VM to end.
const TERMINATION: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

/// Something that the VM's lifecycle must answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A signal of [`TERMINATION`] arrived.
    Terminate(Signal),
    /// An escape command was typed.
    Command(Command),
    /// A vCPU thread ended by itself.
    Vcpu(VcpuEnd),
}

type Queue = Rc<RefCell<VecDeque<Event>>>;

/// Termination signals, held back from every thread that starts while this lives and delivered
/// through a file descriptor instead.
#[derive(Debug)]
pub struct Signals {
    fd: Rc<SignalFd>,
    mask_before: SigSet,
}

impl Signals {
    /// Blocks the signals. To be called before any thread is started.
    pub fn block() -> io::Result<Self> {
        let mask = SigSet::from_iter(TERMINATION);
        let mask_before = SigSet::thread_get_mask()?;
        mask.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = Rc::new(SignalFd::with_flags(&mask, flags)?);
        Ok(Self { fd, mask_before })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Restoring a mask that was read before cannot fail.
        let _ = self.mask_before.thread_set_mask();
    }
}

/// The event loop of one machine.
pub struct ControlLoop {
    manager: EventManager<Box<dyn MutEventSubscriber>>,
    queue: Queue,
}

/// The serial port as a destination of input, and the eventfd by which it says that it has room.
pub struct InputPort {
    /// The port.
    pub serial: Shared<SerialPort>,
    /// Readable when a full port has room again.
    pub room: EventFd,
}

impl ControlLoop {
    /// A loop over `signals`, the `ends` of vCPUs announced by `wake`, and standard input for
    /// `input`.
    pub fn new(
        signals: &Signals,
        ends: Receiver<VcpuEnd>,
        wake: EventFd,
        input: Option<InputPort>,
    ) -> io::Result<Self> {
        let queue = Queue::default();
        let mut manager: EventManager<Box<dyn MutEventSubscriber>> =
            EventManager::new().map_err(io::Error::other)?;
        manager.add_subscriber(Box::new(SignalSource {
            fd: signals.fd.clone(),
            queue: queue.clone(),
        }));
        manager.add_subscriber(Box::new(VcpuSource {
            ends,
            wake,
            queue: queue.clone(),
        }));
        if let Some(port) = input {
            manager.add_subscriber(Box::new(InputSource::new(port, queue.clone())));
        }
        Ok(Self { manager, queue })
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
}

/// Registers `fd` for input; failure means that the host is out of kernel memory.
fn watch<T: AsRawFd>(ops: &mut EventOps, fd: &T) {
    if let Err(error) = ops.add(Events::new(fd, EventSet::IN)) {
        tracing::error!(%error, "cannot watch an event source");
    }
}

struct SignalSource {
    fd: Rc<SignalFd>,
    queue: Queue,
}

impl MutEventSubscriber for SignalSource {
    fn init(&mut self, ops: &mut EventOps) {
        watch(ops, &*self.fd);
    }

    fn process(&mut self, _events: Events, _ops: &mut EventOps) {
        while let Ok(Some(info)) = self.fd.read_signal() {
            if let Ok(signal) = Signal::try_from(info.ssi_signo as i32) {
                self.queue.borrow_mut().push_back(Event::Terminate(signal));
            }
        }
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

/// Standard input on its way to the serial port.
struct InputSource {
    port: InputPort,
    queue: Queue,
    /// Only a person at a terminal types escape sequences; piped input passes unchanged.
    escape: Option<EscapeFilter>,
    state: InputState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InputState {
    /// Waiting for input.
    Watching,
    /// Waiting for room in the serial port.
    Paused,
    /// Regular files and /dev/null cannot be waited for: they are read whenever there is room.
    AlwaysReady,
    /// End of input.
    Ended,
}

impl InputSource {
    fn new(port: InputPort, queue: Queue) -> Self {
        let escape = io::stdin().is_terminal().then(EscapeFilter::default);
        Self {
            port,
            queue,
            escape,
            state: InputState::Watching,
        }
    }

    /// Moves input until the port is full, and no further than one read from a source that may
    /// block.
    fn pump(&mut self, ops: &mut EventOps) {
        while self.state != InputState::Ended {
            let room = lock(&self.port.serial).input_room();
            if room == 0 {
                return self.pause(ops, true);
            }
            let mut buffer = [0; 4096];
            let len = buffer.len().min(room);
            match nix::unistd::read(io::stdin(), &mut buffer[..len]) {
                Ok(0) => return self.end(ops),
                Ok(count) => self.deliver(&buffer[..count]),
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(error) => {
                    tracing::warn!(%error, "console input ended");
                    return self.end(ops);
                }
            }
            if self.state == InputState::Watching {
                return;
            }
        }
    }

    fn deliver(&mut self, input: &[u8]) {
        let mut serial = lock(&self.port.serial);
        let Some(filter) = &mut self.escape else {
            serial.push_input(input);
            return;
        };
        let mut guest = Vec::with_capacity(input.len());
        let commands = filter.filter(input, &mut guest);
        serial.push_input(&guest);
        self.queue
            .borrow_mut()
            .extend(commands.into_iter().map(Event::Command));
    }

    fn pause(&mut self, ops: &mut EventOps, pause: bool) {
        let (state, events) = match (self.state, pause) {
            (InputState::Watching, true) => (InputState::Paused, EventSet::empty()),
            (InputState::Paused, false) => (InputState::Watching, EventSet::IN),
            _ => return,
        };
        match ops.modify(Events::new(&io::stdin(), events)) {
            Ok(()) => self.state = state,
            Err(error) => tracing::warn!(%error, "console input stalled"),
        }
    }

    fn end(&mut self, ops: &mut EventOps) {
        if self.state != InputState::AlwaysReady {
            // Otherwise a closed pipe would wake the loop for ever.
            let _ = ops.remove(Events::empty(&io::stdin()));
        }
        self.state = InputState::Ended;
    }
}

impl MutEventSubscriber for InputSource {
    fn init(&mut self, ops: &mut EventOps) {
        watch(ops, &self.port.room);
        match ops.add(Events::new(&io::stdin(), EventSet::IN)) {
            Ok(()) => {}
            Err(event_manager::Error::Epoll(errno)) if errno.errno() == libc::EPERM => {
                self.state = InputState::AlwaysReady;
                self.pump(ops);
            }
            Err(error) => {
                tracing::warn!(%error, "the console has no input");
                self.state = InputState::Ended;
            }
        }
    }

    fn process(&mut self, events: Events, ops: &mut EventOps) {
        if events.fd() == self.port.room.as_raw_fd() {
            let _ = self.port.room.read();
            self.pause(ops, false);
            if self.state != InputState::AlwaysReady {
                return;
            }
        }
        self.pump(ops);
    }
}
