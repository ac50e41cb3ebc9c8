//! What the database knows about a person beyond the account.

use crate::{Error, Record};
use access::matrix::Table;
use access::standing::{Emergency, Proxied, Standing};
use access::{Ctx, Principal, Role, User};
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;
use store::Tx;

/// How long a standing may be taken from memory: what changes on another server shows within it.
const CACHE_MS: i128 = 300;
/// Accounts held in memory.
const CACHE_ACCOUNTS: usize = 20_000;

/// Standings of accounts, with the moment they were looked up.
pub(crate) type Cache = parking_lot::Mutex<HashMap<i64, (Timestamp, Arc<Standing>)>>;

/// As it stands in the tables.
pub(crate) fn standing_of(
    tx: &mut dyn Tx,
    account: i64,
    is_proxy: bool,
    now: Timestamp,
) -> Result<Standing, Error> {
    let cells = store::rights::cells(tx)?;
    let running = store::emergency::running(tx, account, now)?;
    let proxied = if is_proxy { store::proxy::of_account(tx, account, now)? } else { Vec::new() };
    let proxied = proxied.into_iter().map(|one| Proxied {
        patient: one.patient,
        related_person: one.related_person,
        classes: one.classes,
        seals: one.seals,
        until: one.until,
    });
    Ok(Standing {
        table: (!cells.is_empty()).then(|| Arc::new(Table::new(cells))),
        emergencies: running
            .into_iter()
            .map(|one| Emergency { patient: one.patient, until: one.until })
            .collect(),
        proxied: proxied.collect(),
    })
}

impl Record {
    /// The person's standing now, at most half a second old. Errors: `Busy`, `Internal`.
    pub async fn standing(&self, user: &User) -> Result<Arc<Standing>, Error> {
        let now = self.now();
        if let Some((at, standing)) = self.inner.standings.lock().get(&user.account) {
            let age_ms = now.duration_since(*at).as_millis();
            if (0..CACHE_MS).contains(&age_ms) {
                return Ok(standing.clone());
            }
        }
        let (account, is_proxy) = (user.account, user.roles.contains(&Role::Proxy));
        let standing = self.reading(move |tx| standing_of(tx, account, is_proxy, now)).await?;
        let standing = Arc::new(standing);
        let mut cache = self.inner.standings.lock();
        if cache.len() >= CACHE_ACCOUNTS {
            cache.retain(|_, (at, _)| (0..CACHE_MS).contains(&now.duration_since(*at).as_millis()));
        }
        if cache.len() < CACHE_ACCOUNTS {
            cache.insert(user.account, (now, standing.clone()));
        }
        Ok(standing)
    }

    /// The caller with her standing as it is now; others as they are. For contexts that live longer than a request.
    pub async fn current(&self, ctx: &Ctx) -> Result<Ctx, Error> {
        let mut ctx = Ctx { now: self.now(), ..ctx.clone() };
        if let Principal::User(user) = &mut ctx.principal {
            user.standing = self.standing(user).await?;
        }
        Ok(ctx)
    }

    /// After a change of rights: nobody is answered from memory. `None`: of everybody.
    pub(crate) fn forget_standing(&self, account: Option<i64>) {
        match account {
            Some(account) => {
                self.inner.standings.lock().remove(&account);
                self.forget_account(account);
            }
            None => {
                self.inner.standings.lock().clear();
                self.inner.tokens.lock().clear();
            }
        }
    }
}
