use std::io::IoSliceMut;
use std::os::fd::{FromRawFd, RawFd};
use std::thread;

use nix::sys::socket::{Backlog, ControlMessageOwned, accept, bind, listen, recvmsg, send};

use super::*;
use crate::board::VCPUS_MAX;
use crate::thread_schedule::{affinity_of, set_affinity};

/// A node manager that listens at a path.
struct Listener {
    dir: tempfile::TempDir,
    socket: OwnedFd,
}

impl Listener {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = Self::listen(&dir.path().join("node.sock"));
        Self { dir, socket }
    }

    fn listen(path: &Path) -> OwnedFd {
        let flags = SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        bind(fd.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
        listen(&fd, Backlog::new(4).unwrap()).unwrap();
        fd
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("node.sock")
    }

    fn spec(&self) -> NodeSpec {
        NodeSpec {
            socket: self.path(),
            hello: Hello {
                protocol: PROTOCOL,
                name: "web".to_owned(),
                weight: 256,
                cap_percent: None,
                cpus: Some("0-1".to_owned()),
            },
        }
    }

    /// Answers one VM.
    #[expect(unsafe_code, reason = "descriptors that have just been received")]
    fn answer(&self, answer: &[u8]) -> (OwnedFd, Hello, Vec<OwnedFd>) {
        // SAFETY: new descriptors, which nobody else has.
        let own = |fd: RawFd| unsafe { OwnedFd::from_raw_fd(fd) };
        let peer = own(accept(self.socket.as_raw_fd()).unwrap());
        let mut text = vec![0; MESSAGE_LEN_MAX];
        let mut space = nix::cmsg_space!([RawFd; 1 + VCPUS_MAX as usize]);
        let (len, fds) = {
            let mut slices = [IoSliceMut::new(&mut text)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let message =
                recvmsg::<()>(peer.as_raw_fd(), &mut slices, Some(&mut space), flags).unwrap();
            let rights = message.cmsgs().unwrap().find_map(|part| match part {
                ControlMessageOwned::ScmRights(fds) => Some(fds),
                _ => None,
            });
            (message.bytes, rights.unwrap())
        };
        send(peer.as_raw_fd(), answer, MsgFlags::empty()).unwrap();
        let hello = serde_json::from_slice(&text[..len]).unwrap();
        (peer, hello, fds.into_iter().map(own).collect())
    }
}

fn welcome() -> Vec<u8> {
    serde_json::to_vec(&Answer::Welcome).unwrap()
}

fn board() -> Arc<Board> {
    Arc::new(Board::create(1).unwrap())
}

/// Something to stand for a vCPU's statistics.
fn stats() -> Vec<OwnedFd> {
    vec![std::fs::File::open("/dev/null").unwrap().into()]
}

#[test]
fn the_board_and_the_wishes_arrive() {
    let listener = Listener::new();
    let spec = listener.spec();
    let on_board = board();
    let link = thread::scope(|scope| {
        let joined = scope.spawn(|| NodeLink::join(&spec, on_board.clone(), stats()));
        let (peer, hello, fds) = listener.answer(&welcome());
        assert_eq!(hello, spec.hello);
        assert_eq!(fds.len(), 2);
        let mut fds = fds.into_iter();
        let theirs = Board::open(fds.next().unwrap().into()).unwrap();
        theirs.cell(0).want.store(8, Ordering::SeqCst);
        (joined.join().unwrap().unwrap(), peer)
    });
    assert_eq!(on_board.cell(0).want.load(Ordering::SeqCst), 8);
    drop(link);
}

#[test]
fn who_is_refused_hears_why() {
    let listener = Listener::new();
    let spec = listener.spec();
    let refused = Answer::Refused("the name web is taken".to_owned());
    let refused = serde_json::to_vec(&refused).unwrap();
    let error = |answer: &[u8]| {
        thread::scope(|scope| {
            let joined = scope.spawn(|| NodeLink::join(&spec, board(), stats()));
            listener.answer(answer);
            joined.join().unwrap().map(drop).unwrap_err().to_string()
        })
    };
    let said = error(&refused);
    assert!(
        said.ends_with("refused the VM: the name web is taken"),
        "{said}"
    );
    for nonsense in [&b"{}"[..], b"welcome", b"\xff", b"[1"] {
        let said = error(nonsense);
        assert!(said.ends_with("does not answer as expected"), "{said}");
    }
}

#[test]
fn nobody_there_is_an_error_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = Listener::new().spec();
    spec.socket = dir.path().join("none.sock");
    let absent = NodeLink::join(&spec, board(), stats()).map(drop);
    let said = absent.unwrap_err().to_string();
    assert!(said.contains("start one with `muster node`"), "{said}");

    // It listens and never answers.
    let listener = Listener::new();
    let began = Instant::now();
    let silent = NodeLink::join(&listener.spec(), board(), stats()).map(drop);
    assert!(
        matches!(silent, Err(JoinError::Answer { .. })),
        "{silent:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_vm_that_has_lost_its_node_manager_is_free_and_finds_the_next() {
    let listener = Listener::new();
    let spec = listener.spec();
    let on_board = board();
    close_gates(&on_board);
    let (mut link, peer) = thread::scope(|scope| {
        let joined = scope.spawn(|| NodeLink::join(&spec, on_board.clone(), stats()));
        let (peer, ..) = listener.answer(&welcome());
        (joined.join().unwrap().unwrap(), peer)
    });
    // A thread to stand for the vCPU's; the node manager has pinned it.
    let tid = nix::unistd::gettid().as_raw().cast_unsigned();
    on_board.cell(0).tid.store(tid, Ordering::SeqCst);
    let before = affinity_of(0).unwrap();
    set_affinity(0, &before[..1]).unwrap();
    on_board.renew_lease(now_ns(), LEASE_NS_MAX);
    link.look();
    assert!(on_board.lease_left_ns(now_ns()) > 0, "it is there");
    drop(peer);
    link.look();
    assert_eq!(on_board.lease_left_ns(now_ns()), 0);
    assert_eq!(affinity_of(0).unwrap(), before);

    let deadline = Instant::now() + Duration::from_secs(20);
    thread::scope(|scope| {
        let again = scope.spawn(|| listener.answer(&welcome()));
        while matches!(link.state, State::Lost { .. }) {
            assert!(Instant::now() < deadline, "it does not ask again");
            link.look();
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(again.join().unwrap().1, spec.hello);
    });
}

#[test]
fn a_node_manager_that_does_not_move_loses_its_hold_until_it_does() {
    let listener = Listener::new();
    let spec = listener.spec();
    let on_board = board();
    let (mut link, _peer) = thread::scope(|scope| {
        let joined = scope.spawn(|| NodeLink::join(&spec, on_board.clone(), stats()));
        let (peer, ..) = listener.answer(&welcome());
        (joined.join().unwrap().unwrap(), peer)
    });
    let tid = nix::unistd::gettid().as_raw().cast_unsigned();
    on_board.cell(0).tid.store(tid, Ordering::SeqCst);
    let before = affinity_of(0).unwrap();
    on_board.renew_lease(now_ns(), LEASE_NS_MAX);
    link.look();
    set_affinity(0, &before[..1]).unwrap();
    link.look();
    assert_eq!(affinity_of(0).unwrap().len(), 1, "it has a lease");
    on_board.header().lease_until_ns.store(0, Ordering::SeqCst);
    link.look();
    assert_eq!(affinity_of(0).unwrap(), before);
    let is_stale = |link: &NodeLink| matches!(link.state, State::Joined { is_stale: true, .. });
    assert!(is_stale(&link));
    on_board.renew_lease(now_ns(), LEASE_NS_MAX);
    link.look();
    assert!(!is_stale(&link));
}
