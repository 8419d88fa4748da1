//! Policies and their parameters, as the registry describes them.

use muster_scheduler::params::Kind;
use muster_scheduler::registry::{ENTRIES, Entry, Role};

use crate::draw::Draw;

/// How far from its default a parameter is drawn.
const FACTOR: u64 = 8;

/// A base, often with layers in any order, some parameters set.
pub fn any(draw: &mut Draw) -> String {
    with_layer(draw, "")
}

/// The same, with this layer in any case.
pub fn with_layer(draw: &mut Draw, always: &str) -> String {
    let bases: Vec<&Entry> = of_role(|role| matches!(role, Role::Base(_)));
    let layers: Vec<&Entry> = of_role(|role| matches!(role, Role::Layer(_)));
    let mut parts = vec![with_params(draw, draw_one(&bases))];
    for layer in layers {
        if layer.name == always || draw.chance(25) {
            parts.push(with_params(draw, |_| layer));
        }
    }
    if parts.len() > 2 && draw.chance(50) {
        parts[1..].reverse();
    }
    parts.join("+")
}

fn draw_one<'a>(entries: &'a [&'static Entry]) -> impl FnOnce(&mut Draw) -> &'static Entry + 'a {
    |draw| draw.pick(entries)
}

fn of_role(wanted: fn(&Role) -> bool) -> Vec<&'static Entry> {
    let entries = ENTRIES.iter();
    entries.filter(|entry| wanted(&entry.role)).collect()
}

fn with_params(draw: &mut Draw, choose: impl FnOnce(&mut Draw) -> &'static Entry) -> String {
    let entry = choose(draw);
    let mut params = Vec::new();
    for param in entry.params {
        if draw.chance(40) {
            params.push(format!("{}={}", param.name, value(draw, param.kind)));
        }
    }
    if params.is_empty() {
        return entry.name.to_owned();
    }
    format!("{}:{}", entry.name, params.join(","))
}

/// Around the default: a quantum of ten seconds, or of ten microseconds on 64 CPUs, shows nothing in
/// the time that a run has.
fn value(draw: &mut Draw, kind: Kind) -> String {
    match kind {
        Kind::Duration { default, min, max } => {
            let least = (default / FACTOR).clamp(min, max);
            format!("{}ns", draw.scale(least, most(default, min, max)))
        }
        Kind::Count {
            default, min, max, ..
        } => {
            let most = most(default, min, max);
            draw.scale(min, most).to_string()
        }
        Kind::Flag { .. } => draw.pick(&["yes", "no"]).to_owned(),
        Kind::Choice(words) => draw.pick(words).to_owned(),
    }
}

/// The largest value that is drawn. What is off by default can be anything.
fn most(default: u64, min: u64, max: u64) -> u64 {
    match default {
        0 => max,
        _ => default.saturating_mul(FACTOR).clamp(min, max),
    }
}
