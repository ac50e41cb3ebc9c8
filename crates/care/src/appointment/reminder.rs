//! Reminders, and claims for appointments that came in by import.

use super::Status;
use super::plan::message;
use super::resource::{Facts, read};
use crate::clinic::Clinic;
use crate::element::{instant, key, text};
use crate::texts::Notice;
use access::Ctx;
use record::{ChangeSet, Effect, Error, Record};
use serde_json::Value;

/// Queue of the jobs that booking makes; data `{"appointment", "start", "before": "day"|"hour"}`.
pub const REMINDER_QUEUE: &str = "reminder";

/// Runs one reminder job: an SMS, if the visit is still at this time and has not begun.
///
/// `job` is the id of the job; it names the message, so that a job that runs twice sends one message.
/// Errors: of `record`; a visit that is gone, moved or closed is no error.
pub async fn remind(record: &Record, clinic: &Clinic, job: i64, data: &Value) -> Result<(), Error> {
    let ctx = Ctx::system("reminders", record.now());
    let Some(id) = text(data, "/appointment") else { return Ok(()) };
    let Some((appointment, _)) = record.load(&ctx, &key("Appointment", id)).await? else { return Ok(()) };
    let Some(facts) = read(&appointment) else { return Ok(()) };
    let moved = instant(data, "/start") != Some(facts.span.start);
    if moved || facts.status != Status::Booked || facts.span.start <= ctx.now {
        return Ok(());
    }
    let Some((patient, _)) = record.load(&ctx, &facts.patient).await? else { return Ok(()) };
    let notice = match text(data, "/before") {
        Some("day") => Notice::TomorrowReminder,
        _ => Notice::SoonReminder,
    };
    let mut set = ChangeSet::default();
    let message_id =
        uuid::Uuid::from_u128(u128::from(job.unsigned_abs()) | (0x0075_7a69_6d61_7265_u128 << 64));
    message(&mut set, &facts, notice, &patient, clinic, message_id, ctx.now);
    if set.effects.is_empty() {
        return Ok(());
    }
    let ctx = Ctx { idempotency_key: Some(format!("reminder-{job}")), ..ctx };
    record.command(&ctx, "appointment.remind", set).await.map(|_| ())
}

/// Appointments claimed in one transaction.
const ADOPT_BATCH: usize = 100;

/// Claims the times of coming appointments that were imported as plain resources. Safe to run again.
///
/// Returns how many are claimed now, and how many overlap others and could not be.
/// Errors: of `record` other than overlaps.
pub async fn adopt(record: &Record, limit: u32) -> Result<(usize, usize), Error> {
    let ctx = Ctx::system("adopt-appointments", record.now());
    let from = format!("ge{}", ctx.now);
    let parameters = [("date", from.as_str()), ("status", "booked,arrived,pending,checked-in")];
    let rows = record.find(&ctx, "Appointment", &parameters, limit).await?;
    let all: Vec<Facts> = rows.iter().filter_map(|(appointment, _)| read(appointment)).collect();
    let (mut claimed, mut overlapping) = (0, 0);
    for batch in all.chunks(ADOPT_BATCH) {
        if claim(record, &ctx, batch).await? {
            claimed += batch.len();
            continue;
        }
        // One of them overlaps: find out which.
        for one in batch {
            if claim(record, &ctx, std::slice::from_ref(one)).await? {
                claimed += 1;
            } else {
                overlapping += 1;
            }
        }
    }
    Ok((claimed, overlapping))
}

/// Whether all of these could be claimed; otherwise none is. Errors: of `record` other than overlaps.
async fn claim(record: &Record, ctx: &Ctx, appointments: &[Facts]) -> Result<bool, Error> {
    let claims = appointments.iter().flat_map(|facts| {
        [&facts.provider, &facts.patient].map(|actor| Effect::Claim {
            actor: actor.clone(),
            start: facts.span.start,
            end: facts.span.end,
            by: facts.key.clone(),
        })
    });
    let set = ChangeSet { effects: claims.collect(), ..ChangeSet::default() };
    match record.command(ctx, "appointment.adopt", set).await {
        Ok(_) => Ok(true),
        // Taken by another, or not on five-minute marks.
        Err(Error::Duplicate(_) | Error::Rule(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
