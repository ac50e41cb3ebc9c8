//! Which facts are sealed by what they say: lists of codes, as data.
//!
//! The built-in lists are short on purpose: a seal hides a fact from people who treat the patient, so what every clinic
//! treats in the open (an ordinary pregnancy, a low mood) is left to the clinic's own lists, which come on top.

use crate::Class;
use crate::seal::Seals;
use fhir::Resource;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::OnceLock;

const BUILT_IN: &str = include_str!("../data/sensitivity.json");
/// Codes of one set of rules.
pub const MAX_CODES: usize = 20_000;
/// Codings looked at in one resource.
const MAX_CODINGS: usize = 2_000;

/// Rules ready for use. Codes are compared exactly; one that ends in `*` stands for all that begin so.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    by_system: HashMap<String, Codes>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Codes {
    exact: HashMap<String, Seals>,
    prefixes: Vec<(String, Seals)>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// The JSON has another shape; where.
    #[error("{0}")]
    Shape(String),
    #[error("`{0}` is no sealed category; write HIV, SEX, SDV, MH, SUD or R")]
    Category(String),
    #[error("more than {MAX_CODES} codes")]
    TooMany,
}

impl Rules {
    /// Those that come with the program.
    pub fn built_in() -> &'static Rules {
        static RULES: OnceLock<Rules> = OnceLock::new();
        RULES.get_or_init(|| {
            let value: Value = serde_json::from_str(BUILT_IN).unwrap_or_default();
            Rules::default().and(&value).unwrap_or_default()
        })
    }

    /// These and those of a JSON list `[{"category": "HIV", "system": "…", "codes": ["B20", "Z21*"]}]`.
    /// Errors: [RulesError].
    pub fn and(&self, more: &Value) -> Result<Rules, RulesError> {
        let mut rules = self.clone();
        let shape = |text: &str| RulesError::Shape(text.to_owned());
        let list = more.as_array().ok_or_else(|| shape("a list of rules is expected"))?;
        let mut count = 0;
        for rule in list {
            let text = |name: &str| {
                let text = rule.get(name).and_then(Value::as_str).filter(|t| !t.is_empty());
                text.ok_or_else(|| RulesError::Shape(format!("`{name}` is missing")))
            };
            let category = text("category")?;
            let seals =
                Seals::from_code(category).ok_or_else(|| RulesError::Category(category.to_owned()))?;
            let system = text("system")?;
            let codes =
                rule.get("codes").and_then(Value::as_array).ok_or_else(|| shape("`codes` is missing"))?;
            for code in codes {
                let code = code.as_str().ok_or_else(|| shape("a code is a text"))?;
                count += 1;
                if count > MAX_CODES {
                    return Err(RulesError::TooMany);
                }
                let of_system = rules.by_system.entry(system.to_owned()).or_default();
                match code.strip_suffix('*') {
                    Some("") => return Err(shape("`*` alone would seal every code of the system")),
                    Some(prefix) => of_system.prefixes.push((prefix.to_owned(), seals)),
                    None => {
                        let entry = of_system.exact.entry(code.to_owned()).or_default();
                        *entry = entry.with(seals);
                    }
                }
            }
        }
        Ok(rules)
    }

    fn of_code(&self, system: &str, code: &str) -> Seals {
        let Some(codes) = self.by_system.get(system) else { return Seals::NONE };
        let exact = codes.exact.get(code).copied().unwrap_or_default();
        let all = codes.prefixes.iter().filter(|(prefix, _)| code.starts_with(prefix.as_str()));
        all.fold(exact, |all, (_, own)| all.with(*own))
    }

    /// What the codes of a resource make of it. Definitions and the directory are about nobody.
    pub fn of(&self, resource: &Resource) -> Seals {
        if self.by_system.is_empty() || !is_about_somebody(resource) {
            return Seals::NONE;
        }
        let (mut seals, mut left) = (Seals::NONE, MAX_CODINGS);
        self.walk(resource.value(), &mut seals, &mut left);
        seals
    }

    fn walk(&self, value: &Value, seals: &mut Seals, left: &mut usize) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.walk(item, seals, left)),
            Value::Object(object) => {
                if let (Some(Value::String(system)), Some(Value::String(code))) =
                    (object.get("system"), object.get("code"))
                {
                    if *left == 0 {
                        return;
                    }
                    *left -= 1;
                    *seals = seals.with(self.of_code(system, code));
                    return;
                }
                for (name, member) in object {
                    if name != "meta" && matches!(member, Value::Array(_) | Value::Object(_)) {
                        self.walk(member, seals, left);
                    }
                }
            }
            _ => {}
        }
    }
}

fn is_about_somebody(resource: &Resource) -> bool {
    !matches!(
        Class::of(resource.kind()),
        Class::Directory
            | Class::Calendar
            | Class::PriceList
            | Class::Knowledge
            | Class::Machine
            | Class::Audit
            | Class::Consent
            | Class::Patient
            | Class::Coverage
    )
}
