use super::*;
use crate::round::between;
use crate::round::tests::snapshot;

const VMS: [(&str, usize); 2] = [("A", 2), ("B", 2)];

fn metric(measure: Measure, vms: &[usize]) -> Metric {
    Metric {
        name: "m".to_owned(),
        unit: "u".to_owned(),
        measure,
        vms: vms.to_vec(),
    }
}

/// Half a second in which something happened.
fn measured(measure: Measure, vms: &[usize], change: impl Fn(&mut Snapshot)) -> Option<f64> {
    let before = snapshot(0, &VMS);
    let mut after = snapshot(500_000_000, &VMS);
    change(&mut after);
    let facts = between(&before, &after, &["A".to_owned(), "B".to_owned()]).unwrap();
    value(&metric(measure, vms), &facts, &[before, after], |_| true)
}

#[test]
fn rates_are_of_the_vcpus_that_were_asked_for() {
    let rate = |vms: &[usize], vcpu| {
        measured(Measure::Rate { counter: 1, vcpu }, vms, |after| {
            for (vm, vcpu, count) in [(0, 0, 10), (0, 1, 20), (1, 0, 40)] {
                after.vms[vm].vcpus[vcpu].counters[1] = count;
            }
        })
    };
    assert_eq!(rate(&[0, 1], None), Some(140.0));
    assert_eq!(rate(&[0], None), Some(60.0));
    assert_eq!(rate(&[0, 1], Some(0)), Some(100.0));
    assert_eq!(rate(&[1], Some(1)), Some(0.0));
}

#[test]
fn percentiles_are_over_all_vcpus_in_microseconds() {
    let value = |count| {
        measured(Measure::Percentile { percent: 50.0 }, &[0, 1], |after| {
            after.vms[0].vcpus[1].histogram[10] = count;
            after.vms[1].vcpus[0].histogram[20] = count;
        })
    };
    assert_eq!(value(5), Some(2.048));
    assert_eq!(value(0), None);
    // A hostile guest's numbers.
    assert!(value(u64::MAX).is_some_and(f64::is_finite));
}

#[test]
fn shares_are_compared_with_weights_and_with_what_was_wanted() {
    let share = |run: [u64; 2], ready: [u64; 2], weight| {
        measured(Measure::ShareError, &[0, 1], |after| {
            for vm in 0..2 {
                after.vms[vm].vcpus[0].run_ns = run[vm];
                after.vms[vm].vcpus[0].ready_ns = ready[vm];
            }
            after.vms[0].weight = weight;
        })
    };
    let all = [1000, 1000];
    assert_eq!(share([500, 500], all, 256), Some(0.0));
    let error = share([600, 400], all, 256).unwrap();
    assert!((error - 20.0).abs() < 1e-9, "{error}");
    assert_eq!(share([800, 400], all, 512), Some(0.0));
    // B wanted no more.
    assert_eq!(share([900, 100], [1000, 0], 256), Some(0.0));
    assert_eq!(share([0, 0], [0, 0], 256), None);
}

#[test]
fn stopped_holders_and_delivered_cpus_are_added_up() {
    let change = |after: &mut Snapshot| {
        for vm in &mut after.vms {
            vm.vcpus[0].holder_preemptions = 3;
            vm.vcpus[1].run_ns = 250_000_000;
        }
    };
    let stopped = measured(Measure::HolderPreemptions, &[0, 1], change);
    assert_eq!(stopped, Some(12.0));
    assert_eq!(measured(Measure::Cpus, &[0], change), Some(0.5));
    // What is not seen is not none.
    let unseen = |after: &mut Snapshot| {
        change(after);
        after.vms[1].locks = Locks::Unseen("its kernel is odd".to_owned());
    };
    assert_eq!(measured(Measure::HolderPreemptions, &[0, 1], unseen), None);
    let stopped = measured(Measure::HolderPreemptions, &[0], unseen);
    assert_eq!(stopped, Some(6.0));
}

#[test]
fn skew_is_how_far_a_lead_went_to_and_fro() {
    let samples: Vec<Snapshot> = [0, 3_000_000, 1_000_000]
        .into_iter()
        .enumerate()
        .map(|(index, lead)| {
            let mut sample = snapshot(index as u64, &VMS);
            // The lead at the beginning says nothing.
            sample.vms[0].vcpus[0].run_ns = 50_000_000 + lead;
            sample.vms[0].vcpus[1].run_ns = 10_000_000;
            sample
        })
        .collect();
    let names = ["A".to_owned(), "B".to_owned()];
    let facts = between(&samples[0], &samples[2], &names).unwrap();
    let skew = |vms: &[usize], active: fn(usize) -> bool| {
        value(&metric(Measure::Skew, vms), &facts, &samples, active)
    };
    assert_eq!(skew(&[0, 1], |_| true), Some(3.0));
    assert_eq!(skew(&[1], |_| true), Some(0.0));
    assert_eq!(skew(&[0], |vm| vm == 1), None);
}
