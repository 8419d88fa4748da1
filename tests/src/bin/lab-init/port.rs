//! The virtio-serial port to the host side.

use std::fs::{self, File};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use muster_tests::lab::wire::{Frame, HEARTBEAT, PORT_NAME, WireError};

/// Where the kernel lists the ports.
const PORTS: &str = "/sys/class/virtio-ports";

/// The driver adds a port a moment after its device.
const TRIES: u32 = 500;
const PAUSE: Duration = Duration::from_millis(10);

/// The port's writing end, shared by all that has something to say.
#[derive(Debug, Clone)]
pub struct Sender(Arc<Mutex<File>>);

impl Sender {
    pub fn new(port: File) -> Self {
        Self(Arc::new(Mutex::new(port)))
    }

    /// Sends a frame in one piece.
    pub fn send(&self, frame: &Frame) -> Result<(), WireError> {
        let mut port = self.0.lock().expect("nobody panics while sending");
        frame.write(&mut *port)
    }

    /// Says from time to time that processes here get on, as long as the port works.
    pub fn start_heartbeat(&self) {
        let sender = self.clone();
        thread::spawn(move || {
            while sender.send(&Frame::Alive).is_ok() {
                sleep(HEARTBEAT);
            }
        });
    }
}

/// Opens the port that carries the frames.
pub fn open() -> Result<File> {
    for _ in 0..TRIES {
        if let Some(name) = find()? {
            let path = Path::new("/dev").join(name);
            return File::options()
                .read(true)
                .write(true)
                .open(&path)
                .with_context(|| format!("cannot open {}", path.display()));
        }
        sleep(PAUSE);
    }
    bail!("the machine has no virtio-serial port called {PORT_NAME}")
}

fn find() -> Result<Option<String>> {
    // The directory comes with the driver's first port.
    let Ok(ports) = fs::read_dir(PORTS) else {
        return Ok(None);
    };
    for port in ports {
        let port = port?;
        let name = fs::read_to_string(port.path().join("name")).unwrap_or_default();
        if name.trim_end() == PORT_NAME {
            return Ok(Some(port.file_name().to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}
