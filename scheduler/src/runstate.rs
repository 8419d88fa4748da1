//! What a vCPU's time is spent on.

use std::ops::{Index, IndexMut};

use serde::Serialize;

use crate::Nanos;

/// What a vCPU is doing. At any time it is in exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runstate {
    /// It is on a CPU and not halted.
    Running,
    /// It could run and has no CPU. The guest sees this as steal time.
    Ready,
    /// It could run, and its policy holds it back for its siblings' sake.
    CoStopped,
    /// It waits for an interrupt, or has not been started.
    Halted,
}

impl Runstate {
    /// Every runstate, in the order in which reports list them.
    pub const ALL: [Self; 4] = [Self::Running, Self::Ready, Self::CoStopped, Self::Halted];

    /// As reports and traces write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ready => "ready",
            Self::CoStopped => "co-stopped",
            Self::Halted => "halted",
        }
    }
}

/// How long a vCPU has been in each runstate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunTimes([Nanos; 4]);

impl RunTimes {
    /// The time in all runstates together.
    pub fn total(&self) -> Nanos {
        self.0.iter().sum()
    }
}

impl Index<Runstate> for RunTimes {
    type Output = Nanos;

    fn index(&self, state: Runstate) -> &Nanos {
        &self.0[state as usize]
    }
}

impl IndexMut<Runstate> for RunTimes {
    fn index_mut(&mut self, state: Runstate) -> &mut Nanos {
        &mut self.0[state as usize]
    }
}
