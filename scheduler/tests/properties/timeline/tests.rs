use super::*;

#[test]
fn stretches_are_added_and_subtracted() {
    let stretch = |(start, end)| Stretch::new(start, end);
    let all = [(0, 10), (11, 14), (20, 30)].map(stretch);
    let part = [(2, 4), (6, 12), (25, 30)].map(stretch);
    let left = [(0, 2), (4, 6), (12, 14), (20, 25)].map(stretch);
    assert_eq!(without(&all, &part), left);
    assert_eq!(
        union([(5, 8), (0, 5), (9, 10)].map(stretch).to_vec()),
        [(0, 8), (9, 10)].map(stretch)
    );
}
