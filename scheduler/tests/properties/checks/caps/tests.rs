use muster_scheduler::{Claims, MS};

use super::*;
use crate::samples::{Sample, vcpu};

/// A VM with a cap of half a CPU that runs from 100 ms on until `end`.
fn sample(end: Nanos) -> Sample {
    let mut sample = Sample::new(1, 200 * MS, Claims::default());
    sample.vm(1, 256).run(0, vcpu(0, 0), 100 * MS, end);
    sample.facts.vms[0].cap = Some(50);
    sample.finish();
    sample
}

#[test]
fn a_cap_is_kept_up_to_the_time_that_a_switch_takes() {
    assert_eq!(sample(150 * MS + 10).check(check), Ok(2));
}

#[test]
fn more_than_a_cap_is_found() {
    let broken = sample(150 * MS + 11).check(check).unwrap_err();
    assert_eq!(broken.at_ns, 100 * MS);
}
