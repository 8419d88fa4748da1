//! The line that the guest prints at its end: one JSON object.

use core::fmt::{self, Write};
use core::sync::atomic::Ordering;

use muster_guest_page::VcpuRecord;

/// What the line says besides the records.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The command line.
    pub cmdline: &'a str,
    /// From the start of the workers to the end.
    pub elapsed_ns: u64,
    /// Rate of the time stamp counter.
    pub tsc_khz: u32,
    /// Rounds of the computing loop in a millisecond.
    pub loops_per_ms: u64,
    /// Whether the host shares the records.
    pub page: bool,
    /// What the lock protected.
    pub protected: u64,
}

impl Report<'_> {
    /// Writes the line. Histograms that are empty are left out.
    pub fn write<'r>(
        &self,
        out: &mut impl Write,
        records: impl Iterator<Item = &'r VcpuRecord>,
    ) -> fmt::Result {
        out.write_str("{\"cmdline\":\"")?;
        for c in self.cmdline.chars() {
            match c {
                '"' | '\\' => write!(out, "\\{c}")?,
                c if c.is_control() => out.write_char(' ')?,
                c => out.write_char(c)?,
            }
        }
        write!(
            out,
            "\",\"elapsed_ns\":{},\"tsc_khz\":{},\"loops_per_ms\":{},\"page\":{},\"protected\":{},\"vcpus\":[",
            self.elapsed_ns, self.tsc_khz, self.loops_per_ms, self.page, self.protected
        )?;
        for (index, record) in records.enumerate() {
            if index > 0 {
                out.write_char(',')?;
            }
            out.write_str("{\"counters\":")?;
            numbers(
                out,
                record.counters.iter().map(|n| n.load(Ordering::Relaxed)),
            )?;
            if record
                .histogram
                .iter()
                .any(|n| n.load(Ordering::Relaxed) != 0)
            {
                out.write_str(",\"histogram\":")?;
                numbers(
                    out,
                    record.histogram.iter().map(|n| n.load(Ordering::Relaxed)),
                )?;
            }
            out.write_char('}')?;
        }
        out.write_str("]}\n")
    }
}

fn numbers(out: &mut impl Write, values: impl Iterator<Item = u64>) -> fmt::Result {
    for (index, value) in values.enumerate() {
        out.write_char(if index == 0 { '[' } else { ',' })?;
        write!(out, "{value}")?;
    }
    out.write_char(']')
}
