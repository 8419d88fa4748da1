//! From cells to SVG.

mod legend;
mod looks;
mod slots;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::cells::Cells;
use super::{Cell, GanttSpec, Look};
use crate::Nanos;
use crate::sim::palette::{self, Palette};
use crate::sim::record::{Activity, MarkKind, Recording, Source};
use crate::sim::svg::{Drawing, escape, text_width};

/// Where the lanes begin, beside the CPUs' numbers.
const LEFT: u32 = 64;
/// How long lanes are.
const LANES_WIDTH: u32 = 1100;
const RIGHT: u32 = 26;
const WIDTH: u32 = LEFT + LANES_WIDTH + RIGHT;
/// Title, facts, arrivals and the numbers of slots.
const TOP: u32 = 92;

/// How a chart is laid out.
struct Layout<'a> {
    recording: &'a Recording,
    palette: &'a Palette,
    spec: &'a GanttSpec,
    /// From one lane to the next.
    pitch: u32,
    /// Of that, what is filled.
    lane: u32,
}

/// Draws the chart.
pub(super) fn draw(
    recording: &Recording,
    palette: &Palette,
    spec: &GanttSpec,
    cells: &Cells,
) -> Drawing {
    let (pitch, lane) = match recording.cpus {
        0..=8 => (38, 34),
        9..=16 => (29, 26),
        17..=32 => (22, 20),
        33..=64 => (16, 14),
        65..=128 => (10, 9),
        _ => (5, 5),
    };
    let layout = Layout {
        recording,
        palette,
        spec,
        pitch,
        lane,
    };
    let looks: BTreeSet<Look> = cells.cells.iter().map(|cell| cell.look).collect();
    let mut body = String::new();
    layout.patterns(&looks, &mut body);
    let bottom = layout.bottom();
    let mut inner = String::new();
    layout.lanes(&mut inner);
    // Without seams between neighbours.
    inner.push_str("<g shape-rendering=\"crispEdges\">\n");
    layout.cells(&cells.cells, &mut inner);
    inner.push_str("</g>\n");
    layout.axis(&mut inner);
    layout.slots(&mut inner);
    layout.names(&cells.cells, &mut inner);
    layout.comings_and_goings(&mut inner);
    let height = layout.legend(&looks, cells, bottom + 62, &mut inner);
    let title = format!("{}: {}", recording.scenario, recording.policy);
    let _ = writeln!(
        body,
        "<rect class=\"bg\" width=\"{WIDTH}\" height=\"{height}\"/>"
    );
    text(
        &mut body,
        "ink",
        16,
        26,
        "font-size=\"17\" font-weight=\"600\"",
        &title,
    );
    text(
        &mut body,
        "faint",
        16,
        46,
        "font-size=\"12\"",
        &layout.facts(),
    );
    body.push_str(&inner);
    Drawing {
        width: WIDTH,
        height,
        body,
        title: format!("{title}: one lane per CPU, who was on it when"),
    }
}

/// Writes a line of text.
fn text(out: &mut String, class: &str, x: u32, y: u32, attributes: &str, content: &str) {
    let content = escape(content);
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x}\" y=\"{y}\" {attributes}>{content}</text>"
    );
}

/// Milliseconds with as many decimals as it takes.
fn milliseconds(time: Nanos) -> String {
    let (whole, part) = (time / crate::MS, time % crate::MS);
    let text = format!("{whole}.{part:06}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The shortest of 1, 2, 5, 10, ... ns that divides `length` into at most `parts`.
fn step(length: Nanos, parts: Nanos) -> Nanos {
    let mut power: Nanos = 1;
    loop {
        for digit in [1, 2, 5] {
            if power.saturating_mul(digit).saturating_mul(parts) >= length {
                return power.saturating_mul(digit);
            }
        }
        power = power.saturating_mul(10);
    }
}

impl Layout<'_> {
    fn x(&self, at: Nanos) -> f64 {
        let window = self.spec.window;
        let part = (at - window.from_ns) as f64 / window.length_ns() as f64;
        f64::from(LEFT) + part * f64::from(LANES_WIDTH)
    }

    fn y(&self, cpu: usize) -> u32 {
        TOP + cpu as u32 * self.pitch
    }

    /// Where the lanes end.
    fn bottom(&self) -> u32 {
        self.y(self.recording.cpus as usize)
    }

    fn facts(&self) -> String {
        let Recording {
            cpus,
            warm_up_ns,
            duration_ns,
            source,
            seed,
            cpu_totals,
            ..
        } = self.recording;
        let window = self.spec.window;
        if *source == Source::Host {
            return format!(
                "{cpus} CPUs, {} to {} ms, as a host's vCPUs were switched",
                milliseconds(window.from_ns),
                milliseconds(window.to_ns),
            );
        }
        let all = u128::from(*cpus) * u128::from(*duration_ns);
        let per_mille = (u128::from(cpu_totals.hole_ns) * 1000 + all / 2) / all.max(1);
        format!(
            "{cpus} CPUs, {} to {} ms of {} ms, seed {seed}; of what was measured, holes took {}.{} % of the CPUs' time",
            milliseconds(window.from_ns),
            milliseconds(window.to_ns),
            milliseconds(warm_up_ns + duration_ns),
            per_mille / 10,
            per_mille % 10,
        )
    }

    /// Empty lanes, hatched, and the CPUs' numbers.
    fn lanes(&self, out: &mut String) {
        // As many numbers as can be read.
        let every = 12_u32.div_ceil(self.pitch) as usize;
        for cpu in 0..self.recording.cpus as usize {
            let (y, lane, hole) = (self.y(cpu), self.lane, self.pattern("hole"));
            let _ = writeln!(
                out,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{LANES_WIDTH}\" height=\"{lane}\" \
                 fill=\"url(#{hole})\"/>"
            );
            if cpu % every == 0 {
                let name = format!("CPU {cpu}");
                let y = y + lane / 2 + 4;
                let style = "font-size=\"11\" text-anchor=\"end\"";
                text(out, "ink", LEFT - 7, y, style, &name);
            }
        }
    }

    /// All cells that look alike are one path: they are many, and pages shall load.
    fn cells(&self, cells: &[Cell], out: &mut String) {
        let mut paths: BTreeMap<String, String> = BTreeMap::new();
        for cell in cells {
            let (x, y) = (self.x(cell.start_ns), self.y(cell.cpu));
            let (width, lane) = (self.x(cell.end_ns) - x, self.lane);
            let path = paths.entry(self.fill(cell.look)).or_default();
            let _ = write!(path, "M{x:.2} {y}h{width:.2}v{lane}h-{width:.2}z");
        }
        for (fill, path) in paths {
            let _ = writeln!(out, "<path {fill} d=\"{path}\"/>");
        }
    }

    /// Writes each vCPU's name into its turns, where there is room. A turn of its own is another than
    /// one in a hole before it.
    fn names(&self, cells: &[Cell], out: &mut String) {
        if self.lane < 12 {
            return;
        }
        let is_turn = |cell: &Cell| {
            let switches = matches!(cell.look.activity, Activity::Switch | Activity::Stolen);
            let turn = cell.look.vcpu.map(|vcpu| (vcpu, cell.look.fills));
            turn.filter(|_| !switches)
        };
        let size = if self.lane < 20 { 10 } else { 13 };
        let mut rest = cells;
        while let Some((first, mut behind)) = rest.split_first() {
            let mut last = first;
            while let Some((next, tail)) = behind.split_first()
                && is_turn(first).is_some()
                && is_turn(next) == is_turn(first)
                && next.cpu == first.cpu
                && next.start_ns == last.end_ns
            {
                (last, behind) = (next, tail);
            }
            rest = behind;
            let Some((vcpu, _)) = is_turn(first) else {
                continue;
            };
            let name = self.palette.vcpu(vcpu);
            let (start, end) = (self.x(first.start_ns), self.x(last.end_ns));
            let width = text_width(&name, size);
            if end - start < f64::from(width + 4) {
                continue;
            }
            let (middle, y) = (
                start.midpoint(end),
                self.y(first.cpu) + self.lane / 2 + size / 3 + 1,
            );
            // A plate behind the name keeps it readable on any pattern.
            let plate = f64::from(width + 4);
            let (left, top) = (middle - plate / 2.0, y - size);
            let (colour, ink) = (palette::colour(vcpu.vm), palette::ink(vcpu.vm));
            let high = size + 3;
            let name = escape(&name);
            let _ = writeln!(
                out,
                "<rect x=\"{left:.1}\" y=\"{top}\" width=\"{plate:.1}\" height=\"{high}\" rx=\"3\" fill=\"{colour}\"/>\
                 <text x=\"{middle:.1}\" y=\"{y}\" font-size=\"{size}\" text-anchor=\"middle\" fill=\"{ink}\">{name}</text>"
            );
        }
    }

    /// Time, in milliseconds.
    fn axis(&self, out: &mut String) {
        let window = self.spec.window;
        let step = step(window.length_ns(), 12);
        let bottom = self.bottom();
        let mut at = window.from_ns.next_multiple_of(step);
        while at <= window.to_ns {
            let x = self.x(at);
            let below = bottom + 6;
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{x:.2}\" x2=\"{x:.2}\" y1=\"{TOP}\" y2=\"{below}\"/>"
            );
            let style = "font-size=\"11\" text-anchor=\"middle\"";
            text(out, "ink", x as u32, bottom + 19, style, &milliseconds(at));
            at += step;
        }
        let middle = LEFT + LANES_WIDTH / 2;
        let style = "font-size=\"12\" text-anchor=\"middle\"";
        text(out, "ink", middle, bottom + 37, style, "time in ms");
    }

    /// Marks where VMs come and go within the window.
    fn comings_and_goings(&self, out: &mut String) {
        let window = self.spec.window;
        let mut free_from = 0;
        for mark in &self.recording.marks {
            let (sign, vm) = match mark.kind {
                MarkKind::Arrive { vm } => ('+', vm),
                MarkKind::Leave { vm } => ('\u{2212}', vm),
                _ => continue,
            };
            if mark.at_ns <= window.from_ns || mark.at_ns >= window.to_ns {
                continue;
            }
            let x = self.x(mark.at_ns);
            let name = format!("{sign}{}", self.palette.vm(vm));
            // Only as many as can be told apart.
            if (x as u32) < free_from {
                continue;
            }
            free_from = x as u32 + text_width(&name, 11) + 3;
            let (top, bottom) = (TOP - 26, self.bottom());
            let _ = writeln!(
                out,
                "<line class=\"mark\" x1=\"{x:.2}\" x2=\"{x:.2}\" y1=\"{top}\" y2=\"{bottom}\"/>"
            );
            text(
                out,
                "marktext",
                x as u32 + 2,
                top + 6,
                "font-size=\"11\"",
                &name,
            );
        }
    }
}
