//! A run: what is known before the workers start, their start, and the report at the end.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bench_guest::config::{Config, Workload};
use bench_guest::report::Report;
use core::sync::atomic::AtomicU64;
use muster_guest_page::VCPUS_MAX;

use crate::calibration;
use crate::cell::Once;
use crate::console::{self, refuse};
use crate::cpu;
use crate::memory::BootParams;
use crate::records::Records;
use crate::worker::{Line, Worker};
use crate::workload;

/// What all workers know.
pub struct Run {
    /// The command line, understood.
    pub config: Config,
    /// How many vCPUs there are.
    pub cpus: u32,
    /// The records.
    pub records: Records,
    /// RAM for the workloads.
    pub ram: &'static [AtomicU64],
    /// Rate of the time stamp counter.
    pub tsc_khz: u32,
    /// Speed of the computing loop.
    pub loops_per_ms: u64,
    /// The command line.
    cmdline: &'static str,
}

impl Run {
    /// Cycles of the time stamp counter in so many nanoseconds.
    pub fn cycles(&self, ns: u64) -> u64 {
        (u128::from(ns) * u128::from(self.tsc_khz) / 1_000_000) as u64
    }

    /// Nanoseconds in so many cycles.
    pub fn ns(&self, cycles: u64) -> u64 {
        (u128::from(cycles) * 1_000_000 / u128::from(self.tsc_khz)) as u64
    }

    /// Rounds of the computing loop that take so long undisturbed.
    pub fn loops(&self, ns: u64) -> u64 {
        (u128::from(ns) * u128::from(self.loops_per_ms) / 1_000_000) as u64
    }
}

static RUN: Once<Run> = Once::new();
/// When the workers start and when they end, by the time stamp counter.
static BEGIN: Once<(u64, u64)> = Once::new();
/// Set when the time is over.
pub static OVER: AtomicBool = AtomicBool::new(false);
/// Workers that have ended, the first aside.
static ENDED: AtomicU32 = AtomicU32::new(0);
/// The words by which workers halt.
pub static ASLEEP: [Line<AtomicU32>; VCPUS_MAX] = [const { Line(AtomicU32::new(0)) }; VCPUS_MAX];

/// Reads the command line and finds out all that a run needs.
pub fn prepare(boot_params: u64, cpus: u32) {
    let params = BootParams::at(boot_params);
    let Some(cmdline) = params.cmdline() else {
        refuse(format_args!("the command line is not text"));
    };
    let config = match Config::parse(cmdline) {
        Ok(config) => config,
        Err(error) => refuse(format_args!("{error}")),
    };
    if !(1..=VCPUS_MAX as u32).contains(&cpus) {
        refuse(format_args!("{cpus} vCPUs; it runs with 1 to {VCPUS_MAX}"));
    }
    let records = Records::find();
    let host = records.header().tsc_khz.load(Ordering::Relaxed);
    let Some(tsc_khz) = config.tsc_khz.or((host != 0).then_some(host)) else {
        refuse(format_args!(
            "the host does not say how fast the time stamp counter is; give tsc_khz="
        ));
    };
    let ram = params.free_ram();
    let have_kib = size_of_val(ram) as u64 >> 10;
    if let Workload::Compute { set_kib } = config.workload
        && set_kib * u64::from(cpus) > have_kib
    {
        refuse(format_args!(
            "set={set_kib}K for each of {cpus} vCPUs: {have_kib} KiB are free; give the guest more memory"
        ));
    }
    RUN.set(Run {
        config,
        cpus,
        records,
        ram,
        tsc_khz,
        loops_per_ms: calibration::loops_per_ms(tsc_khz),
        cmdline,
    });
}

/// The first vCPU's worker, and the end of the guest.
pub fn lead() -> ! {
    let run = RUN.wait();
    let begin = cpu::tsc();
    let end = run
        .config
        .duration_ns
        .map_or(u64::MAX, |ns| begin.saturating_add(run.cycles(ns)));
    BEGIN.set((begin, end));
    workload::run(&Worker::new(run, 0, end));
    let elapsed_ns = run.ns(cpu::tsc() - begin);
    while ENDED.load(Ordering::SeqCst) < run.cpus - 1 {
        core::hint::spin_loop();
    }
    let report = Report {
        cmdline: run.cmdline,
        elapsed_ns,
        tsc_khz: run.tsc_khz,
        loops_per_ms: run.loops_per_ms,
        page: run.records.shared,
        protected: workload::protected(),
    };
    let records = (0..run.cpus).map(|vcpu| run.records.record(vcpu));
    console::with(|mut out| report.write(&mut out, records));
    cpu::power_off(0)
}

/// Any other vCPU's worker.
pub fn follow(vcpu: u32) -> ! {
    let (_, end) = *BEGIN.wait();
    let worker = Worker::new(RUN.wait(), vcpu, end);
    workload::run(&worker);
    ENDED.fetch_add(1, Ordering::SeqCst);
    loop {
        // Nothing wakes it but the end of the guest.
        cpu::halt(&AtomicU32::new(1), 0);
    }
}
