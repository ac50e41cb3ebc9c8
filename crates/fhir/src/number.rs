//! Decimals with the precision they were written in.

/// Widest range, for quantities with an open end (`<5`, a Range without high).
pub(crate) const OPEN: f64 = f64::MAX;

/// The value and the range its last written digit stands for: `5.4` is 5.35 to 5.45. A bare integer with an
/// exponent counts as if it had one decimal, because the specification reads `1e2` as 95 to 105.
/// <http://hl7.org/fhir/R4/search.html#number>. `None` if the text is no JSON number.
pub(crate) fn implicit_range(text: &str) -> Option<(f64, f64, f64)> {
    let (mantissa, exponent) = split(text)?;
    if mantissa.unsigned_abs() < (1 << 48) && (-15..=15).contains(&exponent) {
        // Exact integers scaled once by an exact power of ten round correctly.
        let at = |tenths: i128| match exponent - 1 {
            up @ 0.. => tenths as f64 * 10f64.powi(up),
            down => tenths as f64 / 10f64.powi(-down),
        };
        return Some((at(mantissa * 10), at(mantissa * 10 - 5), at(mantissa * 10 + 5)));
    }
    let at =
        |tenths: i128| format!("{tenths}e{}", exponent - 1).parse::<f64>().ok().map(|v| v.clamp(-OPEN, OPEN));
    Some((at(mantissa * 10)?, at(mantissa * 10 - 5)?, at(mantissa * 10 + 5)?))
}

/// As [implicit_range], times `numerator / denominator`: correctly rounded where the numbers allow it.
pub(crate) fn scaled_range(text: &str, (numerator, denominator): (i128, i128)) -> Option<(f64, f64, f64)> {
    let (mantissa, exponent) = split(text)?;
    let at = |tenths: i128| -> Option<f64> {
        let power = exponent - 1;
        let exact = (|| {
            let ten = 10i128.checked_pow(power.unsigned_abs())?;
            let (up, down) = if power >= 0 { (ten, 1) } else { (1, ten) };
            Some((tenths.checked_mul(numerator)?.checked_mul(up)?, denominator.checked_mul(down)?))
        })();
        let value = match exact.map(|(n, d)| lowest(n, d)) {
            // Both are exact as floats, so that the quotient is the nearest one.
            Some((n, d)) if n.unsigned_abs() < (1 << 53) && d < (1 << 53) => n as f64 / d as f64,
            _ => format!("{tenths}e{power}").parse::<f64>().ok()? * numerator as f64 / denominator as f64,
        };
        Some(value.clamp(-OPEN, OPEN))
    };
    Some((at(mantissa * 10)?, at(mantissa * 10 - 5)?, at(mantissa * 10 + 5)?))
}

fn lowest(numerator: i128, denominator: i128) -> (i128, i128) {
    let (mut a, mut b) = (numerator.unsigned_abs(), denominator.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    let divisor = i128::try_from(a).unwrap_or(1).max(1);
    (numerator / divisor, denominator / divisor)
}

/// `-1.50e3` is (-150, 1). Digits beyond the 30th are cut off with their weight kept in the exponent.
fn split(text: &str) -> Option<(i128, i32)> {
    let (digits, exponent) = match text.find(['e', 'E']) {
        Some(at) => {
            let exponent = text[at + 1..].strip_prefix('+').unwrap_or(&text[at + 1..]);
            (&text[..at], exponent.parse::<i32>().ok()?.clamp(-5000, 5000))
        }
        None => (text, 0),
    };
    let (negative, digits) = match digits.strip_prefix('-') {
        Some(d) => (true, d),
        None => (false, digits),
    };
    let (mut mantissa, mut exponent, mut seen, mut point) = (0i128, exponent, 0usize, false);
    for b in digits.bytes() {
        match b {
            b'0'..=b'9' => {
                seen += 1;
                if mantissa < 10i128.pow(30) {
                    mantissa = mantissa * 10 + i128::from(b - b'0');
                    exponent -= i32::from(point);
                } else {
                    exponent += i32::from(!point);
                }
            }
            b'.' if !point && seen > 0 => point = true,
            _ => return None,
        }
    }
    if text.len() > digits.len() + 1 && !point {
        (mantissa, exponent) = (mantissa * 10, exponent - 1);
    }
    (seen > 0 && !digits.ends_with('.')).then_some((if negative { -mantissa } else { mantissa }, exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (text, value, low, high) in [
            ("5.4", 5.4, 5.35, 5.45),
            ("5.40", 5.4, 5.395, 5.405),
            ("100", 100.0, 99.5, 100.5),
            ("1e2", 100.0, 95.0, 105.0),
            ("1.00e2", 100.0, 99.5, 100.5),
            ("-3", -3.0, -3.5, -2.5),
            ("0", 0.0, -0.5, 0.5),
            ("5.40e-3", 0.0054, 0.005395, 0.005405),
            (
                "3.141592653589793238462643383279502884",
                std::f64::consts::PI,
                std::f64::consts::PI,
                std::f64::consts::PI,
            ),
        ] {
            assert_eq!(implicit_range(text), Some((value, low, high)), "{text}");
        }
        for text in ["", "-", ".5", "5.", "1e", "1.2.3", "abc", "1 ", "+1", "0x1"] {
            assert_eq!(implicit_range(text), None, "{text}");
        }
        let (value, low, high) = implicit_range("9e5000").unwrap();
        assert!(value.is_finite() && low.is_finite() && high.is_finite());
    }
}
