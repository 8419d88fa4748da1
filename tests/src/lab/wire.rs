//! The frames between the lab's host side and its init.
//!
//! Problem: a command's output, its exit status, its input, window sizes and signals must pass the
//! one byte stream that a virtio-serial port is, without touching what the command writes.
//! Approach: each message is a frame: one byte of kind, four bytes of little-endian length, payload.

use std::io::{self, Read, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Name of the virtio-serial port that carries the frames.
pub const PORT_NAME: &str = "muster.lab";
/// Longest payload; a longer one shows that the stream is out of step.
pub const PAYLOAD_LEN_MAX: usize = 1 << 20;
/// Bytes of command input or output in one frame.
pub const CHUNK_LEN: usize = 32 << 10;

/// How often the lab says that it is alive.
pub const HEARTBEAT: Duration = Duration::from_secs(1);

const HEADER_LEN: usize = 5;

/// Why a byte stream is not a stream of frames.
#[derive(Debug, Error)]
pub enum WireError {
    /// A kind byte that names no frame.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// A length over [`PAYLOAD_LEN_MAX`].
    #[error("a frame of {0} bytes is too long")]
    TooLong(usize),
    /// A payload that does not fit its kind.
    #[error("the payload does not fit frame kind {0}")]
    Payload(u8),
    /// A frame that only goes the other way.
    #[error("frame kind {0} came from the wrong side")]
    Direction(u8),
    /// The stream failed or ended inside a frame.
    #[error("the stream between lab and host failed")]
    Io(#[from] io::Error),
}

/// Size of a terminal window in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// What the lab's init is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Program and arguments; the program is looked for in `PATH`.
    pub argv: Vec<String>,
    /// Variables added to the lab's own few.
    pub env: Vec<(String, String)>,
    /// Whether the command runs as the lab's ordinary user (in group kvm) instead of root.
    pub as_user: bool,
    /// With a window size the command gets a terminal, else pipes.
    pub terminal: Option<WindowSize>,
    /// Whether the lab says [`Frame::Alive`] every [`HEARTBEAT`].
    pub heartbeat: bool,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// From the lab: init is ready for a [`Job`].
    Ready,
    /// To the lab: run this.
    Start(Job),
    /// To the lab: bytes for the command's standard input.
    Stdin(Vec<u8>),
    /// To the lab: the command's standard input ends here.
    StdinEnd,
    /// To the lab: the window has a new size.
    Resize(WindowSize),
    /// To the lab: send this signal to the command.
    Signal(i32),
    /// From the lab: bytes of the command's standard output, or of its terminal.
    Stdout(Vec<u8>),
    /// From the lab: bytes of the command's standard error.
    Stderr(Vec<u8>),
    /// From the lab: the command has ended with this status (128 + number after a signal), and all
    /// of its output has been sent.
    Exit(i32),
    /// From the lab: its processes get on. Comes while the command runs, if the job asks for it.
    Alive,
}

impl Frame {
    /// The byte that names the frame's kind.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Ready => 1,
            Self::Start(_) => 2,
            Self::Stdin(_) => 3,
            Self::StdinEnd => 4,
            Self::Resize(_) => 5,
            Self::Signal(_) => 6,
            Self::Stdout(_) => 7,
            Self::Stderr(_) => 8,
            Self::Exit(_) => 9,
            Self::Alive => 10,
        }
    }

    /// The frame's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let payload = match self {
            Self::Ready | Self::StdinEnd | Self::Alive => Vec::new(),
            Self::Start(job) => {
                serde_json::to_vec(job).expect("a job has only strings and numbers")
            }
            Self::Stdin(bytes) | Self::Stdout(bytes) | Self::Stderr(bytes) => bytes.clone(),
            Self::Resize(size) => [size.rows.to_le_bytes(), size.columns.to_le_bytes()].concat(),
            Self::Signal(number) | Self::Exit(number) => number.to_le_bytes().to_vec(),
        };
        assert!(
            payload.len() <= PAYLOAD_LEN_MAX,
            "senders cut their data into chunks"
        );
        let len = u32::try_from(payload.len()).expect("the longest payload fits 32 bits");
        [&[self.kind()][..], &len.to_le_bytes(), &payload].concat()
    }

    fn decode(kind: u8, payload: &[u8]) -> Result<Self, WireError> {
        let bad_payload = || WireError::Payload(kind);
        let number = || match payload.try_into() {
            Ok(bytes) => Ok(i32::from_le_bytes(bytes)),
            Err(_) => Err(bad_payload()),
        };
        Ok(match kind {
            1 => Self::Ready,
            2 => Self::Start(serde_json::from_slice(payload).map_err(|_| bad_payload())?),
            3 => Self::Stdin(payload.to_vec()),
            4 => Self::StdinEnd,
            5 => match *payload {
                [r0, r1, c0, c1] => Self::Resize(WindowSize {
                    rows: u16::from_le_bytes([r0, r1]),
                    columns: u16::from_le_bytes([c0, c1]),
                }),
                _ => return Err(bad_payload()),
            },
            6 => Self::Signal(number()?),
            7 => Self::Stdout(payload.to_vec()),
            8 => Self::Stderr(payload.to_vec()),
            9 => Self::Exit(number()?),
            10 => Self::Alive,
            _ => return Err(WireError::Kind(kind)),
        })
    }

    /// Writes the frame in one call, so that several threads may share a stream behind a lock.
    pub fn write(&self, stream: &mut impl Write) -> Result<(), WireError> {
        stream.write_all(&self.encode())?;
        Ok(())
    }

    /// Reads the next frame, waiting for it.
    pub fn read(stream: &mut impl Read) -> Result<Self, WireError> {
        let mut header = [0; HEADER_LEN];
        stream.read_exact(&mut header)?;
        let (kind, len) = parse_header(header)?;
        let mut payload = vec![0; len];
        stream.read_exact(&mut payload)?;
        Self::decode(kind, &payload)
    }
}

fn parse_header([kind, len @ ..]: [u8; HEADER_LEN]) -> Result<(u8, usize), WireError> {
    let len = u32::from_le_bytes(len) as usize;
    if len > PAYLOAD_LEN_MAX {
        return Err(WireError::TooLong(len));
    }
    Ok((kind, len))
}

/// Collects bytes as they come and gives back whole frames.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame, or `None` before all of it has come.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, WireError> {
        let Some(header) = self.bytes.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let (kind, len) = parse_header(*header)?;
        let Some(payload) = self.bytes.get(HEADER_LEN..HEADER_LEN + len) else {
            return Ok(None);
        };
        let frame = Frame::decode(kind, payload)?;
        self.bytes.drain(..HEADER_LEN + len);
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests;
