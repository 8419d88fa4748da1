use std::fs;
use std::process::{Command, Stdio};

use super::*;

fn written(archive: &Archive) -> Vec<u8> {
    let mut bytes = Vec::new();
    archive.write_to(&mut bytes).unwrap();
    bytes
}

fn sample() -> Archive {
    let mut archive = Archive::new();
    archive.bytes("/etc/motd", 0o644, "hello\n").unwrap();
    archive.bytes("init", 0o755, "#!/bin/sh\n").unwrap();
    archive.directory("tmp", 0o1777).unwrap();
    archive.symlink("bin/sh", "busybox").unwrap();
    archive
        .character_device("dev/console", 0o600, 5, 1)
        .unwrap();
    archive
}

/// Runs the host's cpio on the archive in an empty directory.
fn cpio(archive: &Archive, options: &[&str]) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("archive");
    fs::write(&file, written(archive)).unwrap();
    let output = Command::new("cpio")
        .args(options)
        .current_dir(dir.path())
        .stdin(Stdio::from(File::open(&file).unwrap()))
        .output()
        .expect("this test needs cpio (apt-get install cpio)");
    assert!(output.status.success(), "{output:?}");
    fs::remove_file(file).unwrap();
    (dir, String::from_utf8(output.stdout).unwrap())
}

#[test]
fn cpio_lists_every_kind_of_entry() {
    let (_, list) = cpio(&sample(), &["-itv", "--numeric-uid-gid", "--quiet"]);
    let kinds: Vec<_> = list
        .lines()
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            format!("{} {}", words[0], line.split("1970 ").nth(1).unwrap())
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "drwxr-xr-x bin",
            "lrwxrwxrwx bin/sh -> busybox",
            "drwxr-xr-x dev",
            "crw------- dev/console",
            "drwxr-xr-x etc",
            "-rw-r--r-- etc/motd",
            "-rwxr-xr-x init",
            "drwxrwxrwt tmp",
        ],
        "{list}"
    );
    assert!(list.contains("5,   1"), "{list}");
}

#[test]
fn cpio_gives_back_what_was_put_in() {
    let host = tempfile::NamedTempFile::new().unwrap();
    let mut archive = Archive::new();
    // Every length of padding, and more than one buffer.
    for len in [0, 1, 2, 3, 4, COPY_BYTES + 1] {
        let content: Vec<u8> = (0..len).map(|i| (i * 7 % 251) as u8).collect();
        archive
            .bytes(&format!("bytes{len}"), 0o644, content)
            .unwrap();
    }
    let content: Vec<u8> = (0..3 * COPY_BYTES + 5).map(|i| (i % 253) as u8).collect();
    fs::write(host.path(), &content).unwrap();
    archive.host_file("sub/host", 0o600, host.path()).unwrap();
    let (dir, _) = cpio(&archive, &["-id", "--quiet"]);
    assert_eq!(fs::read(dir.path().join("sub/host")).unwrap(), content);
    for len in [0, 1, 2, 3, 4, COPY_BYTES + 1] {
        let found = fs::read(dir.path().join(format!("bytes{len}"))).unwrap();
        assert!(
            found
                .iter()
                .enumerate()
                .all(|(i, &byte)| byte == (i * 7 % 251) as u8)
        );
        assert_eq!(found.len(), len);
    }
}

#[test]
fn the_same_content_gives_the_same_bytes_in_any_order() {
    let mut other = Archive::new();
    other.character_device("dev/console", 0o600, 5, 1).unwrap();
    other.symlink("/bin/sh", "busybox").unwrap();
    other.directory("/tmp", 0o1777).unwrap();
    other.bytes("/init", 0o755, "#!/bin/sh\n").unwrap();
    other.bytes("etc/motd", 0o644, "replaced\n").unwrap();
    other.bytes("etc/motd", 0o644, "hello\n").unwrap();
    assert_eq!(written(&other), written(&sample()));
}

#[test]
fn bad_paths_are_refused() {
    for path in [
        "",
        "/",
        "a//b",
        "../a",
        "a/./b",
        "a/..",
        "a\0b",
        "a/",
        "TRAILER!!!",
    ] {
        let error = Archive::new().bytes(path, 0o644, "").unwrap_err();
        assert!(matches!(error, CpioError::Path { .. }), "{path:?}: {error}");
    }
}

#[test]
fn only_directories_have_children() {
    let mut archive = sample();
    let below = archive.bytes("bin/sh/child", 0o644, "").unwrap_err();
    assert_eq!(
        below.to_string(),
        "/bin/sh/child cannot be in the initramfs: /bin/sh is not a directory"
    );
    let above = archive.bytes("bin", 0o644, "").unwrap_err();
    assert!(matches!(above, CpioError::Parent { .. }), "{above}");
    archive.directory("bin", 0o700).unwrap();
}

#[test]
fn an_unreadable_host_file_is_named() {
    let mut archive = Archive::new();
    archive.host_file("a", 0o644, "/nonexistent/file").unwrap();
    let error = archive.write_to(io::sink()).unwrap_err();
    assert_eq!(error.to_string(), "cannot read /nonexistent/file");
}

#[test]
fn a_file_beyond_the_formats_lengths_is_refused() {
    let host = tempfile::NamedTempFile::new().unwrap();
    host.as_file().set_len(1 << 32).unwrap();
    let mut archive = Archive::new();
    archive.host_file("a", 0o644, host.path()).unwrap();
    let error = archive.write_to(io::sink()).unwrap_err();
    assert!(matches!(error, CpioError::TooLarge { .. }), "{error}");
}

#[test]
fn whatever_changes_the_archive_changes_its_fingerprint() {
    let host = tempfile::NamedTempFile::new().unwrap();
    fs::write(host.path(), "host").unwrap();
    let base = || {
        let mut archive = sample();
        archive.host_file("host", 0o644, host.path()).unwrap();
        archive
    };
    let fingerprint = |archive: &Archive| {
        format!(
            "{:?}",
            archive
                .fingerprint(Fingerprint::new("test", 1))
                .unwrap()
                .finish()
        )
    };
    type Change = fn(&mut Archive) -> Result<(), CpioError>;
    let changes: [Change; 9] = [
        |archive| archive.directory("new", 0o755),
        |archive| archive.directory("tmp", 0o755),
        |archive| archive.bytes("init", 0o644, "#!/bin/sh\n"),
        |archive| archive.bytes("init", 0o755, "#!/bin/sh"),
        |archive| archive.symlink("bin/sh", "bash"),
        |archive| archive.symlink("init", "#!/bin/sh\n"),
        |archive| archive.character_device("dev/console", 0o600, 5, 2),
        |archive| archive.character_device("dev/console", 0o600, 4, 1),
        |archive| archive.character_device("dev/console", 0o620, 5, 1),
    ];
    let mut found = vec![fingerprint(&base())];
    for change in changes {
        let mut archive = base();
        change(&mut archive).unwrap();
        found.push(fingerprint(&archive));
    }
    let before = base();
    fs::write(host.path(), "tsoh").unwrap();
    found.push(fingerprint(&before));
    fs::write(host.path(), "host").unwrap();
    assert_eq!(found[0], fingerprint(&before), "the same again");
    let count = found.len();
    found.sort();
    found.dedup();
    assert_eq!(found.len(), count);
}
