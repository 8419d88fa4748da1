//! Fetching packages: needs apt, Debian's sources and the network.

use std::env;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;

use muster_guest_images::{Busybox, Cache};

/// Set for a process that makes BusyBox: the cache to make it in.
const CACHE: &str = "MUSTER_TEST_CACHE";

/// A host without package lists, as containers are: apt's configuration for it needs no root.
#[test]
fn a_host_without_package_lists_is_left_as_it_is() {
    if let Some(dir) = env::var_os(CACHE) {
        let busybox = Busybox::debian(&Cache::open(dir).unwrap()).unwrap();
        println!("{}", busybox.path.display());
        return;
    }
    let host = tempfile::tempdir().unwrap();
    let lists = host.path().join("lists");
    fs::create_dir_all(lists.join("partial")).unwrap();
    let configuration = host.path().join("apt.conf");
    let hook = host.path().join("hook-was-run");
    fs::write(
        &configuration,
        format!(
            "Dir::State::Lists \"{}\";\nAPT::Update::Post-Invoke:: \"touch {}\";\n",
            lists.display(),
            hook.display()
        ),
    )
    .unwrap();
    let cache = tempfile::tempdir().unwrap();
    let make = || {
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "--nocapture", thread::current().name().unwrap()])
            .env(CACHE, cache.path())
            .env("APT_CONFIG", &configuration)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    let first = make();
    assert!(
        first.contains("muster: fetching Debian's package lists"),
        "{first}"
    );
    assert!(first.contains("muster: fetching busybox-static"), "{first}");
    let left: Vec<_> = fs::read_dir(&lists)
        .unwrap()
        .map(|item| item.unwrap().file_name())
        .collect();
    assert!(
        left.iter().all(|name| name == "partial" || name == "lock"),
        "{left:?}"
    );
    assert!(
        !hook.exists(),
        "the host's hooks are for the host's own updates"
    );
    let second = make();
    assert!(
        !second.contains("muster: "),
        "all is there already: {second}"
    );
}

#[test]
fn busybox_runs_and_knows_its_applets() {
    let busybox = Busybox::debian(&Cache::open_default().unwrap()).unwrap();
    for applet in ["sh", "mount", "setsid", "cttyhack", "ip", "poweroff"] {
        assert!(
            busybox.applets.iter().any(|name| name == applet),
            "no {applet}"
        );
    }
    let output = Command::new(&busybox.path)
        .args(["echo", "hello"])
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"hello\n");
}
