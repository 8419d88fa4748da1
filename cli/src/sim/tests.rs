use super::*;
use crate::text_file::first_sentence;
use crate::{Command, parse};

fn args(line: &[&str]) -> Result<SchedArgs, String> {
    let line = ["muster", "sim", "sched"].iter().chain(line);
    match parse(line).map_err(|error| error.to_string())?.command {
        Command::Sim(SimArgs {
            command: SimCommand::Sched(args),
        }) => Ok(*args),
        other => panic!("not sim: {other:?}"),
    }
}

fn scenario() -> Scenario {
    let text = "name = \"x\"\nduration = \"2s\"\nwarm-up = \"1s\"\npolicies = [\"pinned\", \"gang\"]\n[[vm]]";
    Scenario::parse(text).unwrap()
}

#[test]
fn the_baseline_comes_first_and_nobody_twice() {
    let names = |line: &[&str]| {
        let policies = policies(&args(line).unwrap(), &scenario());
        policies.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(names(&["x"]), ["pinned", "gang"]);
    assert_eq!(names(&["x", "--policy", "central"]), ["pinned", "central"]);
    assert_eq!(names(&["x", "--baseline", "gang"]), ["gang", "pinned"]);
}

#[test]
fn charts_begin_when_things_have_settled_and_show_a_dozen_slots() {
    let window = |line: &[&str]| {
        let args = args(line).unwrap();
        let (scenario, gang) = (scenario(), "gang:quantum=20ms".parse().unwrap());
        window(&args, &scenario, &[gang])
            .map(|window| (window.from_ns / MS, window.to_ns / MS))
            .map_err(|error| error.to_string())
    };
    assert_eq!(window(&["x"]), Ok((1000, 1240)));
    assert_eq!(window(&["x", "--from", "2900ms"]), Ok((2900, 3000)));
    assert_eq!(window(&["x", "--to", "5ms"]), Ok((0, 5)));
    for line in [
        ["x", "--from", "3s"],
        ["x", "--to", "4s"],
        ["x", "--to", "0s"],
    ] {
        let error = window(&line).unwrap_err();
        assert!(error.contains("expected times from 0ns to 3s"), "{error}");
    }
}

#[test]
fn a_scenario_says_what_is_worth_drawing() {
    let mut scenario = scenario();
    scenario.picture.from_ns = Some(500 * MS);
    scenario.picture.to_ns = Some(600 * MS);
    let window = |line: &[&str]| {
        let window = window(&args(line).unwrap(), &scenario, &[]).unwrap();
        (window.from_ns / MS, window.to_ns / MS)
    };
    assert_eq!(window(&["x"]), (500, 600));
    assert_eq!(window(&["x", "--to", "550ms"]), (500, 550));
    assert_eq!(window(&["x", "--to", "400ms"]), (0, 400));
    assert_eq!(window(&["x", "--from", "700ms"]), (700, 800));
}

#[test]
fn wrong_command_lines_say_what_is_allowed() {
    for (line, hint) in [
        (&["x", "--policy", "gangg"][..], "there are pinned"),
        (
            &["x", "--policy", "pinned:quantum=0ms"],
            "a time from 10us to 10s",
        ),
        (&["x", "--seed", "one"], "--seed"),
        (&["x", "--from", "5"], "like 20ms"),
        (&[], "SCENARIO"),
        (&["x", "--list"], "--list"),
    ] {
        let error = args(line).unwrap_err();
        assert!(error.contains(hint), "{line:?}: {error}");
    }
}

#[test]
fn charts_go_to_a_file_or_a_directory() {
    let check = |svg| check_outputs(&args(&["x", "--svg", svg]).unwrap());
    check("x.svg").unwrap();
    check("charts").unwrap();
    assert!(check("x.png").unwrap_err().is::<UsageError>());
    let error = check("/no/such/x.svg").unwrap_err().to_string();
    assert!(error.contains("/no/such is no directory"), "{error}");
}

#[test]
fn outputs_that_cannot_be_are_found_before_the_runs() {
    for option in ["--svg", "--html", "--trace"] {
        let error = check_outputs(&args(&["x", option, "-"]).unwrap()).unwrap_err();
        assert!(error.is::<UsageError>(), "{option}: {error}");
    }
    check_outputs(&args(&["x", "--json", "-"]).unwrap()).unwrap();
    for option in ["--json", "--html", "--trace"] {
        let error = check_outputs(&args(&["x", option, "/"]).unwrap()).unwrap_err();
        assert!(error.to_string().contains("a directory"), "{option}");
    }
}

#[test]
fn names_of_files_are_plain() {
    assert_eq!(
        file_word("gang:quantum=20ms+../x"),
        "gang-quantum-20ms----x"
    );
    assert_eq!(file_word(&"x".repeat(500)).len(), 80);
}

#[test]
fn no_two_scenarios_are_introduced_alike() {
    let sentence = |text| first_sentence(&Scenario::parse(text).unwrap().about);
    let mut sentences: Vec<String> = SHIPPED
        .iter()
        .map(|shipped| sentence(shipped.text))
        .collect();
    sentences.sort();
    for pair in sentences.windows(2) {
        assert_ne!(pair[0], pair[1]);
    }
}
