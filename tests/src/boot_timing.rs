//! What `xtask bench boot` and `boot-timer`, its far end in the lab, tell each other.

use serde::{Deserialize, Serialize};

/// What is to be timed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// Who takes part, in order.
    pub contenders: Vec<Contender>,
    /// How often each one runs.
    pub rounds: u32,
    /// The text on its standard output that stops the clock.
    pub marker: String,
}

/// A virtual machine monitor with its guest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Contender {
    /// Its name in the table.
    pub name: String,
    /// Program and arguments.
    pub argv: Vec<String>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The contender's name.
    pub name: String,
    /// From just before its process was made until the marker had been read.
    pub nanoseconds: u64,
}
