//! The host itself: kernel and processors.

use super::cpus::CpuReport;
use super::fact::{Area, Fact};
use super::files::HostFiles;

/// The oldest kernel that muster is tested with.
const KERNEL_TESTED: (u32, u32) = (6, 1);

/// The kernel's release, as `uname -r` prints it.
pub(super) fn kernel_release(files: &HostFiles) -> Option<String> {
    files.text("/proc/sys/kernel/osrelease")
}

pub(super) fn facts(files: &HostFiles, cpus: &CpuReport) -> Vec<Fact> {
    let mut summary = cpus.summary();
    if let Some(model) = &cpus.model {
        summary = format!("{model}: {summary}");
    }
    vec![kernel(files), Fact::ok(Area::System, "processors", summary)]
}

fn kernel(files: &HostFiles) -> Fact {
    const ID: &str = "kernel";
    let Some(release) = kernel_release(files) else {
        return Fact::ok(Area::System, ID, "its version is hidden");
    };
    let summary = format!("Linux {release}");
    match version(&release) {
        Some(version) if version < KERNEL_TESTED => Fact::warning(
            Area::System,
            ID,
            format!("{summary}, older than what muster is tested with"),
            format!(
                "boot Linux {}.{} or later",
                KERNEL_TESTED.0, KERNEL_TESTED.1
            ),
        ),
        _ => Fact::ok(Area::System, ID, summary),
    }
}

/// The first two numbers of a release such as `6.1.0-18-cloud-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}
