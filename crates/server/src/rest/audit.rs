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
use record::audit::{AuditFilter, AuditRow, Outcome, to_fhir};
use record::{Error, SearchPage, Stored};

/// The type's name.
pub const TYPE: &str = "AuditEvent";

/// Search parameters that work: code, type, documentation.
pub const PARAMETERS: &[(&str, &str, &str)] = &[
    ("_id", "token", "As in `id`, with or without the patient's number behind it"),
    ("action", "token", "C, R, U, D or E; several with commas"),
    ("address", "string", "Network address of the agent, whole"),
    ("agent", "reference", "Account, client or job that did it, as in `agent.who.identifier`"),
    ("date", "date", "With or without prefix, in any precision; may be given more than once"),
    ("entity", "reference", "What was touched, `Type/id`"),
    ("outcome", "token", "0, 4 or 8"),
    ("patient", "reference", "Patient whose record was touched"),
    ("subtype", "token", "Interaction such as `read` and `search-type`, or command of the product"),
    ("type", "token", "`rest`, or `110114` for signing in and out"),
];

/// What an id has before the number of the row.
const ID_PREFIX: &str = "audit-";
/// Between the store's cursor and the events of its first row that were sent already.
const CURSOR_MARK: char = '~';
/// Sign-in and sign-out.
const SIGNING: [&str; 2] = ["login", "logout"];

/// `audit-<row>` or `audit-<row>-<patient's number>`
fn parse_id(id: &str) -> Option<(i64, Option<usize>)> {
    let numbers = id.strip_prefix(ID_PREFIX)?;
    Some(match numbers.split_once('-') {
        Some((row, part)) => (row.parse().ok()?, Some(part.parse().ok()?)),
        None => (numbers.parse().ok()?, None),
    })
}

/// `GET /AuditEvent/{id}`
pub async fn read(app: &App, ctx: &Ctx, id: &str, wishes: Wishes, subset: &Subset) -> FhirAnswer {
    let (number, part) = parse_id(id).ok_or(Error::NotFound)?;
    let row = app.record.audit_row(ctx, number).await?;
    let row = match part {
        Some(part) => row.part(part).ok_or(Error::NotFound)?,
        None => row,
    };
    let value = to_fhir(&row, &app.fhir_base());
    let value = negotiate::part_of(&value, subset);
    let mut response = negotiate::json(StatusCode::OK, negotiate::text(&value, wishes.pretty));
    negotiate::version_headers(response.headers_mut(), 1, row.at);
    Ok(response)
}

/// `GET /AuditEvent?patient=&agent=&date=ge…&_count=`
///
/// A row that names several patients is presented once for each of them, as IHE BALP asks, or once for the patient who was
/// searched for.
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
            "_count" => count = value.parse().map_err(|_| wrong(name))?,
            CURSOR => cursor = Some(value.as_str()),
            _ => match narrow(&mut filter, name, value) {
                Some(true) => {}
                Some(false) if handling == Handling::Lenient => {}
                _ => return Err(wrong(name)),
            },
        }
    }
    let count = count.clamp(1, ::fhir::search::MAX_PAGE);
    let (mut inner, skip) = match cursor.map(|cursor| cursor.rsplit_once(CURSOR_MARK)) {
        None => (None, 0),
        Some(Some((inner, skip))) => {
            ((!inner.is_empty()).then(|| inner.to_owned()), skip.parse::<usize>().map_err(|_| wrong(CURSOR))?)
        }
        Some(None) => return Err(wrong(CURSOR)),
    };
    let patient = filter.patient.clone();
    let own = ctx.user().and_then(|user| user.patient.as_ref()).map(|own| own.id.clone());
    let page = match (&patient, own) {
        // A patient may see who saw her own record.
        (Some(patient), Some(own)) if own == *patient => {
            app.record.who_saw_filtered(ctx, filter, inner.as_deref(), count).await?
        }
        _ => app.record.audit_list(ctx, filter, inner.as_deref(), count).await?,
    };
    // The store's page may hold more events than rows; what does not fit begins the next page.
    let base = app.fhir_base();
    let (mut items, mut skip, most) = (Vec::new(), skip, count as usize);
    let mut next = None;
    for (n, row) in page.rows.iter().enumerate() {
        let parts = match &patient {
            Some(patient) => row.for_one(patient).into_iter().collect(),
            None => row.per_patient(),
        };
        let taken = parts.len().saturating_sub(skip).min(most - items.len());
        items.extend(parts.iter().skip(skip).take(taken).map(|row| stored(row, &base)));
        if skip + taken < parts.len() {
            next = Some(format!("{}{CURSOR_MARK}{}", inner.unwrap_or_default(), skip + taken));
            break;
        }
        skip = 0;
        inner = page.cursor_behind(n);
    }
    let next = next.or_else(|| page.next.as_ref().map(|cursor| format!("{cursor}{CURSOR_MARK}0")));
    Ok(SearchPage { items, next, ..SearchPage::default() })
}

/// Adds one parameter to the filter; false if there is no such parameter, `None` for a value that it cannot have.
fn narrow(filter: &mut AuditFilter, name: &str, value: &str) -> Option<bool> {
    match name {
        "_id" => filter.seq = Some(parse_id(value)?.0),
        "patient" => filter.patient = Some(value.strip_prefix("Patient/").unwrap_or(value).to_owned()),
        "agent" => filter.agent = Some(value.to_owned()),
        "address" => filter.address = Some(value.parse().ok()?),
        "entity" => match (ResourceKey::parse(value)?, &filter.patient) {
            (key, None) if key.kind == TypeId::PATIENT => filter.patient = Some(key.id),
            (key, _) => filter.target = Some(key),
        },
        "outcome" => {
            filter.outcome = Some(match code(value) {
                "0" => Outcome::Success,
                "4" => Outcome::Denied,
                "8" => Outcome::Failed,
                _ => return None,
            });
        }
        "action" => actions(filter, value)?,
        "subtype" => {
            let action = match code(value) {
                "110122" => "login",
                "110123" => "logout",
                "search-type" => "query",
                "history-instance" => "history",
                other => other,
            };
            filter.action = Some(action.to_owned());
        }
        "type" => match code(value) {
            "110114" => filter.actions = SIGNING.map(str::to_owned).to_vec(),
            "rest" => filter.without.extend(SIGNING.map(str::to_owned)),
            _ => return None,
        },
        "date" => date(filter, value)?,
        _ => return Some(false),
    }
    Some(true)
}

/// The code of a token, whatever its system.
fn code(value: &str) -> &str {
    value.rsplit_once('|').map_or(value, |(_, code)| code)
}

/// The product's actions behind the letters of `AuditEvent.action`.
fn actions(filter: &mut AuditFilter, value: &str) -> Option<()> {
    const LETTERS: [(&str, &[&str]); 4] =
        [("C", &["create"]), ("R", &["read", "vread", "history"]), ("U", &["update"]), ("D", &["delete"])];
    let letters: Vec<&str> = value.split(',').map(code).collect();
    if !letters.iter().all(|letter| ["C", "R", "U", "D", "E"].contains(letter)) {
        return None;
    }
    // E is whatever is none of the others.
    let has_rest = letters.contains(&"E");
    for (letter, actions) in LETTERS {
        let actions = actions.iter().map(|action| (*action).to_owned());
        match (has_rest, letters.contains(&letter)) {
            (true, false) => filter.without.extend(actions),
            (false, true) => filter.actions.extend(actions),
            _ => {}
        }
    }
    Some(())
}

fn stored(row: &AuditRow, base: &str) -> Stored {
    let kind = TypeId::from_name(TYPE).unwrap_or(TypeId(u16::MAX));
    let id = match row.part {
        Some(part) => format!("{ID_PREFIX}{}-{part}", row.seq),
        None => format!("{ID_PREFIX}{}", row.seq),
    };
    Stored {
        key: ResourceKey::new(kind, id),
        version: 1,
        last_updated: row.at,
        content: to_fhir(row, base).to_string().into_bytes().into(),
    }
}

/// FHIR R4 §3.1.1.4.5: without prefix (or with `eq`) the time that the value covers.
fn date(filter: &mut AuditFilter, value: &str) -> Option<()> {
    let prefix = value.get(..2).filter(|prefix| ["eq", "ge", "gt", "le", "lt", "sa", "eb"].contains(prefix));
    let (low, high) = ::fhir::range_us(prefix.map_or(value, |_| &value[2..]))?;
    let at = |us| Timestamp::from_microsecond(us).ok();
    let (from, to) = match prefix.unwrap_or("eq") {
        "ge" => (at(low), None),
        "gt" | "sa" => (at(high), None),
        "le" => (None, at(high)),
        "lt" | "eb" => (None, at(low)),
        _ => (at(low), at(high)),
    };
    filter.from = filter.from.max(from);
    filter.to = match (filter.to, to) {
        (Some(known), Some(to)) => Some(known.min(to)),
        (known, to) => known.or(to),
    };
    Some(())
}

fn wrong(name: &str) -> FhirError {
    let name = printable(name);
    Refusal::new(RefusalKind::ParameterWrong, format!("`{name}` is unknown here or has a wrong value."))
        .at(name)
        .into()
}
