//! Who was on which CPU: lanes and a trace, from the switches of one round of each policy.

use muster_node::Schedule;
use muster_node::recording::recording;
use muster_scheduler::sim::gantt::{GanttSpec, Window, gantt};
use muster_scheduler::sim::perfetto::Trace;
use muster_scheduler::{MS, Nanos, PolicySpec};

use super::{NamedDrawing, file_part};
use crate::results::Results;
use crate::run::Picture;
use crate::spec::RowKind;

/// How much is drawn: so many of the longest quantum.
const SLOTS_DRAWN: Nanos = 12;
/// The same if a policy has none.
const DRAWN_NS: Nanos = 100 * MS;

/// Lanes of each row of which switches are known, and all of them in one trace.
#[derive(Debug)]
pub(super) struct Charts {
    pub(super) lanes: Vec<NamedDrawing>,
    pub(super) trace: Option<String>,
}

pub(super) fn charts(results: &Results) -> Charts {
    let mut trace = Trace::default();
    let mut lanes = Vec::new();
    for (row, picture) in results.pictures.iter().enumerate() {
        let Some(picture) = picture else { continue };
        let spec = &results.experiment.rows[row];
        let policy = match &spec.kind {
            RowKind::Schedule(Schedule::Policy(policy)) => Some(policy),
            _ => None,
        };
        let window = window(picture, policy);
        let mut recording = recording(&picture.end, &picture.switches, window);
        recording.scenario = results.experiment.name.clone();
        recording.policy = spec.label.clone();
        // In the recording time begins with the window.
        let window = Window {
            from_ns: 0,
            to_ns: window.length_ns(),
        };
        let number = lanes.len();
        let drawing = gantt(&recording, &GanttSpec { window, number });
        trace.add(&recording, window);
        lanes.push((format!("lanes-{}.svg", file_part(&spec.label)), drawing));
    }
    let trace = (!lanes.is_empty()).then(|| trace.json());
    Charts { lanes, trace }
}

/// What is drawn of a round: its beginning.
fn window(picture: &Picture, policy: Option<&PolicySpec>) -> Window {
    let quantum = policy.and_then(PolicySpec::quantum);
    let length = quantum.map_or(DRAWN_NS, |quantum| quantum.saturating_mul(SLOTS_DRAWN));
    let whole = picture.end.at_ns.saturating_sub(picture.from_ns).max(1);
    Window {
        from_ns: picture.from_ns,
        to_ns: picture.from_ns + length.min(whole),
    }
}
