//! What is done for the kernel's scheduler where it decides: nothing, or binding and slices.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_scheduler::{CpuId, CpuSet, VcpuId, View};
use muster_vmm::thread_schedule::{Class, set_affinity, set_class};

use crate::enforcement::USUAL;
use crate::schedule::HostSchedule;
use crate::seat::Seat;

/// Leaves all vCPUs to the kernel, as `schedule` says.
pub(crate) fn apply<'a>(
    schedule: HostSchedule,
    view: &View,
    seats: impl Iterator<Item = &'a Arc<Seat>>,
) {
    let homes = homes(view);
    for seat in seats {
        let allowed = view.vcpu(seat.id).allowed;
        let cpus = match homes.get(&seat.id) {
            Some(&home) if schedule.pin => CpuSet::only(home),
            _ => allowed,
        };
        let cpus: Vec<usize> = cpus.iter().map(CpuId::index).collect();
        seat.forget_binding();
        let class = match schedule.slice_ns {
            Some(slice_ns) => Class::Fair { nice: 0, slice_ns },
            None => USUAL,
        };
        let done = set_affinity(seat.tid(), &cpus).and_then(|()| set_class(seat.tid(), class));
        if let Err(error) = done
            && error.raw_os_error() != Some(libc::ESRCH)
        {
            tracing::warn!(vcpu = seat.name, %error, "cannot leave a vCPU to the kernel as asked");
        }
        seat.open();
    }
}

/// A CPU for each vCPU: one that its siblings have not, and then the one with the fewest vCPUs.
fn homes(view: &View) -> BTreeMap<VcpuId, CpuId> {
    let mut load = vec![0; view.topology().cpu_count()];
    let mut homes = BTreeMap::new();
    for (_, vm) in view.vms() {
        let mut siblings = vec![0; load.len()];
        for vcpu in vm.vcpus() {
            let allowed = view.vcpu(vcpu).allowed;
            let best = allowed
                .iter()
                .min_by_key(|cpu| (siblings[cpu.index()], load[cpu.index()], *cpu));
            if let Some(cpu) = best {
                siblings[cpu.index()] += 1;
                load[cpu.index()] += 1;
                homes.insert(vcpu, cpu);
            }
        }
    }
    homes
}
