//! What people ask of the manager.

use std::fs;

use muster_scheduler::engine::Input;
use muster_scheduler::{CpuId, CpuSet, Nanos};
use muster_vmm::thread_schedule::{affinity_of, set_affinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::{Bystander, Manager};
use crate::guest::Guest;
use crate::handle::{Reply, Request, RequestError};
use crate::schedule::Schedule;
use crate::snapshot::{CpuSnapshot, Snapshot};

impl Manager {
    pub(super) fn answer(&mut self, request: Request) -> Result<Reply, RequestError> {
        match request {
            Request::SetSchedule(schedule) => {
                self.set_schedule(schedule);
                Ok(Reply::Done)
            }
            Request::Pin { vm, vcpu, cpus } => self.pin(&vm, vcpu, cpus),
            Request::SetWeight { vm, weight } => {
                let vm = self.find(&vm)?.vm;
                self.amend(Input::Weight(vm, weight))
            }
            Request::SetCap { vm, percent } => {
                let vm = self.find(&vm)?.vm;
                self.amend(Input::Cap(vm, percent))
            }
            Request::Snapshot => Ok(Reply::Snapshot(Box::new(self.snapshot()))),
            Request::Decisions { count } => {
                Ok(Reply::Decisions(self.actuator.records.decisions(count)))
            }
            Request::Switches { since_ns } => {
                Ok(Reply::Switches(self.actuator.records.switches(since_ns)))
            }
        }
    }

    fn find(&self, name: &str) -> Result<&Guest, RequestError> {
        let mut guests = self.guests.values();
        guests.find(|guest| guest.name == name).ok_or_else(|| {
            let names: Vec<&str> = self
                .guests
                .values()
                .map(|guest| guest.name.as_str())
                .collect();
            RequestError::UnknownVm {
                name: name.to_owned(),
                known: if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                },
            }
        })
    }

    /// Puts another schedule in charge, with all VMs running.
    pub(super) fn set_schedule(&mut self, schedule: Schedule) {
        tracing::info!(%schedule, "another schedule");
        let now = self.clock.now();
        self.last = self.last.max(now);
        let policy = match &schedule {
            Schedule::Host(_) => {
                self.actuator.is_idle = true;
                self.actuator.let_go();
                Box::new(Bystander)
            }
            Schedule::Policy(spec) => {
                self.actuator.is_idle = false;
                spec.build(self.engine.view().topology())
            }
        };
        self.schedule = schedule;
        self.settle_threads();
        let set = self
            .engine
            .set_policy(self.last, policy, &mut self.actuator);
        if let Err(error) = set {
            self.actuator.records.illegal_plans += 1;
            tracing::warn!(%error, "the engine refuses");
        }
    }

    fn amend(&mut self, input: Input) -> Result<Reply, RequestError> {
        self.last = self.last.max(self.clock.now());
        let amended = self.engine.handle(self.last, input, &mut self.actuator);
        amended.map_err(|error| RequestError::Refused(error.to_string()))?;
        Ok(Reply::Done)
    }

    /// Binds vCPUs to CPUs. The host is asked before the engine is told: what it refuses is not done.
    fn pin(&mut self, name: &str, vcpu: Option<u32>, cpus: CpuSet) -> Result<Reply, RequestError> {
        let usable = cpus & self.cpus;
        if usable.is_empty() {
            let usable = self.cpus;
            return Err(RequestError::Refused(format!(
                "none of the CPUs {cpus} is used for VMs: these are {usable}"
            )));
        }
        let guest = self.find(name)?;
        let count = guest.vcpus.len() as u32;
        if let Some(vcpu) = vcpu.filter(|&vcpu| vcpu >= count) {
            return Err(RequestError::UnknownVcpu {
                vm: name.to_owned(),
                vcpu,
                count,
            });
        }
        let chosen = guest.vcpus.iter();
        let chosen = chosen.filter(|other| vcpu.is_none_or(|vcpu| other.seat.index == vcpu));
        let seats: Vec<_> = chosen.map(|vcpu| vcpu.seat.clone()).collect();
        let mut bound = Vec::new();
        for seat in &seats {
            match bind(seat.tid(), usable) {
                Ok(before) => bound.push((seat, before)),
                Err(reason) => {
                    for (seat, before) in bound {
                        // It could be bound so a moment ago.
                        let _ = set_affinity(seat.tid(), &before);
                    }
                    return Err(RequestError::NotBound {
                        vcpu: seat.name.clone(),
                        cpus: cpus.to_string(),
                        reason,
                    });
                }
            }
        }
        for seat in &seats {
            seat.forget_binding();
            self.amend(Input::HardAffinity(seat.id, cpus))?;
        }
        self.settle_threads();
        Ok(Reply::Done)
    }

    fn snapshot(&mut self) -> Snapshot {
        let now = self.clock.now();
        // Times are up to now.
        self.input(now, Input::Time);
        let view = self.engine.view();
        let stolen = stolen_ns();
        let cpus = self.cpus.iter().map(|cpu| {
            let occupant = view.cpu(cpu).occupant;
            let seat = occupant.and_then(|vcpu| self.actuator.seat(vcpu.index()));
            CpuSnapshot {
                cpu: cpu.0,
                vcpu: seat.map(|seat| seat.name.clone()),
                stolen_ns: stolen.get(cpu.index()).copied().unwrap_or(0),
            }
        });
        let mut guests: Vec<&Guest> = self.guests.values().collect();
        guests.sort_by_key(|guest| (guest.joined_ns, guest.vm));
        let enforcement = self.actuator.way.enforcement.to_string();
        Snapshot {
            at_ns: now,
            schedule: self.schedule.to_string(),
            enforcement: if self.actuator.is_idle {
                "none".to_owned()
            } else {
                enforcement
            },
            policy_state: self.engine.policy().describe(view),
            cpus: cpus.collect(),
            vms: guests
                .iter()
                .map(|guest| guest.snapshot(&self.engine, now))
                .collect(),
            manager: self
                .actuator
                .records
                .snapshot(cpu_time(), self.engine.decisions()),
        }
    }
}

/// Binds a thread and looks whether the host has done it. Tells what was before.
fn bind(tid: u32, cpus: CpuSet) -> Result<Vec<usize>, String> {
    let before = affinity_of(tid).map_err(|error| error.to_string())?;
    let wanted: Vec<usize> = cpus.iter().map(CpuId::index).collect();
    set_affinity(tid, &wanted).map_err(|error| error.to_string())?;
    match affinity_of(tid) {
        Ok(now) if now == wanted => Ok(before),
        other => {
            // It could be bound so a moment ago.
            let _ = set_affinity(tid, &before);
            Err(match other {
                Ok(now) => format!("it bound the thread to {now:?}"),
                Err(error) => error.to_string(),
            })
        }
    }
}

/// The CPU time of this process.
fn cpu_time() -> Nanos {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| {
        let time = usage.user_time() + usage.system_time();
        time.num_microseconds().cast_unsigned() * 1000
    })
}

/// Per CPU: the time that what is below the host has taken from it.
fn stolen_ns() -> Vec<Nanos> {
    // In hundredths of a second, whatever the kernel's own tick is.
    const TICK: Nanos = 10_000_000;
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let mut stolen = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let name = words.next().unwrap_or_default();
        let Some(Ok(cpu)) = name.strip_prefix("cpu").map(str::parse::<usize>) else {
            continue;
        };
        if stolen.len() <= cpu {
            stolen.resize(cpu + 1, 0);
        }
        let steal = words.nth(7).and_then(|word| word.parse::<Nanos>().ok());
        stolen[cpu] = steal.unwrap_or(0) * TICK;
    }
    stolen
}
