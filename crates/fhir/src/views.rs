//! Thin read-only views of the data types that domain code looks into all the time. Each borrows the JSON and
//! answers `None` or nothing for what is missing or of another form; validation has reported that before.

use crate::moment::{Form, Moment};
use crate::{Reference, Resource, ResourceKey};
use jiff::Timestamp;
use serde_json::Value;

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// <http://hl7.org/fhir/R4/datatypes.html#HumanName>
#[derive(Debug, Clone, Copy)]
pub struct HumanName<'a>(pub &'a Value);

impl<'a> HumanName<'a> {
    /// The name to show for a Patient, Practitioner, RelatedPerson or Person: usual, then official, then the
    /// first that is not old or maiden.
    pub fn of(resource: &'a Resource) -> Option<HumanName<'a>> {
        let rank = |v: &&Value| match text(v, "use") {
            Some("usual") => 0,
            Some("official") => 1,
            Some("old" | "maiden") => 4,
            Some("temp" | "nickname" | "anonymous") => 3,
            _ => 2,
        };
        list(resource.value(), "name").filter(|v| v.is_object()).min_by_key(rank).map(HumanName)
    }
    pub fn family(self) -> Option<&'a str> {
        text(self.0, "family")
    }
    pub fn given(self) -> impl Iterator<Item = &'a str> {
        list(self.0, "given").filter_map(Value::as_str)
    }
    /// `text` if the sender wrote one, else given names and family name; never empty when any part is there.
    pub fn display(self) -> String {
        if let Some(whole) = text(self.0, "text") {
            return whole.to_owned();
        }
        self.given().chain(self.family()).collect::<Vec<_>>().join(" ")
    }
}

/// <http://hl7.org/fhir/R4/datatypes.html#CodeableConcept>
#[derive(Debug, Clone, Copy)]
pub struct CodeableConcept<'a>(pub &'a Value);

impl<'a> CodeableConcept<'a> {
    pub fn of(resource: &'a Resource, element: &str) -> Option<CodeableConcept<'a>> {
        resource.get(element).filter(|v| v.is_object()).map(CodeableConcept)
    }
    /// System (or "") and code of each coding that has a code.
    pub fn codings(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        list(self.0, "coding").filter_map(|c| Some((text(c, "system").unwrap_or(""), text(c, "code")?)))
    }
    /// The first code of this system.
    pub fn code_in(self, system: &str) -> Option<&'a str> {
        self.codings().find(|(s, _)| *s == system).map(|(_, code)| code)
    }
    pub fn has(self, system: &str, code: &str) -> bool {
        self.codings().any(|c| c == (system, code))
    }
    /// What a person reads: the text, else the first display, else the first code.
    pub fn label(self) -> Option<&'a str> {
        let display = || list(self.0, "coding").find_map(|c| text(c, "display"));
        text(self.0, "text").or_else(display).or_else(|| self.codings().next().map(|(_, code)| code))
    }
}

/// <http://hl7.org/fhir/R4/datatypes.html#Period>
#[derive(Debug, Clone, Copy)]
pub struct Period<'a>(pub &'a Value);

impl Period<'_> {
    /// First instant; `None` = open. Partial dates count in UTC.
    pub fn start(self) -> Option<Timestamp> {
        instant(text(self.0, "start")?).map(|(low, _)| low)
    }
    /// First instant after the period; `None` = open.
    pub fn end(self) -> Option<Timestamp> {
        instant(text(self.0, "end")?).map(|(_, high)| high)
    }
    pub fn contains(self, at: Timestamp) -> bool {
        self.start().is_none_or(|s| s <= at) && self.end().is_none_or(|e| at < e)
    }
}

/// The closed-open range that a FHIR date, dateTime or instant stands for; partial dates count in UTC.
pub fn instant(written: &str) -> Option<(Timestamp, Timestamp)> {
    let (low, high) = Moment::parse(written, Form::DateTime)?.range_us();
    Some((Timestamp::from_microsecond(low).ok()?, Timestamp::from_microsecond(high).ok()?))
}

/// The value of the first identifier of this system.
pub fn identifier<'a>(resource: &'a Resource, system: &str) -> Option<&'a str> {
    list(resource.value(), "identifier")
        .find(|i| text(i, "system") == Some(system))
        .and_then(|i| text(i, "value"))
}

/// Values of `telecom` with this system (`phone`, `email`, …), preferred rank first.
pub fn telecom<'a>(resource: &'a Resource, system: &str) -> Vec<&'a str> {
    let mut found: Vec<&Value> =
        list(resource.value(), "telecom").filter(|t| text(t, "system") == Some(system)).collect();
    found.sort_by_key(|t| t.get("rank").and_then(Value::as_u64).unwrap_or(u64::MAX));
    found.into_iter().filter(|t| text(t, "use") != Some("old")).filter_map(|t| text(t, "value")).collect()
}

/// The local target of a Reference element at the root, e.g. `subject`.
pub fn target(resource: &Resource, element: &str) -> Option<ResourceKey> {
    target_of(resource.get(element)?)
}

/// The local target of a Reference.
pub fn target_of(reference: &Value) -> Option<ResourceKey> {
    match Reference::parse(text(reference, "reference")?, None) {
        Reference::Local { key, .. } => Some(key),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resource(value: Value) -> Resource {
        Resource::from_value(value).unwrap()
    }

    #[test]
    fn names() {
        let display = |names: Value| {
            HumanName::of(&resource(json!({"resourceType": "Patient", "name": names})))
                .map(HumanName::display)
        };
        for (names, expected) in [
            (
                json!([{"use": "maiden", "family": "Old"}, {"given": ["Asha", "N."], "family": "Mwangi"}]),
                Some("Asha N. Mwangi"),
            ),
            (
                json!([{"use": "official", "family": "A"}, {"use": "usual", "text": "Mama Asha"}]),
                Some("Mama Asha"),
            ),
            (json!([{"given": ["Asha"]}]), Some("Asha")),
            (json!([]), None),
            (json!("x"), None),
        ] {
            assert_eq!(display(names.clone()).as_deref(), expected, "{names}");
        }
    }

    #[test]
    fn concepts_periods_and_links() {
        let r = resource(json!({"resourceType": "Encounter",
            "priority": {"coding": [{"system": "s", "code": "a", "display": "Aa"}, {"code": "b"}]},
            "period": {"start": "2024-05-31T10:00:00+03:00", "end": "2024-05"},
            "subject": {"reference": "Patient/1"}, "serviceProvider": {"reference": "#o"},
            "identifier": [{"system": "x", "value": "1"}, {"system": "y", "value": "2"}]}));
        let concept = CodeableConcept::of(&r, "priority").unwrap();
        assert_eq!(
            (concept.label(), concept.code_in("s"), concept.has("", "b")),
            (Some("Aa"), Some("a"), true)
        );
        let period = Period(r.get("period").unwrap());
        assert_eq!(period.start(), Some("2024-05-31T07:00:00Z".parse().unwrap()));
        assert_eq!(period.end(), Some("2024-06-01T00:00:00Z".parse().unwrap()));
        assert!(period.contains("2024-05-31T08:00:00Z".parse().unwrap()));
        assert!(!period.contains("2024-06-01T00:00:00Z".parse().unwrap()));
        assert_eq!(target(&r, "subject").map(|k| k.to_string()).as_deref(), Some("Patient/1"));
        assert_eq!(target(&r, "serviceProvider"), None);
        assert_eq!(identifier(&r, "y"), Some("2"));
        let p = resource(
            json!({"resourceType": "Patient", "telecom": [{"system": "phone", "value": "1", "rank": 2},
            {"system": "phone", "value": "2", "rank": 1}, {"system": "phone", "value": "3", "use": "old"}, {"system": "email", "value": "4"}]}),
        );
        assert_eq!(telecom(&p, "phone"), ["2", "1"]);
    }
}
