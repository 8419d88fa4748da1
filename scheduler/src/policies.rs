//! The policies: each a file that can be read beside the textbook.

pub mod pinned;

pub use pinned::Pinned;
