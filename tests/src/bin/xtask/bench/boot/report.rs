//! The benchmark's answer: a table for people, all figures for programs.

use anyhow::{Context, Result, ensure};
use muster_tests::boot_timing::{Contender, Sample};
use serde_json::{Value, json};

use super::contenders::{self, MEMORY_MIB, REFERENCE};
use crate::bench::table::Table;

/// Everyone's boots.
#[derive(Debug)]
pub struct Figures {
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

impl Figures {
    /// Sorts the samples by contender. Each of them must have some.
    pub fn new(contenders: &[Contender], samples: &[Sample]) -> Result<Self> {
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
            rows,
        })
    }

    /// Millions of instructions, and the median as a multiple of the reference's.
    pub fn table(&self) -> Table {
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
}

/// Figures from before this benchmark was part of the product. Its command does not repeat them.
const EARLIER: &str = "\
## Other monitors, earlier

Measured the same way earlier: Firecracker 1553 M and Cloud Hypervisor 1565 M, for the same kernel
package's `vmlinux`, the same kind of initramfs and the usual command line. These are not from the
run above, and `cargo xtask bench boot` does not repeat them.
";

/// `docs/results/boot.md`.
pub fn page(figures: &Figures, rounds: u32, kernel: &str, qemu: &str) -> String {
    let usual = contenders::usual_line();
    let muster = contenders::muster_line();
    format!(
        "# Boot time\n\n\
         Instructions from the start of the monitor to the first line of its guest's init, in\n\
         millions, by `cargo xtask bench boot --rounds {rounds}`:\n\n\
         {table}\n\
         They are counted in the lab host, on one processor, where an instruction takes a nanosecond\n\
         and waiting counts as well: instructions of the monitor, of KVM and of the guest, not time on\n\
         a real machine. The last column relates medians.\n\n\
         Everyone boots Debian's Linux {kernel} as an ELF file, with BusyBox in an\n\
         uncompressed initramfs, 1 vCPU and {MEMORY_MIB} MiB of memory. Peer: {qemu}.\n\
         All figures and the monitors' arguments are in [boot.json](boot.json).\n\n\
         Two command lines, so that the table tells what the words do from what the monitor does:\n\n\
         - the usual one: `{usual}`\n\
         - muster's, its default words and the same ones: `{muster}`.\n\
         \x20 Without `cryptomgr.notests` this kernel tests its ciphers at every boot.\n\n\
         {EARLIER}",
        table = figures.table(),
    )
}

/// `docs/results/boot.json`.
pub fn record(figures: &Figures, kernel: &str, qemu: &str) -> Value {
    let rows = figures.rows.iter().map(|row| {
        json!({
            "monitor": row.contender.name,
            "command": row.contender.argv,
            "instructions": row.instructions,
        })
    });
    json!({
        "kernel": kernel,
        "memory_mib": MEMORY_MIB,
        "qemu": qemu,
        "monitors": rows.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(boots: &[(&str, u64)]) -> Result<Figures> {
        let samples: Vec<Sample> = boots
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
        Figures::new(&contenders, &samples)
    }

    #[test]
    fn ratios_relate_medians() {
        let boots = [
            (REFERENCE, 9_000_000),
            ("other", 2_000_000),
            (REFERENCE, 4_000_000),
            ("other", 1_000_000),
            (REFERENCE, 3_600_000),
            ("other", 8_000_000),
        ];
        let table = figures(&boots).unwrap().table().to_string();
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
        let error = figures(&[(REFERENCE, 1)]).unwrap_err();
        assert_eq!(error.to_string(), "other has no figures");
    }
}
