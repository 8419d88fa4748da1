//! From spans to cells.

use super::{COLUMNS_MAX, Cell, Look, Window};
use crate::sim::record::Recording;
use crate::{Level, Nanos};

/// The cells of a chart, by CPU and then by time.
pub(super) struct Cells {
    pub cells: Vec<Cell>,
    /// If each shows what took most of a column: how long a column is, and how many spans there were.
    pub columns: Option<(Nanos, usize)>,
}

/// The cells of a window: the spans themselves, or columns if there are more than `max` of them.
pub(super) fn cells(recording: &Recording, window: Window, max: usize) -> Cells {
    let mut cells = Vec::new();
    for span in &recording.spans {
        if let Some((start_ns, end_ns)) = window.clip(span.start_ns, span.end_ns) {
            let look = Look {
                vcpu: span.vcpu,
                activity: span.activity,
                fills: span.level == Some(Level::Backfill),
            };
            let cpu = span.cpu.index();
            cells.push(Cell {
                cpu,
                start_ns,
                end_ns,
                look,
            });
        }
    }
    cells.sort_by_key(|cell| (cell.cpu, cell.start_ns));
    if cells.len() <= max {
        let columns = None;
        return Cells { cells, columns };
    }
    let per_lane = (COLUMNS_MAX / Nanos::from(recording.cpus).max(1)).clamp(1, 1000);
    let column_ns = window.length_ns().div_ceil(per_lane);
    let columns = Some((column_ns, cells.len()));
    let cells = merge(&cells, window, column_ns);
    Cells { cells, columns }
}

/// One cell per column at most, neighbours with the same look in one.
fn merge(cells: &[Cell], window: Window, column_ns: Nanos) -> Vec<Cell> {
    let mut merged = Vec::new();
    let mut column = Column::default();
    for cell in cells {
        let mut start = cell.start_ns;
        while start < cell.end_ns {
            let number = (start - window.from_ns) / column_ns;
            let column_start = window.from_ns + number * column_ns;
            let column_end = (column_start + column_ns).min(window.to_ns);
            if (column.cpu, column.start_ns, column.end_ns) != (cell.cpu, column_start, column_end)
            {
                column.finish(&mut merged);
                column.cpu = cell.cpu;
                (column.start_ns, column.end_ns) = (column_start, column_end);
            }
            let end = cell.end_ns.min(column_end);
            column.add(cell.look, end - start);
            start = end;
        }
    }
    column.finish(&mut merged);
    merged
}

/// What happened within a column of one lane.
#[derive(Default)]
struct Column {
    cpu: usize,
    start_ns: Nanos,
    end_ns: Nanos,
    /// How long each look, in order of appearance.
    times: Vec<(Look, Nanos)>,
}

impl Column {
    fn add(&mut self, look: Look, time: Nanos) {
        match self.times.iter_mut().find(|(known, _)| *known == look) {
            Some((_, sum)) => *sum += time,
            None => self.times.push((look, time)),
        }
    }

    /// Adds what took longest, unless that was idling.
    fn finish(&mut self, merged: &mut Vec<Cell>) {
        let busy: Nanos = self.times.iter().map(|(_, time)| time).sum();
        let idle = (self.end_ns - self.start_ns) - busy;
        // Of equals the first: `max_by_key` would take the last.
        let times = self.times.drain(..).rev();
        let Some((look, time)) = times.max_by_key(|(_, time)| *time) else {
            return;
        };
        if time < idle {
            return;
        }
        match merged.last_mut() {
            Some(last)
                if last.cpu == self.cpu && last.end_ns == self.start_ns && last.look == look =>
            {
                last.end_ns = self.end_ns;
            }
            _ => merged.push(Cell {
                cpu: self.cpu,
                start_ns: self.start_ns,
                end_ns: self.end_ns,
                look,
            }),
        }
    }
}
