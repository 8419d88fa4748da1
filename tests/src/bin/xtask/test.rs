//! `cargo xtask test`: everything that has to hold before a change is taken.

use std::ffi::OsString;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;
use std::{env, io};

use anyhow::{Context, Result};
use clap::Args;
use muster_vmm::host::{Guests, survey};

use crate::build::{self, cargo};
use crate::{TaskResult, exit_code, images, packages};

/// The version of cargo-nextest that is installed where there is none.
const NEXTEST_VERSION: &str = "0.9.143";

/// Format, lints, documentation, and all tests: unit, bare-metal guests on /dev/kvm, and Linux
/// guests on hardware KVM or in the lab host.
///
/// What is missing is installed first. With MUSTER_REQUIRE_KVM=1 a missing /dev/kvm is a failure.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  cargo xtask test\n  cargo xtask test -- -E 'test(disk)'")]
pub struct TestArgs {
    /// Run the long forms of the tests that have one.
    #[arg(long)]
    long: bool,
    /// Arguments for `cargo nextest run`.
    #[arg(last = true, value_name = "NEXTEST")]
    nextest: Vec<OsString>,
}

/// Runs the task. Its output ends in the test runner's summary.
pub fn run(args: &TestArgs) -> TaskResult {
    packages::ensure_installed(&packages::FOR_TESTS)?;
    ensure_nextest()?;
    step("format", cargo().args(["fmt", "--all", "--check"]))?;
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    step("lints", cargo().args(clippy))?;
    check_bench_guest()?;
    let documentation = ["doc", "--workspace", "--no-deps", "--locked"];
    step(
        "documentation",
        cargo()
            .args(documentation)
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    step(
        "examples in the documentation",
        cargo().args(["test", "--workspace", "--doc", "--locked"]),
    )?;
    announce("images");
    images::prepare()?;
    tell_about_kvm();
    announce("tests");
    let mut nextest = cargo();
    nextest.args(["nextest", "run", "--workspace", "--locked"]);
    if args.long {
        nextest.args(["--profile", "long"]).env("MUSTER_LONG", "1");
    }
    nextest.args(&args.nextest);
    let status = nextest.status().context("cannot start cargo-nextest")?;
    Ok(status.code().map_or(ExitCode::FAILURE, exit_code))
}

/// The benchmark guest is no member of the workspace, and cargo reads its configuration only from its
/// own directory. That it runs is tested with the rest.
fn check_bench_guest() -> Result<()> {
    let cargo_there = || {
        let mut command = cargo();
        command.current_dir(build::workspace().join("guest-images/bench-guest"));
        command
    };
    let clippy = [
        "clippy",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    step(
        "format of the benchmark guest",
        cargo_there().args(["fmt", "--check"]),
    )?;
    step("lints of the benchmark guest", cargo_there().args(clippy))?;
    step(
        "tests of the benchmark guest",
        cargo_there().args(["test", "--quiet", "--locked"]),
    )
}

fn announce(name: &str) {
    eprintln!("xtask: {name}");
}

fn step(name: &str, command: &mut Command) -> Result<()> {
    announce(name);
    let start = Instant::now();
    build::run(command, name)?;
    eprintln!("xtask: {name}: fine after {:.0?}", start.elapsed());
    Ok(())
}

/// Builds cargo-nextest where it is missing. Outside of the workspace, whose settings are not meant
/// for it.
fn ensure_nextest() -> Result<()> {
    let mut version = cargo();
    version
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if version.status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    announce("installing cargo-nextest, which takes some minutes");
    let mut install = cargo();
    install.args([
        "install",
        "cargo-nextest",
        "--locked",
        "--version",
        NEXTEST_VERSION,
    ]);
    // Without the parts that update it and that talk to services.
    install.args(["--no-default-features", "--features", "default-no-update"]);
    install.current_dir(env::temp_dir()).stdout(io::stderr());
    build::run(&mut install, "installing cargo-nextest")
}

/// Says, where nobody can miss it, which tests cannot run for real here.
fn tell_about_kvm() {
    match survey().guests {
        Guests::All => {}
        Guests::BareMetal => {
            eprintln!(
                "xtask: /dev/kvm has no hardware behind it: Linux guests run in the lab host"
            );
        }
        Guests::None => eprintln!(
            "xtask: NO USABLE /dev/kvm: tests of bare-metal guests are SKIPPED, Linux guests run in \
             the lab host"
        ),
    }
}
