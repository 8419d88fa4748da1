//! Runs the random disk workload of `muster_tests::disk_workload` inside a guest.
//!
//! `guest-io DEVICE SEED BLOCKS OPERATIONS` expects a device of zeroes. It goes past the page cache, so
//! that every operation is the device's.

use std::env;
use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use anyhow::{Context, Result, ensure};
use muster_tests::disk_workload::{
    BLOCK_LEN, OPERATION_BLOCKS_MAX, Operation, Reference, Workload,
};
use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc;

const BUFFER_LEN: usize = OPERATION_BLOCKS_MAX as usize * BLOCK_LEN;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [device, seed, blocks, operations] = &arguments[..] else {
        anyhow::bail!("usage: guest-io DEVICE SEED BLOCKS OPERATIONS");
    };
    let (seed, blocks): (u64, u32) = (seed.parse()?, blocks.parse()?);
    let disk = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(device)
        .with_context(|| format!("cannot open {device}"))?;
    let mut reference = Reference::new(seed, blocks);
    // Direct I/O wants aligned memory.
    let mut memory = vec![0; BUFFER_LEN + BLOCK_LEN];
    let start = memory.as_ptr().align_offset(BLOCK_LEN);
    let buffer = &mut memory[start..start + BUFFER_LEN];
    for operation in Workload::new(seed, blocks).take(operations.parse()?) {
        reference.apply(&operation);
        run(&disk, &operation, &reference, buffer).with_context(|| format!("{operation:?}"))?;
    }
    disk.sync_all().context("the last flush")?;
    println!("guest-io: {operations} operations, all as expected");
    Ok(())
}

fn run(disk: &File, operation: &Operation, reference: &Reference, buffer: &mut [u8]) -> Result<()> {
    let offset = |block: u32| u64::from(block) * BLOCK_LEN as u64;
    match operation {
        Operation::Read(range) => {
            let bytes = &mut buffer[..range.len() * BLOCK_LEN];
            disk.read_exact_at(bytes, offset(range.start))?;
            let difference = reference.first_difference(range.start, bytes);
            ensure!(
                difference.is_none(),
                "block {difference:?} holds something else"
            );
        }
        Operation::Write(range, _) => {
            let bytes = &mut buffer[..range.len() * BLOCK_LEN];
            reference.fill(range.start, bytes);
            disk.write_all_at(bytes, offset(range.start))?;
        }
        Operation::Zero(range) => {
            let flags = FallocateFlags::FALLOC_FL_ZERO_RANGE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            let start = i64::try_from(offset(range.start))?;
            fallocate(disk, flags, start, i64::try_from(range.len() * BLOCK_LEN)?)?;
        }
        Operation::Flush => disk.sync_all()?,
    }
    Ok(())
}
