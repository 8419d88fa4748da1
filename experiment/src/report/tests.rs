use muster_node::snapshot::SwitchRecord;

use super::*;
use crate::results::tests::example;
use crate::round::tests::snapshot;
use crate::run::Picture;

/// The same with switches of the gang.
fn example_with_lanes() -> Results {
    let mut results = example();
    let switch = |number: u64| SwitchRecord {
        planned_ns: number * 20_000_000,
        done_ns: number * 20_000_000 + 30_000,
        cpu: (number % 2) as u16,
        vcpu: Some(format!("A/{}", number % 2)),
        level: Some("slot".to_owned()),
    };
    results.pictures[1] = Some(Picture {
        from_ns: 0,
        end: snapshot(1_000_000_000, &[("A", 2)]),
        switches: (0..10).map(switch).collect(),
    });
    results
}

fn file(files: &[File], name: &str) -> String {
    let found = files.iter().find(|file| file.name == name);
    found.unwrap_or_else(|| panic!("no {name}")).content.clone()
}

#[test]
fn the_table_says_what_was_measured() {
    let text = text(&example(), 200);
    let expected = "
barriers (barriers/s, more is better)

schedule           rounds  median    min     p5    p95  over host
host                    3   2.00k  1.50k  1.55k  8.30k
gang:quantum=20ms       3   17.0k  16.0k  16.1k  17.4k      8.50x
";
    assert!(text.contains(expected), "{text}");
    assert!(text.starts_with(
        "two: 3 repetitions in random order (seed 1), rounds of 1s after 300ms; 1 round"
    ));
    for words in [
        "at least 4 times host       8.50                         met",
        "at least 10 times host      8.50            missed by 15.0 %",
        "at most 5 us                                     -  missed: nothing to compare",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn a_report_is_whole_and_its_links_lead_somewhere() {
    let files = files(&example_with_lanes()).unwrap();
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "rounds-1.svg",
            "lanes-gang-quantum-20ms.svg",
            "trace.json",
            "data.json",
            "report.html",
            "report.md"
        ]
    );
    let markdown = file(&files, "report.md");
    let links = markdown.split("](").skip(1);
    for link in links.map(|rest| rest.split(')').next().unwrap()) {
        assert!(
            link.starts_with("https://") || names.contains(&link),
            "{link}"
        );
    }
    assert!(
        markdown.contains("| gang:quantum=20ms | 3 | 17.0k |"),
        "{markdown}"
    );
    assert!(markdown.contains("KVM: pvm") && markdown.contains("Two <rows>. Made up."));
}

#[test]
fn the_page_needs_nothing_else_and_takes_no_text_for_tags() {
    let page = file(&files(&example_with_lanes()).unwrap(), "report.html");
    for word in [
        "Two &lt;rows&gt;. Made up.",
        "<circle",
        "A0",
        "8.50x",
        "missed by 15.0 %",
        "HZ unknown",
    ] {
        assert!(page.contains(word), "no {word}");
    }
    // Nothing is fetched: the only addresses are names of XML.
    let addresses = page.matches("http").count();
    assert_eq!(
        addresses,
        page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count()
    );
    assert!(!page.contains("<script") && !page.contains("<link") && !page.contains("<rows>"));
}

#[test]
fn programs_get_every_round() {
    let data = file(&files(&example()).unwrap(), "data.json");
    let data: serde_json::Value = serde_json::from_str(&data).unwrap();
    assert_eq!(data["rounds"].as_array().unwrap().len(), 7);
    assert_eq!(data["rounds"][0]["counts"], false);
    assert_eq!(data["rows"][1]["values"][0]["median"], 17_000.0);
    assert_eq!(data["goals"][0]["is_met"], true);
    assert_eq!(data["machine"]["kvm"], "pvm");
    assert_eq!(data["rounds"][1]["vms"][0]["vcpus"][1]["counters"][0], 7);
}
