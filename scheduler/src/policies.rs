//! The policies: each a file that can be read beside the textbook.

pub mod affinity;
pub mod central;
pub mod dynamic;
mod fair_queues;
pub mod gang;
mod homes;
pub mod hybrid;
pub mod linux;
mod meter;
pub mod pinned;
pub mod relaxed;
mod seats;
pub mod smart;
pub mod space;
pub mod timeshare;

pub use affinity::Affinity;
pub use central::Central;
pub use dynamic::Dynamic;
pub use gang::Gang;
pub use hybrid::Hybrid;
pub use linux::Linux;
pub use pinned::Pinned;
pub use relaxed::Relaxed;
pub use smart::Smart;
pub use space::Space;

#[cfg(test)]
mod tests;
