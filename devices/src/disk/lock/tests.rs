use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use tempfile::NamedTempFile;

use super::*;

const CHILD_PATH: &str = "MUSTER_TEST_LOCK_PATH";

fn open(path: &Path) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

fn holder(result: Result<(), LockError>) -> Option<Holder> {
    match result {
        Ok(()) => None,
        Err(LockError::Held(holder)) => Some(holder),
        Err(LockError::Refused(error)) => panic!("{error}"),
    }
}

#[test]
fn one_writer_or_many_readers() {
    let disk = NamedTempFile::new().unwrap();
    let (first, second) = (open(disk.path()), open(disk.path()));
    assert_eq!(holder(lock(&first, true)), None);
    for exclusive in [false, true] {
        assert_eq!(holder(lock(&second, exclusive)), Some(Holder::Ourselves));
    }
    drop(first);
    assert_eq!(
        holder(lock(&second, false)),
        None,
        "the lock ends with its file"
    );
    let third = open(disk.path());
    assert_eq!(holder(lock(&third, false)), None);
    assert_eq!(holder(lock(&third, true)), Some(Holder::Ourselves));
}

#[test]
fn a_lock_on_any_part_counts() {
    // QEMU locks single bytes.
    let disk = NamedTempFile::new().unwrap();
    let (ours, theirs) = (open(disk.path()), open(disk.path()));
    let byte = libc::flock {
        l_type: libc::F_RDLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 201,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(&theirs, FcntlArg::F_OFD_SETLK(&byte)).unwrap();
    assert_eq!(holder(lock(&ours, true)), Some(Holder::Ourselves));
    assert_eq!(holder(lock(&ours, false)), None);
}

#[test]
fn another_process_is_named() {
    let disk = NamedTempFile::new().unwrap();
    let mut child = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "disk::lock::tests::hold_a_lock",
            "--ignored",
            "--nocapture",
        ])
        .env(CHILD_PATH, disk.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        output.any(|line| line.unwrap().ends_with("locked")),
        "the child has the lock"
    );
    let found = holder(lock(&open(disk.path()), true)).expect("the child has the lock");
    // Its standard input ends.
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let Holder::Process { pid, command } = &found else {
        panic!("{found:?}")
    };
    assert_eq!(*pid, child.id());
    assert!(!command.is_empty());
    assert_eq!(found.to_string(), format!("pid {pid} ({command})"));
    assert_eq!(holder(lock(&open(disk.path()), true)), None);
}

#[test]
#[ignore = "the other process of `another_process_is_named`"]
fn hold_a_lock() {
    let file = open(Path::new(
        &env::var_os(CHILD_PATH).expect("run by another test"),
    ));
    assert_eq!(holder(lock(&file, true)), None);
    println!("locked");
    io::stdin().lines().for_each(drop);
}

#[test]
fn other_files_and_other_kinds_of_locks_are_no_holders() {
    let (disk, other) = (NamedTempFile::new().unwrap(), NamedTempFile::new().unwrap());
    let (file, other) = (open(disk.path()), open(other.path()));
    assert_eq!(holder(lock(&other, true)), None);
    // This one is flock(2).
    file.lock().unwrap();
    assert_eq!(find_holder(&file), Holder::Unknown);
}
