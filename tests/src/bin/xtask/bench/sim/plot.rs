//! A plot of how costs grow.

use std::fmt::Write;

use muster_scheduler::sim::palette;
use muster_scheduler::sim::svg::{Drawing, escape};

/// A line of the plot.
pub struct Series {
    /// What it is called in the legend.
    pub name: &'static str,
    /// vCPUs and nanoseconds.
    pub points: Vec<(f64, f64)>,
}

const LEFT: f64 = 70.0;
const TOP: f64 = 40.0;
const PLOT: (f64, f64) = (560.0, 340.0);
const LEGEND: f64 = 170.0;

/// Both axes are logarithmic: a straight line that climbs one decade per decade is linear growth.
pub fn draw(series: &[Series], target_ns: f64) -> String {
    let points = || series.iter().flat_map(|line| &line.points);
    let range = |value: fn(&(f64, f64)) -> f64| {
        let values = points().map(value);
        values.fold((f64::MAX, 0.0_f64), |(low, high), value| {
            (low.min(value), high.max(value))
        })
    };
    let (x_low, x_high) = range(|point| point.0);
    let (y_low, y_high) = range(|point| point.1);
    let (y_low, y_high) = (y_low.min(target_ns) / 1.3, y_high.max(target_ns) * 1.3);
    let x = |value: f64| LEFT + PLOT.0 * (value / x_low).ln() / (x_high / x_low).ln();
    let y = |value: f64| TOP + PLOT.1 * (1.0 - (value / y_low).ln() / (y_high / y_low).ln());
    let (right, bottom) = (LEFT + PLOT.0, TOP + PLOT.1);
    let title = "Cost of a decision on 64 CPUs";
    let (width, height) = ((right + LEGEND) as u32, (bottom + 60.0) as u32);
    let mut body = format!(
        "<rect class=\"bg\" width=\"{width}\" height=\"{height}\"/>\n\
         <text class=\"ink\" x=\"{LEFT}\" y=\"22\" font-size=\"15\">{title}</text>\n"
    );
    let mut put = |line: String| {
        let _ = writeln!(body, "{line}");
    };
    for &(vcpus, _) in &series[0].points {
        put(format!(
            "<line class=\"grid\" x1=\"{0:.1}\" y1=\"{TOP}\" x2=\"{0:.1}\" y2=\"{bottom}\"/>\
             <text class=\"faint\" x=\"{0:.1}\" y=\"{1}\" font-size=\"12\" text-anchor=\"middle\">{vcpus}</text>",
            x(vcpus),
            bottom + 18.0
        ));
    }
    for ns in [100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5] {
        if (y_low..=y_high).contains(&ns) {
            put(format!(
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{0:.1}\" x2=\"{right}\" y2=\"{0:.1}\"/>\
                 <text class=\"faint\" x=\"{1}\" y=\"{2:.1}\" font-size=\"12\" text-anchor=\"end\">{ns} ns</text>",
                y(ns),
                LEFT - 6.0,
                y(ns) + 4.0
            ));
        }
    }
    put(format!(
        "<line class=\"mark\" x1=\"{LEFT}\" y1=\"{0:.1}\" x2=\"{right}\" y2=\"{0:.1}\" stroke-dasharray=\"6 4\"/>\
         <text class=\"marktext\" x=\"{1}\" y=\"{2:.1}\" font-size=\"12\">target</text>\
         <text class=\"faint\" x=\"{3}\" y=\"{4}\" font-size=\"12\" text-anchor=\"middle\">vCPUs</text>",
        y(target_ns),
        LEFT + 4.0,
        y(target_ns) - 5.0,
        LEFT + PLOT.0 / 2.0,
        bottom + 40.0
    ));
    for (index, line) in series.iter().enumerate() {
        let colour = palette::colour(index as u32);
        // Colours repeat after a while; dashes tell the second round from the first.
        let dashes = if index < 8 {
            ""
        } else {
            " stroke-dasharray=\"3 3\""
        };
        let path: Vec<String> = line
            .points
            .iter()
            .map(|&(vcpus, ns)| format!("{:.1},{:.1}", x(vcpus), y(ns)))
            .collect();
        let legend = TOP + 18.0 * index as f64 + 6.0;
        put(format!(
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes} points=\"{}\"/>\
             <line x1=\"{1}\" y1=\"{legend}\" x2=\"{2}\" y2=\"{legend}\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>\
             <text class=\"ink\" x=\"{3}\" y=\"{4}\" font-size=\"12\">{5}</text>",
            path.join(" "),
            right + 12.0,
            right + 32.0,
            right + 38.0,
            legend + 4.0,
            escape(line.name)
        ));
    }
    let title = title.to_owned();
    Drawing {
        width,
        height,
        body,
        title,
    }
    .element()
}
