//! What requests to the API have as bodies, for its two sides.

use serde::{Deserialize, Serialize};

/// `PUT /v1/schedule`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleBody {
    /// As people write it: `gang:quantum=20ms+smart`.
    pub schedule: String,
}

/// `PUT /v1/vms/NAME/weight`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightBody {
    /// 1 to 10000.
    pub weight: u32,
}

/// `PUT /v1/vms/NAME/cap`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapBody {
    /// In percent of one CPU; `null` takes the cap away, and to leave it out is an error.
    #[serde(deserialize_with = "Option::deserialize")]
    pub percent: Option<u32>,
}

/// `PUT /v1/vms/NAME/cpus` and `PUT /v1/vms/NAME/vcpus/N/cpus`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpusBody {
    /// A list like `0-3,8`.
    pub cpus: String,
}

/// What is said instead, with a status from 400 on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// One line.
    pub error: String,
}
