//! All that was measured, for programs.

use serde_json::json;

use super::ReportError;
use crate::results::{Results, SCHEMA};

pub(super) fn json(results: &Results) -> Result<String, ReportError> {
    let experiment = &results.experiment;
    let metrics = experiment.metrics.iter();
    let metrics: Vec<_> = metrics
        .map(|metric| json!({ "name": metric.name, "unit": metric.unit }))
        .collect();
    let data = json!({
        "schema": SCHEMA,
        "experiment": experiment.name,
        "machine": results.machine,
        "repetitions": results.options.repetitions,
        "seed": results.options.seed,
        "steal_limit_percent": results.options.steal_limit_percent,
        "metrics": metrics,
        "rows": results.rows,
        "goals": results.verdicts,
        "replay": results.replay,
        "rounds": results.rounds,
    });
    Ok(serde_json::to_string_pretty(&data)? + "\n")
}
