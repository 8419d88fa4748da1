//! Where gangs win: efficiency over the grain of synchronisation.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use muster_scheduler::sim::palette;
use muster_scheduler::sim::scenario::Workload;
use muster_scheduler::sim::svg::{Drawing, escape};

use super::Ran;

const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 300.0;
const LEGEND: f64 = 210.0;

const GRAINS: [&str; 4] = ["10us", "100us", "1ms", "10ms"];

const LINUX: [&str; 5] = [
    "linux",
    "linux:seed=2",
    "linux:seed=3",
    "linux:seed=4",
    "linux:seed=5",
];

/// What is drawn: its name, how vCPUs wait, and the policies of which the median counts.
const LINES: [(&str, &str, &[&str]); 4] = [
    ("gang, spinning", "spin", &["gang"]),
    ("linux, spinning", "spin", &LINUX),
    ("linux:pin, blocking", "halt", &["linux:pin"]),
    ("gang, blocking", "halt", &["gang"]),
];

/// A line per policy and way to wait.
pub(super) fn draw(all: &[Ran]) -> Result<String> {
    let (right, bottom) = (LEFT + WIDTH, TOP + HEIGHT);
    let (width, height) = ((right + LEGEND) as u32, (bottom + 60.0) as u32);
    let x = |index: usize| LEFT + 30.0 + (WIDTH - 60.0) * index as f64 / (GRAINS.len() - 1) as f64;
    let y = |percent: f64| bottom - HEIGHT * percent / 100.0;
    let title = "Barriers: efficiency over the grain";
    let mut body = format!(
        "<rect class=\"bg\" width=\"{width}\" height=\"{height}\"/>\n\
         <text class=\"ink\" x=\"{LEFT}\" y=\"22\" font-size=\"15\">{title}</text>\n"
    );
    for percent in [0, 20, 40, 60, 80, 100] {
        let level = y(f64::from(percent));
        writeln!(
            body,
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{level}\" x2=\"{right}\" y2=\"{level}\"/>\
             <text class=\"faint\" x=\"{}\" y=\"{}\" font-size=\"12\" text-anchor=\"end\">{percent} %</text>",
            LEFT - 6.0,
            level + 4.0
        )?;
    }
    for (index, grain) in GRAINS.iter().enumerate() {
        writeln!(
            body,
            "<text class=\"faint\" x=\"{:.1}\" y=\"{}\" font-size=\"12\" text-anchor=\"middle\">{grain}</text>",
            x(index),
            bottom + 18.0
        )?;
    }
    writeln!(
        body,
        "<text class=\"faint\" x=\"{}\" y=\"{}\" font-size=\"12\" text-anchor=\"middle\">computing between two barriers</text>",
        LEFT + WIDTH / 2.0,
        bottom + 42.0
    )?;
    for (number, (name, wait, policies)) in LINES.iter().enumerate() {
        let colour = palette::colour(number as u32);
        let legend = TOP + 20.0 * number as f64 + 6.0;
        let mut points = String::new();
        for (index, grain) in GRAINS.iter().enumerate() {
            let height = y(100.0 * efficiency(all, &format!("barriers-{wait}-{grain}"), policies)?);
            write!(points, "{:.1},{height:.1} ", x(index))?;
            writeln!(
                body,
                "<circle cx=\"{:.1}\" cy=\"{height:.1}\" r=\"4\" fill=\"{colour}\"/>",
                x(index)
            )?;
        }
        writeln!(
            body,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>\
             <line x1=\"{}\" y1=\"{legend}\" x2=\"{}\" y2=\"{legend}\" stroke=\"{colour}\" stroke-width=\"3\"/>\
             <text class=\"ink\" x=\"{}\" y=\"{}\" font-size=\"12\">{}</text>",
            points.trim_end(),
            right + 12.0,
            right + 32.0,
            right + 38.0,
            legend + 4.0,
            escape(name)
        )?;
    }
    let title = title.to_owned();
    Ok(Drawing {
        width,
        height,
        body,
        title,
    }
    .element())
}

/// A VM alone passes a barrier per grain; so do all together if they share the time without loss.
fn efficiency(all: &[Ran], name: &str, policies: &[&str]) -> Result<f64> {
    let ran = all.iter().find(|ran| ran.scenario.name == name);
    let ran = ran.with_context(|| format!("there is no scenario {name}"))?;
    let Workload::Barrier { grain_ns, .. } = ran.scenario.vms[0].workload else {
        anyhow::bail!("{name} has no barrier");
    };
    let ops = policies.iter().map(|policy| ran.ops(policy));
    let mut ops: Vec<u64> = ops.collect::<Option<_>>().context("a policy was not run")?;
    ops.sort_unstable();
    let median = ops[ops.len() / 2];
    Ok((median * grain_ns) as f64 / ran.scenario.duration_ns as f64)
}
