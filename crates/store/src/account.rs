//! Accounts of people: credentials, roles, and whom in the record they are.

use crate::ids::encode_key;
use crate::keys::blind::{self, opt_value};
use crate::page::{Cursor, clamp};
use crate::{Page, Param, Result, Tx, params};
use access::{Factor, Role};
use fhir::ResourceKey;
use jiff::Timestamp;

/// Logins are unique; the caller has normalised login (trimmed, lower case) and phone (E.164).
#[derive(Debug, Clone, PartialEq)]
pub struct NewAccount {
    pub login: Option<String>,
    pub phone: Option<String>,
    pub email: Option<String>,
    pub display: String,
    /// PHC string of argon2id; `None`: cannot sign in by password.
    pub password_hash: Option<String>,
    pub roles: Vec<Role>,
    pub patient: Option<ResourceKey>,
    pub practitioner: Option<ResourceKey>,
    /// BCP-47
    pub language: String,
    pub created: Timestamp,
}

/// `None` leaves a field as it is; the inner `None` empties it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Update {
    /// Row id.
    pub account: i64,
    pub login: Option<Option<String>>,
    pub phone: Option<Option<String>>,
    pub email: Option<Option<String>>,
    pub display: Option<String>,
    pub password_hash: Option<String>,
    pub roles: Option<Vec<Role>>,
    pub patient: Option<Option<ResourceKey>>,
    pub practitioner: Option<Option<ResourceKey>>,
    pub language: Option<String>,
    pub disabled: Option<bool>,
    /// The password was made by somebody else and must be changed.
    pub temporary: Option<bool>,
    /// Of [STRONG]; others are passed over.
    pub factors: Option<Vec<Factor>>,
    /// When the password was set.
    pub password_at: Option<Timestamp>,
}

/// The factors beside the password that an account can have, by their bit.
const STRONG: [Factor; 2] = [Factor::Totp, Factor::Passkey];

fn bits(factors: &[Factor]) -> u32 {
    let has = |n: usize| u32::from(factors.contains(&STRONG[n])) << n;
    (0..STRONG.len()).map(has).sum()
}

#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    pub id: i64,
    pub login: Option<String>,
    pub phone: Option<String>,
    pub email: Option<String>,
    pub display: String,
    pub password_hash: Option<String>,
    pub roles: Vec<Role>,
    pub patient: Option<ResourceKey>,
    pub practitioner: Option<ResourceKey>,
    pub language: String,
    pub disabled: bool,
    pub last_login: Option<Timestamp>,
    pub created: Timestamp,
    /// The password was made by somebody else and must be changed.
    pub temporary: bool,
    /// The strong factors set up.
    pub factors: Vec<Factor>,
    /// When the password was last set, as far as known.
    pub password_at: Option<Timestamp>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the login is taken")]
    LoginTaken,
    #[error("no such account")]
    NotFound,
    #[error(transparent)]
    Store(#[from] crate::Error),
}

fn roles_text(roles: &[Role]) -> Result<String> {
    serde_json::to_string(roles).map_err(|_| crate::Error::Invalid("roles"))
}

/// Returns the row id. Errors: [Error::LoginTaken].
pub fn create(tx: &mut dyn Tx, new: &NewAccount) -> Result<i64, Error> {
    let (patient, practitioner) =
        (new.patient.as_ref().map(encode_key), new.practitioner.as_ref().map(encode_key));
    let (phone, email) =
        (opt_value(tx, PHONE, new.phone.as_ref())?, opt_value(tx, EMAIL, new.email.as_ref())?);
    let id = tx.one(
        "INSERT INTO account (login, phone, email, display, password_hash, roles, patient, practitioner, language, \
         disabled, failed_count, created_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, $10) \
         ON CONFLICT DO NOTHING RETURNING id",
        params![
            new.login.as_ref(),
            phone.as_ref(),
            email.as_ref(),
            &new.display,
            new.password_hash.as_ref(),
            &roles_text(&new.roles)?,
            patient.as_ref(),
            practitioner.as_ref(),
            &new.language,
            new.created
        ],
        |row| row.int(0),
    )?;
    id.ok_or(Error::LoginTaken)
}

/// Errors: [Error::NotFound], [Error::LoginTaken].
pub fn update(tx: &mut dyn Tx, change: &Update) -> Result<(), Error> {
    if let Some(Some(login)) = &change.login {
        let holder = tx.one("SELECT id FROM account WHERE login = $1", params![login], |row| row.int(0))?;
        if holder.is_some_and(|id| id != change.account) {
            return Err(Error::LoginTaken);
        }
    }
    let roles = change.roles.as_deref().map(roles_text).transpose()?;
    let phone = change.phone.as_ref().map(|v| opt_value(tx, PHONE, v.as_ref())).transpose()?;
    let email = change.email.as_ref().map(|v| opt_value(tx, EMAIL, v.as_ref())).transpose()?;
    let patient = change.patient.as_ref().map(|p| p.as_ref().map(encode_key));
    let practitioner = change.practitioner.as_ref().map(|p| p.as_ref().map(encode_key));
    let fields: [(&str, Option<Param<'_>>); 13] = [
        ("login", change.login.as_ref().map(|v| v.as_ref().into())),
        ("phone", phone.as_ref().map(|v| v.as_ref().into())),
        ("email", email.as_ref().map(|v| v.as_ref().into())),
        ("display", change.display.as_ref().map(Into::into)),
        ("password_hash", change.password_hash.as_ref().map(Into::into)),
        ("roles", roles.as_ref().map(Into::into)),
        ("patient", patient.as_ref().map(|v| v.as_ref().into())),
        ("practitioner", practitioner.as_ref().map(|v| v.as_ref().into())),
        ("language", change.language.as_ref().map(Into::into)),
        ("disabled", change.disabled.map(Into::into)),
        ("temporary", change.temporary.map(Into::into)),
        ("factors", change.factors.as_deref().map(|f| bits(f).into())),
        ("password_us", change.password_at.map(Into::into)),
    ];
    let mut values: Vec<Param<'_>> = params![change.account].to_vec();
    let mut set = vec!["id = id".to_owned()];
    for (column, value) in fields {
        if let Some(value) = value {
            values.push(value);
            set.push(format!("{column} = ${}", values.len()));
        }
    }
    let changed = tx.execute(&format!("UPDATE account SET {} WHERE id = $1", set.join(", ")), &values)?;
    if changed == 1 { Ok(()) } else { Err(Error::NotFound) }
}

/// Notes when she signed in.
pub fn login_succeeded(tx: &mut dyn Tx, account: i64, at: Timestamp) -> Result<()> {
    tx.execute("UPDATE account SET last_login_us = $2 WHERE id = $1", params![account, at])?;
    Ok(())
}

pub fn load(tx: &mut dyn Tx, id: i64) -> Result<Option<Account>> {
    tx.one(&format!("SELECT {COLUMNS} FROM account WHERE id = $1"), params![id], read)
}

/// As [load]; on PostgreSQL it stays as it is until this transaction ends.
pub fn hold(tx: &mut dyn Tx, id: i64) -> Result<Option<Account>> {
    let lock = tx.dialect().for_update();
    tx.one(&format!("SELECT {COLUMNS} FROM account WHERE id = $1{lock}"), params![id], read)
}

pub fn by_login(tx: &mut dyn Tx, login: &str) -> Result<Option<Account>> {
    tx.one(&format!("SELECT {COLUMNS} FROM account WHERE login = $1"), params![login], read)
}

/// Families share phones, so there may be several; oldest first, at most 20.
pub fn by_phone(tx: &mut dyn Tx, phone: &str) -> Result<Vec<Account>> {
    let phone = &*blind::value(tx, PHONE, phone)?;
    tx.all(
        &format!("SELECT {COLUMNS} FROM account WHERE phone = $1 ORDER BY id LIMIT 20"),
        params![phone],
        read,
    )
}

pub fn by_email(tx: &mut dyn Tx, email: &str) -> Result<Vec<Account>> {
    let email = &*blind::value(tx, EMAIL, email)?;
    tx.all(
        &format!("SELECT {COLUMNS} FROM account WHERE email = $1 ORDER BY id LIMIT 20"),
        params![email],
        read,
    )
}

/// Accounts of this patient, oldest first, at most 20.
pub fn by_patient(tx: &mut dyn Tx, patient: &ResourceKey) -> Result<Vec<Account>> {
    let sql = format!("SELECT {COLUMNS} FROM account WHERE patient = $1 ORDER BY id LIMIT 20");
    tx.all(&sql, params![&encode_key(patient)], read)
}

/// Accounts of this practitioner, oldest first, at most 20.
pub fn by_practitioner(tx: &mut dyn Tx, practitioner: &ResourceKey) -> Result<Vec<Account>> {
    let sql = format!("SELECT {COLUMNS} FROM account WHERE practitioner = $1 ORDER BY id LIMIT 20");
    tx.all(&sql, params![&encode_key(practitioner)], read)
}

/// Whose accounts a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    #[default]
    All,
    /// Neither patients nor those who only act for patients.
    Staff,
    /// Those who are patients.
    Patients,
}

/// Accounts whose display name, login, phone or e-mail holds `text` without regard to case, newest first. Where phones and
/// e-mail addresses are encrypted (see [crate::keys]), only a whole one is found.
pub fn list(tx: &mut dyn Tx, text: Option<&str>, cursor: Option<&str>, limit: u32) -> Result<Page<Account>> {
    list_of(tx, Kind::All, text, cursor, limit)
}

/// As [list], of one kind.
pub fn list_of(
    tx: &mut dyn Tx,
    kind: Kind,
    text: Option<&str>,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<Account>> {
    let (limit, start) = (clamp(limit), Cursor::newest_or(cursor)?);
    let text = text.unwrap_or_default().to_lowercase();
    let mut conditions = Vec::new();
    let is_blind = blind::is_on(tx);
    let columns = ["lower(display)", "coalesce(login, '')", "coalesce(phone, '')", "coalesce(email, '')"];
    for column in &columns[..if is_blind { 2 } else { 4 }] {
        conditions.push(tx.dialect().contains(column, "$3"));
    }
    let values = [blind::value(tx, PHONE, &text)?.into_owned(), blind::value(tx, EMAIL, &text)?.into_owned()];
    if is_blind {
        conditions.push("phone = $4 OR email = $5".to_owned());
    }
    let matching =
        if text.is_empty() { "$3 = ''".to_owned() } else { format!("({})", conditions.join(" OR ")) };
    let is_searched = is_blind && !text.is_empty();
    let of_kind = match kind {
        Kind::All => "",
        Kind::Staff => " AND patient IS NULL AND roles <> '[\"proxy\"]'",
        Kind::Patients => " AND patient IS NOT NULL",
    };
    let rows = tx.all(
        &format!(
            "SELECT {COLUMNS} FROM account WHERE id < $1 AND {matching}{of_kind} ORDER BY id DESC LIMIT $2"
        ),
        &params![start.number, i64::from(limit + 1), &text, &values[0], &values[1]]
            [..if is_searched { 5 } else { 3 }],
        read,
    )?;
    Ok(Page::cut(rows, limit, |a| Cursor { time_us: 0, number: a.id }))
}

/// Accounts that are open and have one of these roles, oldest first, at most 200.
pub fn with_roles(tx: &mut dyn Tx, roles: &[Role]) -> Result<Vec<Account>> {
    if roles.is_empty() {
        return Ok(Vec::new());
    }
    let patterns: Vec<String> = roles.iter().map(|role| format!("%\"{}\"%", role.code())).collect();
    let any: Vec<String> = (1..=patterns.len()).map(|n| format!("roles LIKE ${n}")).collect();
    let sql = format!(
        "SELECT {COLUMNS} FROM account WHERE disabled = 0 AND ({}) ORDER BY id LIMIT 200",
        any.join(" OR ")
    );
    let values: Vec<Param<'_>> = patterns.iter().map(|pattern| pattern.into()).collect();
    tx.all(&sql, &values, read)
}

/// Those of these ids that there are.
pub fn some(tx: &mut dyn Tx, ids: &[i64]) -> Result<Vec<Account>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
    let sql = format!("SELECT {COLUMNS} FROM account WHERE id IN ({}) ORDER BY id", ids.join(", "));
    tx.all(&sql, &[], read)
}

const PHONE: &str = "account.phone";
const EMAIL: &str = "account.email";

const COLUMNS: &str = "id, login, phone, email, display, password_hash, roles, patient, practitioner, language, \
     disabled, last_login_us, created_us, temporary, factors, password_us";

pub(crate) fn read(row: &crate::Row<'_>) -> Result<Account> {
    Ok(Account {
        id: row.int(0)?,
        login: row.opt_string(1)?,
        phone: row.opt_value(2, PHONE)?,
        email: row.opt_value(3, EMAIL)?,
        display: row.string(4)?,
        password_hash: row.opt_string(5)?,
        roles: serde_json::from_str(row.text(6)?).map_err(|_| crate::Error::Corrupt("roles".into()))?,
        patient: row.opt_key(7)?,
        practitioner: row.opt_key(8)?,
        language: row.string(9)?,
        disabled: row.bool(10)?,
        last_login: row.opt_time(11)?,
        created: row.time(12)?,
        temporary: row.bool(13)?,
        factors: {
            let bits = row.int(14)?;
            STRONG.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, f)| *f).collect()
        },
        password_at: row.opt_time(15)?,
    })
}
