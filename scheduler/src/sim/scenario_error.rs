//! What is wrong with a file that describes an experiment.

use thiserror::Error;

use crate::vm::VmSpecError;

/// What is wrong with a scenario. The caller puts the file's name before it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScenarioError {
    /// Not TOML.
    #[error("line {line}: {message}")]
    Syntax {
        /// Where.
        line: usize,
        /// What.
        message: String,
    },
    /// A key that there is not.
    #[error("{field}: unknown key: there are {known}")]
    UnknownKey {
        /// Which.
        field: String,
        /// What there is.
        known: String,
    },
    /// A key that must be there.
    #[error("{field}: missing: expected {expected}")]
    Missing {
        /// Which.
        field: String,
        /// What it takes.
        expected: String,
    },
    /// A value that is not allowed.
    #[error("{field} = {value}: expected {expected}")]
    BadValue {
        /// Of which key.
        field: String,
        /// What was given.
        value: String,
        /// What is allowed.
        expected: String,
    },
    /// A text without meaning.
    #[error("{field}: {message}")]
    Meaning {
        /// Of which key.
        field: String,
        /// What is wrong.
        message: String,
    },
    /// A VM that the host can't take.
    #[error("{field}: {reason}")]
    Vm {
        /// Which.
        field: String,
        /// Why.
        reason: VmSpecError,
    },
}
