//! What a guest has in the memory where muster looks for its kernel's types.
//!
//! Input: where the code seems to be, 4 bytes, then the memory, from its beginning.

use muster_devices::memory::GuestRam;
use muster_vmm::guest_locks::{PerCpu, find_per_cpu};
use vm_memory::{Bytes, GuestAddress};

use super::input::Input;

/// The guest's RAM, in two pieces.
const RAM_LEN: usize = 16 << 10;
const HIGH: u64 = 1 << 20;
/// What is found is in an area of this length.
const AREA_LEN: u32 = 16 << 20;

/// Looks for types, and checks what comes of it.
pub fn run(bytes: &[u8]) {
    let _ = find(bytes);
}

fn find(bytes: &[u8]) -> Option<PerCpu> {
    let mut input = Input::new(bytes);
    let code = input.u32();
    let ranges = [(GuestAddress(0), RAM_LEN), (GuestAddress(HIGH), RAM_LEN)];
    let ram = GuestRam::from_ranges(&ranges).expect("32 KiB can be mapped");
    let content = input.rest();
    for (at, part) in [0, HIGH].into_iter().zip(content.chunks(RAM_LEN)) {
        ram.write_slice(part, GuestAddress(at))
            .expect("there is so much RAM");
    }
    match find_per_cpu(&ram, GuestAddress(code.into())) {
        Ok(found) => {
            let end = |offset: u32, len: u32| {
                assert!(offset.is_multiple_of(len), "{found:?}");
                offset.checked_add(len).expect("no overflow")
            };
            assert!(end(found.count, 4) <= AREA_LEN, "{found:?}");
            assert!(end(found.own_offset, 8) <= AREA_LEN, "{found:?}");
            if let Some(task) = found.task {
                assert!(end(task.current, 8) <= AREA_LEN, "{found:?}");
                assert!(end(task.number, 4) <= AREA_LEN, "{found:?}");
            }
            Some(found)
        }
        Err(reason) => {
            assert!(!reason.to_string().is_empty());
            None
        }
    }
}

/// Types as kernels have them: as a variable, as a member, without preemption, and at an odd place.
pub fn seeds() -> Vec<Vec<u8>> {
    let variables = ["__preempt_count", "this_cpu_off", "current_task"];
    let variable = types(&variables, &[], true);
    let member = types(
        &["pcpu_hot", "this_cpu_off"],
        &["current_task", "preempt_count"],
        true,
    );
    let uncounted = types(&variables, &[], false);
    let input = |code: u32, before: usize, types: &[u8]| {
        [&code.to_le_bytes(), &vec![0x90; before][..], types].concat()
    };
    vec![
        input(0, 0, &variable),
        input(16, 64, &member),
        input(0, 4, &uncounted),
        input(HIGH as u32, RAM_LEN, &variable),
        input(64, 0, &variable),
    ]
}

/// BTF with these per-CPU variables, and a structure of the first one's name if it has members.
fn types(variables: &[&str], members: &[&str], has_preemption: bool) -> Vec<u8> {
    let (mut records, mut strings) = (Vec::<u8>::new(), vec![0]);
    let mut name = |text: &str| {
        let at = strings.len() as u32;
        strings.extend(text.as_bytes());
        strings.push(0);
        at
    };
    let mut record = |words: &[u32]| {
        let bytes = words.iter().flat_map(|word| word.to_le_bytes());
        records.extend(bytes);
    };
    let kind = |kind: u32, count: usize| kind << 24 | count as u32;
    for text in variables {
        record(&[name(text), kind(14, 0), 1, 1]);
    }
    if has_preemption {
        record(&[name("preempt_schedule"), kind(12, 1), 1]);
    }
    if !members.is_empty() {
        record(&[name(variables[0]), kind(4, members.len()), 64]);
        for (index, text) in members.iter().enumerate() {
            record(&[name(text), 1, index as u32 * 64]);
        }
    }
    record(&[
        name("task_struct"),
        kind(4, 1),
        0x1000,
        name("pid"),
        1,
        0x400,
    ]);
    record(&[name(".data..percpu"), kind(15, variables.len()), 0x1000]);
    for index in 0..variables.len() as u32 {
        record(&[index + 1, 0x800 + index * 64, 8]);
    }
    let (types_len, strings_len) = (records.len() as u32, strings.len() as u32);
    let mut bytes = vec![0x9f, 0xeb, 1, 0];
    for word in [24, 0, types_len, types_len, strings_len] {
        bytes.extend(word.to_le_bytes());
    }
    [bytes, records, strings].concat()
}

#[cfg(test)]
mod tests {
    use muster_vmm::guest_locks::Task;

    use super::*;

    #[test]
    fn seeds_are_types_that_are_found() {
        let found = |count, current| {
            Some(PerCpu {
                count,
                own_offset: 0x840,
                task: Some(Task {
                    current,
                    number: 0x80,
                }),
            })
        };
        let variable = found(0x800, 0x880);
        let expected = [variable, found(0x808, 0x800), None, variable, None];
        let seeds = seeds();
        assert_eq!(
            seeds.iter().map(|seed| find(seed)).collect::<Vec<_>>(),
            expected
        );
    }
}
