use super::*;
use crate::MS;

fn mean_of(spread: Spread) -> u64 {
    let mut stream = Stream::new(1, Purpose::Vcpu, [0; 3]);
    let draws = 100_000;
    (0..draws).map(|_| stream.around(MS, spread)).sum::<u64>() / draws
}

#[test]
fn means_are_as_asked() {
    for spread in [Spread::Fixed, Spread::Uniform, Spread::Exponential] {
        let mean = mean_of(spread);
        assert!(mean.abs_diff(MS) < MS / 100, "{spread:?}: {mean}");
    }
}

#[test]
fn streams_differ_by_seed_purpose_and_owner() {
    let first = |seed, purpose, of| Stream::new(seed, purpose, of).below(u64::MAX);
    let mut draws = vec![
        first(1, Purpose::Vcpu, [0, 0, 0]),
        first(2, Purpose::Vcpu, [0, 0, 0]),
        first(1, Purpose::Lock, [0, 0, 0]),
        first(1, Purpose::Vcpu, [0, 0, 1]),
        first(1, Purpose::Vcpu, [0, 1, 0]),
        first(1, Purpose::Vcpu, [1, 0, 0]),
    ];
    draws.sort_unstable();
    draws.dedup();
    assert_eq!(draws.len(), 6);
    assert_eq!(
        first(1, Purpose::Vcpu, [0, 0, 0]),
        first(1, Purpose::Vcpu, [0, 0, 0])
    );
}
