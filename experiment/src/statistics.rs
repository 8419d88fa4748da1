//! What many rounds say together.

use serde::Serialize;

/// The middle and the spread of some values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// How many there are.
    pub count: usize,
    /// The least.
    pub min: f64,
    /// The 5th percentile.
    pub p5: f64,
    /// The median.
    pub median: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The greatest.
    pub max: f64,
}

impl Summary {
    /// Of these values; `None` if there are none. Values that are no numbers do not count.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values
            .into_iter()
            .filter(|value| value.is_finite())
            .collect();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            count: sorted.len(),
            min: *sorted.first()?,
            p5: percentile(&sorted, 5.0)?,
            median: percentile(&sorted, 50.0)?,
            p95: percentile(&sorted, 95.0)?,
            max: *sorted.last()?,
        })
    }
}

/// Where `percent` of sorted values lie below, on a straight line between neighbours.
pub fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = last as f64 * (percent / 100.0).clamp(0.0, 1.0);
    let below = (place.floor() as usize).min(last);
    let above = (below + 1).min(last);
    let part = place - below as f64;
    Some(sorted[below] * (1.0 - part) + sorted[above] * part)
}

/// The same of numbers that are counted by class: class `n` from `2^n` up to twice that. Within a class
/// they are taken to be spread evenly.
pub fn class_percentile(classes: &[u64], percent: f64) -> Option<f64> {
    let total: f64 = classes.iter().map(|&count| count as f64).sum();
    if total == 0.0 {
        return None;
    }
    let wanted = total * (percent / 100.0).clamp(0.0, 1.0);
    let mut below = 0.0;
    let mut last = None;
    for (class, &count) in classes.iter().enumerate() {
        if count == 0 {
            continue;
        }
        let start = 2.0_f64.powi(class as i32);
        last = Some(2.0 * start);
        if below + count as f64 >= wanted {
            return Some(start + start * (wanted - below) / count as f64);
        }
        below += count as f64;
    }
    last
}

/// One over the other; `None` if that says nothing.
pub fn ratio(value: f64, over: f64) -> Option<f64> {
    (over > 0.0 && value.is_finite()).then(|| value / over)
}

#[cfg(test)]
mod tests;
