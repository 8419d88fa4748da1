//! Times virtual machine monitors from their start to a line of their guest's init.
//!
//! Takes a [`Plan`] as JSON in its only argument and writes one [`Sample`] a line, as JSON, to
//! standard output. It runs in the lab, where `xtask bench boot` puts it; there, with time counted in
//! instructions, its nanoseconds are instructions.

use std::env;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use muster_tests::boot_timing::{Contender, Plan, Sample};

/// What a failing contender said last.
const SHOWN_LEN: usize = 2000;

fn main() -> Result<()> {
    let plan = env::args().nth(1).context("usage: boot-timer PLAN")?;
    let plan: Plan = serde_json::from_str(&plan).context("the plan is not valid")?;
    // Interleaved, so that nothing that changes over time favours one of them.
    for _ in 0..plan.rounds {
        for contender in &plan.contenders {
            let time = time(contender, plan.marker.as_bytes())
                .with_context(|| format!("{} did not boot its guest", contender.name))?;
            let nanoseconds = u64::try_from(time.as_nanos())?;
            let sample = Sample {
                name: contender.name.clone(),
                nanoseconds,
            };
            println!("{}", serde_json::to_string(&sample)?);
            io::stdout().flush()?;
        }
    }
    Ok(())
}

/// Runs the contender until its output has the marker in it.
fn time(contender: &Contender, marker: &[u8]) -> Result<Duration> {
    let (program, arguments) = contender.argv.split_first().context("no program")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let start = Instant::now();
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let mut output = child.stdout.take().context("no standard output")?;
    let mut heard = Vec::new();
    let mut bytes = [0; 4096];
    let time = loop {
        let len = output.read(&mut bytes)?;
        let now = start.elapsed();
        if len == 0 {
            break None;
        }
        heard.extend_from_slice(&bytes[..len]);
        if heard.windows(marker.len()).any(|window| window == marker) {
            break Some(now);
        }
    };
    child.kill()?;
    let status = child.wait()?;
    let Some(time) = time else {
        let end = &heard[heard.len().saturating_sub(SHOWN_LEN)..];
        bail!(
            "it ended with {status} and said: {}",
            String::from_utf8_lossy(end)
        );
    };
    Ok(time)
}
