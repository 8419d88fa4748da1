use proptest::prelude::*;

use super::*;

#[test]
fn medians_and_percentiles_are_as_textbooks_have_them() {
    let summary = Summary::of([4.0, 1.0, 3.0, 2.0]).unwrap();
    assert_eq!((summary.count, summary.min, summary.max), (4, 1.0, 4.0));
    assert_eq!(summary.median, 2.5);
    assert_eq!(Summary::of([7.0]).unwrap().p95, 7.0);
    assert_eq!(Summary::of([3.0, f64::NAN, 1.0, 2.0]).unwrap().median, 2.0);
    assert_eq!(Summary::of([]), None);
    let values: Vec<f64> = (0..=100).map(f64::from).collect();
    assert_eq!(percentile(&values, 5.0), Some(5.0));
    assert_eq!(percentile(&values, 99.0), Some(99.0));
    assert_eq!(percentile(&values, 200.0), Some(100.0));
}

#[test]
fn classes_are_read_as_powers_of_two() {
    let mut classes = [0; 64];
    assert_eq!(class_percentile(&classes, 50.0), None);
    classes[3] = 10;
    assert_eq!(class_percentile(&classes, 50.0), Some(12.0));
    assert_eq!(class_percentile(&classes, 0.0), Some(8.0));
    assert_eq!(class_percentile(&classes, 100.0), Some(16.0));
    classes[10] = 10;
    assert_eq!(class_percentile(&classes, 75.0), Some(1536.0));
    assert_eq!(
        class_percentile(&[u64::MAX; 64], 100.0),
        Some(2.0_f64.powi(64))
    );
}

#[test]
fn nothing_is_divided_by_nothing() {
    assert_eq!(ratio(3.0, 2.0), Some(1.5));
    assert_eq!(ratio(0.0, 2.0), Some(0.0));
    assert_eq!(ratio(3.0, 0.0), None);
}

proptest! {
    #[test]
    fn a_summary_is_in_order_and_within_what_it_is_of(
        values in proptest::collection::vec(-1e12_f64..1e12, 1..200),
    ) {
        let summary = Summary::of(values.iter().copied()).unwrap();
        let Summary { min, p5, median, p95, max, count } = summary;
        prop_assert_eq!(count, values.len());
        let slack = 1e-3;
        prop_assert!(min <= p5 + slack && p5 <= median + slack);
        prop_assert!(median <= p95 + slack && p95 <= max + slack);
        let below = values.iter().filter(|&&value| value <= median + slack).count();
        let above = values.iter().filter(|&&value| value >= median - slack).count();
        prop_assert!(2 * below >= count && 2 * above >= count);
        let mut reversed = values;
        reversed.reverse();
        prop_assert_eq!(Summary::of(reversed), Some(summary));
    }

    #[test]
    fn percentiles_of_classes_grow_and_stay_in_their_class(
        values in proptest::collection::vec(1_u64..1 << 40, 1..100),
        percent in 1.0_f64..100.0,
    ) {
        let mut classes = [0; 64];
        for &value in &values {
            classes[value.ilog2() as usize] += 1;
        }
        let found = class_percentile(&classes, percent).unwrap();
        let smaller = class_percentile(&classes, percent / 2.0).unwrap();
        prop_assert!(smaller <= found);
        let mut sorted = values;
        sorted.sort_unstable();
        let rank = ((sorted.len() as f64 * percent / 100.0).ceil() as usize).max(1);
        let exact = sorted[rank - 1] as f64;
        prop_assert!(found >= exact / 2.0 && found <= exact * 2.0, "{found} for {exact}");
    }
}
