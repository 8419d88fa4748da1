//! Pages on the scenarios that come with muster.
//!
//! A page holds what a person gets from `muster sim sched NAME`: the table that it prints and the charts
//! that it draws, made by running it. The prose is the scenario's own.

mod crossover;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use muster_scheduler::sim::Scenario;
use muster_scheduler::sim::shipped::Shipped;
use serde_json::Value;

/// Where the pages are, in the workspace.
pub const DIR: &str = "docs/results/sched";

/// A scenario that was run.
#[derive(Debug)]
pub struct Ran {
    scenario: Scenario,
    table: String,
    report: Value,
    /// By file name.
    charts: BTreeMap<String, String>,
}

impl Ran {
    /// Runs a scenario with this muster.
    pub fn new(muster: &Path, shipped: &Shipped) -> Result<Self> {
        let scenario = Scenario::parse(shipped.text)
            .with_context(|| format!("the scenario {} is wrong", shipped.name))?;
        let dir = tempfile::tempdir()?;
        let (charts, json) = (dir.path().join("charts"), dir.path().join("report.json"));
        let output = Command::new(muster)
            .args(["sim", "sched", shipped.name, "--svg"])
            .arg(&charts)
            .arg("--json")
            .arg(&json)
            .output()
            .with_context(|| format!("cannot run {}", muster.display()))?;
        ensure!(
            output.status.success(),
            "muster sim sched {} failed: {}",
            shipped.name,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let charts = fs::read_dir(&charts)?.map(|entry| {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            Ok((name, fs::read_to_string(entry.path())?))
        });
        // One seed's chart is much like another's.
        let is_shown = |chart: &Result<(String, String)>| {
            !chart.as_ref().is_ok_and(|(name, _)| name.contains("seed-"))
        };
        Ok(Self {
            scenario,
            table: String::from_utf8(output.stdout)?,
            report: serde_json::from_str(&fs::read_to_string(&json)?)?,
            charts: charts.filter(is_shown).collect::<Result<_>>()?,
        })
    }

    /// Its page and charts, by file name.
    pub fn files(&self) -> BTreeMap<String, String> {
        let mut files = self.charts.clone();
        files.insert(self.page_name(), self.page());
        files
    }

    fn page_name(&self) -> String {
        format!("{}.md", self.scenario.name)
    }

    fn page(&self) -> String {
        let name = &self.scenario.name;
        let mut page = format!(
            "# {name}\n\n{}\n\n\
             Made by `cargo xtask results` from [the scenario](../../../scheduler/scenarios/{name}.toml); what \
             the columns mean is in [simulator.md](../../simulator.md). `muster sim sched {name}` prints:\n\n\
             ```text\n{}```\n\nWith `--svg` it draws:\n",
            self.scenario.about.trim(),
            self.table
        );
        for chart in self.policies().filter_map(|policy| self.chart_of(policy)) {
            page.push_str(&format!("\n![{chart}]({chart})\n"));
        }
        page
    }

    /// In the order of the table.
    fn policies(&self) -> impl Iterator<Item = &str> {
        let rows = self.report["policies"].as_array().into_iter().flatten();
        rows.filter_map(|row| row["policy"].as_str())
    }

    fn chart_of(&self, policy: &str) -> Option<&String> {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let policy: String = policy.chars().map(plain).collect();
        let name = format!("{}.{policy}.svg", self.scenario.name);
        self.charts.get_key_value(&name).map(|(name, _)| name)
    }

    /// Operations of all VMs under a policy.
    fn ops(&self, policy: &str) -> Option<u64> {
        let mut rows = self.report["policies"].as_array()?.iter();
        let row = rows.find(|row| row["policy"] == policy)?;
        let vms = row["vms"].as_array()?.iter();
        vms.map(|vm| vm["ops"].as_u64()).sum()
    }
}

/// A page that leads to all others, and what is drawn from several scenarios.
pub fn overview(all: &[Ran]) -> Result<BTreeMap<String, String>> {
    let mut page = "# What the scheduler's policies do in simulation\n\n\
         Every scenario that comes with muster (`muster sim sched --list`), each with what it shows, its source, and \
         the tolerance within which a test holds it to that (`scheduler/tests/reproduces/`). Made by \
         `cargo xtask results`.\n\n"
        .to_owned();
    for ran in all {
        let name = &ran.scenario.name;
        let first = ran.scenario.about.trim().split("\n\n").next();
        let words: Vec<&str> = first.unwrap_or_default().split_whitespace().collect();
        page.push_str(&format!("- [{name}]({name}.md): {}\n", words.join(" ")));
    }
    page.push_str(
        "\n## Grain of synchronisation\n\n\
         Two VMs with 16 vCPUs on 16 CPUs, all vCPUs of a VM meeting at barriers: the part of the barriers that \
         both would pass alone in their share of the time, over the computing between two barriers. Linux is the \
         median of five seeds where vCPUs spin. Gangs that spin do not care for the grain; spinning without gangs \
         is hopeless below the scheduler's slice; blocking is as good as gangs once the grain is long beside what \
         a switch costs. From the barriers-* scenarios.\n\n\
         ![efficiency over grain](crossover.svg)\n",
    );
    Ok(BTreeMap::from([
        ("README.md".to_owned(), page),
        ("crossover.svg".to_owned(), crossover::draw(all)?),
    ]))
}
