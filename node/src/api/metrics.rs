//! A snapshot for Prometheus, in the OpenMetrics text format.
//!
//! What the manager keeps are sums and states, all in one snapshot. So nothing is registered for good:
//! every scrape fills a registry of its own, and a VM that has left is gone from the page.

use std::fmt;

use muster_scheduler::Nanos;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::snapshot::{ManagerSnapshot, Snapshot, VcpuSnapshot, VmSnapshot};

/// What the text is.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;
type Sample = (Labels, f64);

/// The whole page.
pub(super) fn text(snapshot: &Snapshot) -> String {
    let mut page = Page::default();
    page.host(snapshot);
    page.vms(&snapshot.vms);
    page.vcpus(&snapshot.vms);
    page.manager(&snapshot.manager);
    let mut registry = Registry::with_prefix("muster");
    let schedule = Info::new(vec![
        ("schedule", snapshot.schedule.clone()),
        ("enforcement", snapshot.enforcement.clone()),
    ]);
    let help = "What schedules the vCPUs, and how it is enforced";
    registry.register("schedule", help, schedule);
    registry.register_collector(Box::new(page));
    let mut text = String::new();
    encode(&mut text, &registry).expect("a text takes everything");
    text
}

fn seconds(time: Nanos) -> f64 {
    time as f64 / 1e9
}

/// Samples of one name.
#[derive(Debug)]
struct Metric {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    samples: Vec<Sample>,
}

impl Metric {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (name, unit) = match self.name.strip_suffix("_seconds") {
            Some(name) => (name, Some(&Unit::Seconds)),
            None => (self.name, None),
        };
        let help = format!("{}.", self.help);
        let mut family = encoder.encode_descriptor(name, &help, unit, self.kind)?;
        for (labels, value) in &self.samples {
            if labels.is_empty() {
                return self.encode_value(*value, family);
            }
            self.encode_value(*value, family.encode_family(labels)?)?;
        }
        Ok(())
    }

    fn encode_value(&self, value: f64, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        match self.kind {
            MetricType::Counter => ConstCounter::new(value).encode(encoder),
            _ => ConstGauge::new(value).encode(encoder),
        }
    }
}

/// All of them, in the order in which they are shown.
#[derive(Debug, Default)]
struct Page(Vec<Metric>);

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut metrics = self.0.iter();
        metrics.try_for_each(|metric| metric.encode(&mut encoder))
    }
}

impl Page {
    fn counters(
        &mut self,
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = Sample>,
    ) {
        self.add(name, help, MetricType::Counter, samples);
    }

    fn gauges(
        &mut self,
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = Sample>,
    ) {
        self.add(name, help, MetricType::Gauge, samples);
    }

    fn add(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: MetricType,
        samples: impl IntoIterator<Item = Sample>,
    ) {
        self.0.push(Metric {
            name,
            help,
            kind,
            samples: samples.into_iter().collect(),
        });
    }

    fn host(&mut self, snapshot: &Snapshot) {
        let help = "Time that the host's CPU was not given by what is below the host";
        let stolen = snapshot.cpus.iter().map(|cpu| {
            let labels = vec![("cpu", cpu.cpu.to_string())];
            (labels, seconds(cpu.stolen_ns))
        });
        self.counters("cpu_stolen_seconds", help, stolen);
    }

    fn vms(&mut self, vms: &[VmSnapshot]) {
        let each = |value: fn(&VmSnapshot) -> f64| {
            vms.iter()
                .map(move |vm| (vec![("vm", vm.name.clone())], value(vm)))
        };
        let help = "vCPUs that want to run, averaged over the last seconds";
        self.gauges("vm_runnable_vcpus", help, each(|vm| vm.load.runnable));
        let help = "CPUs that the VM would use were it alone";
        self.gauges("vm_demand_cpus", help, each(|vm| vm.load.demand_cpus));
        let help = "CPUs that the VM gets";
        self.gauges("vm_delivered_cpus", help, each(|vm| vm.load.delivered_cpus));
        let help = "The part of the time that its vCPUs want to run in which they wait";
        self.gauges("vm_steal_ratio", help, each(|vm| vm.load.steal_share));
        let help = "The VM's share beside others";
        self.gauges("vm_weight", help, each(|vm| f64::from(vm.weight)));
        let capped = vms.iter().filter_map(|vm| {
            let cpus = f64::from(vm.cap_percent?) / 100.0;
            Some((vec![("vm", vm.name.clone())], cpus))
        });
        let help = "The most CPUs that the VM may use; only VMs that have a cap";
        self.gauges("vm_cap_cpus", help, capped);
    }

    fn vcpus(&mut self, vms: &[VmSnapshot]) {
        let times = all_vcpus(vms).flat_map(|(labels, vcpu)| {
            let times = [
                ("run", vcpu.run_ns),
                ("ready", vcpu.ready_ns),
                ("co-stop", vcpu.co_stop_ns),
                ("halted", vcpu.halted_ns),
            ];
            times.map(|(state, time)| {
                let mut labels = labels.clone();
                labels.push(("state", state.to_owned()));
                (labels, seconds(time))
            })
        });
        let help = "What the vCPU's time was spent on since its VM joined";
        self.counters("vcpu_time_seconds", help, times);
        let each = |value: fn(&VcpuSnapshot) -> u64| {
            all_vcpus(vms).map(move |(labels, vcpu)| (labels, value(vcpu) as f64))
        };
        let help = "How often the vCPU was stopped while it held a lock";
        let holders = each(|vcpu| vcpu.holder_preemptions);
        self.counters("vcpu_holder_preemptions", help, holders);
        let help = "How often the vCPU was stopped";
        self.counters("vcpu_preemptions", help, each(|vcpu| vcpu.preemptions));
    }

    fn manager(&mut self, manager: &ManagerSnapshot) {
        let one = |value: f64| [(Vec::new(), value)];
        let help = "CPU time of all the node manager's threads";
        self.counters("manager_cpu_seconds", help, one(seconds(manager.cpu_ns)));
        let help = "Decisions of the policy";
        self.counters("manager_decisions", help, one(manager.decisions as f64));
        let help = "Switches carried out";
        self.counters("manager_switches", help, one(manager.switches as f64));
        let help = "vCPUs that did not stop in time";
        self.counters("manager_late_stops", help, one(manager.late_stops as f64));
        let help = "Plans of the policy that broke a rule";
        let illegal = one(manager.illegal_plans as f64);
        self.counters("manager_illegal_plans", help, illegal);
        let quantiles = |median: Nanos, p99: Nanos| {
            [("0.5", median), ("0.99", p99)].map(|(quantile, time)| {
                let labels = vec![("quantile", quantile.to_owned())];
                (labels, seconds(time))
            })
        };
        let help = "From the time a switch is planned for until the next gate is open, \
                    of the last thousand";
        let latency = quantiles(manager.switch_p50_ns, manager.switch_p99_ns);
        self.gauges("manager_switch_latency_seconds", help, latency);
        let help = "How far apart the CPUs of one row switch, of the last thousand";
        let skew = quantiles(manager.row_skew_p50_ns, manager.row_skew_p99_ns);
        self.gauges("manager_row_skew_seconds", help, skew);
    }
}

fn all_vcpus(vms: &[VmSnapshot]) -> impl Iterator<Item = (Labels, &VcpuSnapshot)> {
    vms.iter().flat_map(|vm| {
        vm.vcpus.iter().enumerate().map(|(number, vcpu)| {
            let labels = vec![("vm", vm.name.clone()), ("vcpu", number.to_string())];
            (labels, vcpu)
        })
    })
}

#[cfg(test)]
mod tests;
