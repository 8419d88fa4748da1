//! Numbers with units, in whole nanoseconds or KiB: no floating point.

use core::fmt;

/// What a value is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// `ns`, `us`, `ms` or `s`, always written; the result is in nanoseconds.
    Time,
    /// Seconds, without a unit; the result is in nanoseconds.
    Seconds,
    /// A plain number.
    Count,
    /// `K` or `M`, or KiB without a unit.
    Kib,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Time => "a time in range such as 100us, 1.5ms or 2s",
            Self::Seconds => "a number of seconds such as 10 or 0.2, of a day at most",
            Self::Count => "a whole number in range",
            Self::Kib => "a size from 4K to 1024M such as 256K",
        })
    }
}

/// Reads a value; `None` if it is not of this unit.
pub fn parse(text: &str, unit: Unit) -> Option<u64> {
    let digits_end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (digits, suffix) = text.split_at(digits_end);
    let scale = match (unit, suffix) {
        (Unit::Time, "ns") | (Unit::Count, "") | (Unit::Kib, "" | "K") => 1,
        (Unit::Time, "us") => 1_000,
        (Unit::Time, "ms") => 1_000_000,
        (Unit::Time, "s") | (Unit::Seconds, "") => 1_000_000_000,
        (Unit::Kib, "M") => 1_024,
        _ => return None,
    };
    decimal(digits, scale)
}

/// A decimal number times `scale`, which must come out whole.
fn decimal(digits: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let mut value = plain(whole)?.checked_mul(scale)?;
    let parts = plain(fraction)?.checked_mul(scale)?;
    let divisor = 10u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    if !parts.is_multiple_of(divisor) {
        return None;
    }
    value = value.checked_add(parts / divisor)?;
    Some(value)
}

/// Digits and nothing else.
fn plain(digits: &str) -> Option<u64> {
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        digits.parse().ok()
    } else {
        None
    }
}
