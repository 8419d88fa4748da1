//! Initrds of any length, beside kernels of any size.
//!
//! Input: the length that the file claims beyond what it has (8 bytes), where the kernel ends (8),
//! the last byte that the kernel lets an initrd occupy (4), then the file.

use muster_vmm::boot::initrd::{InitrdError, LoadedInitrd, load_initrd};
use muster_vmm::boot::kernel::{KernelEntry, LoadedKernel};
use vm_memory::{Bytes, GuestAddress};

use super::input::Input;
use super::kernel::{MIB, RAM_LEN, ShrunkFile, ram};

/// Loads the file and checks where it went.
pub fn run(bytes: &[u8]) {
    load(bytes);
}

/// Gives where the initrd is, if it was loaded.
fn load(bytes: &[u8]) -> Option<LoadedInitrd> {
    let mut input = Input::new(bytes);
    let missing = input.u64();
    // A loaded kernel lies in RAM, above 1 MiB.
    let kernel_end = MIB + input.u64() % (RAM_LEN - MIB + 1);
    let last = u64::from(input.u32());
    let content = input.rest();
    let kernel = LoadedKernel {
        entry: KernelEntry::Linux64(GuestAddress(MIB)),
        end: GuestAddress(kernel_end),
        setup_header: None,
        cmdline_len_max: 0,
        initrd_last: GuestAddress(last),
    };
    let claimed = (content.len() as u64).saturating_add(missing);
    let ram = ram();
    let initrd = load_initrd(&ram, &mut ShrunkFile::new(content, claimed), &kernel);
    match &initrd {
        Err(InitrdError::Empty) => assert_eq!(claimed, 0),
        Err(InitrdError::Read(error)) => assert_ne!(missing, 0, "read beyond the end: {error}"),
        Err(InitrdError::TooLarge { len, room }) => {
            assert_eq!(*len, claimed);
            assert!(*room <= RAM_LEN, "there is no room of {room} bytes");
        }
        Ok(initrd) => {
            let (start, len) = (initrd.start.0, u64::from(initrd.len));
            assert_eq!(len, claimed);
            assert!(
                start.is_multiple_of(4096) && start >= kernel_end,
                "{initrd:?}"
            );
            assert!(
                start + len <= RAM_LEN && start + len - 1 <= last,
                "{initrd:?}"
            );
            let mut loaded = vec![0; content.len()];
            ram.read_slice(&mut loaded, initrd.start)
                .expect("it is in RAM");
            assert!(loaded == content, "the guest gets another initrd");
        }
    }
    initrd.ok()
}

/// One that fits, one that fits exactly, and one that shrinks.
pub fn seeds() -> Vec<Vec<u8>> {
    let seed = |missing: u64, room: u64, last: u32, content: &[u8]| {
        let kernel_end = RAM_LEN - MIB - room;
        [
            &missing.to_le_bytes(),
            &kernel_end.to_le_bytes(),
            &last.to_le_bytes()[..],
            content,
        ]
        .concat()
    };
    let page = [0x5a; 4096];
    vec![
        seed(0, MIB, u32::MAX, b"070701"),
        seed(0, MIB, (7 * MIB + 0x8000) as u32, &page),
        seed(0, 4096, u32::MAX, &page),
        seed(100, MIB, u32::MAX, &page),
        seed(u64::MAX, MIB, u32::MAX, &page),
        seed(0, MIB, u32::MAX, b""),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_initrds_at_every_limit() {
        let starts: Vec<_> = seeds()
            .iter()
            .map(|seed| load(seed).map(|initrd| initrd.start.0))
            .collect();
        let expected = [
            Some(RAM_LEN - 4096),
            Some(7 * MIB + 0x7000),
            Some(RAM_LEN - 4096),
        ];
        assert_eq!(starts[..3], expected);
        assert_eq!(starts[3..], [None; 3]);
    }
}
