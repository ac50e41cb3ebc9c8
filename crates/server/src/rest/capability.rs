//! The CapabilityStatement, made from the definitions and from what the routes do.

use super::FhirAnswer;
use super::audit;
use super::negotiate;
use super::search::formats;
use crate::state::AppState;
use ::fhir::TypeId;
use ::fhir::definitions::{self, Param, ParamType};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

/// Types that are never resources of their own on this server.
const NOT_STORED: &[&str] = &["DomainResource", "Parameters", "Resource"];

/// `GET /metadata`; needs no sign-in.
pub async fn metadata(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> FhirAnswer {
    let query = negotiate::negotiate(&headers, query.as_deref().unwrap_or_default())?;
    let statement = statement(&app.fhir_base(), &app.public_url, &app.config.clinic.name, app.started);
    Ok(negotiate::json(StatusCode::OK, negotiate::text(&statement, query.wishes.pretty)))
}

/// The statement for a server at this address. `started` is printed as its date.
pub fn statement(base: &str, public_url: &str, name: &str, started: jiff::Timestamp) -> Value {
    let resources: Vec<Value> =
        TypeId::all().filter(|kind| !NOT_STORED.contains(&kind.name())).map(resource).collect();
    json!({
        "resourceType": "CapabilityStatement",
        "url": format!("{base}/metadata"),
        "status": "active",
        "date": format!("{started:.0}"),
        "kind": "instance",
        "software": {"name": "Uzima", "version": env!("CARGO_PKG_VERSION")},
        "implementation": {"description": name, "url": base},
        "fhirVersion": "4.0.1",
        "format": formats(),
        "rest": [{
            "mode": "server",
            "security": {
                "cors": false,
                "service": [{"coding": [{
                    "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
                    "code": "OAuth",
                }]}],
                "description": "OAuth 2.0 client credentials, or a session of the product's own API.",
                "extension": [{
                    "url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris",
                    "extension": [{"url": "token", "valueUri": format!("{public_url}/oauth/token")}],
                }],
            },
            "resource": resources,
            "interaction": [{"code": "transaction"}, {"code": "batch"}],
        }],
    })
}

fn resource(kind: TypeId) -> Value {
    let codes = |codes: &[&str]| codes.iter().map(|code| json!({"code": code})).collect::<Vec<_>>();
    if kind.name() == audit::TYPE {
        let parameters: Vec<Value> = audit::PARAMETERS
            .iter()
            .map(|(name, kind, text)| json!({"name": name, "type": kind, "documentation": text}))
            .collect();
        return json!({
            "type": kind.name(),
            "interaction": codes(&["search-type"]),
            "searchParam": parameters,
        });
    }
    let mut parameters: Vec<Value> =
        vec![json!({"name": "_id", "type": "token"}), json!({"name": "_lastUpdated", "type": "date"})];
    parameters.extend(
        definitions::params(kind)
            .filter(|p| is_searchable(p))
            .map(|p| json!({"name": p.code, "definition": p.url, "type": p.param_type.code()})),
    );
    json!({
        "type": kind.name(),
        "interaction": codes(&[
            "read", "vread", "update", "delete", "history-instance", "create", "search-type",
        ]),
        "versioning": "versioned-update",
        "readHistory": true,
        "updateCreate": true,
        "conditionalCreate": false,
        "conditionalRead": "not-match",
        "conditionalUpdate": false,
        "conditionalDelete": "not-supported",
        "referencePolicy": ["local", "literal"],
        "searchParam": parameters,
    })
}

/// Composite and special parameters are not indexed.
fn is_searchable(parameter: &Param) -> bool {
    !matches!(parameter.param_type, ParamType::Composite | ParamType::Special)
        && !parameter.expression.is_empty()
}
