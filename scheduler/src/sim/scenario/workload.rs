//! What the vCPUs of a VM do.

use crate::sim::fields::Fields;
use crate::sim::scenario_error::ScenarioError;
use crate::{MS, Nanos, US};

/// What the vCPUs of a VM do, over and over: key `kind` of `[vm.workload]`. One round is an
/// *operation*. The other keys are those of the variants, with hyphens and without the unit at the
/// end of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workload {
    /// `idle`: all vCPUs stay halted.
    Idle,
    /// `compute`: independent computing.
    Compute {
        /// Length of an operation; default 10ms.
        grain_ns: Nanos,
        /// How it varies; default fixed.
        spread: Spread,
    },
    /// `lock`: each vCPU computes, then takes a lock that all share.
    Lock {
        /// What kind of lock; default tas.
        lock: LockKind,
        /// How one waits for it; default spin.
        wait: Wait,
        /// How many there are, one chosen at random each time; default 1.
        locks: u32,
        /// Time that it is held; default 2us.
        critical_ns: Nanos,
        /// Computing between; default 8us.
        outside_ns: Nanos,
        /// How `outside` varies; default exponential.
        spread: Spread,
    },
    /// `request-reply`: vCPUs 0 and 1, 2 and 3, ... are pairs. The first of each asks, the second
    /// answers. An operation is an exchange.
    RequestReply {
        /// How one waits; default spin.
        wait: Wait,
        /// Computing before a request; default 1us.
        think_ns: Nanos,
        /// Computing before a reply; default 1us.
        reply_ns: Nanos,
        /// How both vary; default fixed.
        spread: Spread,
    },
    /// `barrier`: all compute, then wait for the last. An operation is a barrier.
    Barrier {
        /// How one waits; default spin.
        wait: Wait,
        /// Computing between two barriers; default 100us.
        grain_ns: Nanos,
        /// By how many percent of it each vCPU's part is shorter or longer at most, evenly
        /// distributed; default 0, at most 100.
        imbalance_percent: u32,
    },
    /// `messages`: each vCPU computes, then interrupts others and waits until they have handled it,
    /// as for a TLB shootdown.
    Messages {
        /// How the sender waits; default halt.
        wait: Wait,
        /// Who is interrupted; default one.
        to: Receivers,
        /// Computing before a message; default 100us.
        between_ns: Nanos,
        /// Computing to handle one, ahead of everything else; default 2us.
        handle_ns: Nanos,
        /// How `between` varies; default exponential.
        spread: Spread,
    },
    /// `timer`: each vCPU sleeps until its timer fires, computes, and sleeps again. A timer that
    /// fires too early waits for its turn.
    Timer {
        /// From one firing to the next; default 1ms.
        period_ns: Nanos,
        /// Computing for each; default 10us.
        work_ns: Nanos,
        /// How `period` varies; default fixed.
        spread: Spread,
    },
    /// `io`: each vCPU computes, then sleeps until its request is served.
    Io {
        /// Computing; default 1ms.
        compute_ns: Nanos,
        /// Waiting; default 1ms.
        wait_ns: Nanos,
        /// How both vary; default exponential.
        spread: Spread,
    },
    /// `phases`: one workload after the other, then from the first again: `[[vm.workload.phase]]`.
    Phases(Vec<Phase>),
}

/// A part of a [`Workload::Phases`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// Operations of each vCPU before it goes on to the next part; default 1.
    pub ops: u64,
    /// What it does: the keys of a workload, except for `phases`.
    pub workload: Workload,
}

/// How a length of time varies around its mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// `fixed`: not at all.
    Fixed,
    /// `uniform`: evenly from nothing to twice the mean.
    Uniform,
    /// `exponential`: as the times between independent events do.
    Exponential,
}

/// A kind of lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// `tas`: test and set. Whoever is running takes it.
    Tas,
    /// `ticket`: strictly in order, all looking at one word.
    Ticket,
    /// `queue`: strictly in order, each looking at its own word.
    Queue,
}

/// How one waits for others: key `wait`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// `spin`.
    Spin,
    /// `halt`: the vCPU halts, and is woken by an interrupt.
    Halt,
    /// `spin-then-halt`: first this long (`spin-limit`, default 50us), then that.
    SpinThenHalt {
        /// How long it spins.
        limit_ns: Nanos,
    },
}

/// Who gets a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receivers {
    /// `one`: a sibling, chosen at random.
    One,
    /// `next`: the sibling with the next number.
    Next,
    /// `all`: every sibling.
    All,
}

impl Workload {
    /// Reads `[vm.workload]`, or a phase of it, for a VM of `vcpus`.
    pub(super) fn read(
        fields: &mut Fields,
        vcpus: u32,
        nested: bool,
    ) -> Result<Self, ScenarioError> {
        let mut kinds = vec![
            ("compute", Self::compute as Reader),
            ("idle", |_| Ok(Self::Idle)),
            ("lock", Self::lock),
            ("request-reply", Self::request_reply),
            ("barrier", Self::barrier),
            ("messages", Self::messages),
            ("timer", Self::timer),
            ("io", Self::io),
        ];
        if !nested {
            kinds.push(("phases", Self::phases));
        }
        let read = fields.choice("kind", &kinds)?;
        let workload = read(fields)?;
        workload.check_width(fields, vcpus)?;
        Ok(workload)
    }

    fn check_width(&self, fields: &Fields, vcpus: u32) -> Result<(), ScenarioError> {
        match self {
            Self::RequestReply { .. } if vcpus % 2 == 1 => {
                let expected = "another kind, or an even number of vCPUs: they exchange in pairs";
                Err(fields.bad("kind", "request-reply", expected))
            }
            Self::Messages { .. } if vcpus < 2 => {
                let expected = "another kind, or at least two vCPUs";
                Err(fields.bad("kind", "messages", expected))
            }
            Self::Phases(phases) => {
                let mut phases = phases.iter();
                phases.try_for_each(|phase| phase.workload.check_width(fields, vcpus))
            }
            _ => Ok(()),
        }
    }

    fn compute(fields: &mut Fields) -> Result<Self, ScenarioError> {
        Ok(Self::Compute {
            grain_ns: fields.positive_time("grain", 10 * MS)?,
            spread: spread(fields, Spread::Fixed)?,
        })
    }

    fn lock(fields: &mut Fields) -> Result<Self, ScenarioError> {
        let kinds = [
            ("tas", LockKind::Tas),
            ("ticket", LockKind::Ticket),
            ("queue", LockKind::Queue),
        ];
        Ok(Self::Lock {
            lock: fields.choice("lock", &kinds)?,
            wait: wait(fields, Wait::Spin)?,
            locks: fields.count("locks", 1..=1024, 1)?,
            critical_ns: fields.positive_time("critical", 2 * US)?,
            outside_ns: fields.positive_time("outside", 8 * US)?,
            spread: spread(fields, Spread::Exponential)?,
        })
    }

    fn request_reply(fields: &mut Fields) -> Result<Self, ScenarioError> {
        Ok(Self::RequestReply {
            wait: wait(fields, Wait::Spin)?,
            think_ns: fields.positive_time("think", US)?,
            reply_ns: fields.positive_time("reply", US)?,
            spread: spread(fields, Spread::Fixed)?,
        })
    }

    fn barrier(fields: &mut Fields) -> Result<Self, ScenarioError> {
        Ok(Self::Barrier {
            wait: wait(fields, Wait::Spin)?,
            grain_ns: fields.positive_time("grain", 100 * US)?,
            imbalance_percent: fields.count("imbalance", 0..=100, 0)?,
        })
    }

    fn messages(fields: &mut Fields) -> Result<Self, ScenarioError> {
        let receivers = [
            ("one", Receivers::One),
            ("next", Receivers::Next),
            ("all", Receivers::All),
        ];
        Ok(Self::Messages {
            wait: wait(fields, Wait::Halt)?,
            to: fields.choice("to", &receivers)?,
            between_ns: fields.positive_time("between", 100 * US)?,
            handle_ns: fields.positive_time("handle", 2 * US)?,
            spread: spread(fields, Spread::Exponential)?,
        })
    }

    fn timer(fields: &mut Fields) -> Result<Self, ScenarioError> {
        Ok(Self::Timer {
            period_ns: fields.positive_time("period", MS)?,
            work_ns: fields.positive_time("work", 10 * US)?,
            spread: spread(fields, Spread::Fixed)?,
        })
    }

    fn io(fields: &mut Fields) -> Result<Self, ScenarioError> {
        Ok(Self::Io {
            compute_ns: fields.positive_time("compute", MS)?,
            wait_ns: fields.positive_time("wait", MS)?,
            spread: spread(fields, Spread::Exponential)?,
        })
    }

    fn phases(fields: &mut Fields) -> Result<Self, ScenarioError> {
        let tables = fields.tables("phase")?;
        if tables.is_empty() {
            return fields.required("phase", None, "one [[vm.workload.phase]] at least");
        }
        let phases = tables.into_iter().map(|mut fields| {
            let ops = fields.number("ops", 1..=u64::from(u32::MAX))?;
            // The width is checked with that of the whole.
            let workload = Self::read(&mut fields, 2, true)?;
            fields.finish()?;
            Ok(Phase {
                ops: ops.unwrap_or(1),
                workload,
            })
        });
        Ok(Self::Phases(phases.collect::<Result<_, _>>()?))
    }

    /// Whether it works with any number of vCPUs.
    pub(super) fn suits_any_width(&self) -> bool {
        match self {
            Self::RequestReply { .. } | Self::Messages { .. } => false,
            Self::Phases(phases) => phases.iter().all(|phase| phase.workload.suits_any_width()),
            _ => true,
        }
    }

    /// Whether its vCPUs can stop at a safe point and leave their work to the others.
    pub(super) fn can_shrink(&self) -> bool {
        match self {
            Self::Compute { .. } | Self::Lock { .. } | Self::Barrier { .. } | Self::Io { .. } => {
                true
            }
            Self::Phases(phases) => phases.len() == 1 && phases[0].workload.can_shrink(),
            _ => false,
        }
    }
}

type Reader = fn(&mut Fields) -> Result<Workload, ScenarioError>;

fn spread(fields: &mut Fields, default: Spread) -> Result<Spread, ScenarioError> {
    let mut words = [
        ("fixed", Spread::Fixed),
        ("uniform", Spread::Uniform),
        ("exponential", Spread::Exponential),
    ];
    words.sort_by_key(|&(_, spread)| spread != default);
    fields.choice("spread", &words)
}

fn wait(fields: &mut Fields, default: Wait) -> Result<Wait, ScenarioError> {
    let limit_ns = fields.time("spin-limit")?;
    let spin_then_halt = Wait::SpinThenHalt {
        limit_ns: limit_ns.unwrap_or(50 * US),
    };
    let mut words = [
        ("spin", Wait::Spin),
        ("halt", Wait::Halt),
        ("spin-then-halt", spin_then_halt),
    ];
    words.sort_by_key(|&(_, wait)| wait != default);
    let wait = fields.choice("wait", &words)?;
    if limit_ns.is_some() && wait != spin_then_halt {
        let expected = "nothing: only wait = \"spin-then-halt\" has a limit";
        return Err(fields.bad("spin-limit", "a time", expected));
    }
    Ok(wait)
}
