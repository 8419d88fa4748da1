//! A trace that ui.perfetto.dev opens.
//!
//! Problem: a chart shows a moment; to find the moment, one has to zoom and search.
//!
//! Approach: Chrome's JSON trace-event format. Each policy brings two kinds of processes: one whose
//! threads are the CPUs, and one per VM whose threads are its vCPUs with their runstates. How many
//! vCPUs are ready and how many CPUs are busy are counters, marks are instants.
//!
//! A trace with more than [`EVENTS_MAX`] events is simplified: first, what a vCPU does within a turn
//! is left out; if that is not enough, the end of the window too. The trace then says so, in
//! `otherData` and as an instant at its beginning.

use serde::Serialize;
use serde_json::{Value, json};

use super::gantt::Window;
use super::palette::Palette;
use super::record::{Activity, Mark, MarkKind, Recording, Span, VcpuRef};
use crate::{Nanos, Runstate};

/// The most events of a policy's trace.
pub const EVENTS_MAX: usize = 400_000;

/// Processes per policy: its CPUs, then its VMs.
const PIDS: u64 = 10_000_000;

/// An event, as the format has it. Times are in microseconds.
#[derive(Debug, Serialize)]
struct TraceEvent {
    name: String,
    ph: &'static str,
    ts: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    pid: u64,
    tid: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cat: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Value>,
}

/// Collects the runs of one scenario into a trace. Recordings can be dropped once they are added.
#[derive(Debug, Default)]
pub struct Trace {
    events: Vec<String>,
    notes: Vec<String>,
    policies: u64,
}

/// Microseconds, exact for the first hundred days.
fn micros(time: Nanos) -> f64 {
    time as f64 / 1000.0
}

impl Trace {
    /// Adds a run that has its spans.
    pub fn add(&mut self, recording: &Recording, window: Window) {
        self.add_at_most(recording, window, EVENTS_MAX);
    }

    fn add_at_most(&mut self, recording: &Recording, window: Window, max: usize) {
        let first_pid = self.policies * PIDS + 1;
        self.policies += 1;
        let mut run = Run {
            recording,
            palette: Palette::new(recording),
            window,
            first_pid,
            events: Vec::new(),
        };
        run.name_tracks(max);
        let mut notes = Vec::new();
        // Counted first: events are much larger than spans.
        let seen = |span: &&Span| window.clip(span.start_ns, span.end_ns).is_some();
        let mut slices = if recording.spans.iter().filter(seen).count() > max {
            notes.push("too many events: what a vCPU does within a turn is left out".to_owned());
            run.turns()
        } else {
            run.activities()
        };
        slices.extend(run.runstates());
        slices.extend(run.counters());
        slices.extend(run.marks());
        slices.sort_by_key(|(at, _)| *at);
        if slices.len() > max {
            let end = micros(slices[max].0);
            slices.truncate(max);
            notes.push(format!("too many events: cut off at {end} us"));
        }
        for note in notes {
            let event = run.instant(window.from_ns, note.clone(), "g", 0, first_pid);
            run.events.push(event);
            self.notes.push(format!("{}: {note}", recording.policy));
        }
        run.events
            .extend(slices.into_iter().map(|(_, event)| event));
        let text = |event: &TraceEvent| serde_json::to_string(event).expect("it has no maps");
        self.events.extend(run.events.iter().map(text));
    }

    /// The file.
    pub fn json(&self) -> String {
        let notes = serde_json::to_string(&self.notes.join("; ")).expect("it is a text");
        format!(
            "{{\"displayTimeUnit\":\"ms\",\"otherData\":{{\"notes\":{notes}}},\"traceEvents\":[\n{}\n]}}\n",
            self.events.join(",\n")
        )
    }
}

/// One run on its way into the trace.
struct Run<'a> {
    recording: &'a Recording,
    palette: Palette,
    window: Window,
    first_pid: u64,
    events: Vec<TraceEvent>,
}

/// An event and when it is.
type Timed = (Nanos, TraceEvent);

impl Run<'_> {
    fn vm_pid(&self, vm: u32) -> u64 {
        self.first_pid + 1 + u64::from(vm)
    }

    /// Tells the names of processes and threads, of the first `max`.
    fn name_tracks(&mut self, max: usize) {
        let policy = &self.recording.policy;
        let mut names = vec![(self.first_pid, 0, format!("{policy}: CPUs"))];
        for cpu in 0..u64::from(self.recording.cpus) {
            names.push((self.first_pid, cpu + 1, format!("CPU {cpu}")));
        }
        for (vm, outcome) in self.recording.vms.iter().enumerate() {
            let vm = vm as u32;
            let pid = self.vm_pid(vm);
            let label = self.palette.vm(vm);
            names.push((pid, 0, format!("{policy}: VM {label} ({})", outcome.name)));
            for index in 0..outcome.times.len() as u32 {
                let name = self.palette.vcpu(VcpuRef { vm, index });
                names.push((pid, u64::from(index) + 1, name));
            }
        }
        for (pid, tid, name) in names.into_iter().take(max) {
            let (what, order) = if tid == 0 {
                ("process", json!({ "sort_index": pid }))
            } else {
                ("thread", json!({ "sort_index": tid }))
            };
            for (kind, args) in [("name", json!({ "name": name })), ("sort_index", order)] {
                self.events.push(TraceEvent {
                    name: format!("{what}_{kind}"),
                    ph: "M",
                    ts: 0.0,
                    dur: None,
                    pid,
                    tid,
                    cat: None,
                    s: None,
                    args: Some(args),
                });
            }
        }
    }

    fn slice(
        &self,
        (start, end): (Nanos, Nanos),
        name: String,
        cat: &'static str,
        pid: u64,
        tid: u64,
    ) -> Timed {
        let event = TraceEvent {
            name,
            ph: "X",
            ts: micros(start),
            dur: Some(micros(end - start)),
            pid,
            tid,
            cat: Some(cat),
            s: None,
            args: None,
        };
        (start, event)
    }

    fn instant(
        &self,
        at: Nanos,
        name: String,
        scope: &'static str,
        tid: u64,
        pid: u64,
    ) -> TraceEvent {
        TraceEvent {
            name,
            ph: "i",
            ts: micros(at),
            dur: None,
            pid,
            tid,
            cat: Some("mark"),
            s: Some(scope),
            args: None,
        }
    }

    /// Every span, on its CPU's track.
    fn activities(&self) -> Vec<Timed> {
        let mut slices = Vec::new();
        for span in &self.recording.spans {
            let Some(time) = self.window.clip(span.start_ns, span.end_ns) else {
                continue;
            };
            let name = match (span.activity, span.vcpu) {
                (Activity::Work, Some(vcpu)) => self.palette.vcpu(vcpu),
                (activity, Some(vcpu)) => {
                    format!("{} {}", self.palette.vcpu(vcpu), activity_name(activity))
                }
                (activity, None) => activity_name(activity).to_owned(),
            };
            let tid = u64::from(span.cpu.0) + 1;
            let cat = activity_name(span.activity);
            slices.push(self.slice(time, name, cat, self.first_pid, tid));
        }
        slices
    }

    /// Spans of the same vCPU that follow each other without a gap, as one.
    fn turns(&self) -> Vec<Timed> {
        let mut open: Vec<Option<(VcpuRef, Nanos, Nanos)>> =
            vec![None; self.recording.cpus as usize];
        let mut slices = Vec::new();
        let close = |cpu: usize, turn: Option<(VcpuRef, Nanos, Nanos)>| {
            let (vcpu, start, end) = turn?;
            let (name, tid) = (self.palette.vcpu(vcpu), cpu as u64 + 1);
            Some(self.slice((start, end), name, "turn", self.first_pid, tid))
        };
        for span in &self.recording.spans {
            let Some((start, end)) = self.window.clip(span.start_ns, span.end_ns) else {
                continue;
            };
            let cpu = span.cpu.index();
            match (&mut open[cpu], span.vcpu) {
                (Some((vcpu, _, until)), Some(next)) if *vcpu == next && *until == start => {
                    *until = end;
                }
                (turn, next) => {
                    slices.extend(close(cpu, turn.take()));
                    *turn = next.map(|vcpu| (vcpu, start, end));
                }
            }
        }
        for (cpu, turn) in open.into_iter().enumerate() {
            slices.extend(close(cpu, turn));
        }
        slices
    }

    /// What each vCPU is in, on its own track.
    fn runstates(&self) -> Vec<Timed> {
        let vms = &self.recording.vms;
        let mut open: Vec<Vec<Option<(Runstate, Nanos)>>> =
            vms.iter().map(|vm| vec![None; vm.times.len()]).collect();
        let mut slices = Vec::new();
        let mut close = |vcpu: VcpuRef, since: Option<(Runstate, Nanos)>, end: Nanos| {
            let Some((state, start)) = since else { return };
            if let Some(time) = self.window.clip(start, end) {
                let (pid, tid) = (self.vm_pid(vcpu.vm), u64::from(vcpu.index) + 1);
                slices.push(self.slice(time, state.name().to_owned(), "runstate", pid, tid));
            }
        };
        for change in &self.recording.runstates {
            let place = &mut open[change.vcpu.vm as usize][change.vcpu.index as usize];
            let next = change.state.map(|state| (state, change.at_ns));
            close(change.vcpu, std::mem::replace(place, next), change.at_ns);
        }
        for (vm, vcpus) in open.into_iter().enumerate() {
            for (index, since) in vcpus.into_iter().enumerate() {
                let (vm, index) = (vm as u32, index as u32);
                close(VcpuRef { vm, index }, since, self.window.to_ns);
            }
        }
        slices
    }

    /// How many vCPUs run and wait, at every change.
    fn counters(&self) -> Vec<Timed> {
        let vms = &self.recording.vms;
        let mut states: Vec<Vec<Option<Runstate>>> =
            vms.iter().map(|vm| vec![None; vm.times.len()]).collect();
        let mut counts = [0_u32; Runstate::ALL.len()];
        let mut events: Vec<Timed> = Vec::new();
        for change in &self.recording.runstates {
            let place = &mut states[change.vcpu.vm as usize][change.vcpu.index as usize];
            if let Some(before) = std::mem::replace(place, change.state) {
                counts[before as usize] -= 1;
            }
            if let Some(after) = change.state {
                counts[after as usize] += 1;
            }
            if change.at_ns >= self.window.to_ns {
                break;
            }
            let at = change.at_ns.max(self.window.from_ns);
            // Of several changes at one time only the last counts.
            if events.last().is_some_and(|(last, _)| *last == at) {
                events.pop();
            }
            let value = |state: Runstate| counts[state as usize];
            let event = TraceEvent {
                name: "vCPUs".to_owned(),
                ph: "C",
                ts: micros(at),
                dur: None,
                pid: self.first_pid,
                tid: 0,
                cat: None,
                s: None,
                args: Some(json!({
                    "running": value(Runstate::Running),
                    "ready": value(Runstate::Ready),
                    "co-stopped": value(Runstate::CoStopped),
                })),
            };
            events.push((at, event));
        }
        events
    }

    fn marks(&self) -> Vec<Timed> {
        let window = self.window;
        let marks = self.recording.marks.iter();
        let marks = marks.filter(|mark| (window.from_ns..window.to_ns).contains(&mark.at_ns));
        marks.map(|mark| (mark.at_ns, self.mark(mark))).collect()
    }

    /// A mark, on the track that it is about.
    fn mark(&self, mark: &Mark) -> TraceEvent {
        let of_vcpu = |vcpu: VcpuRef, what: &str| {
            let (pid, tid) = (self.vm_pid(vcpu.vm), u64::from(vcpu.index) + 1);
            self.instant(mark.at_ns, what.to_owned(), "t", tid, pid)
        };
        let of_cpu = |cpu: crate::CpuId, what: String| {
            self.instant(mark.at_ns, what, "t", u64::from(cpu.0) + 1, self.first_pid)
        };
        let of_vm = |vm: u32, what: &str| {
            self.instant(mark.at_ns, what.to_owned(), "p", 0, self.vm_pid(vm))
        };
        match mark.kind {
            MarkKind::Arrive { vm } => of_vm(vm, "arrives"),
            MarkKind::Leave { vm } => of_vm(vm, "leaves"),
            MarkKind::HolderPreempted(vcpu) => of_vcpu(vcpu, "stopped while it holds a lock"),
            MarkKind::Grace {
                vcpu,
                used_ns: time,
                ..
            } => of_vcpu(vcpu, &format!("stayed {} us for its lock", micros(time))),
            MarkKind::Loan { cpu, to, .. } => {
                let to = to.map_or("nobody".to_owned(), |vcpu| self.palette.vcpu(vcpu));
                of_cpu(cpu, format!("lent to {to}"))
            }
            MarkKind::LoanOver(cpu) => of_cpu(cpu, "is lent no more".to_owned()),
            MarkKind::CoStop(vcpu) => of_vcpu(vcpu, "co-stopped"),
            MarkKind::Migrate(vcpu, cpu) => of_vcpu(vcpu, &format!("moves to CPU {}", cpu.0)),
            MarkKind::Online(cpu, true) => of_cpu(cpu, "comes back".to_owned()),
            MarkKind::Online(cpu, false) => of_cpu(cpu, "goes away".to_owned()),
            MarkKind::Slot { number } => {
                let name = format!("slot {number}");
                self.instant(mark.at_ns, name, "p", 0, self.first_pid)
            }
            MarkKind::PolicyChange => self.instant(
                mark.at_ns,
                "policy changes".to_owned(),
                "p",
                0,
                self.first_pid,
            ),
        }
    }
}

fn activity_name(activity: Activity) -> &'static str {
    match activity {
        Activity::Work => "work",
        Activity::Spin => "spin",
        Activity::Refill => "refill",
        Activity::Held => "held",
        Activity::Switch => "switch",
        Activity::Stolen => "stolen",
    }
}

#[cfg(test)]
mod tests;
