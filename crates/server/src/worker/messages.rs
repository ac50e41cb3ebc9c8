//! Sends the text messages that are due.

use super::{Failure, Registry};
use std::time::Duration;

/// The queue is also looked at after every commit; this is for messages whose time comes without one.
const EVERY: Duration = Duration::from_secs(2);

pub fn register(registry: &mut Registry) {
    registry.poll("messages", EVERY, |app| async move {
        match &app.parts.sms {
            Some(sms) => sms.round(&app.record).await.map_err(Failure::from),
            None => Ok(0),
        }
    });
}
