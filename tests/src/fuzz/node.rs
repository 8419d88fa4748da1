//! What reaches a node manager from outside: VMs that join, their boards, and its API.

use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::str::from_utf8;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use muster_node::hello::Wishes;
use muster_node::seat::Seat;
use muster_node::thread::Thread;
use muster_node::{Enforcement, NodeHandle, OfflineApi};
use muster_scheduler::engine::Input as EngineInput;
use muster_scheduler::{
    Actuator, CpuId, Engine, MS, Nanos, PolicySpec, Switch, Topology, VcpuId, VmId, VmSpec,
};
use muster_vmm::board::{Board, LEASE_NS_MAX, LockSeen, VCPUS_MAX};
use muster_vmm::kick;
use muster_vmm::node_link::is_name;
use nix::unistd::gettid;
use serde_json::Value;

use super::input::Input;

/// Nothing is done about what the engine orders.
struct Nothing;

impl Actuator for Nothing {
    fn switch(&mut self, _: Nanos, _: &[Switch]) {}

    fn advise(&mut self, _: Nanos, _: VmId, _: u32) {}
}

fn one_line(error: &str) {
    assert!(!error.trim().is_empty(), "refused without a word");
    let control = error.chars().find(|c| c.is_control());
    assert_eq!(control, None, "more than plain text: {error:?}");
}

/// What a VM says when it joins. Whatever is accepted has a plain name, and the engine takes it beside
/// another VM or says why not.
pub fn run_hello(bytes: &[u8]) {
    let wishes = match Wishes::read(bytes) {
        Ok(wishes) => wishes,
        Err(error) => return one_line(&error.to_string()),
    };
    assert!(is_name(&wishes.name), "{:?}", wishes.name);
    let topology = Topology::flat(2);
    let gang: PolicySpec = "gang+smart".parse().expect("there is such a policy");
    let policy = gang.build(&topology);
    let mut engine = Engine::new(topology, policy);
    let first = engine.arrive(0, VmSpec::new("other", 2), |_| false, &mut Nothing);
    first.expect("it is sound");
    let joined = engine.arrive(1, wishes.spec(2), |_| false, &mut Nothing);
    let vm = match joined {
        Ok(vm) => vm,
        Err(error) => return one_line(&error.to_string()),
    };
    for at in 1..50 {
        let handled = engine.handle(at * 7 * MS, EngineInput::Time, &mut Nothing);
        handled.expect("time may pass");
    }
    let handled = engine.handle(400 * MS, EngineInput::Leave(vm), &mut Nothing);
    handled.expect("it may leave");
}

/// A sound message, and messages that are wrong in one respect.
pub fn hello_seeds() -> Vec<Vec<u8>> {
    [
        r#"{"protocol":1,"name":"web","weight":256,"cap_percent":null,"cpus":null}"#,
        r#"{"protocol":1,"name":"a.b-c_9","weight":10000,"cap_percent":150,"cpus":"0-1,3"}"#,
        r#"{"protocol":1,"name":"x","weight":0,"cap_percent":4294967295,"cpus":"1023"}"#,
        r#"{"protocol":2,"name":"x","weight":1,"cap_percent":0,"cpus":""}"#,
        r#"{"protocol":1,"name":"../x","weight":1,"more":1}"#,
        "{\"[3\\n11___\"_@\\\"_",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// Operations on a board, each a byte that chooses it and then its operands.
const WRITE: u8 = 0;
const CLOSE: u8 = 1;
const OPEN: u8 = 2;
const TAKE: u8 = 3;
const LOOK: u8 = 4;
const OPERATIONS: u8 = 5;

/// A board whose VM writes anything anywhere, while the node manager uses it: its own wishes hold, and
/// what it reads is within bounds.
pub fn run_board(bytes: &[u8]) {
    kick::install_handler().expect("a handler can be installed");
    let mut input = Input::new(bytes);
    let vcpus = 1 + u32::from(input.u8()) % VCPUS_MAX;
    let theirs = Board::create(vcpus).expect("there is memory");
    let file = || theirs.as_fd().try_clone_to_owned().expect("a copy").into();
    let memory: std::fs::File = file();
    let len = memory.metadata().expect("a length").len();
    let ours = Arc::new(Board::open(file()).expect("it is sound as yet"));
    let thread = Thread {
        pid: std::process::id(),
        tid: gettid().as_raw().cast_unsigned(),
    };
    let seats: Vec<Seat> = (0..vcpus.min(3))
        .map(|index| {
            let ids = (VmId(0), VcpuId(index));
            let name = format!("web/{index}");
            Seat::new(ids, name, index, Enforcement::Gate, (ours.clone(), thread))
        })
        .collect();
    let mut closed = vec![false; seats.len()];
    while !input.is_empty() {
        let operation = input.u8() % OPERATIONS;
        let index = usize::from(input.u8()) % seats.len();
        let seat = &seats[index];
        match operation {
            WRITE => {
                let at = u64::from(input.u16()) * 4 % len;
                let piece = input.piece(8);
                let room = piece.len().min((len - at) as usize);
                memory
                    .write_all_at(&piece[..room], at)
                    .expect("it is there");
            }
            CLOSE => {
                let want = seat.close(input.u64());
                let cell = ours.cell(seat.index);
                if !closed[index] {
                    assert_eq!(cell.want.load(Ordering::SeqCst), want);
                }
                closed[index] = true;
                // Not a moment: it may say that it has obeyed, or not.
                seat.wait_obeyed(want, 0);
            }
            OPEN => {
                seat.open();
                closed[index] = false;
            }
            TAKE => {
                let cpu = CpuId(input.u8().into());
                if seat.take(cpu, 0) {
                    assert_eq!(seat.cpu(), Some(cpu));
                    seat.release_from(cpu);
                }
                assert_eq!(seat.cpu(), None);
            }
            _ => look(&ours, seat),
        }
        assert_eq!(seat.is_closed(), closed[index]);
    }
    assert_eq!(ours.vcpus(), vcpus, "it is as many as it was");
    if let Err(error) = Board::open(file()) {
        one_line(&error.to_string());
    }
}

/// Reads all that a node manager reads of a vCPU.
fn look(board: &Board, seat: &Seat) {
    let (_, lock) = seat.last_stop();
    let known = [LockSeen::Free, LockSeen::Holding, LockSeen::Waiting];
    assert!(known.contains(&lock) && known.contains(&board.lock_told(seat.index)));
    assert!(board.lease_left_ns(0) <= LEASE_NS_MAX);
    board.renew_lease(u64::MAX, LEASE_NS_MAX);
    let cell = board.cell(seat.index);
    assert!(cell.parked_until(0) >= cell.parked_ns.load(Ordering::SeqCst));
    let _ = (seat.parked_ns(), seat.has_escaped(), seat.is_parked());
    let record = board.record(seat.index);
    for number in record.counters.iter().chain(&record.histogram) {
        number.load(Ordering::Relaxed);
    }
    let advised = &board.guest_header().cpus_advised;
    advised.store(1, Ordering::Relaxed);
}

/// Boards that are used as they should be, and cells that say the largest numbers.
pub fn board_seeds() -> Vec<Vec<u8>> {
    let close_and_open = vec![
        1, CLOSE, 0, 7, 0, 0, 0, 0, 0, 0, 0, LOOK, 0, OPEN, 0, TAKE, 0, 5,
    ];
    let mut cells = vec![2];
    // The cells begin with the second page; what the VM writes, in the middle of each.
    for at in (4096_u16..4352).step_by(8) {
        cells.extend([WRITE, 0]);
        cells.extend((at / 4).to_le_bytes());
        cells.extend([0xff; 8]);
        cells.extend([LOOK, (at / 128) as u8, CLOSE, 1]);
        cells.extend([0xff; 8]);
        cells.extend([OPEN, 1]);
    }
    let header = [
        vec![0, WRITE, 0, 0, 0],
        vec![0xff; 8],
        vec![WRITE, 0, 2, 0],
        vec![0xff; 8],
    ]
    .concat();
    vec![close_and_open, cells, header]
}

/// Requests to the API: the method and the path in the first line, and then the body. The node manager
/// has ended, so that whatever makes sense is answered with 503. What makes none is told in one line.
pub fn run_api(bytes: &[u8]) {
    static API: OnceLock<OfflineApi> = OnceLock::new();
    let api = API
        .get_or_init(|| OfflineApi::new(&NodeHandle::of_nobody()).expect("a runtime can be made"));
    let end = bytes.iter().position(|&byte| byte == b'\n');
    let (line, body) = bytes.split_at(end.unwrap_or(bytes.len()));
    let line = from_utf8(line).ok();
    let Some((method, path)) = line.and_then(|line| line.split_once(' ')) else {
        return;
    };
    let body = body.get(1..).unwrap_or_default();
    let Some((status, answer)) = api.ask(method, path, body) else {
        return;
    };
    assert!([400, 404, 405, 413, 503].contains(&status), "{status}");
    if method == "HEAD" {
        return;
    }
    let answer: Value = serde_json::from_slice(&answer).expect("it is JSON");
    let error = answer["error"].as_str().expect("it is an error");
    one_line(error);
}

/// One of each request.
pub fn api_seeds() -> Vec<Vec<u8>> {
    [
        "GET /v1/snapshot\n",
        "GET /v1/decisions?count=20\n",
        "GET /v1/switches?since=18446744073709551615\n",
        "GET /metrics\n",
        "PUT /v1/schedule\n{\"schedule\": \"gang:quantum=20ms,backfill+smart\"}",
        "PUT /v1/schedule\n{\"schedule\": \"host:pin,slice=100ms\"}",
        "PUT /v1/vms/web/weight\n{\"weight\": 512}",
        "PUT /v1/vms/web/cap\n{\"percent\": 150}",
        "PUT /v1/vms/web/cap\n{\"percent\": null}",
        "PUT /v1/vms/web/cpus\n{\"cpus\": \"0-3,8\"}",
        "PUT /v1/vms/web/vcpus/1/cpus\n{\"cpus\": \"3\"}",
        "PUT /v1/vms/%84/cap\n{\"percent\": null}",
        "POST /v1/vms/%2e%2e%0a/weight\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_seeds_are_accepted() {
        let sound = |seed: &[u8]| Wishes::read(seed).is_ok();
        let accepted: Vec<bool> = hello_seeds().iter().map(|seed| sound(seed)).collect();
        assert_eq!(accepted, [true, true, true, false, false, false]);
    }

    #[test]
    fn sound_requests_reach_the_node_manager() {
        let api = OfflineApi::new(&NodeHandle::of_nobody()).unwrap();
        for seed in &api_seeds()[..11] {
            let (line, body) = from_utf8(seed).unwrap().split_once('\n').unwrap();
            let (method, path) = line.split_once(' ').unwrap();
            let (status, _) = api.ask(method, path, body.as_bytes()).unwrap();
            assert_eq!(status, 503, "{line}");
        }
    }
}
