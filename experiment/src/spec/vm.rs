//! The VMs of an experiment.

use std::path::PathBuf;

use muster_scheduler::sim::ScenarioError;
use muster_scheduler::sim::fields::Fields;
use muster_scheduler::vm::{WEIGHT_DEFAULT, WEIGHT_MAX};
use muster_scheduler::{Nanos, SECOND};
use muster_vmm::node_link::is_name;

use crate::workload::Workload;

/// The most vCPUs of a VM.
const VCPUS_MAX: u32 = 64;
/// The least and the most memory of a VM.
const MEMORY_MIN: u64 = 64 << 20;
const MEMORY_MAX: u64 = 64 << 30;
const TEXT_MAX: usize = 2000;

/// A VM: `[[vm]]`.
#[derive(Debug, Clone)]
pub struct VmSpec {
    /// Its name; must be there.
    pub name: String,
    /// 1 to 64, default 1.
    pub vcpus: u32,
    /// `memory`, such as `"64MiB"`, which is the default.
    pub memory_bytes: u64,
    /// Its share beside others; default 256.
    pub weight: u32,
    /// The most CPU time, in percent of a CPU: `cap`; default no limit.
    pub cap_percent: Option<u32>,
    /// What runs in it.
    pub guest: Guest,
}

/// What runs in a VM.
#[derive(Debug, Clone)]
pub enum Guest {
    /// The benchmark guest: `workload`.
    Bench(Workload),
    /// Any kernel: `kernel`.
    Kernel {
        /// The file.
        kernel: PathBuf,
        /// `initrd`.
        initrd: Option<PathBuf>,
        /// `cmdline`: words behind the default ones.
        cmdline: String,
        /// How long it takes until it is measured: `boot`, default 30s.
        boot_ns: Nanos,
    },
}

impl VmSpec {
    pub(super) fn read(mut fields: Fields, others: &[Self]) -> Result<Self, ScenarioError> {
        let name = fields.label("name")?;
        let name = fields.required("name", name, "a name")?;
        if !is_name(&name) {
            let expected = "up to 63 letters, digits, -, _ and .";
            return Err(fields.bad("name", format!("{name:?}"), expected));
        }
        if others.iter().any(|vm| vm.name == name) {
            return Err(fields.bad("name", format!("{name:?}"), "a name of its own"));
        }
        let vcpus = fields.count("vcpus", 1..=VCPUS_MAX, 1)?;
        let memory_bytes = match fields.bytes("memory")? {
            0 => MEMORY_MIN,
            bytes => bytes,
        };
        if !(MEMORY_MIN..=MEMORY_MAX).contains(&memory_bytes) {
            let expected = "a size from 64MiB to 64GiB";
            return Err(fields.bad("memory", memory_bytes, expected));
        }
        let cap = fields.number("cap", 1..=100 * u64::from(VCPUS_MAX))?;
        let vm = Self {
            name,
            vcpus,
            memory_bytes,
            weight: fields.count("weight", 1..=WEIGHT_MAX, WEIGHT_DEFAULT)?,
            cap_percent: cap.map(|cap| cap as u32),
            guest: Guest::read(&mut fields)?,
        };
        fields.finish().map(|()| vm)
    }
}

impl Guest {
    fn read(fields: &mut Fields) -> Result<Self, ScenarioError> {
        let words = line(fields, "workload")?;
        let kernel = line(fields, "kernel")?;
        match (words, kernel) {
            (Some(words), None) => words.parse().map(Self::Bench).map_err(|error| {
                let message = format!("{words:?}: {error}");
                let field = fields.name("workload");
                ScenarioError::Meaning { field, message }
            }),
            (None, Some(kernel)) => {
                let initrd = line(fields, "initrd")?;
                Ok(Self::Kernel {
                    kernel: kernel.into(),
                    initrd: initrd.map(Into::into),
                    cmdline: line(fields, "cmdline")?.unwrap_or_default(),
                    boot_ns: super::bounded(fields, "boot", 30 * SECOND, 0, 600 * SECOND)?,
                })
            }
            (None, None) => fields.required(
                "workload",
                None,
                "what the benchmark guest does, such as \"barrier spin grain=100us\", or a kernel",
            ),
            (Some(_), Some(kernel)) => {
                let expected = "either workload or kernel";
                Err(fields.bad("kernel", format!("{kernel:?}"), expected))
            }
        }
    }
}

/// A text in one line that fits a command line.
fn line(fields: &mut Fields, key: &'static str) -> Result<Option<String>, ScenarioError> {
    let text = fields.label(key)?;
    match text {
        Some(text) if text.len() > TEXT_MAX => {
            let expected = format!("at most {TEXT_MAX} bytes");
            Err(fields.bad(key, format!("a text of {}", text.len()), expected))
        }
        text => Ok(text),
    }
}
