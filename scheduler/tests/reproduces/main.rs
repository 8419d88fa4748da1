//! What textbook and literature say must come out of the shipped scenarios.
//!
//! Each scenario's text says what that is, where it is from, and with which tolerance.

mod barriers;
mod boosts;
mod caches;
mod fairness;
mod harmless;
mod locks;
mod overcommit;
mod packing;
mod phases;
mod process_control;
mod shipped;
mod skew;
mod stacking;
mod textbook;
