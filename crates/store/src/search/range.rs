//! Conditions on one index table for one operand: the bounds that make a narrow range, and the exact test.

use super::builder::Values;
use crate::Dialect;
use crate::index::{MAX_CHARS, SHORT_US, cut, on_sphere};
use fhir::search::{Match, Prefix};

/// Past every text that starts with a prefix: texts compare by code point on both engines.
pub(super) const LAST: char = '\u{10FFFF}';

/// Bounds on the start of a short, single date range: from ≤ start < until.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    pub from: i64,
    pub until: i64,
}

impl Bounds {
    pub const ALL: Bounds = Bounds { from: i64::MIN, until: i64::MAX };

    pub fn and(self, other: Bounds) -> Bounds {
        Bounds { from: self.from.max(other.from), until: self.until.min(other.until) }
    }
}

/// Where ranges of at most [SHORT_US] must start to have a chance.
pub(super) fn short_bounds(prefix: Prefix, low: i64, high: i64) -> Bounds {
    let reach = |us: i64| us.saturating_sub(SHORT_US);
    let (from, until) = match prefix {
        Prefix::Eq => (low, high),
        Prefix::Ne => (i64::MIN, i64::MAX),
        Prefix::Gt => (reach(high), i64::MAX),
        Prefix::Lt | Prefix::Eb => (i64::MIN, low),
        Prefix::Ge => (low.min(reach(high)), i64::MAX),
        Prefix::Le => (i64::MIN, high.max(low)),
        Prefix::Sa => (high, i64::MAX),
        Prefix::Ap => (reach(low), high),
    };
    Bounds { from, until }
}

/// The exact test of a stored [low_us, high_us) against [low, high).
/// <http://hl7.org/fhir/R4/search.html#prefix>
pub(super) fn date_test(values: &mut Values, prefix: Prefix, low: i64, high: i64) -> String {
    let mut v = |n: i64| values.bind(n);
    match prefix {
        Prefix::Eq => format!("(low_us >= {} AND high_us <= {})", v(low), v(high)),
        Prefix::Ne => format!("(low_us < {} OR high_us > {})", v(low), v(high)),
        Prefix::Gt => format!("(high_us > {})", v(high)),
        Prefix::Lt => format!("(low_us < {})", v(low)),
        Prefix::Ge => {
            let high = v(high);
            format!("(high_us > {high} OR (low_us >= {} AND high_us <= {high}))", v(low))
        }
        Prefix::Le => {
            let low = v(low);
            format!("(low_us < {low} OR (low_us >= {low} AND high_us <= {}))", v(high))
        }
        Prefix::Sa => format!("(low_us >= {})", v(high)),
        Prefix::Eb => format!("(high_us <= {})", v(low)),
        Prefix::Ap => format!("(low_us < {} AND high_us > {})", v(high), v(low)),
    }
}

/// The test of a stored number. With gt, lt, ge, le the written precision does not count; eq, ne and ap compare
/// with the operand's range, which the parser has made as wide as the prefix wants.
pub(super) fn quantity_test(
    values: &mut Values,
    prefix: Prefix,
    (value, low, high): (f64, f64, f64),
) -> String {
    let mut v = |n: f64| values.bind(n);
    match prefix {
        Prefix::Eq | Prefix::Ap => format!("(value >= {} AND value < {})", v(low), v(high)),
        Prefix::Ne => format!("(value < {} OR value >= {})", v(low), v(high)),
        Prefix::Gt => format!("(value > {})", v(value)),
        Prefix::Lt => format!("(value < {})", v(value)),
        Prefix::Ge => format!("(value >= {})", v(value)),
        Prefix::Le => format!("(value <= {})", v(value)),
        Prefix::Sa => format!("(value > {0} AND low >= {0})", v(value)),
        Prefix::Eb => format!("(value < {0} AND high <= {0})", v(value)),
    }
}

/// The test of a stored number that is open to one side, such as `<5`: the whole range counts.
pub(super) fn open_test(values: &mut Values, prefix: Prefix, (value, low, high): (f64, f64, f64)) -> String {
    let mut v = |n: f64| values.bind(n);
    match prefix {
        // An open range lies in no other.
        Prefix::Eq => "(1 = 0)".into(),
        Prefix::Ne => "(1 = 1)".into(),
        Prefix::Gt | Prefix::Ge => format!("(high > {})", v(value)),
        Prefix::Lt | Prefix::Le => format!("(low < {})", v(value)),
        Prefix::Sa => format!("(low >= {})", v(value)),
        Prefix::Eb => format!("(high <= {})", v(value)),
        Prefix::Ap => format!("(low < {} AND high > {})", v(high), v(low)),
    }
}

/// The test of a stored string, on `alias`.folded and `alias`.exact.
pub(super) fn exact_test(values: &mut Values, alias: &str, folded: &str, exact: &str) -> String {
    let (folded, exact) = (cut(folded, MAX_CHARS), cut(exact, MAX_CHARS));
    let stored = if folded == exact { "" } else { exact };
    format!("{alias}folded = {} AND {alias}exact = {}", values.bind(folded), values.bind(stored))
}

/// The test of a stored string by the filter's way of comparing.
pub(super) fn string_test(
    values: &mut Values,
    dialect: Dialect,
    alias: &str,
    (matching, folded, exact): (Match, &str, &str),
) -> String {
    match matching {
        Match::Exact => exact_test(values, alias, folded, exact),
        Match::Whole => format!("{alias}folded = {}", values.bind(cut(folded, MAX_CHARS))),
        Match::Contains => {
            let folded = values.bind(folded);
            dialect.contains(&format!("{alias}folded"), &folded)
        }
        Match::Ends => {
            let length = values.bind(folded.chars().count() as i64);
            let folded = values.bind(folded);
            // A text shorter than the ending is another text, wherever an engine starts to count.
            format!("substr({alias}folded, CAST(length({alias}folded) + 1 - {length} AS INTEGER)) = {folded}")
        }
        _ => prefix_test(values, alias, folded),
    }
}

pub(super) fn prefix_test(values: &mut Values, alias: &str, folded: &str) -> String {
    prefix_of(values, &format!("{alias}folded"), folded)
}

/// The column's text starts with `folded`.
pub(super) fn prefix_of(values: &mut Values, column: &str, folded: &str) -> String {
    let folded = cut(folded, MAX_CHARS);
    let last = values.bind(format!("{folded}{LAST}"));
    format!("{column} >= {} AND {column} < {last}", values.bind(folded))
}

/// Metres; the mean radius, as all of WGS 84 is within half a percent of it.
const EARTH_RADIUS: f64 = 6_371_008.8;

/// A stored place within so many metres of another: by the straight line through the earth, which grows with the
/// distance on its surface.
pub(super) fn near_test(values: &mut Values, latitude: f64, longitude: f64, meters: f64) -> String {
    let (x, y, z) = on_sphere(latitude, longitude);
    let angle = (meters / EARTH_RADIUS).clamp(0.0, std::f64::consts::PI);
    // A hair more, for rounding: a millimetre.
    let chord = 2.0 * (angle / 2.0).sin() + 1e-10;
    let degrees = angle.to_degrees() + 1e-6;
    let (low, high) = (values.bind(latitude - degrees), values.bind(latitude + degrees));
    let (x, y, z) = (values.bind(x), values.bind(y), values.bind(z));
    let square = values.bind(chord * chord);
    format!(
        "latitude >= {low} AND latitude <= {high} AND \
         (x - {x}) * (x - {x}) + (y - {y}) * (y - {y}) + (z - {z}) * (z - {z}) <= {square}"
    )
}

/// The URI itself and everything above it: `http://a/b/c` → itself, `http://a/b`, `http://a`.
pub(super) fn ancestors(uri: &str) -> Vec<String> {
    let mut all = vec![uri.to_owned()];
    let mut rest = uri;
    while let Some(at) =
        rest.rfind('/').filter(|at| *at > 0 && !rest[..*at].ends_with('/') && !rest[..*at].ends_with(':'))
    {
        rest = &rest[..at];
        all.push(rest.to_owned());
    }
    all
}
