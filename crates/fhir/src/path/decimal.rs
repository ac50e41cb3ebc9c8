//! Decimals with their written scale; exact for what FHIRPath does with them.

use std::cmp::Ordering;

/// Fraction digits of a quotient (<http://hl7.org/fhirpath/N1/#division> asks for at least 8).
const QUOTIENT_DIGITS: u32 = 16;
/// Digits after the point that are kept.
pub(super) const MAX_SCALE: u32 = 28;

/// `mantissa / 10^scale`
#[derive(Debug, Clone, Copy)]
pub struct Decimal {
    mantissa: i128,
    scale: u32,
}

impl Decimal {
    pub fn parse(text: &str) -> Option<Decimal> {
        let (digits, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].trim_start_matches('+').parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, digits) = match digits.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, digits.strip_prefix('+').unwrap_or(digits)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() || (fraction.is_empty() && digits.contains('.')) {
            return None;
        }
        let mut mantissa = 0i128;
        for b in whole.bytes().chain(fraction.bytes()) {
            if !b.is_ascii_digit() {
                return None;
            }
            mantissa = mantissa.checked_mul(10)?.checked_add(i128::from(b - b'0'))?;
        }
        let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        let mut d = Decimal { mantissa: if negative { -mantissa } else { mantissa }, scale: 0 };
        if scale < 0 {
            d.mantissa = d.mantissa.checked_mul(power(scale.unsigned_abs())?)?;
        } else {
            d.scale = scale.unsigned_abs();
        }
        d.limited()
    }
    pub fn from_f64(value: f64) -> Option<Decimal> {
        if !value.is_finite() {
            return None;
        }
        let text = format!("{value:.12}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        Decimal::parse(text)
    }
    pub fn to_f64(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }
    /// The whole number, if it is one.
    pub fn to_integer(self) -> Option<i64> {
        let factor = power(self.scale)?;
        (self.mantissa % factor == 0).then_some(self.mantissa / factor).and_then(|n| i64::try_from(n).ok())
    }
    pub fn scale(self) -> u32 {
        self.scale
    }
    pub fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    fn limited(self) -> Option<Decimal> {
        if self.scale <= MAX_SCALE {
            return Some(self);
        }
        let cut = power(self.scale - MAX_SCALE).unwrap_or(i128::MAX);
        Some(Decimal { mantissa: self.mantissa / cut, scale: MAX_SCALE })
    }
    fn aligned(self, other: Decimal) -> Option<(i128, i128, u32)> {
        let scale = self.scale.max(other.scale);
        let a = self.mantissa.checked_mul(power(scale - self.scale)?)?;
        let b = other.mantissa.checked_mul(power(scale - other.scale)?)?;
        Some((a, b, scale))
    }
    pub fn plus(self, other: Decimal) -> Option<Decimal> {
        let (a, b, scale) = self.aligned(other)?;
        Some(Decimal { mantissa: a.checked_add(b)?, scale })
    }
    pub fn negate(self) -> Decimal {
        Decimal { mantissa: self.mantissa.saturating_neg(), scale: self.scale }
    }
    pub fn minus(self, other: Decimal) -> Option<Decimal> {
        self.plus(other.negate())
    }
    pub fn times(self, other: Decimal) -> Option<Decimal> {
        Decimal { mantissa: self.mantissa.checked_mul(other.mantissa)?, scale: self.scale + other.scale }
            .limited()
    }
    /// `None` for division by zero and overflow. Trailing zeros of the quotient are dropped.
    pub fn divide(self, other: Decimal) -> Option<Decimal> {
        let (a, b, _) = self.aligned(other)?;
        if b == 0 {
            return None;
        }
        let scaled = a.checked_mul(power(QUOTIENT_DIGITS)?)?;
        Some(Decimal { mantissa: scaled / b, scale: QUOTIENT_DIGITS }.trimmed())
    }
    /// Quotient without fraction and remainder.
    pub fn divide_whole(self, other: Decimal) -> Option<(i64, Decimal)> {
        let (a, b, scale) = self.aligned(other)?;
        if b == 0 {
            return None;
        }
        Some((i64::try_from(a / b).ok()?, Decimal { mantissa: a % b, scale }))
    }
    fn trimmed(mut self) -> Decimal {
        while self.scale > 0 && self.mantissa % 10 == 0 {
            self.mantissa /= 10;
            self.scale -= 1;
        }
        self
    }
    /// To this many digits, halves away from zero.
    pub fn round(self, digits: u32) -> Option<Decimal> {
        if digits >= self.scale {
            return Some(self);
        }
        let factor = power(self.scale - digits)?;
        let half = if self.mantissa < 0 { -(factor / 2) } else { factor / 2 };
        Some(Decimal { mantissa: self.mantissa.checked_add(half)? / factor, scale: digits })
    }
    /// To at most this many digits, towards zero.
    pub(super) fn cut(self, digits: u32) -> Option<Decimal> {
        if digits >= self.scale {
            return Some(self);
        }
        Some(Decimal { mantissa: self.mantissa / power(self.scale - digits)?, scale: digits })
    }
    /// To at least this many digits, with zeros.
    pub(super) fn padded(self, digits: u32) -> Option<Decimal> {
        if digits <= self.scale {
            return Some(self);
        }
        Some(Decimal { mantissa: self.mantissa.checked_mul(power(digits - self.scale)?)?, scale: digits })
    }
    /// Half a unit of the last of so many digits.
    pub(super) fn half_of_last_digit(digits: u32) -> Option<Decimal> {
        (digits < MAX_SCALE).then_some(Decimal { mantissa: 5, scale: digits + 1 })
    }
    pub fn is_negative(self) -> bool {
        self.mantissa < 0
    }
    pub fn truncate(self) -> Option<i64> {
        i64::try_from(self.mantissa / power(self.scale)?).ok()
    }
    pub fn floor(self) -> Option<i64> {
        i64::try_from(self.mantissa.div_euclid(power(self.scale)?)).ok()
    }
    pub fn ceiling(self) -> Option<i64> {
        self.negate().floor().map(|n| -n)
    }
    pub fn abs(self) -> Decimal {
        if self.mantissa < 0 { self.negate() } else { self }
    }
}

impl From<i64> for Decimal {
    fn from(n: i64) -> Decimal {
        Decimal { mantissa: i128::from(n), scale: 0 }
    }
}

fn power(exponent: u32) -> Option<i128> {
    10i128.checked_pow(exponent)
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Decimal) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Decimal {}
impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Decimal) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Decimal {
    fn cmp(&self, other: &Decimal) -> Ordering {
        match self.aligned(*other) {
            Some((a, b, _)) => a.cmp(&b),
            None => self.to_f64().total_cmp(&other.to_f64()),
        }
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = self.mantissa.unsigned_abs().to_string();
        let scale = self.scale as usize;
        let sign = if self.mantissa < 0 { "-" } else { "" };
        if scale == 0 {
            return write!(f, "{sign}{digits}");
        }
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        write!(f, "{sign}{whole}.{fraction}")
    }
}
