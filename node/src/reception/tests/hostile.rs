//! What no VM of ours would send.

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::*;

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
            &plain.replace("weight", "a\\n\\u001b[2J"),
            "unknown field `a  [2J`",
        ),
        (
            &plain.replace("weight", &"w".repeat(9000)),
            "unknown field `wwww",
        ),
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
        let Ok(Answer::Refused(told)) = serde_json::from_str(&refused) else {
            panic!("{refused}");
        };
        assert!(!told.contains(char::is_control), "{text:?}: {told:?}");
        assert!(refused.len() < 400, "{text:?}: {} bytes", refused.len());
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
        (8, u32::MAX, "another version"),
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
