//! When a practitioner offers visits: weekly hours and exceptions per kind, in the clinic's time zone.
//!
//! One FHIR Schedule per practitioner and kind holds the rules; [crate::slot] turns them into times.

mod command;
mod stored;

pub use command::{load, load_kind, put};
pub use stored::{read, write};

use crate::rule;
use jiff::civil::{Date, Weekday};
use record::Rule;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// Slots start and end on multiples of this, like the claims of the store.
pub const QUANTUM_MINUTES: u16 = 5;
pub const SLOT_MINUTES_MAX: u16 = 240;
/// Earliest notice: at most 60 days.
pub const LEAD_MINUTES_MAX: u32 = 60 * 24 * 60;
pub const WEEKLY_MAX: usize = 70;
pub const EXCEPTIONS_MAX: usize = 400;
const NOTE_CHARS_MAX: usize = 200;

/// How patient and practitioner meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Video,
    InPerson,
}

impl Kind {
    pub const ALL: [Kind; 2] = [Kind::Video, Kind::InPerson];
    pub fn code(self) -> &'static str {
        match self {
            Kind::Video => "video",
            Kind::InPerson => "in-person",
        }
    }
    pub fn from_code(code: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.code() == code)
    }
    pub fn display(self) -> &'static str {
        match self {
            Kind::Video => "Video visit",
            Kind::InPerson => "Visit in person",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    pub const ALL: [Day; 7] = [Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun];
    pub fn code(self) -> &'static str {
        match self {
            Day::Mon => "mon",
            Day::Tue => "tue",
            Day::Wed => "wed",
            Day::Thu => "thu",
            Day::Fri => "fri",
            Day::Sat => "sat",
            Day::Sun => "sun",
        }
    }
    pub fn from_code(code: &str) -> Option<Day> {
        Day::ALL.into_iter().find(|day| day.code() == code)
    }
    pub fn of(date: Date) -> Day {
        match date.weekday() {
            Weekday::Monday => Day::Mon,
            Weekday::Tuesday => Day::Tue,
            Weekday::Wednesday => Day::Wed,
            Weekday::Thursday => Day::Thu,
            Weekday::Friday => Day::Fri,
            Weekday::Saturday => Day::Sat,
            Weekday::Sunday => Day::Sun,
        }
    }
}

/// Minutes since local midnight, 0–1440, written `HH:MM`; `24:00` is the end of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minute(u16);

impl Minute {
    pub const END: Minute = Minute(24 * 60);
    /// `None` past the end of the day.
    pub fn new(minute: u16) -> Option<Minute> {
        (minute <= Minute::END.0).then_some(Minute(minute))
    }
    pub fn get(self) -> u16 {
        self.0
    }
    /// Reads `HH:MM` (or `HH:MM:00` as FHIR writes times).
    pub fn parse(text: &str) -> Option<Minute> {
        let text = text.strip_suffix(":00").filter(|rest| rest.len() == 5).unwrap_or(text);
        let (hour, minute) = text.split_once(':')?;
        let number = |part: &str| {
            (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()))
                .then(|| part.parse::<u16>().ok())
                .flatten()
        };
        let (hour, minute) = (number(hour)?, number(minute)?);
        (minute < 60).then_some(())?;
        Minute::new(hour * 60 + minute)
    }
}

impl fmt::Display for Minute {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl Serialize for Minute {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Minute {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Minute, D::Error> {
        let text = String::deserialize(deserializer)?;
        Minute::parse(&text)
            .ok_or_else(|| serde::de::Error::custom("write the time as HH:MM, 00:00 to 24:00"))
    }
}

/// A window that repeats every week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    pub day: Day,
    /// `HH:MM` in the clinic's zone.
    #[schema(value_type = String, example = "08:00")]
    pub start: Minute,
    #[schema(value_type = String, example = "12:30")]
    pub end: Minute,
}

/// One day that differs. Without times it is the whole day. What is not available wins over what is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    #[schema(value_type = String, format = Date)]
    pub date: Date,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub start: Option<Minute>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub end: Option<Minute>,
    pub available: bool,
    /// Seen by staff only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Exception {
    pub fn window(&self) -> (Minute, Minute) {
        (self.start.unwrap_or(Minute(0)), self.end.unwrap_or(Minute::END))
    }
}

/// The rules of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KindSchedule {
    /// Length of a visit; a multiple of 5.
    pub slot_minutes: u16,
    /// How long before its start a slot can still be booked.
    pub lead_minutes: u32,
    pub weekly: Vec<Hours>,
    pub exceptions: Vec<Exception>,
}

impl KindSchedule {
    /// No hours at all: what holds before anybody has set some.
    pub fn closed() -> KindSchedule {
        KindSchedule { slot_minutes: 20, lead_minutes: 30, weekly: Vec::new(), exceptions: Vec::new() }
    }
}

/// Both kinds, as `/api/v1` shows and takes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Kinds {
    pub video: KindSchedule,
    #[serde(rename = "in-person")]
    pub in_person: KindSchedule,
}

impl Kinds {
    pub fn of(&self, kind: Kind) -> &KindSchedule {
        match kind {
            Kind::Video => &self.video,
            Kind::InPerson => &self.in_person,
        }
    }
}

/// `GET|PUT providers/{id}/schedule`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderSchedule {
    pub kinds: Kinds,
    /// Sum of the versions of both kinds; 0 before there is one. In a PUT: what was read.
    #[serde(default)]
    pub version: Option<u32>,
}

/// Every problem of the rules. `field` is the JSON pointer of this kind in the body, e.g. `/kinds/video`.
pub fn check(rules: &KindSchedule, field: &str) -> Vec<Rule> {
    let mut found = Vec::new();
    let mut add = |code, text: &str, at: String| found.push(Rule::new(code, text).at(at));
    if rules.slot_minutes == 0
        || rules.slot_minutes > SLOT_MINUTES_MAX
        || !rules.slot_minutes.is_multiple_of(QUANTUM_MINUTES)
    {
        add(
            "slot-length-invalid",
            "A visit takes 5 to 240 minutes, in steps of 5.",
            format!("{field}/slot_minutes"),
        );
    }
    if rules.lead_minutes > LEAD_MINUTES_MAX {
        add("lead-invalid", "At most 60 days.", format!("{field}/lead_minutes"));
    }
    if rules.weekly.len() > WEEKLY_MAX {
        add("too-many", "Too many weekly windows.", format!("{field}/weekly"));
    }
    if rules.exceptions.len() > EXCEPTIONS_MAX {
        add("too-many", "Too many exceptions; remove past ones.", format!("{field}/exceptions"));
    }
    let mut window = |start: Minute, end: Minute, at: String| {
        if start >= end {
            add("hours-invalid", "The end must be after the start.", format!("{at}/end"));
        }
        if !start.get().is_multiple_of(QUANTUM_MINUTES) || !end.get().is_multiple_of(QUANTUM_MINUTES) {
            add("hours-invalid", "Times are in steps of 5 minutes.", format!("{at}/start"));
        }
    };
    for (index, hours) in rules.weekly.iter().enumerate() {
        window(hours.start, hours.end, format!("{field}/weekly/{index}"));
    }
    for (index, exception) in rules.exceptions.iter().enumerate() {
        let (start, end) = exception.window();
        window(start, end, format!("{field}/exceptions/{index}"));
    }
    for (index, exception) in rules.exceptions.iter().enumerate() {
        if let Some(note) = &exception.note {
            let at = format!("{field}/exceptions/{index}/note");
            found.extend(rule::fits(note, &at, NOTE_CHARS_MAX).err());
        }
    }
    let mut weekly: Vec<&Hours> = rules.weekly.iter().collect();
    weekly.sort_by_key(|hours| (hours.day, hours.start));
    if weekly.windows(2).any(|pair| pair[0].day == pair[1].day && pair[1].start < pair[0].end) {
        found.push(
            Rule::new("hours-overlap", "Two windows of one day overlap.").at(format!("{field}/weekly")),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_read_strictly() {
        for (text, minutes) in [
            ("00:00", Some(0)),
            ("08:30", Some(510)),
            ("24:00", Some(1440)),
            ("23:59:00", Some(1439)),
            ("24:01", None),
            ("8:30", None),
            ("08:60", None),
            ("0830", None),
            ("", None),
            ("-1:00", None),
            ("08:30:30", None),
        ] {
            assert_eq!(Minute::parse(text).map(Minute::get), minutes, "{text:?}");
        }
    }

    #[test]
    fn every_problem_of_the_rules_is_found() {
        let at = |text| Minute::parse(text).unwrap();
        let rules = KindSchedule {
            slot_minutes: 7,
            lead_minutes: LEAD_MINUTES_MAX + 1,
            weekly: vec![
                Hours { day: Day::Mon, start: at("12:00"), end: at("08:00") },
                Hours { day: Day::Tue, start: at("08:00"), end: at("12:00") },
                Hours { day: Day::Tue, start: at("11:00"), end: at("13:02") },
            ],
            exceptions: vec![Exception {
                date: jiff::civil::date(2026, 1, 1),
                start: Some(at("10:00")),
                end: Some(at("10:00")),
                available: false,
                note: Some("x".repeat(500)),
            }],
        };
        let found: Vec<(&str, String)> =
            check(&rules, "/kinds/video").into_iter().map(|r| (r.code, r.field)).collect();
        for expected in [
            ("slot-length-invalid", "/kinds/video/slot_minutes"),
            ("lead-invalid", "/kinds/video/lead_minutes"),
            ("hours-invalid", "/kinds/video/weekly/0/end"),
            ("hours-invalid", "/kinds/video/weekly/2/start"),
            ("hours-overlap", "/kinds/video/weekly"),
            ("hours-invalid", "/kinds/video/exceptions/0/end"),
            ("too-long", "/kinds/video/exceptions/0/note"),
        ] {
            assert!(
                found.iter().any(|(code, field)| (*code, field.as_str()) == expected),
                "{expected:?}: {found:?}"
            );
        }
        assert!(check(&KindSchedule::closed(), "").is_empty());
    }
}
