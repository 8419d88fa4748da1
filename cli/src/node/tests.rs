use muster_node::Permits;

use super::*;
use crate::{Command, parse};

fn args(arguments: &[&str]) -> Result<NodeArgs, String> {
    let line = ["muster", "node"].iter().chain(arguments);
    match parse(line).map_err(|error| error.to_string())?.command {
        Command::Node(args) => Ok(args),
        other => panic!("not node: {other:?}"),
    }
}

#[test]
fn it_takes_nothing() {
    let args = args(&[]).unwrap();
    assert_eq!(args.sched.to_string(), "gang");
    assert_eq!(
        (args.cpus, args.enforce, args.dir),
        (None, Enforce(None), None)
    );
}

#[test]
fn everything_can_be_said() {
    let line = "--sched host:pin --cpus 0-1,3 --enforce pulse --dir d --metrics [::1]:9";
    let args = args(&line.split(' ').collect::<Vec<_>>()).unwrap();
    assert_eq!(args.sched.to_string(), "host:pin");
    assert_eq!(args.cpus.unwrap().to_string(), "0-1,3");
    assert_eq!(args.enforce, Enforce(Some(Enforcement::Pulse)));
    assert_eq!(args.metrics.unwrap().to_string(), "[::1]:9");
}

#[test]
fn mistakes_are_told_with_what_there_is() {
    for (line, hint) in [
        (["--sched", "gnag"], "unknown policy"),
        (["--sched", "linux"], "say host"),
        (["--cpus", "1-0"], "ends before it begins"),
        (["--cpus", "9999"], "1023"),
        (["--enforce", "force"], "and auto"),
        (["--metrics", "9273"], "invalid"),
    ] {
        let error = args(&line).unwrap_err();
        assert!(error.contains(hint), "{line:?}: {error}");
    }
}

#[test]
fn the_first_line_says_what_was_taken_and_why_not_better() {
    let line = |real_time, nice| {
        let permits = Permits {
            real_time,
            nice,
            nice_counts: true,
        };
        let way = permits.choose(None).unwrap();
        first_line("gang", &"0-1".parse().unwrap(), way, None)
    };
    let best = line(true, true);
    assert_eq!(
        best,
        "muster: scheduling VMs by gang on CPUs 0-1 (gate, switched by real-time threads)\n"
    );
    let least = line(false, false);
    assert!(least.contains("(gate, switched by ordinary threads); switches wait"));
    assert!(least.contains("neither real-time priority 10 nor a nice value below 0"));
    assert_eq!(least.lines().count(), 1);
}
