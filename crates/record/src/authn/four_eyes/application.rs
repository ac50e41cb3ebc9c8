//! Applications: what of one that reads facts for itself one person alone does not decide.

use access::trust;
use jiff::Timestamp;
use serde_json::{Value, json};
use store::oauth::{Authentication, Client, Facts};

/// An application as it is or is to be, without its secret.
#[derive(Debug, Clone, PartialEq)]
pub struct Application {
    pub name: String,
    pub scopes: Vec<String>,
    pub disabled: bool,
    pub facts: Facts,
}

impl Application {
    pub(crate) fn of(client: &Client) -> Application {
        Application {
            name: client.name.clone(),
            scopes: client.scopes.clone(),
            disabled: client.disabled,
            facts: client.facts.clone(),
        }
    }

    /// As a new one is stored.
    pub(crate) fn client(&self, secret_hash: [u8; 32], created: Timestamp) -> Client {
        Client {
            id: uuid::Uuid::now_v7().to_string(),
            secret_hash,
            name: self.name.clone(),
            scopes: self.scopes.clone(),
            disabled: self.disabled,
            created,
            facts: self.facts.clone(),
        }
    }

    /// `client` as this has it.
    pub(crate) fn put_on(&self, client: &Client) -> Client {
        Client { id: client.id.clone(), ..self.client(client.secret_hash, client.created) }
    }

    /// Whether it reads or writes for itself what is about patients.
    pub(super) fn opens_facts(&self) -> bool {
        trust::opens_for_itself(&self.scopes)
    }

    /// Whether coming from `before` takes a second person: of an application that opens facts, now or then, all that is
    /// more than taking scopes away and turning it off.
    pub(super) fn is_grave_after(&self, before: &Application) -> bool {
        let takes_away = self.name == before.name
            && self.facts == before.facts
            && (self.disabled || !before.disabled)
            && !trust::widens_for_itself(&before.scopes, &self.scopes);
        !takes_away && (self.opens_facts() || before.opens_facts())
    }

    /// For who decides, and for the history: everything but the keys themselves.
    pub(super) fn summary(&self, before: Option<&Application>) -> Value {
        let facts = &self.facts;
        let mut summary = json!({
            "name": self.name,
            "scopes": self.scopes,
            "authentication": facts.authentication.code(),
            "redirects": facts.redirects,
            "launch_url": facts.launch_url,
            "jwks_url": facts.jwks_url,
            "keys": facts.jwks.as_deref().map(crate::oauth::thumbprints).unwrap_or_default(),
        });
        if let Some(before) = before {
            let other_keys = facts.jwks != before.facts.jwks || facts.jwks_url != before.facts.jwks_url;
            summary["name_before"] = json!(before.name);
            summary["scopes_before"] = json!(before.scopes);
            summary["redirects_before"] = json!(before.facts.redirects);
            summary["launch_url_before"] = json!(before.facts.launch_url);
            summary["other_keys"] = json!(other_keys);
            summary["enables"] = json!(before.disabled && !self.disabled);
        }
        summary
    }

    pub(super) fn to_json(&self) -> Value {
        let facts = &self.facts;
        json!({
            "name": self.name, "scopes": self.scopes, "disabled": self.disabled,
            "authentication": facts.authentication.code(), "redirects": facts.redirects,
            "launch_url": facts.launch_url, "jwks": facts.jwks, "jwks_url": facts.jwks_url,
            "algorithm": facts.algorithm,
        })
    }

    /// `None` for what this program did not write.
    pub(super) fn read(value: &Value) -> Option<Application> {
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        let list = |name: &str| -> Option<Vec<String>> {
            value[name].as_array()?.iter().map(|one| one.as_str().map(str::to_owned)).collect()
        };
        Some(Application {
            name: text("name")?,
            scopes: list("scopes")?,
            disabled: value["disabled"].as_bool()?,
            facts: Facts {
                authentication: Authentication::from_code(value["authentication"].as_str()?)?,
                redirects: list("redirects")?,
                launch_url: text("launch_url"),
                jwks: text("jwks"),
                jwks_url: text("jwks_url"),
                algorithm: text("algorithm")?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn application(scopes: &[&str]) -> Application {
        Application {
            name: "Laboratory".into(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            disabled: false,
            facts: Facts { jwks_url: Some("https://lab.example/keys".into()), ..Facts::default() },
        }
    }

    #[test]
    fn only_taking_away_is_one_persons_act() {
        type Change = fn(&mut Application);
        let cases: [(&str, bool, Change); 10] = [
            ("nothing", false, |_| {}),
            ("narrower", false, |a| a.scopes = vec!["system/Observation.r".into()]),
            ("off", false, |a| a.disabled = true),
            ("narrower and off", false, |a| (a.scopes, a.disabled) = (vec![], true)),
            ("for people too", false, |a| a.scopes.push("user/*.cruds".into())),
            ("wider", true, |a| a.scopes.push("system/Patient.rs".into())),
            ("sealed facts too", true, |a| a.scopes.push("sens/HIV".into())),
            ("other keys", true, |a| a.facts.jwks_url = Some("https://elsewhere.example/keys".into())),
            ("keys while narrower and off", true, |a| {
                (a.scopes, a.disabled) = (vec!["system/Slot.r".into()], true);
                a.facts.jwks = Some("{}".into());
            }),
            ("another name", true, |a| a.name = "Registry".into()),
        ];
        for (what, grave, change) in cases {
            let before = application(&["system/Observation.rs"]);
            let mut after = before.clone();
            change(&mut after);
            assert_eq!(after.is_grave_after(&before), grave, "{what}");
            // Of what opens no facts all of it is free, until it does.
            let before = application(&["patient/*.rs", "system/Slot.rs"]);
            let mut after = before.clone();
            change(&mut after);
            let opens = matches!(what, "narrower" | "wider");
            assert_eq!(after.is_grave_after(&before), opens, "{what} of one for people");
        }
        let off = Application { disabled: true, ..application(&["system/*.rs"]) };
        assert!(application(&["system/*.rs"]).is_grave_after(&off), "turned on");
    }
}
