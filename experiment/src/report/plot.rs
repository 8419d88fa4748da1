//! Charts of all rounds: a lane per row, a dot per round.

use std::fmt::Write as _;

use muster_scheduler::sim::svg::{Drawing, escape, text_width};

use super::NamedDrawing;
use crate::figures::figure;
use crate::results::Results;
use crate::spec::{ALONE, Row};

const WIDTH: u32 = 1100;
const PITCH: u32 = 38;
const TOP: u32 = 58;
/// Room for the median's figure behind the lanes.
const RIGHT: u32 = 90;
/// Values that are further apart than this are drawn on a logarithmic scale.
const LINEAR_MAX: f64 = 20.0;
/// Room for nothing at all, which no logarithmic scale has.
const ZERO_WIDTH: f64 = 36.0;

/// A chart per metric that has values.
pub(super) fn plots(results: &Results) -> Vec<NamedDrawing> {
    let metrics = results.experiment.metrics.iter().enumerate();
    let plots = metrics.filter_map(|(index, metric)| {
        let title = format!("{} ({})", metric.name, metric.unit);
        let drawing = plot(results, index, &title)?;
        Some((format!("rounds-{}.svg", index + 1), drawing))
    });
    plots.collect()
}

/// From values to places.
struct Axis {
    start: f64,
    length: f64,
    low: f64,
    high: f64,
    is_log: bool,
    has_zero: bool,
}

impl Axis {
    fn new(values: &[f64], start: f64, length: f64) -> Option<Self> {
        let high = values.iter().copied().reduce(f64::max)?;
        let positive = values.iter().copied().filter(|value| *value > 0.0);
        let low = positive.reduce(f64::min).unwrap_or(1.0);
        let is_log = high / low > LINEAR_MAX;
        let has_zero = is_log && values.contains(&0.0);
        let (low, high) = if is_log {
            let decade = |value: f64| value.log10();
            (
                10_f64.powf(decade(low).floor()),
                10_f64.powf(decade(high).ceil()),
            )
        } else {
            (0.0, if high > 0.0 { high * 1.05 } else { 1.0 })
        };
        let zero = if has_zero { ZERO_WIDTH } else { 0.0 };
        Some(Self {
            start: start + zero,
            length: length - zero,
            low,
            high,
            is_log,
            has_zero,
        })
    }

    fn x(&self, value: f64) -> f64 {
        if !self.is_log {
            return self.start + (value - self.low) / (self.high - self.low) * self.length;
        }
        if value <= 0.0 {
            return self.start - ZERO_WIDTH / 2.0;
        }
        let part = (value / self.low).ln() / (self.high / self.low).ln();
        self.start + part.clamp(0.0, 1.0) * self.length
    }

    /// Values that are worth a line.
    fn ticks(&self) -> Vec<f64> {
        if !self.is_log {
            let rough = self.high / 6.0;
            let power = 10_f64.powf(rough.log10().floor());
            let steps = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power);
            let step = steps.into_iter().find(|step| *step >= rough);
            let step = step.unwrap_or(rough);
            let ticks = (0..=8).map(|number| f64::from(number) * step);
            return ticks.filter(|tick| *tick <= self.high).collect();
        }
        let decades = (self.high / self.low).log10().round() as i32;
        let every = (decades / 8 + 1) as usize;
        let zero = self.has_zero.then_some(0.0);
        let powers = (0..=decades).map(|decade| self.low * 10_f64.powi(decade));
        zero.into_iter().chain(powers.step_by(every)).collect()
    }
}

fn colour(row: &Row) -> &'static str {
    match row {
        row if row.is_baseline => "#8a8a86",
        row if row.label == ALONE => "#009e73",
        _ => "#0072b2",
    }
}

fn plot(results: &Results, metric: usize, title: &str) -> Option<Drawing> {
    let rows = &results.experiment.rows;
    let values = |row: &Row| -> Vec<f64> {
        let rounds = results.rounds.iter();
        let rounds = rounds.filter(|round| round.counts && round.row == row.label);
        rounds.filter_map(|round| round.values[metric]).collect()
    };
    let all: Vec<f64> = rows.iter().flat_map(values).collect();
    let names = rows.iter().map(|row| text_width(&row.label, 13));
    let left = names.max().unwrap_or(0).min(420) + 36;
    let axis = Axis::new(&all, f64::from(left), f64::from(WIDTH - left - RIGHT))?;
    let bottom = TOP + PITCH * rows.len() as u32;
    let height = bottom + 34;
    let mut body = format!("<rect class=\"bg\" width=\"{WIDTH}\" height=\"{height}\"/>\n");
    text(
        &mut body,
        "ink",
        (12.0, 26),
        "font-size=\"15\" font-weight=\"600\"",
        title,
    );
    let scale = if axis.is_log {
        ", logarithmic scale"
    } else {
        ""
    };
    let legend = format!("a dot per round; line: median, bar: 5th to 95th percentile{scale}");
    text(&mut body, "faint", (12.0, 44), "font-size=\"12\"", &legend);
    for tick in axis.ticks() {
        let x = axis.x(tick);
        let _ = writeln!(
            body,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>"
        );
        let style = "font-size=\"12\" text-anchor=\"middle\"";
        text(&mut body, "faint", (x, bottom + 18), style, &figure(tick));
    }
    for (index, row) in rows.iter().enumerate() {
        let top = TOP + PITCH * index as u32;
        let summary = results.rows[index].values[metric];
        lane(&mut body, &axis, row, &values(row), top);
        if let Some(summary) = summary {
            spread(
                &mut body,
                &axis,
                (summary.p5, summary.median, summary.p95),
                colour(row),
                top,
            );
            let place = (f64::from(WIDTH - RIGHT + 12), top + 23);
            text(
                &mut body,
                "ink",
                place,
                "font-size=\"13\"",
                &figure(summary.median),
            );
        }
        let style = "font-size=\"13\" text-anchor=\"end\"";
        text(
            &mut body,
            "ink",
            (f64::from(left - 12), top + 23),
            style,
            &row.label,
        );
    }
    Some(Drawing {
        width: WIDTH,
        height,
        body,
        title: format!("{title}: all rounds by schedule"),
    })
}

/// The dots, spread out so that none hides another.
fn lane(out: &mut String, axis: &Axis, row: &Row, values: &[f64], top: u32) {
    for (number, value) in values.iter().enumerate() {
        let (x, y) = (axis.x(*value), top + 10 + (number as u32 * 7) % 18);
        let _ = writeln!(
            out,
            "<circle cx=\"{x:.1}\" cy=\"{y}\" r=\"3.4\" fill=\"{}\" fill-opacity=\"0.65\"/>",
            colour(row)
        );
    }
}

fn spread(
    out: &mut String,
    axis: &Axis,
    (p5, median, p95): (f64, f64, f64),
    colour: &str,
    top: u32,
) {
    let (from, to) = (axis.x(p5), axis.x(p95));
    let (bar, width) = (top + 16, (to - from).max(1.0));
    let _ = writeln!(
        out,
        "<rect x=\"{from:.1}\" y=\"{bar}\" width=\"{width:.1}\" height=\"6\" fill=\"{colour}\" \
         fill-opacity=\"0.35\"/>"
    );
    let (x, y1, y2) = (axis.x(median), top + 6, top + 32);
    let _ = writeln!(
        out,
        "<line class=\"slot\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y1}\" y2=\"{y2}\" stroke-width=\"2\"/>"
    );
}

fn text(out: &mut String, class: &str, (x, y): (f64, u32), style: &str, content: &str) {
    let content = escape(content);
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y}\" {style}>{content}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_place_on_either_scale() {
        let linear = Axis::new(&[0.0, 5.0, 10.0], 100.0, 1000.0).unwrap();
        assert!(!linear.is_log && linear.ticks().len() > 3);
        assert_eq!(linear.x(0.0), 100.0);
        let log = Axis::new(&[3.0, 4_000.0], 100.0, 1000.0).unwrap();
        assert!(log.is_log && !log.has_zero);
        assert_eq!((log.x(1.0), log.x(10_000.0)), (100.0, 1100.0));
        assert_eq!(log.ticks().len(), 5);
        let zero = Axis::new(&[0.0, 1.0, 1e9], 100.0, 1000.0).unwrap();
        assert!(zero.x(0.0) > 100.0 && zero.x(0.0) < zero.x(1.0));
        assert_eq!(zero.ticks()[0], 0.0);
        assert!(Axis::new(&[], 0.0, 1.0).is_none());
        assert!(Axis::new(&[0.0], 0.0, 100.0).unwrap().x(0.0).is_finite());
    }

    #[test]
    fn a_row_has_its_dots_and_its_median() {
        let results = crate::results::tests::example();
        let plots = plots(&results);
        // Nothing was measured of the second metric.
        assert_eq!(plots.len(), 1);
        let body = &plots[0].1.body;
        assert_eq!(body.matches("<circle").count(), 6);
        assert!(
            body.contains("gang:quantum=20ms") && body.contains(">17.0k<"),
            "{body}"
        );
    }
}
