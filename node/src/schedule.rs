//! What the host's vCPUs are scheduled by: a policy of muster's, or the host's kernel.

use std::fmt;
use std::str::FromStr;

use muster_scheduler::policy_spec::PolicySpecError;
use muster_scheduler::{MS, Nanos, PolicySpec};
use thiserror::Error;

/// The longest slice that the kernel takes.
const SLICE_MAX: Nanos = 100 * MS;
/// The shortest.
const SLICE_MIN: Nanos = MS / 10;

/// As people write it: `host`, `host:pin`, `host:slice=100ms`, or a policy such as `gang+smart`.
#[derive(Debug, Clone)]
pub enum Schedule {
    /// The kernel decides: every gate is open.
    Host(HostSchedule),
    /// A policy decides.
    Policy(PolicySpec),
}

/// What is done for the kernel's scheduler.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostSchedule {
    /// Every vCPU is bound to a CPU, siblings to different ones.
    pub pin: bool,
    /// How long a vCPU runs at a stretch if others wait; the kernel's choice if `None`.
    pub slice_ns: Option<Nanos>,
}

/// The text says nothing that there is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// Wrong words after `host:`.
    #[error("host: {0:?} is not known: there are pin, and slice=TIME like slice=100ms")]
    Host(String),
    /// A slice that the kernel would not take.
    #[error("host: slice={0:?}: expected a time from 100us to 100ms")]
    Slice(String),
    /// The baseline's model.
    #[error(
        "linux is a model of the kernel's scheduler, for simulations: for the kernel itself say host"
    )]
    Model,
    /// As policies say it.
    #[error(transparent)]
    Policy(#[from] PolicySpecError),
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let (name, words) = match text.split_once(':') {
            Some((name, words)) => (name.trim(), Some(words)),
            None => (text.trim(), None),
        };
        if name != "host" {
            if name.split('+').next() == Some("linux") {
                return Err(ScheduleError::Model);
            }
            return Ok(Self::Policy(text.parse()?));
        }
        let mut host = HostSchedule::default();
        for word in words.into_iter().flat_map(|words| words.split(',')) {
            match word.trim().split_once('=') {
                None if word.trim() == "pin" => host.pin = true,
                Some(("slice", time)) => host.slice_ns = Some(slice(time)?),
                _ => return Err(ScheduleError::Host(word.trim().to_owned())),
            }
        }
        Ok(Self::Host(host))
    }
}

fn slice(text: &str) -> Result<Nanos, ScheduleError> {
    let refused = || ScheduleError::Slice(text.to_owned());
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .ok_or_else(refused)?;
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "us" => MS / 1000,
        "ms" => MS,
        _ => return Err(refused()),
    };
    let number: Nanos = number.parse().map_err(|_| refused())?;
    let slice = number.checked_mul(unit).ok_or_else(refused)?;
    if (SLICE_MIN..=SLICE_MAX).contains(&slice) {
        Ok(slice)
    } else {
        Err(refused())
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match self {
            Self::Policy(spec) => return spec.fmt(f),
            Self::Host(host) => host,
        };
        let pin = host.pin.then(|| "pin".to_owned());
        let slice = host
            .slice_ns
            .map(|slice| format!("slice={}us", slice / 1000));
        let words: Vec<String> = pin.into_iter().chain(slice).collect();
        if words.is_empty() {
            f.write_str("host")
        } else {
            write!(f, "host:{}", words.join(","))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_written_as_they_are_read() {
        for text in [
            "host",
            "host:pin",
            "host:slice=100000us",
            "host:pin,slice=200us",
            "gang+smart",
        ] {
            let schedule: Schedule = text.parse().unwrap();
            assert_eq!(schedule.to_string(), text);
        }
        assert!(matches!(
            "host:slice=100ms".parse(),
            Ok(Schedule::Host(HostSchedule {
                pin: false,
                slice_ns: Some(100_000_000)
            }))
        ));
    }

    #[test]
    fn nonsense_is_told_apart() {
        let said = |text: &str| {
            text.parse::<Schedule>()
                .map(|_| ())
                .unwrap_err()
                .to_string()
        };
        assert!(said("host:fast").contains("\"fast\" is not known"));
        for slice in [
            "host:slice=",
            "host:slice=0ms",
            "host:slice=101ms",
            "host:slice=5",
        ] {
            assert!(said(slice).contains("from 100us to 100ms"), "{slice}");
        }
        assert!(said("linux").contains("say host"));
        assert!(said("linux+smart").contains("say host"));
        assert!(said("nonsense").contains("unknown policy"));
    }
}
