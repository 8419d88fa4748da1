//! What a VM says when it wants to join, understood and checked.
//!
//! It comes from a process that nobody trusts, so that everything is bounded before anybody acts on it.

use muster_scheduler::{CpuSet, VmSpec};
use muster_vmm::node_link::{Hello, MESSAGE_LEN_MAX, PROTOCOL, is_name};
use thiserror::Error;

/// A sound [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes {
    /// The VM's name, which [is one](is_name).
    pub name: String,
    weight: u32,
    cap_percent: Option<u32>,
    cpus: CpuSet,
}

/// What was said is nothing that can be acted on. The VM is told so.
#[derive(Debug, Error)]
pub enum HelloError {
    /// Too long.
    #[error("it says more than {MESSAGE_LEN_MAX} bytes")]
    Long,
    /// It is something else.
    #[error("it says nothing that can be understood: {0}")]
    Message(String),
    /// It is of another release.
    #[error("it speaks version {0} of the protocol, the node manager version {PROTOCOL}")]
    Protocol(u32),
    /// Names are shown to people, and stand in paths and metrics.
    #[error("{0:?} is no name for a VM")]
    Name(String),
    /// Where its vCPUs may run.
    #[error("its CPUs {0:?} are no list of CPUs")]
    Cpus(String),
}

/// How much of a reason is told.
const REASON_MAX: usize = 200;

/// Words of a stranger may be in it: what steers a terminal or begins a line of a log does not pass.
fn plain(reason: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    reason.chars().map(plain).take(REASON_MAX).collect()
}

impl Wishes {
    /// Understands what was said.
    pub fn read(text: &[u8]) -> Result<Self, HelloError> {
        if text.len() > MESSAGE_LEN_MAX {
            return Err(HelloError::Long);
        }
        let hello: Hello = serde_json::from_slice(text)
            .map_err(|error| HelloError::Message(plain(&error.to_string())))?;
        if hello.protocol != PROTOCOL {
            return Err(HelloError::Protocol(hello.protocol));
        }
        if !is_name(&hello.name) {
            return Err(HelloError::Name(hello.name));
        }
        let cpus = match hello.cpus {
            None => CpuSet::ALL,
            Some(list) => list.parse().map_err(|_| HelloError::Cpus(list))?,
        };
        Ok(Self {
            name: hello.name,
            weight: hello.weight,
            cap_percent: hello.cap_percent,
            cpus,
        })
    }

    /// The VM as the engine is told of it. Weight and cap are as they were said: the engine checks them.
    pub fn spec(&self, vcpus: u32) -> VmSpec {
        VmSpec {
            weight: self.weight,
            cap_percent: self.cap_percent,
            hard_affinity: self.cpus,
            ..VmSpec::new(self.name.clone(), vcpus)
        }
    }
}
