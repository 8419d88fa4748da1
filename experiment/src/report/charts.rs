//! Who was on which CPU: lanes and a trace, from the switches of one round of each policy.

use muster_scheduler::sim::gantt::{GanttSpec, gantt};
use muster_scheduler::sim::perfetto::Trace;

use super::{NamedDrawing, file_part};
use crate::recording::{recording, window};
use crate::results::Results;
use crate::spec::RowKind;
use muster_node::Schedule;

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
        let cpus = results.machine.cpus as u32;
        let recording = recording(&results.experiment, row, picture, cpus);
        let window = window(picture, policy);
        let number = lanes.len();
        let drawing = gantt(&recording, &GanttSpec { window, number });
        trace.add(&recording, window);
        lanes.push((format!("lanes-{}.svg", file_part(&spec.label)), drawing));
    }
    let trace = (!lanes.is_empty()).then(|| trace.json());
    Charts { lanes, trace }
}
