//! All policies, with what can be set.
//!
//! A new policy is a file in `policies/` and a line in [`ENTRIES`].

use crate::plan::{GRACE_MAX, LOAN_MAX};
use crate::policies::{
    Affinity, Central, Dynamic, Gang, Hybrid, Linux, Pinned, Relaxed, Smart, Space,
};
use crate::{MS, Nanos, Policy, SECOND, Topology, US};

/// A policy that can be chosen.
#[derive(Debug)]
pub struct Entry {
    /// By this name.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// What can be set.
    pub params: &'static [Param],
    /// Whether it stands alone.
    pub role: Role,
    /// For a layer: what it wraps when it is chosen alone.
    pub default_base: Option<&'static str>,
}

/// Makes a policy that stands alone.
pub type MakeBase = fn(&Args, &Topology) -> Box<dyn Policy>;
/// Makes a policy that wraps another.
pub type MakeLayer = fn(&Args, &Topology, Box<dyn Policy>) -> Box<dyn Policy>;

/// Whether a policy stands alone.
#[derive(Debug, Clone, Copy)]
pub enum Role {
    /// It does.
    Base(MakeBase),
    /// It wraps another.
    Layer(MakeLayer),
}

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
const fn quantum(default: Nanos) -> Kind {
    Kind::Duration {
        default,
        min: 10 * US,
        max: 10 * SECOND,
    }
}

const fn time(
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

const QUANTUM_10: Param = Param {
    name: "quantum",
    kind: quantum(10 * MS),
    meaning: "the longest turn while others wait",
};

const DECAY: Param = Param {
    name: "decay",
    kind: Kind::Duration {
        default: SECOND,
        min: MS,
        max: 60 * SECOND,
    },
    meaning: "how often what vCPUs have used is halved",
};

const LOCK: Param = Param {
    name: "lock",
    kind: Kind::Duration {
        default: 200,
        min: 0,
        max: MS,
    },
    meaning: "how long a CPU holds the lock of the list that all share; 0ns: it costs nothing",
};

/// Every policy, in the order in which people are told of them.
pub const ENTRIES: &[Entry] = &[
    Entry {
        name: "pinned",
        summary: "every vCPU has one CPU for ever; those that share one take turns",
        params: &[
            QUANTUM_10,
            Param {
                name: "vary",
                kind: Kind::Count {
                    default: 0,
                    min: 0,
                    max: 100,
                    unit: "percent",
                },
                meaning: "by how much turns are shorter or longer at most, by chance",
            },
        ],
        role: Role::Base(|args, host| Box::new(Pinned::new(args, host))),
        default_base: None,
    },
    Entry {
        name: "gang",
        summary: "the vCPUs of a VM run all at the same time or none of them, in slots of a matrix",
        params: crate::policies::gang::PARAMS,
        role: Role::Base(|args, host| Box::new(Gang::new(args, host))),
        default_base: None,
    },
    Entry {
        name: "linux",
        summary: "a model of Linux's fair scheduler (EEVDF), which knows no siblings: the baseline",
        params: &[
            Param {
                name: "slice",
                kind: quantum(3 * MS),
                meaning: "what a vCPU asks for at a time",
            },
            Param {
                name: "tick",
                kind: quantum(4 * MS),
                meaning: "how often a CPU looks whether a slice is used up (4ms is HZ=250)",
            },
            Param {
                name: "pin",
                kind: Kind::Flag { default: false },
                meaning: "every vCPU has a CPU for ever, siblings apart",
            },
            Param {
                name: "seed",
                kind: Kind::Count {
                    default: 1,
                    min: 0,
                    max: u64::MAX,
                    unit: "a seed",
                },
                meaning: "for the phases of ticks, and choices between equal CPUs",
            },
        ],
        role: Role::Base(|args, host| Box::new(Linux::new(args, host))),
        default_base: None,
    },
    Entry {
        name: "dynamic",
        summary: "a server tells each VM how many CPUs it may use now, and gives it no others",
        params: &[
            QUANTUM_10,
            Param {
                name: "interval",
                kind: quantum(SECOND),
                meaning: "how often it looks how many vCPUs a VM keeps busy",
            },
            Param {
                name: "lease",
                kind: quantum(100 * MS),
                meaning: "how long a VM has a CPU when there are more VMs than CPUs",
            },
        ],
        role: Role::Base(|args, host| Box::new(Dynamic::new(args, host))),
        default_base: None,
    },
    Entry {
        name: "space",
        summary: "every VM gets a CPU for each vCPU, all at once or none, and keeps them until it leaves",
        params: &[
            Param {
                name: "order",
                kind: Kind::Choice(&["arrival", "smallest"]),
                meaning: "who starts first: who came first, or who needs least (vCPUs x run time)",
            },
            Param {
                name: "backfill",
                kind: Kind::Count {
                    default: 0,
                    min: 0,
                    max: 1_000_000,
                    unit: "VMs",
                },
                meaning: "how many that fit may start before one that stands ahead of them",
            },
            QUANTUM_10,
        ],
        role: Role::Base(|args, host| Box::new(Space::new(args, host))),
        default_base: None,
    },
    Entry {
        name: "central",
        summary: "one list of ready vCPUs for all CPUs, by priorities that fall with use",
        params: &[QUANTUM_10, DECAY, LOCK],
        role: Role::Base(|args, host| Box::new(Central::new(args, host))),
        default_base: None,
    },
    Entry {
        name: "affinity",
        summary: "every CPU has a queue, fair by weight; one that would idle takes from another",
        params: &[
            QUANTUM_10,
            Param {
                name: "slack",
                kind: Kind::Duration {
                    default: 20 * MS,
                    min: US,
                    max: 10 * SECOND,
                },
                meaning: "how much CPU time a vCPU must be owed before another CPU fetches it",
            },
        ],
        role: Role::Base(|args, host| Box::new(Affinity::new(args, host))),
        default_base: None,
    },
    Entry {
        name: "balance",
        summary: "siblings have different CPUs and stay there; CPUs are not helped by others",
        params: &[
            QUANTUM_10,
            Param {
                name: "rebalance",
                kind: Kind::Duration {
                    default: 100 * MS,
                    min: MS,
                    max: 60 * SECOND,
                },
                meaning: "how often a vCPU may be moved from a crowded CPU",
            },
        ],
        role: Role::Base(|args, host| Box::new(Affinity::balance(args, host))),
        default_base: None,
    },
    Entry {
        name: "hybrid",
        summary: "one list for all CPUs and one per CPU of those who were there last, who are preferred",
        params: &[
            QUANTUM_10,
            DECAY,
            LOCK,
            Param {
                name: "bonus",
                kind: Kind::Count {
                    default: 4,
                    min: 0,
                    max: 1_000,
                    unit: "levels; a quantum costs 2",
                },
                meaning: "how far ahead of others those are who were on the CPU last",
            },
            Param {
                name: "warm",
                kind: Kind::Duration {
                    default: 20 * MS,
                    min: 0,
                    max: 10 * SECOND,
                },
                meaning: "how long after leaving a CPU they are",
            },
            Param {
                name: "age",
                kind: Kind::Duration {
                    default: 20 * MS,
                    min: US,
                    max: 10 * SECOND,
                },
                meaning: "how long a wait is worth a level",
            },
        ],
        role: Role::Base(|args, host| Box::new(Hybrid::new(args, host))),
        default_base: None,
    },
    Entry {
        name: "relaxed",
        summary: "a layer: a vCPU that is too far ahead of its slowest sibling waits for it",
        params: &[
            time(
                "stop",
                3 * MS,
                100 * US,
                SECOND,
                "the lead at which a vCPU is held back while its slowest sibling has no CPU",
            ),
            time(
                "start",
                MS,
                10 * US,
                SECOND,
                "the lead below which it may run again in any case",
            ),
            time(
                "check",
                MS,
                100 * US,
                100 * MS,
                "how often leads are looked at",
            ),
            time(
                "longest",
                20 * MS,
                MS,
                SECOND,
                "the longest time for which a vCPU is held back at a stretch",
            ),
            Param {
                name: "strict",
                kind: Kind::Flag { default: false },
                meaning: "the whole VM stops, and starts again only as a whole",
            },
        ],
        role: Role::Layer(|args, _, inner| Box::new(Relaxed::new(args, inner))),
        default_base: Some("affinity"),
    },
    Entry {
        name: "smart",
        summary: "a layer: who holds a spin lock may leave it first, and is helped to if it was stopped",
        params: &[
            time(
                "grace",
                200 * US,
                10 * US,
                GRACE_MAX,
                "how long a holder may stay on a CPU that it has to leave",
            ),
            time(
                "debt",
                500 * US,
                0,
                5 * MS,
                "no grace for a vCPU that owes more than this",
            ),
            time(
                "boost",
                100 * US,
                10 * US,
                LOAN_MAX,
                "how long a stopped holder has the CPU of a sibling that spins",
            ),
            time(
                "pause",
                6 * MS,
                100 * US,
                SECOND,
                "the least time between two boosts of the same two vCPUs",
            ),
        ],
        role: Role::Layer(|args, _, inner| Box::new(Smart::new(args, inner))),
        default_base: Some("affinity"),
    },
];

/// The policy of this name.
pub fn find(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name)
}

/// All names, for messages.
pub fn names() -> String {
    join(ENTRIES.iter().map(|entry| entry.name))
}

fn join(words: impl Iterator<Item = &'static str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

impl Entry {
    /// Its parameters, for messages.
    pub fn param_names(&self) -> String {
        if self.params.is_empty() {
            return "it has none".to_owned();
        }
        format!(
            "it has {}",
            join(self.params.iter().map(|param| param.name))
        )
    }
}

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

/// The values of an entry's parameters.
#[derive(Debug, Clone)]
pub struct Args {
    entry: &'static Entry,
    values: Vec<u64>,
}

impl Args {
    /// What holds if nothing is set.
    pub fn defaults(entry: &'static Entry) -> Self {
        let values = entry.params.iter().map(|param| param.kind.default());
        let values = values.collect();
        Self { entry, values }
    }

    pub(crate) fn set(&mut self, index: usize, value: u64) {
        self.values[index] = value;
    }

    fn get(&self, name: &str) -> (u64, Kind) {
        let index = self
            .entry
            .params
            .iter()
            .position(|param| param.name == name);
        let index = index.unwrap_or_else(|| panic!("{} has no {name}", self.entry.name));
        (self.values[index], self.entry.params[index].kind)
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
