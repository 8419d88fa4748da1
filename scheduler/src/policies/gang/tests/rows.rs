//! The matrix in its first form, whose holes stay.

use super::*;

#[test]
fn a_gang_that_stays_in_its_row_leaves_the_holes_of_others() {
    let mut host = Host::new(4, "gang:rows=one");
    for vcpus in [3, 2, 1] {
        host.arrive(vcpus);
    }
    assert_eq!(slots(&mut host, 2), ["A0 A1 A2 C0", "B0 B1 .. .."]);
    // Who comes while its row has the slot runs at once.
    host.run_until(3 * SLOT + SLOT / 2);
    host.arrive(1);
    assert_eq!(row(&host), "B0 B1 D0 ..");
}

#[test]
fn homes_stay_if_that_is_asked_for() {
    let rows = |spec: &str| {
        let mut host = Host::new(4, spec);
        let vms = [3, 3, 1, 1].map(|vcpus| host.arrive(vcpus));
        host.leave(vms[2]);
        host.leave(vms[0]);
        matrix(&host)
    };
    assert_eq!(rows("gang:packing=first"), "B0 B1 B2 D0\n");
    assert_eq!(
        rows("gang:packing=first,repack=no"),
        ".. .. .. ..\nB0 B1 B2 D0\n"
    );
}
