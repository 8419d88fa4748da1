//! From cells to SVG.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::cells::Cells;
use super::{Cell, GanttSpec, Look};
use crate::Nanos;
use crate::registry::format_duration;
use crate::sim::palette::{self, Palette};
use crate::sim::record::{Activity, MarkKind, Recording};
use crate::sim::svg::{Drawing, escape, text_width};

/// Where the lanes begin, beside the CPUs' numbers.
const LEFT: u32 = 64;
/// How long lanes are.
const LANES_WIDTH: u32 = 1100;
const RIGHT: u32 = 26;
const WIDTH: u32 = LEFT + LANES_WIDTH + RIGHT;
/// Title, facts, arrivals and the numbers of slots.
const TOP: u32 = 92;
/// VMs in the legend; who has more finds the labels in the lanes.
const LEGEND_VMS_MAX: usize = 24;

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
            seed,
            cpu_totals,
            ..
        } = self.recording;
        let window = self.spec.window;
        let all = u128::from(*cpus) * u128::from(*duration_ns);
        let per_mille = u128::from(cpu_totals.hole_ns) * 1000 / all.max(1);
        format!(
            "{cpus} CPUs, {} to {} ms of {} ms, seed {seed}; of what was measured, holes took {}.{} % of the CPUs' time",
            milliseconds(window.from_ns),
            milliseconds(window.to_ns),
            milliseconds(warm_up_ns + duration_ns),
            per_mille / 10,
            per_mille % 10,
        )
    }

    /// The name of a pattern; numbered, for a page may hold several charts.
    fn pattern(&self, name: &str) -> String {
        format!("g{}{name}", self.spec.number)
    }

    fn fill(&self, look: Look) -> String {
        let vm = look.vcpu.map(|vcpu| vcpu.vm);
        match (look.activity, vm) {
            (Activity::Work, Some(vm)) => format!("fill=\"{}\"", palette::colour(vm)),
            (Activity::Switch, _) => "class=\"switch\"".to_owned(),
            (Activity::Stolen, _) => format!("fill=\"url(#{})\"", self.pattern("stolen")),
            (Activity::Spin, Some(vm)) => self.vm_pattern("spin", vm),
            (Activity::Refill, Some(vm)) => self.vm_pattern("refill", vm),
            (Activity::Held, Some(vm)) => self.vm_pattern("held", vm),
            (_, None) => "class=\"faint\"".to_owned(),
        }
    }

    fn vm_pattern(&self, name: &str, vm: u32) -> String {
        format!("fill=\"url(#{})\"", self.pattern(&format!("{name}{vm}")))
    }

    fn patterns(&self, looks: &BTreeSet<Look>, out: &mut String) {
        let begin = |out: &mut String, name: &str, size: u32| {
            let name = self.pattern(name);
            let _ = write!(
                out,
                "<pattern id=\"{name}\" width=\"{size}\" height=\"{size}\" \
                 patternUnits=\"userSpaceOnUse\">"
            );
        };
        out.push_str("<defs>\n");
        let hatch = "<path class=\"hatch\" d=\"M-2,2 l4,-4 M0,8 l8,-8 M6,10 l4,-4\" \
             fill=\"none\" stroke-width=\"1\"/>";
        begin(out, "hole", 8);
        let _ = writeln!(
            out,
            "<rect class=\"lane\" width=\"8\" height=\"8\"/>{hatch}</pattern>"
        );
        begin(out, "stolen", 8);
        out.push_str(
            "<rect class=\"stolen\" width=\"8\" height=\"8\"/>\
             <path class=\"stolenline\" d=\"M0,0 l8,8 M0,8 l8,-8\" fill=\"none\"/></pattern>\n",
        );
        let mut done = BTreeSet::new();
        for look in looks {
            let Some(vcpu) = look.vcpu else { continue };
            let vm = vcpu.vm;
            if !done.insert((vm, look.activity)) {
                continue;
            }
            let (colour, ink) = (palette::colour(vm), palette::ink(vm));
            let base = format!("<rect width=\"8\" height=\"8\" fill=\"{colour}\"/>");
            let (name, size, body) = match look.activity {
                Activity::Spin => (
                    "spin",
                    6,
                    format!(
                        "{base}<circle cx=\"3\" cy=\"3\" r=\"1.5\" fill=\"{ink}\" fill-opacity=\"0.75\"/>"
                    ),
                ),
                Activity::Refill => (
                    "refill",
                    4,
                    format!(
                        "{base}<rect width=\"1.6\" height=\"4\" fill=\"{ink}\" fill-opacity=\"0.6\"/>"
                    ),
                ),
                Activity::Held => (
                    "held",
                    8,
                    format!(
                        "<rect class=\"lane\" width=\"8\" height=\"8\"/>\
                         <rect width=\"8\" height=\"8\" fill=\"{colour}\" fill-opacity=\"0.35\"/>{hatch}"
                    ),
                ),
                Activity::Work | Activity::Switch | Activity::Stolen => continue,
            };
            begin(out, &format!("{name}{vm}"), size);
            let _ = writeln!(out, "{body}</pattern>");
        }
        out.push_str("</defs>\n");
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

    /// Writes each vCPU's name into its turns, where there is room.
    fn names(&self, cells: &[Cell], out: &mut String) {
        if self.lane < 12 {
            return;
        }
        let is_turn = |cell: &Cell| {
            let switches = matches!(cell.look.activity, Activity::Switch | Activity::Stolen);
            cell.look.vcpu.filter(|_| !switches)
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
            let Some(vcpu) = is_turn(first) else { continue };
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

    /// Lines between slots, and the slots' numbers.
    fn slots(&self, out: &mut String) {
        let window = self.spec.window;
        let Some(slot_ns) = self.spec.slot_ns.filter(|&slot| slot > 0) else {
            return;
        };
        if window.length_ns() / slot_ns > 150 {
            return;
        }
        let wide = window.length_ns() / slot_ns <= 14;
        let (top, bottom) = (TOP - 4, self.bottom());
        let mut slot = window.from_ns / slot_ns;
        while slot * slot_ns < window.to_ns {
            let start = slot * slot_ns;
            if start >= window.from_ns {
                let x = self.x(start);
                let _ = writeln!(
                    out,
                    "<line class=\"slot\" x1=\"{x:.2}\" x2=\"{x:.2}\" y1=\"{top}\" y2=\"{bottom}\" \
                     stroke-width=\"1.2\" stroke-dasharray=\"4 3\"/>"
                );
            }
            let middle = self
                .x(start.max(window.from_ns))
                .midpoint(self.x((start + slot_ns).min(window.to_ns)));
            if window.length_ns() / slot_ns <= 40 {
                let name = if wide {
                    format!("slot {slot}")
                } else {
                    slot.to_string()
                };
                let style = "font-size=\"11\" text-anchor=\"middle\"";
                text(out, "ink", middle as u32, TOP - 8, style, &name);
            }
            slot += 1;
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

    /// What the colours and patterns mean. Returns where it ends.
    fn legend(&self, looks: &BTreeSet<Look>, cells: &Cells, top: u32, out: &mut String) -> u32 {
        let mut entries = Vec::new();
        let vms = &self.recording.vms;
        for (vm, outcome) in vms.iter().enumerate().take(LEGEND_VMS_MAX) {
            let label = self.palette.vm(vm as u32);
            let name = if label == outcome.name {
                label.to_owned()
            } else {
                format!("{label} = {}", outcome.name)
            };
            entries.push((format!("fill=\"{}\"", palette::colour(vm as u32)), name));
        }
        if vms.len() > LEGEND_VMS_MAX {
            let more = format!("and {} more VMs", vms.len() - LEGEND_VMS_MAX);
            entries.push(("fill=\"none\"".to_owned(), more));
        }
        for (activity, meaning) in [
            (Activity::Spin, "spinning"),
            (Activity::Refill, "filling caches"),
            (Activity::Held, "held for a halted vCPU"),
            (Activity::Switch, "switching"),
            (Activity::Stolen, "stolen from the host"),
        ] {
            if let Some(look) = looks.iter().find(|look| look.activity == activity) {
                entries.push((self.fill(*look), meaning.to_owned()));
            }
        }
        let hole = format!("fill=\"url(#{})\"", self.pattern("hole"));
        entries.push((hole, "idle: a hole if somebody waits".to_owned()));
        let (mut x, mut y) = (LEFT, top);
        for (fill, meaning) in entries {
            let width = 26 + text_width(&meaning, 12) + 18;
            if x > LEFT && x + width > WIDTH - RIGHT {
                (x, y) = (LEFT, y + 22);
            }
            let box_top = y - 12;
            let _ = writeln!(
                out,
                "<rect x=\"{x}\" y=\"{box_top}\" width=\"20\" height=\"15\" {fill}/>"
            );
            text(out, "ink", x + 26, y, "font-size=\"12\"", &meaning);
            x += width;
        }
        if self.recording.spans_lost > 0 {
            y += 22;
            let lost = self.recording.spans_lost;
            let note = format!(
                "The last {lost} spans of the run were not kept: what looks idle at the end may not be."
            );
            text(out, "marktext", LEFT, y, "font-size=\"12\"", &note);
        }
        if let Some((column_ns, spans)) = cells.columns {
            y += 22;
            let note = format!(
                "{spans} spans are too many to draw: every {} shows what took most of it. Draw a shorter window for more.",
                format_duration(column_ns)
            );
            text(out, "marktext", LEFT, y, "font-size=\"12\"", &note);
        }
        y + 20
    }
}
