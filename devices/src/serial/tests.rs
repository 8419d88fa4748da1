use std::sync::{Arc, Mutex};

use vmm_sys_util::eventfd::EFD_NONBLOCK;

use super::*;

/// Offsets of the 16550's registers.
const DATA: u64 = 0;
const INTERRUPT_ENABLE: u64 = 1;
const LINE_STATUS: u64 = 5;
/// Line status: a byte is waiting.
const DATA_READY: u8 = 1;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A disk that is full, a pipe whose reader has gone.
struct Broken;

impl Write for Broken {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::Error::from(io::ErrorKind::BrokenPipe))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn eventfd() -> EventFd {
    EventFd::new(EFD_NONBLOCK).unwrap()
}

fn port(output: Box<dyn Write + Send>) -> (SerialPort, EventFd, EventFd) {
    let (line, room) = (eventfd(), eventfd());
    let port = SerialPort::new(line.try_clone().unwrap(), output, room.try_clone().unwrap());
    (port, line, room)
}

fn read(port: &mut SerialPort, offset: u64) -> u8 {
    let mut data = [0];
    port.read(offset, &mut data);
    data[0]
}

#[test]
fn output_reaches_the_writer_in_order() {
    let sink = Sink::default();
    let (mut port, _, _) = port(Box::new(sink.clone()));
    for byte in b"muster" {
        port.write(DATA, &[*byte]);
    }
    assert_eq!(*sink.0.lock().unwrap(), b"muster");
}

#[test]
fn input_raises_the_line_when_the_driver_asked_for_it() {
    let (mut port, line, _) = port(Box::new(io::sink()));
    port.write(INTERRUPT_ENABLE, &[1]);
    assert!(line.read().is_err());
    assert_eq!(port.push_input(b"x"), 1);
    assert_eq!(line.read().unwrap(), 1);
    assert_eq!(read(&mut port, LINE_STATUS) & DATA_READY, DATA_READY);
    assert_eq!(read(&mut port, DATA), b'x');
    assert_eq!(read(&mut port, LINE_STATUS) & DATA_READY, 0);
}

#[test]
fn a_flood_of_input_is_bounded_and_arrives_whole() {
    let (mut port, _, room) = port(Box::new(io::sink()));
    let sent: Vec<u8> = (0..3 * BACKLOG_MAX).map(|i| i as u8).collect();
    let (mut at, mut received) = (0, Vec::new());
    while received.len() < sent.len() {
        let offered = &sent[at..];
        let taken = port.push_input(offered);
        at += taken;
        assert!(at - received.len() <= BACKLOG_MAX + 64, "unbounded backlog");
        received.push(read(&mut port, DATA));
        if taken < offered.len() {
            assert!(room.read().is_ok(), "the source was not woken");
        }
    }
    assert_eq!(received, sent);
}

#[test]
fn lost_output_does_not_disturb_the_guest() {
    let (mut port, _, _) = port(Box::new(Broken));
    assert_eq!(port.write(DATA, b"x"), Action::None);
    // The transmitter still says that it is ready.
    assert_eq!(read(&mut port, LINE_STATUS) & 0x60, 0x60);
}

#[test]
fn every_offset_and_width_is_accepted() {
    let (mut port, _, _) = port(Box::new(io::sink()));
    for offset in 0..SERIAL_LEN {
        for len in 1..=8 {
            port.write(offset, &vec![0xa5; len]);
            port.read(offset, &mut vec![0; len]);
        }
    }
}
