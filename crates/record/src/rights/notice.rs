//! What people who watch over rights are told inside the program: emergencies, reviews that are late, changed rights and
//! rules, proxies that end. By SMS they are only told that there is something.

use crate::{Error, Record};
use access::{Ctx, Role};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use store::Tx;
use store::notice::Notice;
use uuid::Uuid;

/// Notices are kept so long.
const KEPT: SignedDuration = SignedDuration::from_hours(180 * 24);
/// So long before a grant ends by itself those concerned are told: at majority the young person decides herself.
const PROXY_AHEAD: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Notices of one page.
pub const MAX_LISTED: u32 = 100;
/// Roles that are told together, each person once.
const TOLD_TOGETHER: [Role; 3] = [Role::PrivacyOfficer, Role::Administrator, Role::FrontDesk];

/// A notice to write.
pub(crate) struct Told(Notice, Option<i64>);

impl Told {
    fn new(topic: &str, at: Timestamp, subject: String) -> Told {
        let notice = Notice {
            id: Uuid::now_v7(),
            at,
            role: String::new(),
            account: None,
            topic: topic.to_owned(),
            patient: None,
            subject,
            data: json!({}),
            seen: false,
        };
        Told(notice, None)
    }
    /// For whoever has the role; of [TOLD_TOGETHER].
    pub fn role(role: Role, topic: &str, at: Timestamp, subject: impl ToString) -> Told {
        let mut told = Told::new(topic, at, subject.to_string());
        told.0.role = role.code().to_owned();
        told
    }
    pub fn officers(topic: &str, at: Timestamp, subject: impl ToString) -> Told {
        Told::role(Role::PrivacyOfficer, topic, at, subject)
    }
    pub fn person(topic: &str, at: Timestamp, subject: impl ToString, account: i64) -> Told {
        let mut told = Told::new(topic, at, subject.to_string());
        told.0.account = Some(account);
        told
    }
    pub fn of(mut self, patient: &str) -> Told {
        self.0.patient = Some(patient.to_owned());
        self
    }
    pub fn with(mut self, data: Value) -> Told {
        self.0.data = data;
        self
    }
    /// This account did it and need not be told.
    pub fn by(mut self, account: Option<i64>) -> Told {
        self.1 = account;
        self
    }
    pub fn write(&self, tx: &mut dyn Tx) -> Result<(), Error> {
        store::notice::insert(tx, &self.0)?;
        if let Some(account) = self.1 {
            store::notice::known_to(tx, account, &self.0.id, self.0.at)?;
        }
        Ok(())
    }
}

/// Those of a person, newest first, and how many she has not seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Notices {
    pub rows: Vec<Notice>,
    pub unseen: u64,
    /// There are more behind these.
    pub more: bool,
}

/// Whose they are: the account and the roles that are told together.
fn reader(ctx: &Ctx) -> Result<(i64, Vec<&'static str>), Error> {
    // An app that acts for a person does not read what she is told in her office.
    let user = ctx.user().filter(|_| ctx.scopes.is_none()).ok_or(Error::Denied)?;
    let told = TOLD_TOGETHER.iter().filter(|role| user.roles.contains(role)).map(|role| role.code());
    Ok((user.account, told.collect()))
}

impl Record {
    /// What the caller is told, newest first, at most `limit` and [MAX_LISTED]. Errors: `Denied` for who is no person.
    pub async fn notices(&self, ctx: &Ctx, unseen: bool, limit: u32) -> Result<Notices, Error> {
        self.notices_after(ctx, unseen, None, limit).await
    }

    /// The same, of what comes behind the notice `after`. Errors: likewise.
    pub async fn notices_after(
        &self,
        ctx: &Ctx,
        unseen: bool,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Notices, Error> {
        let (account, roles) = reader(ctx)?;
        let limit = limit.clamp(1, MAX_LISTED);
        let found = self
            .reading(move |tx| {
                let mut rows = store::notice::list(tx, account, &roles, unseen, after.as_ref(), limit + 1)?;
                let more = rows.len() > limit as usize;
                rows.truncate(limit as usize);
                Ok(Notices { rows, unseen: store::notice::unseen(tx, account, &roles)?, more })
            })
            .await?;
        let mut patients: Vec<String> = found.rows.iter().filter_map(|row| row.patient.clone()).collect();
        patients.sort();
        patients.dedup();
        if !patients.is_empty() {
            self.audit_one(ctx, "notice.list", store::audit::Outcome::Success, "", &patients).await?;
        }
        Ok(found)
    }

    /// How many the caller has not seen. It names nobody and is not audited. Errors: `Denied` for who is no person.
    pub async fn unseen_notices(&self, ctx: &Ctx) -> Result<u64, Error> {
        let (account, roles) = reader(ctx)?;
        self.reading(move |tx| Ok(store::notice::unseen(tx, account, &roles)?)).await
    }

    /// The caller has seen all of hers up to this one. Errors: `Denied`; `NotFound`.
    pub async fn see_notices(&self, ctx: &Ctx, through: Uuid) -> Result<(), Error> {
        let (account, roles) = reader(ctx)?;
        let now = self.now();
        let seen = move |tx: &mut dyn Tx| Ok(store::notice::see_through(tx, account, &roles, &through, now)?);
        match self.writing(seen).await? {
            true => Ok(()),
            false => Err(Error::NotFound),
        }
    }

    /// The caller has seen it. Errors: `Denied`; `NotFound` for what is not hers.
    pub async fn see_notice(&self, ctx: &Ctx, id: Uuid) -> Result<(), Error> {
        let (account, roles) = reader(ctx)?;
        let now = self.now();
        match self.writing(move |tx| Ok(store::notice::see(tx, account, &roles, &id, now)?)).await? {
            true => Ok(()),
            false => Err(Error::NotFound),
        }
    }

    /// Tells proxies and privacy officers of grants that end by themselves within a month, once each, and removes what is
    /// old. Returns how many grants. Call it now and then. Errors: `Busy`, `Internal`.
    pub async fn remind_of_proxies(&self) -> Result<usize, Error> {
        let now = self.now();
        let soon = now.checked_add(PROXY_AHEAD).unwrap_or(Timestamp::MAX);
        let old = now.checked_sub(KEPT).unwrap_or(Timestamp::MIN);
        self.writing(move |tx| {
            store::notice::prune(tx, old)?;
            let mut told = 0;
            for proxy in store::proxy::ending(tx, now, soon)? {
                // A grant that was made for less than a month is known to end.
                let short = proxy.until.duration_since(proxy.made) <= PROXY_AHEAD;
                if short || store::notice::exists(tx, "proxy.ending", &proxy.id.to_string())? {
                    continue;
                }
                let data = json!({
                    "account": proxy.account, "basis": proxy.basis, "until": proxy.until.to_string(),
                });
                let person = Told::person("proxy.ending", now, proxy.id, proxy.account);
                for one in [person, Told::officers("proxy.ending", now, proxy.id)] {
                    one.of(&proxy.patient).with(data.clone()).write(tx)?;
                }
                told += 1;
            }
            Ok(told)
        })
        .await
    }
}
