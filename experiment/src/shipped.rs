//! The experiments that come with the program, by name.

/// An experiment that comes with the program.
#[derive(Debug, Clone, Copy)]
pub struct Shipped {
    /// What it is called: its file's name without the ending.
    pub name: &'static str,
    /// The file's text.
    pub text: &'static str,
}

/// The files of these names.
macro_rules! experiments {
    ($($name:literal,)*) => {
        &[$(Shipped {
            name: $name,
            text: include_str!(concat!("../../experiments/", $name, ".toml")),
        }),*]
    };
}

/// All of them, by name.
pub const SHIPPED: &[Shipped] = experiments![
    "barrier-100us",
    "barrier-10ms",
    "barrier-10us",
    "barrier-1ms",
    "barrier-halt",
    "caches",
    "fair-halting",
    "fair-weights",
    "fair-widths",
    "harmless",
    "locks-queue",
    "locks-tas",
    "locks-ticket",
    "out-of-phase",
    "ping-pong",
    "process-control",
    "request-reply",
    "skew",
    "swap",
    "timer-beside-hogs",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Experiment;
    use crate::spec::RowKind;

    #[test]
    fn every_file_is_an_experiment_of_its_name_and_says_whose_work_it_follows() {
        for shipped in SHIPPED {
            let experiment = Experiment::parse(shipped.text);
            let experiment = experiment.unwrap_or_else(|error| panic!("{}: {error}", shipped.name));
            assert_eq!(experiment.name, shipped.name);
            assert!(experiment.about.contains("Source: "), "{}", shipped.name);
            assert!(experiment.repetitions >= 10, "{}", shipped.name);
            let baselines = experiment.rows.iter().filter(|row| row.is_baseline);
            let labels: Vec<&str> = baselines.map(|row| row.label.as_str()).collect();
            assert_eq!(
                labels,
                ["host", "host:pin", "host:slice=100ms"],
                "{}",
                shipped.name
            );
            // All that is expected is judged, by somebody who can lose.
            assert!(!experiment.goals.is_empty(), "{}", shipped.name);
            let is_policy = |kind: &RowKind| !matches!(kind, RowKind::Alone(_));
            let judged = experiment.goals.iter();
            assert!(
                judged
                    .clone()
                    .all(|goal| is_policy(&experiment.rows[goal.row].kind))
            );
        }
    }

    #[test]
    fn names_are_in_order_and_each_is_one_experiments() {
        let is_later = |pair: &[Shipped]| pair[0].name < pair[1].name;
        assert!(SHIPPED.windows(2).all(is_later));
    }
}
