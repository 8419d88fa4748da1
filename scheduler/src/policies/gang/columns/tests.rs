use super::*;
use crate::VcpuId;

fn member(vcpu: u32, allowed: &str) -> Member {
    let allowed = allowed.parse().unwrap();
    Member {
        vcpu: VcpuId(vcpu),
        allowed,
        preferred: allowed,
    }
}

fn cpus(numbers: &[u16]) -> Option<Vec<CpuId>> {
    Some(numbers.iter().copied().map(CpuId).collect())
}

#[test]
fn who_can_go_elsewhere_makes_room() {
    let members = [member(0, "0-1"), member(1, "0,2"), member(2, "0")];
    assert_eq!(assign(&members, CpuSet::first_n(3), &[]), cpus(&[1, 2, 0]));
    assert_eq!(assign(&members, CpuSet::first_n(2), &[]), None);
    // Room enough, but two want the same one.
    let members = [member(0, "3"), member(1, "3")];
    assert_eq!(assign(&members, CpuSet::first_n(4), &[]), None);
}

#[test]
fn wishes_are_kept_where_they_are_free() {
    let members = [member(0, "0-3"), member(1, "0-3")];
    let wishes = [CpuId(2), CpuId(0)];
    assert_eq!(assign(&members, CpuSet::first_n(4), &wishes), cpus(&[2, 0]));
    let free = "1-3".parse().unwrap();
    assert_eq!(assign(&members, free, &wishes), cpus(&[2, 1]));
}

#[test]
fn soft_affinity_is_followed_while_there_is_room() {
    let mut soft = member(0, "0-3");
    soft.preferred = CpuSet::only(CpuId(3));
    assert_eq!(
        assign(&[soft, soft], CpuSet::first_n(4), &[]),
        cpus(&[3, 0])
    );
}
