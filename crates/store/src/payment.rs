//! Payments and the states they go through.

use crate::ids::encode_key;
use crate::keys::blind;
use crate::page::{Cursor, clamp};
use crate::{Page, Param, Result, Tx, params};
use fhir::ResourceKey;
use jiff::Timestamp;
use uuid::Uuid;

/// `Paid` is where money arrived; a late success may move `Failed`, `Expired` or `Unknown` there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    Created,
    Submitting,
    Awaiting,
    Paid,
    Failed,
    Expired,
    Unknown,
    Cancelled,
}

impl State {
    pub const ALL: [State; 8] = [
        State::Created,
        State::Submitting,
        State::Awaiting,
        State::Paid,
        State::Failed,
        State::Expired,
        State::Unknown,
        State::Cancelled,
    ];
    /// Stable; stored and shown to API users.
    pub fn code(self) -> &'static str {
        match self {
            State::Created => "created",
            State::Submitting => "submitting",
            State::Awaiting => "awaiting",
            State::Paid => "paid",
            State::Failed => "failed",
            State::Expired => "expired",
            State::Unknown => "unknown",
            State::Cancelled => "cancelled",
        }
    }
    pub fn from_code(code: &str) -> Option<State> {
        State::ALL.into_iter().find(|s| s.code() == code)
    }
}

/// A payment in state [State::Created].
#[derive(Debug, Clone, PartialEq)]
pub struct NewPayment {
    pub id: Uuid,
    pub invoice: ResourceKey,
    pub patient: Option<ResourceKey>,
    /// `mpesa`, `cash`, `card`, …
    pub method: String,
    pub amount_minor: i64,
    /// ISO 4217.
    pub currency: String,
    /// E.164
    pub phone: Option<String>,
    /// SHA-256 of the token in the callback URL.
    pub callback_token_hash: Option<[u8; 32]>,
    /// Row id of the account that started it.
    pub account: Option<i64>,
    pub created: Timestamp,
}

/// A change of state, done only if the payment is in one of `from`. Fields that are `None` stay as they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Move {
    pub id: Uuid,
    pub from: Vec<State>,
    pub to: State,
    pub at: Timestamp,
    /// Why, as a code, e.g. `wrong-pin`, `cancelled-by-user`.
    pub reason: Option<String>,
    /// The provider's own words, for staff.
    pub detail: Option<String>,
    pub merchant_request: Option<String>,
    pub checkout_request: Option<String>,
    /// The provider's receipt number, unique over all payments.
    pub receipt: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Payment {
    pub id: Uuid,
    pub invoice: ResourceKey,
    pub patient: Option<ResourceKey>,
    pub method: String,
    pub amount_minor: i64,
    pub currency: String,
    pub phone: Option<String>,
    pub callback_token_hash: Option<[u8; 32]>,
    pub account: Option<i64>,
    pub state: State,
    pub reason: Option<String>,
    pub detail: Option<String>,
    pub merchant_request: Option<String>,
    pub checkout_request: Option<String>,
    pub receipt: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub(crate) number: i64,
}

impl Payment {
    /// The row that [create] writes, for planning what happens to it in the same transaction.
    pub fn from_new(new: &NewPayment) -> Payment {
        Payment {
            id: new.id,
            invoice: new.invoice.clone(),
            patient: new.patient.clone(),
            method: new.method.clone(),
            amount_minor: new.amount_minor,
            currency: new.currency.clone(),
            phone: new.phone.clone(),
            callback_token_hash: new.callback_token_hash,
            account: new.account,
            state: State::Created,
            reason: None,
            detail: None,
            merchant_request: None,
            checkout_request: None,
            receipt: None,
            created: new.created,
            updated: new.created,
            number: 0,
        }
    }
}

/// One step of a payment.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub at: Timestamp,
    pub from: State,
    pub to: State,
    pub reason: Option<String>,
    pub detail: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no such payment")]
    NotFound,
    /// The payment is not in one of the states the move starts from.
    #[error("the payment is {}", .0.code())]
    WrongState(State),
    /// Another payment has this receipt or checkout request: money must not count twice.
    #[error("{0} belongs to another payment")]
    ReceiptUsed(String),
    #[error("amounts are positive")]
    BadAmount,
    #[error(transparent)]
    Store(#[from] crate::Error),
}

/// Errors: [Error::BadAmount]; a second payment with this id is a constraint error.
pub fn create(tx: &mut dyn Tx, new: &NewPayment) -> Result<(), Error> {
    if new.amount_minor <= 0 {
        return Err(Error::BadAmount);
    }
    let patient = new.patient.as_ref().map(encode_key);
    let phone = blind::opt_value(tx, PHONE, new.phone.as_ref())?;
    tx.execute(
        "INSERT INTO payment (id, invoice, patient, method, amount_minor, currency, phone, token_hash, account, \
         state, created_us, updated_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'created', $10, $10)",
        params![
            &new.id,
            &encode_key(&new.invoice),
            patient.as_ref(),
            &new.method,
            new.amount_minor,
            &new.currency,
            phone.as_ref(),
            new.callback_token_hash.as_ref(),
            new.account,
            new.created
        ],
    )?;
    tx.wake();
    Ok(())
}

/// Errors: [Error::NotFound], [Error::WrongState], [Error::ReceiptUsed].
pub fn advance(tx: &mut dyn Tx, step: &Move) -> Result<(), Error> {
    let sql = format!("SELECT state FROM payment WHERE id = $1{}", tx.dialect().for_update());
    let state = tx.one(&sql, params![&step.id], |row| state(row.text(0)?))?;
    let from = state.ok_or(Error::NotFound)?;
    if !step.from.contains(&from) {
        return Err(Error::WrongState(from));
    }
    for (column, value) in [("receipt", &step.receipt), ("checkout_request", &step.checkout_request)] {
        let Some(value) = value else { continue };
        let sql = format!("SELECT id FROM payment WHERE {column} = $1");
        let holder = tx.one(&sql, params![value], |row| row.uuid(0))?;
        if holder.is_some_and(|id| id != step.id) {
            return Err(Error::ReceiptUsed(value.clone()));
        }
    }
    tx.execute(
        "UPDATE payment SET state = $2, reason = $3, detail = coalesce($4, detail), \
         merchant_request = coalesce($5, merchant_request), checkout_request = coalesce($6, checkout_request), \
         receipt = coalesce($7, receipt), updated_us = $8 WHERE id = $1",
        params![
            &step.id,
            step.to.code(),
            step.reason.as_ref(),
            step.detail.as_ref(),
            step.merchant_request.as_ref(),
            step.checkout_request.as_ref(),
            step.receipt.as_ref(),
            step.at
        ],
    )?;
    tx.execute(
        "INSERT INTO payment_step (payment, at_us, state_from, state_to, reason, detail) VALUES ($1, $2, $3, $4, $5, $6)",
        params![
            &step.id,
            step.at,
            from.code(),
            step.to.code(),
            step.reason.as_ref(),
            step.detail.as_ref()
        ],
    )?;
    tx.wake();
    Ok(())
}

/// What happened to the payment, oldest first.
pub fn steps(tx: &mut dyn Tx, id: &Uuid) -> Result<Vec<Step>> {
    tx.all(
        "SELECT at_us, state_from, state_to, reason, detail FROM payment_step WHERE payment = $1 ORDER BY number",
        params![id],
        |row| {
            Ok(Step {
                at: row.time(0)?,
                from: state(row.text(1)?)?,
                to: state(row.text(2)?)?,
                reason: row.opt_string(3)?,
                detail: row.opt_string(4)?,
            })
        },
    )
}

pub fn load(tx: &mut dyn Tx, id: &Uuid) -> Result<Option<Payment>> {
    one(tx, "id = $1", id.into())
}

/// By the provider's checkout request id.
pub fn by_checkout_request(tx: &mut dyn Tx, checkout_request: &str) -> Result<Option<Payment>> {
    one(tx, "checkout_request = $1", checkout_request.into())
}

/// By the SHA-256 of the token in the callback URL.
pub fn by_token_hash(tx: &mut dyn Tx, hash: &[u8; 32]) -> Result<Option<Payment>> {
    one(tx, "token_hash = $1", hash.into())
}

pub fn by_receipt(tx: &mut dyn Tx, receipt: &str) -> Result<Option<Payment>> {
    one(tx, "receipt = $1", receipt.into())
}

/// Which payments to list; empty fields do not restrict. Times are of creation.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub invoice: Option<ResourceKey>,
    pub patient: Option<ResourceKey>,
    pub method: Option<String>,
    pub states: Vec<State>,
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Last changed before this instant: payments that hang.
    pub updated_before: Option<Timestamp>,
}

/// Payments, newest first.
pub fn list(tx: &mut dyn Tx, filter: &Filter, cursor: Option<&str>, limit: u32) -> Result<Page<Payment>> {
    let (limit, start) = (clamp(limit), Cursor::newest_or(cursor)?);
    let (invoice, patient) =
        (filter.invoice.as_ref().map(encode_key), filter.patient.as_ref().map(encode_key));
    let mut sql =
        format!("SELECT {COLUMNS} FROM payment WHERE (created_us < $1 OR (created_us = $1 AND number < $2))");
    let mut values: Vec<Param<'_>> = params![start.time_us, start.number].to_vec();
    let optional: [(&str, Option<Param<'_>>); 6] = [
        ("invoice =", invoice.as_ref().map(Into::into)),
        ("patient =", patient.as_ref().map(Into::into)),
        ("method =", filter.method.as_ref().map(Into::into)),
        ("created_us >=", filter.from.map(Into::into)),
        ("created_us <", filter.until.map(Into::into)),
        ("updated_us <", filter.updated_before.map(Into::into)),
    ];
    for (text, value) in optional {
        if let Some(value) = value {
            values.push(value);
            sql.push_str(&format!(" AND {text} ${}", values.len()));
        }
    }
    if !filter.states.is_empty() {
        let first = values.len() + 1;
        values.extend(filter.states.iter().map(|s| Param::Text(s.code())));
        sql.push_str(&format!(" AND state IN ({})", crate::sql::placeholders(first, filter.states.len())));
    }
    values.push(i64::from(limit + 1).into());
    sql.push_str(&format!(" ORDER BY created_us DESC, number DESC LIMIT ${}", values.len()));
    let rows = tx.all(&sql, &values, read)?;
    Ok(Page::cut(rows, limit, |p| Cursor { time_us: p.created.as_microsecond(), number: p.number }))
}

/// What a day brought in: per method and currency the number and sum of payments that became paid in [from, until).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Takings {
    pub method: String,
    pub currency: String,
    pub payments: i64,
    pub amount_minor: i64,
}

pub fn takings(tx: &mut dyn Tx, from: Timestamp, until: Timestamp) -> Result<Vec<Takings>> {
    tx.all(
        "SELECT p.method, p.currency, count(*), CAST(sum(p.amount_minor) AS BIGINT) FROM payment_step s \
         JOIN payment p ON p.id = s.payment WHERE s.state_to = 'paid' AND s.at_us >= $1 AND s.at_us < $2 \
         GROUP BY p.method, p.currency ORDER BY p.method, p.currency",
        params![from, until],
        |row| {
            Ok(Takings {
                method: row.string(0)?,
                currency: row.string(1)?,
                payments: row.int(2)?,
                amount_minor: row.int(3)?,
            })
        },
    )
}

const PHONE: &str = "payment.phone";
const COLUMNS: &str = "id, invoice, patient, method, amount_minor, currency, phone, token_hash, account, state, reason, \
     detail, merchant_request, checkout_request, receipt, created_us, updated_us, number";

fn state(code: &str) -> Result<State> {
    State::from_code(code).ok_or_else(|| crate::Error::Corrupt("payment state".into()))
}

fn one(tx: &mut dyn Tx, condition: &'static str, value: Param<'_>) -> Result<Option<Payment>> {
    tx.one(&format!("SELECT {COLUMNS} FROM payment WHERE {condition}"), &[value], read)
}

fn read(row: &crate::Row<'_>) -> Result<Payment> {
    let token = row.opt_bytes(7)?.map(<[u8; 32]>::try_from).transpose();
    Ok(Payment {
        id: row.uuid(0)?,
        invoice: row.key(1)?,
        patient: row.opt_key(2)?,
        method: row.string(3)?,
        amount_minor: row.int(4)?,
        currency: row.string(5)?,
        phone: row.opt_value(6, PHONE)?,
        callback_token_hash: token.map_err(|_| crate::Error::Corrupt("token hash".into()))?,
        account: row.opt_int(8)?,
        state: state(row.text(9)?)?,
        reason: row.opt_string(10)?,
        detail: row.opt_string(11)?,
        merchant_request: row.opt_string(12)?,
        checkout_request: row.opt_string(13)?,
        receipt: row.opt_string(14)?,
        created: row.time(15)?,
        updated: row.time(16)?,
        number: row.int(17)?,
    })
}
