//! Whether who is in a call may still be there. The join request asked it once; a grant to act is withdrawn, a role is
//! taken, a consent denied, an appointment cancelled while the call goes on.

use crate::state::AppState;
use access::Ctx;
use care::consultation::{Part, Standing};
use jiff::Timestamp;
use reach::consult::Role;
use record::events::LiveEvent;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

/// It is asked this often, besides at once when something happens that may have ended it.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// A part in a call as the call knows it.
pub fn role_of(part: Part) -> Role {
    match part {
        Part::Patient => Role::Patient,
        Part::Clinician => Role::Clinician,
    }
}

/// Why somebody may be in a call no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Her right to be in it has ended.
    Out,
    /// Her sign-in has ended.
    SignedOut,
    /// The visit has ended for everybody.
    Over,
}

/// Somebody's part in a call.
pub struct Taking {
    pub visit: String,
    pub account: i64,
    pub role: Role,
    /// As she came; what counts is what she is when it is asked.
    ctx: Ctx,
    /// Whose visit it is; empty before it was asked.
    patient: String,
}

impl Taking {
    pub fn new(visit: String, account: i64, role: Role, ctx: Ctx) -> Taking {
        Taking { visit, account, role, ctx, patient: String::new() }
    }

    /// Asks now; None while she may stay. A question that cannot be asked, because the database is busy, puts nobody out:
    /// it is asked again.
    pub async fn ask(&mut self, app: &AppState) -> Option<Ending> {
        match self.answer(app).await {
            Ok(Ok(patient)) => {
                self.patient = patient;
                None
            }
            Ok(Err(ending)) => Some(ending),
            Err(error) => {
                tracing::warn!(%error, "whether somebody may stay in a call could not be asked");
                None
            }
        }
    }

    /// The patient of the visit, or why she may stay no longer.
    async fn answer(&self, app: &AppState) -> Result<Result<String, Ending>, record::Error> {
        let Some(ctx) = app.record.caller_now(&self.ctx).await? else { return Ok(Err(Ending::SignedOut)) };
        Ok(match care::consultation::standing(&app.record, &ctx, &self.visit).await? {
            // Who came for a patient, and may come as a clinician now, has to come as one.
            Standing::In { part, patient } if role_of(part) == self.role => Ok(patient.id),
            Standing::In { .. } | Standing::Out => Err(Ending::Out),
            Standing::Over => Err(Ending::Over),
        })
    }

    /// Resolves when she may stay no longer.
    pub async fn ended(&mut self, app: &AppState) -> Ending {
        let mut events = app.record.subscribe();
        let mut turns = tokio::time::interval_at(Instant::now() + ASK_EVERY, ASK_EVERY);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = turns.tick() => {}
                event = events.recv() => match event {
                    Ok(event) if !self.is_concerned(&event) => continue,
                    // What was missed may have been about her.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    // The record is going away, and the socket with it.
                    Err(RecvError::Closed) => std::future::pending().await,
                },
            }
            if let Some(ending) = self.ask(app).await {
                return ending;
            }
        }
    }

    /// Whether what happened may have ended her right.
    fn is_concerned(&self, event: &LiveEvent) -> bool {
        let is_patients = || event.subject.id == self.patient || event.patients.contains(&self.patient);
        match event.subject.kind.name() {
            "Appointment" | "Encounter" => event.subject.id == self.visit,
            "Consent" => is_patients(),
            _ => event.topic == "rights.changed" || (event.topic.starts_with("proxy.") && is_patients()),
        }
    }

    /// Ends what her relay credentials of this call opened, and the credentials.
    pub fn end_relay(&self, app: &AppState) {
        if let Some(turn) = &app.parts.calls.turn {
            turn.put_out(&self.account.to_string(), &self.visit, Timestamp::now());
        }
    }

    /// Tells the trail, once, that she was refused what she had. A sign-out is in it already.
    pub async fn note(&self, app: &AppState, ending: Ending) {
        if ending == Ending::Out {
            let what = format!("GET /ws/consultation/{}", self.visit);
            let patient = Some(self.patient.as_str()).filter(|patient| !patient.is_empty());
            app.record.note_refusal(&self.ctx, true, &what, patient).await;
        }
    }
}
