//! The policies: each a file that can be read beside the textbook.

pub mod pinned;
pub mod space;

pub use pinned::Pinned;
pub use space::Space;
