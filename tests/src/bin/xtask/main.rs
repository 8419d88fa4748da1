//! `cargo xtask`: what developers run.

mod bench;
mod build;
mod demo;
mod excerpt;
mod fuzz;
mod images;
mod lab;
mod packages;
mod results;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Developers' commands: everything beyond `cargo build`.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Bench(bench::BenchArgs),
    Demo(demo::DemoArgs),
    Fuzz(fuzz::FuzzArgs),
    Images(images::ImagesArgs),
    Lab(lab::LabArgs),
    Results(results::ResultsArgs),
    Test(test::TestArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Task::Bench(args) => bench::run(&args),
        Task::Demo(args) => demo::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Images(args) => images::run(&args),
        Task::Lab(args) => lab::run(&args),
        Task::Results(args) => results::run(&args),
        Task::Test(args) => test::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// An exit status as this process's own.
fn exit_code(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX))
}

/// What all tasks give: the status to exit with.
type TaskResult = Result<ExitCode>;
