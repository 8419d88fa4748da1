//! The virtio-serial port to the host side.

use std::fs::{self, File};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use muster_tests::lab::wire::PORT_NAME;

/// Where the kernel lists the ports.
const PORTS: &str = "/sys/class/virtio-ports";

/// The driver adds a port a moment after its device.
const TRIES: u32 = 500;
const PAUSE: Duration = Duration::from_millis(10);

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
