//! `muster sched policies`: what there is to schedule with.

use anyhow::{Context as _, Result};
use clap::Args;
use muster_scheduler::params::{Kind, Param};
use muster_scheduler::registry::{ENTRIES, Entry, Role};
use serde_json::{Value, json};

use crate::output;

/// How wide a page is if no terminal says.
const WIDTH: usize = 100;

/// Options of `muster sched policies`.
#[derive(Debug, Args)]
pub struct PoliciesArgs {
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &PoliciesArgs) -> Result<()> {
    let text = if args.json {
        let policies: Vec<Value> = ENTRIES.iter().map(describe).collect();
        let list = json!({ "schema": 1, "policies": policies });
        serde_json::to_string_pretty(&list).context("cannot write the list as JSON")? + "\n"
    } else {
        page(output::terminal_width().unwrap_or(WIDTH))
    };
    output::print(&text)
}

/// A policy, for programs.
fn describe(entry: &Entry) -> Value {
    let params: Vec<Value> = entry.params.iter().map(describe_param).collect();
    json!({
        "name": entry.name,
        "summary": entry.summary,
        "layer": is_layer(entry),
        "default_base": entry.default_base,
        "parameters": params,
    })
}

fn describe_param(param: &Param) -> Value {
    let mut value = json!({
        "name": param.name,
        "meaning": param.meaning,
        "default": param.kind.default_text(),
        "allowed": param.kind.expected(),
    });
    let more = match param.kind {
        Kind::Duration { min, max, .. } => {
            json!({ "type": "duration", "min_ns": min, "max_ns": max })
        }
        Kind::Count { min, max, unit, .. } => {
            json!({ "type": "count", "min": min, "max": max, "unit": unit })
        }
        Kind::Flag { .. } => json!({ "type": "flag" }),
        Kind::Choice(words) => json!({ "type": "choice", "words": words }),
    };
    if let (Value::Object(value), Value::Object(mut more)) = (&mut value, more) {
        value.append(&mut more);
    }
    value
}

fn is_layer(entry: &Entry) -> bool {
    matches!(entry.role, Role::Layer(_))
}

/// The list, for people.
fn page(width: usize) -> String {
    let mut out = String::new();
    let intro = "A policy is written as a base and the layers that wrap it, joined by +. Parameters \
                 follow a colon, joined by commas: key=value, or a bare key that switches something on.";
    paragraph(&mut out, intro, 0, width);
    let (bases, layers): (Vec<_>, Vec<_>) = ENTRIES.iter().partition(|entry| !is_layer(entry));
    out.push_str("\nExamples:\n");
    for example in examples(&bases, &layers) {
        paragraph(&mut out, &example, 2, usize::MAX);
    }
    for (heading, entries) in [("Bases", bases), ("Layers", layers)] {
        if !entries.is_empty() {
            out.push_str(&format!("\n{heading}:\n"));
        }
        for entry in entries {
            describe_for_people(&mut out, entry, width);
        }
    }
    out
}

/// Policies that there are: a base, one of its parameters, and a layer around it.
fn examples(bases: &[&Entry], layers: &[&Entry]) -> Vec<String> {
    let Some(base) = bases.iter().rev().find(|entry| !entry.params.is_empty()) else {
        return Vec::new();
    };
    let param = &base.params[0];
    let with = format!("{}:{}={}", base.name, param.name, param.kind.default_text());
    let mut examples = vec![base.name.to_owned(), with.clone()];
    examples.extend(layers.first().map(|layer| format!("{with}+{}", layer.name)));
    examples
}

fn describe_for_people(out: &mut String, entry: &Entry, width: usize) {
    paragraph(out, entry.name, 2, width);
    let mut summary = entry.summary.to_owned();
    if let Some(base) = entry.default_base {
        summary.push_str(&format!(" (alone it wraps {base})"));
    }
    paragraph(out, &summary, 6, width);
    for param in entry.params {
        let set = format!("{}={}", param.name, param.kind.default_text());
        paragraph(out, &set, 6, width);
        let meaning = format!("{}. Takes {}.", param.meaning, param.kind.expected());
        paragraph(out, &meaning, 10, width);
    }
}

/// Adds text in lines that are indented.
fn paragraph(out: &mut String, text: &str, indent: usize, width: usize) {
    for line in output::wrap(text, width.saturating_sub(indent).max(20)) {
        out.push_str(&format!("{:indent$}{line}\n", ""));
    }
}

#[cfg(test)]
mod tests;
