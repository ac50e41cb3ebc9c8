//! Shapes that several answers of `/api/v1` share.

use crate::element::{self, array, text};
use crate::vocabulary::RECORD_NUMBER;
use fhir::Resource;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// An amount in minor units: KSh 1,500 is `150000` of `KES`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Money {
    pub amount_minor: i64,
    /// ISO 4217.
    pub currency: String,
}

impl Money {
    pub fn new(amount_minor: i64, currency: impl Into<String>) -> Money {
        Money { amount_minor, currency: currency.into() }
    }
    /// From a FHIR Money `{value, currency}` with at most two decimals.
    pub fn read(value: &Value) -> Option<Money> {
        let digits = element::digits(value.get("value")?)?;
        Some(Money::new(wire::money::scaled(&digits, 2)?, text(value, "/currency").unwrap_or("KES")))
    }
    /// As FHIR Money.
    pub fn to_fhir(&self) -> Value {
        let value = element::decimal(&wire::money::two_places(self.amount_minor)).unwrap_or(Value::Null);
        serde_json::json!({"value": value, "currency": self.currency})
    }
    /// For people: `KSh 1,500` (cents only when there are some).
    pub fn words(&self) -> String {
        let grouped = wire::money::grouped(self.amount_minor);
        let amount = grouped.strip_suffix(".00").unwrap_or(&grouped);
        let currency = if self.currency == "KES" { "KSh" } else { self.currency.as_str() };
        format!("{currency} {amount}")
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct PersonName {
    pub given: String,
    pub family: String,
    /// Kept for writing the whole name; shown only where a type says so.
    #[serde(skip)]
    #[schema(ignore)]
    pub prefix: Option<String>,
}

impl PersonName {
    /// The official or usual name; old and maiden names only if there is no other.
    pub fn read(person: &Value) -> PersonName {
        let names = array(person, "name");
        let current = |n: &&Value| !matches!(text(n, "/use"), Some("old" | "maiden" | "anonymous"));
        let Some(name) = names.iter().find(current).or(names.first()) else { return PersonName::default() };
        let join =
            |field: &str| array(name, field).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
        let mut found = PersonName {
            given: join("given"),
            family: element::owned(name, "/family"),
            prefix: Some(join("prefix")).filter(|p| !p.is_empty()),
        };
        if found.given.is_empty() && found.family.is_empty() {
            found.family = element::owned(name, "/text");
        }
        found
    }
    /// `Dr Achieng Otieno`
    pub fn whole(&self) -> String {
        [self.prefix.as_deref().unwrap_or_default(), &self.given, &self.family]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }
    /// `A. O.`
    pub fn initials(&self) -> String {
        let first = |part: &str| part.chars().next().map(|c| format!("{c}."));
        [first(&self.given), first(&self.family)].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// Enough to know whom a row is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PatientRef {
    pub id: String,
    pub name: PersonName,
    /// `female`, `male`, `other` or `unknown`
    pub sex: String,
    /// `YYYY-MM-DD`; as precise as it is known.
    pub birth_date: String,
    pub record_number: String,
}

impl PatientRef {
    pub fn read(patient: &Resource) -> PatientRef {
        let value = patient.value();
        PatientRef {
            id: patient.id().unwrap_or_default().to_owned(),
            name: PersonName::read(value),
            sex: text(value, "/gender").unwrap_or("unknown").to_owned(),
            birth_date: element::owned(value, "/birthDate"),
            record_number: element::identifier(value, RECORD_NUMBER).unwrap_or_default().to_owned(),
        }
    }
    /// For a patient whose record the caller may not read: what the referring resource says.
    pub fn named(id: &str, display: &str) -> PatientRef {
        PatientRef {
            id: id.to_owned(),
            name: PersonName { given: String::new(), family: display.to_owned(), prefix: None },
            sex: "unknown".into(),
            birth_date: String::new(),
            record_number: String::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProviderRef {
    pub id: String,
    /// With prefix, e.g. `Dr Achieng Otieno`.
    pub name: String,
}

/// A code with its words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Coded {
    pub code: String,
    pub display: String,
}

/// A code with its system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SystemCode {
    pub code: String,
    pub display: String,
    pub system: String,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Cursor of the next page; `None` on the last one.
    pub next: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn money_round_trips_without_floats() {
        for (minor, value, words) in [
            (150_000, "1500.00", "KSh 1,500"),
            (5, "0.05", "KSh 0.05"),
            (12_345_678_901, "123456789.01", "KSh 123,456,789.01"),
        ] {
            let money = Money::new(minor, "KES");
            let fhir = money.to_fhir();
            assert_eq!(fhir["value"].to_string(), value);
            assert_eq!(Money::read(&fhir), Some(money.clone()));
            assert_eq!(money.words(), words);
        }
        assert_eq!(Money::read(&json!({"value": 1500, "currency": "KES"})), Some(Money::new(150_000, "KES")));
        assert_eq!(Money::read(&json!({"currency": "KES"})), None);
    }

    #[test]
    fn names_of_any_form_are_read() {
        let name = |value| PersonName::read(&json!({ "name": value }));
        assert_eq!(name(json!([{"text": "Wanjiru"}])).whole(), "Wanjiru");
        let two = json!([{"use": "maiden", "family": "Old"}, {"given": ["Asha", "N."], "family": "Mwangi", "prefix": ["Dr"]}]);
        assert_eq!(name(two.clone()).whole(), "Dr Asha N. Mwangi");
        assert_eq!(name(two).initials(), "A. M.");
        assert_eq!(PersonName::read(&json!({})).whole(), "");
    }
}
