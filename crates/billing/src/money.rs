//! Amounts: integers of minor units with their currency, never floats.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// An amount. KES has two decimals: KSh 1,500 is `{"amount_minor": 150000, "currency": "KES"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
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

    /// As FHIR `Money`: a decimal with two places.
    pub fn to_fhir(&self) -> Value {
        let value: Value =
            serde_json::from_str(&wire::money::two_places(self.amount_minor)).unwrap_or_default();
        json!({"value": value, "currency": self.currency})
    }

    /// Reads FHIR `Money` exactly. `None`: no value, no currency, or more than two decimals.
    pub fn from_fhir(value: &Value) -> Option<Money> {
        let number = value.get("value")?.as_number()?.to_string();
        Some(Money::new(wire::money::scaled(&number, 2)?, value.get("currency")?.as_str()?))
    }

    /// For people: `KSh 1,500.00`.
    pub fn shown(&self) -> String {
        let symbol = if self.currency == "KES" { "KSh" } else { &self.currency };
        format!("{symbol} {}", wire::money::grouped(self.amount_minor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fhir_money_is_exact() {
        for (text, expected) in [
            (r#"{"value": 1500, "currency": "KES"}"#, Some(150_000)),
            (r#"{"value": 1500.50, "currency": "KES"}"#, Some(150_050)),
            (r#"{"value": 0.1, "currency": "KES"}"#, Some(10)),
            (r#"{"value": 0.105, "currency": "KES"}"#, None),
            (r#"{"value": 1500}"#, None),
            (r#"{"currency": "KES"}"#, None),
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(Money::from_fhir(&value).map(|m| m.amount_minor), expected, "{text}");
        }
        let money = Money::new(150_050, "KES");
        assert_eq!(money.to_fhir().to_string(), r#"{"value":1500.50,"currency":"KES"}"#);
        assert_eq!(Money::from_fhir(&money.to_fhir()), Some(money.clone()));
        assert_eq!(money.shown(), "KSh 1,500.50");
    }
}
