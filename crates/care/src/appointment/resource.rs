//! The booked visit as a FHIR Appointment.

use super::Status;
use crate::element::{self, array, coding, extension, instant, set_extension, target, text, version};
use crate::hidden;
use crate::schedule::Kind;
use crate::slot::Span;
use crate::view::Money;
use crate::vocabulary::{FEE, LANGUAGE, VISIT_KIND};
use fhir::{Resource, ResourceKey};
use jiff::Timestamp;
use serde_json::json;

/// What the domain knows of an Appointment.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    pub key: ResourceKey,
    pub version: u32,
    pub status: Status,
    pub kind: Kind,
    pub span: Span,
    pub reason: String,
    /// Something of it was taken out for who reads it.
    pub reason_hidden: bool,
    pub patient: ResourceKey,
    pub patient_name: String,
    pub provider: ResourceKey,
    pub provider_name: String,
    pub fee: Option<Money>,
    pub language: Option<String>,
    pub created: Option<Timestamp>,
    pub cancel_reason: Option<String>,
}

/// Reads an Appointment; `None` if it has no time, patient or practitioner, or a status Uzima does not know.
/// Without a kind (imported data) it is a visit in person.
pub fn read(appointment: &Resource) -> Option<Facts> {
    let value = appointment.value();
    let actor = |name: &str| {
        array(value, "participant").iter().find_map(|p| {
            let key = target(p.get("actor")?).filter(|key| key.kind.name() == name)?;
            Some((key, element::owned(p, "/actor/display")))
        })
    };
    let (patient, patient_name) = actor("Patient")?;
    let (provider, provider_name) = actor("Practitioner")?;
    let kind = array(value, "serviceType").iter().find_map(|c| Kind::from_code(coding(c, VISIT_KIND)?.0));
    let reason = array(value, "reasonCode").iter().map(element::words).find(|words| !words.is_empty());
    Some(Facts {
        key: appointment.key()?,
        version: version(appointment),
        status: Status::from_fhir(appointment.text("status")?)?,
        kind: kind.unwrap_or(Kind::InPerson),
        span: Span { start: instant(value, "/start")?, end: instant(value, "/end")? },
        reason: reason.unwrap_or_else(|| element::owned(value, "/description")),
        reason_hidden: hidden::is_reason_hidden(appointment),
        patient,
        patient_name,
        provider,
        provider_name,
        fee: extension(value, FEE).and_then(|e| Money::read(e.get("valueMoney")?)),
        language: extension(value, LANGUAGE).and_then(|e| text(e, "/valueCode")).map(str::to_owned),
        created: instant(value, "/created"),
        cancel_reason: value.get("cancelationReason").map(element::words).filter(|words| !words.is_empty()),
    })
}

/// Sets kind, time and fee.
pub fn place(appointment: &mut Resource, kind: Kind, span: Span, fee: Option<&Money>) {
    let minutes = span.end.duration_since(span.start).as_mins();
    appointment.set("serviceType", json!([element::concept(VISIT_KIND, kind.code(), kind.display())]));
    appointment.set("start", json!(element::written(span.start)));
    appointment.set("end", json!(element::written(span.end)));
    appointment.set("minutesDuration", json!(minutes));
    let fee = fee.map(|money| json!({"url": FEE, "valueMoney": money.to_fhir()}));
    set_extension(appointment.value_mut(), FEE, fee);
}
