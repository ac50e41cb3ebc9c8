//! How far each Subscription has come: its numbered events, what was delivered, when to look at it next.
//!
//! **Invariant:** the events of a subscription are numbered 1, 2, 3 … in the order of the change sequence;
//! [append] and the follower's cursor move in one transaction, so a number is given once.

use crate::page::clamp;
use crate::{Result, Tx, params};
use fhir::ResourceKey;
use jiff::Timestamp;

/// `Subscription.status`, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Requested,
    Active,
    Error,
    Off,
}

impl State {
    fn number(self) -> i64 {
        match self {
            State::Requested => 0,
            State::Active => 1,
            State::Error => 2,
            State::Off => 3,
        }
    }
    fn from_number(number: i64) -> State {
        match number {
            0 => State::Requested,
            1 => State::Active,
            2 => State::Error,
            _ => State::Off,
        }
    }
    /// The code of `Subscription.status`.
    pub fn code(self) -> &'static str {
        match self {
            State::Requested => "requested",
            State::Active => "active",
            State::Error => "error",
            State::Off => "off",
        }
    }
    /// The inverse of [State::code].
    pub fn from_code(code: &str) -> Option<State> {
        [State::Requested, State::Active, State::Error, State::Off].into_iter().find(|s| s.code() == code)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// Logical id of the resource.
    pub id: String,
    /// Version of the resource that this stands for.
    pub version: u32,
    /// As in the audit, e.g. `client/abc`: whoever wrote the resource last. Nobody gets more than this one may see.
    pub owner: String,
    /// Scopes of the token it was written with, space separated.
    pub scopes: String,
    pub state: State,
    /// The worker delivers it; else the subscriber comes for it (WebSocket).
    pub pushed: bool,
    /// Changes up to here do not count.
    pub start_seq: i64,
    /// Number of the newest event.
    pub events: i64,
    /// Number of the newest event that was delivered.
    pub delivered: i64,
    /// Failed tries since the last success.
    pub failures: u32,
    /// When something was last delivered.
    pub sent: Timestamp,
    /// Fencing token of the lease.
    pub token: i64,
    pub last_error: Option<String>,
}

/// What the client wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct Written<'a> {
    pub id: &'a str,
    pub version: u32,
    pub owner: &'a str,
    pub scopes: &'a str,
    pub state: State,
    pub pushed: bool,
    /// The change number of the write.
    pub seq: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interaction {
    Create,
    Update,
    Delete,
}

impl Interaction {
    fn number(self) -> i64 {
        match self {
            Interaction::Create => 0,
            Interaction::Update => 1,
            Interaction::Delete => 2,
        }
    }
    fn from_number(number: i64) -> Interaction {
        match number {
            0 => Interaction::Create,
            1 => Interaction::Update,
            _ => Interaction::Delete,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// The change number.
    pub seq: i64,
    pub interaction: Interaction,
    pub subject: ResourceKey,
    pub version: u32,
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// 1, 2, 3 …
    pub number: i64,
    pub seq: i64,
    pub interaction: Interaction,
    pub subject: ResourceKey,
    pub version: u32,
    pub at: Timestamp,
}

const COLUMNS: &str = "id, version, owner, scopes, state, pushed, start_seq, events, delivered, failures, token, last_error, \
     sent_us";

fn read(row: &crate::Row<'_>) -> Result<Subscription> {
    Ok(Subscription {
        id: row.string(0)?,
        version: row.int(1)? as u32,
        owner: row.string(2)?,
        scopes: row.string(3)?,
        state: State::from_number(row.int(4)?),
        pushed: row.bool(5)?,
        start_seq: row.int(6)?,
        events: row.int(7)?,
        delivered: row.int(8)?,
        failures: row.int(9)? as u32,
        token: row.int(10)?,
        last_error: row.opt_string(11)?,
        sent: row.time(12)?,
    })
}

/// A client wrote the resource: it is set up anew, and goes on where it was. A lease in force is lost.
pub fn written(tx: &mut dyn Tx, new: &Written<'_>) -> Result<()> {
    let due = match new.state {
        State::Off => None,
        State::Requested | State::Active | State::Error => Some(tx.now()?),
    };
    tx.execute(
        "INSERT INTO subscription (id, version, owner, scopes, state, pushed, start_seq, events, delivered, failures, \
         sent_us, due_us, until_us, token, last_error) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, 0, 0, $8, 0, 0, NULL) \
         ON CONFLICT (id) DO UPDATE SET version = excluded.version, owner = excluded.owner, scopes = excluded.scopes, \
         state = excluded.state, pushed = excluded.pushed, failures = 0, due_us = excluded.due_us, until_us = 0, \
         token = subscription.token + 1, last_error = NULL",
        params![new.id, new.version, new.owner, new.scopes, new.state.number(), new.pushed, new.seq, due],
    )?;
    tx.wake();
    Ok(())
}

/// The server itself changed `status`. Returns false if it knows no such subscription.
pub fn restated(tx: &mut dyn Tx, id: &str, version: u32, state: State) -> Result<bool> {
    // What waits is looked at again at once; what is over is not looked at any more.
    let due = match state {
        State::Active => Some(tx.now()?),
        State::Requested | State::Error | State::Off => None,
    };
    let changed = tx.execute(
        "UPDATE subscription SET version = $2, state = $3, due_us = $4, failures = CASE WHEN $3 = 1 THEN 0 ELSE failures END \
         WHERE id = $1",
        params![id, version, state.number(), due],
    )?;
    tx.wake();
    Ok(changed == 1)
}

/// A new version that changes nothing of what the subscription does: whose it is, its state and progress stay.
pub fn carried(tx: &mut dyn Tx, id: &str, version: u32) -> Result<()> {
    tx.execute("UPDATE subscription SET version = $2 WHERE id = $1", params![id, version])?;
    tx.wake();
    Ok(())
}

/// The resource was deleted.
pub fn remove(tx: &mut dyn Tx, id: &str) -> Result<()> {
    for table in ["subscription_event", "subscription_binding", "subscription_header"] {
        tx.execute(&format!("DELETE FROM {table} WHERE subscription = $1"), params![id])?;
    }
    tx.execute("DELETE FROM subscription WHERE id = $1", params![id])?;
    Ok(())
}

/// The values of `channel.header`, each as `Name: value`; empty if there are none.
pub fn headers(tx: &mut dyn Tx, id: &str) -> Result<Vec<String>> {
    let found =
        tx.one("SELECT headers FROM subscription_header WHERE subscription = $1", params![id], |row| {
            serde_json::from_str(row.text(0)?)
                .map_err(|_| crate::Error::Corrupt("subscription_header".into()))
        })?;
    Ok(found.unwrap_or_default())
}

/// Keeps them in the place of those that were there.
pub fn keep_headers(tx: &mut dyn Tx, id: &str, headers: &[String]) -> Result<()> {
    if headers.is_empty() {
        tx.execute("DELETE FROM subscription_header WHERE subscription = $1", params![id])?;
        return Ok(());
    }
    let text = serde_json::Value::from(headers.to_vec()).to_string();
    tx.execute(
        "INSERT INTO subscription_header (subscription, headers) VALUES ($1, $2) \
         ON CONFLICT (subscription) DO UPDATE SET headers = excluded.headers",
        params![id, &text],
    )?;
    Ok(())
}

pub fn load(tx: &mut dyn Tx, id: &str) -> Result<Option<Subscription>> {
    tx.one(&format!("SELECT {COLUMNS} FROM subscription WHERE id = $1"), params![id], read)
}

/// Those whose events count, at most `limit`: also while they are in error, so that nothing is lost.
pub fn live(tx: &mut dyn Tx, limit: u32) -> Result<Vec<Subscription>> {
    tx.all(
        &format!("SELECT {COLUMNS} FROM subscription WHERE state IN (1, 2) ORDER BY id LIMIT $1"),
        params![limit],
        read,
    )
}

/// How many there are that are not off.
pub fn count(tx: &mut dyn Tx) -> Result<i64> {
    Ok(tx.one("SELECT count(*) FROM subscription WHERE state <> 3", &[], |row| row.int(0))?.unwrap_or(0))
}

/// Numbers the events and stores them; nothing happens if the subscription is gone. Returns the newest number.
pub fn append(tx: &mut dyn Tx, id: &str, events: &[NewEvent]) -> Result<i64> {
    let now = tx.now()?;
    let last = tx.one(
        "UPDATE subscription SET events = events + $2, \
         due_us = CASE WHEN pushed = 1 AND state = 1 AND failures = 0 THEN $3 ELSE due_us END \
         WHERE id = $1 RETURNING events",
        params![id, events.len() as i64, now],
        |row| row.int(0),
    )?;
    let Some(last) = last else { return Ok(0) };
    let first = last - events.len() as i64 + 1;
    for (number, event) in (first..).zip(events) {
        tx.execute(
            "INSERT INTO subscription_event (subscription, number, seq, interaction, subject, version, at_us) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            params![
                id,
                number,
                event.seq,
                event.interaction.number(),
                &crate::ids::encode_key(&event.subject),
                event.version,
                event.at
            ],
        )?;
    }
    tx.wake();
    Ok(last)
}

/// Events with numbers from `first` to `last`, oldest first.
pub fn events(tx: &mut dyn Tx, id: &str, first: i64, last: i64, limit: u32) -> Result<Vec<Event>> {
    tx.all(
        "SELECT number, seq, interaction, subject, version, at_us FROM subscription_event \
         WHERE subscription = $1 AND number >= $2 AND number <= $3 ORDER BY number LIMIT $4",
        params![id, first, last, i64::from(clamp(limit))],
        |row| {
            Ok(Event {
                number: row.int(0)?,
                seq: row.int(1)?,
                interaction: Interaction::from_number(row.int(2)?),
                subject: row.key(3)?,
                version: row.int(4)? as u32,
                at: row.time(5)?,
            })
        },
    )
}

/// Takes up to `limit` subscriptions that are due, for `lease_ms`.
pub fn lease(tx: &mut dyn Tx, limit: u32, lease_ms: i64) -> Result<Vec<Subscription>> {
    let now = tx.now()?.as_microsecond();
    let sql = format!(
        "SELECT {COLUMNS} FROM subscription WHERE due_us IS NOT NULL AND due_us <= $1 AND until_us <= $1 \
         ORDER BY due_us LIMIT $2{}",
        tx.dialect().skip_locked()
    );
    let mut due = tx.all(&sql, params![now, i64::from(clamp(limit))], read)?;
    for one in &mut due {
        one.token += 1;
        tx.execute(
            "UPDATE subscription SET token = $2, until_us = $3 WHERE id = $1",
            params![&one.id, one.token, now.saturating_add(lease_ms * 1000)],
        )?;
    }
    Ok(due)
}

/// Whether any is due now, without taking it.
pub fn is_due(tx: &mut dyn Tx) -> Result<bool> {
    let now = tx.now()?;
    let found = tx.one(
        "SELECT 1 FROM subscription WHERE due_us IS NOT NULL AND due_us <= $1 AND until_us <= $1 LIMIT 1",
        params![now],
        |_| Ok(()),
    )?;
    Ok(found.is_some())
}

/// Notes what was delivered under the lease, `sent` by the clock of whoever sent it, and lengthens it. Returns the row as it is now, `None` if the lease was lost.
pub fn delivered(
    tx: &mut dyn Tx,
    id: &str,
    token: i64,
    number: i64,
    sent: Timestamp,
    lease_ms: i64,
) -> Result<Option<Subscription>> {
    let until = tx.now()?.as_microsecond().saturating_add(lease_ms * 1000);
    let changed = tx.execute(
        "UPDATE subscription SET delivered = CASE WHEN delivered < $3 THEN $3 ELSE delivered END, failures = 0, \
         last_error = NULL, sent_us = $5, until_us = $4 WHERE id = $1 AND token = $2",
        params![id, token, number, until, sent],
    )?;
    if changed == 1 { load(tx, id) } else { Ok(None) }
}

/// Counts a failed try and ends the lease; the next one is at `due`. Returns how many tries have failed in a row,
/// `None` if the lease was lost.
pub fn failed(tx: &mut dyn Tx, id: &str, token: i64, error: &str, wait_s: i64) -> Result<Option<u32>> {
    let due = tx.now()?.as_microsecond().saturating_add(wait_s * 1_000_000);
    let failures = tx.one(
        "UPDATE subscription SET failures = failures + 1, last_error = $3, due_us = $4, until_us = 0 \
         WHERE id = $1 AND token = $2 RETURNING failures",
        params![id, token, error, due],
        |row| row.int(0),
    )?;
    Ok(failures.map(|n| n as u32))
}

/// Ends the lease: due again at once if events wait, else after `wait_s`, else never. Nothing happens if it was lost.
pub fn release(tx: &mut dyn Tx, id: &str, token: i64, wait_s: Option<i64>) -> Result<()> {
    let now = tx.now()?;
    let later = wait_s.map(|s| now.as_microsecond().saturating_add(s * 1_000_000));
    tx.execute(
        "UPDATE subscription SET until_us = 0, due_us = CASE WHEN state = 1 AND pushed = 1 AND events > delivered THEN CAST($3 AS BIGINT) \
         WHEN state IN (0, 1) THEN CAST($4 AS BIGINT) ELSE NULL END WHERE id = $1 AND token = $2",
        params![id, token, now, later],
    )?;
    Ok(())
}

/// Ends the lease and leaves what is due as it is: the status was just changed.
pub fn end_lease(tx: &mut dyn Tx, id: &str, token: i64) -> Result<()> {
    tx.execute("UPDATE subscription SET until_us = 0 WHERE id = $1 AND token = $2", params![id, token])?;
    tx.wake();
    Ok(())
}

/// Removes up to 1,000 events older than `before`, delivered or not; returns how many.
pub fn prune(tx: &mut dyn Tx, before: Timestamp) -> Result<u64> {
    let now = tx.now()?;
    let bindings = tx.execute("DELETE FROM subscription_binding WHERE expires_us <= $1", params![now])?;
    let old = tx.all(
        "SELECT subscription, number FROM subscription_event WHERE at_us < $1 ORDER BY at_us LIMIT 1000",
        params![before],
        |row| Ok((row.string(0)?, row.int(1)?)),
    )?;
    for (subscription, number) in &old {
        tx.execute(
            "DELETE FROM subscription_event WHERE subscription = $1 AND number = $2",
            params![subscription, *number],
        )?;
    }
    Ok(bindings + old.len() as u64)
}

/// Keeps a token that binds a WebSocket to these subscriptions.
pub fn allow(tx: &mut dyn Tx, token_hash: &[u8; 32], ids: &[String], expires: Timestamp) -> Result<()> {
    for id in ids {
        tx.execute(
            "INSERT INTO subscription_binding (token_hash, subscription, expires_us) VALUES ($1, $2, $3) \
             ON CONFLICT DO NOTHING",
            params![token_hash, id, expires],
        )?;
    }
    Ok(())
}

/// The subscriptions that a token binds to, on the database's clock; none for a token that is unknown or too old.
pub fn allowed(tx: &mut dyn Tx, token_hash: &[u8; 32]) -> Result<Vec<String>> {
    let now = tx.now()?;
    tx.all(
        "SELECT subscription FROM subscription_binding WHERE token_hash = $1 AND expires_us > $2 ORDER BY subscription",
        params![token_hash, now],
        |row| row.string(0),
    )
}
