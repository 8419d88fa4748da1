//! A manager for tests that knows two VMs and does what it is told.

use std::sync::mpsc::{Receiver, channel};
use std::thread;

use muster_guest_page::{CLASSES, COUNTERS};

pub(crate) mod fake_vcpu;

use crate::handle::{NodeHandle, Reply, Request, RequestError};
use crate::manager::Message;
use crate::snapshot::{
    CpuSnapshot, Decision, LoadSnapshot, Locks, ManagerSnapshot, Snapshot, SwitchRecord,
    VcpuSnapshot, VcpuState, VmSnapshot,
};

/// Its handle, and what it was asked to do, as the request's debug text.
pub(crate) fn manager() -> (NodeHandle, Receiver<String>) {
    let (sender, messages) = channel();
    let (done, orders) = channel();
    // Ends with the last handle.
    thread::spawn(move || {
        for message in messages {
            if let Message::Request(request, reply_to) = message {
                let text = format!("{request:?}");
                let reply = answer(request);
                if matches!(reply, Ok(Reply::Done)) {
                    // A test may not want to know.
                    let _ = done.send(text);
                }
                let _ = reply_to.send(reply);
            }
        }
    });
    (NodeHandle::new(sender), orders)
}

fn answer(request: Request) -> Result<Reply, RequestError> {
    match request {
        Request::SetSchedule(_) => Ok(Reply::Done),
        Request::Pin { vm, vcpu, cpus } => {
            let count = vcpu_count(&vm)?;
            match vcpu {
                Some(vcpu) if vcpu >= count => Err(RequestError::UnknownVcpu { vm, vcpu, count }),
                _ if cpus.to_string() == "7" => Err(RequestError::NotBound {
                    vcpu: vm,
                    cpus: "7".to_owned(),
                    reason: "there is no such CPU".to_owned(),
                }),
                _ => Ok(Reply::Done),
            }
        }
        Request::SetWeight { vm, weight: 666 } => {
            Err(RequestError::Refused(format!("{vm}: not\nthat one")))
        }
        Request::SetWeight { vm, .. } | Request::SetCap { vm, .. } => {
            vcpu_count(&vm).map(|_| Reply::Done)
        }
        Request::Snapshot => Ok(Reply::Snapshot(Box::new(snapshot()))),
        Request::Decisions { count } => {
            let decisions = (0..count.min(30) as u64).map(decision);
            Ok(Reply::Decisions(decisions.collect()))
        }
        Request::Switches { since_ns } => {
            let switches = switches().into_iter();
            let since = switches.filter(|switch| switch.done_ns >= since_ns);
            Ok(Reply::Switches(since.collect()))
        }
    }
}

fn vcpu_count(vm: &str) -> Result<u32, RequestError> {
    match vm {
        "web" => Ok(2),
        "db" => Ok(1),
        name => Err(RequestError::UnknownVm {
            name: name.to_owned(),
            known: "web, db".to_owned(),
        }),
    }
}

fn decision(at_ns: u64) -> Decision {
    Decision {
        at_ns,
        cpu: 0,
        from: Some("web/0".to_owned()),
        to: None,
        reason: "the slice ended".to_owned(),
    }
}

/// A switch of CPU 0 every millisecond: web/0, db/0, nobody, and so on.
pub(crate) fn switches() -> Vec<SwitchRecord> {
    let turns = [Some("web/0"), Some("db/0"), None];
    let switch = |number: u64| SwitchRecord {
        planned_ns: number * 1_000_000,
        done_ns: number * 1_000_000 + 10,
        cpu: 0,
        vcpu: turns[number as usize % 3].map(str::to_owned),
        level: turns[number as usize % 3].map(|_| "slot".to_owned()),
    };
    (0..9).map(switch).collect()
}

/// Two VMs after a second.
pub(crate) fn snapshot() -> Snapshot {
    let vm = |name: &str, vcpus: u64, cap_percent| VmSnapshot {
        name: name.to_owned(),
        pid: 42,
        joined_ns: 0,
        weight: 256,
        cap_percent,
        locks: Locks::Linux,
        load: LoadSnapshot {
            runnable: 1.5,
            demand_cpus: 1.25,
            delivered_cpus: 0.75,
            steal_share: 0.4,
        },
        vcpus: (1..=vcpus).map(vcpu).collect(),
    };
    Snapshot {
        at_ns: 1_000_000_000,
        schedule: "gang:quantum=20ms".to_owned(),
        enforcement: "gate".to_owned(),
        policy_state: "slot 0: web\nslot 1: db\n".to_owned(),
        cpus: vec![CpuSnapshot {
            cpu: 0,
            vcpu: Some("web/0".to_owned()),
            stolen_ns: 5_000_000,
        }],
        vms: vec![vm("web", 2, Some(150)), vm("db", 1, None)],
        manager: ManagerSnapshot {
            cpu_ns: 2_000_000,
            decisions: 50,
            switches: 49,
            switch_p50_ns: 30_000,
            switch_p99_ns: 90_000,
            row_skew_p50_ns: 4_000,
            row_skew_p99_ns: 40_000,
            late_stops: 1,
            illegal_plans: 0,
        },
    }
}

fn vcpu(number: u64) -> VcpuSnapshot {
    VcpuSnapshot {
        state: VcpuState::Running,
        cpu: Some(0),
        allowed: "0-1".to_owned(),
        run_ns: 500_000_000 / number,
        ready_ns: 250_000_000,
        co_stop_ns: 0,
        halted_ns: 750_000_000 - 500_000_000 / number,
        holder_preemptions: 3 * number,
        preemptions: 10,
        counters: [0; COUNTERS],
        histogram: [0; CLASSES],
    }
}
