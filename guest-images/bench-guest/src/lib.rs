//! What the benchmark guest is told, and what it says: the part that needs no machine, so that it is
//! tested on the host.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod config;
pub mod counter;
pub mod report;
