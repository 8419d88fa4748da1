//! The negative control: where nobody gains, nobody may lose.

use muster_scheduler::sim::record::Keep;

use crate::shipped::{record_for, scenario};

#[test]
fn nobody_loses_where_nothing_is_to_be_gained() {
    let scenario = scenario("harmless");
    let ops = |policy: &str| {
        let recording = record_for(&scenario, policy, Keep::Totals);
        ["compute", "locks"].map(|name| {
            let vms = recording.vms.iter();
            let vms = vms.filter(|vm| vm.name.starts_with(name));
            vms.map(|vm| vm.ops).sum::<u64>() as f64
        })
    };
    let linux = ops("linux");
    for spec in &scenario.policies {
        let policy = spec.to_string();
        let least = if policy.starts_with("gang") {
            0.95
        } else {
            0.98
        };
        for (ops, linux) in ops(&policy).into_iter().zip(linux) {
            assert!(ops >= least * linux, "{policy}: {ops} against {linux}");
        }
    }
}
