//! What can be subscribed to: the topics built in, and those stored as Basic resources.
//!
//! R4 has no SubscriptionTopic; the backport guide carries R5's as a Basic with the code `SubscriptionTopic` and one
//! extension per R5 element (<http://hl7.org/fhir/uv/subscriptions-backport/components.html>).

use crate::Error;
use fhir::{Resource, TypeId};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::subscription::Interaction;

/// Beginning of the canonical URLs of the topics built in.
pub const BASE: &str = "urn:uzima:SubscriptionTopic:";
/// Code system of the Basic that holds a topic.
pub const TYPES: &str = "http://hl7.org/fhir/fhir-types";
const ELEMENT: &str = "http://hl7.org/fhir/5.0/StructureDefinition/extension-SubscriptionTopic.";

/// One thing that can be subscribed to.
#[derive(Debug, Clone)]
pub struct Topic {
    /// Canonical URL; `Subscription.criteria` names it.
    pub url: String,
    pub title: String,
    /// For people: when there is an event.
    pub description: String,
    pub triggers: Vec<Trigger>,
    /// Search parameters that subscribers may narrow by, per type.
    pub filters: Vec<(TypeId, Vec<String>)>,
}

/// When there is an event.
#[derive(Debug, Clone)]
pub struct Trigger {
    pub kind: TypeId,
    pub interactions: Vec<Interaction>,
    /// Search parameters that the resource must meet as it is now.
    pub current: Vec<(String, String)>,
    /// Over `%current` and `%previous`.
    pub condition: Option<Arc<Condition>>,
}

#[derive(Debug)]
pub struct Condition {
    /// As written.
    pub text: String,
    pub expression: fhir::path::Expr,
}

impl Condition {
    fn parse(text: &str) -> Result<Arc<Condition>, String> {
        match fhir::path::parse(text) {
            Ok(expression) => Ok(Arc::new(Condition { text: text.to_owned(), expression })),
            Err(e) => Err(e.to_string()),
        }
    }

    /// Whether there is an event. What cannot be evaluated is none.
    pub fn holds(&self, current: &Value, previous: Option<&Value>, now: jiff::Timestamp) -> bool {
        let mut env = fhir::path::Env { now: Some(now), ..fhir::path::Env::default() };
        env.variables = BTreeMap::from([
            ("current".to_owned(), vec![fhir::path::Item::resource(current)]),
            ("previous".to_owned(), previous.map(fhir::path::Item::resource).into_iter().collect()),
        ]);
        match fhir::path::evaluate(&self.expression, current, &env) {
            Ok(items) => !items.is_empty() && items.iter().all(|i| i.as_bool() == Some(true)),
            Err(_) => false,
        }
    }
}

const CHANGED: &str = "cu";
const ANY: &str = "cud";

/// Name, title, description, interactions, types with conditions ("" for none), filters of the types.
type BuiltIn = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

const BUILT_IN: &[BuiltIn] = &[
    (
        "patient-data",
        "Data of a patient",
        "Something in a patient's record was recorded, changed or deleted.",
        ANY,
        &[
            ("AllergyIntolerance", ""),
            ("Appointment", ""),
            ("Condition", ""),
            ("DiagnosticReport", ""),
            ("DocumentReference", ""),
            ("Encounter", ""),
            ("Immunization", ""),
            ("MedicationAdministration", ""),
            ("MedicationDispense", ""),
            ("MedicationRequest", ""),
            ("Observation", ""),
            ("Procedure", ""),
            ("ServiceRequest", ""),
        ],
        "patient",
    ),
    (
        "encounter-start",
        "A visit begins",
        "An encounter came to be in progress.",
        CHANGED,
        &[(
            "Encounter",
            "%current.status = 'in-progress' and %previous.where(status = 'in-progress').empty()",
        )],
        "patient,subject,class,type,service-provider,location,participant",
    ),
    (
        "encounter-end",
        "A visit ends",
        "An encounter came to be finished.",
        CHANGED,
        &[("Encounter", "%current.status = 'finished' and %previous.where(status = 'finished').empty()")],
        "patient,subject,class,type,service-provider,location,participant",
    ),
    (
        "appointment-change",
        "An appointment was booked or changed",
        "An appointment was booked, moved, cancelled or kept.",
        CHANGED,
        &[("Appointment", "")],
        "patient,practitioner,actor,location,status,service-type,date",
    ),
    (
        "result-final",
        "A result is there",
        "A report came to be final, amended or corrected.",
        CHANGED,
        &[(
            "DiagnosticReport",
            "%current.status in ('final' | 'amended' | 'corrected') and %previous.where(status = %current.status).empty()",
        )],
        "patient,subject,code,category,performer",
    ),
    (
        "prescription-new",
        "A prescription was signed",
        "A prescription came to be active.",
        CHANGED,
        &[("MedicationRequest", "%current.status = 'active' and %previous.where(status = 'active').empty()")],
        "patient,subject,requester,encounter",
    ),
    (
        "order-change",
        "An order was placed or changed",
        "An order for an examination or a service was placed or changed.",
        CHANGED,
        &[("ServiceRequest", "")],
        "patient,subject,code,category,status,performer,requester",
    ),
    (
        "patient-registered",
        "A patient was registered",
        "A new patient's record was made.",
        "c",
        &[("Patient", "")],
        "organization,general-practitioner,active",
    ),
];

/// All topics built in.
pub fn built_in() -> Vec<Topic> {
    BUILT_IN
        .iter()
        .map(|(name, title, description, interactions, kinds, filters)| Topic {
            url: format!("{BASE}{name}"),
            title: (*title).to_owned(),
            description: (*description).to_owned(),
            triggers: kinds
                .iter()
                .map(|(kind, condition)| Trigger {
                    kind: crate::read::kind(kind),
                    interactions: interactions.chars().map(letter).collect(),
                    current: Vec::new(),
                    condition: Some(*condition)
                        .filter(|c| !c.is_empty())
                        .and_then(|c| Condition::parse(c).ok()),
                })
                .collect(),
            filters: kinds
                .iter()
                .map(|(kind, _)| (crate::read::kind(kind), filters.split(',').map(str::to_owned).collect()))
                .collect(),
        })
        .collect()
}

fn letter(letter: char) -> Interaction {
    match letter {
        'c' => Interaction::Create,
        'u' => Interaction::Update,
        _ => Interaction::Delete,
    }
}

/// Extensions of this name within `value`.
fn parts<'a>(value: &'a Value, name: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = value.get("extension").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    all.iter().filter(move |e| {
        let url = e.get("url").and_then(Value::as_str).unwrap_or_default();
        url == name || url.strip_prefix(ELEMENT) == Some(name)
    })
}

fn text(extension: &Value) -> Option<&str> {
    extension.as_object()?.iter().find_map(|(k, v)| k.strip_prefix("value").and(v.as_str()))
}

fn texts(value: &Value, name: &str) -> Vec<String> {
    parts(value, name).filter_map(text).map(str::to_owned).collect()
}

/// `Encounter` of `Encounter` or `http://hl7.org/fhir/StructureDefinition/Encounter`.
fn kind_of(text: &str) -> Option<TypeId> {
    TypeId::from_name(text.rsplit('/').next().unwrap_or(text))
}

impl Topic {
    /// The topic that a Basic holds. Errors: what of it cannot be carried out, in words.
    pub fn of_basic(basic: &Resource) -> Result<Topic, String> {
        let value = basic.value();
        let first = |name: &str| texts(value, name).into_iter().next();
        let url = first("url").ok_or("it has no `url`")?;
        let mut topic = Topic {
            title: first("title").unwrap_or_else(|| url.clone()),
            description: first("description").unwrap_or_default(),
            url,
            triggers: Vec::new(),
            filters: Vec::new(),
        };
        for trigger in parts(value, "resourceTrigger") {
            let resource =
                texts(trigger, "resource").into_iter().next().ok_or("a trigger without `resource`")?;
            let kind = kind_of(&resource).ok_or("a trigger for a type that R4 does not have")?;
            let mut interactions = Vec::new();
            for code in texts(trigger, "supportedInteraction") {
                interactions.push(match code.as_str() {
                    "create" => Interaction::Create,
                    "update" => Interaction::Update,
                    "delete" => Interaction::Delete,
                    _ => return Err("a trigger for an interaction that is none".to_owned()),
                });
            }
            if interactions.is_empty() {
                interactions = vec![Interaction::Create, Interaction::Update, Interaction::Delete];
            }
            let mut current = Vec::new();
            for criteria in parts(trigger, "queryCriteria") {
                if !texts(criteria, "previous").is_empty() {
                    return Err(
                        "`queryCriteria.previous` is not carried out here; say it in `fhirPathCriteria`"
                            .to_owned(),
                    );
                }
                for query in texts(criteria, "current") {
                    let query = query.split_once('?').map_or(query.as_str(), |(_, q)| q);
                    current.extend(super::definition::pairs(query));
                }
            }
            let condition = match texts(trigger, "fhirPathCriteria").first() {
                Some(text) => Some(Condition::parse(text)?),
                None => None,
            };
            topic.triggers.push(Trigger { kind, interactions, current, condition });
        }
        if topic.triggers.is_empty() {
            return Err("it has no `resourceTrigger`".to_owned());
        }
        for filter in parts(value, "canFilterBy") {
            let names = texts(filter, "filterParameter");
            let kinds: Vec<TypeId> = match texts(filter, "resource").first() {
                Some(resource) => vec![kind_of(resource).ok_or("a filter for a type that R4 does not have")?],
                None => topic.triggers.iter().map(|t| t.kind).collect(),
            };
            for kind in kinds {
                match topic.filters.iter_mut().find(|(k, _)| *k == kind) {
                    Some((_, known)) => known.extend(names.iter().cloned()),
                    None => topic.filters.push((kind, names.clone())),
                }
            }
        }
        Ok(topic)
    }

    /// The topic as a Basic, for whoever looks for it.
    pub fn to_basic(&self) -> Value {
        let element = |name: &str, kind: &str, value: &str| json!({"url": format!("{ELEMENT}{name}"), (format!("value{kind}")): value});
        let part =
            |name: &str, kind: &str, value: &str| json!({"url": name, (format!("value{kind}")): value});
        let definition = |kind: TypeId| format!("http://hl7.org/fhir/StructureDefinition/{}", kind.name());
        let mut extension = vec![
            element("url", "Uri", &self.url),
            element("title", "String", &self.title),
            element("status", "Code", "active"),
            element("description", "Markdown", &self.description),
        ];
        for trigger in &self.triggers {
            let mut parts = vec![part("resource", "Uri", &definition(trigger.kind))];
            for interaction in &trigger.interactions {
                let code = match interaction {
                    Interaction::Create => "create",
                    Interaction::Update => "update",
                    Interaction::Delete => "delete",
                };
                parts.push(part("supportedInteraction", "Code", code));
            }
            if let Some(condition) = &trigger.condition {
                parts.push(part("fhirPathCriteria", "String", &condition.text));
            }
            extension.push(json!({"url": format!("{ELEMENT}resourceTrigger"), "extension": parts}));
        }
        for (kind, names) in &self.filters {
            for name in names {
                let parts =
                    [part("resource", "Uri", &definition(*kind)), part("filterParameter", "String", name)];
                extension.push(json!({"url": format!("{ELEMENT}canFilterBy"), "extension": parts}));
            }
        }
        let id = self.url.rsplit(':').next().unwrap_or_default();
        json!({"resourceType": "Basic", "id": id, "extension": extension,
            "code": {"coding": [{"system": TYPES, "code": "SubscriptionTopic"}]}})
    }
}

/// The topics stored as Basic resources. Those that cannot be carried out are left out, and said in the log.
pub(crate) fn stored(tx: &mut dyn store::Tx, now: jiff::Timestamp) -> Result<Vec<Topic>, Error> {
    let kind = crate::read::kind("Basic");
    let pairs = [("code".to_owned(), format!("{TYPES}|SubscriptionTopic"))];
    let parsed =
        fhir::search::parse(&fhir::search::Params::standard(), kind, &pairs, fhir::search::Handling::Strict);
    let (mut query, _) = parsed.map_err(Error::Malformed)?;
    query.count = fhir::search::MAX_PAGE;
    query.total = fhir::search::Total::None;
    let page = store::search::run(tx, &query, &store::search::Rights::everything(), now)?;
    let mut topics = Vec::new();
    for row in page.rows {
        let Ok(basic) = Resource::parse(&row.content) else { continue };
        match Topic::of_basic(&basic) {
            Ok(topic) => topics.push(topic),
            Err(reason) => tracing::warn!(topic = %row.key, reason, "a stored topic cannot be carried out"),
        }
    }
    Ok(topics)
}
