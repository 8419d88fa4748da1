//! The benchmark's answer: a table per kernel for people, all figures for programs.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use muster_tests::boot_timing::{Contender, Sample};
use serde_json::{Value, json};

use super::contenders::{self, MEMORY_MIB, REFERENCE};
use crate::bench::table::Table;

/// A kernel to boot.
#[derive(Debug)]
pub struct BootedKernel {
    /// As a heading.
    pub title: &'static str,
    /// Where it comes from, in sentences.
    pub about: &'static str,
    /// Its release, as in `uname -r`.
    pub release: String,
    /// Its ELF file on this host.
    pub vmlinux: PathBuf,
}

/// One kernel's boots.
#[derive(Debug)]
pub struct Series {
    kernel: BootedKernel,
    rows: Vec<Row>,
    /// Instructions of the median boot of the reference.
    reference: u64,
}

/// One contender's boots.
#[derive(Debug)]
struct Row {
    contender: Contender,
    /// Sorted.
    instructions: Vec<u64>,
}

impl Row {
    fn best(&self) -> u64 {
        self.instructions[0]
    }

    fn median(&self) -> u64 {
        self.instructions[self.instructions.len() / 2]
    }

    fn worst(&self) -> u64 {
        self.instructions[self.instructions.len() - 1]
    }
}

impl Series {
    /// Sorts the samples by contender. Each of them must have some.
    pub fn new(kernel: BootedKernel, contenders: &[Contender], samples: &[Sample]) -> Result<Self> {
        let mut rows = Vec::new();
        for contender in contenders {
            let own = samples
                .iter()
                .filter(|sample| sample.name == contender.name);
            let mut instructions: Vec<u64> = own.map(|sample| sample.nanoseconds).collect();
            ensure!(
                !instructions.is_empty(),
                "{} has no figures",
                contender.name
            );
            instructions.sort_unstable();
            rows.push(Row {
                contender: contender.clone(),
                instructions,
            });
        }
        let is_reference = |row: &&Row| row.contender.name == REFERENCE;
        let reference = rows.iter().find(is_reference);
        let reference = reference.context("the reference did not take part")?;
        Ok(Self {
            reference: reference.median(),
            kernel,
            rows,
        })
    }

    /// The figures in millions, and the median as a multiple of the reference's.
    fn table(&self) -> Table {
        let ratio_head = format!("to {REFERENCE}");
        let mut table = Table::new(&["monitor", "best", "median", "worst", &ratio_head]);
        let millions = |number: u64| format!("{} M", (number + 500_000) / 1_000_000);
        for row in &self.rows {
            let ratio = row.median() as f64 / self.reference as f64;
            table.row(vec![
                row.contender.name.clone(),
                millions(row.best()),
                millions(row.median()),
                millions(row.worst()),
                format!("{ratio:.2}"),
            ]);
        }
        table
    }

    /// Heading, explanation and table.
    pub fn section(&self) -> String {
        let kernel = &self.kernel;
        let (title, release, about) = (kernel.title, &kernel.release, kernel.about);
        format!("## {title}\n\nLinux {release}. {about}\n\n{}", self.table())
    }

    fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "monitor": row.contender.name,
                "command": row.contender.argv,
                "instructions": row.instructions,
            })
        });
        json!({
            "kernel": self.kernel.title,
            "release": self.kernel.release,
            "monitors": rows.collect::<Vec<_>>(),
        })
    }
}

/// Figures from before this benchmark was part of the product. Its command does not repeat them.
const EARLIER: &str = "\
## Other monitors, earlier

Measured the same way earlier: Firecracker 1553 M and Cloud Hypervisor 1565 M, for the `vmlinux` of
Debian's kernel, the same kind of initramfs and the usual command line. They are not from the run above
and `cargo xtask bench boot` does not repeat them.
";

/// `docs/results/boot.md`.
pub fn page(all: &[Series], rounds: u32, qemu: &str) -> String {
    let mut page = format!(
        "# Boot time\n\n\
         Instructions from the start of the monitor to the first line of its guest's init, measured by \
         `cargo xtask bench boot`, {rounds} rounds. They are counted in the lab host, on one processor, \
         where one instruction takes one nanosecond and waiting counts as well: instructions of the \
         monitor, of KVM and of the guest, not time on a real machine.\n\n\
         Guests have 1 vCPU, {MEMORY_MIB} MiB of memory, and BusyBox in an uncompressed initramfs. The \
         last column relates medians. Peer: {qemu}. All figures, and the monitors' arguments, are in \
         [boot.json](boot.json).\n\n\
         The usual command line is `{usual}`, muster's is `{muster}`. With both for both monitors, the \
         tables tell what the words do from what the monitor does.\n",
        usual = contenders::usual_line(),
        muster = contenders::muster_line(),
    );
    for series in all {
        page.push('\n');
        page.push_str(&series.section());
    }
    page.push('\n');
    page.push_str(EARLIER);
    page
}

/// `docs/results/boot.json`.
pub fn record(all: &[Series], qemu: &str) -> Value {
    json!({
        "memory_mib": MEMORY_MIB,
        "qemu": qemu,
        "kernels": all.iter().map(Series::json).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(figures: &[(&str, u64)]) -> Result<Series> {
        let samples: Vec<Sample> = figures
            .iter()
            .map(|&(name, nanoseconds)| Sample {
                name: name.to_owned(),
                nanoseconds,
            })
            .collect();
        let contenders = [REFERENCE, "other"].map(|name| Contender {
            name: name.to_owned(),
            argv: Vec::new(),
        });
        let kernel = BootedKernel {
            title: "A kernel",
            about: "",
            release: String::new(),
            vmlinux: PathBuf::new(),
        };
        Series::new(kernel, &contenders, &samples)
    }

    #[test]
    fn ratios_relate_medians() {
        let figures = [
            (REFERENCE, 9_000_000),
            ("other", 2_000_000),
            (REFERENCE, 4_000_000),
            ("other", 1_000_000),
            (REFERENCE, 3_600_000),
            ("other", 8_000_000),
        ];
        let table = series(&figures).unwrap().table().to_string();
        let rows: Vec<Vec<&str>> = table
            .lines()
            .skip(2)
            .map(|line| line.split('|').map(str::trim).collect())
            .collect();
        assert_eq!(rows[0][1..6], [REFERENCE, "4 M", "4 M", "9 M", "1.00"]);
        assert_eq!(rows[1][1..6], ["other", "1 M", "2 M", "8 M", "0.50"]);
    }

    #[test]
    fn nobody_is_left_out_silently() {
        let error = series(&[(REFERENCE, 1)]).unwrap_err();
        assert_eq!(error.to_string(), "other has no figures");
    }
}
