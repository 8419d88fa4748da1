//! All policies, with what can be set.
//!
//! A new policy is a file in `policies/` and a line in [`ENTRIES`].

use crate::params::{Args, Param, join};
use crate::policies::{
    Affinity, Central, Dynamic, Gang, Hybrid, Linux, Pinned, Relaxed, Smart, Space, affinity,
    central, dynamic, gang, hybrid, linux, pinned, relaxed, smart, space,
};
use crate::{Policy, Topology};

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

/// Every policy, in the order in which people are told of them.
pub const ENTRIES: &[Entry] = &[
    base(
        "pinned",
        "every vCPU has one CPU for ever; those that share one take turns",
        pinned::PARAMS,
        |args, host| Box::new(Pinned::new(args, host)),
    ),
    base(
        "gang",
        "the vCPUs of a VM run all at the same time or none of them, in slots of a matrix",
        gang::PARAMS,
        |args, host| Box::new(Gang::new(args, host)),
    ),
    base(
        "linux",
        "a model of Linux's fair scheduler (EEVDF), which knows no siblings: the baseline",
        linux::PARAMS,
        |args, host| Box::new(Linux::new(args, host)),
    ),
    base(
        "dynamic",
        "a server tells each VM how many CPUs it may use now, and gives it no others",
        dynamic::PARAMS,
        |args, host| Box::new(Dynamic::new(args, host)),
    ),
    base(
        "space",
        "every VM gets a CPU for each vCPU, all at once or none, and keeps them until it leaves",
        space::PARAMS,
        |args, host| Box::new(Space::new(args, host)),
    ),
    base(
        "central",
        "one list of ready vCPUs for all CPUs, by priorities that fall with use",
        central::PARAMS,
        |args, host| Box::new(Central::new(args, host)),
    ),
    base(
        "affinity",
        "every CPU has a queue, fair by weight; one that would idle takes from another",
        affinity::PARAMS,
        |args, host| Box::new(Affinity::new(args, host)),
    ),
    base(
        "balance",
        "siblings have different CPUs and stay there; CPUs are not helped by others",
        affinity::BALANCE_PARAMS,
        |args, host| Box::new(Affinity::balance(args, host)),
    ),
    base(
        "hybrid",
        "one list for all CPUs and one per CPU of those who were there last, who are preferred",
        hybrid::PARAMS,
        |args, host| Box::new(Hybrid::new(args, host)),
    ),
    layer(
        "relaxed",
        "a layer: a vCPU that is too far ahead of its slowest sibling waits for it",
        relaxed::PARAMS,
        |args, _, inner| Box::new(Relaxed::new(args, inner)),
    ),
    layer(
        "smart",
        "a layer: who holds a spin lock may leave it first, and is helped to if it was stopped",
        smart::PARAMS,
        |args, _, inner| Box::new(Smart::new(args, inner)),
    ),
];

const fn base(
    name: &'static str,
    summary: &'static str,
    params: &'static [Param],
    make: MakeBase,
) -> Entry {
    Entry {
        name,
        summary,
        params,
        role: Role::Base(make),
        default_base: None,
    }
}

const fn layer(
    name: &'static str,
    summary: &'static str,
    params: &'static [Param],
    make: MakeLayer,
) -> Entry {
    Entry {
        name,
        summary,
        params,
        role: Role::Layer(make),
        default_base: Some("affinity"),
    }
}

/// The policy of this name.
pub fn find(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name)
}

/// All names, for messages.
pub fn names() -> String {
    join(ENTRIES.iter().map(|entry| entry.name))
}

impl Entry {
    /// What holds if nothing is set.
    pub fn defaults(&self) -> Args {
        Args::defaults(self.name, self.params)
    }

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
