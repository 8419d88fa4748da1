//! How people choose a policy: `gang:quantum=20ms,backfill+smart`.
//!
//! A base, then layers that wrap what stands before them, joined by `+`. Each has arguments after a
//! colon: `key=value`, or a bare `key` that switches something on.

use std::fmt;
use std::str::FromStr;

use crate::params::{Args, Kind};
use crate::registry::{self, Entry, Role};
use crate::{Nanos, Policy, Topology};

/// A policy that was chosen and whose arguments are right.
#[derive(Debug, Clone)]
pub struct PolicySpec {
    text: String,
    layers: Vec<(&'static Entry, Args)>,
}

/// Parameters that say how often a policy does something by itself.
const PERIODS: [&str; 6] = ["quantum", "slice", "tick", "interval", "lease", "check"];

impl PolicySpec {
    /// Makes the policy for a host.
    pub fn build(&self, topology: &Topology) -> Box<dyn Policy> {
        let mut built = None;
        for (entry, args) in &self.layers {
            built = Some(match entry.role {
                Role::Base(make) => make(args, topology),
                Role::Layer(make) => {
                    let inner = built.expect("a layer stands behind a base");
                    make(args, topology, inner)
                }
            });
        }
        built.expect("a spec has a base")
    }
}

impl PolicySpec {
    /// The longest turn, for policies that have a `quantum`: the grid of their charts.
    pub fn quantum(&self) -> Option<Nanos> {
        let mut layers = self.layers.iter();
        let has = |entry: &Entry| entry.params.iter().any(|param| param.name == "quantum");
        let found = layers.find(|(entry, _)| has(entry));
        found.map(|(_, args)| args.duration("quantum"))
    }

    /// The shortest time after which it does something again by itself; `None`: it does not.
    pub fn shortest_period(&self) -> Option<Nanos> {
        let periods = self.layers.iter().flat_map(|(entry, args)| {
            let params = entry.params.iter();
            let periods = params.filter(|param| PERIODS.contains(&param.name));
            periods.map(|param| args.duration(param.name))
        });
        periods.min()
    }
}

impl fmt::Display for PolicySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for PolicySpec {
    type Err = PolicySpecError;

    fn from_str(text: &str) -> Result<Self, PolicySpecError> {
        let mut layers = Vec::new();
        for part in text.split('+') {
            let (name, arguments) = match part.split_once(':') {
                Some((name, arguments)) => (name.trim(), Some(arguments)),
                None => (part.trim(), None),
            };
            let entry = registry::find(name).ok_or_else(|| PolicySpecError::Unknown {
                name: name.to_owned(),
                known: registry::names(),
            })?;
            match (entry.role, layers.is_empty()) {
                (Role::Base(_), true) | (Role::Layer(_), false) => {}
                (Role::Base(_), false) => return Err(PolicySpecError::SecondBase(entry.name)),
                (Role::Layer(_), true) => {
                    let Some(base) = entry.default_base else {
                        return Err(PolicySpecError::NoBase(entry.name));
                    };
                    let base = registry::find(base).expect("defaults are in the registry");
                    layers.push((base, base.defaults()));
                }
            }
            layers.push((entry, parse_arguments(entry, arguments)?));
        }
        let text = text.to_owned();
        Ok(Self { text, layers })
    }
}

fn parse_arguments(entry: &'static Entry, text: Option<&str>) -> Result<Args, PolicySpecError> {
    let mut args = entry.defaults();
    let Some(text) = text else { return Ok(args) };
    let mut seen = Vec::new();
    for argument in text.split(',') {
        let (key, value) = match argument.split_once('=') {
            Some((key, value)) => (key.trim(), Some(value.trim())),
            None => (argument.trim(), None),
        };
        let known = entry.params.iter().position(|param| param.name == key);
        let Some(index) = known else {
            return Err(PolicySpecError::UnknownParam {
                policy: entry.name,
                key: key.to_owned(),
                known: entry.param_names(),
            });
        };
        if seen.contains(&index) {
            return Err(PolicySpecError::Twice(entry.name, entry.params[index].name));
        }
        seen.push(index);
        let param = &entry.params[index];
        let parsed = match (param.kind, value) {
            (Kind::Flag { .. }, None) => Ok(1),
            (_, None) => Err(param.kind.expected()),
            (kind, Some(value)) => kind.parse(value),
        };
        let parsed = parsed.map_err(|expected| PolicySpecError::BadValue {
            policy: entry.name,
            key: param.name,
            value: value.unwrap_or_default().to_owned(),
            expected,
        })?;
        args.set(index, parsed);
    }
    Ok(args)
}

/// What is wrong with the text of a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicySpecError {
    /// No such policy.
    #[error("unknown policy {name:?}: there are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// No such parameter.
    #[error("policy {policy}: unknown parameter {key:?}: {known}")]
    UnknownParam {
        /// Whose.
        policy: &'static str,
        /// What was given.
        key: String,
        /// What there is.
        known: String,
    },
    /// The same parameter again.
    #[error("policy {0}: {1} is given twice")]
    Twice(&'static str, &'static str),
    /// A value that is not allowed.
    #[error("policy {policy}: {key}={value:?}: expected {expected}")]
    BadValue {
        /// Whose.
        policy: &'static str,
        /// Which parameter.
        key: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        expected: String,
    },
    /// Two bases.
    #[error("policy {0} can't wrap another: write it first, and then layers such as +smart")]
    SecondBase(&'static str),
    /// A layer alone.
    #[error("{0} wraps another policy: write one before it, as in gang+{0}")]
    NoBase(&'static str),
}

#[cfg(test)]
mod tests;
