//! Tables for terminals.

/// Rows of cells under heads, the first column naming the row.
#[derive(Debug, Default)]
pub struct Table {
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these heads. A head may be broken behind a space, `:`, `,` and `+`.
    pub fn new(heads: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            heads: heads.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, one cell per head.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        assert_eq!(cells.len(), self.heads.len(), "one cell per head");
        self.rows.push(cells);
    }

    /// What stands above the columns.
    pub fn heads(&self) -> &[String] {
        &self.heads
    }

    /// What was added.
    pub fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }

    /// The table, with as many columns beside each other as fit into `width`; the others follow
    /// below, beside the names again.
    pub fn text(&self, width: usize) -> String {
        let heads = self.heads.iter().map(|head| broken(head));
        let heads: Vec<Vec<String>> = heads.collect();
        let widths: Vec<usize> = (0..heads.len())
            .map(|column| {
                let cells = self.rows.iter().map(|row| &row[column]);
                let widest = cells.chain(&heads[column]).map(|cell| cell.chars().count());
                widest.max().unwrap_or(0)
            })
            .collect();
        let mut out = String::new();
        let mut first = 1;
        while first < heads.len() || out.is_empty() {
            let mut used = widths[0];
            let mut end = first;
            while end < heads.len() && (end == first || used + 2 + widths[end] <= width) {
                used += 2 + widths[end];
                end += 1;
            }
            if !out.is_empty() {
                out.push('\n');
            }
            let columns: Vec<usize> = std::iter::once(0).chain(first..end).collect();
            let lines = columns.iter().map(|&column| heads[column].len()).max();
            for line in (0..lines.unwrap_or(0)).rev() {
                let word = |column: usize| {
                    let head = &heads[column];
                    // Heads stand on the first row.
                    head.len()
                        .checked_sub(line + 1)
                        .map_or("", |index| &head[index])
                };
                push_line(&mut out, &columns, &widths, word);
            }
            for row in &self.rows {
                push_line(&mut out, &columns, &widths, |column| &row[column]);
            }
            first = end.max(first + 1);
        }
        out
    }
}

/// Names to the left, values to the right of their columns.
fn push_line<'a>(
    out: &mut String,
    columns: &[usize],
    widths: &[usize],
    cell: impl Fn(usize) -> &'a str,
) {
    let start = out.len();
    for &column in columns {
        let (cell, width) = (cell(column), widths[column]);
        if column == 0 {
            out.push_str(&format!("{cell:width$}"));
        } else {
            out.push_str(&format!("  {cell:>width$}"));
        }
    }
    let end = out[start..].trim_end().len();
    out.truncate(start + end);
    out.push('\n');
}

/// A head in lines of about ten characters.
fn broken(head: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for part in head.split_inclusive([' ', ':', ',', '+']) {
        let last = lines.last_mut().expect("never empty");
        if last.is_empty() || last.chars().count() + part.trim_end().chars().count() <= 10 {
            last.push_str(part);
        } else {
            *last = last.trim_end().to_owned();
            lines.push(part.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["policy", "speed-up", "wake-ups p99", "n"]);
        table.row(["linux", "1.00", "20 ms", "1"]);
        table.row(["gang:quantum=20ms", "12.34", "-", "2"]);
        table
    }

    #[test]
    fn values_stand_below_their_heads() {
        let expected = [
            "                             wake-ups",
            "policy             speed-up       p99  n",
            "linux                  1.00     20 ms  1",
            "gang:quantum=20ms     12.34         -  2",
            "",
        ];
        assert_eq!(table().text(80), expected.join("\n"));
    }

    #[test]
    fn columns_that_do_not_fit_follow_below() {
        let text = table().text(30);
        assert!(
            text.lines().all(|line| line.chars().count() <= 30),
            "{text}"
        );
        assert_eq!(text.matches("gang:quantum=20ms").count(), 2);
        let text = table().text(1);
        assert_eq!(text.matches("linux").count(), 3, "{text}");
    }
}
