//! What each moment must be like once all orders are carried out.

use std::collections::BTreeMap;

use muster_scheduler::view::VcpuView;
use muster_scheduler::{CpuId, Level, VcpuId, View};

/// Everybody is where the orders were to bring them.
pub fn check_occupants(view: &View, occupants: &[Option<VcpuId>]) -> Result<(), String> {
    let mut seen: BTreeMap<VcpuId, CpuId> = BTreeMap::new();
    for cpu in view.topology().cpus().iter() {
        let state = view.cpu(cpu);
        let occupant = occupants[cpu.index()];
        let wanted = match (state.loan, state.turn) {
            (Some(loan), _) => loan.to,
            (None, turn) => turn.map(|turn| turn.vcpu),
        };
        let held_back = |vcpu: &VcpuId| is_held_back(view.vcpu(*vcpu));
        let wanted = wanted.filter(|vcpu| !held_back(vcpu));
        if occupant != state.occupant || occupant != wanted {
            return Err(format!("{cpu} has {occupant:?}, wanted is {wanted:?}"));
        }
        let Some(vcpu) = occupant else { continue };
        if let Some(other) = seen.insert(vcpu, cpu) {
            return Err(format!("{vcpu} is on {cpu} and {other}"));
        }
        if !view.vcpu(vcpu).allowed.contains(cpu) {
            return Err(format!("{vcpu} may not be on {cpu}"));
        }
    }
    Ok(())
}

fn is_held_back(vcpu: &VcpuView) -> bool {
    vcpu.co_stopped || vcpu.throttled
}

/// No CPU does nothing while a ready vCPU may run there.
pub fn check_conservation(view: &View) -> Result<(), String> {
    for cpu in view.online().iter() {
        let occupant = view.cpu(cpu).occupant;
        if occupant.is_some_and(|vcpu| view.vcpu(vcpu).runnable()) {
            continue;
        }
        let waits = |(_, vcpu): &(VcpuId, &VcpuView)| {
            vcpu.runnable() && vcpu.on_cpu.is_none() && vcpu.allowed.contains(cpu)
        };
        if let Some((vcpu, _)) = view.vcpus().find(waits) {
            return Err(format!(
                "{cpu} idles ({:?}), {vcpu} is ready",
                view.cpu(cpu)
            ));
        }
    }
    Ok(())
}

/// Members of a unit that could run have slots together.
pub fn check_gangs(view: &View) -> Result<(), String> {
    for (_, vm) in view.vms() {
        for &unit in &vm.units {
            let members = &view.unit(unit).members;
            let has_slot = |vcpu: &&VcpuId| {
                let turn = view.vcpu(**vcpu).turn.and_then(|cpu| view.cpu(cpu).turn);
                turn.is_some_and(|turn| turn.level == Level::Slot)
            };
            let (with, without): (Vec<&VcpuId>, Vec<&VcpuId>) = members.iter().partition(has_slot);
            let left_out = without.iter().find(|vcpu| view.vcpu(***vcpu).runnable());
            if let (false, Some(vcpu)) = (with.is_empty(), left_out) {
                return Err(format!("{vcpu} has no slot, {with:?} of {unit} have"));
            }
        }
    }
    Ok(())
}
