//! What patients allow and forbid: FHIR Consents as flat rules, and the one way to judge by them.
//!
//! A consent narrows what roles and care would allow; it never widens it, with one exception: a permit that names a
//! sealed category opens that seal to whom it names. `store` keeps the rules of all consents in force and compiles the
//! same judgement to SQL; [Judge] is its twin on rules in memory.

use crate::seal::Seals;
use crate::{Ctx, Principal, Purpose};
use fhir::{Resource, ResourceKey, TypeId};
use jiff::Timestamp;
use serde_json::Value;

/// Rules of one Consent, after its lists are multiplied out.
pub const MAX_RULES: usize = 400;
/// Exceptions of exceptions are not told apart by people either.
pub const MAX_DEPTH: u8 = 2;
/// `Consent.scope` of what is enforced: <http://terminology.hl7.org/CodeSystem/consentscope>.
pub const PRIVACY: &str = "patient-privacy";
/// System of `actor.reference.identifier` that names a role, e.g. `nurse`.
pub const ROLE_SYSTEM: &str = "https://uzima.health/fhir/role";
/// Likewise an OAuth client.
pub const CLIENT_SYSTEM: &str = "https://uzima.health/fhir/client";

/// One line of a consent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    pub deny: bool,
    /// 0 for the root; the deepest rule that fits wins within one consent.
    pub depth: u8,
    /// As in [Asker::actors]; `None`: whoever is not the patient.
    pub actor: Option<String>,
    /// Bits of [purpose_bit]; 0: any.
    pub purposes: u32,
    /// `None`: every type.
    pub kind: Option<TypeId>,
    /// Any of these categories; [Seals::NONE]: whatever the seals.
    pub seals: Seals,
    pub from: Timestamp,
    pub until: Timestamp,
}

/// A part of a consent that this program could not keep: accepted, it would promise what does not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Unenforceable {
    /// FHIRPath within the Consent.
    pub expression: String,
    /// For the sender.
    pub text: String,
}

/// Who asks, as rules name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asker {
    /// `Practitioner/x`, `role/nurse`, `client/x`, `RelatedPerson/x`.
    pub actors: Vec<String>,
    /// Bit of [purpose_bit].
    pub purpose: u32,
}

impl Asker {
    /// Roles, practitioner or client of the caller; a proxy's RelatedPersons are added where they matter.
    pub fn of(ctx: &Ctx) -> Asker {
        let mut actors = Vec::new();
        match &ctx.principal {
            Principal::User(user) => {
                actors.extend(user.practitioner.as_ref().map(ToString::to_string));
                actors.extend(user.roles.iter().map(|role| format!("role/{}", role.code())));
            }
            Principal::Client { client_id, .. } => {
                actors.push(format!("client/{client_id}"));
                actors.push("role/integration".to_owned());
            }
            Principal::Anonymous | Principal::System(_) => {}
        }
        Asker { actors, purpose: purpose_bit(ctx.purpose.code()) }
    }
    fn fits(&self, rule: &Rule) -> bool {
        rule.actor.as_ref().is_none_or(|actor| self.actors.contains(actor))
            && (rule.purposes == 0 || rule.purposes & self.purpose != 0)
    }
}

/// v3-ActReason codes that rules may name; 0 for others.
pub fn purpose_bit(code: &str) -> u32 {
    match code {
        "TREAT" | "CAREMGT" | "COC" => 1,
        "HPAYMT" => 2,
        "HOPERAT" => 4,
        "PATRQT" => 8,
        "BTG" | "ETREAT" => 16,
        "HSYSADMIN" => 32,
        "HRESCH" => 64,
        "PUBHLTH" => 128,
        "HMARKT" => 256,
        _ => 0,
    }
}

/// The rules of a Consent that is in force; empty for others. Errors: [Unenforceable].
pub fn rules(resource: &Resource) -> Result<Vec<Rule>, Unenforceable> {
    if resource.kind().name() != "Consent" || resource.text("status") != Some("active") {
        return Ok(Vec::new());
    }
    if !has_code(resource.get("scope"), PRIVACY) {
        return Ok(Vec::new());
    }
    let Some(root) = resource.get("provision").and_then(Value::as_object) else { return Ok(Vec::new()) };
    let whole = Part {
        from: Timestamp::MIN,
        until: Timestamp::MAX,
        actors: Vec::new(),
        purposes: 0,
        kinds: Vec::new(),
        seals: Seals::NONE,
        never: false,
    };
    let mut out = Vec::new();
    let base = match root.get("type").and_then(Value::as_str) {
        Some(kind) => Some(kind == "deny"),
        None if has_code(resource.get("policyRule"), "OPTOUT") => Some(true),
        None if has_code(resource.get("policyRule"), "OPTIN") => Some(false),
        None => None,
    };
    let part = whole.narrowed(root, "Consent.provision")?;
    if let Some(deny) = base {
        part.push(deny, 0, &mut out);
    } else if !root.contains_key("provision") {
        return Err(no(
            "Consent.provision.type",
            "Say `permit` or `deny`, or name OPTIN or OPTOUT as policyRule.",
        ));
    }
    nested(root, "Consent.provision", &part, 1, &mut out)?;
    if out.len() > MAX_RULES {
        return Err(no("Consent.provision", "Too many actors and classes in one consent; split it."));
    }
    out.sort();
    out.dedup();
    Ok(out)
}

fn nested(
    of: &serde_json::Map<String, Value>,
    place: &str,
    parent: &Part,
    depth: u8,
    out: &mut Vec<Rule>,
) -> Result<(), Unenforceable> {
    for (n, one) in list(of.get("provision")).enumerate() {
        let place = format!("{place}.provision[{n}]");
        if depth > MAX_DEPTH {
            return Err(no(&place, "Exceptions go two levels deep and no further."));
        }
        let Some(object) = one.as_object() else { continue };
        let deny = match object.get("type").and_then(Value::as_str) {
            Some("deny") => true,
            Some("permit") => false,
            _ => return Err(no(&format!("{place}.type"), "Say `permit` or `deny`.")),
        };
        let part = parent.narrowed(object, &place)?;
        part.push(deny, depth, out);
        nested(object, &place, &part, depth + 1, out)?;
    }
    Ok(())
}

/// The criteria of one provision.
#[derive(Clone)]
struct Part {
    from: Timestamp,
    until: Timestamp,
    actors: Vec<String>,
    purposes: u32,
    kinds: Vec<TypeId>,
    seals: Seals,
    /// It asks for what the part around it leaves out.
    never: bool,
}

impl Part {
    /// This part with the criteria of a provision inside it.
    fn narrowed(&self, of: &serde_json::Map<String, Value>, place: &str) -> Result<Part, Unenforceable> {
        for name in ["code", "data", "dataPeriod"] {
            if of.contains_key(name) {
                let text = "This part of a consent is not enforced here; use class or securityLabel.";
                return Err(no(&format!("{place}.{name}"), text));
            }
        }
        let mut part = self.clone();
        if let Some(period) = of.get("period") {
            if let Some(text) = period.get("start").and_then(Value::as_str) {
                let start = moment(text, false).ok_or_else(|| no(&format!("{place}.period"), "No date."))?;
                part.from = part.from.max(start);
            }
            if let Some(text) = period.get("end").and_then(Value::as_str) {
                let end = moment(text, true).ok_or_else(|| no(&format!("{place}.period"), "No date."))?;
                part.until = part.until.min(end);
            }
        }
        for (n, action) in list(of.get("action")).enumerate() {
            let known = ["access", "use", "disclose", "collect"];
            if !known.iter().any(|code| has_code(Some(action), code)) {
                return Err(no(
                    &format!("{place}.action[{n}]"),
                    "Only `access`, `use`, `disclose` are enforced.",
                ));
            }
        }
        let mut actors = Vec::new();
        for (n, actor) in list(of.get("actor")).enumerate() {
            let text = "Name a Practitioner or RelatedPerson, or a role or client by identifier.";
            actors.push(
                actor_name(actor.get("reference"))
                    .ok_or_else(|| no(&format!("{place}.actor[{n}].reference"), text))?,
            );
        }
        if !actors.is_empty() {
            if !part.actors.is_empty() {
                actors.retain(|a| part.actors.contains(a));
                part.never |= actors.is_empty();
            }
            part.actors = actors;
        }
        let mut purposes = 0;
        for (n, purpose) in list(of.get("purpose")).enumerate() {
            match purpose_bit(purpose.get("code").and_then(Value::as_str).unwrap_or_default()) {
                0 => {
                    return Err(no(&format!("{place}.purpose[{n}]"), "This purpose is not told apart here."));
                }
                bit => purposes |= bit,
            }
        }
        if purposes != 0 {
            let both = if part.purposes == 0 { purposes } else { part.purposes & purposes };
            part.never |= both == 0;
            part.purposes = both;
        }
        let mut kinds: Vec<TypeId> = Vec::new();
        for (n, class) in list(of.get("class")).enumerate() {
            let code = class.get("code").and_then(Value::as_str).unwrap_or_default();
            let kind = TypeId::from_name(code)
                .ok_or_else(|| no(&format!("{place}.class[{n}]"), "Name a FHIR resource type."))?;
            kinds.push(kind);
        }
        if !kinds.is_empty() {
            if !part.kinds.is_empty() {
                kinds.retain(|k| part.kinds.contains(k));
                part.never |= kinds.is_empty();
            }
            part.kinds = kinds;
        }
        let mut seals = Seals::NONE;
        for (n, label) in list(of.get("securityLabel")).enumerate() {
            let own = Seals::of_coding(label);
            if own.is_none() {
                return Err(no(&format!("{place}.securityLabel[{n}]"), "This label is no sealed category."));
            }
            seals = seals.with(own);
        }
        if !seals.is_none() {
            let both = if part.seals.is_none() { seals } else { Seals(part.seals.0 & seals.0) };
            part.never |= both.is_none();
            part.seals = both;
        }
        Ok(part)
    }

    fn push(&self, deny: bool, depth: u8, out: &mut Vec<Rule>) {
        if self.never {
            return;
        }
        let actors: Vec<Option<String>> =
            if self.actors.is_empty() { vec![None] } else { self.actors.iter().cloned().map(Some).collect() };
        let kinds: Vec<Option<TypeId>> =
            if self.kinds.is_empty() { vec![None] } else { self.kinds.iter().copied().map(Some).collect() };
        for actor in &actors {
            for kind in &kinds {
                if out.len() > MAX_RULES {
                    return;
                }
                out.push(Rule {
                    deny,
                    depth,
                    actor: actor.clone(),
                    purposes: self.purposes,
                    kind: *kind,
                    seals: self.seals,
                    from: self.from,
                    until: self.until,
                });
            }
        }
    }
}

/// The rules of the consents of one row's patients, each list of one consent, and the moment.
#[derive(Debug, Clone, Copy)]
pub struct Judge<'a> {
    pub consents: &'a [Vec<Rule>],
    pub now: Timestamp,
}

impl Judge<'_> {
    /// Whether a consent keeps a row of this type and these seals from the asker.
    pub fn denies(&self, asker: &Asker, kind: TypeId, seals: Seals) -> bool {
        self.consents.iter().any(|rules| {
            let fits = |rule: &&Rule| self.fits(rule, asker, kind, seals);
            rules
                .iter()
                .filter(|r| r.deny)
                .filter(fits)
                .any(|deny| !rules.iter().filter(|r| !r.deny && r.depth > deny.depth).any(|r| fits(&r)))
        })
    }

    /// The sealed categories that permits open to the asker. What is denied is denied all the same.
    pub fn opens(&self, asker: &Asker, kind: TypeId, seals: Seals) -> Seals {
        let mut open = Seals::NONE;
        for rules in self.consents {
            for permit in rules.iter().filter(|r| !r.deny && !r.seals.is_none()) {
                if self.fits(permit, asker, kind, seals) {
                    open = open.with(permit.seals);
                }
            }
        }
        open
    }

    fn fits(&self, rule: &Rule, asker: &Asker, kind: TypeId, seals: Seals) -> bool {
        asker.fits(rule)
            && rule.kind.is_none_or(|k| k == kind)
            && (rule.seals.is_none() || rule.seals.meets(seals))
            && rule.from <= self.now
            && self.now < rule.until
    }
}

/// What a purpose code of the caller would be under break-glass.
pub fn emergency_bit() -> u32 {
    purpose_bit(Purpose::Emergency.code())
}

fn actor_name(reference: Option<&Value>) -> Option<String> {
    let reference = reference?;
    if let Some(identifier) = reference.get("identifier") {
        let value = identifier.get("value")?.as_str()?;
        return match identifier.get("system")?.as_str()? {
            ROLE_SYSTEM => crate::Role::from_code(value).map(|role| format!("role/{}", role.code())),
            CLIENT_SYSTEM => Some(format!("client/{value}")),
            _ => None,
        };
    }
    let key = ResourceKey::parse(reference.get("reference")?.as_str()?)?;
    matches!(key.kind.name(), "Practitioner" | "RelatedPerson").then(|| key.to_string())
}

fn has_code(concept: Option<&Value>, code: &str) -> bool {
    list(concept.and_then(|c| c.get("coding"))).any(|c| c.get("code").and_then(Value::as_str) == Some(code))
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

/// A dateTime; a bare date, month or year is its beginning or, for an end, its last moment, in UTC.
fn moment(text: &str, end: bool) -> Option<Timestamp> {
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    let whole = match text.len() {
        4 => format!("{text}-01-01"),
        7 => format!("{text}-01"),
        _ => text.to_owned(),
    };
    let date: jiff::civil::Date = whole.parse().ok()?;
    let span = match text.len() {
        4 => jiff::Span::new().years(1),
        7 => jiff::Span::new().months(1),
        _ => jiff::Span::new().days(1),
    };
    let date = if end { date.checked_add(span).ok()? } else { date };
    date.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|z| z.timestamp())
}

fn no(expression: &str, text: &str) -> Unenforceable {
    Unenforceable { expression: expression.to_owned(), text: text.to_owned() }
}
