//! What a stream has given so far.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// All that a stream has given so far, filled by a thread of its own.
#[derive(Debug, Clone)]
pub struct Transcript {
    shared: Arc<(Mutex<Heard>, Condvar)>,
}

#[derive(Debug, Default)]
struct Heard {
    bytes: Vec<u8>,
    ended: bool,
}

/// Text that did not come.
#[derive(Debug)]
pub enum Missing {
    Ended,
    TimedOut,
}

impl Transcript {
    /// Listens to `stream`.
    pub fn of(mut stream: impl Read + Send + 'static) -> Self {
        let transcript = Self {
            shared: Arc::default(),
        };
        let shared = Arc::clone(&transcript.shared);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                let len = stream.read(&mut bytes).unwrap_or(0);
                let mut heard = shared.0.lock().expect("nobody panics with the lock");
                heard.bytes.extend_from_slice(&bytes[..len]);
                heard.ended = len == 0;
                shared.1.notify_all();
                if heard.ended {
                    return;
                }
            }
        });
        transcript
    }

    /// Waits for `text` at or after `from`; gives its position.
    pub fn wait_for(&self, text: &[u8], from: usize, limit: Duration) -> Result<usize, Missing> {
        let deadline = Instant::now() + limit;
        let mut heard = self.shared.0.lock().expect("nobody panics with the lock");
        loop {
            let rest = &heard.bytes[from..];
            if let Some(at) = rest.windows(text.len()).position(|bytes| bytes == text) {
                return Ok(from + at);
            }
            if heard.ended {
                return Err(Missing::Ended);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Missing::TimedOut);
            }
            let waited = self.shared.1.wait_timeout(heard, left);
            heard = waited.expect("nobody panics with the lock").0;
        }
    }

    /// A part of it.
    pub fn text(&self, from: usize, to: usize) -> String {
        let heard = self.shared.0.lock().expect("nobody panics with the lock");
        String::from_utf8_lossy(&heard.bytes[from..to]).into_owned()
    }

    /// Everything, once the stream has ended.
    pub fn all(&self) -> String {
        let heard = self.shared.0.lock().expect("nobody panics with the lock");
        let ended = self
            .shared
            .1
            .wait_timeout_while(heard, PATIENCE, |heard| !heard.ended);
        let heard = ended.expect("nobody panics with the lock").0;
        String::from_utf8_lossy(&heard.bytes).into_owned()
    }
}
