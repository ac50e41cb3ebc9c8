//! The rules as a FHIR Schedule.

use super::{Day, Exception, Hours, Kind, KindSchedule, Minute};
use crate::element::{array, coding, concept, extension, kind as type_of, set_extension, text};
use crate::vocabulary::{AVAILABILITY_EXCEPTION, LEAD_MINUTES, SLOT_MINUTES, VISIT_KIND, WEEKLY_HOURS};
use fhir::{Resource, ResourceKey};
use serde_json::{Value, json};

/// Kind and rules of a Schedule that this product wrote. `None` for any other; parts that make no sense are left out.
pub fn read(schedule: &Resource) -> Option<(Kind, KindSchedule)> {
    let value = schedule.value();
    let kind = array(value, "serviceType").iter().find_map(|c| Kind::from_code(coding(c, VISIT_KIND)?.0))?;
    let number = |url, element: &str| extension(value, url)?.get(element)?.as_u64();
    let closed = KindSchedule::closed();
    let all =
        |url: &'static str| array(value, "extension").iter().filter(move |e| text(e, "/url") == Some(url));
    let slot_minutes = number(SLOT_MINUTES, "valuePositiveInt").and_then(|n| u16::try_from(n).ok());
    Some((
        kind,
        KindSchedule {
            slot_minutes: slot_minutes.filter(|n| *n > 0).unwrap_or(closed.slot_minutes),
            lead_minutes: number(LEAD_MINUTES, "valueUnsignedInt")
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(closed.lead_minutes),
            weekly: all(WEEKLY_HOURS).filter_map(hours).collect(),
            exceptions: all(AVAILABILITY_EXCEPTION).filter_map(exception).collect(),
        },
    ))
}

fn part<'a>(complex: &'a Value, name: &str) -> Option<&'a Value> {
    extension(complex, name)
}

fn minute(complex: &Value, name: &str) -> Option<Minute> {
    Minute::parse(text(part(complex, name)?, "/valueTime")?)
}

fn hours(complex: &Value) -> Option<Hours> {
    Some(Hours {
        day: Day::from_code(text(part(complex, "day")?, "/valueCode")?)?,
        start: minute(complex, "start")?,
        end: minute(complex, "end").unwrap_or(Minute::END),
    })
}

fn exception(complex: &Value) -> Option<Exception> {
    Some(Exception {
        date: text(part(complex, "date")?, "/valueDate")?.parse().ok()?,
        start: minute(complex, "start"),
        end: minute(complex, "end"),
        available: part(complex, "available")?.get("valueBoolean")?.as_bool()?,
        note: part(complex, "note").and_then(|n| text(n, "/valueString")).map(str::to_owned),
    })
}

/// The Schedule of a practitioner for one kind, new or with its rules replaced; everything else stays.
pub fn write(
    old: Option<&Resource>,
    id: &str,
    practitioner: &ResourceKey,
    name: &str,
    kind: Kind,
    rules: &KindSchedule,
) -> Resource {
    let mut schedule = old.cloned().unwrap_or_else(|| {
        let mut new = Resource::new(type_of("Schedule"));
        new.set_id(id);
        new
    });
    schedule.set("active", json!(true));
    schedule.set("serviceType", json!([concept(VISIT_KIND, kind.code(), kind.display())]));
    schedule.set("actor", json!([crate::element::reference(practitioner, name)]));
    let value = schedule.value_mut();
    let length = json!({"url": SLOT_MINUTES, "valuePositiveInt": rules.slot_minutes});
    set_extension(value, SLOT_MINUTES, Some(length));
    set_extension(
        value,
        LEAD_MINUTES,
        Some(json!({"url": LEAD_MINUTES, "valueUnsignedInt": rules.lead_minutes})),
    );
    set_extension(value, WEEKLY_HOURS, None);
    set_extension(value, AVAILABILITY_EXCEPTION, None);
    let weekly = rules.weekly.iter().map(|hours| {
        let mut parts = vec![
            json!({"url": "day", "valueCode": hours.day.code()}),
            json!({"url": "start", "valueTime": format!("{}:00", hours.start)}),
        ];
        parts.extend(end(hours.end));
        json!({"url": WEEKLY_HOURS, "extension": parts})
    });
    let exceptions = rules.exceptions.iter().map(|exception| {
        let mut parts = vec![json!({"url": "date", "valueDate": exception.date.to_string()})];
        parts.extend(exception.start.map(|at| json!({"url": "start", "valueTime": format!("{at}:00")})));
        parts.extend(exception.end.and_then(end));
        parts.push(json!({"url": "available", "valueBoolean": exception.available}));
        parts.extend(
            exception
                .note
                .as_ref()
                .filter(|n| !n.trim().is_empty())
                .map(|note| json!({"url": "note", "valueString": note})),
        );
        json!({"url": AVAILABILITY_EXCEPTION, "extension": parts})
    });
    if let Some(Value::Array(all)) = value.get_mut("extension") {
        all.extend(weekly.chain(exceptions));
    }
    schedule
}

/// FHIR's `time` has no 24:00; a window without an end lasts to the end of the day.
fn end(at: Minute) -> Option<Value> {
    (at != Minute::END).then(|| json!({"url": "end", "valueTime": format!("{at}:00")}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::key;

    #[test]
    fn rules_survive_the_way_through_the_resource() {
        let at = |text| Minute::parse(text).unwrap();
        let rules = KindSchedule {
            slot_minutes: 30,
            lead_minutes: 90,
            weekly: vec![
                Hours { day: Day::Mon, start: at("08:00"), end: at("12:30") },
                Hours { day: Day::Sun, start: at("20:00"), end: at("24:00") },
            ],
            exceptions: vec![
                Exception {
                    date: jiff::civil::date(2026, 12, 25),
                    start: None,
                    end: None,
                    available: false,
                    note: None,
                },
                Exception {
                    date: jiff::civil::date(2026, 12, 26),
                    start: Some(at("09:00")),
                    end: Some(at("10:00")),
                    available: true,
                    note: Some("extra".into()),
                },
            ],
        };
        let practitioner = key("Practitioner", "p");
        let first = write(None, "s", &practitioner, "Dr A", Kind::InPerson, &KindSchedule::closed());
        let second = write(Some(&first), "ignored", &practitioner, "Dr A", Kind::InPerson, &rules);
        assert_eq!(second.id(), Some("s"));
        assert_eq!(read(&second), Some((Kind::InPerson, rules)));
    }
}
