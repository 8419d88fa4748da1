//! What an input has changed, for those who write down what happens.

use super::Engine;
use crate::{CpuId, Runstate, VcpuId};

/// What the last input has changed. Who is named may be named twice, may have changed back, and may
/// be gone.
#[derive(Debug, Default)]
pub struct Changed {
    /// CPUs whose turn or loan may be another one.
    pub cpus: Vec<CpuId>,
    /// vCPUs whose runstate may be another one, apart from those that have just arrived.
    pub vcpus: Vec<VcpuId>,
}

impl Changed {
    pub(super) fn clear(&mut self) {
        self.cpus.clear();
        self.vcpus.clear();
    }
}

impl Engine {
    /// What the last input has changed.
    pub fn changed(&self) -> &Changed {
        &self.changed
    }

    /// Charges a vCPU for the time since the last change of its runstate.
    pub(super) fn account(&mut self, vcpu: VcpuId) {
        let now = self.now;
        self.changed.vcpus.push(vcpu);
        let state = self.view.vcpu_mut(vcpu);
        if state.runstate() == Runstate::Running && state.loan == state.on_cpu {
            state.borrowed_ns += now - state.since;
        }
        state.times = state.times(now);
        state.since = now;
    }
}
