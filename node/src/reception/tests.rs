use std::fs::File;
use std::io::IoSlice;
use std::os::unix::fs::FileExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use muster_vmm::kvm;
use muster_vmm::kvm::stats;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessage, connect, recv, sendmsg};
use tempfile::TempDir;

use super::*;
use crate::enforcement::Permits;
use crate::testing::fake_vcpu::until;

/// What the manager is told.
enum Told {
    Joined(Box<Newcomer>),
    Left(u64),
}

/// A reception whose manager lets everybody in, but those who are called `taken`.
struct Desk {
    dir: TempDir,
    told: Receiver<Told>,
    reception: Option<Reception>,
}

impl Desk {
    fn open() -> Self {
        Self::open_by(Permits::probe().best())
    }

    fn open_by(way: Way) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (sender, messages) = channel();
        let (tell, told) = channel();
        thread::spawn(move || {
            for message in messages {
                let news = match message {
                    Message::Join(newcomer, reply_to) => {
                        let answer = match newcomer.hello.name.as_str() {
                            "taken" => Err("the name taken is taken".to_owned()),
                            _ => Ok(()),
                        };
                        let _ = reply_to.send(answer);
                        Told::Joined(newcomer)
                    }
                    Message::Left(connection) => Told::Left(connection),
                    _ => continue,
                };
                // A test may not want to know.
                let _ = tell.send(news);
            }
        });
        let reception = Reception::start(&dir.path().join("s"), way, sender);
        Self {
            reception: Some(reception.unwrap()),
            told,
            dir,
        }
    }

    fn connect(&self) -> OwnedFd {
        let flags = SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        let address = UnixAddr::new(&self.dir.path().join("s")).unwrap();
        connect(fd.as_raw_fd(), &address).unwrap();
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(20, 0)).unwrap();
        fd
    }

    /// What is answered to this.
    fn answer(&self, text: &[u8], fds: &[&dyn AsRawFd]) -> String {
        answer(&self.connect(), text, fds)
    }

    /// Why a VM with this board and one vCPU is refused.
    fn refusal_of(&self, board: &File) -> String {
        let null = File::open("/dev/null").unwrap();
        self.answer(&hello("a"), &[board, &null])
    }

    fn next(&self) -> Told {
        self.told.recv_timeout(Duration::from_secs(20)).unwrap()
    }
}

fn answer(peer: &OwnedFd, text: &[u8], fds: &[&dyn AsRawFd]) -> String {
    let fds: Vec<i32> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let rights = if fds.is_empty() { &[][..] } else { &rights };
    let slices = [IoSlice::new(text)];
    sendmsg::<()>(
        peer.as_raw_fd(),
        &slices,
        rights,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
    .unwrap();
    heard(peer)
}

fn heard(peer: &OwnedFd) -> String {
    let mut text = vec![0; MESSAGE_LEN_MAX];
    let len = recv(peer.as_raw_fd(), &mut text, MsgFlags::empty()).unwrap();
    String::from_utf8(text[..len].to_vec()).unwrap()
}

fn hello(name: &str) -> Vec<u8> {
    let hello = Hello {
        protocol: PROTOCOL,
        name: name.to_owned(),
        weight: 256,
        cap_percent: None,
        cpus: None,
    };
    serde_json::to_vec(&hello).unwrap()
}

/// The memory of a board for one vCPU, which this thread runs.
fn board() -> File {
    let board = Board::create(1).unwrap();
    let tid = nix::unistd::gettid().as_raw().cast_unsigned();
    board.cell(0).tid.store(tid, Ordering::SeqCst);
    board.as_fd().try_clone_to_owned().unwrap().into()
}

/// A vCPU's statistics, where there is KVM.
fn statistics() -> Option<OwnedFd> {
    let Ok(kvm) = kvm::open() else {
        eprintln!("SKIPPED, no KVM");
        return None;
    };
    let vm = kvm.create_vm().unwrap();
    vm.create_irq_chip().unwrap();
    Some(stats::descriptor(&vm.create_vcpu(0).unwrap()).unwrap())
}

/// Descriptors of this process.
fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn who_is_sound_is_let_in_and_missed_when_it_has_gone() {
    let Some(stats) = statistics() else { return };
    let desk = Desk::open();
    let peer = desk.connect();
    assert_eq!(
        answer(&peer, &hello("a"), &[&board(), &stats]),
        "\"welcome\""
    );
    let Told::Joined(newcomer) = desk.next() else {
        panic!("it has not joined");
    };
    assert_eq!(newcomer.pid, std::process::id());
    assert_eq!(newcomer.threads[0].pid, newcomer.pid);
    assert_eq!(newcomer.enforcement, Enforcement::Gate);
    drop(peer);
    assert!(matches!(desk.next(), Told::Left(connection) if connection == newcomer.connection));

    // Who says more than hello has gone as well.
    let peer = desk.connect();
    assert_eq!(
        answer(&peer, &hello("b"), &[&board(), &stats]),
        "\"welcome\""
    );
    assert!(matches!(desk.next(), Told::Joined(_)));
    send(peer.as_raw_fd(), b"more", MsgFlags::empty()).unwrap();
    assert!(matches!(desk.next(), Told::Left(_)));

    // The manager has the last word.
    let refused = desk.answer(&hello("taken"), &[&board(), &stats]);
    assert!(refused.contains("the name taken is taken"), "{refused}");
}

#[test]
fn what_cannot_be_understood_is_refused_with_a_line() {
    let desk = Desk::open();
    let (board, null) = (board(), File::open("/dev/null").unwrap());
    let said = |text: &str| desk.answer(text.as_bytes(), &[&board, &null]);
    let plain = String::from_utf8(hello("a")).unwrap();
    for (text, part) in [
        ("", "nothing that can be understood"),
        ("{", "nothing that can be understood"),
        (&plain[..plain.len() / 2], "nothing that can be understood"),
        (&format!("{plain} more"), "nothing that can be understood"),
        (&plain.replace("weight", "wait"), "unknown field"),
        (
            &plain.replace("256", "-1"),
            "nothing that can be understood",
        ),
        (
            &plain.replace("\"protocol\":1", "\"protocol\":2"),
            "version 2 of the protocol",
        ),
        (&plain.replace("\"a\"", "\"\""), "is no name"),
        (&plain.replace("\"a\"", "\"../a\""), "is no name"),
        (&plain.replace("\"a\"", "\"a\\nb\""), "is no name"),
        (&plain.replace("\"a\"", "\"a\\u001b[2J\""), "is no name"),
        (
            &plain.replace("\"a\"", &format!("\"{}\"", "a".repeat(64))),
            "is no name",
        ),
        (
            &plain.replace("\"cpus\":null", "\"cpus\":\"3-1\""),
            "no list of CPUs",
        ),
        (
            &plain.replace("\"cpus\":null", "\"cpus\":\"99999\""),
            "no list of CPUs",
        ),
    ] {
        let refused = said(text);
        assert!(
            refused.contains("refused") && refused.contains(part),
            "{text:?}: {refused}"
        );
        assert!(!refused.contains(['\n', '\u{1b}']), "{text:?}: {refused}");
    }
    let long = desk.answer(&vec![b' '; MESSAGE_LEN_MAX + 1], &[]);
    assert!(long.contains("more than 16384 bytes"), "{long}");
    assert!(
        desk.told
            .try_iter()
            .all(|told| matches!(told, Told::Left(_)))
    );
}

#[test]
fn boards_that_are_none_are_refused() {
    let desk = Desk::open();
    let sound = board();
    let len = sound.metadata().unwrap().len();
    // What is sound but for the statistics: the board itself is accepted.
    assert!(
        desk.refusal_of(&sound)
            .contains("statistics is something else")
    );
    assert!(sound.set_len(0).is_err(), "it cannot be made shorter");

    let made = |len, seals| {
        let file = File::from(memfd_create(c"test", MFdFlags::MFD_ALLOW_SEALING).unwrap());
        file.set_len(len).unwrap();
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).unwrap();
        desk.refusal_of(&file)
    };
    assert!(made(len, SealFlag::empty()).contains("not sealed"));
    assert!(made(len - 1, SealFlag::F_SEAL_SHRINK).contains("bytes"));
    assert!(made(0, SealFlag::F_SEAL_SHRINK).contains("has 0 bytes"));
    assert!(made(1 << 40, SealFlag::F_SEAL_SHRINK).contains("bytes"));
    assert!(made(len, SealFlag::F_SEAL_SHRINK).contains("another version"));
    let sealed = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_WRITE;
    assert!(
        made(len, sealed).contains("refused"),
        "it cannot be written to"
    );
    for path in ["/dev/null", "/dev/zero", "/proc/self/exe", "/"] {
        let refused = desk.refusal_of(&File::open(path).unwrap());
        assert!(refused.contains("not sealed"), "{path}: {refused}");
    }

    // Its header: the magic number at 0, the version at 8, the vCPUs at 12.
    for (at, value, part) in [
        (0, 0, "another version"),
        (8, 2, "another version"),
        (12, 0, "for 0 vCPUs"),
        (12, 65, "for 65 vCPUs"),
        (12, u32::MAX, "for 4294967295 vCPUs"),
        (12, 2, "sent 2 descriptors where 3 are expected"),
    ] {
        let board = board();
        board.write_all_at(&value.to_le_bytes(), at).unwrap();
        let refused = desk.refusal_of(&board);
        assert!(refused.contains(part), "{value} at {at}: {refused}");
    }
}

#[test]
fn descriptors_that_are_too_many_or_too_few_are_refused_and_closed() {
    let desk = Desk::open();
    let (board, null) = (board(), File::open("/dev/null").unwrap());
    let none = desk.answer(&hello("a"), &[]);
    assert!(
        none.contains("sent 0 descriptors where 2 are expected"),
        "{none}"
    );
    let one = desk.answer(&hello("a"), &[&board]);
    assert!(
        one.contains("sent 1 descriptors where 2 are expected"),
        "{one}"
    );
    let fifty: Vec<&dyn AsRawFd> = (0..50).map(|_| &board as &dyn AsRawFd).collect();
    let before = open_files();
    for _ in 0..3 {
        let refused = desk.answer(&hello("a"), &fifty);
        assert!(refused.contains("sent 50 descriptors where 2"), "{refused}");
        let all: Vec<&dyn AsRawFd> = (0..200).map(|_| &null as &dyn AsRawFd).collect();
        let refused = desk.answer(&hello("a"), &all);
        assert!(refused.contains("sends more than a board"), "{refused}");
    }
    until("nothing is kept open", || open_files() <= before + 4);
}

/// Another process of this user.
struct Other(Child);

impl Other {
    fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn threads_of_others_are_found_out() {
    let desk = Desk::open();
    let other = Other::start(Command::new("sleep").arg("60"));
    // The address of the first cell's number, as the board itself has it.
    for tid in [0, 1, u32::MAX, 0x8000_0000, other.0.id()] {
        let made = Board::create(1).unwrap();
        made.cell(0).tid.store(tid, Ordering::SeqCst);
        let file = made.as_fd().try_clone_to_owned().unwrap().into();
        let refused = desk.refusal_of(&file);
        assert!(
            refused.contains("vCPU 0 has no thread of this process"),
            "{tid}: {refused}"
        );
    }
}

#[test]
fn who_is_silent_is_not_waited_for_long() {
    let desk = Desk::open();
    let began = Instant::now();
    let silent = desk.connect();
    let gone = desk.connect();
    drop(gone);
    let refused = desk.answer(&hello("a"), &[]);
    assert!(refused.contains("descriptors"), "{refused}");
    assert!(heard(&silent).contains("it cannot be heard"));
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// The socket at which a child of this test is to join.
const ROLE: &str = "MUSTER_TEST_RECEPTION";

/// Joins, leaves the connection to a process that does nothing, whose number it says, and ends.
#[expect(clippy::zombie_processes, reason = "it outlives this process")]
fn join_and_leave_the_connection_behind(path: &str) {
    let stats = statistics().unwrap();
    let kind = SockType::SeqPacket;
    let peer = socket(AddressFamily::Unix, kind, SockFlag::empty(), None).unwrap();
    connect(peer.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    let mut sleep = Command::new("sleep");
    sleep.stdout(Stdio::null()).stderr(Stdio::null());
    let heir = sleep.arg("60").spawn().unwrap();
    assert_eq!(
        answer(&peer, &hello("a"), &[&board(), &stats]),
        "\"welcome\""
    );
    println!("heir {}", heir.id());
}

#[test]
fn a_vm_whose_process_ends_has_gone_whoever_keeps_its_connection() {
    if let Ok(path) = std::env::var(ROLE) {
        return join_and_leave_the_connection_behind(&path);
    }
    if statistics().is_none() {
        return;
    }
    let desk = Desk::open();
    let name = "reception::tests::a_vm_whose_process_ends_has_gone_whoever_keeps_its_connection";
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", name, "--nocapture"]);
    child.env(ROLE, desk.dir.path().join("s"));
    let output = child.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let heir = said.lines().find_map(|line| line.split_once("heir "));
    let heir: i32 = heir.unwrap_or_else(|| panic!("{said}")).1.parse().unwrap();
    let (joined, left) = (desk.next(), desk.next());
    let is_here = kill(nix::unistd::Pid::from_raw(heir), None);
    kill(nix::unistd::Pid::from_raw(heir), Signal::SIGKILL).unwrap();
    is_here.unwrap();
    let Told::Joined(newcomer) = joined else {
        panic!("it has not joined");
    };
    assert!(matches!(left, Told::Left(connection) if connection == newcomer.connection));
}

#[test]
fn a_way_that_was_asked_for_and_cannot_be_had_is_refused() {
    let Some(stats) = statistics() else { return };
    for asked in Enforcement::ALL {
        let Ok(way) = Permits::probe().choose(Some(asked)) else {
            continue;
        };
        let desk = Desk::open_by(way);
        let said = desk.answer(&hello("a"), &[&board(), &stats]);
        // This process may do to itself whatever the node manager, which it is, may do.
        if asked != Enforcement::Pulse || said.contains("welcome") {
            assert_eq!(said, "\"welcome\"");
            let Told::Joined(newcomer) = desk.next() else {
                panic!("it has not joined");
            };
            assert_eq!(newcomer.enforcement, asked);
        } else {
            assert!(said.contains("ulimit -r 10 -e 20"), "{said}");
        }
    }
}

#[test]
fn a_reception_that_ends_leaves_no_socket() {
    let mut desk = Desk::open();
    let path = desk.dir.path().join("s");
    assert!(path.exists());
    desk.reception = None;
    assert!(!path.exists());
}
