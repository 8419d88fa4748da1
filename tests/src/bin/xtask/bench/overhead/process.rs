//! What a monitor's process holds and has used, from `/proc`.
//!
//! The guest's memory is the one mapping of exactly its size that is private, anonymous, readable
//! and writable; everything else is the monitor's own.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::unistd::Pid;

/// Resident memory in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resident {
    /// Beside the guest's memory.
    pub own: u64,
    /// Of `own`, pages of files: programs and libraries, which other processes may share.
    pub of_files: u64,
    /// Of the guest's memory.
    pub guest: u64,
}

impl Resident {
    /// Reads `/proc/PID/smaps`.
    pub fn of(pid: Pid, guest_kib: u64) -> Result<Self> {
        Self::parse(
            &fs::read_to_string(format!("/proc/{pid}/smaps"))?,
            guest_kib,
        )
    }

    fn parse(smaps: &str, guest_kib: u64) -> Result<Self> {
        let mut all = Self::default();
        let mut guests = 0;
        let mut mapping = Mapping::default();
        for line in smaps.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["Size:", kib, "kB"] => mapping.size_kib = kib.parse()?,
                ["Rss:", kib, "kB"] => {
                    let kib: u64 = kib.parse()?;
                    if mapping.may_be_guest && mapping.size_kib == guest_kib {
                        guests += 1;
                        all.guest += kib;
                    } else {
                        all.own += kib;
                        all.of_files += if mapping.is_file { kib } else { 0 };
                    }
                }
                [range, rights, _offset, _device, inode, ..] if range.contains('-') => {
                    mapping = Mapping {
                        size_kib: 0,
                        may_be_guest: rights == "rw-p" && inode == "0",
                        is_file: words.get(5).is_some_and(|path| path.starts_with('/')),
                    };
                }
                _ => {}
            }
        }
        ensure!(guests == 1, "{guests} mappings look like guest memory");
        Ok(all)
    }
}

#[derive(Debug, Default)]
struct Mapping {
    size_kib: u64,
    may_be_guest: bool,
    is_file: bool,
}

/// How many entries a folder of `/proc/PID` has: `task` for threads, `fd` for descriptors.
pub fn count(pid: Pid, folder: &str) -> Result<u64> {
    Ok(fs::read_dir(format!("/proc/{pid}/{folder}"))?.count() as u64)
}

/// Processor time that all threads have been charged with. A thread that is running has not yet
/// been charged with its latest stretch, of a clock tick at most.
pub fn cpu_time(pid: Pid) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let nanoseconds = text
            .split_whitespace()
            .next()
            .context("no scheduler statistics")?;
        total += Duration::from_nanos(nanoseconds.parse()?);
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
1000-2000 r-xp 00000000 fe:00 77                    /usr/bin/monitor
Size:                  4 kB
Rss:                   3 kB
2000-4000 rw-p 00000000 00:00 0 
Size:                 64 kB
Rss:                  16 kB
4000-5000 rw-p 00000000 00:00 0                          [heap]
Size:                  8 kB
Rss:                   5 kB
5000-6000 r--p 00000000 00:00 0 
Size:                 64 kB
Rss:                   1 kB
VmFlags: rd mr
";

    #[test]
    fn guest_memory_is_told_from_the_rest() {
        let resident = Resident {
            own: 9,
            of_files: 3,
            guest: 16,
        };
        assert_eq!(Resident::parse(SMAPS, 64).unwrap(), resident);
    }

    #[test]
    fn no_guest_memory_is_an_error() {
        assert!(Resident::parse(SMAPS, 63).is_err());
    }
}
