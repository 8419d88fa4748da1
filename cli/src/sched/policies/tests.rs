use muster_scheduler::PolicySpec;

use super::*;

#[test]
fn every_policy_and_parameter_is_listed_and_fits() {
    let page = page(72);
    assert!(
        page.lines().all(|line| line.chars().count() <= 72),
        "{page}"
    );
    let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
    for entry in ENTRIES {
        assert!(words.contains(entry.summary), "{}", entry.name);
        for param in entry.params {
            let set = format!("{}={}", param.name, param.kind.default_text());
            assert!(words.contains(&set), "{set}");
            let meaning = format!("{}. Takes {}.", param.meaning, param.kind.expected());
            assert!(words.contains(&meaning), "{meaning}");
        }
    }
}

#[test]
fn the_examples_are_policies() {
    let (bases, layers): (Vec<_>, Vec<_>) = ENTRIES.iter().partition(|entry| !is_layer(entry));
    let examples = examples(&bases, &layers);
    assert!(examples.len() >= 2);
    for example in examples {
        example.parse::<PolicySpec>().unwrap();
    }
}

/// What the list says is the default is what one gets by writing it out.
#[test]
fn defaults_can_be_written_out() {
    for entry in ENTRIES {
        for param in entry.params {
            let text = format!(
                "{}:{}={}",
                entry.name,
                param.name,
                param.kind.default_text()
            );
            text.parse::<PolicySpec>().unwrap();
        }
    }
}

#[test]
fn programs_get_types_and_bounds() {
    let pinned = describe(ENTRIES.iter().find(|entry| entry.name == "pinned").unwrap());
    assert_eq!(pinned["layer"], false);
    let quantum = &pinned["parameters"][0];
    assert_eq!(quantum["type"], "duration");
    assert_eq!(quantum["default"], "10ms");
    assert_eq!(quantum["min_ns"], 10_000);
}
