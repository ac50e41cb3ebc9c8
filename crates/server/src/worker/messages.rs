//! Sends the text messages and letters that are due.

use super::{Failure, Registry};
use crate::state::AppState;
use reach::mail::Mail;
use std::time::Duration;
use store::message::{Channel, Message, Sent};

/// The queue is also looked at after every commit; this is for messages whose time comes without one.
const EVERY: Duration = Duration::from_secs(2);
/// E-mails sent in one round.
const ROUND: u32 = 16;
/// Longer than a round of sends one after the other may take.
const LEASE_MS: i64 = 400_000;
const RETRY_MS: i64 = 30_000;

pub fn register(registry: &mut Registry) {
    registry.poll("messages", EVERY, |app| async move {
        match &app.parts.sms {
            Some(sms) => sms.round(&app.record).await.map_err(Failure::from),
            None => Ok(0),
        }
    });
    registry.poll("letters", EVERY, |app| async move { letters(&app).await.map_err(Failure::from) });
}

async fn letters(app: &AppState) -> Result<usize, record::Error> {
    if app.parts.notifications.mailer().is_none() {
        return Ok(0);
    }
    let store = app.record.store();
    let due = store.write(|tx| store::message::lease_of(tx, Channel::Email, ROUND, LEASE_MS)).await?;
    let count = due.len();
    for message in due {
        let result = send(app, &message).await;
        let (id, token) = (message.id, message.token);
        store.write(move |tx| store::message::report(tx, &id, token, &result)).await?;
    }
    Ok(count)
}

async fn send(app: &AppState, message: &Message) -> Sent {
    let Some(mailer) = app.parts.notifications.mailer() else {
        return Sent::Retry { after_ms: RETRY_MS, error: "this server sends no e-mail".into() };
    };
    // The first line is the subject.
    let (subject, text) = message.body.split_once("\n\n").unwrap_or(("Uzima", &message.body));
    match mailer.send(&Mail { to: &message.to, subject, text, attachment: None }).await {
        Ok(()) => Sent::Accepted { provider_id: None, cost: None },
        Err(error) => Sent::Retry { after_ms: RETRY_MS, error },
    }
}
