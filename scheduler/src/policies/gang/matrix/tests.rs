use super::*;

/// Gangs of these widths, in order of arrival, drawn by letter.
fn packed(columns: usize, placement: Placement, widths: &[u32]) -> String {
    let mut matrix = Matrix::new(columns, placement);
    for (vm, &width) in (0..).zip(widths) {
        let members: Vec<Member> = (0..width).map(|index| anywhere(vm, index)).collect();
        matrix.place(UnitId(vm), &members, &[]).unwrap();
    }
    let letter = |vm: u32| char::from(b'A' + vm as u8);
    matrix.draw(|vcpu| format!("{}{}", letter(vcpu.0 / 100), vcpu.0 % 100))
}

fn anywhere(vm: u32, index: u32) -> Member {
    Member {
        vcpu: VcpuId(vm * 100 + index),
        allowed: CpuSet::ALL,
        preferred: CpuSet::ALL,
    }
}

fn only(allowed: CpuSet, index: u32) -> Member {
    Member {
        allowed,
        preferred: allowed,
        ..anywhere(0, index)
    }
}

#[test]
fn best_fit_leaves_the_larger_hole_to_others() {
    let widths = [2, 3, 1];
    assert_eq!(
        packed(4, Placement::Matrix(Packing::Best), &widths),
        "A0 A1 .. ..\nB0 B1 B2 C0\n"
    );
    assert_eq!(
        packed(4, Placement::Matrix(Packing::First), &widths),
        "A0 A1 C0 ..\nB0 B1 B2 ..\n"
    );
}

#[test]
fn buddies_begin_at_their_block() {
    assert_eq!(
        packed(8, Placement::Matrix(Packing::Buddy), &[1, 3, 2, 5]),
        "A0 .. C0 C1 B0 B1 B2 ..\nD0 D1 D2 D3 D4 .. .. ..\n"
    );
    // A block that is cut off by the edge is too small for three, and holds two.
    assert_eq!(
        packed(6, Placement::Matrix(Packing::Buddy), &[3, 3, 2]),
        "A0 A1 A2 .. C0 C1\nB0 B1 B2 .. .. ..\n"
    );
}

#[test]
fn who_has_no_column_has_no_home() {
    let mut matrix = Matrix::new(2, Placement::Undivided);
    let nowhere = only(CpuSet::EMPTY, 0);
    assert_eq!(matrix.place(UnitId(0), &[nowhere], &[]), None);
    assert_eq!(matrix.rows(), 0);
}

#[test]
fn affinity_comes_before_form() {
    // These two can't be neighbours.
    let apart = [
        only(CpuSet::only(CpuId(0)), 0),
        only(CpuSet::only(CpuId(2)), 1),
    ];
    let mut matrix = Matrix::new(4, Placement::Undivided);
    assert_eq!(matrix.place(UnitId(0), &apart, &[]), Some(vec![0, 2]));
}
