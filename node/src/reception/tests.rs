use std::fs::File;
use std::io::IoSlice;
use std::os::unix::fs::FileExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use muster_vmm::kvm;
use muster_vmm::kvm::stats;
use muster_vmm::node_link::{Hello, PROTOCOL};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessage, connect, recv, sendmsg};
use tempfile::TempDir;

use super::*;
use crate::enforcement::Permits;
use crate::testing::fake_vcpu::until;

mod hostile;

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
                        let answer = match newcomer.wishes.name.as_str() {
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
