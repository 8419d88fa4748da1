use super::super::per_cpu::Task;
use super::super::testing::{BtfBuilder, COUNT, CURRENT, NUMBER, OWN_OFFSET, kernel_types};
use super::*;

const RAM_LEN: u64 = 4 << 20;
const CODE: GuestAddress = GuestAddress(0x10_0123);

fn ram() -> GuestRam {
    GuestRam::from_ranges(&[
        (GuestAddress(0), RAM_LEN as usize),
        (GuestAddress(1 << 32), RAM_LEN as usize),
    ])
    .unwrap()
}

fn found() -> Result<PerCpu, Unseen> {
    Ok(PerCpu {
        count: COUNT,
        own_offset: OWN_OFFSET,
        task: Some(Task {
            current: CURRENT,
            number: NUMBER,
        }),
    })
}

#[test]
fn types_are_found_wherever_they_begin() {
    let bytes = kernel_types().bytes();
    // At a chunk's beginning, across its end, and where memory ends.
    let chunk = CODE.0 / 4 * 4 + CHUNK as u64;
    let last = RAM_LEN - bytes.len().next_multiple_of(4) as u64;
    for at in [CODE.0 + 1, chunk, chunk - 4, chunk - 20, chunk + 4, last] {
        for base in [0, 1 << 32] {
            let ram = ram();
            ram.write_slice(&bytes, GuestAddress(base + at)).unwrap();
            assert_eq!(
                find_per_cpu(&ram, GuestAddress(base + CODE.0)),
                found(),
                "{at:#x}"
            );
        }
    }
}

#[test]
fn what_only_looks_like_it_is_passed_by() {
    let ram = ram();
    let at = |offset: u64| GuestAddress(CODE.0 + 1 + offset);
    // A header that promises more than there is, and a module's types.
    let mut endless = kernel_types().bytes();
    endless[12..16].fill(0xff);
    ram.write_slice(&endless, at(0x1000)).unwrap();
    let mut module = BtfBuilder::new();
    module.variable("module");
    ram.write_slice(&module.bytes(), at(0x2000)).unwrap();
    ram.write_slice(&kernel_types().bytes(), at(0x3000))
        .unwrap();
    assert_eq!(find_per_cpu(&ram, CODE), found());
}

#[test]
fn a_guest_cannot_have_muster_look_for_ever() {
    let ram = ram();
    let fakes = BtfBuilder::new().bytes();
    for number in 0..u64::from(TRIES) {
        ram.write_slice(&fakes, GuestAddress(CODE.0 + 1 + number * 64))
            .unwrap();
    }
    ram.write_slice(&kernel_types().bytes(), GuestAddress(CODE.0 + 0x1001))
        .unwrap();
    assert_eq!(find_per_cpu(&ram, CODE), Err(Unseen::NoVariable));
}

#[test]
fn code_may_be_anywhere() {
    let ram = ram();
    for address in [0, RAM_LEN - 1, RAM_LEN, (1 << 32) - 1, u64::MAX] {
        let outcome = find_per_cpu(&ram, GuestAddress(address));
        assert_eq!(outcome, Err(Unseen::NoTypes), "{address:#x}");
    }
}
