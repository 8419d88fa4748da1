//! What the counters of a vCPU's record mean. They are an interface: `docs/bench-guest.md` has the
//! same list.

/// Work done, in the workload's own unit.
pub const WORK: usize = 0;
/// Rounds of a waiting loop.
pub const SPINS: usize = 1;
/// Times that it halted.
pub const HALTS: usize = 2;
/// Interrupts between vCPUs that it sent to wake another.
pub const WAKES: usize = 3;
/// Rounds of the computing loop that a workload was told to do: `grain`, `critical`, `outside`, `run`,
/// `busy`.
pub const LOOPS: usize = 4;
/// Times that it had to wait for a lock, a message or others.
pub const WAITS: usize = 5;
/// Lateness of the timer in nanoseconds, summed up.
pub const LATE_NS: usize = 6;
/// Periods of the timer that passed while it was late.
pub const MISSED: usize = 7;
