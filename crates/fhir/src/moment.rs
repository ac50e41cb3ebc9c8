//! Dates and times with the precision they were written in.

/// Microseconds since the epoch that stand for "open": a Period without start or end.
pub(crate) const OPEN_LOW_US: i64 = i64::MIN;
pub(crate) const OPEN_HIGH_US: i64 = i64::MAX;

const DAY_US: i64 = 86_400_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Precision {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    /// Fractions of a second.
    Fraction,
}

/// A date, dateTime, instant or time. Parts beyond `precision` hold their lowest value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub year: i32,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub micros: u32,
    /// Written digits of the fraction; at most 6 are kept.
    pub digits: u8,
    pub precision: Precision,
    /// Minutes east of UTC; `None` when no zone was written.
    pub offset: Option<i16>,
}

/// What the text may leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `YYYY`, `YYYY-MM`, `YYYY-MM-DD`
    Date,
    /// As Date, or with a time to the second and a zone.
    DateTime,
    /// Always to the second, with a zone.
    Instant,
    /// As DateTime, but minutes and hours suffice and the zone may be missing: search values and FHIRPath.
    Loose,
}

/// The closed-open range of microseconds since the epoch that a date, dateTime or instant covers, in any precision; without
/// a zone it is read as UTC. `None` for what is no date.
pub fn range_us(text: &str) -> Option<(i64, i64)> {
    Moment::parse(text, Form::Loose).map(|moment| moment.range_us())
}

struct Scanner<'a>(&'a [u8]);

impl Scanner<'_> {
    fn digits(&mut self, count: usize) -> Option<u32> {
        let taken = self.0.get(..count)?;
        let mut value = 0u32;
        for b in taken {
            if !b.is_ascii_digit() {
                return None;
            }
            value = value * 10 + u32::from(b - b'0');
        }
        self.0 = &self.0[count..];
        Some(value)
    }
    fn accept(&mut self, byte: u8) -> bool {
        let found = self.0.first() == Some(&byte);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }
    fn done(&self) -> bool {
        self.0.is_empty()
    }
}

impl Moment {
    /// `None` if the text has another form or names a day or time that does not exist.
    pub fn parse(text: &str, form: Form) -> Option<Moment> {
        let mut s = Scanner(text.as_bytes());
        let mut m = Moment {
            year: s.digits(4)? as i32,
            month: 1,
            day: 1,
            hour: 0,
            minute: 0,
            second: 0,
            micros: 0,
            digits: 0,
            precision: Precision::Year,
            offset: None,
        };
        if m.year == 0 {
            return None;
        }
        let to_day = if s.accept(b'-') {
            m.month = s.digits(2)? as u8;
            m.precision = Precision::Month;
            if s.accept(b'-') {
                m.day = s.digits(2)? as u8;
                m.precision = Precision::Day;
                true
            } else {
                false
            }
        } else {
            false
        };
        if !(1..=12).contains(&m.month) || m.day == 0 || m.day > days_in_month(m.year, m.month) {
            return None;
        }
        if s.accept(b'T') {
            let allowed = form != Form::Date && (to_day || form == Form::Loose);
            if !allowed {
                return None;
            }
            // FHIRPath writes a dateTime of lower precision as `2015T`.
            if !(form == Form::Loose && s.done()) {
                if !to_day {
                    return None;
                }
                m.scan_time(&mut s, form)?;
                m.scan_zone(&mut s, form)?;
            }
        } else if form == Form::Instant {
            return None;
        }
        s.done().then_some(m)
    }

    /// `hh:mm:ss(.fff)`; hours and minutes alone only in the loose form. The date is the epoch's first day.
    pub fn parse_time(text: &str, form: Form) -> Option<Moment> {
        let mut m = Moment {
            year: 1970,
            month: 1,
            day: 1,
            hour: 0,
            minute: 0,
            second: 0,
            micros: 0,
            digits: 0,
            precision: Precision::Hour,
            offset: None,
        };
        let mut s = Scanner(text.as_bytes());
        m.scan_time(&mut s, form)?;
        s.done().then_some(m)
    }

    fn scan_time(&mut self, s: &mut Scanner, form: Form) -> Option<()> {
        self.hour = s.digits(2)? as u8;
        self.precision = Precision::Hour;
        if s.accept(b':') {
            self.minute = s.digits(2)? as u8;
            self.precision = Precision::Minute;
            if s.accept(b':') {
                self.second = s.digits(2)? as u8;
                self.precision = Precision::Second;
                if s.accept(b'.') {
                    self.precision = Precision::Fraction;
                    let count = s.0.iter().take_while(|b| b.is_ascii_digit()).count();
                    if count == 0 {
                        return None;
                    }
                    let kept = count.min(6);
                    self.micros = s.digits(kept)? * 10u32.pow(6 - kept as u32);
                    s.0 = &s.0[count - kept..];
                    self.digits = kept as u8;
                }
            }
        }
        let complete = self.precision >= Precision::Second || form == Form::Loose;
        // A leap second is legal in the text and counts as the next second.
        (complete && self.hour < 24 && self.minute < 60 && self.second <= 60).then_some(())
    }

    fn scan_zone(&mut self, s: &mut Scanner, form: Form) -> Option<()> {
        if s.accept(b'Z') {
            self.offset = Some(0);
            return Some(());
        }
        let sign = if s.accept(b'+') {
            1
        } else if s.accept(b'-') {
            -1
        } else {
            return (form == Form::Loose).then_some(());
        };
        let hours = s.digits(2)? as i16;
        if !s.accept(b':') {
            return None;
        }
        let minutes = s.digits(2)? as i16;
        if minutes >= 60 || hours * 60 + minutes > 14 * 60 {
            return None;
        }
        self.offset = Some(sign * (hours * 60 + minutes));
        Some(())
    }

    /// First microsecond, UTC. Without a zone the time is read as UTC.
    pub fn low_us(&self) -> i64 {
        let days = days_from_civil(self.year, self.month, self.day);
        let seconds = i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second)
            - i64::from(self.offset.unwrap_or(0)) * 60;
        days * DAY_US + seconds * 1_000_000 + i64::from(self.micros)
    }

    /// First microsecond after the moment.
    pub fn high_us(&self) -> i64 {
        let low = self.low_us();
        match self.precision {
            Precision::Year => days_from_civil(self.year + 1, 1, 1) * DAY_US,
            Precision::Month => {
                let (year, month) =
                    if self.month == 12 { (self.year + 1, 1) } else { (self.year, self.month + 1) };
                days_from_civil(year, month, 1) * DAY_US
            }
            Precision::Day => low + DAY_US,
            Precision::Hour => low + 3_600_000_000,
            Precision::Minute => low + 60_000_000,
            Precision::Second => low + 1_000_000,
            Precision::Fraction => low + 10i64.pow(6 - u32::from(self.digits.min(6))),
        }
    }

    pub fn range_us(&self) -> (i64, i64) {
        (self.low_us(), self.high_us())
    }
}

pub(crate) fn days_in_month(year: i32, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar
/// (Howard Hinnant, <https://howardhinnant.github.io/date_algorithms.html>).
pub(crate) fn days_from_civil(year: i32, month: u8, day: u8) -> i64 {
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let shifted = (i64::from(month) + 9) % 12;
    let of_year = (153 * shifted + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse of [days_from_civil].
pub(crate) fn civil_from_days(days: i64) -> (i32, u8, u8) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year as i32, month as u8, day as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str, form: Form) -> Option<(String, String)> {
        let (low, high) = Moment::parse(text, form)?.range_us();
        let show = |us| jiff::Timestamp::from_microsecond(us).unwrap().to_string();
        Some((show(low), show(high)))
    }

    #[test]
    fn ranges_follow_the_written_precision() {
        for (text, low, high) in [
            ("2024", "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"),
            ("2024-02", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
            ("2024-12", "2024-12-01T00:00:00Z", "2025-01-01T00:00:00Z"),
            ("2024-02-29", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"),
            ("2024-02-29T23:30:00+03:00", "2024-02-29T20:30:00Z", "2024-02-29T20:30:01Z"),
            ("2024-02-29T23:30:00.5Z", "2024-02-29T23:30:00.5Z", "2024-02-29T23:30:00.6Z"),
            ("2024-02-29T23:30:00.1234567Z", "2024-02-29T23:30:00.123456Z", "2024-02-29T23:30:00.123457Z"),
            ("1905-08-23", "1905-08-23T00:00:00Z", "1905-08-24T00:00:00Z"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z", "2017-01-01T00:00:01Z"),
        ] {
            assert_eq!(range(text, Form::DateTime), Some((low.to_owned(), high.to_owned())), "{text}");
        }
        assert_eq!(
            range("2024-02-29T10:15", Form::Loose),
            Some(("2024-02-29T10:15:00Z".into(), "2024-02-29T10:16:00Z".into()))
        );
    }

    #[test]
    fn wrong_dates_are_refused() {
        for text in [
            "",
            "24",
            "0000",
            "2024-13",
            "2024-00",
            "2024-02-30",
            "2023-02-29",
            "1900-02-29",
            "2024-2-9",
            "2024-02-29T",
            "2024-02-29T10:15Z",
            "2024-02-29T10:15:00",
            "2024-02-29T24:00:00Z",
            "2024-02-29T10:60:00Z",
            "2024-02-29T10:00:00+15:00",
            "2024-02-29T10:00:00.Z",
            "2024-02-29 10:00:00Z",
            "2024-02-29T10:00:00Zx",
            "２０２４",
        ] {
            assert_eq!(Moment::parse(text, Form::DateTime), None, "{text}");
        }
        assert!(Moment::parse("2024-02-29T10:00:00Z", Form::Date).is_none());
        assert!(Moment::parse("2024-02-29", Form::Instant).is_none());
    }

    #[test]
    fn civil_days_round_trip() {
        for days in (-800_000..3_000_000).step_by(17) {
            let (y, m, d) = civil_from_days(days);
            assert_eq!(days_from_civil(y, m, d), days);
        }
    }
}
