use muster_vmm::thread_schedule::ThreadSchedule;

use super::*;
use crate::enforcement::Permits;

const ALL: Reach = Reach {
    bind: true,
    signal: true,
    pulse: true,
};

fn way(enforcement: Enforcement, asked: bool) -> Way {
    Way {
        enforcement,
        asked,
        permits: Permits::probe(),
    }
}

#[test]
fn who_cannot_be_signalled_gets_affinity_unless_gates_were_asked_for() {
    let mute = Reach {
        signal: false,
        ..ALL
    };
    let gate = |asked| mute.choose(way(Enforcement::Gate, asked));
    assert_eq!(gate(false), Ok(Enforcement::Affinity));
    assert_eq!(gate(true), Err(OutOfReach::Signal));
    for other in [Enforcement::Pulse, Enforcement::Affinity] {
        assert_eq!(mute.choose(way(other, true)), Ok(other));
    }
}

#[test]
fn who_cannot_be_bound_is_not_let_in() {
    let foreign = Reach { bind: false, ..ALL };
    for enforcement in Enforcement::ALL {
        let chosen = foreign.choose(way(enforcement, false));
        assert_eq!(chosen, Err(OutOfReach::Bind));
    }
}

#[test]
fn pulses_are_for_those_who_can_undo_them() {
    let stuck = Reach {
        pulse: false,
        ..ALL
    };
    let pulse = stuck.choose(way(Enforcement::Pulse, true));
    assert_eq!(pulse, Err(OutOfReach::Pulse));
    let gate = stuck.choose(way(Enforcement::Gate, false));
    assert_eq!(gate, Ok(Enforcement::Gate));
}

#[test]
fn own_threads_are_in_reach_and_left_as_they_were() {
    let thread = Thread {
        pid: std::process::id(),
        tid: nix::unistd::gettid().as_raw().cast_unsigned(),
    };
    let before = ThreadSchedule::of_this_thread().unwrap();
    let reach = Reach::of(&[thread], way(Enforcement::Pulse, true));
    assert!(reach.bind && reach.signal);
    if has_sys_nice(thread.pid) {
        assert!(reach.pulse);
    }
    assert_eq!(ThreadSchedule::of_this_thread().unwrap(), before);
    // A thread that is not of that process cannot be signalled as one of it.
    let foreign = Thread { tid: 1, ..thread };
    assert!(!Reach::of(&[thread, foreign], way(Enforcement::Gate, false)).signal);
}

#[test]
fn the_kernels_files_are_understood() {
    let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                  Max nice priority         30                   40                   \n";
    assert_eq!(parse_nice_limit(limits), Some(30));
    assert_eq!(
        parse_nice_limit("Max nice priority unlimited"),
        Some(u64::MAX)
    );
    assert_eq!(parse_nice_limit("Max nice priority"), None);
    assert_eq!(
        parse_capabilities("Uid:\t0\nCapEff:\t0000000000800000\n"),
        Some(SYS_NICE)
    );
    assert_eq!(parse_capabilities("CapEff:\tzz"), None);
}
