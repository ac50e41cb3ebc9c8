//! Who did what to whose record. Rows are only ever added; triggers refuse anything else but the removal of what is old
//! enough, see [prune].

pub mod affected;
pub mod anchor;
pub mod check;
pub mod feed;
pub mod leaf;
pub mod merkle;
pub mod prune;
pub mod tree;

use crate::ids::{decode_ids, encode_id, encode_ids};
use crate::keys::blind;
use crate::page::{Cursor, clamp};
use crate::{Page, Param, Result, Tx, params};
use access::Purpose;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Success,
    Denied,
    Failed,
}

impl Outcome {
    /// Stable; shown to API users.
    pub fn code(self) -> &'static str {
        match self {
            Outcome::Success => "success",
            Outcome::Denied => "denied",
            Outcome::Failed => "failed",
        }
    }
    fn number(self) -> i64 {
        match self {
            Outcome::Success => 0,
            Outcome::Denied => 1,
            Outcome::Failed => 2,
        }
    }
    fn from_number(number: i64) -> Outcome {
        match number {
            0 => Outcome::Success,
            1 => Outcome::Denied,
            _ => Outcome::Failed,
        }
    }
}

/// Its JSON is how the journal keeps it for a moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub at: Timestamp,
    /// `create`, `read`, `query`, … and command names such as `appointment.book`.
    pub action: String,
    pub outcome: Outcome,
    /// `account/7`, `client/abc`, `system/reminders`, `anonymous`.
    pub agent: String,
    pub agent_display: String,
    /// Role codes, comma separated, as they were at the time.
    pub role: String,
    pub address: Option<IpAddr>,
    pub request_id: String,
    #[serde(with = "purpose_as_number")]
    pub purpose: Purpose,
    /// `Type/id` (with `/_history/n` for a version) or `Type?parameters`; "" if none.
    pub what: String,
    /// Ids of the patients concerned.
    pub patients: Vec<String>,
    /// First bytes of the hash of the session's token.
    pub session: Option<[u8; 8]>,
    /// Id of the OAuth client that acted for the agent; "" if none did.
    pub client: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub seq: i64,
    pub event: Event,
}

/// Which rows to list; empty fields do not restrict.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub patient: Option<String>,
    /// As in [Event::agent].
    pub agent: Option<String>,
    pub action: Option<String>,
    /// Any of these actions; empty: any at all.
    pub actions: Vec<String>,
    /// None of these actions.
    pub without: Vec<String>,
    pub outcome: Option<Outcome>,
    pub purpose: Option<Purpose>,
    /// Id of an OAuth client.
    pub client: Option<String>,
    /// Not by this agent.
    pub not_agent: Option<String>,
    /// Only rows with this number.
    pub seq: Option<i64>,
    pub session: Option<[u8; 8]>,
    pub address: Option<IpAddr>,
    /// `Type/id`, as [Event::what] was given.
    pub target: Option<fhir::ResourceKey>,
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// By the code, so that a purpose that is not known here yet is still another than those that are.
fn purpose_number(purpose: Purpose) -> i64 {
    match purpose.code() {
        "TREAT" => 0,
        "HPAYMT" => 1,
        "HOPERAT" => 2,
        "PATRQT" => 3,
        "BTG" => 5,
        _ => 4,
    }
}

fn purpose(number: i64) -> Purpose {
    match number {
        0 => Purpose::Treatment,
        1 => Purpose::Payment,
        2 => Purpose::Operations,
        3 => Purpose::PatientRequest,
        5 => Purpose::Emergency,
        _ => Purpose::System,
    }
}

mod purpose_as_number {
    use super::Purpose;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(purpose: &Purpose, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(super::purpose_number(*purpose))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Purpose, D::Error> {
        Ok(super::purpose(i64::deserialize(from)?))
    }
}

fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Longest text of a query kept; what is longer is cut.
pub const MAX_WHAT_BYTES: usize = 2000;

/// Longest agent with roles and name; what is longer is cut.
const MAX_AGENT_BYTES: usize = 1000;

fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// Adds events, in order. For reads use [crate::Store::append_audit], which shares a commit with others.
pub fn append(tx: &mut dyn Tx, events: &[Event]) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let mut stored = Vec::with_capacity(events.len());
    let mut whats = Vec::with_capacity(events.len());
    for event in events {
        stored.push(Stored::new(tx, event)?);
        // What was searched for may be somebody's number.
        let what = cut(&event.what, MAX_WHAT_BYTES);
        whats.push(if what.contains('?') { blind::words(tx, WHAT, what)? } else { what.into() });
    }
    let mut rows: Vec<Param<'_>> = Vec::with_capacity(events.len() * COLUMNS);
    let mut patients: Vec<Param<'_>> = Vec::with_capacity(events.len() * 2);
    for ((event, s), what) in events.iter().zip(&stored).zip(&whats) {
        let what = if s.target.is_some() { None } else { Some(&**what) };
        rows.extend_from_slice(params![
            s.seq,
            event.at,
            s.action,
            event.outcome.number(),
            s.agent,
            s.agent_details,
            s.address.as_ref(),
            s.request.as_ref(),
            purpose_number(event.purpose),
            s.target.as_ref(),
            what,
            s.patients.as_ref(),
            event.session.as_ref().map(|id| &id[..]),
            s.client
        ]);
        for patient in &s.patient_ids {
            patients.extend_from_slice(params![patient, s.seq]);
        }
    }
    tx.insert_many(
        "INSERT INTO audit (seq, at_us, action, outcome, agent, agent_details, address, request, purpose, target, \
         what, patients, session, client)",
        "",
        COLUMNS,
        &rows,
    )?;
    if !patients.is_empty() {
        tx.insert_many("INSERT INTO audit_patient (patient, seq)", "ON CONFLICT DO NOTHING", 2, &patients)?;
    }
    Ok(())
}

const COLUMNS: usize = 14;

/// An event in the forms that are bound.
struct Stored {
    seq: i64,
    action: Option<i64>,
    agent: Option<i64>,
    agent_details: Option<i64>,
    address: Option<Vec<u8>>,
    request: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    patients: Option<Vec<u8>>,
    patient_ids: Vec<Vec<u8>>,
    client: Option<i64>,
}

impl Stored {
    fn new(tx: &mut dyn Tx, event: &Event) -> Result<Stored> {
        // Small sets of our own words; the agent's name and role would cost 30 bytes a row otherwise.
        // A patient's name stands in the account only, and goes with it.
        let display = if is_of_people(&event.role) { "" } else { &event.agent_display };
        let details = format!("{}\n{}\n{display}", event.agent, event.role);
        let client = match event.client.as_str() {
            "" => None,
            client => tx.term(cut(client, MAX_AGENT_BYTES), true)?,
        };
        Ok(Stored {
            seq: tx.next(crate::Counter::Audit)?,
            action: tx.term(cut(&event.action, MAX_AGENT_BYTES), true)?,
            agent: tx.term(cut(&event.agent, MAX_AGENT_BYTES), true)?,
            agent_details: tx.term(cut(&details, MAX_AGENT_BYTES), true)?,
            address: event.address.map(address_bytes),
            request: (!event.request_id.is_empty()).then(|| encode_id(&event.request_id)),
            target: fhir::ResourceKey::parse(&event.what).map(|key| crate::ids::encode_key(&key)),
            patients: encode_ids(&event.patients),
            patient_ids: event.patients.iter().map(|p| encode_id(p)).collect(),
            client,
        })
    }
}

/// Columns that [read] takes.
const READ: &str = "a.seq, a.at_us, a.action, a.outcome, a.agent_details, a.address, a.request, a.purpose, a.what, \
     a.patients, a.target, a.session, a.client";

/// A row, and the numbers of its action, agent and client.
fn read(row: &crate::Row<'_>) -> Result<(i64, i64, Option<i64>, Row)> {
    let event = Event {
        at: row.time(1)?,
        action: String::new(),
        outcome: Outcome::from_number(row.int(3)?),
        agent: String::new(),
        agent_display: String::new(),
        role: String::new(),
        address: row.opt_bytes(5)?.and_then(address),
        request_id: row.opt_bytes(6)?.map(crate::ids::decode_id).transpose()?.unwrap_or_default(),
        purpose: purpose(row.int(7)?),
        what: match row.opt_key(10)? {
            Some(key) => key.to_string(),
            None => row.opt_value(8, WHAT)?.unwrap_or_default(),
        },
        patients: decode_ids(row.opt_bytes(9)?)?,
        session: row.opt_bytes(11)?.and_then(|bytes| bytes.try_into().ok()),
        client: String::new(),
    };
    Ok((row.int(2)?, row.int(4)?, row.opt_int(12)?, Row { seq: row.int(0)?, event }))
}

fn with_terms(
    tx: &mut dyn Tx,
    (action, agent, client, mut row): (i64, i64, Option<i64>, Row),
) -> Result<Row> {
    row.event.action = tx.term_text(action)?;
    if let Some(client) = client {
        row.event.client = tx.term_text(client)?;
    }
    let details = tx.term_text(agent)?;
    let mut parts = details.splitn(3, '\n').map(str::to_owned);
    row.event.agent = parts.next().unwrap_or_default();
    row.event.role = parts.next().unwrap_or_default();
    row.event.agent_display = parts.next().unwrap_or_default();
    if row.event.agent_display.is_empty()
        && is_of_people(&row.event.role)
        && let Some(account) = row.event.agent.strip_prefix("account/").and_then(|id| id.parse::<i64>().ok())
    {
        let sql = "SELECT display FROM account WHERE id = $1";
        row.event.agent_display = tx.one(sql, params![account], |row| row.string(0))?.unwrap_or_default();
    }
    Ok(row)
}

/// Whoever acts in such a role only does so as a patient or for one: the trail says which account, not whose name.
fn is_of_people(role: &str) -> bool {
    !role.is_empty() && role.split([',', ' ']).all(|role| matches!(role, "" | "patient" | "proxy"))
}

/// A query, where it may tell of somebody.
pub(crate) const WHAT: &str = "audit.what";

/// The row of this number.
pub fn load(tx: &mut dyn Tx, seq: i64) -> Result<Option<Row>> {
    let found = tx.one(&format!("SELECT {READ} FROM audit a WHERE a.seq = $1"), params![seq], read)?;
    found.map(|row| with_terms(tx, row)).transpose()
}

/// The cursor of [list] behind this row.
pub fn cursor(at: Timestamp, seq: i64) -> String {
    Cursor { time_us: at.as_microsecond(), number: seq }.to_text()
}

/// Adds a condition on the value bound last.
fn and(conditions: &mut String, values: &[Param<'_>], text: &str) {
    conditions.push_str(&format!(" AND {text} ${}", values.len()));
}

/// Rows, newest first.
pub fn list(tx: &mut dyn Tx, filter: &Filter, cursor: Option<&str>, limit: u32) -> Result<Page<Row>> {
    let (limit, start) = (clamp(limit), Cursor::newest_or(cursor)?);
    let patient = filter.patient.as_ref().map(|p| encode_id(p));
    let mut values: Vec<Param<'_>> = Vec::new();
    let mut conditions = String::new();
    // The patient's and the agent's index are in the order of numbers, which grow with time.
    let by_time = filter.patient.is_none() && filter.agent.is_none();
    values.push(start.number.into());
    if by_time {
        values.push(start.time_us.into());
        conditions.push_str(" AND (a.at_us < $2 OR (a.at_us = $2 AND a.seq < $1))");
    } else {
        conditions.push_str(if patient.is_some() { " AND p.seq < $1" } else { " AND a.seq < $1" });
    }
    if let Some(patient) = &patient {
        values.push(patient.into());
        and(&mut conditions, &values, "p.seq = a.seq AND p.patient =");
    }
    let terms =
        [("a.agent =", &filter.agent), ("a.action =", &filter.action), ("a.client =", &filter.client)];
    for (column, text) in terms {
        let Some(text) = text else { continue };
        let Some(term) = tx.term(text, false)? else { return Ok(Page { rows: Vec::new(), next: None }) };
        values.push(term.into());
        and(&mut conditions, &values, column);
    }
    for (actions, is_among) in [(&filter.actions, true), (&filter.without, false)] {
        if actions.is_empty() {
            continue;
        }
        let mut numbers = Vec::with_capacity(actions.len());
        for action in actions {
            // A word that was never stored has no number, and no row.
            numbers.extend(tx.term(action, false)?.map(|term| term.to_string()));
        }
        let among = if is_among { "IN" } else { "NOT IN" };
        match (numbers.is_empty(), is_among) {
            (true, true) => return Ok(Page { rows: Vec::new(), next: None }),
            (true, false) => {}
            _ => conditions.push_str(&format!(" AND a.action {among} ({})", numbers.join(", "))),
        }
    }
    // An agent that was never stored did nothing, and leaves nothing out.
    if let Some(agent) = &filter.not_agent
        && let Some(term) = tx.term(agent, false)?
    {
        values.push(term.into());
        and(&mut conditions, &values, "a.agent <>");
    }
    if let Some(seq) = filter.seq {
        values.push(seq.into());
        and(&mut conditions, &values, "a.seq =");
    }
    if let Some(outcome) = filter.outcome {
        values.push(outcome.number().into());
        and(&mut conditions, &values, "a.outcome =");
    }
    if let Some(purpose) = filter.purpose {
        values.push(purpose_number(purpose).into());
        and(&mut conditions, &values, "a.purpose =");
    }
    let (address, target) =
        (filter.address.map(address_bytes), filter.target.as_ref().map(crate::ids::encode_key));
    if let Some(session) = &filter.session {
        values.push(session.into());
        and(&mut conditions, &values, "a.session =");
    }
    if let Some(address) = &address {
        values.push(address.into());
        and(&mut conditions, &values, "a.address =");
    }
    if let Some(target) = &target {
        values.push(target.into());
        and(&mut conditions, &values, "a.target =");
    }
    if let Some(from) = filter.from {
        values.push(from.into());
        and(&mut conditions, &values, "a.at_us >=");
    }
    if let Some(until) = filter.until {
        values.push(until.into());
        and(&mut conditions, &values, "a.at_us <");
    }
    values.push(i64::from(limit + 1).into());
    let sql = format!(
        "SELECT {READ} FROM {}audit a WHERE 1 = 1{conditions} ORDER BY {} DESC LIMIT ${}",
        if patient.is_some() { "audit_patient p CROSS JOIN " } else { "" },
        match (by_time, patient.is_some()) {
            (true, _) => "a.at_us DESC, a.seq",
            (_, true) => "p.seq",
            _ => "a.seq",
        },
        values.len()
    );
    let rows = tx.all(&sql, &values, read)?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        found.push(with_terms(tx, row)?);
    }
    Ok(Page::cut(found, limit, |row| Cursor { time_us: row.event.at.as_microsecond(), number: row.seq }))
}
