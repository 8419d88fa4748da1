//! A report as a page: tables, charts of the measures, and each policy's lanes.
//!
//! One file that needs nothing else: no script, no font, no network. Light or dark as the reader's
//! system is.

use std::fmt::Write as _;

use super::report::{PolicyRow, Report, number, percent, ratio, short_time};
use super::svg::{Drawing, escape, text_width};
use super::table::Table;
use crate::params::format_duration;

/// How the program's pages look.
pub const STYLE: &str = "\
:root{color-scheme:light dark;--bg:#fff;--ink:#1a1a1a;--faint:#666;--line:#ddd}\
@media(prefers-color-scheme:dark){:root{--bg:#16181c;--ink:#ececec;--faint:#a5a5a5;--line:#3a3f47}}\
body{margin:2rem auto;max-width:76rem;padding:0 1rem;background:var(--bg);color:var(--ink);\
font:16px/1.5 system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif}\
h1{font-size:1.6rem;margin-bottom:0}h2{font-size:1.2rem;margin-top:2.2rem}p.facts{color:var(--faint);margin-top:0}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}\
th,td{padding:.3rem .7rem;text-align:right;border-bottom:1px solid var(--line)}\
th:first-child,td:first-child{text-align:left}th{vertical-align:bottom}td{white-space:nowrap}\
.wide{overflow-x:auto}svg{max-width:100%;height:auto}dt{font-weight:600}dd{margin:0 0 .4rem 1.2rem;color:var(--faint)}";

/// What the columns mean, for readers who see the page only.
const GLOSSARY: [(&str, &str); 9] = [
    (
        "speed-up",
        "geometric mean, over the VMs, of throughput against the baseline",
    ),
    (
        "useful, spin, refill, switch",
        "parts of all CPU time: getting on with work, spinning for others, filling caches, scheduling",
    ),
    (
        "holes",
        "CPU time that was idle, or held for a halted vCPU, while some vCPU waited ready",
    ),
    (
        "holders stopped",
        "how often a vCPU was stopped while it held a lock",
    ),
    (
        "skew max",
        "the largest lead of a vCPU over its slowest runnable sibling",
    ),
    (
        "wake",
        "time from becoming runnable to running: median and 99th percentile",
    ),
    ("moves", "how often a vCPU went to another CPU"),
    (
        "fairness",
        "Jain's index over CPU time as a part of what each VM is entitled to; 1 is fair",
    ),
    (
        "against the baseline",
        "the same VMs with the same random draws, under another policy",
    ),
];

/// The page. `lanes` are the policies' charts, in the order of the report's rows.
pub fn page(report: &Report, about: &str, lanes: &[Drawing]) -> String {
    let name = escape(&report.scenario);
    let facts = format!(
        "{} CPUs, {}, seed {}; baseline {}",
        report.cpus,
        format_duration(report.duration_ns),
        report.seed,
        report.policies[0].policy
    );
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{name}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>\n<p class=\"facts\">{}</p>\n",
        escape(&facts)
    );
    if !about.is_empty() {
        let _ = writeln!(out, "<p>{}</p>", escape(about));
    }
    out.push_str("<h2>Policies</h2>\n");
    table(&mut out, &report.measures());
    out.push_str("<h2>Throughput and where the time went</h2>\n");
    for drawing in charts(report) {
        out.push_str(&drawing.element());
    }
    if !report.policies[0].vms.is_empty() {
        out.push_str("<h2>Operations per second</h2>\n");
        table(&mut out, &report.throughputs());
    }
    if !lanes.is_empty() {
        out.push_str("<h2>Who was on which CPU</h2>\n");
    }
    for drawing in lanes {
        out.push_str(&drawing.element());
    }
    out.push_str("<h2>What the columns mean</h2>\n<dl>\n");
    for (term, meaning) in GLOSSARY {
        let _ = writeln!(out, "<dt>{term}</dt><dd>{}</dd>", escape(meaning));
    }
    out.push_str("</dl>\n</body>\n</html>\n");
    out
}

/// Writes a table.
pub fn table(out: &mut String, table: &Table) {
    let row = |out: &mut String, cells: &[String], tag: &str| {
        out.push_str("<tr>");
        for cell in cells {
            let cell = escape(cell);
            let cell = match tag {
                // Heads are policies that may be long: they break between their parts.
                "th" => cell.replace(',', ",<wbr>").replace('+', "+<wbr>"),
                _ => cell,
            };
            let _ = write!(out, "<{tag}>{cell}</{tag}>");
        }
        out.push_str("</tr>\n");
    };
    out.push_str("<div class=\"wide\"><table>\n");
    row(out, table.heads(), "th");
    for cells in table.rows() {
        row(out, cells, "td");
    }
    out.push_str("</table></div>\n");
}

/// A bar: its policy, its parts with their colours, and what is written behind it.
struct Bar<'a> {
    name: &'a str,
    parts: Vec<(f64, &'static str)>,
    value: String,
}

/// Colours of the parts of time, as in the lanes' patterns: only these six have one of their own.
const PARTS: [(&str, &str); 6] = [
    ("useful", "#0072b2"),
    ("spin", "#e69f00"),
    ("refill", "#cc79a7"),
    ("switch", "#56b4e9"),
    ("stolen", "#d55e00"),
    ("held or idle", "#b8b8b2"),
];

fn charts(report: &Report) -> Vec<Drawing> {
    let bars = |value: fn(&PolicyRow) -> Option<(f64, String)>| {
        let bar = |row| {
            let (value, text) = value(row)?;
            Some(Bar {
                name: &row.policy,
                parts: vec![(value, PARTS[0].1)],
                value: text,
            })
        };
        report.policies.iter().filter_map(bar).collect::<Vec<_>>()
    };
    let times = report.policies.iter().map(|row| Bar {
        name: &row.policy,
        parts: time_parts(row),
        value: format!("{} useful", percent(row.useful)),
    });
    let mut charts = vec![bar_chart(
        "Where the CPUs' time went",
        &times.collect::<Vec<_>>(),
        true,
    )];
    for (title, value) in [
        (
            "Speed-up against the baseline",
            (|row| row.speed_up.map(|value| (value, ratio(value)))) as fn(&PolicyRow) -> _,
        ),
        ("Wake-up latency, 99th percentile", |row| {
            row.wake_p99_ns.map(|time| (time as f64, short_time(time)))
        }),
        ("Lock holders stopped", |row| {
            let count = row.holder_preemptions as f64;
            Some((count, number(count)))
        }),
    ] {
        let bars = bars(value);
        if bars.iter().any(|bar| bar.parts[0].0 > 0.0) {
            charts.push(bar_chart(title, &bars, false));
        }
    }
    charts
}

fn time_parts(row: &PolicyRow) -> Vec<(f64, &'static str)> {
    let values = [
        row.useful,
        row.spinning,
        row.refilling,
        row.switching,
        row.stolen,
        row.held + row.idle,
    ];
    values
        .into_iter()
        .zip(PARTS.map(|(_, colour)| colour))
        .collect()
}

/// Bars below each other, to one scale.
fn bar_chart(title: &str, bars: &[Bar], legend: bool) -> Drawing {
    const WIDTH: u32 = 1100;
    const PITCH: u32 = 30;
    let names = bars.iter().map(|bar| text_width(bar.name, 13));
    let left = names.max().unwrap_or(0).min(420) + 24;
    let length = f64::from(WIDTH - left - 110);
    let whole = |bar: &Bar| bar.parts.iter().map(|(part, _)| part).sum::<f64>();
    let longest = bars.iter().map(whole).fold(f64::MIN_POSITIVE, f64::max);
    let mut body = format!(
        "<text class=\"ink\" x=\"12\" y=\"24\" font-size=\"15\" font-weight=\"600\">{}</text>\n",
        escape(title)
    );
    let mut y = 40;
    for bar in bars {
        let (name_x, text_y) = (left - 10, y + 17);
        let _ = writeln!(
            body,
            "<text class=\"ink\" x=\"{name_x}\" y=\"{text_y}\" font-size=\"13\" text-anchor=\"end\">{}</text>",
            escape(bar.name)
        );
        let mut x = f64::from(left);
        for (part, colour) in &bar.parts {
            let width = part / longest * length;
            let _ = writeln!(
                body,
                "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"22\" fill=\"{colour}\"/>"
            );
            x += width;
        }
        let _ = writeln!(
            body,
            "<text class=\"ink\" x=\"{:.1}\" y=\"{text_y}\" font-size=\"13\">{}</text>",
            x + 8.0,
            escape(&bar.value)
        );
        y += PITCH;
    }
    if legend {
        let mut x = left;
        for (name, colour) in PARTS {
            let (top, text_y) = (y + 4, y + 16);
            let _ = writeln!(
                body,
                "<rect x=\"{x}\" y=\"{top}\" width=\"16\" height=\"14\" fill=\"{colour}\"/>\
                 <text class=\"ink\" x=\"{}\" y=\"{text_y}\" font-size=\"12\">{name}</text>",
                x + 21
            );
            x += 21 + text_width(name, 12) + 20;
        }
        y += 26;
    }
    Drawing {
        width: WIDTH,
        height: y + 14,
        body,
        title: title.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MS;
    use crate::sim::example;
    use crate::sim::gantt::{GanttSpec, Window, gantt};

    fn example_page() -> String {
        let mut linux = example::gangs();
        linux.policy = "linux".to_owned();
        linux.vms[0].name = "<b>".to_owned();
        linux.vms[0].ops = 100;
        linux.vms[0].holder_preemptions = 7;
        linux.vms[1].wake_latencies_ns = vec![MS];
        let mut gang = linux.clone();
        gang.policy = "gang:quantum=10ms".to_owned();
        gang.vms[0].ops = 250;
        let window = Window {
            from_ns: 0,
            to_ns: 60 * MS,
        };
        let charts = [&linux, &gang]
            .into_iter()
            .enumerate()
            .map(|(number, recording)| {
                let spec = GanttSpec { window, number };
                gantt(recording, &spec)
            });
        let charts: Vec<Drawing> = charts.collect();
        page(&Report::new(&[linux, gang]), "It is a <test>.", &charts)
    }

    #[test]
    fn a_page_needs_nothing_else_and_shows_everything() {
        let page = example_page();
        for word in [
            "linux (baseline)",
            "2.50x",
            "It is a &lt;test&gt;.",
            "Lock holders stopped",
            "slot 3",
            "prefers-color-scheme:dark",
        ] {
            assert!(page.contains(word), "no {word}");
        }
        // Nothing is fetched: the only addresses are names of XML.
        let addresses = page.matches("http").count();
        assert_eq!(
            addresses,
            page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count()
        );
        assert!(!page.contains("<script") && !page.contains("<b>") && !page.contains("<link"));
    }

    /// Patterns are found by name across a page, so no two charts may share one.
    #[test]
    fn no_name_is_defined_twice() {
        let page = example_page();
        let mut names: Vec<&str> = page
            .split(" id=\"")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap())
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert!(count > 4);
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_measure_that_is_zero_everywhere_has_no_chart() {
        let report = Report::new(&[example::gangs()]);
        let titles: Vec<String> = charts(&report)
            .into_iter()
            .map(|chart| chart.title)
            .collect();
        assert_eq!(titles, ["Where the CPUs' time went"]);
    }
}
