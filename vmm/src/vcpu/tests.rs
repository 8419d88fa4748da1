use std::sync::Mutex;

use muster_devices::Device;

use super::*;

type Accesses = Arc<Mutex<Vec<(u64, Vec<u8>)>>>;

/// Records writes, answers reads with a counter, and returns the same action for every write.
struct Recorder {
    writes: Accesses,
    next_read: u8,
    action: Action,
}

impl Device for Recorder {
    fn read(&mut self, _offset: u64, data: &mut [u8]) {
        data.fill(self.next_read);
        self.next_read += 1;
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Action {
        self.writes.lock().unwrap().push((offset, data.to_vec()));
        self.action
    }
}

/// A device at ports 0x100.. and another at addresses 0x1000.. that answer writes with `action`.
fn spaces(action: Action) -> (AddressSpaces, Accesses) {
    let writes = Accesses::default();
    let mut spaces = AddressSpaces::default();
    for (bus, base) in [(&mut spaces.ports, 0x100), (&mut spaces.mmio, 0x1000)] {
        let device = Recorder {
            writes: writes.clone(),
            next_read: 1,
            action,
        };
        bus.insert(base, 0x10, Arc::new(Mutex::new(device)))
            .unwrap();
    }
    (spaces, writes)
}

#[test]
fn reads_are_answered_and_the_guest_goes_on() {
    let (spaces, _) = spaces(Action::None);
    let mut data = [0; 4];
    let exit = Exit::PortRead {
        port: 0x104,
        width: 4,
        data: &mut data,
    };
    assert_eq!(handle_exit(exit, &spaces), None);
    assert_eq!(data, [1; 4]);
    let exit = Exit::MmioRead {
        address: 0x1008,
        data: &mut data,
    };
    assert_eq!(handle_exit(exit, &spaces), None);
    assert_eq!(data, [1; 4]);
    let exit = Exit::MmioRead {
        address: 0x9999,
        data: &mut data,
    };
    assert_eq!(handle_exit(exit, &spaces), None);
    assert_eq!(data, [0xff; 4]);
}

#[test]
fn a_string_instruction_is_as_many_accesses_as_it_has_elements() {
    let (spaces, writes) = spaces(Action::None);
    let exit = Exit::PortWrite {
        port: 0x100,
        width: 2,
        data: &[1, 2, 3, 4, 5, 6],
    };
    assert_eq!(handle_exit(exit, &spaces), None);
    assert_eq!(
        *writes.lock().unwrap(),
        [(0, vec![1, 2]), (0, vec![3, 4]), (0, vec![5, 6])]
    );

    let mut data = [0; 3];
    let exit = Exit::PortRead {
        port: 0x100,
        width: 1,
        data: &mut data,
    };
    assert_eq!(handle_exit(exit, &spaces), None);
    assert_eq!(data, [1, 2, 3]);
}

#[test]
fn a_devices_action_ends_the_thread() {
    for action in [Action::Shutdown, Action::Reset] {
        let (spaces, _) = spaces(action);
        let end = Some(VcpuEnd::Action(action));
        let exit = Exit::PortWrite {
            port: 0x100,
            width: 1,
            data: &[0],
        };
        assert_eq!(handle_exit(exit, &spaces), end);
        let exit = Exit::MmioWrite {
            address: 0x1000,
            data: &[0],
        };
        assert_eq!(handle_exit(exit, &spaces), end);
    }
}

#[test]
fn nothing_comes_after_the_access_that_ends_the_guest() {
    let (spaces, writes) = spaces(Action::Reset);
    let exit = Exit::PortWrite {
        port: 0x100,
        width: 1,
        data: &[1, 2, 3],
    };
    assert_eq!(
        handle_exit(exit, &spaces),
        Some(VcpuEnd::Action(Action::Reset))
    );
    assert_eq!(*writes.lock().unwrap(), [(0, vec![1])]);
}

#[test]
fn interruptions_go_on_and_failures_end() {
    let (spaces, _) = spaces(Action::None);
    assert_eq!(handle_exit(Exit::Interrupted, &spaces), None);
    assert_eq!(
        handle_exit(Exit::TripleFault, &spaces),
        Some(VcpuEnd::TripleFault)
    );
    let failure = VcpuFailure::Entry {
        reason: 0x8000_0021,
    };
    assert_eq!(
        handle_exit(Exit::Failed(failure.clone()), &spaces),
        Some(VcpuEnd::Failed(failure))
    );
}
