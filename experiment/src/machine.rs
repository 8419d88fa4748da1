//! The machine on which an experiment was run.

use std::fs;

use muster_vmm::host;
use serde::Serialize;

/// What a reader has to know of it to compare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: Option<String>,
    /// How many CPUs are online.
    pub cpus: usize,
    /// Last-level caches.
    pub last_level_caches: usize,
    /// The most hardware threads of a core.
    pub threads_per_core: usize,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// Ticks per second of the kernel, if its configuration can be read.
    pub hz: Option<u32>,
    /// What stands behind `/dev/kvm`.
    pub kvm: String,
    /// The machine is itself a virtual one.
    pub nested: bool,
    /// Every session has a share of its own, so that classes mean nothing between them.
    pub autogroup: bool,
    /// How schedules are enforced.
    pub enforcement: String,
    /// muster's version.
    pub muster: String,
}

impl Machine {
    /// Looks at this one.
    pub fn survey(enforcement: &str) -> Self {
        let report = host::survey();
        let config = report.kernel.as_deref().and_then(|kernel| {
            let path = format!("/boot/config-{kernel}");
            fs::read_to_string(path).ok()
        });
        let kvm = serde_json::to_value(report.kvm.kind);
        Self {
            cpu: report.cpus.model,
            cpus: report.cpus.online,
            last_level_caches: report.cpus.last_level_caches,
            threads_per_core: report.cpus.threads_per_core,
            kernel: report.kernel,
            hz: config.as_deref().and_then(hz),
            kvm: kvm
                .ok()
                .and_then(|kind| kind.as_str().map(str::to_owned))
                .unwrap_or_else(|| "unknown".to_owned()),
            nested: report.kvm.nested,
            autogroup: report.scheduling.autogroup,
            enforcement: enforcement.to_owned(),
            muster: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// In one line.
    pub fn summary(&self) -> String {
        let unknown = || "unknown".to_owned();
        let plural = if self.cpus == 1 { "" } else { "s" };
        let mut parts = vec![
            self.cpu.clone().unwrap_or_else(unknown),
            format!("{} CPU{plural}", self.cpus),
            format!("Linux {}", self.kernel.clone().unwrap_or_else(unknown)),
            self.hz
                .map_or("HZ unknown".to_owned(), |hz| format!("HZ {hz}")),
            format!("KVM: {}", self.kvm),
        ];
        if self.nested {
            parts.push("itself a virtual machine".to_owned());
        }
        parts.push(format!("schedules enforced by {}", self.enforcement));
        parts.push(format!("muster {}", self.muster));
        parts.join(", ")
    }
}

/// From the kernel's configuration.
fn hz(config: &str) -> Option<u32> {
    let mut lines = config.lines();
    lines.find_map(|line| line.strip_prefix("CONFIG_HZ=")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tick_is_read_from_the_configuration() {
        let config = "# CONFIG_HZ_100 is not set\nCONFIG_HZ_250=y\nCONFIG_HZ=250\n";
        assert_eq!(hz(config), Some(250));
        assert_eq!(hz("CONFIG_HZ=fast"), None);
    }

    #[test]
    fn every_machine_has_a_description() {
        let machine = Machine::survey("gate");
        assert!(machine.cpus > 0);
        let summary = machine.summary();
        assert!(
            summary.contains("KVM: ") && summary.contains("by gate"),
            "{summary}"
        );
    }
}
