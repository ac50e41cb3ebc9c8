//! What a committed event means to a browser: a frame with ids only.

use crate::state::App;
use access::Ctx;
use axum::extract::ws::Utf8Bytes;
use fhir::{Resource, ResourceKey};
use jiff::Timestamp;
use record::Error;
use record::events::LiveEvent;
use serde_json::{Value, json};

/// Who may get a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Whoever may read the event's subject.
    Readers,
    /// Everybody signed in: free times of a provider changed.
    Everybody,
    /// One account: for whom it acts changed.
    Account(i64),
}

/// One message to browsers.
#[derive(Debug, Clone)]
pub struct Frame {
    pub audience: Audience,
    pub kind: &'static str,
    pub text: Utf8Bytes,
}

impl Frame {
    /// `{"type":…,"seq":…,"data":…}`
    pub fn new(audience: Audience, kind: &'static str, seq: i64, data: &Value) -> Frame {
        Frame { audience, kind, text: json!({"type": kind, "seq": seq, "data": data}).to_string().into() }
    }
}

/// Whether an event can become a frame at all; decided without reading anything.
pub fn is_live(event: &LiveEvent) -> bool {
    event.topic.starts_with("payment.")
        || event.topic.starts_with("proxy.")
        || (event.topic.starts_with("resource.")
            && matches!(
                event.subject.kind.name(),
                "Appointment" | "Encounter" | "Invoice" | "Schedule" | "Communication" | "Task"
            ))
}

/// The frames of one event; reads the subject for the ids that go along. Errors: as `Record::load`.
pub async fn frames(app: &App, event: &LiveEvent) -> Result<Vec<Frame>, Error> {
    let seq = event.seq;
    let id = &event.subject.id;
    let readers = |kind, data: &Value| Frame::new(Audience::Readers, kind, seq, data);
    if event.topic.starts_with("proxy.") {
        // Who lost the right is no reader any more, and is the one whose screen must empty.
        let grant = event.data.get("proxy").and_then(Value::as_str).and_then(|id| id.parse().ok());
        let Some(grant) = grant else { return Ok(Vec::new()) };
        let found = app.record.store_read(move |tx| store::proxy::load(tx, &grant)).await?;
        let frame = |proxy: store::proxy::Proxy| {
            Frame::new(Audience::Account(proxy.account), "acting_changed", seq, &json!({}))
        };
        return Ok(found.map(frame).into_iter().collect());
    }
    if event.topic.starts_with("payment.") {
        let payment =
            event.data.get("payment_id").or_else(|| event.data.get("id")).cloned().unwrap_or_default();
        let state = event.data.get("state").cloned().unwrap_or_default();
        return Ok(vec![readers("payment_changed", &json!({"id": payment, "state": state}))]);
    }
    Ok(match event.subject.kind.name() {
        "Appointment" => {
            let subject = subject(app, &event.subject).await?;
            let provider = subject.as_ref().and_then(provider_of);
            let date = subject.as_ref().and_then(|s| s.text("start")).and_then(|start| {
                let at: Timestamp = start.parse().ok()?;
                Some(at.to_zoned(app.timezone.clone()).date().to_string())
            });
            let mut frames = vec![readers(
                "appointment_changed",
                &json!({"id": id, "provider_id": provider, "date": date}),
            )];
            if let Some(provider) = provider {
                frames.push(schedule_changed(seq, &provider));
            }
            frames
        }
        "Schedule" => {
            let provider = subject(app, &event.subject).await?.as_ref().and_then(provider_of);
            provider.map(|provider| schedule_changed(seq, &provider)).into_iter().collect()
        }
        "Encounter" => {
            let subject = subject(app, &event.subject).await?;
            let visit = subject.as_ref().and_then(care::consultation::read);
            let state = visit.map(|visit| visit.state.code());
            vec![readers("consultation_changed", &json!({"id": id, "state": state}))]
        }
        "Invoice" => vec![readers("invoice_changed", &json!({"id": id}))],
        "Communication" => vec![readers("message_received", &json!({"id": id}))],
        "Task" => vec![readers("duplicate_changed", &json!({"id": id}))],
        _ => Vec::new(),
    })
}

fn schedule_changed(seq: i64, provider: &str) -> Frame {
    Frame::new(Audience::Everybody, "schedule_changed", seq, &json!({"provider_id": provider}))
}

async fn subject(app: &App, key: &ResourceKey) -> Result<Option<Resource>, Error> {
    let ctx = Ctx::system("live", app.record.now());
    Ok(app.record.load(&ctx, key).await?.map(|(resource, _)| resource))
}

/// The first Practitioner among participants or actors.
fn provider_of(resource: &Resource) -> Option<String> {
    let participants = resource.get("participant").and_then(Value::as_array).into_iter().flatten();
    let actors = resource.get("actor").and_then(Value::as_array).into_iter().flatten();
    let references = participants.filter_map(|p| p["actor"]["reference"].as_str());
    references
        .chain(actors.filter_map(|a| a["reference"].as_str()))
        .find_map(|text| text.strip_prefix("Practitioner/").map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_provider_is_the_practitioner() {
        let parse = |value: Value| Resource::from_value(value).unwrap();
        let appointment = parse(json!({"resourceType": "Appointment", "participant": [
            {"actor": {"reference": "Patient/1"}}, {"actor": {"reference": "Practitioner/2"}}]}));
        let schedule = parse(json!({"resourceType": "Schedule", "actor": [{"reference": "Practitioner/3"}]}));
        assert_eq!(provider_of(&appointment).as_deref(), Some("2"));
        assert_eq!(provider_of(&schedule).as_deref(), Some("3"));
        assert_eq!(provider_of(&parse(json!({"resourceType": "Schedule"}))), None);
    }
}
