//! How the host is made to do what the policy wants.
//!
//! The host's kernel has a scheduler of its own. muster does not replace it; it sees to it that there
//! is nothing left to decide, or little. In the order of exactness:
//!
//! 1. **gate**: whoever has no turn waits at its gate. Exact, and needs no privilege but to signal the
//!    VM's process. A CPU idles if the vCPU whose turn it is has nothing to do and the policy fills no
//!    holes.
//! 2. **pulse**: whoever has no turn goes on at SCHED_IDLE; whoever gets one is SCHED_FIFO for a moment,
//!    since a change between SCHED_IDLE and SCHED_OTHER alone waits for the next tick. Holes fill
//!    themselves. It takes leave for real-time classes.
//! 3. **affinity**: vCPUs are bound to the CPU of their turn, and the kernel decides among those who
//!    meet there. Anybody may do that with threads of their own.

use std::fmt;
use std::io;
use std::str::FromStr;

use muster_vmm::thread_schedule::{Class, class_of, set_class};
use nix::sys::prctl;
use thiserror::Error;

/// See the module's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforcement {
    /// Gates.
    Gate,
    /// Classes.
    Pulse,
    /// Affinity alone.
    Affinity,
}

impl Enforcement {
    /// Every way, the most exact first.
    pub const ALL: [Self; 3] = [Self::Gate, Self::Pulse, Self::Affinity];

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Pulse => "pulse",
            Self::Affinity => "affinity",
        }
    }
}

impl fmt::Display for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No such way.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown way to enforce a schedule {0:?}: there are gate, pulse and affinity")]
pub struct UnknownEnforcement(String);

impl FromStr for Enforcement {
    type Err = UnknownEnforcement;

    fn from_str(text: &str) -> Result<Self, UnknownEnforcement> {
        let mut all = Self::ALL.into_iter();
        all.find(|way| way.name() == text)
            .ok_or_else(|| UnknownEnforcement(text.to_owned()))
    }
}

/// The priority of agents and of the manager: ahead of vCPUs in a pulse.
const AGENT_PRIORITY: u32 = 50;
/// The priority of a vCPU in a pulse.
pub(crate) const PULSE_PRIORITY: u32 = 2;

/// What this process may do to the host's scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permits {
    /// Real-time classes, for its own threads and other processes'.
    pub real_time: bool,
    /// Better nice values than 0.
    pub nice: bool,
}

impl Permits {
    /// Tries it out, on this thread.
    pub fn probe() -> Self {
        let Ok(before) = class_of(0) else {
            return Self {
                real_time: false,
                nice: false,
            };
        };
        let works = |class| {
            let set = set_class(0, class).is_ok();
            set && set_class(0, before).is_ok()
        };
        Self {
            real_time: works(Class::Fifo {
                priority: AGENT_PRIORITY,
            }),
            nice: works(Class::Fair {
                nice: -1,
                slice_ns: 0,
            }),
        }
    }

    /// The class in which this process's threads that must not wait are to be: the best that it may.
    pub(crate) fn agent_class(self) -> Class {
        if self.real_time {
            return Class::Fifo {
                priority: AGENT_PRIORITY,
            };
        }
        Class::Fair {
            nice: if self.nice { -20 } else { 0 },
            slice_ns: 0,
        }
    }
}

/// Has this thread wait for nobody, as far as that is permitted, and wake when it wants to.
pub(crate) fn punctual(permits: Permits) -> io::Result<()> {
    // Otherwise the kernel lets timers wait up to 50 us, to wake for several at once.
    prctl::set_timerslack(1)?;
    set_class(0, permits.agent_class())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_written_as_they_are_read() {
        for way in Enforcement::ALL {
            assert_eq!(way.to_string().parse(), Ok(way));
        }
        let said = "force".parse::<Enforcement>().unwrap_err().to_string();
        assert!(
            said.ends_with("there are gate, pulse and affinity"),
            "{said}"
        );
    }

    #[test]
    fn trying_what_is_permitted_changes_nothing() {
        let before = class_of(0).unwrap();
        let permits = Permits::probe();
        assert_eq!(class_of(0).unwrap(), before);
        if !permits.real_time {
            assert!(!matches!(permits.agent_class(), Class::Fifo { .. }));
        }
    }
}
