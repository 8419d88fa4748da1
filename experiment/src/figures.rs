//! Numbers as people read them.

use muster_scheduler::sim::report::number;

/// Three digits that count, and a letter for thousands and millions.
pub fn figure(value: f64) -> String {
    if value < 0.0 {
        return format!("-{}", figure(-value));
    }
    if value != 0.0 && value < 0.0995 {
        let places = (2 - value.log10().floor() as i32).clamp(0, 12) as usize;
        return format!("{value:.places$}");
    }
    number(value)
}

/// The same, or a dash where there is nothing.
pub fn figure_or_dash(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), figure)
}

/// A ratio: `7.38x`.
pub fn times(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{}x", figure(value)))
}

/// A length of time in minutes and seconds.
pub fn minutes(time_ns: u64) -> String {
    let seconds = time_ns.div_ceil(1_000_000_000);
    match seconds / 60 {
        0 => format!("{seconds} s"),
        minutes => format!("{minutes} min {} s", seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count() {
        let texts = [0.0, 0.00123, 0.0999, 0.5, 12.345, 1234.0, 16.8e6, -2.5].map(figure);
        assert_eq!(
            texts,
            [
                "0", "0.00123", "0.10", "0.50", "12.3", "1.23k", "16.8M", "-2.50"
            ]
        );
        assert_eq!(
            (times(Some(7.384)), times(None)),
            ("7.38x".to_owned(), "-".to_owned())
        );
        assert_eq!(
            (minutes(59_000_000_001), minutes(1)),
            ("1 min 0 s".to_owned(), "1 s".to_owned())
        );
    }
}
