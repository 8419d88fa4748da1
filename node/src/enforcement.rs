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
//!
//! Whoever carries switches out does so at once with a real-time class, soon with a better nice value,
//! and else when the kernel lets it. Left to choose, a node manager takes the first of: gates with
//! real-time threads; gates with threads at nice -20; gates with ordinary threads. A single VM whose
//! process it may not signal gets affinity (see the module `reach`). What was asked for by name is
//! refused if it cannot be had.

use std::fmt;
use std::io;
use std::str::FromStr;

use muster_vmm::host;
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

/// The priority of agents: ahead of vCPUs in a pulse. `muster doctor` advises it.
pub const AGENT_PRIORITY: u32 = 10;
/// The priority of the manager: no switch waits for it to look around.
const MANAGER_PRIORITY: u32 = AGENT_PRIORITY - 1;
/// The priority of a vCPU in a pulse.
const PULSE_PRIORITY: u32 = 2;

/// The class of a vCPU that is left to the kernel, or has a turn.
pub(crate) const USUAL: Class = Class::Fair {
    nice: 0,
    slice_ns: 0,
};
/// The class of a vCPU for the moment in which its turn begins with a pulse.
pub(crate) const PULSE: Class = Class::Fifo {
    priority: PULSE_PRIORITY,
};
/// The class of a vCPU that mostly waits for interrupts: it runs at once when one comes.
pub(crate) const EAGER: Class = Class::Fifo { priority: 1 };

/// What this process may do to the host's scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permits {
    /// Real-time classes, for its own threads and other processes'.
    pub real_time: bool,
    /// Better nice values than 0.
    pub nice: bool,
    /// Nice values count between terminals, too.
    pub nice_counts: bool,
}

impl Permits {
    /// Tries it out, on this thread.
    pub fn probe() -> Self {
        let report = host::scheduling();
        let before = class_of(0);
        let works = |class| match before {
            Ok(before) => set_class(0, class).is_ok() && set_class(0, before).is_ok(),
            Err(_) => false,
        };
        let real_time = works(Class::Fifo {
            priority: AGENT_PRIORITY,
        });
        Self {
            // With no time for it the class can be had, and nobody in it ever runs.
            real_time: real_time && report.rt_runtime_us != Some(0),
            nice: works(Class::Fair {
                nice: -1,
                slice_ns: 0,
            }),
            nice_counts: !report.autogroup,
        }
    }

    /// What a node manager takes, given what somebody has asked for. This is the one place that decides.
    pub fn choose(self, asked: Option<Enforcement>) -> Result<Way, NotPermitted> {
        if asked == Some(Enforcement::Pulse) && !self.real_time {
            return Err(NotPermitted);
        }
        Ok(match asked {
            None => self.best(),
            Some(enforcement) => Way {
                enforcement,
                asked: true,
                permits: self,
            },
        })
    }

    /// What is taken if nobody asks for anything.
    pub fn best(self) -> Way {
        Way {
            enforcement: Enforcement::Gate,
            asked: false,
            permits: self,
        }
    }

    /// The class of agents: the best that is permitted.
    pub(crate) fn agent_class(self) -> Class {
        self.prompt_class(AGENT_PRIORITY)
    }

    /// The class of the manager.
    pub(crate) fn manager_class(self) -> Class {
        self.prompt_class(MANAGER_PRIORITY)
    }

    fn prompt_class(self, priority: u32) -> Class {
        if self.real_time {
            return Class::Fifo { priority };
        }
        Class::Fair {
            nice: if self.nice { -20 } else { 0 },
            slice_ns: 0,
        }
    }
}

/// `pulse` was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "`pulse` needs real-time priority {AGENT_PRIORITY}, which this user may not set: take `gate`, or \
     see what `muster doctor` says of real-time"
)]
pub struct NotPermitted;

/// How schedules are enforced here, and how promptly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// How.
    pub enforcement: Enforcement,
    /// Somebody wants this and nothing else.
    pub asked: bool,
    /// With which means.
    pub permits: Permits,
}

impl Way {
    /// Why switches are not as prompt as they could be; `None` if they are.
    pub fn shortfall(&self) -> Option<&'static str> {
        let Permits {
            real_time,
            nice,
            nice_counts,
        } = self.permits;
        match (real_time, nice, nice_counts) {
            (true, ..) => None,
            (_, true, true) => Some("this user may not set real-time priority 10"),
            (_, true, false) => Some(
                "this user may not set real-time priority 10, and with autogroup nice values do not \
                 count between terminals",
            ),
            (_, false, _) => {
                Some("this user may set neither real-time priority 10 nor a nice value below 0")
            }
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threads = match (self.permits.real_time, self.permits.nice) {
            (true, _) => "real-time threads",
            (_, true) => "threads at nice -20",
            _ => "ordinary threads",
        };
        write!(f, "{}, switched by {threads}", self.enforcement)
    }
}

/// Has this thread wait for as few as its class permits, and wake when it wants to.
pub(crate) fn punctual(class: Class) -> io::Result<()> {
    // Otherwise the kernel lets timers wait up to 50 us, to wake for several at once.
    prctl::set_timerslack(1)?;
    set_class(0, class)
}

#[cfg(test)]
mod tests;
