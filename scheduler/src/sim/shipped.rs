//! The scenarios that come with the program, by name.

/// A scenario that comes with the program.
#[derive(Debug, Clone, Copy)]
pub struct Shipped {
    /// What it is called: its file's name without the ending.
    pub name: &'static str,
    /// The file's text.
    pub text: &'static str,
}

/// The files of these names.
macro_rules! scenarios {
    ($($name:literal,)*) => {
        &[$(Shipped {
            name: $name,
            text: include_str!(concat!("../../scenarios/", $name, ".toml")),
        }),*]
    };
}

/// All of them, by name.
pub const SHIPPED: &[Shipped] = scenarios![
    "barriers-halt-100us",
    "barriers-halt-10ms",
    "barriers-halt-10us",
    "barriers-halt-1ms",
    "barriers-spin-100us",
    "barriers-spin-10ms",
    "barriers-spin-10us",
    "barriers-spin-1ms",
    "cache-affinity",
    "cache-quantum",
    "fair-equal",
    "fair-halting",
    "fair-weights",
    "fair-widths",
    "gang-matrix",
    "harmless",
    "locks-queue",
    "locks-tas",
    "locks-ticket",
    "locks-wide",
    "out-of-phase",
    "overcommit-locks-2",
    "overcommit-locks-3",
    "overcommit-locks-4",
    "overcommit-messages-2",
    "overcommit-messages-3",
    "overcommit-messages-4",
    "packing-harmonic",
    "packing-uniform",
    "parallel-jobs-halt",
    "parallel-jobs-spin",
    "partitions",
    "phases-2",
    "phases-4",
    "phases-8",
    "process-control",
    "ready-queue",
    "skew",
    "stacking",
];

/// The scenario of this name.
pub fn find(name: &str) -> Option<&'static Shipped> {
    SHIPPED.iter().find(|shipped| shipped.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Scenario;

    #[test]
    fn every_file_is_a_scenario_of_its_name_and_says_what_it_shows() {
        for shipped in SHIPPED {
            let scenario = Scenario::parse(shipped.text);
            let scenario = scenario.unwrap_or_else(|error| panic!("{}: {error}", shipped.name));
            assert_eq!(scenario.name, shipped.name);
            for word in ["Source: ", "Tolerance: "] {
                assert!(scenario.about.contains(word), "{}: {word}", shipped.name);
            }
        }
    }

    #[test]
    fn names_are_in_order_and_lead_to_their_scenario() {
        assert!(SHIPPED.is_sorted_by_key(|shipped| shipped.name));
        assert!(
            SHIPPED
                .iter()
                .all(|shipped| find(shipped.name).unwrap().text == shipped.text)
        );
        assert!(find("there is none").is_none());
    }
}
