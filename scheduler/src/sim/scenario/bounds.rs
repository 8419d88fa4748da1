//! No run that nobody could wait for.
//!
//! Problem: a simulated second takes as long as what happens in it. With a unit mistyped that is for
//! ever, and whoever waits does not know why.
//!
//! Approach: each thing that happens over and over names its period and on how many CPUs it can at
//! once. How often that makes in a run is reckoned before it begins; the most frequent thing is named
//! if it is too often. What depends on how the run goes, VMs that arrive faster than they leave, is
//! noticed when it is so.

use crate::params::format_duration;
use crate::sim::fields::Fields;
use crate::{Nanos, PolicySpec};

use super::{Faults, Scenario, VmGroup, Workload};
use crate::sim::scenario_error::ScenarioError;

/// How often things may happen in a run, all in all. One takes 0.1 to 0.4 us of real time, so that a
/// run takes about a minute at most.
const HAPPENINGS_MAX: u64 = 200_000_000;
/// Taking a CPU from its vCPU, and a decision of a policy, take as long as so many other things.
const DECISION_WEIGHT: u64 = 4;
/// The most vCPUs that VMs may bring that arrive one by one, in all of a run: their outcomes are kept.
const ARRIVING_MAX: u128 = 1_000_000;
/// The most policies of a scenario.
const POLICIES_MAX: usize = 100;
/// The longest time that filling a MiB of cache may take.
const REFILL_MAX: Nanos = crate::SECOND;

/// Something that happens over and over.
struct Rate {
    field: String,
    /// What stands there: the period or a part of it.
    value_ns: Nanos,
    period_ns: Nanos,
    /// On so many CPUs, or for so many vCPUs, at once.
    at_once: u64,
}

impl Rate {
    fn new(field: impl Into<String>, [value_ns, rest_ns]: [Nanos; 2], at_once: u64) -> Self {
        Self {
            field: field.into(),
            value_ns,
            period_ns: (value_ns + rest_ns).max(1),
            at_once,
        }
    }

    /// How often it happens in `total_ns`.
    fn times(&self, total_ns: Nanos) -> u128 {
        u128::from(total_ns) * u128::from(self.at_once) / u128::from(self.period_ns)
    }
}

impl Scenario {
    /// Refuses what would take very long or all of a machine's memory.
    pub(super) fn check_bounds(&self) -> Result<(), ScenarioError> {
        if self.policies.len() > POLICIES_MAX {
            return Err(ScenarioError::BadValue {
                field: "policies".to_owned(),
                value: format!("{} policies", self.policies.len()),
                expected: format!("at most {POLICIES_MAX}"),
            });
        }
        let mut rates = self.host_rates();
        for (index, group) in self.vms.iter().enumerate() {
            self.check_arrivals(index, group)?;
            rates.extend(self.group_rate(index, group));
        }
        self.check_rates(rates)?;
        let policies = std::iter::once(("baseline", &self.baseline));
        let mut policies = policies.chain(self.policies.iter().map(|policy| ("policies", policy)));
        policies.try_for_each(|(field, policy)| self.check_policy(field, policy))
    }

    /// Refuses a policy that would do something too often in a run. `field` is what names it.
    pub fn check_policy(&self, field: &str, policy: &PolicySpec) -> Result<(), ScenarioError> {
        let Some(period) = policy.shortest_period() else {
            return Ok(());
        };
        let rate = Rate::new("", [period, 0], DECISION_WEIGHT * self.cpus());
        if rate.times(self.total_ns()) <= u128::from(HAPPENINGS_MAX) {
            return Ok(());
        }
        Err(ScenarioError::Meaning {
            field: field.to_owned(),
            message: format!(
                "{policy} would do something every {} on {} CPUs, too often for a run of {}: expected \
                 longer times, or a shorter duration",
                format_duration(period),
                self.cpus(),
                format_duration(self.total_ns()),
            ),
        })
    }

    fn cpus(&self) -> u64 {
        self.topology.cpu_count() as u64
    }

    fn check_rates(&self, rates: Vec<Rate>) -> Result<(), ScenarioError> {
        let total = self.total_ns();
        let often: u128 = rates.iter().map(|rate| rate.times(total)).sum();
        let most = rates.into_iter().max_by_key(|rate| rate.times(total));
        let Some(most) = most.filter(|_| often > u128::from(HAPPENINGS_MAX)) else {
            return Ok(());
        };
        // With all as much rarer as this one has to be, there is room for all.
        let least = (u128::from(most.period_ns) * often).div_ceil(u128::from(HAPPENINGS_MAX));
        let least = round_up(Nanos::try_from(least).unwrap_or(Nanos::MAX));
        Err(ScenarioError::BadValue {
            field: most.field,
            value: format_duration(most.value_ns),
            expected: format!(
                "{} or more in a run of {} on {} CPUs, or a shorter duration: this may take many minutes",
                format_duration(least),
                format_duration(total),
                self.cpus(),
            ),
        })
    }

    fn host_rates(&self) -> Vec<Rate> {
        let steal = self.steal.map(|steal| {
            let times = [steal.every_ns, steal.length_ns];
            Rate::new("host.steal.every", times, DECISION_WEIGHT * self.cpus())
        });
        let Faults {
            offline_every_ns, ..
        } = self.faults;
        let outages = offline_every_ns
            .map(|every| Rate::new("faults.offline-every", [every, 0], DECISION_WEIGHT));
        steal.into_iter().chain(outages).collect()
    }

    /// How often a group's workload does what it does.
    fn group_rate(&self, index: usize, group: &VmGroup) -> Option<Rate> {
        let vcpus = match group.arrivals {
            Some(_) => u64::MAX,
            None => u64::from(group.count) * u64::from(group.active),
        };
        let name = format!("vm[{index}].workload.");
        let rates = match &group.workload {
            Workload::Phases(phases) => {
                let rates = phases.iter().enumerate().filter_map(|(number, phase)| {
                    let name = format!("{name}phase[{number}].");
                    self.workload_rate(&name, &phase.workload, group, vcpus)
                });
                rates.collect()
            }
            workload => Vec::from_iter(self.workload_rate(&name, workload, group, vcpus)),
        };
        rates
            .into_iter()
            .max_by_key(|rate| rate.times(self.total_ns()))
    }

    fn workload_rate(
        &self,
        name: &str,
        workload: &Workload,
        group: &VmGroup,
        vcpus: u64,
    ) -> Option<Rate> {
        let computing = vcpus.min(self.cpus());
        let rate = |key: &str, period: [Nanos; 2], at_once: u64| {
            Some(Rate::new(format!("{name}{key}"), period, at_once))
        };
        match *workload {
            Workload::Idle | Workload::Phases(_) => None,
            Workload::Compute { grain_ns, .. } | Workload::Barrier { grain_ns, .. } => {
                rate("grain", [grain_ns, 0], computing)
            }
            Workload::Lock {
                critical_ns,
                outside_ns,
                ..
            } => rate("outside", [outside_ns, critical_ns], computing),
            Workload::RequestReply {
                think_ns, reply_ns, ..
            } => rate("think", [think_ns, reply_ns], computing),
            Workload::Messages {
                to,
                between_ns,
                handle_ns,
                ..
            } => {
                let receivers = match to {
                    super::Receivers::All => u64::from(group.spec.vcpus) - 1,
                    super::Receivers::One | super::Receivers::Next => 1,
                };
                // Each message is handled once, and while one handles it computes nothing else.
                let sending = rate(
                    "between",
                    [between_ns, 0],
                    computing.saturating_mul(1 + receivers),
                );
                let handling = rate("handle", [handle_ns, 0], 2 * computing);
                let total = self.total_ns();
                [sending, handling]
                    .into_iter()
                    .flatten()
                    .min_by_key(|rate| rate.times(total))
            }
            Workload::Timer {
                period_ns, work_ns, ..
            } => {
                let firing = rate("period", [period_ns, 0], vcpus);
                let working = rate("work", [work_ns, 0], computing);
                let total = self.total_ns();
                [firing, working]
                    .into_iter()
                    .flatten()
                    .min_by_key(|rate| rate.times(total))
            }
            Workload::Io {
                compute_ns,
                wait_ns,
                ..
            } => {
                let sleeping = rate("wait", [wait_ns, compute_ns], vcpus);
                let working = rate("compute", [compute_ns, 0], computing);
                let total = self.total_ns();
                [sleeping, working]
                    .into_iter()
                    .flatten()
                    .min_by_key(|rate| rate.times(total))
            }
        }
    }

    /// VMs that arrive one by one: all of them are in the report.
    fn check_arrivals(&self, index: usize, group: &VmGroup) -> Result<(), ScenarioError> {
        let Some(arrivals) = group.arrivals else {
            return Ok(());
        };
        let vms = Rate::new("", [arrivals.every_ns, 0], 1).times(self.total_ns());
        let vcpus = vms.min(u128::from(group.count)) * u128::from(group.spec.vcpus);
        if vcpus <= ARRIVING_MAX {
            return Ok(());
        }
        Err(ScenarioError::BadValue {
            field: format!("vm[{index}].arrivals.every"),
            value: format_duration(arrivals.every_ns),
            expected: format!(
                "a longer time, a lower count, or a shorter duration: VMs with {ARRIVING_MAX} vCPUs \
                 may arrive in a run, and these have {vcpus}"
            ),
        })
    }
}

/// The next number that is easily read: 1, 2, 5, 10, ...
fn round_up(time: Nanos) -> Nanos {
    let powers = (0..20).map(|digits| 10_u64.pow(digits));
    let mut easy = powers.flat_map(|power| [1, 2, 5].map(|digit| power.saturating_mul(digit)));
    easy.find(|&easy| easy >= time).unwrap_or(time)
}

/// How long filling a MiB of cache takes.
pub(super) fn refill(
    fields: &mut Fields,
    key: &'static str,
    default: Nanos,
) -> Result<Nanos, ScenarioError> {
    let time = fields.time_or(key, default)?;
    if time <= REFILL_MAX {
        return Ok(time);
    }
    let expected = format!("at most {}", format_duration(REFILL_MAX));
    Err(fields.bad(key, format_duration(time), expected))
}

#[cfg(test)]
mod tests;
