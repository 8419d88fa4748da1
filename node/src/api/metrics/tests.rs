use super::*;
use crate::testing;

#[track_caller]
fn has(text: &str, line: &str) {
    assert!(
        text.lines().any(|found| found == line),
        "no {line:?} in\n{text}"
    );
}

#[test]
fn everything_is_on_the_page_with_its_unit() {
    let text = text(&testing::snapshot());
    for line in [
        "muster_schedule_info{schedule=\"gang:quantum=20ms\",enforcement=\"gate\"} 1",
        "muster_cpu_stolen_seconds_total{cpu=\"0\"} 0.005",
        "muster_vm_runnable_vcpus{vm=\"web\"} 1.5",
        "muster_vm_demand_cpus{vm=\"web\"} 1.25",
        "muster_vm_delivered_cpus{vm=\"db\"} 0.75",
        "muster_vm_steal_ratio{vm=\"db\"} 0.4",
        "muster_vm_weight{vm=\"db\"} 256.0",
        "muster_vm_cap_cpus{vm=\"web\"} 1.5",
        "muster_vcpu_time_seconds_total{vm=\"web\",vcpu=\"0\",state=\"run\"} 0.5",
        "muster_vcpu_time_seconds_total{vm=\"web\",vcpu=\"1\",state=\"run\"} 0.25",
        "muster_vcpu_time_seconds_total{vm=\"db\",vcpu=\"0\",state=\"ready\"} 0.25",
        "muster_vcpu_time_seconds_total{vm=\"web\",vcpu=\"0\",state=\"co-stop\"} 0.0",
        "muster_vcpu_time_seconds_total{vm=\"web\",vcpu=\"1\",state=\"halted\"} 0.5",
        "muster_vcpu_holder_preemptions_total{vm=\"web\",vcpu=\"1\"} 6.0",
        "muster_vcpu_preemptions_total{vm=\"db\",vcpu=\"0\"} 10.0",
        "muster_manager_cpu_seconds_total 0.002",
        "muster_manager_decisions_total 50.0",
        "muster_manager_switches_total 49.0",
        "muster_manager_late_stops_total 1.0",
        "muster_manager_illegal_plans_total 0.0",
        "muster_manager_switch_latency_seconds{quantile=\"0.99\"} 0.00009",
        "muster_manager_row_skew_seconds{quantile=\"0.5\"} 0.000004",
        "# TYPE muster_vcpu_time_seconds counter",
        "# UNIT muster_vcpu_time_seconds seconds",
    ] {
        has(&text, line);
    }
    assert!(!text.contains("muster_vm_cap_cpus{vm=\"db\"}"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

/// Whatever a VM is called: nothing breaks out of a label.
#[test]
fn names_are_escaped() {
    let mut snapshot = testing::snapshot();
    snapshot.vms[0].name = "a\"b\\c\nd".to_owned();
    has(
        &text(&snapshot),
        r#"muster_vm_weight{vm="a\"b\\c\nd"} 256.0"#,
    );
}
