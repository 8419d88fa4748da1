//! Memory: how much there is, and in pages of which size.

use serde::Serialize;

use super::fact::{Area, Fact};
use super::files::HostFiles;

const THP: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
const POOLS: &str = "/sys/kernel/mm/hugepages";

/// Less available memory than this leaves no room for a guest of common size.
const LOW_MEMORY_BYTES: u64 = 256 << 20;

/// Pages of one size that the host keeps in reserve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HugePagePool {
    /// Size of a page.
    pub page_bytes: u64,
    /// Pages in the pool.
    pub total: u64,
    /// Pages that nobody uses.
    pub free: u64,
}

/// Memory, for programs.
#[derive(Debug, Clone, Serialize)]
pub struct MemoryReport {
    /// All of the host's memory.
    pub total_bytes: Option<u64>,
    /// What programs can still get without swapping.
    pub available_bytes: Option<u64>,
    /// Transparent huge pages: `always`, `madvise` or `never`.
    pub transparent_huge_pages: Option<String>,
    /// Reserved huge pages, by size.
    pub huge_page_pools: Vec<HugePagePool>,
}

impl MemoryReport {
    pub(super) fn read(files: &HostFiles) -> Self {
        let meminfo = files.text("/proc/meminfo").unwrap_or_default();
        let kib = |name: &str| {
            let line = meminfo
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        };
        Self {
            total_bytes: kib("MemTotal").map(|kib| kib * 1024),
            available_bytes: kib("MemAvailable").map(|kib| kib * 1024),
            transparent_huge_pages: files.text(THP).and_then(|modes| selected(&modes)),
            huge_page_pools: pools(files),
        }
    }
}

/// The chosen one of `always [madvise] never`.
fn selected(modes: &str) -> Option<String> {
    let (_, rest) = modes.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

fn pools(files: &HostFiles) -> Vec<HugePagePool> {
    let pool = |name: String| {
        let size = name.strip_prefix("hugepages-")?.strip_suffix("kB")?;
        let count = |what: &str| files.number(&format!("{POOLS}/{name}/{what}"));
        Some(HugePagePool {
            page_bytes: size.parse::<u64>().ok()? * 1024,
            total: count("nr_hugepages")?.try_into().ok()?,
            free: count("free_hugepages")?.try_into().ok()?,
        })
    };
    let mut pools: Vec<HugePagePool> = files.names(POOLS).into_iter().filter_map(pool).collect();
    pools.sort_by_key(|pool| pool.page_bytes);
    pools
}

pub(super) fn facts(report: &MemoryReport) -> Vec<Fact> {
    vec![memory(report), transparent(report), reserved(report)]
}

fn memory(report: &MemoryReport) -> Fact {
    const ID: &str = "memory";
    let (Some(total), Some(available)) = (report.total_bytes, report.available_bytes) else {
        return Fact::ok(Area::Memory, ID, "not told by this kernel");
    };
    let summary = format!("{} of {} available", size(available), size(total));
    if available < LOW_MEMORY_BYTES {
        return Fact::warning(
            Area::Memory,
            ID,
            summary,
            "see `ps -eo rss,comm --sort=-rss | head` for who has it",
        );
    }
    Fact::ok(Area::Memory, ID, summary)
}

fn transparent(report: &MemoryReport) -> Fact {
    const ID: &str = "transparent-huge-pages";
    match report.transparent_huge_pages.as_deref() {
        Some("never") => Fact::warning(
            Area::Memory,
            ID,
            "never: guests' memory accesses are slower",
            format!("`echo madvise | sudo tee {THP}`"),
        ),
        Some(mode) => Fact::ok(Area::Memory, ID, mode),
        None => Fact::ok(Area::Memory, ID, "none in this kernel"),
    }
}

fn reserved(report: &MemoryReport) -> Fact {
    let pools: Vec<String> = report
        .huge_page_pools
        .iter()
        .filter(|pool| pool.total > 0)
        .map(|pool| {
            format!(
                "{} of {} x {} free",
                pool.free,
                pool.total,
                size(pool.page_bytes)
            )
        })
        .collect();
    let summary = if pools.is_empty() {
        "none".to_owned()
    } else {
        pools.join(", ")
    };
    Fact::ok(Area::Memory, "reserved-huge-pages", summary)
}

/// A size for people: `23.4 GiB`, `2 MiB`.
fn size(bytes: u64) -> String {
    let (unit, name) = if bytes >= 1 << 30 {
        (1 << 30, "GiB")
    } else {
        (1 << 20, "MiB")
    };
    let tenths = bytes / (unit / 10);
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole} {name}"),
        (whole, tenth) => format!("{whole}.{tenth} {name}"),
    }
}
