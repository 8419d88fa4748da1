//! The command line: which workload, and how.
//!
//! Words are separated by spaces. One names the workload, the others are its options. A word that
//! the workload does not know is refused, as it would be measured without it.

use core::fmt;

mod number;

pub use number::{Unit, parse};

/// How a worker waits for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// It looks again and again.
    Spin,
    /// It halts, and the other wakes it with an interrupt.
    Halt,
}

/// A kind of spin lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Test and test-and-set: whoever comes first.
    Tas,
    /// Tickets: in the order of asking.
    Ticket,
    /// A queue (Mellor-Crummey, Scott): in the order of asking, each spins on its own word.
    Queue,
}

/// What the workers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Pairs of vCPUs: one asks, the other answers.
    RequestReply {
        /// How either waits.
        wait: Wait,
    },
    /// As the above, each always halted until the other wakes it; the first keeps the times.
    PingPong,
    /// Pairs of vCPUs: one sends through a bounded queue, the other receives.
    Message {
        /// How either waits.
        wait: Wait,
        /// Bytes of a message.
        size: u64,
    },
    /// All compute and wait for the slowest.
    Barrier {
        /// How they wait.
        wait: Wait,
        /// How long one computes between two barriers.
        grain_ns: u64,
    },
    /// All want the same lock.
    Lock {
        /// Of this kind.
        kind: LockKind,
        /// How long one computes with the lock.
        critical_ns: u64,
        /// How long one computes before it asks again.
        outside_ns: u64,
    },
    /// Each changes memory of its own in no order.
    Compute {
        /// How much memory.
        set_kib: u64,
    },
    /// Each halts until its timer wakes it.
    Timer {
        /// From one deadline to the next.
        period_ns: u64,
        /// How long it computes each time.
        busy_ns: u64,
    },
    /// Each computes and halts in turn.
    Phases {
        /// How long it computes.
        run_ns: u64,
        /// How long it halts.
        rest_ns: u64,
    },
    /// Each computes for ever.
    Hog,
}

/// All that the command line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// What the workers do.
    pub workload: Workload,
    /// Workers beyond the advised number halt.
    pub obey: bool,
    /// For how long; `None`: for ever.
    pub duration_ns: Option<u64>,
    /// Rate of the time stamp counter, for a host that does not say.
    pub tsc_khz: Option<u32>,
}

/// A command line that is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigError<'a> {
    /// No word names a workload.
    NoWorkload,
    /// Two do.
    Second(&'a str),
    /// Nobody knows the word.
    Unknown(&'a str),
    /// This workload does not.
    NotHere(&'a str),
    /// The word comes twice.
    Twice(&'a str),
    /// Its value is not of this unit, or not in range.
    Value(&'a str, Unit),
    /// There is no such lock.
    NoSuchLock(&'a str),
}

impl fmt::Display for ConfigError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWorkload => write!(f, "no workload; give one of: {WORKLOADS}"),
            Self::Second(word) => write!(f, "{word:?} is a second workload; give one"),
            Self::Unknown(word) => write!(
                f,
                "unknown word {word:?}; workloads: {WORKLOADS}; options: {OPTIONS}"
            ),
            Self::NotHere(word) => write!(f, "{word:?} does not go with this workload"),
            Self::Twice(word) => write!(f, "{word:?} is there twice"),
            Self::Value(word, unit) => write!(f, "{word:?} needs {unit}"),
            Self::NoSuchLock(word) => write!(f, "{word:?} is no lock; give tas, ticket or queue"),
        }
    }
}

const WORKLOADS: &str = "request-reply, ping-pong, message, barrier, lock=tas|ticket|queue, compute, \
    timer, phases, hog";
const OPTIONS: &str = "spin, halt, size=, grain=, critical=, outside=, set=, period=, busy=, run=, \
    rest=, obey, seconds=, tsc_khz=";

/// The longest time or number of bytes is far from an overflow of anything computed from it.
const TIME_NS_MAX: u64 = 3_600_000_000_000;

impl Config {
    /// Reads the command line.
    pub fn parse(line: &str) -> Result<Config, ConfigError<'_>> {
        let words = Words(line);
        let name = words.workload()?;
        let workload = words.read_workload(name)?;
        words.check(options_of(&workload))?;
        Ok(Config {
            workload,
            obey: words.find("obey")?.is_some(),
            duration_ns: words.read("seconds", Unit::Seconds, 1..=86_400_000_000_000)?,
            tsc_khz: words
                .read("tsc_khz", Unit::Count, 1_000..=u64::from(u32::MAX))?
                .map(|khz| khz as u32),
        })
    }
}

/// The options of a workload, besides those of all. Only workloads whose workers do not depend on
/// certain others can obey.
fn options_of(workload: &Workload) -> &'static [&'static str] {
    match workload {
        Workload::RequestReply { .. } => &["spin", "halt"],
        Workload::PingPong => &[],
        Workload::Message { .. } => &["spin", "halt", "size"],
        Workload::Barrier { .. } => &["spin", "halt", "grain", "obey"],
        Workload::Lock { .. } => &["critical", "outside", "obey"],
        Workload::Compute { .. } => &["set", "obey"],
        Workload::Timer { .. } => &["period", "busy"],
        Workload::Phases { .. } => &["run", "rest"],
        Workload::Hog => &["obey"],
    }
}

const OF_ALL: [&str; 2] = ["seconds", "tsc_khz"];
const FLAGS: [&str; 3] = ["spin", "halt", "obey"];
const NAMES: [&str; 9] = [
    "request-reply",
    "ping-pong",
    "message",
    "barrier",
    "lock",
    "compute",
    "timer",
    "phases",
    "hog",
];

/// The command line as words.
#[derive(Clone, Copy)]
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn iter(self) -> impl Iterator<Item = &'a str> {
        self.0.split_ascii_whitespace()
    }

    /// The word with this key.
    fn find(self, key: &str) -> Result<Option<&'a str>, ConfigError<'a>> {
        let mut found = self.iter().filter(|word| key_of(word) == key);
        match (found.next(), found.next()) {
            (_, Some(second)) => Err(ConfigError::Twice(second)),
            (first, None) => Ok(first),
        }
    }

    /// The word that names the workload.
    fn workload(self) -> Result<&'a str, ConfigError<'a>> {
        let is_name = |word: &&str| NAMES.contains(&key_of(word));
        let mut found = self.iter().filter(is_name);
        match (found.next(), found.next()) {
            (Some(name), None) => Ok(name),
            (_, Some(second)) => Err(ConfigError::Second(second)),
            (None, None) => Err(match self.iter().next() {
                Some(word) if !is_option(word) => ConfigError::Unknown(word),
                _ => ConfigError::NoWorkload,
            }),
        }
    }

    /// The value of an option.
    fn read(
        self,
        key: &str,
        unit: Unit,
        range: core::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, ConfigError<'a>> {
        let Some(word) = self.find(key)? else {
            return Ok(None);
        };
        let value = value_of(word).and_then(|value| parse(value, unit));
        match value.filter(|value| range.contains(value)) {
            Some(value) => Ok(Some(value)),
            None => Err(ConfigError::Value(word, unit)),
        }
    }

    fn time(self, key: &str, default_ns: u64) -> Result<u64, ConfigError<'a>> {
        let time = self.read(key, Unit::Time, 0..=TIME_NS_MAX)?;
        Ok(time.unwrap_or(default_ns))
    }

    /// A time that is not zero.
    fn length(self, key: &str, default_ns: u64) -> Result<u64, ConfigError<'a>> {
        let time = self.read(key, Unit::Time, 1..=TIME_NS_MAX)?;
        Ok(time.unwrap_or(default_ns))
    }

    fn wait(self) -> Result<Wait, ConfigError<'a>> {
        match (self.find("spin")?, self.find("halt")?) {
            (Some(_), Some(word)) => Err(ConfigError::NotHere(word)),
            (None, Some(_)) => Ok(Wait::Halt),
            (_, None) => Ok(Wait::Spin),
        }
    }

    fn read_workload(self, name: &'a str) -> Result<Workload, ConfigError<'a>> {
        if key_of(name) != "lock" && value_of(name).is_some() {
            return Err(ConfigError::Unknown(name));
        }
        Ok(match key_of(name) {
            "request-reply" => Workload::RequestReply { wait: self.wait()? },
            "ping-pong" => Workload::PingPong,
            "message" => Workload::Message {
                wait: self.wait()?,
                size: self.read("size", Unit::Count, 8..=4096)?.unwrap_or(64),
            },
            "barrier" => Workload::Barrier {
                wait: self.wait()?,
                grain_ns: self.time("grain", 100_000)?,
            },
            "lock" => Workload::Lock {
                kind: match value_of(name) {
                    Some("tas") => LockKind::Tas,
                    Some("ticket") => LockKind::Ticket,
                    Some("queue") => LockKind::Queue,
                    _ => return Err(ConfigError::NoSuchLock(name)),
                },
                critical_ns: self.time("critical", 5_000)?,
                outside_ns: self.time("outside", 20_000)?,
            },
            "compute" => Workload::Compute {
                set_kib: self.read("set", Unit::Kib, 4..=1 << 20)?.unwrap_or(256),
            },
            "timer" => Workload::Timer {
                period_ns: self
                    .read("period", Unit::Time, 10_000..=TIME_NS_MAX)?
                    .unwrap_or(1_000_000),
                busy_ns: self.time("busy", 0)?,
            },
            "phases" => Workload::Phases {
                run_ns: self.length("run", 10_000_000)?,
                rest_ns: self.length("rest", 10_000_000)?,
            },
            "hog" => Workload::Hog,
            _ => return Err(ConfigError::Unknown(name)),
        })
    }

    /// Refuses what `options` does not have.
    fn check(self, options: &[&str]) -> Result<(), ConfigError<'a>> {
        for word in self.iter() {
            let key = key_of(word);
            if NAMES.contains(&key) {
                continue;
            }
            let is_flag = FLAGS.contains(&key);
            if !is_option(word) || is_flag && value_of(word).is_some() {
                return Err(ConfigError::Unknown(word));
            }
            if !options.contains(&key) && !OF_ALL.contains(&key) {
                return Err(ConfigError::NotHere(word));
            }
            self.find(key)?;
        }
        Ok(())
    }
}

/// Whether any workload has this option.
fn is_option(word: &str) -> bool {
    const KEYS: [&str; 14] = [
        "spin", "halt", "size", "grain", "critical", "outside", "set", "period", "busy", "run",
        "rest", "obey", "seconds", "tsc_khz",
    ];
    KEYS.contains(&key_of(word))
}

fn key_of(word: &str) -> &str {
    word.split_once('=').map_or(word, |(key, _)| key)
}

fn value_of(word: &str) -> Option<&str> {
    word.split_once('=').map(|(_, value)| value)
}

#[cfg(test)]
mod tests;
