//! A recording, sorted for checkers: who was where from when until when, and in which runstate.

use std::collections::BTreeMap;

use muster_scheduler::plan::GRACE_MAX;
use muster_scheduler::sim::record::{Activity, MarkKind, Recording, VcpuRef};
use muster_scheduler::{CpuId, Level, Nanos, Runstate};

/// A stretch of time: from the first until just before the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stretch {
    pub start: Nanos,
    pub end: Nanos,
}

impl Stretch {
    pub fn new(start: Nanos, end: Nanos) -> Self {
        Self { start, end }
    }

    pub fn len(self) -> Nanos {
        self.end.saturating_sub(self.start)
    }

    /// The part that both cover; empty if there is none.
    pub fn overlap(self, other: Self) -> Self {
        let start = self.start.max(other.start);
        Self::new(start, self.end.min(other.end).max(start))
    }
}

/// A vCPU's uninterrupted stay on a CPU at one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stay {
    pub cpu: CpuId,
    pub level: Option<Level>,
    pub time: Stretch,
}

/// What happened to a vCPU.
#[derive(Debug, Clone, Default)]
pub struct VcpuLine {
    /// Its stays on CPUs, halted or not, by start.
    pub stays: Vec<Stay>,
    /// When it was on a CPU, halted or not; neighbours are joined.
    pub on_cpu: Vec<Stretch>,
    /// When it visibly got on with something.
    pub active: Vec<Stretch>,
    /// Its runstates without gaps; neighbours differ.
    pub states: Vec<(Runstate, Stretch)>,
}

impl VcpuLine {
    /// When it was in this runstate.
    pub fn in_state(&self, state: Runstate) -> impl Iterator<Item = Stretch> {
        let found = self.states.iter().filter(move |(s, _)| *s == state);
        found.map(|&(_, time)| time)
    }

    /// For how long it was in this runstate within `window`.
    pub fn time_in(&self, state: Runstate, window: Stretch) -> Nanos {
        let from = self
            .states
            .partition_point(|(_, time)| time.end <= window.start);
        let inside = self.states[from..]
            .iter()
            .take_while(|(_, time)| time.start < window.end);
        let of_state = inside.filter(|(s, _)| *s == state);
        of_state.map(|(_, time)| time.overlap(window).len()).sum()
    }
}

/// See the module's head.
#[derive(Debug)]
pub struct Timeline<'a> {
    pub recording: &'a Recording,
    /// Every vCPU that ever was.
    pub vcpus: BTreeMap<VcpuRef, VcpuLine>,
    /// Per CPU: when something else than idling or waiting for a halted vCPU went on there.
    pub busy: Vec<Vec<Stretch>>,
    /// Per CPU: when it was there.
    pub online: Vec<Vec<Stretch>>,
}

impl<'a> Timeline<'a> {
    pub fn new(recording: &'a Recording) -> Self {
        let mut line = Self {
            recording,
            vcpus: BTreeMap::new(),
            busy: vec![Vec::new(); recording.cpus as usize],
            online: vec![Vec::new(); recording.cpus as usize],
        };
        for (vm, outcome) in recording.vms.iter().enumerate() {
            for index in 0..outcome.times.len() {
                let vcpu = VcpuRef {
                    vm: vm as u32,
                    index: index as u32,
                };
                line.vcpus.insert(vcpu, VcpuLine::default());
            }
        }
        line.read_spans();
        line.read_runstates();
        line.read_online();
        line
    }

    /// From the arrival of a VM to its end.
    pub fn life(&self, vm: u32) -> Stretch {
        let outcome = &self.recording.vms[vm as usize];
        let end = outcome.left_ns.unwrap_or(self.recording.duration_ns);
        Stretch::new(outcome.arrived_ns, end)
    }

    /// The stretches between which the set of VMs, the set of CPUs, or the policy changed.
    pub fn steady(&self) -> Vec<Stretch> {
        let mut edges = vec![0, self.recording.duration_ns];
        for mark in &self.recording.marks {
            if matches!(
                mark.kind,
                MarkKind::Arrive { .. }
                    | MarkKind::Leave { .. }
                    | MarkKind::PolicyChange
                    | MarkKind::Online(..)
            ) {
                edges.push(mark.at_ns);
            }
        }
        edges.sort_unstable();
        edges.dedup();
        let pairs = edges.windows(2);
        pairs.map(|pair| Stretch::new(pair[0], pair[1])).collect()
    }

    /// The CPUs that are online throughout `time`.
    pub fn online_in(&self, time: Stretch) -> impl Iterator<Item = CpuId> + use<'_> {
        let covers = move |of: &Vec<Stretch>| {
            let found = of.iter().find(|online| online.end >= time.end);
            found.is_some_and(|online| online.start <= time.start)
        };
        let numbered = self.online.iter().enumerate();
        numbered
            .filter(move |(_, of)| covers(of))
            .map(|(cpu, _)| CpuId(cpu as u16))
    }

    /// How long whoever leaves a CPU may stay for its lock, if anybody was granted that.
    pub fn grace_ns(&self) -> Nanos {
        let mut marks = self.recording.marks.iter();
        let granted = marks.any(|mark| matches!(mark.kind, MarkKind::Grace { .. }));
        if granted { GRACE_MAX } else { 0 }
    }

    /// When a CPU is online and does nothing, not even a switch.
    pub fn idle(&self, cpu: CpuId) -> Vec<Stretch> {
        let mut idle = Vec::new();
        for online in &self.online[cpu.index()] {
            let mut from = online.start;
            for busy in &self.busy[cpu.index()] {
                let gap = Stretch::new(from, busy.start).overlap(*online);
                if gap.len() > 0 {
                    idle.push(gap);
                }
                from = from.max(busy.end);
            }
            let rest = Stretch::new(from.max(online.start), online.end);
            if rest.len() > 0 {
                idle.push(rest);
            }
        }
        idle
    }

    fn read_spans(&mut self) {
        for span in &self.recording.spans {
            let time = Stretch::new(span.start_ns, span.end_ns);
            if span.activity != Activity::Held && span.cpu.index() < self.busy.len() {
                join(&mut self.busy[span.cpu.index()], time);
            }
            // Without a level it is not on the CPU, but what the CPU does is for its sake.
            let Some(vcpu) = span.vcpu.filter(|_| span.level.is_some()) else {
                continue;
            };
            let line = self.vcpus.entry(vcpu).or_default();
            join(&mut line.on_cpu, time);
            if matches!(
                span.activity,
                Activity::Work | Activity::Spin | Activity::Refill
            ) {
                join(&mut line.active, time);
            }
            match line.stays.last_mut() {
                Some(last)
                    if last.cpu == span.cpu
                        && last.level == span.level
                        && last.time.end == time.start =>
                {
                    last.time.end = time.end;
                }
                _ => line.stays.push(Stay {
                    cpu: span.cpu,
                    level: span.level,
                    time,
                }),
            }
        }
    }

    fn read_runstates(&mut self) {
        let end = self.recording.duration_ns;
        let mut present: BTreeMap<VcpuRef, (Runstate, Nanos)> = BTreeMap::new();
        for change in &self.recording.runstates {
            let before = match change.state {
                Some(state) => present.insert(change.vcpu, (state, change.at_ns)),
                None => present.remove(&change.vcpu),
            };
            if let Some((state, since)) = before {
                self.add_state(change.vcpu, state, Stretch::new(since, change.at_ns));
            }
        }
        for (vcpu, (state, since)) in present {
            self.add_state(vcpu, state, Stretch::new(since, end));
        }
    }

    fn add_state(&mut self, vcpu: VcpuRef, state: Runstate, time: Stretch) {
        if time.len() == 0 {
            return;
        }
        let states = &mut self.vcpus.entry(vcpu).or_default().states;
        match states.last_mut() {
            Some((last, until)) if *last == state && until.end == time.start => {
                until.end = time.end;
            }
            _ => states.push((state, time)),
        }
    }

    fn read_online(&mut self) {
        let mut since = vec![Some(0); self.online.len()];
        for mark in &self.recording.marks {
            let MarkKind::Online(cpu, online) = mark.kind else {
                continue;
            };
            if online {
                since[cpu.index()].get_or_insert(mark.at_ns);
            } else if let Some(start) = since[cpu.index()].take() {
                self.online[cpu.index()].push(Stretch::new(start, mark.at_ns));
            }
        }
        for (cpu, since) in since.into_iter().enumerate() {
            if let Some(start) = since {
                let end = self.recording.duration_ns;
                self.online[cpu].push(Stretch::new(start, end));
            }
        }
    }
}

/// Adds a stretch behind the others, and joins it to the last if they touch.
fn join(stretches: &mut Vec<Stretch>, time: Stretch) {
    match stretches.last_mut() {
        Some(last) if last.end == time.start => last.end = time.end,
        _ => stretches.push(time),
    }
}

/// Stretches that overlap or touch become one.
pub fn union(mut stretches: Vec<Stretch>) -> Vec<Stretch> {
    stretches.sort_unstable();
    let mut joined: Vec<Stretch> = Vec::new();
    for time in stretches {
        match joined.last_mut() {
            Some(last) if time.start <= last.end => last.end = last.end.max(time.end),
            _ => joined.push(time),
        }
    }
    joined
}

/// What of `all` is not in `part`. Both are sorted.
pub fn without(all: &[Stretch], part: &[Stretch]) -> Vec<Stretch> {
    let mut left = Vec::new();
    let mut part = part.iter().peekable();
    for whole in all {
        let mut from = whole.start;
        while let Some(taken) = part.peek().filter(|taken| taken.start < whole.end) {
            if taken.start > from {
                left.push(Stretch::new(from, taken.start));
            }
            from = from.max(taken.end);
            if taken.end > whole.end {
                // It goes on in the next.
                break;
            }
            part.next();
        }
        if whole.end > from {
            left.push(Stretch::new(from, whole.end));
        }
    }
    left
}

#[cfg(test)]
mod tests;
