//! What is expected.

use std::fmt;

use muster_scheduler::sim::ScenarioError;
use muster_scheduler::sim::fields::Fields;

use super::{Metric, Row};

/// Something that the experiment is expected to show: `[[goal]]`. It is about medians.
#[derive(Debug, Clone, PartialEq)]
pub struct Goal {
    /// `metric`, by its name; an index into the experiment's. Default the first.
    pub metric: usize,
    /// `row`, by its label; must be there.
    pub row: usize,
    /// `against` another row: then the bound is for the ratio of the two. Without it the bound is for
    /// the value.
    pub against: Option<usize>,
    /// `at_least` or `at_most`; one must be there.
    pub bound: Bound,
}

/// Up or down to where.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// Not less.
    AtLeast(f64),
    /// Not more.
    AtMost(f64),
}

const LARGEST: f64 = 1e15;

impl Goal {
    pub(super) fn read(
        mut fields: Fields,
        rows: &[Row],
        metrics: &[Metric],
    ) -> Result<Self, ScenarioError> {
        let metric = match fields.text("metric")? {
            None => 0,
            Some(name) => {
                let names: Vec<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
                find(&fields, "metric", &name, &names)?
            }
        };
        let labels: Vec<&str> = rows.iter().map(|row| row.label.as_str()).collect();
        let row = fields.text("row")?;
        let row = fields.required("row", row, "one of the schedules")?;
        let row = find(&fields, "row", &row, &labels)?;
        let against = fields.text("against")?;
        let against = against.map(|label| find(&fields, "against", &label, &labels));
        let against = against.transpose()?;
        let at_least = fields.decimal("at_least", 0.0..=LARGEST)?;
        let at_most = fields.decimal("at_most", 0.0..=LARGEST)?;
        let bound = match (at_least, at_most) {
            (Some(least), None) => Bound::AtLeast(least),
            (None, Some(most)) => Bound::AtMost(most),
            (None, None) => return fields.required("at_least", None, "a number, or at_most"),
            (Some(_), Some(most)) => {
                return Err(fields.bad("at_most", most, "either at_least or at_most"));
            }
        };
        fields.finish()?;
        Ok(Self {
            metric,
            row,
            against,
            bound,
        })
    }
}

fn find(fields: &Fields, key: &str, name: &str, names: &[&str]) -> Result<usize, ScenarioError> {
    let found = names.iter().position(|known| *known == name);
    found.ok_or_else(|| {
        let expected = format!("one of {}", names.join(" "));
        fields.bad(key, format!("{name:?}"), expected)
    })
}

impl Bound {
    /// Whether a value keeps it.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }

    /// Where it is.
    pub fn value(self) -> f64 {
        match self {
            Self::AtLeast(value) | Self::AtMost(value) => value,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(value) => write!(f, "at least {value}"),
            Self::AtMost(value) => write!(f, "at most {value}"),
        }
    }
}
