//! `cargo xtask results`: pages on the shipped scenarios, in `docs/results/sched/`.

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use muster_scheduler::sim::shipped::SHIPPED;
use muster_tests::sched_pages::{self, Ran};

use crate::build::workspace;
use crate::{TaskResult, build};

/// Simulate every scenario that comes with muster, and write what comes out.
///
/// Makes docs/results/sched/ anew: a page per scenario, with the table that `muster sim sched` prints and
/// the charts that it draws. The same program writes the same files again.
#[derive(Debug, Args)]
pub struct ResultsArgs {}

/// Runs the task.
pub fn run(_: &ResultsArgs) -> TaskResult {
    let muster = build::programs()?.join("muster");
    let mut files = BTreeMap::new();
    let mut all = Vec::new();
    for shipped in SHIPPED {
        eprintln!("xtask: {}", shipped.name);
        let ran = Ran::new(&muster, shipped)?;
        files.extend(ran.files());
        all.push(ran);
    }
    files.extend(sched_pages::overview(&all)?);
    replace(&files)?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the directory hold these files and no others.
fn replace(files: &BTreeMap<String, String>) -> Result<()> {
    let dir = workspace().join(sched_pages::DIR);
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for entry in fs::read_dir(&dir)? {
        let entry = entry?;
        if entry
            .file_name()
            .to_str()
            .is_none_or(|name| !files.contains_key(name))
        {
            fs::remove_file(entry.path())?;
        }
    }
    for (name, content) in files {
        let path = dir.join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
