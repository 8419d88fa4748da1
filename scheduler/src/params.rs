//! What can be set of a policy, and how people write it.

use crate::{MS, Nanos, SECOND, US};

/// Something that can be set.
#[derive(Debug)]
pub struct Param {
    /// By this key.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it means.
    pub meaning: &'static str,
}

/// What a parameter takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A time with its unit.
    Duration {
        /// If it is not given.
        default: Nanos,
        /// The shortest that makes sense.
        min: Nanos,
        /// The longest.
        max: Nanos,
    },
    /// A number.
    Count {
        /// If it is not given.
        default: u64,
        /// The least that makes sense.
        min: u64,
        /// The most.
        max: u64,
        /// Of what.
        unit: &'static str,
    },
    /// On or off.
    Flag {
        /// If it is not given.
        default: bool,
    },
    /// One of several words; the first is the default.
    Choice(&'static [&'static str]),
}

/// Times that a quantum may have.
pub const fn quantum(default: Nanos) -> Kind {
    Kind::Duration {
        default,
        min: 10 * US,
        max: 10 * SECOND,
    }
}

/// A parameter that is a time.
pub const fn time(
    name: &'static str,
    default: Nanos,
    min: Nanos,
    max: Nanos,
    meaning: &'static str,
) -> Param {
    let kind = Kind::Duration { default, min, max };
    Param {
        name,
        kind,
        meaning,
    }
}

/// The quantum of most policies that take turns.
pub const QUANTUM_10: Param = Param {
    name: "quantum",
    kind: quantum(10 * MS),
    meaning: "the longest turn while others wait",
};

impl Kind {
    /// What it is without being set.
    fn default(self) -> u64 {
        match self {
            Self::Duration { default, .. } | Self::Count { default, .. } => default,
            Self::Flag { default } => u64::from(default),
            Self::Choice(_) => 0,
        }
    }

    /// What it takes, for messages and lists.
    pub fn expected(self) -> String {
        match self {
            Self::Duration { min, max, .. } => format!(
                "a time from {} to {}, such as 20ms",
                format_duration(min),
                format_duration(max)
            ),
            Self::Count { min, max, unit, .. } => format!("a number from {min} to {max} ({unit})"),
            Self::Flag { .. } => "yes or no".to_owned(),
            Self::Choice(words) => format!("one of {}", join(words.iter().copied())),
        }
    }

    /// Its default, as one would write it.
    pub fn default_text(self) -> String {
        match self {
            Self::Duration { default, .. } => format_duration(default),
            Self::Count { default, .. } => default.to_string(),
            Self::Flag { default } => if default { "yes" } else { "no" }.to_owned(),
            Self::Choice(words) => words[0].to_owned(),
        }
    }

    /// Reads a value; else says what was expected.
    pub fn parse(self, text: &str) -> Result<u64, String> {
        let value = match self {
            Self::Duration { min, max, .. } => {
                parse_duration(text).filter(|time| (min..=max).contains(time))
            }
            Self::Count { min, max, .. } => text
                .parse()
                .ok()
                .filter(|count| (min..=max).contains(count)),
            Self::Flag { .. } => match text {
                "yes" | "on" | "true" => Some(1),
                "no" | "off" | "false" => Some(0),
                _ => None,
            },
            Self::Choice(words) => {
                let found = words.iter().position(|&word| word == text);
                found.map(|index| index as u64)
            }
        };
        value.ok_or_else(|| self.expected())
    }
}

/// The values of a policy's parameters.
#[derive(Debug, Clone)]
pub struct Args {
    policy: &'static str,
    params: &'static [Param],
    values: Vec<u64>,
}

impl Args {
    /// What holds if nothing is set.
    pub fn defaults(policy: &'static str, params: &'static [Param]) -> Self {
        let values = params.iter().map(|param| param.kind.default()).collect();
        Self {
            policy,
            params,
            values,
        }
    }

    pub(crate) fn set(&mut self, index: usize, value: u64) {
        self.values[index] = value;
    }

    fn get(&self, name: &str) -> (u64, Kind) {
        let index = self.params.iter().position(|param| param.name == name);
        let index = index.unwrap_or_else(|| panic!("{} has no {name}", self.policy));
        (self.values[index], self.params[index].kind)
    }

    /// A time.
    ///
    /// # Panics
    /// If the policy declares no such parameter; so do the others.
    pub fn duration(&self, name: &str) -> Nanos {
        self.get(name).0
    }

    /// A number.
    pub fn count(&self, name: &str) -> u64 {
        self.get(name).0
    }

    /// On or off.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).0 != 0
    }

    /// The chosen word.
    pub fn choice(&self, name: &str) -> &'static str {
        match self.get(name) {
            (value, Kind::Choice(words)) => words[value as usize],
            _ => panic!("{name} is no choice"),
        }
    }
}

/// Words in a list, for messages.
pub(crate) fn join(words: impl Iterator<Item = &'static str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

/// Reads a time such as `20ms`: a whole number and one of `ns`, `us`, `ms`, `s`.
pub fn parse_duration(text: &str) -> Option<Nanos> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let unit = match unit.trim() {
        "ns" => 1,
        "us" => US,
        "ms" => MS,
        "s" => SECOND,
        _ => return None,
    };
    number.parse::<Nanos>().ok()?.checked_mul(unit)
}

/// Writes a time in the largest unit that keeps it whole.
pub fn format_duration(time: Nanos) -> String {
    match time {
        0 => "0ns".to_owned(),
        time if time % SECOND == 0 => format!("{}s", time / SECOND),
        time if time % MS == 0 => format!("{}ms", time / MS),
        time if time % US == 0 => format!("{}us", time / US),
        time => format!("{time}ns"),
    }
}
