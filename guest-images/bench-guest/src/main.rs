//! The benchmark guest: a program without an operating system whose vCPUs do one of a few workloads
//! and count what they have done.
//!
//! Problem: what a schedule of vCPUs is worth shows in guests whose vCPUs depend on each other, and
//! such a guest must run at full speed even where ring 0 is emulated.
//!
//! Approach: all but a hundred instructions of assembly (`boot.s`) runs in ring 3, also what drives
//! the local APIC: all of memory is mapped as it is, for ring 3 too. Ring 0 starts a vCPU, halts it,
//! and takes the interrupts that wake it. What the guest counts is in the page of
//! `muster_guest_page`, or in memory of its own if the host has none. `docs/bench-guest.md` has the
//! command line and the counters.
//!
//! Terms: a *worker* is the part of the workload that one vCPU does.
#![no_std]
#![no_main]

mod apic;
mod boot;
mod calibration;
mod cell;
mod console;
mod cpu;
mod memory;
mod memory_functions;
mod records;
mod run;
mod worker;
mod workload;
