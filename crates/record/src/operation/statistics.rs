//! `$stats`: numbers about the measured values of one subject.

use serde_json::Value;

/// <http://terminology.hl7.org/CodeSystem/observation-statistics>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistic {
    Average,
    Maximum,
    Minimum,
    /// Values that are numbers.
    Count,
    /// All observations, with a number or without.
    TotalCount,
    Median,
    /// Of the sample (n − 1).
    StandardDeviation,
    Sum,
    /// Of the sample (n − 1).
    Variance,
    /// 20 % of the values are at most this; 80, 25 and 75 alike.
    Percentile(u8),
    /// Between the quartiles.
    QuartileDeviation,
    /// The upper end of the n-th fifth of the values.
    Quintile(u8),
    Skew,
    Kurtosis,
    /// Slope of the straight line through the values, per day.
    Regression,
}

/// Code and display of every statistic, in the order of the code system.
pub const ALL: &[(&str, &str, Statistic)] = &[
    ("average", "Average", Statistic::Average),
    ("maximum", "Maximum", Statistic::Maximum),
    ("minimum", "Minimum", Statistic::Minimum),
    ("count", "Count", Statistic::Count),
    ("total-count", "Total Count", Statistic::TotalCount),
    ("median", "Median", Statistic::Median),
    ("std-dev", "Standard Deviation", Statistic::StandardDeviation),
    ("sum", "Sum", Statistic::Sum),
    ("variance", "Variance", Statistic::Variance),
    ("20-percent", "20th Percentile", Statistic::Percentile(20)),
    ("80-percent", "80th Percentile", Statistic::Percentile(80)),
    ("4-lower", "Lower Quartile", Statistic::Percentile(25)),
    ("4-upper", "Upper Quartile", Statistic::Percentile(75)),
    ("4-dev", "Quartile Deviation", Statistic::QuartileDeviation),
    ("5-1", "1st Quintile", Statistic::Quintile(1)),
    ("5-2", "2nd Quintile", Statistic::Quintile(2)),
    ("5-3", "3rd Quintile", Statistic::Quintile(3)),
    ("5-4", "4th Quintile", Statistic::Quintile(4)),
    ("skew", "Skew", Statistic::Skew),
    ("kurtosis", "Kurtosis", Statistic::Kurtosis),
    ("regression", "Regression", Statistic::Regression),
];

impl Statistic {
    pub fn from_code(code: &str) -> Option<Statistic> {
        ALL.iter().find(|(known, ..)| *known == code).map(|(.., statistic)| *statistic)
    }
    pub fn code(self) -> &'static str {
        ALL.iter().find(|(.., s)| *s == self).map_or("", |(code, ..)| code)
    }
    pub fn display(self) -> &'static str {
        ALL.iter().find(|(.., s)| *s == self).map_or("", |(_, display, _)| display)
    }
    /// How the result is measured: a count has no unit, a variance has the unit squared.
    pub fn unit(self, unit: &str) -> String {
        match self {
            Statistic::Count | Statistic::TotalCount | Statistic::Skew | Statistic::Kurtosis => {
                "1".to_owned()
            }
            Statistic::Variance if unit == "1" || unit.is_empty() => unit.to_owned(),
            Statistic::Variance => format!("({unit})2"),
            Statistic::Regression if unit.is_empty() || unit == "1" => "/d".to_owned(),
            Statistic::Regression => format!("({unit})/d"),
            _ => unit.to_owned(),
        }
    }
}

/// One measured value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Microseconds since the epoch.
    pub at_us: i64,
    pub value: f64,
}

/// The statistic of these samples; `total` counts the observations without a number too. `None` where there are too few.
pub fn evaluate(statistic: Statistic, samples: &[Sample], total: usize) -> Option<f64> {
    let n = samples.len() as f64;
    let mut sorted: Vec<f64> = samples.iter().map(|s| s.value).collect();
    sorted.sort_by(f64::total_cmp);
    let sum: f64 = sorted.iter().sum();
    let mean = sum / n;
    let moment = |power: i32| sorted.iter().map(|v| (v - mean).powi(power)).sum::<f64>() / n;
    let variance = || (sorted.len() > 1).then(|| moment(2) * n / (n - 1.0));
    match statistic {
        Statistic::Count => Some(n),
        Statistic::TotalCount => Some(total as f64),
        Statistic::Sum => Some(sum),
        Statistic::Average => (!sorted.is_empty()).then_some(mean),
        Statistic::Maximum => sorted.last().copied(),
        Statistic::Minimum => sorted.first().copied(),
        Statistic::Median => percentile(&sorted, 50.0),
        Statistic::Percentile(at) => percentile(&sorted, f64::from(at)),
        Statistic::QuartileDeviation => Some((percentile(&sorted, 75.0)? - percentile(&sorted, 25.0)?) / 2.0),
        Statistic::Quintile(nth) => percentile(&sorted, 20.0 * f64::from(nth)),
        Statistic::Variance => variance(),
        Statistic::StandardDeviation => variance().map(f64::sqrt),
        Statistic::Skew => (sorted.len() > 2 && moment(2) > 0.0)
            .then(|| moment(3) / moment(2).powf(1.5) * (n * (n - 1.0)).sqrt() / (n - 2.0)),
        // Excess: 0 for the normal distribution.
        Statistic::Kurtosis => {
            (sorted.len() > 3 && moment(2) > 0.0).then(|| moment(4) / moment(2).powi(2) - 3.0)
        }
        Statistic::Regression => slope_per_day(samples),
    }
}

/// Linear interpolation between the nearest ranks, as spreadsheets do it.
fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = percent / 100.0 * last as f64;
    let below = place.floor() as usize;
    let low = sorted.get(below)?;
    let high = sorted.get((below + 1).min(last))?;
    Some(low + (high - low) * (place - below as f64))
}

fn slope_per_day(samples: &[Sample]) -> Option<f64> {
    const DAY_US: f64 = 86_400_000_000.0;
    let first = samples.iter().map(|s| s.at_us).min()?;
    let points: Vec<(f64, f64)> =
        samples.iter().map(|s| (s.at_us.saturating_sub(first) as f64 / DAY_US, s.value)).collect();
    let n = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let across: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let spread: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    (spread > 0.0).then(|| across / spread)
}

/// Digits that a float surely keeps.
const DIGITS: i32 = 15;
/// Decimals up to which a number is written without an exponent.
const MAX_PLACES: usize = 30;

/// The number of a FHIR decimal; `None` if it is too large or too small for a float.
pub fn finite(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    let is_zero = !mantissa.bytes().any(|b| matches!(b, b'1'..=b'9'));
    (value.is_finite() && (is_zero || value.is_normal())).then_some(value)
}

/// Digits behind the point of a FHIR decimal as written: 2 of `1.50`, 8 of `1.5e-7`.
pub fn decimals(text: &str) -> usize {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().unwrap_or(0)),
        None => (text, 0),
    };
    let fraction = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len() as i64);
    usize::try_from(fraction.saturating_sub(exponent)).unwrap_or(0)
}

/// The number as a FHIR decimal: as many decimals as are sensible for values written with `decimals`.
pub fn decimal(value: f64, decimals: usize) -> Option<Value> {
    let magnitude = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    let places = usize::try_from(DIGITS - 1 - magnitude).unwrap_or(0).min(decimals + 2);
    if places > MAX_PLACES {
        return serde_json::from_str(&format!("{value:.*e}", DIGITS as usize - 1)).ok();
    }
    let text = format!("{value:.places$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    let text = if text == "-0" { "0" } else { text };
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Vec<Sample> {
        let day = |n: usize| n as i64 * 86_400_000_000;
        values.iter().enumerate().map(|(n, value)| Sample { at_us: day(n), value: *value }).collect()
    }

    #[test]
    fn numbers_are_those_of_the_books() {
        let set = samples(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        for (code, expected) in [
            ("average", 5.0),
            ("maximum", 9.0),
            ("minimum", 2.0),
            ("count", 8.0),
            ("total-count", 10.0),
            ("median", 4.5),
            ("std-dev", 2.138_089_935_299_395),
            ("variance", 4.571_428_571_428_571),
            ("sum", 40.0),
            ("20-percent", 4.0),
            ("80-percent", 6.2),
            ("4-lower", 4.0),
            ("4-upper", 5.5),
            ("4-dev", 0.75),
            ("5-1", 4.0),
            ("5-4", 6.2),
            ("skew", 0.818_487_553_356_574_6),
            ("kurtosis", -0.218_75),
            ("regression", 0.809_523_809_523_809_5),
        ] {
            let found = evaluate(Statistic::from_code(code).unwrap(), &set, 10).unwrap();
            assert!((found - expected).abs() < 1e-9, "{code}: {found} is not {expected}");
        }
    }

    #[test]
    fn too_few_values_say_nothing() {
        for (code, _, statistic) in ALL {
            let none = evaluate(*statistic, &[], 0);
            let counts = matches!(*code, "count" | "total-count" | "sum");
            assert_eq!(none.is_some(), counts, "{code}");
        }
        assert_eq!(evaluate(Statistic::StandardDeviation, &samples(&[1.0]), 1), None);
        assert_eq!(evaluate(Statistic::Regression, &samples(&[1.0]), 1), None);
    }

    #[test]
    fn decimals_are_written_shortly() {
        for (value, decimals, expected) in [
            (5.0, 0, "5"),
            (36.666_666, 1, "36.667"),
            (-0.001, 0, "0"),
            (0.125, 1, "0.125"),
            (120.0, 0, "120"),
            (1.5e-12, 13, "0.0000000000015"),
            (1.0 / 3.0, 20, "0.333333333333333"),
            (2.5e-40, 41, "2.50000000000000e-40"),
        ] {
            assert_eq!(decimal(value, decimals).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn numbers_are_read_as_written_or_not_at_all() {
        for (text, value, places) in [
            ("1.50", Some(1.5), 2),
            ("1.5e-7", Some(1.5e-7), 8),
            ("2E3", Some(2000.0), 0),
            ("0e-9999", Some(0.0), 9999),
        ] {
            assert_eq!((finite(text), decimals(text)), (value, places), "{text}");
        }
        for text in ["1e309", "-1e400", "1e-400", "4.9e-324"] {
            assert_eq!(finite(text), None, "{text}");
        }
    }
}
