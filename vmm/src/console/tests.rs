use super::*;

fn file_spec(path: &Path) -> ConsoleSpec {
    ConsoleSpec::File(path.to_owned())
}

#[test]
fn a_guest_that_never_starts_leaves_no_file_and_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (new, old) = (dir.path().join("new"), dir.path().join("old"));
    fs::write(&old, "precious").unwrap();
    drop(Console::open(&file_spec(&new), &[]).unwrap());
    drop(Console::open(&file_spec(&old), &[]).unwrap());
    assert!(!new.exists());
    assert_eq!(fs::read_to_string(&old).unwrap(), "precious");
}

#[test]
fn a_guest_that_starts_begins_an_empty_file_that_stays() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["new", "old"] {
        let path = dir.path().join(name);
        if name == "old" {
            fs::write(&path, "of an earlier run").unwrap();
        }
        let mut console = Console::open(&file_spec(&path), &[]).unwrap();
        console.begin().unwrap();
        console
            .writer(Arc::default())
            .unwrap()
            .write_all(b"hello")
            .unwrap();
        drop(console);
        assert_eq!(fs::read_to_string(&path).unwrap(), "hello");
    }
}

#[test]
fn the_guests_own_files_are_refused_by_any_name() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, link) = (dir.path().join("disk"), dir.path().join("link"));
    fs::write(&disk, "data").unwrap();
    std::os::unix::fs::symlink(&disk, &link).unwrap();
    let error = Console::open(&file_spec(&link), &[&disk]).unwrap_err();
    assert!(matches!(error, ConsoleError::InUse { .. }), "{error}");
    assert_eq!(fs::read_to_string(&disk).unwrap(), "data");
}

#[test]
fn a_pipe_without_a_reader_is_an_error_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = Console::open(&file_spec(&pipe), &[]).unwrap_err();
    assert!(matches!(error, ConsoleError::File { .. }), "{error}");
}
