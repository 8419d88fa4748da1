//! What the benchmark guest is told to do, as its command line has it (`docs/bench-guest.md`).
//!
//! The guest reads its command line itself and refuses what it does not understand. This reads it before
//! anything is started, so that a mistake costs no time, and so that the simulator can be told the same.

use std::fmt;
use std::str::FromStr;

use muster_scheduler::{MS, Nanos, US};
use thiserror::Error;

/// How a worker waits for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// It looks again and again.
    Spin,
    /// It halts.
    Halt,
}

/// A kind of lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Test and set.
    Tas,
    /// Tickets.
    Ticket,
    /// A queue.
    Queue,
}

/// What the workers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// `request-reply`.
    RequestReply {
        /// How either waits.
        wait: Wait,
    },
    /// `ping-pong`.
    PingPong,
    /// `message`.
    Message,
    /// `barrier`.
    Barrier {
        /// How they wait.
        wait: Wait,
        /// Computing between two.
        grain_ns: Nanos,
    },
    /// `lock=`.
    Lock {
        /// Of this kind.
        kind: LockKind,
        /// Computing with it.
        critical_ns: Nanos,
        /// Computing without it.
        outside_ns: Nanos,
    },
    /// `compute`.
    Compute {
        /// Memory of each worker.
        set_bytes: u64,
    },
    /// `timer`.
    Timer {
        /// From one to the next.
        period_ns: Nanos,
        /// Computing each time.
        busy_ns: Nanos,
    },
    /// `phases`.
    Phases {
        /// Computing.
        run_ns: Nanos,
        /// Halted.
        rest_ns: Nanos,
    },
    /// `hog`.
    Hog,
}

/// A command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// As it was written.
    pub words: String,
    /// What it means.
    pub work: Work,
    /// Workers beyond the advised number halt.
    pub obey: bool,
}

/// A command line that the guest would refuse.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WorkloadError {
    /// No word names a workload, or two do.
    #[error("expected one of {}", names())]
    Workload,
    /// An option that there is not, or not here.
    #[error("{word:?} does not go with {name}: there are {known}")]
    Option {
        /// Which.
        word: String,
        /// The workload.
        name: &'static str,
        /// Its options.
        known: String,
    },
    /// An option twice.
    #[error("{0:?} is there twice")]
    Twice(String),
    /// Both ways of waiting.
    #[error("either spin or halt")]
    BothWaits,
    /// A value that is none.
    #[error("{word:?}: expected {expected}")]
    Value {
        /// Which.
        word: String,
        /// What would do.
        expected: &'static str,
    },
}

/// The workloads and their options.
const WORKLOADS: [(&str, &[&str]); 11] = [
    ("request-reply", &["spin", "halt"]),
    ("ping-pong", &[]),
    ("message", &["spin", "halt", "size"]),
    ("barrier", &["spin", "halt", "grain", "obey"]),
    ("lock=tas", &["critical", "outside", "obey"]),
    ("lock=ticket", &["critical", "outside", "obey"]),
    ("lock=queue", &["critical", "outside", "obey"]),
    ("compute", &["set", "obey"]),
    ("timer", &["period", "busy"]),
    ("phases", &["run", "rest"]),
    ("hog", &["obey"]),
];

const TIME: &str = "a time up to an hour such as 100us, 5ms or 2s";
const SIZE: &str = "a size from 4K to 1024M such as 256K";
const COUNT: &str = "a number from 8 to 4096";
const TIME_MAX: Nanos = 3600 * 1_000_000_000;

fn names() -> String {
    WORKLOADS.map(|(name, _)| name).join(", ")
}

impl FromStr for Workload {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        let is_workload = |word: &&str| WORKLOADS.iter().any(|(name, _)| name == word);
        let (workloads, words): (Vec<&str>, Vec<&str>) =
            text.split_ascii_whitespace().partition(is_workload);
        let [workload] = workloads[..] else {
            return Err(WorkloadError::Workload);
        };
        let found = WORKLOADS.iter().find(|(name, _)| *name == workload);
        let &(name, known) = found.expect("it was looked for among them");
        let options = Options { name, known, words };
        options.check()?;
        Ok(Self {
            words: text.to_owned(),
            work: options.work()?,
            obey: options.has("obey"),
        })
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// The words behind the workload's.
struct Options<'a> {
    name: &'static str,
    known: &'static [&'static str],
    words: Vec<&'a str>,
}

impl Options<'_> {
    fn check(&self) -> Result<(), WorkloadError> {
        let mut seen = Vec::new();
        for &word in &self.words {
            let (key, value) = match word.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (word, None),
            };
            let is_flag = matches!(key, "spin" | "halt" | "obey");
            if !self.known.contains(&key) || is_flag != value.is_none() {
                let word = word.to_owned();
                let (name, known) = (self.name, self.known.join(", "));
                return Err(WorkloadError::Option { word, name, known });
            }
            if seen.contains(&key) {
                return Err(WorkloadError::Twice(word.to_owned()));
            }
            seen.push(key);
        }
        Ok(())
    }

    fn has(&self, word: &str) -> bool {
        self.words.contains(&word)
    }

    /// The value of an option, or its default.
    fn value(
        &self,
        key: &str,
        default: u64,
        expected: &'static str,
        read: impl Fn(&str) -> Option<u64>,
    ) -> Result<u64, WorkloadError> {
        let has_key = |word: &&&str| word.split_once('=').is_some_and(|(found, _)| found == key);
        let Some(word) = self.words.iter().find(has_key) else {
            return Ok(default);
        };
        let value = word.split_once('=').and_then(|(_, value)| read(value));
        value.ok_or_else(|| WorkloadError::Value {
            word: (*word).to_owned(),
            expected,
        })
    }

    fn time(&self, key: &str, default: Nanos, min: Nanos) -> Result<Nanos, WorkloadError> {
        let read = |text: &str| time(text).filter(|time| (min..=TIME_MAX).contains(time));
        self.value(key, default, TIME, read)
    }

    fn wait(&self) -> Result<Wait, WorkloadError> {
        match (self.has("spin"), self.has("halt")) {
            (true, true) => Err(WorkloadError::BothWaits),
            (_, true) => Ok(Wait::Halt),
            _ => Ok(Wait::Spin),
        }
    }

    fn work(&self) -> Result<Work, WorkloadError> {
        Ok(match self.name {
            "request-reply" => Work::RequestReply { wait: self.wait()? },
            "ping-pong" => Work::PingPong,
            "message" => {
                self.wait()?;
                let count = |text: &str| text.parse().ok().filter(|n| (8..=4096).contains(n));
                self.value("size", 64, COUNT, count)?;
                Work::Message
            }
            "barrier" => Work::Barrier {
                wait: self.wait()?,
                grain_ns: self.time("grain", 100 * US, 0)?,
            },
            "lock=tas" => self.lock(LockKind::Tas)?,
            "lock=ticket" => self.lock(LockKind::Ticket)?,
            "lock=queue" => self.lock(LockKind::Queue)?,
            "compute" => Work::Compute {
                set_bytes: self.value("set", 256 << 10, SIZE, size)?,
            },
            "timer" => Work::Timer {
                period_ns: self.time("period", MS, 10 * US)?,
                busy_ns: self.time("busy", 0, 0)?,
            },
            "phases" => Work::Phases {
                run_ns: self.time("run", 10 * MS, 1)?,
                rest_ns: self.time("rest", 10 * MS, 1)?,
            },
            "hog" => Work::Hog,
            name => unreachable!("{name} is in the table"),
        })
    }

    fn lock(&self, kind: LockKind) -> Result<Work, WorkloadError> {
        Ok(Work::Lock {
            kind,
            critical_ns: self.time("critical", 5 * US, 0)?,
            outside_ns: self.time("outside", 20 * US, 0)?,
        })
    }
}

/// A time as the guest reads it: a decimal number and a unit, whole in nanoseconds.
fn time(text: &str) -> Option<Nanos> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    let unit: Nanos = match unit {
        "ns" => 1,
        "us" => US,
        "ms" => MS,
        "s" => 1000 * MS,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let plain = |digits: &str| -> Option<u64> {
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        is_plain.then(|| digits.parse().ok()).flatten()
    };
    let parts = plain(fraction)?.checked_mul(unit)?;
    let divisor = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let parts = parts.is_multiple_of(divisor).then(|| parts / divisor)?;
    plain(whole)?.checked_mul(unit)?.checked_add(parts)
}

/// A size as the guest reads it, in bytes.
fn size(text: &str) -> Option<u64> {
    let (number, unit) = match text.strip_suffix('M') {
        Some(number) => (number, 1 << 20),
        None => (text.strip_suffix('K').unwrap_or(text), 1 << 10),
    };
    let bytes = number.parse::<u64>().ok()?.checked_mul(unit)?;
    (4 << 10..=1 << 30).contains(&bytes).then_some(bytes)
}

#[cfg(test)]
mod tests;
