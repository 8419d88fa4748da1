//! A chart with one lane per CPU: who was on it when.
//!
//! Problem: whether a policy does what one thinks shows in no average. The textbook draws slots and
//! holes; a run of some milliseconds should look the same.
//!
//! Approach: every span is a cell in its CPU's lane, in its VM's colour, patterned by activity. What
//! is no span stays hatched: a hole. Where other gangs get the CPUs, a dashed line separates two slots;
//! who fills a hole of another gang's slot is striped. A window with more cells than a picture can carry is cut into
//! columns, and each cell shows what took most of its column's time; the picture then says so.
//!
//! Terms: a *cell* is a stretch of one lane with one look; a *column* a fixed part of the window.

use super::palette::Palette;
use super::record::{Activity, Recording, VcpuRef};
use super::svg::Drawing;
use crate::Nanos;

mod cells;
mod draw;

/// How much of a run is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// From this time on.
    pub from_ns: Nanos,
    /// Up to this time, which is later.
    pub to_ns: Nanos,
}

impl Window {
    /// Its length.
    pub fn length_ns(&self) -> Nanos {
        self.to_ns - self.from_ns
    }

    /// The part of a stretch of time that lies in it.
    pub fn clip(&self, start_ns: Nanos, end_ns: Nanos) -> Option<(Nanos, Nanos)> {
        let (start, end) = (start_ns.max(self.from_ns), end_ns.min(self.to_ns));
        (start < end).then_some((start, end))
    }
}

/// What is drawn.
#[derive(Debug, Clone, Copy)]
pub struct GanttSpec {
    /// The part of the run.
    pub window: Window,
    /// A number of its own for each chart on a page.
    pub number: usize,
}

/// The most cells that are drawn one by one: with more, most are narrower than a pixel.
const CELLS_MAX: usize = 4_000;
/// The most columns, over all lanes.
const COLUMNS_MAX: Nanos = 20_000;

/// What a cell shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Look {
    vcpu: Option<VcpuRef>,
    activity: Activity,
    /// It fills a hole, without the rest of its gang.
    fills: bool,
}

/// A stretch of one lane with one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    cpu: usize,
    start_ns: Nanos,
    end_ns: Nanos,
    look: Look,
}

/// Draws a recording that has its spans.
pub fn gantt(recording: &Recording, spec: &GanttSpec) -> Drawing {
    let cells = cells::cells(recording, spec.window, CELLS_MAX);
    draw::draw(recording, &Palette::new(recording), spec, &cells)
}

#[cfg(test)]
mod tests;
