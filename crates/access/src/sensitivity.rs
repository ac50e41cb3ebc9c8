//! Which facts are sealed by what they say: lists of codes, as data.
//!
//! The built-in lists are short on purpose: a seal hides a fact from people who treat the patient, so what every clinic
//! treats in the open (an ordinary pregnancy, a low mood) is left to the clinic's own lists, which come on top.

use crate::seal::Seals;
use crate::{Class, redact};
use fhir::Resource;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::OnceLock;

const BUILT_IN: &str = include_str!("../data/sensitivity.json");
/// Codes of one set of rules.
pub const MAX_CODES: usize = 20_000;
/// Codings looked at in one resource, and in each part of it. What has more is sealed: the next might be one of these.
const MAX_CODINGS: usize = 20_000;

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

/// The rules that come with the program, as text: another text means other rules.
pub fn built_in_text() -> &'static str {
    BUILT_IN
}

/// Codes of one system and category: `system`, prefixes, exact codes, what they are sealed as.
pub type Added = (String, Vec<String>, Vec<String>, Seals);

/// What the clinic's own rules `after` name and `before` did not, as far as they can be read.
pub fn added(before: &Value, after: &Value) -> Vec<Added> {
    let known: std::collections::HashSet<(String, String, u32)> = flat(before).into_iter().collect();
    let mut all: std::collections::BTreeMap<(String, u32), (Vec<String>, Vec<String>)> = Default::default();
    for one in flat(after).into_iter().filter(|one| !known.contains(one)) {
        let (system, code, seals) = one;
        let (prefixes, exact) = all.entry((system, seals)).or_default();
        match code.strip_suffix('*') {
            Some(prefix) => prefixes.push(prefix.to_owned()),
            None => exact.push(code),
        }
    }
    all.into_iter()
        .map(|((system, seals), (prefixes, exact))| (system, prefixes, exact, Seals(seals)))
        .collect()
}

fn flat(rules: &Value) -> Vec<(String, String, u32)> {
    let mut out = Vec::new();
    for rule in rules.as_array().into_iter().flatten() {
        let text = |name: &str| rule.get(name).and_then(Value::as_str).unwrap_or_default();
        let Some(seals) = Seals::from_code(text("category")) else { continue };
        for code in rule.get("codes").and_then(Value::as_array).into_iter().flatten() {
            out.extend(code.as_str().map(|code| (text("system").to_owned(), code.to_owned(), seals.0)));
        }
    }
    out
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

    /// What the codes of a resource make of it, wherever they stand. Definitions and the directory are about nobody.
    pub fn of(&self, resource: &Resource) -> Seals {
        if self.by_system.is_empty() || !is_about_somebody(resource) {
            return Seals::NONE;
        }
        self.look(resource.value(), &HashMap::new()).seals
    }

    /// What the codes make of a resource: sealed as a whole where they say what it is about, in part where they stand in
    /// what it only mentions (a reason, a diagnosis, a section, an activity): those parts are labelled in place, and the
    /// whole is left to the caller.
    pub fn seal(&self, resource: &mut Resource) -> Sealing {
        if !is_about_somebody(resource) {
            return Sealing::default();
        }
        let seen = self.look(resource.value(), &HashMap::new());
        if seen.seals.is_none() && !seen.labelled {
            return Sealing::default();
        }
        let kind = resource.kind().name();
        let contained = self.contained(resource);
        let mut whole = Seals::NONE;
        if let Some(object) = resource.value_mut().as_object_mut() {
            for (name, member) in object.iter_mut().filter(|(name, _)| *name != "meta") {
                if name == "contained" {
                    let each = member.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut);
                    each.for_each(|one| redact::label_part(one, self.look_in(one, "", &HashMap::new())));
                } else if is_part(kind, name) {
                    match member {
                        // Not an item but a frame around several things, e.g. DocumentReference.context.
                        Value::Object(frame) => frame
                            .iter_mut()
                            .for_each(|(name, member)| self.label_units(name, member, &contained)),
                        items => self.label_units(name, items, &contained),
                    }
                } else {
                    whole = whole.with(self.look(member, &contained).seals);
                }
            }
        }
        redact::flag_parts(resource);
        Sealing { whole, parts: redact::parts(resource) }
    }

    /// What each contained resource is sealed as, with what it refers to inside.
    fn contained(&self, resource: &Resource) -> HashMap<String, Seals> {
        let list = resource.get("contained").and_then(Value::as_array);
        let mut known: HashMap<String, Seals> = HashMap::new();
        // Contained resources may name each other; a second look is enough for one that names another.
        for _ in 0..2 {
            for one in list.into_iter().flatten() {
                if let Some(id) = one.get("id").and_then(Value::as_str) {
                    let seals = self.look(one, &known).seals;
                    known.insert(id.to_owned(), seals);
                }
            }
        }
        known
    }

    /// Labels each item of a part; sections and their like are labelled as deep inside as can be.
    fn label_units(&self, name: &str, value: &mut Value, contained: &HashMap<String, Seals>) {
        match value {
            Value::Array(items) => {
                items.iter_mut().for_each(|item| self.label_units(name, item, contained));
            }
            Value::Object(unit) => {
                let own = self.look_in(unit, name, contained);
                if own.is_none() {
                    if let Some(nested) = unit.get_mut(name) {
                        self.label_units(name, nested, contained);
                    }
                } else {
                    let all = own.with(unit.get(name).map_or(own, |one| self.look(one, contained).seals));
                    redact::label_part(unit, all);
                }
            }
            _ => {}
        }
    }

    /// Of all members but one.
    fn look_in(&self, object: &Map<String, Value>, but: &str, contained: &HashMap<String, Seals>) -> Seals {
        if object.get("system").is_some_and(Value::is_string) {
            return self.look(&Value::Object(object.clone()), contained).seals;
        }
        let mut seals = self.named(object, contained);
        for (_, member) in object.iter().filter(|(name, _)| *name != but) {
            seals = seals.with(self.look(member, contained).seals);
        }
        seals
    }

    fn look(&self, value: &Value, contained: &HashMap<String, Seals>) -> Seen {
        let mut seen = Seen { seals: Seals::NONE, labelled: false, left: MAX_CODINGS };
        self.walk(value, contained, &mut seen);
        seen
    }

    fn named(&self, object: &Map<String, Value>, contained: &HashMap<String, Seals>) -> Seals {
        let inside = object.get("reference").and_then(Value::as_str).and_then(|to| to.strip_prefix('#'));
        inside.and_then(|id| contained.get(id)).copied().unwrap_or_default()
    }

    fn walk(&self, value: &Value, contained: &HashMap<String, Seals>, seen: &mut Seen) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.walk(item, contained, seen)),
            Value::Object(object) => {
                if let (Some(Value::String(system)), Some(Value::String(code))) =
                    (object.get("system"), object.get("code"))
                {
                    if seen.left == 0 {
                        seen.seals = seen.seals.with(Seals::RESTRICTED);
                        return;
                    }
                    seen.left -= 1;
                    seen.seals = seen.seals.with(self.of_code(system, code));
                    return;
                }
                seen.labelled |= object.get("url").and_then(Value::as_str) == Some(redact::INLINE_LABEL);
                seen.seals = seen.seals.with(self.named(object, contained));
                for (name, member) in object {
                    if name != "meta" && matches!(member, Value::Array(_) | Value::Object(_)) {
                        self.walk(member, contained, seen);
                    }
                }
            }
            _ => {}
        }
    }
}

/// What [Rules::seal] found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sealing {
    /// What the resource is about.
    pub whole: Seals,
    /// What labelled parts of it are about, labels of the sender among them.
    pub parts: Seals,
}

struct Seen {
    seals: Seals,
    labelled: bool,
    left: usize,
}

/// Whether a top-level element only mentions what is sealed: it is hidden by itself and the rest stays readable. All
/// other elements say what the resource is about.
pub(crate) fn is_part(kind: &str, element: &str) -> bool {
    match element {
        "contained" | "reasonCode" | "reasonReference" | "supportingInfo" | "supportingInformation" => true,
        "diagnosis" => matches!(kind, "Encounter" | "EpisodeOfCare" | "Claim" | "ExplanationOfBenefit"),
        "section" | "event" => kind == "Composition",
        "entry" => matches!(kind, "Bundle" | "List"),
        "result" | "conclusionCode" | "media" | "imagingStudy" => kind == "DiagnosticReport",
        "component" | "hasMember" | "derivedFrom" => kind == "Observation",
        "activity" | "addresses" | "goal" => matches!(kind, "CarePlan" | "Goal"),
        "context" => kind == "DocumentReference",
        "item" | "procedure" => {
            matches!(kind, "Claim" | "ClaimResponse" | "ExplanationOfBenefit" | "QuestionnaireResponse")
        }
        "lineItem" => kind == "Invoice",
        "evidence" | "stage" => kind == "Condition",
        "finding" | "problem" | "investigation" => kind == "ClinicalImpression",
        "complication" | "complicationDetail" | "usedCode" => kind == "Procedure",
        "input" | "output" | "focus" => kind == "Task",
        "action" => kind == "RequestGroup",
        "condition" => kind == "FamilyMemberHistory",
        "reaction" => matches!(kind, "AllergyIntolerance" | "Immunization"),
        _ => false,
    }
}

fn is_about_somebody(resource: &Resource) -> bool {
    // A stored Bundle may be anybody's document.
    if resource.kind().name() == "Bundle" {
        return true;
    }
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
