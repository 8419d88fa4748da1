//! The machine under a storm: it does nothing but carry out switches late.

use muster_scheduler::{Actuator, Nanos, Switch, VcpuId, VmId};

use crate::draw::Draw;

/// A machine without work.
#[derive(Debug)]
pub struct Machine {
    /// Per CPU: when it is to switch, and to what.
    pub pending: Vec<Option<(Nanos, Option<VcpuId>)>>,
    pub occupants: Vec<Option<VcpuId>>,
    pub draw: Draw,
    pub slowest: Nanos,
}

impl Actuator for Machine {
    fn switch(&mut self, now: Nanos, switches: &[Switch]) {
        for switch in switches {
            let at = now + self.draw.between(0, self.slowest);
            let next = switch.next.map(|(vcpu, _)| vcpu);
            self.pending[switch.cpu.index()] = Some((at, next));
        }
    }

    fn advise(&mut self, _: Nanos, _: VmId, cpus: u32) {
        assert!(cpus > 0, "a VM is told to use no CPU");
    }
}
