//! `cargo xtask fuzz`: libFuzzer on the fuzz targets.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::{env, fs};

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::PossibleValuesParser;
use muster_tests::fuzz::{TARGETS, Target};

use crate::TaskResult;
use crate::build::{cargo, run as run_command, workspace};
use crate::packages;

/// The version of cargo-fuzz that is installed where there is none.
const CARGO_FUZZ_VERSION: &str = "0.13.2";
/// One allocation of more than this is a finding: all that muster allocates for an input is small.
const ALLOCATION_MAX_MIB: u32 = 256;
/// An input that takes longer than this is a finding.
const INPUT_SECONDS_MAX: u32 = 10;

/// Have libFuzzer look for inputs that break what parses them.
///
/// Without a target all have their turn. The corpus grows in fuzz/corpus, findings are kept in
/// fuzz/artifacts. Installs cargo-fuzz if it is missing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  cargo xtask fuzz --seconds 300\n  \
    cargo xtask fuzz block_request\n  \
    cargo xtask fuzz block_request --input fuzz/artifacts/block_request/crash-...")]
pub struct FuzzArgs {
    /// The target.
    #[arg(value_parser = PossibleValuesParser::new(TARGETS.map(|target| target.name)))]
    target: Option<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 60, value_name = "N")]
    seconds: u32,
    /// Run the target on this input only.
    #[arg(
        long,
        value_name = "FILE",
        requires = "target",
        conflicts_with = "seconds"
    )]
    input: Option<PathBuf>,
}

/// Runs the task.
pub fn run(args: &FuzzArgs) -> TaskResult {
    prepare()?;
    let is_wanted = |target: &&Target| args.target.as_ref().is_none_or(|name| name == target.name);
    for target in TARGETS.iter().filter(is_wanted) {
        fuzz(target, args)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Installs what is missing. Outside of the workspace, whose settings are not meant for it.
fn prepare() -> Result<()> {
    packages::ensure_installed(&[packages::CXX])?;
    let version = cargo().args(["fuzz", "--version"]).output();
    if version.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    eprintln!("xtask: installing cargo-fuzz");
    let mut install = cargo();
    install.args([
        "install",
        "cargo-fuzz",
        "--locked",
        "--version",
        CARGO_FUZZ_VERSION,
    ]);
    install.current_dir(env::temp_dir());
    run_command(&mut install, "installing cargo-fuzz")
}

fn fuzz(target: &Target, args: &FuzzArgs) -> Result<()> {
    let corpus = workspace().join("fuzz/corpus").join(target.name);
    fs::create_dir_all(&corpus).with_context(|| format!("cannot create {}", corpus.display()))?;
    for (index, seed) in (target.seeds)().iter().enumerate() {
        let path = corpus.join(format!("seed-{index}"));
        fs::write(&path, seed).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut command = cargo_fuzz(target);
    match &args.input {
        Some(input) => {
            let input = input.canonicalize();
            command
                .arg(input.context("cannot find the input")?)
                .arg("--");
        }
        None => {
            command
                .arg(corpus)
                .arg("--")
                .arg(format!("-max_total_time={}", args.seconds));
        }
    }
    command.arg(format!("-timeout={INPUT_SECONDS_MAX}"));
    command.arg(format!("-malloc_limit_mb={ALLOCATION_MAX_MIB}"));
    run_command(&mut command, &format!("fuzzing {}", target.name))
}

/// `cargo fuzz run` of one target.
fn cargo_fuzz(target: &Target) -> Command {
    let mut command = cargo();
    command.args(["fuzz", "run", "--fuzz-dir", "fuzz", target.name]);
    // Sanitizers are unstable. Any compiler has them, but has to be told that this is known.
    command.env("RUSTC_BOOTSTRAP", "1");
    command
}
