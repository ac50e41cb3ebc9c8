//! Messages to people: stored in the transaction that causes them, sent by the worker, followed by delivery reports.

use crate::ids::encode_key;
use crate::keys::blind;
use crate::page::{Cursor, clamp};
use crate::{Page, Param, Result, Tx, params};
use fhir::ResourceKey;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    Sms,
    Email,
}

/// Later states never fall back: a delivery report that overtakes the answer to the send wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Waits for the worker, or for another try.
    Queued,
    /// A worker has it.
    Sending,
    /// The provider accepted it.
    Sent,
    Delivered,
    /// The provider says it will not arrive.
    Failed,
    /// Given up after too many tries.
    Dead,
}

impl State {
    pub const ALL: [State; 6] =
        [State::Queued, State::Sending, State::Sent, State::Delivered, State::Failed, State::Dead];
    /// Stable; shown to API users.
    pub fn code(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Sending => "sending",
            State::Sent => "sent",
            State::Delivered => "delivered",
            State::Failed => "failed",
            State::Dead => "dead",
        }
    }
    pub fn from_code(code: &str) -> Option<State> {
        State::ALL.into_iter().find(|s| s.code() == code)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct NewMessage {
    pub id: Uuid,
    pub channel: Channel,
    /// E.164, or an address for e-mail.
    pub to: String,
    /// BCP-47
    pub language: String,
    /// The template it was made from, e.g. `appointment.booked`.
    pub template: String,
    pub body: String,
    pub account: Option<i64>,
    pub patient: Option<ResourceKey>,
    pub created: Timestamp,
    /// Not before.
    pub send_at: Timestamp,
    /// Useless afterwards (one-time codes): not sent any more. `None`: two days after `send_at`.
    pub expires: Option<Timestamp>,
    pub max_attempts: u32,
}

impl NewMessage {
    /// An SMS for now, with four tries.
    pub fn sms(
        to: impl Into<String>,
        language: impl Into<String>,
        template: impl Into<String>,
        body: impl Into<String>,
        now: Timestamp,
        id: Uuid,
    ) -> NewMessage {
        NewMessage {
            id,
            channel: Channel::Sms,
            to: to.into(),
            language: language.into(),
            template: template.into(),
            body: body.into(),
            account: None,
            patient: None,
            created: now,
            send_at: now,
            expires: None,
            max_attempts: 4,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub id: Uuid,
    pub channel: Channel,
    pub to: String,
    pub language: String,
    pub template: String,
    pub body: String,
    pub account: Option<i64>,
    pub patient: Option<ResourceKey>,
    pub state: State,
    pub provider_id: Option<String>,
    /// What the provider charged, as it wrote it, e.g. `KES 0.8000`.
    pub cost: Option<String>,
    pub attempts: u32,
    pub max_attempts: u32,
    /// The last error, provider's words.
    pub error: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
    /// Fencing token of the lease; needed to report the result.
    pub token: i64,
    number: i64,
}

fn number(channel: Channel) -> i64 {
    match channel {
        Channel::Sms => 1,
        Channel::Email => 2,
    }
}

/// [lease_of] text messages.
pub fn lease(tx: &mut dyn Tx, limit: u32, lease_ms: i64) -> Result<Vec<Message>> {
    lease_of(tx, Channel::Sms, limit, lease_ms)
}

const RECIPIENT: &str = "message.recipient";
const BODY: &str = "message.body";
const EXPIRY: SignedDuration = SignedDuration::from_hours(48);

pub fn insert(tx: &mut dyn Tx, new: &NewMessage) -> Result<()> {
    let patient = new.patient.as_ref().map(encode_key);
    let expires = new.expires.or_else(|| new.send_at.checked_add(EXPIRY).ok()).unwrap_or(new.send_at);
    let (to, body) = (blind::value(tx, RECIPIENT, &new.to)?, blind::words(tx, BODY, &new.body)?);
    tx.execute(
        "INSERT INTO message (id, channel, recipient, language, template, body, account, patient, state, attempts, \
         max_attempts, due_us, expires_us, created_us, updated_us, token) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'queued', 0, $9, $10, $11, $12, $12, 0)",
        params![
            &new.id,
            number(new.channel),
            &*to,
            &new.language,
            &new.template,
            &*body,
            new.account,
            patient.as_ref(),
            new.max_attempts,
            new.send_at,
            expires,
            new.created
        ],
    )?;
    tx.wake();
    Ok(())
}

/// Takes up to `limit` messages of this channel that are due, for `lease_ms`; a worker that dies loses them after that
/// time. Expired ones become [State::Dead] instead.
pub fn lease_of(tx: &mut dyn Tx, channel: Channel, limit: u32, lease_ms: i64) -> Result<Vec<Message>> {
    let now = tx.now()?.as_microsecond();
    tx.execute(
        "UPDATE message SET state = 'dead', error = 'expired', updated_us = $1 \
         WHERE state IN ('queued', 'sending') AND due_us <= $1 AND (expires_us <= $1 OR attempts >= max_attempts)",
        params![now],
    )?;
    let sql = format!(
        "SELECT {COLUMNS} FROM message WHERE state IN ('queued', 'sending') AND due_us <= $1 AND channel = $3 \
         ORDER BY due_us, number LIMIT $2{}",
        tx.dialect().skip_locked()
    );
    let mut messages = tx.all(&sql, params![now, i64::from(clamp(limit)), number(channel)], read)?;
    for message in &mut messages {
        message.token += 1;
        message.attempts += 1;
        message.state = State::Sending;
        tx.execute(
            "UPDATE message SET state = 'sending', attempts = $2, token = $3, due_us = $4, updated_us = $5 WHERE id = $1",
            params![&message.id, message.attempts, message.token, now.saturating_add(lease_ms * 1000), now],
        )?;
    }
    Ok(messages)
}

/// What came of one try to send.
#[derive(Debug, Clone, PartialEq)]
pub enum Sent {
    Accepted {
        provider_id: Option<String>,
        cost: Option<String>,
    },
    /// Try again after this time, unless the tries are used up.
    Retry {
        after_ms: i64,
        error: String,
    },
    Failed {
        error: String,
    },
}

/// Reports the result of a leased send. Returns false if another worker has taken the message since.
pub fn report(tx: &mut dyn Tx, id: &Uuid, token: i64, result: &Sent) -> Result<bool> {
    let now = tx.now()?.as_microsecond();
    let changed = match result {
        Sent::Accepted { provider_id, cost } => tx.execute(
            // A delivery report may have arrived first, under the provider's id: it is merged below.
            "UPDATE message SET state = CASE WHEN state = 'sending' THEN 'sent' ELSE state END, provider_id = $3, \
             cost = coalesce($4, cost), error = NULL, updated_us = $5 WHERE id = $1 AND token = $2",
            params![id, token, provider_id.as_ref(), cost.as_ref(), now],
        )?,
        Sent::Retry { after_ms, error } => tx.execute(
            "UPDATE message SET state = CASE WHEN attempts >= max_attempts THEN 'dead' ELSE 'queued' END, \
             error = $3, due_us = $4, updated_us = $5 WHERE id = $1 AND token = $2 AND state = 'sending'",
            params![id, token, error, now.saturating_add(after_ms * 1000), now],
        )?,
        Sent::Failed { error } => tx.execute(
            "UPDATE message SET state = 'failed', error = $3, updated_us = $4 \
             WHERE id = $1 AND token = $2 AND state = 'sending'",
            params![id, token, error, now],
        )?,
    };
    if changed == 1
        && let Sent::Accepted { provider_id: Some(provider_id), .. } = result
    {
        let early = tx.one(
            "SELECT state, error FROM message_report WHERE provider_id = $1",
            params![provider_id],
            |row| Ok((row.string(0)?, row.opt_string(1)?)),
        )?;
        if let Some((state, error)) = early {
            apply_report(tx, provider_id, &state, error.as_deref(), now)?;
            tx.execute("DELETE FROM message_report WHERE provider_id = $1", params![provider_id])?;
        }
    }
    Ok(changed == 1)
}

/// A delivery report of the provider. Reports in any order and more than once end in the same state:
/// delivered and failed are final, and a report for an id not known yet is kept until the send is reported.
/// Returns whether a message changed.
pub fn delivery(tx: &mut dyn Tx, provider_id: &str, state: State, error: Option<&str>) -> Result<bool> {
    let now = tx.now()?.as_microsecond();
    let known = tx.one("SELECT 1 FROM message WHERE provider_id = $1", params![provider_id], |_| Ok(()))?;
    if known.is_some() {
        return apply_report(tx, provider_id, state.code(), error, now);
    }
    tx.execute(
        "INSERT INTO message_report (provider_id, state, error, at_us) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (provider_id) DO UPDATE SET state = excluded.state, error = excluded.error, at_us = excluded.at_us \
         WHERE message_report.state NOT IN ('delivered', 'failed')",
        params![provider_id, state.code(), error, now],
    )?;
    Ok(false)
}

fn apply_report(
    tx: &mut dyn Tx,
    provider_id: &str,
    state: &str,
    error: Option<&str>,
    now: i64,
) -> Result<bool> {
    let changed = tx.execute(
        "UPDATE message SET state = $2, error = $3, updated_us = $4 WHERE provider_id = $1 \
         AND state NOT IN ('delivered', 'failed') AND state <> $2",
        params![provider_id, state, error, now],
    )?;
    Ok(changed > 0)
}

/// Puts a failed or dead message back into the queue with fresh tries. Returns whether it was one.
pub fn requeue(tx: &mut dyn Tx, id: &Uuid) -> Result<bool> {
    let now = tx.now()?;
    let changed = tx.execute(
        "UPDATE message SET state = 'queued', attempts = 0, provider_id = NULL, error = NULL, due_us = $2, \
         expires_us = $3, updated_us = $2 WHERE id = $1 AND state IN ('failed', 'dead')",
        params![id, now, now.checked_add(EXPIRY).unwrap_or(now)],
    )?;
    tx.wake();
    Ok(changed == 1)
}

pub fn load(tx: &mut dyn Tx, id: &Uuid) -> Result<Option<Message>> {
    tx.one(&format!("SELECT {COLUMNS} FROM message WHERE id = $1"), params![id], read)
}

/// Which messages to list; empty fields do not restrict.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub to: Option<String>,
    pub patient: Option<ResourceKey>,
    pub state: Option<State>,
    pub template: Option<String>,
}

/// Messages, newest first.
pub fn list(tx: &mut dyn Tx, filter: &Filter, cursor: Option<&str>, limit: u32) -> Result<Page<Message>> {
    let (limit, start) = (clamp(limit), Cursor::newest_or(cursor)?);
    let patient = filter.patient.as_ref().map(encode_key);
    let to = blind::opt_value(tx, RECIPIENT, filter.to.as_ref())?;
    let mut sql =
        format!("SELECT {COLUMNS} FROM message WHERE (created_us < $1 OR (created_us = $1 AND number < $2))");
    let mut values: Vec<Param<'_>> = params![start.time_us, start.number].to_vec();
    let optional: [(&str, Option<Param<'_>>); 4] = [
        ("recipient", to.as_ref().map(Into::into)),
        ("patient", patient.as_ref().map(Into::into)),
        ("state", filter.state.map(|s| Param::Text(s.code()))),
        ("template", filter.template.as_ref().map(Into::into)),
    ];
    for (column, value) in optional {
        if let Some(value) = value {
            values.push(value);
            sql.push_str(&format!(" AND {column} = ${}", values.len()));
        }
    }
    values.push(i64::from(limit + 1).into());
    sql.push_str(&format!(" ORDER BY created_us DESC, number DESC LIMIT ${}", values.len()));
    let rows = tx.all(&sql, &values, read)?;
    Ok(Page::cut(rows, limit, |m| Cursor { time_us: m.created.as_microsecond(), number: m.number }))
}

/// Messages per state, of those created in [from, until).
pub fn counts(tx: &mut dyn Tx, from: Timestamp, until: Timestamp) -> Result<Vec<(State, i64)>> {
    tx.all(
        "SELECT state, count(*) FROM message WHERE created_us >= $1 AND created_us < $2 GROUP BY state ORDER BY state",
        params![from, until],
        |row| Ok((state(row.text(0)?)?, row.int(1)?)),
    )
}

/// When the next message is due, so that a worker knows how long it may sleep.
pub fn next_due(tx: &mut dyn Tx) -> Result<Option<Timestamp>> {
    let due = tx.one("SELECT min(due_us) FROM message WHERE state IN ('queued', 'sending')", &[], |row| {
        row.opt_time(0)
    })?;
    Ok(due.flatten())
}

const COLUMNS: &str = "id, channel, recipient, language, template, body, account, patient, state, provider_id, cost, \
     attempts, max_attempts, error, created_us, updated_us, token, number";

fn state(code: &str) -> Result<State> {
    State::from_code(code).ok_or_else(|| crate::Error::Corrupt("message state".into()))
}

fn read(row: &crate::Row<'_>) -> Result<Message> {
    Ok(Message {
        id: row.uuid(0)?,
        channel: if row.int(1)? == 1 { Channel::Sms } else { Channel::Email },
        to: row.value(2, RECIPIENT)?,
        language: row.string(3)?,
        template: row.string(4)?,
        body: row.value(5, BODY)?,
        account: row.opt_int(6)?,
        patient: row.opt_key(7)?,
        state: state(row.text(8)?)?,
        provider_id: row.opt_string(9)?,
        cost: row.opt_string(10)?,
        attempts: row.int(11)? as u32,
        max_attempts: row.int(12)? as u32,
        error: row.opt_string(13)?,
        created: row.time(14)?,
        updated: row.time(15)?,
        token: row.int(16)?,
        number: row.int(17)?,
    })
}
