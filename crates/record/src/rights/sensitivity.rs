//! The rules by which facts are sealed as they are written: those that come with the program and the clinic's own.

use crate::{Error, Record, Rule};
use access::sensitivity::Rules;
use access::{Ctx, Role};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use std::sync::Arc;

/// Where the clinic's own lists are kept.
const SETTING: &str = "rights.sensitivity";
/// How long they may be taken from memory: a change on another server holds within it.
const CACHE_MS: i128 = 1_000;

/// The rules in use, with the moment they were looked up and the clinic's own as it wrote them.
pub(crate) type Current = Mutex<Option<(Timestamp, Value, Arc<Rules>)>>;

impl Record {
    /// Those last looked up: for imports, which look them up when they begin.
    pub(crate) fn known_sensitivity(&self) -> Arc<Rules> {
        match &*self.inner.sensitivity.lock() {
            Some((_, _, rules)) => rules.clone(),
            None => Arc::new(Rules::built_in().clone()),
        }
    }

    pub(crate) async fn sensitivity(&self) -> Result<Arc<Rules>, Error> {
        let now = self.now();
        let known = self.inner.sensitivity.lock().clone();
        if let Some((at, _, rules)) = &known
            && (0..CACHE_MS).contains(&now.duration_since(*at).as_millis())
        {
            return Ok(rules.clone());
        }
        let own = self.reading(|tx| Ok(store::setting::get(tx, SETTING)?)).await?.unwrap_or_default();
        let rules = match known {
            Some((_, before, rules)) if before == own => rules,
            _ if own.is_null() => Arc::new(Rules::built_in().clone()),
            _ => Arc::new(
                Rules::built_in()
                    .and(&own)
                    .map_err(|e| Error::Internal(format!("setting {SETTING}: {e}")))?,
            ),
        };
        *self.inner.sensitivity.lock() = Some((now, own, rules.clone()));
        Ok(rules)
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

    /// Replaces them; what is written from now on is sealed by them. Errors: `Denied`, `StepUpNeeded`; `Rule`
    /// `rules-wrong`.
    pub async fn set_sensitivity_rules(&self, ctx: &Ctx, rules: Value) -> Result<(), Error> {
        if !may_edit(ctx) {
            return Err(self.denied(ctx, "sensitivity.change", "").await);
        }
        self.require_fresh(ctx, 15, true)?;
        Rules::built_in().and(&rules).map_err(|e| Error::Rule(Rule::new("rules-wrong", e.to_string())))?;
        let event = self.audit_event(ctx, "sensitivity.change", store::audit::Outcome::Success, SETTING, &[]);
        self.writing(move |tx| {
            store::setting::put(tx, SETTING, &rules)?;
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
