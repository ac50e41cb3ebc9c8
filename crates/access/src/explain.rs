//! Why somebody may or may not: the decision of [crate::policy] taken apart, for administrators and privacy officers.

use crate::consent::{Asker, Judge};
use crate::matrix::Reach;
use crate::policy::{self, Action, Decision, Predicate, RowFacts};
use crate::{Class, Ctx, Principal, Role, Seals};

/// Which part of the policy a step is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    Role,
    Care,
    Proxy,
    Emergency,
    Seal,
    Consent,
    Status,
    Token,
    Verdict,
}

/// What a step says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It lets the caller through as far as it goes.
    Allows,
    Denies,
    /// It says nothing here.
    Silent,
}

/// One step of the chain, in the order of the decision.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Step {
    pub layer: Layer,
    pub effect: Effect,
    /// What it says, stable, for programs that have words of their own: `role-may`, `care-none`, …
    pub code: &'static str,
    /// What fills those words in, without data of the patient.
    pub facts: Vec<(&'static str, String)>,
    /// The same in English.
    pub text: String,
}

/// The chain of one question.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Explanation {
    pub allowed: bool,
    pub steps: Vec<Step>,
}

impl Explanation {
    /// The same for who may not know what is sealed about the patient: that something is, not as what.
    pub fn without_categories(mut self) -> Explanation {
        for step in self.steps.iter_mut().filter(|step| step.layer == Layer::Seal) {
            step.facts.iter_mut().filter(|(name, _)| *name == "seals").for_each(|(_, seals)| {
                *seals = Seals::RESTRICTED.codes().join(" ");
            });
            if let Some((_, rest)) = step.text.split_once(')') {
                step.text = format!("Sealed{rest}");
            }
        }
        self
    }
}

/// Why the caller is in care of the patient: the resources that say so, e.g. `Appointment/1`, with their ends as text.
pub type Reasons<'a> = &'a [(String, Option<String>)];

/// Takes apart the decision on one row. `status_hidden`: the row is a draft that this caller does not see.
pub fn explain(
    ctx: &Ctx,
    action: Action,
    row: &RowFacts<'_>,
    reasons: Reasons<'_>,
    status_hidden: bool,
) -> Explanation {
    let class = Class::of(row.key.kind);
    let mut steps = Vec::new();
    match &ctx.principal {
        Principal::User(user) => {
            if user.roles.is_empty() {
                steps.push(step(
                    Layer::Role,
                    Effect::Denies,
                    "role-none",
                    vec![],
                    "The account has no role.".into(),
                ));
            }
            for role in &user.roles {
                steps.push(role_step(ctx, *role, class, action));
            }
            care_steps(ctx, row, reasons, &mut steps);
            for proxied in user.standing.proxied_at(ctx.now) {
                if row.patients.contains(&proxied.patient) {
                    let covers = proxied.classes.contains(&class);
                    let effect = if covers { Effect::Allows } else { Effect::Denies };
                    let what = if covers { "covers" } else { "leaves out" };
                    let text = format!(
                        "Acts for this patient until {}; the grant {what} {}.",
                        day(proxied.until),
                        class.title().to_lowercase()
                    );
                    let code = if covers { "proxy-covers" } else { "proxy-leaves-out" };
                    let facts = vec![("until", day(proxied.until)), ("class", class.code().to_owned())];
                    steps.push(step(Layer::Proxy, effect, code, facts, text));
                }
            }
            for emergency in user.standing.emergencies_at(ctx.now) {
                if row.patients.contains(&emergency.patient) {
                    let text = format!(
                        "Broke the glass for this patient; open until {}, seals and consents aside.",
                        emergency.until
                    );
                    let facts = vec![("until", emergency.until.to_string())];
                    steps.push(step(Layer::Emergency, Effect::Allows, "emergency-open", facts, text));
                }
            }
        }
        Principal::Client { scopes, .. } => {
            let text = format!("A client has exactly what its scopes name: {}.", scopes.join(" "));
            let named = policy::content_predicate(ctx, action, row.key.kind, false) != Predicate::Nothing;
            let effect = if named { Effect::Allows } else { Effect::Denies };
            steps.push(step(Layer::Token, effect, "client-scopes", vec![("scopes", scopes.join(" "))], text));
        }
        Principal::System(_) => {
            steps.push(step(
                Layer::Role,
                Effect::Allows,
                "role-system",
                vec![],
                "The program itself.".into(),
            ));
        }
        Principal::Anonymous => {
            steps.push(step(Layer::Role, Effect::Denies, "role-anonymous", vec![], "Not signed in.".into()));
        }
    }
    seal_step(ctx, class, row, &mut steps);
    consent_step(ctx, class, row, &mut steps);
    if status_hidden {
        let text = "A draft: patients see it once it is signed.".to_owned();
        steps.push(step(Layer::Status, Effect::Denies, "status-draft", vec![], text));
    }
    if let Some(scopes) = &ctx.scopes {
        let without = Ctx { scopes: None, ..ctx.clone() };
        let cut = policy::decide(&without, action, row) == Decision::Allow
            && policy::decide(ctx, action, row) == Decision::Deny;
        let effect = if cut { Effect::Denies } else { Effect::Silent };
        let facts = vec![("scopes", scopes.to_string())];
        steps.push(step(
            Layer::Token,
            effect,
            "token-scopes",
            facts,
            format!("The app's token names: {scopes}."),
        ));
    }
    let allowed = policy::decide(ctx, action, row) == Decision::Allow && !status_hidden;
    let text = if allowed { "Access is given." } else { "Access is not given." };
    let effect = if allowed { Effect::Allows } else { Effect::Denies };
    let code = if allowed { "verdict-given" } else { "verdict-not-given" };
    steps.push(step(Layer::Verdict, effect, code, vec![], text.to_owned()));
    Explanation { allowed, steps }
}

fn step(
    layer: Layer,
    effect: Effect,
    code: &'static str,
    facts: Vec<(&'static str, String)>,
    text: String,
) -> Step {
    Step { layer, effect, code, facts, text }
}

fn day(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

fn role_step(ctx: &Ctx, role: Role, class: Class, action: Action) -> Step {
    let rights = match ctx.user() {
        Some(user) => user.standing.rights(role, class),
        None => crate::matrix::rights(role, class),
    };
    let (verb, reach) = match action {
        Action::Read | Action::Search | Action::History => ("see", rights.read),
        Action::Create => ("add", rights.create),
        Action::Update => ("change", rights.change),
        Action::Delete => ("delete", rights.delete),
    };
    let changed = reach
        != match action {
            Action::Read | Action::Search | Action::History => crate::matrix::rights(role, class).read,
            Action::Create => crate::matrix::rights(role, class).create,
            Action::Update => crate::matrix::rights(role, class).change,
            Action::Delete => crate::matrix::rights(role, class).delete,
        };
    let what = class.title().to_lowercase();
    let mut facts = vec![
        ("role", role.code().to_owned()),
        ("class", class.code().to_owned()),
        ("verb", action_verb(action).to_owned()),
        ("reach", reach.code().to_owned()),
    ];
    if changed {
        facts.push(("clinic", "yes".to_owned()));
    }
    let whose = match reach {
        Reach::Nobody => {
            let text = format!("{}: may not {verb} {what}{}.", role.title(), by_clinic(changed));
            return step(Layer::Role, Effect::Denies, "role-may-not", facts, text);
        }
        Reach::Self_ => "her own entry",
        Reach::Own => "her own",
        Reach::InCare => "those of patients in her care",
        Reach::Everyone => "those of every patient",
    };
    let text = format!("{}: may {verb} {what}: {whose}{}.", role.title(), by_clinic(changed));
    step(Layer::Role, Effect::Allows, "role-may", facts, text)
}

/// As [crate::matrix::Verb::code].
fn action_verb(action: Action) -> &'static str {
    match action {
        Action::Read | Action::Search | Action::History => "read",
        Action::Create => "create",
        Action::Update => "change",
        Action::Delete => "delete",
    }
}

fn by_clinic(changed: bool) -> &'static str {
    if changed { " (as this clinic has set it)" } else { "" }
}

fn care_steps(ctx: &Ctx, row: &RowFacts<'_>, reasons: Reasons<'_>, steps: &mut Vec<Step>) {
    let Some(user) = ctx.user() else { return };
    if user.patient.as_ref().is_some_and(|own| row.patients.contains(&own.id)) {
        let text = "It is the caller's own record.".to_owned();
        steps.push(step(Layer::Care, Effect::Allows, "care-own", vec![], text));
    }
    if user.practitioner.is_none() {
        return;
    }
    if row.in_care.is_empty() {
        let text = "The patient is not in this person's care: no running appointment, visit, care team or referral \
                    names both.";
        steps.push(step(Layer::Care, Effect::Denies, "care-none", vec![], text.into()));
        return;
    }
    let named: Vec<String> = reasons
        .iter()
        .map(|(source, until)| match until {
            Some(until) => format!("{source} (until {until})"),
            None => source.clone(),
        })
        .collect();
    let text = format!("The patient is in this person's care by {}.", named.join(", "));
    steps.push(step(Layer::Care, Effect::Allows, "care-by", vec![("by", named.join(", "))], text));
}

fn seal_step(ctx: &Ctx, class: Class, row: &RowFacts<'_>, steps: &mut Vec<Step>) {
    if row.seals.is_none() || !policy::is_sealable(class) {
        return;
    }
    let names: Vec<&str> = row.seals.categories().map(|c| c.title).collect();
    let names = names.join(", ");
    let clear = match &ctx.principal {
        Principal::User(user) => {
            user.roles.iter().fold(Seals::NONE, |all, role| all.with(crate::matrix::clearance(*role, class)))
        }
        Principal::Client { scopes, .. } => {
            crate::ScopeSet::parse_known(scopes.iter().map(String::as_str)).seals()
        }
        Principal::System(_) => Seals::ALL,
        Principal::Anonymous => Seals::NONE,
    };
    let judge = Judge { consents: row.consents, now: row.now };
    let by_consent = judge.opens(&Asker::of(ctx), row.key.kind, row.seals);
    let (effect, code, text) = if clear.has_all(row.seals) {
        (Effect::Allows, "seal-role", format!("Sealed ({names}); open to this role or token."))
    } else if clear.with(row.keys).has_all(row.seals) {
        let text = format!("Sealed ({names}); open because this person is named in that care.");
        (Effect::Allows, "seal-care", text)
    } else if clear.with(row.keys).with(by_consent).has_all(row.seals) {
        (Effect::Allows, "seal-consent", format!("Sealed ({names}); open by the patient's consent."))
    } else {
        (Effect::Denies, "seal-closed", format!("Sealed ({names}) and closed to this person."))
    };
    let facts = vec![("seals", row.seals.codes().join(" "))];
    steps.push(step(Layer::Seal, effect, code, facts, text));
}

fn consent_step(ctx: &Ctx, class: Class, row: &RowFacts<'_>, steps: &mut Vec<Step>) {
    if row.consents.is_empty() || !policy::is_consentable(class) {
        return;
    }
    let judge = Judge { consents: row.consents, now: row.now };
    let denied = judge.denies(&Asker::of(ctx), row.key.kind, row.seals);
    let (effect, code, text) = match denied {
        true => (Effect::Denies, "consent-denies", "A consent of the patient keeps this from the person."),
        false => (Effect::Silent, "consent-silent", "The patient's consents do not forbid it."),
    };
    steps.push(step(Layer::Consent, effect, code, vec![], text.into()));
}
