//! AuditEvent, made from the audit trail; read-only.

use super::negotiate::{self, Subset, Wishes};
use super::search::CURSOR;
use super::{FhirAnswer, printable};
use crate::http::error::{FhirError, Refusal, RefusalKind};
use crate::state::App;
use ::fhir::search::Handling;
use ::fhir::{ResourceKey, TypeId};
use access::Ctx;
use axum::http::StatusCode;
use jiff::Timestamp;
use record::audit::{AuditFilter, AuditRow, to_fhir};
use record::{Error, SearchPage, Stored};

/// The type's name.
pub const TYPE: &str = "AuditEvent";

/// Search parameters that work: code, type, documentation.
pub const PARAMETERS: &[(&str, &str, &str)] = &[
    ("patient", "reference", "Patient whose record was touched"),
    ("agent", "reference", "Account, client or job that did it, as in `agent.who.identifier`"),
    ("date", "date", "With prefix ge or lt and an instant"),
];

/// What an id has before the number of the row.
const ID_PREFIX: &str = "audit-";

/// `GET /AuditEvent/{id}`
pub async fn read(app: &App, ctx: &Ctx, id: &str, wishes: Wishes, subset: &Subset) -> FhirAnswer {
    let number = id.strip_prefix(ID_PREFIX).and_then(|n| n.parse::<i64>().ok()).ok_or(Error::NotFound)?;
    let row = app.record.audit_row(ctx, number).await?;
    let value = to_fhir(&row);
    let value = negotiate::part_of(&value, subset);
    let mut response = negotiate::json(StatusCode::OK, negotiate::text(&value, wishes.pretty));
    negotiate::version_headers(response.headers_mut(), 1, row.at);
    Ok(response)
}

/// `GET /AuditEvent?patient=&agent=&date=ge…&_count=`
pub async fn search(
    app: &App,
    ctx: &Ctx,
    pairs: &[(String, String)],
    subset: &Subset,
    handling: Handling,
) -> Result<SearchPage, FhirError> {
    if *subset == Subset::Count {
        let text = "AuditEvents are not counted; ask for a page of them.";
        return Err(Refusal::new(RefusalKind::ParameterWrong, text).at("_summary").into());
    }
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
            _ if handling == Handling::Lenient => {}
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
    Ok(SearchPage { items: page.rows.iter().map(stored).collect(), next: page.next, ..SearchPage::default() })
}

fn stored(row: &AuditRow) -> Stored {
    let kind = TypeId::from_name(TYPE).unwrap_or(TypeId(u16::MAX));
    Stored {
        key: ResourceKey::new(kind, format!("{ID_PREFIX}{}", row.seq)),
        version: 1,
        last_updated: row.at,
        content: to_fhir(row).to_string().into_bytes().into(),
    }
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
