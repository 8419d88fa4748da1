use std::path::PathBuf;

use nix::sys::signal::Signal;

use super::*;
use crate::{Command, parse};

fn spec(arguments: &[&str]) -> Result<VmSpec, String> {
    let line = ["muster", "run"].iter().chain(arguments);
    match parse(line).map_err(|error| error.to_string())?.command {
        Command::Run(args) => Ok(args.spec()),
        other => panic!("not run: {other:?}"),
    }
}

#[test]
fn a_kernel_is_all_it_takes() {
    let spec = spec(&["--kernel", "k"]).unwrap();
    assert_eq!((spec.cpus, spec.memory_bytes), (1, 512 << 20));
    assert_eq!(spec.console, ConsoleSpec::Tty);
    assert_eq!(spec.on_reboot, OnReboot::Restart);
    assert!(spec.cmdline.contains("console=ttyS0"));
}

#[test]
fn cmdline_adds_and_raw_cmdline_replaces() {
    let added = spec(&["--kernel", "k", "--cmdline", "quiet", "--cmdline", "-- x"]).unwrap();
    assert!(
        added.cmdline.starts_with("console=ttyS0 "),
        "{}",
        added.cmdline
    );
    assert!(added.cmdline.ends_with(" quiet -- x"), "{}", added.cmdline);
    let raw = spec(&["--kernel", "k", "--raw-cmdline", "only this"]).unwrap();
    assert_eq!(raw.cmdline, "only this");
    assert!(spec(&["--kernel", "k", "--cmdline", "a", "--raw-cmdline", "b"]).is_err());
}

#[test]
fn sizes_need_units_and_have_bounds() {
    let memory = |text| spec(&["--kernel", "k", "--memory", text]).map(|spec| spec.memory_bytes);
    assert_eq!(memory("64M").unwrap(), 64 << 20);
    assert_eq!(memory("5G").unwrap(), 5 << 30);
    assert_eq!(memory("65536KiB").unwrap(), 64 << 20);
    for (text, hint) in [
        ("512", "512M"),
        ("63M", "64M or more"),
        ("0G", "64M or more"),
        ("17T", "up to 16T"),
        ("99999999999999T", "like 512M"),
        ("G", "like 512M"),
        ("1.5G", "like 512M"),
        ("", "no unit"),
        ("65537K", "multiple of 4K"),
    ] {
        let error = memory(text).unwrap_err();
        assert!(error.contains(hint), "{text}: {error}");
    }
}

#[test]
fn cpus_are_1_to_64() {
    let cpus = |text| spec(&["--kernel", "k", "--cpus", text]).map(|spec| spec.cpus);
    assert_eq!(cpus("64").unwrap(), 64);
    for text in ["0", "65", "two", "-1"] {
        assert!(cpus(text).is_err(), "{text}");
    }
}

#[test]
fn disks_have_options_and_may_have_commas() {
    let disks = |text| spec(&["--kernel", "k", "--disk", text]).map(|spec| spec.disks);
    let plain = DiskSpec {
        path: PathBuf::from("a.img"),
        read_only: false,
        serial: None,
    };
    assert_eq!(disks("a.img").unwrap(), std::slice::from_ref(&plain));
    assert_eq!(
        disks("a.img,ro").unwrap(),
        [DiskSpec {
            read_only: true,
            ..plain.clone()
        }]
    );
    assert_eq!(
        disks("a.img,serial=x=y,ro").unwrap(),
        [DiskSpec {
            read_only: true,
            serial: Some("x=y".into()),
            ..plain.clone()
        }]
    );
    assert_eq!(disks("a,,b,ro").unwrap()[0].path, PathBuf::from("a,b"));
    for (text, hint) in [
        ("", "names no file"),
        (",ro", "names no file"),
        ("a,rw", "'rw'"),
    ] {
        let error = disks(text).unwrap_err();
        assert!(error.contains(hint), "{text}: {error}");
    }
}

#[test]
fn a_node_manager_is_asked_for_by_name_or_place() {
    let node = |words: &[&str]| {
        let all = ["--kernel", "k"].into_iter().chain(words.iter().copied());
        spec(&all.collect::<Vec<_>>()).map(|spec| spec.node)
    };
    assert_eq!(node(&[]).unwrap(), None);
    let usual = node(&["--node", "--name", "web"]).unwrap().unwrap();
    assert_eq!(usual.socket, node_link::default_socket());
    assert_eq!(usual.hello.name, "web");
    assert_eq!((usual.hello.weight, usual.hello.cap_percent), (256, None));
    let words = [
        "--node=/x/n.sock",
        "--weight",
        "512",
        "--cap",
        "150",
        "--host-cpus",
        "0-3,8",
    ];
    let there = node(&words).unwrap().unwrap();
    assert_eq!(there.socket, PathBuf::from("/x/n.sock"));
    assert!(there.hello.name.starts_with("vm-"), "{}", there.hello.name);
    assert_eq!(
        (there.hello.weight, there.hello.cap_percent),
        (512, Some(150))
    );
    assert_eq!(there.hello.cpus.as_deref(), Some("0-3,8"));
    for (words, hint) in [
        (&["--name", "web"][..], "--node"),
        (&["--weight", "2"], "--node"),
        (&["--node", "--name", "a/b"], "is not a name"),
        (&["--node", "--weight", "0"], "1..=10000"),
        (&["--node", "--cap", "0"], "1..="),
        (&["--node", "--host-cpus", "3-"], "3-"),
    ] {
        let error = node(words).unwrap_err();
        assert!(error.contains(hint), "{words:?}: {error}");
    }
}

#[test]
fn consoles_are_three() {
    let console = |text| spec(&["--kernel", "k", "--console", text]).map(|spec| spec.console);
    assert_eq!(console("null").unwrap(), ConsoleSpec::Null);
    assert_eq!(
        console("file=a=b").unwrap(),
        ConsoleSpec::File("a=b".into())
    );
    for text in ["file=", "file", "pty", "tty=x"] {
        assert!(
            console(text)
                .unwrap_err()
                .contains("tty, null or file=PATH"),
            "{text}"
        );
    }
}

#[test]
fn the_exit_status_tells_how_the_guest_ended() {
    let ends = [
        (GuestEnd::PowerOff { status: 0 }, 0),
        (GuestEnd::PowerOff { status: 42 }, 42),
        (GuestEnd::Reset, 3),
        (GuestEnd::TripleFault, 4),
        (GuestEnd::Quit, 137),
        (GuestEnd::Killed(Signal::SIGTERM), 143),
        (GuestEnd::Killed(Signal::SIGINT), 130),
    ];
    for (end, status) in ends {
        assert_eq!(exit_status(end), status, "{end:?}");
    }
}
