//! The CapabilityStatement, made from the definitions, the table of operations and what the routes do.
//!
//! **Invariant:** what it names runs, and what it does not name is refused; `tests/it/operations_capability.rs` tries all
//! of it on a running server.

use super::definition::{self, COMMON, common_url};
use super::negotiate::{self, Subset};
use super::operation;
use super::search::formats;
use super::{FhirAnswer, audit, read};
use crate::config::ConditionalDelete;
use crate::state::{App, AppState};
use ::fhir::TypeId;
use ::fhir::definitions::{COMPARTMENTS, ParamType};
use ::fhir::search::{self, Handling, Params};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;

/// Types that are never resources of their own on this server: abstract ones, those of requests and answers alone, and
/// what only a backport of R4B has.
pub const NOT_STORED: &[&str] = &["DomainResource", "Parameters", "Resource", "SubscriptionStatus"];

/// What a type that is stored can do.
const INTERACTIONS: &[&str] = &[
    "read",
    "vread",
    "update",
    "patch",
    "delete",
    "history-instance",
    "history-type",
    "create",
    "search-type",
];
/// The audit trail is written by the server alone.
const AUDIT_INTERACTIONS: &[&str] = &["read", "search-type"];
const SYSTEM_INTERACTIONS: &[&str] = &["transaction", "batch", "history-system", "search-system"];
const PATCH_FORMATS: &[&str] =
    &["application/json-patch+json", "application/fhir+json", "application/fhir+xml"];
const WEBSOCKET: &str = "http://hl7.org/fhir/StructureDefinition/capabilitystatement-websocket";

const TOPIC: &str = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/capabilitystatement-subscriptiontopic-canonical";

/// What the statement says about one server.
pub struct Facts<'a> {
    pub base: String,
    pub public_url: &'a str,
    pub clinic: &'a str,
    pub started: jiff::Timestamp,
    pub params: Params,
    pub has_cors: bool,
    pub conditional_delete: ConditionalDelete,
}

impl Facts<'_> {
    pub fn of(app: &App) -> Facts<'_> {
        Facts {
            base: app.fhir_base(),
            public_url: &app.public_url,
            clinic: &app.config.clinic.name,
            started: app.started,
            params: app.record.params(),
            has_cors: !app.config.http.cors_origins.is_empty(),
            conditional_delete: app.config.fhir.conditional_delete,
        }
    }
}

/// `GET /metadata`; needs no sign-in. `mode` is `full` or `normative` (the same here), or `terminology`.
pub async fn metadata(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> FhirAnswer {
    let query = negotiate::negotiate(&headers, query.as_deref().unwrap_or_default())?;
    let mut mode = None;
    for (name, value) in &query.pairs {
        match name.as_str() {
            "mode" => mode = Some(value.as_str()),
            _ => return Err(read::wrong(name)),
        }
    }
    let statement = match mode {
        None | Some("full" | "normative") if query.subset == Subset::Whole => {
            let body = negotiate::stored(kept(&Facts::of(&app)), query.wishes.pretty);
            return Ok(negotiate::json(StatusCode::OK, body));
        }
        None | Some("full" | "normative") => statement(&Facts::of(&app)),
        Some("terminology") => super::terminology_capability::statement(&app).await?,
        Some(_) => return Err(read::wrong("mode")),
    };
    let part = negotiate::part_of(&statement, &query.subset);
    Ok(negotiate::json(StatusCode::OK, negotiate::text(&part, query.wishes.pretty)))
}

/// The statement as JSON, made once for as long as nothing changes that it tells: every client asks for it first.
fn kept(facts: &Facts<'_>) -> Arc<[u8]> {
    static KEPT: Mutex<Option<(String, Arc<[u8]>)>> = Mutex::new(None);
    let parameters: Vec<usize> = TypeId::all().map(|kind| facts.params.of(kind).count()).collect();
    let key = format!(
        "{} {} {} {} {} {:?} {parameters:?}",
        facts.base, facts.public_url, facts.clinic, facts.started, facts.has_cors, facts.conditional_delete
    );
    let mut kept = KEPT.lock();
    match &*kept {
        Some((known, text)) if *known == key => text.clone(),
        _ => {
            let text: Arc<[u8]> = Arc::from(statement(facts).to_string().into_bytes());
            *kept = Some((key, text.clone()));
            text
        }
    }
}

/// The CapabilityStatement. `Facts::started` is printed as its date.
pub fn statement(facts: &Facts<'_>) -> Value {
    let base = &facts.base;
    let resources: Vec<Value> = TypeId::all()
        .filter(|kind| !NOT_STORED.contains(&kind.name()))
        .map(|kind| resource(facts, kind))
        .collect();
    let compartments: Vec<String> = COMPARTMENTS
        .iter()
        .map(|of| format!("http://hl7.org/fhir/CompartmentDefinition/{}", of.name().to_ascii_lowercase()))
        .collect();
    let mut rest = json!({
        "mode": "server",
        "security": security(facts),
        "resource": resources,
        "interaction": codes(SYSTEM_INTERACTIONS),
        "searchParam": system_parameters(),
        "compartment": compartments,
    });
    let operations: Vec<Value> =
        operation::all().filter(|o| o.levels.system).map(|o| named(o.code, o)).collect();
    if !operations.is_empty() {
        rest["operation"] = Value::Array(operations);
    }
    let socket = facts.public_url.replacen("http", "ws", 1);
    rest["extension"] =
        json!([{"url": WEBSOCKET, "valueUri": format!("{socket}{}", crate::ws::SUBSCRIPTIONS)}]);
    json!({
        "resourceType": "CapabilityStatement",
        "id": "uzima",
        "url": format!("{base}/metadata"),
        "version": env!("CARGO_PKG_VERSION"),
        "name": "Uzima",
        "title": "Uzima FHIR R4",
        "status": "active",
        "date": format!("{:.0}", facts.started),
        "kind": "instance",
        "software": {"name": "Uzima", "version": env!("CARGO_PKG_VERSION")},
        "implementation": {"description": facts.clinic, "url": base},
        "fhirVersion": "4.0.1",
        "format": formats(),
        "patchFormat": PATCH_FORMATS,
        "rest": [rest],
    })
}

fn codes(codes: &[&str]) -> Vec<Value> {
    codes.iter().map(|code| json!({"code": code})).collect()
}

fn security(facts: &Facts<'_>) -> Value {
    let public_url = facts.public_url;
    json!({
        "cors": facts.has_cors,
        "service": [{"coding": [
            {"system": "http://terminology.hl7.org/CodeSystem/restful-security-service", "code": "SMART-on-FHIR"},
            {"system": "http://terminology.hl7.org/CodeSystem/restful-security-service", "code": "OAuth"},
        ]}],
        "description": "SMART App Launch 2.2 (see .well-known/smart-configuration), or a session of the product's own API.",
        "extension": [{
            "url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris",
            "extension": [
                {"url": "authorize", "valueUri": format!("{public_url}/oauth/authorize")},
                {"url": "token", "valueUri": format!("{public_url}/oauth/token")},
                {"url": "introspect", "valueUri": format!("{public_url}/oauth/introspect")},
                {"url": "revoke", "valueUri": format!("{public_url}/oauth/revoke")},
            ],
        }],
    })
}

fn named(name: &str, operation: &operation::Operation) -> Value {
    json!({"name": name, "definition": definition::operation_url(operation), "documentation": operation.title})
}

/// Parameters that every type takes, in searches over several types.
fn system_parameters() -> Vec<Value> {
    COMMON
        .iter()
        .map(common)
        .chain([json!({"name": "_type", "type": "token",
        "documentation": "Only these types, separated by commas."})])
        .collect()
}

fn common((code, kind, _, text): &(&str, &str, &str, &str)) -> Value {
    let mut value = json!({"name": code, "type": kind, "documentation": text});
    if let Some(url) = common_url(code) {
        value["definition"] = json!(url);
    }
    value
}

fn resource(facts: &Facts<'_>, kind: TypeId) -> Value {
    if kind.name() == audit::TYPE {
        let parameters: Vec<Value> = audit::PARAMETERS
            .iter()
            .map(|(name, kind, text)| json!({"name": name, "type": kind, "documentation": text}))
            .collect();
        return json!({
            "type": kind.name(),
            "profile": format!("http://hl7.org/fhir/StructureDefinition/{}", kind.name()),
            "interaction": codes(AUDIT_INTERACTIONS),
            "searchParam": parameters,
        });
    }
    let mut parameters: Vec<Value> = COMMON.iter().map(common).collect();
    parameters.extend(
        facts
            .params
            .of(kind)
            .filter(|p| p.is_searchable())
            .map(|p| json!({"name": p.code, "definition": p.url, "type": p.param_type.code()})),
    );
    let mut value = json!({
        "type": kind.name(),
        "profile": format!("http://hl7.org/fhir/StructureDefinition/{}", kind.name()),
        "interaction": codes(INTERACTIONS),
        "versioning": "versioned-update",
        "readHistory": true,
        "updateCreate": true,
        "conditionalCreate": true,
        "conditionalRead": "full-support",
        "conditionalUpdate": true,
        "conditionalDelete": match facts.conditional_delete {
            ConditionalDelete::Single => "single",
            ConditionalDelete::Multiple => "multiple",
        },
        "referencePolicy": ["local", "literal"],
        "searchInclude": includes(facts, kind),
        "searchParam": parameters,
    });
    let reverse = reverse(facts, kind);
    // FHIR allows no empty arrays.
    if !reverse.is_empty() {
        value["searchRevInclude"] = json!(reverse);
    }
    let operations: Vec<Value> = operation::all()
        .filter(|o| (o.levels.kind || o.levels.instance) && o.is_for(kind))
        .map(|o| named(o.code, o))
        .collect();
    if !operations.is_empty() {
        value["operation"] = Value::Array(operations);
    }
    if kind == TypeId::SUBSCRIPTION {
        // How topics are found in R4, by the backport guide; topics stored as Basic are found by searching them.
        let topics = record::subscription::topic::built_in();
        value["extension"] =
            topics.iter().map(|topic| json!({"url": TOPIC, "valueCanonical": topic.url})).collect();
    }
    value
}

/// Whether a search of `kind` takes this: references that name definitions by URL are not followed everywhere.
fn is_followed(facts: &Facts<'_>, kind: TypeId, name: &str, value: &str) -> bool {
    let pairs = [(name.to_owned(), value.to_owned())];
    search::parse(&facts.params, kind, &pairs, Handling::Strict).is_ok()
}

fn includes(facts: &Facts<'_>, kind: TypeId) -> Vec<String> {
    let references =
        facts.params.of(kind).filter(|p| p.param_type == ParamType::Reference && p.is_searchable());
    std::iter::once("*".to_owned())
        .chain(references.map(|p| format!("{}:{}", kind.name(), p.code)))
        .filter(|value| is_followed(facts, kind, "_include", value))
        .collect()
}

/// Reference parameters of all types that may lead here.
fn reverse(facts: &Facts<'_>, kind: TypeId) -> Vec<String> {
    let mut all = Vec::new();
    for source in TypeId::all().filter(|k| !NOT_STORED.contains(&k.name()) && k.name() != audit::TYPE) {
        for param in facts.params.of(source) {
            // What may point anywhere would say every type everywhere.
            if param.param_type != ParamType::Reference || !param.targets.contains(&kind) {
                continue;
            }
            let value = format!("{}:{}", source.name(), param.code);
            if is_followed(facts, kind, "_revinclude", &value) {
                all.push(value);
            }
        }
    }
    all
}
