//! Reading a TOML table key by key.
//!
//! Problem: whoever has mistyped a key or a unit wants one line that names the place, what stands
//! there, and what may stand there. That holds for scenarios and for other files that people write.
//!
//! Approach: each key is asked for by name, with what it takes and its default. What nobody has asked
//! for is unknown, and what was asked for is the list of what there is.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use toml::{Table, Value};

use crate::Nanos;
use crate::params::{format_duration, parse_duration};

use super::scenario_error::ScenarioError;

/// The longest time that a scenario may name.
const TIME_MAX: Nanos = 100_000 * crate::SECOND;

/// A table that is being read.
#[derive(Debug)]
pub struct Fields {
    /// Where it stands, for messages; ends with a separator unless it is empty.
    path: String,
    table: Table,
    known: Vec<&'static str>,
}

impl Fields {
    /// A whole file.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let table = text.parse::<Table>().map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let before = text.get(..start).unwrap_or(text);
            ScenarioError::Syntax {
                line: before.lines().count().max(1),
                message: error.message().lines().collect::<Vec<_>>().join(", "),
            }
        })?;
        Ok(Self::new("", table))
    }

    fn new(path: &str, table: Table) -> Self {
        Self {
            path: path.to_owned(),
            table,
            known: Vec::new(),
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table.remove(key)
    }

    /// The full name of a key.
    pub fn name(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    /// What is wrong with a key's value.
    pub fn bad(
        &self,
        key: &str,
        value: impl Display,
        expected: impl Into<String>,
    ) -> ScenarioError {
        ScenarioError::BadValue {
            field: self.name(key),
            value: value.to_string(),
            expected: expected.into(),
        }
    }

    /// A key that must be there.
    pub fn required<T>(
        &self,
        key: &str,
        value: Option<T>,
        expected: &str,
    ) -> Result<T, ScenarioError> {
        value.ok_or_else(|| ScenarioError::Missing {
            field: self.name(key),
            expected: expected.to_owned(),
        })
    }

    /// A text.
    pub fn text(&mut self, key: &'static str) -> Result<Option<String>, ScenarioError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.bad(key, other, "a text in quotation marks")),
        }
    }

    /// A text that is printed where only one line is expected.
    pub fn label(&mut self, key: &'static str) -> Result<Option<String>, ScenarioError> {
        let text = self.text(key)?;
        match text {
            Some(text) if text.contains(char::is_control) => {
                Err(self.bad(key, format!("{text:?}"), "a text in one line"))
            }
            text => Ok(text),
        }
    }

    /// A time such as `"20ms"`.
    pub fn time(&mut self, key: &'static str) -> Result<Option<Nanos>, ScenarioError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let time = value.as_str().and_then(parse_duration);
        match time.filter(|&time| time <= TIME_MAX) {
            Some(time) => Ok(Some(time)),
            None => Err(self.bad(
                key,
                value,
                "a time up to 100000s in quotation marks, such as \"20ms\" (ns, us, ms, s)",
            )),
        }
    }

    /// A time, or its default.
    pub fn time_or(&mut self, key: &'static str, default: Nanos) -> Result<Nanos, ScenarioError> {
        Ok(self.time(key)?.unwrap_or(default))
    }

    /// A time that must not be zero, or its default.
    pub fn positive_time(
        &mut self,
        key: &'static str,
        default: Nanos,
    ) -> Result<Nanos, ScenarioError> {
        let time = self.time_or(key, default)?;
        if time == 0 {
            let expected = format!("more than zero, such as {:?}", format_duration(default));
            return Err(self.bad(key, "\"0ns\"", expected));
        }
        Ok(time)
    }

    /// A number that may have a fraction.
    pub fn decimal(
        &mut self,
        key: &'static str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f64>, ScenarioError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let whole = value.as_integer().map(|number| number as f64);
        let number = value.as_float().or(whole);
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let expected = format!("a number from {} to {}", range.start(), range.end());
                Err(self.bad(key, value, expected))
            }
        }
    }

    /// A whole number.
    pub fn number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, ScenarioError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let number = value
            .as_integer()
            .and_then(|number| u64::try_from(number).ok());
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let expected = format!("a number from {} to {}", range.start(), range.end());
                Err(self.bad(key, value, expected))
            }
        }
    }

    /// A whole number that fits 32 bits, or its default.
    pub fn count(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u32>,
        default: u32,
    ) -> Result<u32, ScenarioError> {
        let range = u64::from(*range.start())..=u64::from(*range.end());
        let number = self.number(key, range)?;
        Ok(number.map_or(default, |number| number as u32))
    }

    /// Yes or no.
    pub fn flag(&mut self, key: &'static str) -> Result<bool, ScenarioError> {
        match self.take(key) {
            None => Ok(false),
            Some(Value::Boolean(flag)) => Ok(flag),
            Some(other) => Err(self.bad(key, other, "true or false")),
        }
    }

    /// A size such as `"256KiB"`, in bytes.
    pub fn bytes(&mut self, key: &'static str) -> Result<u64, ScenarioError> {
        let Some(value) = self.take(key) else {
            return Ok(0);
        };
        let size = value.as_str().and_then(parse_bytes);
        size.filter(|&size| size <= 1 << 40).ok_or_else(|| {
            let expected =
                "a size up to 1024GiB in quotation marks, such as \"256KiB\" (B, KiB, MiB, GiB)";
            self.bad(key, value, expected)
        })
    }

    /// One of several words; the first is the default.
    pub fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
    ) -> Result<T, ScenarioError> {
        let Some(value) = self.take(key) else {
            return Ok(words[0].1);
        };
        let found = words.iter().find(|(word, _)| value.as_str() == Some(word));
        found.map(|&(_, meaning)| meaning).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|&(word, _)| word).collect();
            self.bad(key, value, format!("one of {}", words.join(", ")))
        })
    }

    /// A text that means something.
    pub fn parsed<T: FromStr<Err: Display>>(
        &mut self,
        key: &'static str,
    ) -> Result<Option<T>, ScenarioError> {
        let text = self.text(key)?;
        text.map(|text| self.meaning(key, &text)).transpose()
    }

    /// A list of texts that mean something.
    pub fn parsed_list<T: FromStr<Err: Display>>(
        &mut self,
        key: &'static str,
    ) -> Result<Vec<T>, ScenarioError> {
        let list = match self.take(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(list)) => list,
            Some(other) => return Err(self.bad(key, other, "a list of texts")),
        };
        let texts = list.into_iter().map(|value| match value {
            Value::String(text) => self.meaning(key, &text),
            other => Err(self.bad(key, other, "a list of texts")),
        });
        texts.collect()
    }

    fn meaning<T: FromStr<Err: Display>>(&self, key: &str, text: &str) -> Result<T, ScenarioError> {
        text.parse()
            .map_err(|error: T::Err| ScenarioError::Meaning {
                field: self.name(key),
                message: error.to_string(),
            })
    }

    /// A table inside this one; an empty one if there is none.
    pub fn table(&mut self, key: &'static str) -> Result<Self, ScenarioError> {
        Ok(self.optional_table(key)?.unwrap_or_else(|| {
            let path = format!("{}{key}.", self.path);
            Self::new(&path, Table::new())
        }))
    }

    /// A table inside this one.
    pub fn optional_table(&mut self, key: &'static str) -> Result<Option<Self>, ScenarioError> {
        let path = format!("{}{key}.", self.path);
        match self.take(key) {
            None => Ok(None),
            Some(Value::Table(table)) => Ok(Some(Self::new(&path, table))),
            Some(other) => Err(self.bad(key, other, format!("a table: [{}{key}]", self.path))),
        }
    }

    /// The tables of a list.
    pub fn tables(&mut self, key: &'static str) -> Result<Vec<Self>, ScenarioError> {
        let expected = format!("tables: [[{}{key}]]", self.path);
        let list = match self.take(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(list)) => list,
            Some(other) => return Err(self.bad(key, other, expected)),
        };
        let tables = list.into_iter().enumerate().map(|(index, value)| {
            let path = format!("{}{key}[{index}].", self.path);
            match value {
                Value::Table(table) => Ok(Self::new(&path, table)),
                other => Err(self.bad(key, other, expected.as_str())),
            }
        });
        tables.collect()
    }

    /// Nothing else may be there.
    pub fn finish(self) -> Result<(), ScenarioError> {
        match self.table.keys().next() {
            None => Ok(()),
            Some(key) => Err(ScenarioError::UnknownKey {
                // A key in quotation marks may have anything in it.
                field: self.name(&key.escape_debug().to_string()),
                known: self.known.join(", "),
            }),
        }
    }
}

/// Reads a size such as `256KiB`.
fn parse_bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let unit = match unit.trim() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}
