//! AuditEvent, made from the audit trail; read-only.

use super::negotiate::{self, Wishes};
use super::search::CURSOR;
use super::{FhirAnswer, printable};
use crate::http::error::{FhirError, Refusal, RefusalKind};
use crate::state::App;
use access::Ctx;
use axum::http::StatusCode;
use jiff::Timestamp;
use record::audit::{AuditFilter, AuditPage, to_fhir};
use serde_json::{Value, json};

/// The type's name.
pub const TYPE: &str = "AuditEvent";

/// Search parameters that work: code, type, documentation.
pub const PARAMETERS: &[(&str, &str, &str)] = &[
    ("patient", "reference", "Patient whose record was touched"),
    ("agent", "reference", "Account, client or job that did it, as in `agent.who.identifier`"),
    ("date", "date", "With prefix ge or lt and an instant"),
];

/// There is no read by id: an AuditEvent is found by search.
pub async fn read(_app: &App, _ctx: &Ctx, _id: &str, _wishes: Wishes) -> FhirAnswer {
    Err(Refusal::new(RefusalKind::MethodNotAllowed, "AuditEvents are found by search.").into())
}

/// `GET /AuditEvent?patient=&agent=&date=ge…&_count=`
pub async fn search(app: &App, ctx: &Ctx, pairs: &[(String, String)], wishes: Wishes) -> FhirAnswer {
    let mut filter = AuditFilter::default();
    let mut cursor = None;
    let mut count = ::fhir::search::DEFAULT_PAGE;
    for (name, value) in pairs {
        match name.as_str() {
            "patient" => filter.patient = Some(value.strip_prefix("Patient/").unwrap_or(value).to_owned()),
            "agent" => filter.agent = Some(value.clone()),
            "date" => date(&mut filter, value)?,
            "_count" => count = value.parse().map_err(|_| wrong(name))?,
            CURSOR => cursor = Some(value.as_str()),
            _ => return Err(wrong(name)),
        }
    }
    let count = count.clamp(1, ::fhir::search::MAX_PAGE);
    let page = match (&filter.patient, ctx.user()) {
        // A patient may see who saw her own record.
        (Some(patient), Some(user)) if user.patient.as_ref().is_some_and(|own| own.id == *patient) => {
            app.record.who_saw(ctx, patient, cursor, count).await?
        }
        _ => app.record.audit_list(ctx, filter, cursor, count).await?,
    };
    let body = bundle(&app.fhir_base(), pairs, &page);
    Ok(negotiate::json(StatusCode::OK, negotiate::text(&body, wishes.pretty)))
}

fn date(filter: &mut AuditFilter, value: &str) -> Result<(), FhirError> {
    let instant = |text: &str| text.parse::<Timestamp>().map_err(|_| wrong("date"));
    if let Some(text) = value.strip_prefix("ge") {
        filter.from = Some(instant(text)?);
    } else if let Some(text) = value.strip_prefix("lt") {
        filter.to = Some(instant(text)?);
    } else {
        return Err(wrong("date"));
    }
    Ok(())
}

fn wrong(name: &str) -> FhirError {
    let name = printable(name);
    Refusal::new(RefusalKind::ParameterWrong, format!("`{name}` is unknown here or has a wrong value."))
        .at(name)
        .into()
}

fn bundle(base: &str, pairs: &[(String, String)], page: &AuditPage) -> Value {
    let url = |cursor: Option<&str>| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in pairs.iter().filter(|(name, _)| cursor.is_none() || name != CURSOR) {
            query.append_pair(name, value);
        }
        if let Some(cursor) = cursor {
            query.append_pair(CURSOR, cursor);
        }
        format!("{base}/{TYPE}?{}", query.finish())
    };
    let mut link = vec![json!({"relation": "self", "url": url(None)})];
    if let Some(next) = &page.next {
        link.push(json!({"relation": "next", "url": url(Some(next))}));
    }
    let entry: Vec<Value> = page
        .rows
        .iter()
        .map(|row| {
            let resource = to_fhir(row);
            json!({"fullUrl": format!("{base}/{TYPE}/{}", row.seq), "resource": resource, "search": {"mode": "match"}})
        })
        .collect();
    let mut bundle = json!({"resourceType": "Bundle", "type": "searchset", "link": link});
    if !entry.is_empty() {
        bundle["entry"] = Value::Array(entry);
    }
    bundle
}
