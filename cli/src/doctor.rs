//! `muster doctor`: what this host can do, and what to do about the rest.

use std::env;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use muster_node::enforcement::AGENT_PRIORITY;
use muster_node::{Enforcement, Permits};
use muster_vmm::host::{self, Area, Fact, Guests, HostReport, Status};

const AFTER_HELP: &str = "\
Looks at KVM, devices, scheduling limits, control groups, memory and the kernel, and prints one line
of advice for everything that is not as it should be. Changes nothing and needs no privileges.

Examples:
  muster doctor
  muster doctor --json | jq -r '.facts[] | select(.status != \"ok\") | .advice'

Exit status:
  0  guests can run here, at least bare-metal ones
  1  no guest can run here";

/// Options of `muster doctor`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct DoctorArgs {
    /// Print JSON for programs (its form: docs/doctor.md)
    #[arg(long)]
    json: bool,
}

/// Runs the command. The exit status is 1 if no guest can run on this host.
pub fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let mut report = host::survey();
    add_ways(&mut report.facts, Permits::probe());
    let mut text = if args.json {
        serde_json::to_string_pretty(&report).context("cannot write the report as JSON")?
    } else {
        let colours = io::stdout().is_terminal()
            && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Page {
            report: &report,
            colours,
        }
        .to_string()
    };
    text.push('\n');
    match io::stdout().write_all(text.as_bytes()) {
        // `muster doctor | head` is no fault.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.context("cannot print the report")?,
    }
    Ok(match report.guests {
        Guests::All | Guests::BareMetal => ExitCode::SUCCESS,
        Guests::None => ExitCode::FAILURE,
    })
}

/// Adds what `muster node` would take, which its own code decides, to the facts of its area.
fn add_ways(facts: &mut Vec<Fact>, permits: Permits) {
    let area = Area::Scheduling;
    let last = facts.iter().rposition(|fact| fact.area == area);
    facts.insert(last.map_or(facts.len(), |last| last + 1), ways(permits));
}

fn ways(permits: Permits) -> Fact {
    let fact = |status, summary, advice| Fact {
        id: "node-manager",
        area: Area::Scheduling,
        status,
        summary,
        advice,
    };
    let way = permits.best();
    let (others, refused): (Vec<_>, Vec<_>) = Enforcement::ALL
        .into_iter()
        .filter(|other| *other != way.enforcement)
        .partition(|other| permits.choose(Some(*other)).is_ok());
    let names = |ways: Vec<Enforcement>| {
        ways.iter()
            .map(|way| way.name())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut summary = format!("{way}; on request {}", names(others));
    if !refused.is_empty() {
        summary.push_str(&format!("; not {}", names(refused)));
    }
    match way.shortfall() {
        None => fact(Status::Ok, summary, None),
        Some(reason) => {
            let advice = format!(
                "{reason}: allow real-time priority {AGENT_PRIORITY} as said at real-time, or run \
                 `muster node` as root"
            );
            fact(Status::Warning, summary, Some(advice))
        }
    }
}

/// A report, for people.
struct Page<'a> {
    report: &'a HostReport,
    colours: bool,
}

/// SGR parameters of the terminal.
#[derive(Clone, Copy)]
enum Style {
    Bold,
    Red,
    Green,
    Yellow,
}

impl Page<'_> {
    fn paint(&self, style: Style, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let code = match style {
            Style::Bold => 1,
            Style::Red => 31,
            Style::Green => 32,
            Style::Yellow => 33,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// The status, padded to the width of the longest.
    fn status(&self, status: Status) -> String {
        match status {
            Status::Ok => self.paint(Style::Green, "ok     "),
            Status::Warning => self.paint(Style::Yellow, "warning"),
            Status::Problem => self.paint(Style::Red, "problem"),
        }
    }

    fn verdict(&self) -> String {
        match self.report.guests {
            Guests::All => self.paint(Style::Green, "This host runs Linux guests."),
            Guests::BareMetal => self.paint(
                Style::Yellow,
                "This host runs bare-metal guests, but no stock Linux kernel.",
            ),
            Guests::None => self.paint(
                Style::Red,
                "This host runs no guests until the problem is solved.",
            ),
        }
    }
}

impl fmt::Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = &self.report.facts;
        let width = facts.iter().map(|fact| fact.id.len()).max().unwrap_or(0);
        let mut area = None;
        for Fact {
            id,
            area: own,
            status,
            summary,
            advice,
        } in facts
        {
            if area.replace(*own) != Some(*own) {
                writeln!(f, "{}", self.paint(Style::Bold, heading(*own)))?;
            }
            writeln!(f, "  {}  {id:width$}  {summary}", self.status(*status))?;
            if let Some(advice) = advice {
                writeln!(f, "  {:7}  {:width$}  -> {advice}", "", "")?;
            }
        }
        let warnings = facts
            .iter()
            .filter(|fact| fact.status == Status::Warning)
            .count();
        let mut tally = String::new();
        match warnings {
            0 => {}
            1 => tally.push_str(" 1 warning."),
            _ => write!(tally, " {warnings} warnings.")?,
        }
        write!(f, "\n{}{tally}", self.verdict())
    }
}

fn heading(area: Area) -> &'static str {
    match area {
        Area::Kvm => "KVM",
        Area::Devices => "Devices",
        Area::Scheduling => "Scheduling",
        Area::Cgroups => "Control groups",
        Area::Memory => "Memory",
        Area::System => "System",
    }
}

#[cfg(test)]
mod tests;
