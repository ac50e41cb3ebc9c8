//! Exact decimal amounts as they appear on the wire.

/// Ten to this power is the largest exponent an amount may carry; more is not money.
const EXPONENT_MAX: i32 = 12;
/// Digits an amount may have in all; a provider never sends more.
const DIGITS_MAX: usize = 24;

/// Reads a decimal such as `"1"`, `"1.00"`, `"-2.5"` or `"2.5E4"` as an integer of units of
/// 10^-`scale`: `scaled("1.5", 2)` is `Some(150)`.
///
/// `None` when the text is no plain decimal, does not fit, or has more significant decimals than
/// `scale` (no rounding: a rounded amount is a wrong amount). Exponents are read because Java services
/// write large doubles that way.
pub fn scaled(text: &str, scale: u32) -> Option<i64> {
    let text = text.trim();
    let (negative, text) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
        None => (text, 0),
    };
    if exponent.abs() > EXPONENT_MAX || mantissa.len() > DIGITS_MAX + 1 {
        return None;
    }
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value: i128 = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i128::from(byte - b'0');
    }
    let shift = i32::try_from(scale).ok()? + exponent - i32::try_from(fraction.len()).ok()?;
    let ten = |power: i32| 10_i128.checked_pow(power.unsigned_abs());
    if shift >= 0 {
        value = value.checked_mul(ten(shift)?)?;
    } else {
        let divisor = ten(shift)?;
        if value % divisor != 0 {
            return None;
        }
        value /= divisor;
    }
    i64::try_from(if negative { -value } else { value }).ok()
}

/// Writes minor units (hundredths) as a decimal with two places: `150050` is `"1500.50"`.
pub fn two_places(amount_minor: i64) -> String {
    let sign = if amount_minor < 0 { "-" } else { "" };
    let amount = amount_minor.unsigned_abs();
    format!("{sign}{}.{:02}", amount / 100, amount % 100)
}

/// As [two_places] with thousands set apart by commas, as M-PESA writes to people: `"1,500.50"`.
pub fn grouped(amount_minor: i64) -> String {
    let plain = two_places(amount_minor);
    let (sign, digits) = plain.strip_prefix('-').map_or(("", plain.as_str()), |rest| ("-", rest));
    let (whole, cents) = digits.split_once('.').unwrap_or((digits, "00"));
    let mut grouped = String::with_capacity(plain.len() + whole.len() / 3);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}.{cents}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals_become_minor_units_exactly() {
        for (text, expected) in [
            ("1", Some(100)),
            ("1.00", Some(100)),
            ("1.0", Some(100)),
            (" 250000 ", Some(25_000_000)),
            ("0.5", Some(50)),
            (".5", Some(50)),
            ("5.", Some(500)),
            ("1.500", Some(150)),
            ("1.505", None),
            ("1.5E4", Some(1_500_000)),
            ("1e2", Some(10_000)),
            ("15000E-2", Some(15_000)),
            ("-3.25", Some(-325)),
            ("+3", Some(300)),
            ("", None),
            (".", None),
            ("-", None),
            ("1,000", None),
            ("1e99999999999", None),
            ("1e13", None),
            ("99999999999999999999999999", None),
            ("999999999999999999999", None),
            ("NaN", None),
            ("१", None),
        ] {
            assert_eq!(scaled(text, 2), expected, "{text:?}");
        }
        assert_eq!(scaled("0.8000", 4), Some(8000));
    }

    #[test]
    fn amounts_are_written_for_people() {
        assert_eq!(grouped(150_050), "1,500.50");
        assert_eq!(grouped(99_900), "999.00");
        assert_eq!(grouped(100_000_000), "1,000,000.00");
        assert_eq!(grouped(-123_456), "-1,234.56");
        assert_eq!(grouped(0), "0.00");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".*", scale in 0_u32..6) {
            let _ = scaled(&text, scale);
        }

        #[test]
        fn written_amounts_read_back(amount in any::<i64>()) {
            prop_assert_eq!(scaled(&two_places(amount), 2), Some(amount));
        }
    }
}
