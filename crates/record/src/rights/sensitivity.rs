//! The rules by which facts are sealed as they are written: those that come with the program and the clinic's own.

use super::notice::Told;
use super::veil::Lens;
use crate::{Error, Record, Rule};
use access::sensitivity::Rules;
use access::{Ctx, Role};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use std::sync::Arc;

/// Where the clinic's own lists are kept.
pub(super) const SETTING: &str = "rights.sensitivity";
/// How long they may be taken from memory: a change on another server holds within it.
const CACHE_MS: i128 = 1_000;

/// The rules in use, with the moment they were looked up and the clinic's own as it wrote them.
pub(crate) type Current = Mutex<Option<(Timestamp, Value, Lens)>>;

impl Record {
    /// Those last looked up: for imports, which look them up when they begin.
    pub(crate) fn known_sensitivity(&self) -> Arc<Rules> {
        match &*self.inner.sensitivity.lock() {
            Some((_, _, lens)) => lens.rules.clone(),
            None => Arc::new(Rules::built_in().clone()),
        }
    }

    pub(crate) async fn sensitivity(&self) -> Result<Arc<Rules>, Error> {
        Ok(self.lens().await?.rules)
    }

    /// The rules, and whether every row has been labelled by them.
    pub(crate) async fn lens(&self) -> Result<Lens, Error> {
        let now = self.now();
        if let Some((at, _, lens)) = &*self.inner.sensitivity.lock()
            && (0..CACHE_MS).contains(&now.duration_since(*at).as_millis())
        {
            return Ok(lens.clone());
        }
        let known = self.inner.sensitivity.lock().clone();
        let (own, settled, empty) = self
            .reading(|tx| {
                let own = store::setting::get(tx, SETTING)?.unwrap_or_default();
                let settled = super::relabel::is_settled(tx, &own)?;
                Ok((own, settled, !settled && store::sealed::next_rids(tx, 0, 1)?.is_empty()))
            })
            .await?;
        let rules = match known {
            Some((_, before, lens)) if before == own => lens.rules,
            _ if own.is_null() => Arc::new(Rules::built_in().clone()),
            _ => Arc::new(
                Rules::built_in()
                    .and(&own)
                    .map_err(|e| Error::Internal(format!("setting {SETTING}: {e}")))?,
            ),
        };
        let settled = match empty {
            true => {
                let own = own.clone();
                self.writing(move |tx| super::relabel::begin(tx, &own)).await?
            }
            false => settled,
        };
        let lens = Lens { rules, settled };
        *self.inner.sensitivity.lock() = Some((now, own, lens.clone()));
        Ok(lens)
    }

    /// The clinic's own lists, as [Rules::and] reads them. Errors: `Denied`.
    pub async fn sensitivity_rules(&self, ctx: &Ctx) -> Result<Value, Error> {
        if !may_edit(ctx) {
            return Err(self.denied(ctx, "sensitivity.read", "").await);
        }
        Ok(self
            .reading(|tx| Ok(store::setting::get(tx, SETTING)?))
            .await?
            .unwrap_or_else(|| Value::Array(Vec::new())))
    }

    /// Replaces them: what is written from now on is labelled by them, what is stored is sealed at once as far as the
    /// index knows its codes, and labelled in the background ([Record::label_rows]). Errors: `Denied`, `StepUpNeeded`; `Rule`
    /// `rules-wrong`.
    pub async fn set_sensitivity_rules(&self, ctx: &Ctx, rules: Value) -> Result<(), Error> {
        if !may_edit(ctx) {
            return Err(self.denied(ctx, "sensitivity.change", "").await);
        }
        self.require_fresh(ctx, 15, true)?;
        Rules::built_in().and(&rules).map_err(|e| Error::Rule(Rule::new("rules-wrong", e.to_string())))?;
        let event = self.audit_event(ctx, "sensitivity.change", store::audit::Outcome::Success, SETTING, &[]);
        let (now, account) = (self.now(), ctx.user().map(|user| user.account));
        self.writing(move |tx| {
            let before = store::setting::get(tx, SETTING)?.unwrap_or_default();
            store::setting::put(tx, SETTING, &rules)?;
            super::relabel::changed(tx, &before, &rules, now)?;
            Told::officers("sensitivity.changed", now, SETTING)
                .with(serde_json::json!({"account": account}))
                .write(tx)?;
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        *self.inner.sensitivity.lock() = None;
        Ok(())
    }
}

fn may_edit(ctx: &Ctx) -> bool {
    ctx.scopes.is_none() && ctx.has_role(Role::PrivacyOfficer)
}
