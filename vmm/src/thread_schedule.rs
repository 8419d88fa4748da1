//! How the host's kernel schedules a thread: class, nice value, slice and affinity.
//!
//! Source: sched_setattr(2), sched_setaffinity(2); `runtime` as a fair thread's slice since Linux 6.12.
#![expect(unsafe_code, reason = "sched_setattr(2), which no library offers")]

use std::io;
use std::mem::{self, size_of};

/// The class of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// SCHED_OTHER: a fair share by nice value. A slice of 0 is the host's own.
    Fair {
        /// -20 to 19.
        nice: i32,
        /// How long it runs at a stretch if others wait, in nanoseconds.
        slice_ns: u64,
    },
    /// SCHED_IDLE: when nobody else in the same group wants to run.
    Idle,
    /// SCHED_FIFO: ahead of all others.
    Fifo {
        /// 1 to 99.
        priority: u32,
    },
    /// Another one, which muster never sets.
    Other(u32),
}

/// `struct sched_attr`, first version.
#[repr(C)]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Sets a thread's class. 0 is this thread.
pub fn set_class(tid: u32, class: Class) -> io::Result<()> {
    let mut attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        ..SchedAttr::default()
    };
    match class {
        Class::Fair { nice, slice_ns } => {
            attr.policy = libc::SCHED_OTHER.cast_unsigned();
            attr.nice = nice;
            attr.runtime = slice_ns;
        }
        Class::Idle => attr.policy = libc::SCHED_IDLE.cast_unsigned(),
        Class::Fifo { priority } => {
            attr.policy = libc::SCHED_FIFO.cast_unsigned();
            attr.priority = priority;
        }
        Class::Other(_) => return Err(io::ErrorKind::InvalidInput.into()),
    }
    set_attr(tid, &attr)
}

fn set_attr(tid: u32, attr: &SchedAttr) -> io::Result<()> {
    // SAFETY: the structure is of the size that it says, and is only read.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, tid, &raw const *attr, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A thread's class. 0 is this thread.
pub fn class_of(tid: u32) -> io::Result<Class> {
    let attr = attr_of(tid)?;
    Ok(match attr.policy.cast_signed() {
        libc::SCHED_OTHER => Class::Fair {
            nice: attr.nice,
            slice_ns: attr.runtime,
        },
        libc::SCHED_IDLE => Class::Idle,
        libc::SCHED_FIFO => Class::Fifo {
            priority: attr.priority,
        },
        _ => Class::Other(attr.policy),
    })
}

fn attr_of(tid: u32) -> io::Result<SchedAttr> {
    let mut attr = SchedAttr::default();
    let size = size_of::<SchedAttr>() as u32;
    // SAFETY: the kernel writes at most `size` bytes, which is the structure's size.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, tid, &raw mut attr, size, 0) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(attr)
}

/// Sets where a thread may run. 0 is this thread.
pub fn set_affinity(tid: u32, cpus: &[usize]) -> io::Result<()> {
    // SAFETY: all zeroes is an empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    for &cpu in cpus {
        if cpu >= libc::CPU_SETSIZE as usize {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: the number is within the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: the set is of the size that is said, and is only read.
    let result = unsafe { libc::sched_setaffinity(tid.cast_signed(), size_of_val(&set), &set) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Where a thread may run. 0 is this thread.
pub fn affinity_of(tid: u32) -> io::Result<Vec<usize>> {
    // SAFETY: all zeroes is an empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the set is of the size that is said; the kernel writes within it.
    let result = unsafe { libc::sched_getaffinity(tid.cast_signed(), size_of_val(&set), &mut set) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let all = 0..libc::CPU_SETSIZE as usize;
    // SAFETY: the numbers are within the set.
    Ok(all
        .filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) })
        .collect())
}

/// How a thread was scheduled, to be given back to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadSchedule {
    /// All of it: a class that muster never sets is given back, too.
    attr: SchedAttr,
    cpus: Vec<usize>,
}

impl ThreadSchedule {
    /// How this thread is scheduled, and so those that it starts.
    pub fn of_this_thread() -> io::Result<Self> {
        Self::of(0)
    }

    /// How a thread is scheduled. 0 is this one.
    pub fn of(tid: u32) -> io::Result<Self> {
        Ok(Self {
            attr: attr_of(tid)?,
            cpus: affinity_of(tid)?,
        })
    }

    /// Has another thread scheduled so. One that has ended needs nothing.
    pub fn give_to(&self, tid: u32) {
        if tid == 0 {
            return;
        }
        // What cannot be given back does not keep the other from it.
        let given = [
            ("class", set_attr(tid, &self.attr)),
            ("affinity", set_affinity(tid, &self.cpus)),
        ];
        for (what, given) in given {
            if let Err(error) = given
                && error.raw_os_error() != Some(libc::ESRCH)
            {
                tracing::warn!(%error, tid, "cannot give a thread back its {what}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_given_back_what_it_had() {
        let before = ThreadSchedule::of_this_thread().unwrap();
        let one = before.cpus[before.cpus.len() - 1];
        set_affinity(0, &[one]).unwrap();
        set_class(0, Class::Idle).unwrap();
        assert_eq!(affinity_of(0).unwrap(), [one]);
        assert_eq!(class_of(0).unwrap(), Class::Idle);
        let tid = nix::unistd::gettid().as_raw().cast_unsigned();
        before.give_to(tid);
        assert_eq!(affinity_of(0).unwrap(), before.cpus);
        // Without the right to it, a thread stays idle.
        let now = attr_of(0).unwrap();
        let is_idle = class_of(0).unwrap() == Class::Idle;
        assert!(now == before.attr || is_idle, "{now:?}");
    }

    #[test]
    fn classes_that_are_never_set_are_given_back() {
        let batch = SchedAttr {
            policy: libc::SCHED_BATCH.cast_unsigned(),
            nice: 3,
            ..attr_of(0).unwrap()
        };
        set_attr(0, &batch).unwrap();
        let before = ThreadSchedule::of_this_thread().unwrap();
        assert_eq!(class_of(0).unwrap(), Class::Other(3));
        let fair = Class::Fair {
            nice: 3,
            slice_ns: 0,
        };
        set_class(0, fair).unwrap();
        before.give_to(nix::unistd::gettid().as_raw().cast_unsigned());
        assert_eq!(ThreadSchedule::of_this_thread().unwrap(), before);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(set_affinity(0, &[]).is_err());
        assert!(set_affinity(0, &[100_000]).is_err());
        assert!(set_class(0, Class::Fifo { priority: 100 }).is_err());
        assert!(set_class(0, Class::Other(6)).is_err());
    }
}
