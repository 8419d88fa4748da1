//! Time that holders of locks have borrowed does not take them away from their siblings.

use muster_scheduler::US;
use muster_scheduler::sim::record::Keep;
use muster_scheduler::sim::{self, Scenario};

use crate::shipped::vm;

/// Two gangs on three CPUs: the row of the narrow one has a hole, where nobody waits for a member of the
/// wide one that stays for its lock.
const HOLE: &str = r#"
name = "hole"
duration = "5s"
host.topology = "3"

[[vm]]
name = "wide"
vcpus = 3
workload = { kind = "lock", lock = "tas", critical = "100us", outside = "100us" }

[[vm]]
name = "narrow"
vcpus = 2
workload = { kind = "lock", lock = "tas", critical = "100us", outside = "100us" }
"#;

#[test]
fn beside_a_hole_siblings_stay_abreast_as_long_as_one_looks() {
    let scenario = Scenario::parse(HOLE).unwrap();
    let policy = "gang+smart".parse().unwrap();
    for seed in 1..=3 {
        let recording = sim::run(&scenario, &policy, seed, Keep::Totals).unwrap();
        for name in ["wide", "narrow"] {
            let skew_ns = vm(&recording, name).skew_max_ns;
            assert!(skew_ns < 600 * US, "seed {seed}, {name}: {skew_ns} ns");
        }
    }
}
