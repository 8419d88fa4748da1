//! Where gangs have their home: rows are slots, columns are CPUs.
//!
//! The matrix is kept as one line of cells, row after row, so that cell `i` lies in column `i` modulo
//! the number of columns. A *window* is a stretch of the line as long as a row: it covers every column
//! once, and the gangs that lie in it can run together. In the matrix form windows begin where rows
//! do. In the continuous form they begin anywhere.

use std::ops::Range;

use super::columns::assign;
use super::unit::Member;
use crate::{CpuId, CpuSet, UnitId, VcpuId};

/// How gangs are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Each in a row.
    Matrix(Packing),
    /// Each in a window that may begin where a hole begins.
    Continuous,
    /// The same, and the cells of a gang follow each other.
    Undivided,
}

/// Which row a gang gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// The one where the fewest holes are left.
    Best,
    /// The first with enough holes.
    First,
    /// The first with a free block of columns: blocks are of 1, 2, 4, ... columns, and a gang gets
    /// the smallest that holds it. It wastes cells, and gangs of different rows share columns whole.
    Buddy,
}

/// See the module's head.
#[derive(Debug, Clone)]
pub struct Matrix {
    columns: usize,
    placement: Placement,
    cells: Vec<Option<(UnitId, VcpuId)>>,
}

impl Matrix {
    /// An empty one.
    pub fn new(columns: usize, placement: Placement) -> Self {
        Self {
            columns,
            placement,
            cells: Vec::new(),
        }
    }

    /// Another of the same form, with nobody in it.
    pub fn emptied(&self) -> Self {
        Self::new(self.columns, self.placement)
    }

    /// How many rows are begun.
    pub fn rows(&self) -> usize {
        self.cells.len().div_ceil(self.columns)
    }

    /// Cells that are taken.
    pub fn taken(&self) -> usize {
        self.cells.iter().flatten().count()
    }

    /// The window in which the gang whose first cell this is runs.
    pub fn window(&self, first: usize) -> Range<usize> {
        let start = match self.placement {
            Placement::Matrix(_) => first - first % self.columns,
            Placement::Continuous | Placement::Undivided => first,
        };
        start..start + self.columns
    }

    /// The vCPUs at home in a column, beginning with the row after the one of cell `from`.
    pub fn column(&self, cpu: CpuId, from: usize) -> impl Iterator<Item = VcpuId> + use<'_> {
        let rows = self.rows();
        let row_after = from / self.columns + 1;
        let cells = (0..rows).map(move |step| (row_after + step) % rows * self.columns);
        let cells = cells.map(move |row| self.at(row + cpu.index()));
        cells.flatten().map(|(_, vcpu)| vcpu)
    }

    /// Finds a gang a home: a cell for each member, or none if it does not fit on these columns at
    /// all. `wishes` are columns that its members would rather have.
    pub fn place(
        &mut self,
        unit: UnitId,
        members: &[Member],
        wishes: &[CpuId],
    ) -> Option<Vec<usize>> {
        let found = match self.placement {
            Placement::Matrix(Packing::Best) => self.best_row(members, wishes),
            Placement::Matrix(Packing::First) => {
                let mut rows = self.row_starts();
                rows.find_map(|row| self.in_window(row, members, wishes))
            }
            Placement::Matrix(Packing::Buddy) => {
                let mut rows = self.row_starts();
                rows.find_map(|row| self.in_block(row, members, wishes))
            }
            Placement::Continuous => {
                let mut starts = self.hole_starts();
                starts.find_map(|start| self.in_window(start, members, wishes))
            }
            Placement::Undivided => {
                let mut starts = 0..=self.cells.len();
                starts.find_map(|start| self.in_run(start, members))
            }
        };
        // Affinities may leave no room for neat forms: then a window of its own must do.
        let end = match self.placement {
            Placement::Matrix(_) => self.rows() * self.columns,
            Placement::Continuous | Placement::Undivided => self.cells.len(),
        };
        let cells = found.or_else(|| self.in_window(end, members, wishes))?;
        for (&cell, member) in cells.iter().zip(members) {
            if self.cells.len() <= cell {
                self.cells.resize(cell + 1, None);
            }
            self.cells[cell] = Some((unit, member.vcpu));
        }
        Some(cells)
    }

    /// Frees a gang's cells.
    pub fn remove(&mut self, cells: &[usize]) {
        for &cell in cells {
            self.cells[cell] = None;
        }
        while self.cells.last().is_some_and(Option::is_none) {
            self.cells.pop();
        }
    }

    fn at(&self, cell: usize) -> Option<(UnitId, VcpuId)> {
        self.cells.get(cell).copied().flatten()
    }

    /// Every row that has been begun, and one more.
    fn row_starts(&self) -> impl Iterator<Item = usize> + use<> {
        let columns = self.columns;
        (0..=self.rows()).map(move |row| row * columns)
    }

    /// Where a window may begin: at the start of the line, and where a hole follows a taken cell.
    fn hole_starts(&self) -> impl Iterator<Item = usize> + use<'_> {
        (0..=self.cells.len())
            .filter(|&cell| cell == 0 || self.at(cell).is_none() && self.at(cell - 1).is_some())
    }

    /// The row with the fewest holes among those where the gang fits, the first of several.
    fn best_row(&self, members: &[Member], wishes: &[CpuId]) -> Option<Vec<usize>> {
        let holes = |row: usize| {
            (row..row + self.columns)
                .filter(|&c| self.at(c).is_none())
                .count()
        };
        let mut rows: Vec<(usize, usize)> =
            self.row_starts().map(|row| (holes(row), row)).collect();
        rows.retain(|&(holes, _)| holes >= members.len());
        rows.sort_unstable();
        let mut rows = rows.into_iter();
        rows.find_map(|(_, row)| self.in_window(row, members, wishes))
    }

    /// Cells among the holes of the window from `start` on.
    fn in_window(&self, start: usize, members: &[Member], wishes: &[CpuId]) -> Option<Vec<usize>> {
        self.among(start, start..start + self.columns, members, wishes)
    }

    /// Cells in the first free block of the row, or in the whole row for a gang of that size.
    fn in_block(&self, row: usize, members: &[Member], wishes: &[CpuId]) -> Option<Vec<usize>> {
        let size = members.len().next_power_of_two();
        let mut starts = (row..row + self.columns).step_by(size);
        starts.find_map(|start| {
            let block = start..(start + size).min(row + self.columns);
            let free = block.clone().all(|cell| self.at(cell).is_none());
            free.then(|| self.among(row, block, members, wishes))?
        })
    }

    /// The cells from `start` on, one after the other.
    fn in_run(&self, start: usize, members: &[Member]) -> Option<Vec<usize>> {
        let run = start..start + members.len();
        let free = run.clone().all(|cell| self.at(cell).is_none());
        free.then(|| self.among(start, run, members, &[]))?
    }

    /// Cells among the holes in `cells`, which lie in the window from `start` on.
    fn among(
        &self,
        start: usize,
        cells: Range<usize>,
        members: &[Member],
        wishes: &[CpuId],
    ) -> Option<Vec<usize>> {
        let holes = cells.filter(|&cell| self.at(cell).is_none());
        let holes: Vec<CpuId> = holes
            .map(|cell| CpuId((cell % self.columns) as u16))
            .collect();
        let free: CpuSet = holes.iter().copied().collect();
        let first_column = start % self.columns;
        // A window that does not begin with column 0 is filled from where it begins.
        let from_start = wishes.is_empty() && first_column > 0;
        let columns = assign(members, free, if from_start { &holes } else { wishes })?;
        let cells = columns
            .into_iter()
            .map(|column| start + (column.index() + self.columns - first_column) % self.columns);
        Some(cells.collect())
    }

    /// The matrix as people draw it, a line per row: vCPUs by what `name` calls them, dots for holes,
    /// one below the other.
    pub fn draw(&self, name: impl Fn(VcpuId) -> String) -> String {
        let mut names: Vec<String> = self
            .cells
            .iter()
            .map(|cell| cell.map_or(HOLE.to_owned(), |(_, vcpu)| name(vcpu)))
            .collect();
        names.resize(names.len().next_multiple_of(self.columns), HOLE.to_owned());
        let width = names.iter().map(|name| name.chars().count()).max();
        let width = width.unwrap_or_default();
        let line = |row: &[String]| {
            let cells: Vec<String> = row.iter().map(|name| format!("{name:width$}")).collect();
            cells.join(" ").trim_end().to_owned() + "\n"
        };
        names.chunks(self.columns).map(line).collect()
    }
}

/// How a hole is drawn.
const HOLE: &str = "..";

#[cfg(test)]
mod tests;
