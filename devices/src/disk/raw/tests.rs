use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;

use nix::sys::stat::Mode;
use tempfile::{NamedTempFile, TempDir};

use super::super::conformance::{self, LEN_MIN};
use super::super::faulty::FaultyDisk;
use super::*;

const READ_ONLY: RawDiskSpec = RawDiskSpec {
    read_only: true,
    serial: None,
};

fn image(len: u64) -> NamedTempFile {
    let file = NamedTempFile::with_suffix(".img").unwrap();
    file.as_file().set_len(len).unwrap();
    file
}

fn open(file: &NamedTempFile) -> RawDisk {
    RawDisk::open(file.path(), &RawDiskSpec::default()).unwrap()
}

fn open_error(path: &Path, spec: &RawDiskSpec) -> OpenDiskError {
    RawDisk::open(path, spec).unwrap_err()
}

#[test]
fn raw_disks_conform() {
    let file = image(LEN_MIN + 3 * SECTOR_SIZE);
    conformance::check_writable(&open(&file));
    conformance::check_writable(&FaultyDisk::new(open(&file)));
    let content: Vec<u8> = (0..8192).map(|at| (at / 7) as u8).collect();
    let mut file = image(0);
    file.write_all(&content).unwrap();
    conformance::check_read_only(&RawDisk::open(file.path(), &READ_ONLY).unwrap(), &content);
}

#[test]
fn raw_disks_conform_where_files_cannot_zero_ranges() {
    // A tmpfs has holes, but no FALLOC_FL_ZERO_RANGE.
    if let Ok(file) = NamedTempFile::new_in("/dev/shm") {
        file.as_file().set_len(LEN_MIN).unwrap();
        conformance::check_writable(&open(&file));
    }
    let file = image(LEN_MIN);
    let disk = open(&file);
    conformance::write(&disk, 0, &[7; 200 << 10]).unwrap();
    disk.write_out_zeroes(512, 150 << 10).unwrap();
    let after = conformance::read(&disk, 0, 200 << 10).unwrap();
    let zeroes = after[512..][..150 << 10].iter().all(|byte| *byte == 0);
    assert!(zeroes && after[511] == 7 && after[512 + (150 << 10)] == 7);
}

#[test]
fn storage_comes_back() {
    let file = image(LEN_MIN);
    let disk = open(&file);
    let blocks = || file.as_file().metadata().unwrap().blocks();
    let fill = || {
        conformance::write(&disk, 0, &vec![1; LEN_MIN as usize]).unwrap();
        disk.flush().unwrap();
        blocks()
    };
    let full = fill();
    disk.discard(0, LEN_MIN).unwrap();
    assert!(blocks() < full / 2, "discard");
    fill();
    disk.write_zeroes(0, LEN_MIN, true).unwrap();
    assert!(blocks() < full / 2, "write zeroes with unmap");
    fill();
    disk.write_zeroes(0, LEN_MIN, false).unwrap();
    assert!(
        blocks() >= full / 2,
        "write zeroes without unmap keeps the storage"
    );
}

#[test]
fn a_file_that_shrinks_gives_errors() {
    let file = image(LEN_MIN);
    let disk = open(&file);
    file.as_file().set_len(4096).unwrap();
    assert!(matches!(
        conformance::read(&disk, 4096, 512),
        Err(DiskError::Io(_))
    ));
    conformance::read(&disk, 0, 4096).unwrap();
}

#[test]
fn a_full_host_gives_errors() {
    let file = image(LEN_MIN);
    let disk = open(&file);
    // Stands for a file on a full file system.
    let full = File::options().write(true).open("/dev/full").unwrap();
    let disk = RawDisk { file: full, ..disk };
    let Err(DiskError::Io(error)) = conformance::write(&disk, 0, &[0; 512]) else {
        panic!()
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull);
}

#[test]
fn what_is_no_disk_is_refused_at_once() {
    let dir = TempDir::new().unwrap();
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let socket = dir.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    let missing = dir.path().join("missing.img");
    let spec = RawDiskSpec::default();
    for (path, expected) in [
        (dir.path(), "is a directory"),
        (&fifo, "is a named pipe"),
        (&socket, "is a socket"),
        (Path::new("/dev/null"), "is a character device"),
        (&missing, "no such file; `truncate -s 10G "),
    ] {
        for spec in [&spec, &READ_ONLY] {
            let message = open_error(path, spec).to_string();
            assert!(message.contains(expected), "{message}");
            assert!(message.contains(path.to_str().unwrap()), "{message}");
        }
    }
}

#[test]
fn sizes_are_whole_sectors() {
    let message = |len| open_error(image(len).path(), &RawDiskSpec::default()).to_string();
    assert!(message(0).contains("is empty"));
    for len in [1, 511, 513, 1025] {
        let message = message(len);
        assert!(message.contains(&format!("{len} bytes")), "{message}");
        assert!(message.contains("`truncate -s %512 "), "{message}");
    }
    assert_eq!(open(&image(512)).len(), 512);
}

#[test]
fn the_hint_of_a_size_error_is_good_advice() {
    let file = image(1000);
    let truncated = std::process::Command::new("truncate")
        .args(["-s", "%512"])
        .arg(file.path())
        .status()
        .unwrap();
    assert!(truncated.success());
    assert_eq!(open(&file).len(), 1024);
}

#[test]
fn permissions_are_explained() {
    // Root may open anything, so the host's answers are made up.
    let file = image(512);
    let explain_errno = |path: &Path, read_only, errno| {
        explain(path, read_only, io::Error::from_raw_os_error(errno))
    };
    for errno in [libc::EACCES, libc::EPERM, libc::EROFS] {
        let error = explain_errno(file.path(), false, errno);
        assert!(
            matches!(error, OpenDiskError::OnlyReadable { .. }),
            "{error}"
        );
        assert!(error.to_string().contains(".img,ro`"), "{error}");
    }
    let missing = Path::new("/nonexistent/disk.img");
    for (path, read_only) in [(file.path(), true), (missing, false)] {
        let error = explain_errno(path, read_only, libc::EACCES);
        assert!(
            matches!(error, OpenDiskError::PermissionDenied { .. }),
            "{error}"
        );
    }
    let error = explain_errno(file.path(), false, libc::EMFILE);
    assert!(matches!(error, OpenDiskError::Io { .. }), "{error}");
}

#[test]
fn a_disk_has_one_writer_or_many_readers() {
    let file = image(512);
    let writer = open(&file);
    for spec in [&READ_ONLY, &RawDiskSpec::default()] {
        let error = open_error(file.path(), spec);
        assert!(
            matches!(
                &error,
                OpenDiskError::InUse {
                    holder: Holder::Ourselves,
                    ..
                }
            ),
            "{error}"
        );
    }
    drop(writer);
    let readers = [(); 2].map(|()| RawDisk::open(file.path(), &READ_ONLY).unwrap());
    let error = open_error(file.path(), &RawDiskSpec::default());
    assert!(matches!(&error, OpenDiskError::InUse { .. }), "{error}");
    drop(readers);
    open(&file);
}

#[test]
fn a_link_to_an_open_disk_is_the_same_disk() {
    let dir = TempDir::new().unwrap();
    let (path, link) = (dir.path().join("disk.img"), dir.path().join("link.img"));
    File::create(&path).unwrap().set_len(512).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let _disk = RawDisk::open(&path, &RawDiskSpec::default()).unwrap();
    let error = open_error(&link, &RawDiskSpec::default());
    assert!(matches!(error, OpenDiskError::InUse { .. }), "{error}");
}

#[test]
fn serials_are_chosen_or_made() {
    let file = image(512);
    let spec = |serial: &str| RawDiskSpec {
        serial: Some(serial.into()),
        ..READ_ONLY
    };
    assert_eq!(
        RawDisk::open(file.path(), &spec("DATA-1"))
            .unwrap()
            .serial(),
        "DATA-1"
    );
    let error = open_error(file.path(), &spec("much too long for a serial"));
    assert!(error.to_string().contains("1 to 20"), "{error}");
    let stem = file.path().file_stem().unwrap().to_str().unwrap();
    assert_eq!(open(&file).serial(), stem);
}
