//! Finding a patient who is not (yet) in one's care: a minimal row each.

use super::{holds, kind};
use crate::{Error, Record};
use access::policy;
use access::{Action, Capability, Ctx};
use fhir::Resource;
use fhir::search::Handling;
use serde_json::Value;
use std::sync::Arc;

/// Digits from which a text is taken for a phone number.
const MIN_PHONE_DIGITS: usize = 6;
const MAX_WORDS: usize = 6;
const RECORD_NUMBER: &str = "https://uzima.health/fhir/identifier/record-number";

/// What front desk and clinicians see of a patient that is not (yet) in their care.
#[derive(Debug, Clone, PartialEq)]
pub struct DirectoryRow {
    /// Cut down to what the row may show: id, meta, active, record numbers, names, phone, sex, birth date, tags.
    pub patient: Arc<Resource>,
    pub version: u32,
    /// Whether the caller may open the chart.
    pub in_reach: bool,
}

impl Record {
    /// Patients by name, phone or record number, for front desk, clinicians and others who may search patients;
    /// audited as a query that names those found. An empty text lists by name. Records replaced by another are left out.
    /// Returns the rows and the cursor of the next page. Errors: `Denied`, `Malformed` for a bad cursor.
    pub async fn directory(
        &self,
        ctx: &Ctx,
        text: &str,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<(Vec<DirectoryRow>, Option<String>), Error> {
        let what = format!("Patient?_text={}", text.chars().take(100).collect::<String>());
        if !policy::may(ctx, Capability::SearchPatients) {
            return Err(self.denied(ctx, "query", &what).await);
        }
        let patient = kind("Patient");
        let pairs = parameters(text);
        let (mut query, _) = fhir::search::parse(&self.params(), patient, &pairs, Handling::Strict)
            .map_err(Error::Malformed)?;
        query.count = limit.clamp(1, fhir::search::MAX_PAGE);
        query.cursor = cursor.map(str::to_owned);
        let own = policy::predicate(ctx, Action::Read, patient);
        let now = self.now();
        let (page, reach) = self
            .reading(move |tx| {
                let page = store::search::run(tx, &query, &store::search::Rights::everything(), now)?;
                let mut reach = Vec::with_capacity(page.rows.len());
                for row in &page.rows {
                    reach.push(holds(tx, &own, &row.key, &row.patients, now)?);
                }
                Ok((page, reach))
            })
            .await?;
        let mut rows = Vec::with_capacity(page.rows.len());
        let mut patients = Vec::with_capacity(page.rows.len());
        for (row, in_reach) in page.rows.into_iter().zip(reach) {
            patients.push(row.key.id.clone());
            let resource = Resource::parse(&row.content)
                .map_err(|o| Error::Internal(format!("stored {}: {o}", row.key)))?;
            if resource.get("active") == Some(&Value::Bool(false)) {
                continue;
            }
            rows.push(DirectoryRow { patient: Arc::new(minimal(resource)?), version: row.version, in_reach });
        }
        self.audit_read(ctx, "query", &what, &patients).await?;
        Ok((rows, page.next))
    }
}

fn parameters(text: &str) -> Vec<(String, String)> {
    let text = text.trim();
    let pair = |name: &str, value: &str| (name.to_owned(), escape(value));
    // A screen that knows only the id, e.g. of a chart that was refused, asks whom it is about.
    if let Some(id) = text.strip_prefix("Patient/").filter(|id| fhir::resource::valid_id(id)) {
        return vec![pair("_id", id)];
    }
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let letters = text.chars().any(char::is_alphabetic);
    if !letters && digits >= MIN_PHONE_DIGITS {
        let phone = crate::authn::phone_e164(text);
        return vec![pair("phone", phone.as_deref().unwrap_or(text))];
    }
    let upper = text.to_uppercase();
    if digits > 0 && upper.starts_with("UZ") {
        let number = upper.trim_start_matches("UZ").trim_start_matches(['-', ' ']);
        return vec![("identifier".into(), format!("{RECORD_NUMBER}|UZ-{}", escape(number)))];
    }
    let mut pairs: Vec<(String, String)> =
        text.split_whitespace().take(MAX_WORDS).map(|word| pair("name", word)).collect();
    if pairs.is_empty() {
        pairs.push(("_sort".into(), "family".into()));
    }
    pairs
}

/// `,`, `|`, `$` and `\` have a meaning in search values.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, ',' | '|' | '$' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

pub(crate) fn minimal(resource: Resource) -> Result<Resource, Error> {
    let mut value = resource.into_value();
    if let Some(object) = value.as_object_mut() {
        object.retain(|name, _| {
            matches!(
                name.as_str(),
                "resourceType"
                    | "id"
                    | "meta"
                    | "active"
                    | "identifier"
                    | "name"
                    | "telecom"
                    | "gender"
                    | "birthDate"
            )
        });
        if let Some(Value::Array(identifiers)) = object.get_mut("identifier") {
            identifiers.retain(|i| i["system"] == RECORD_NUMBER);
        }
        if let Some(Value::Array(contacts)) = object.get_mut("telecom") {
            contacts.retain(|c| c["system"] == "phone");
        }
    }
    Resource::from_value(value).map_err(|o| Error::Internal(o.to_string()))
}
