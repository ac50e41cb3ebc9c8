//! The clinic's own changes of the table of rights. Taking a right away holds at once; giving one takes two people.

use super::RightsEffect;
use crate::{ChangeSet, Effect, Error, Event, Record, Rule};
use access::Ctx;
use access::matrix::{self, Cell, CellError, Table};
use access::policy::{self, Capability};
use fhir::{ResourceKey, TypeId};
use serde_json::json;
use store::rights::{Change, State};
use uuid::Uuid;

const FRESH_MINUTES: u32 = 15;
const MAX_REASON: usize = 500;

/// What the editor shows.
#[derive(Debug, Clone)]
pub struct RightsTable {
    pub table: Table,
    pub changes: Vec<Change>,
}

impl Record {
    /// The table as it is and how it came to be so. Errors: `Denied`.
    pub async fn rights_table(&self, ctx: &Ctx) -> Result<RightsTable, Error> {
        if !policy::may(ctx, Capability::ManageRights) {
            return Err(self.denied(ctx, "rights.read", "").await);
        }
        self.reading(|tx| {
            let table = Table::new(store::rights::cells(tx)?);
            Ok(RightsTable { table, changes: store::rights::list(tx)? })
        })
        .await
    }

    /// Changes one cell: at once if it takes away, else it waits for somebody else.
    /// Errors: `Denied`, `StepUpNeeded`; `Rule` `beyond-bounds`, `right-needed`, `reason-needed`, `unchanged`.
    pub async fn change_right(&self, ctx: &Ctx, cell: Cell, reason: &str) -> Result<Change, Error> {
        let Some(user) = ctx.user().filter(|_| policy::may(ctx, Capability::ManageRights)) else {
            return Err(self.denied(ctx, "rights.change", "").await);
        };
        self.require_fresh(ctx, FRESH_MINUTES, true)?;
        let reason = reason.trim();
        if reason.is_empty() || reason.chars().count() > MAX_REASON {
            return Err(rule("reason-needed", "Say why; those who come after you will ask.", "/reason"));
        }
        matrix::check(&cell).map_err(|error| match error {
            CellError::BeyondBounds => {
                let most = matrix::most(cell.role, cell.class, cell.verb);
                Error::Rule(
                    Rule::new("beyond-bounds", "No clinic may give this role so much.")
                        .at("/reach")
                        .with(json!({"most": most.code()})),
                )
            }
            CellError::Needed => rule("right-needed", "This right cannot be taken away.", "/reach"),
        })?;
        let table = self.reading(|tx| Ok(Table::new(store::rights::cells(tx)?))).await?;
        let before = table.rights(cell.role, cell.class).of(cell.verb);
        if before == cell.reach {
            return Err(rule("unchanged", "It is so already.", "/reach"));
        }
        let waits = table.widens(&cell);
        let change = Change {
            id: Uuid::now_v7(),
            at: self.now(),
            account: user.account,
            cell,
            before,
            reason: reason.to_owned(),
            state: if waits { State::Waiting } else { State::Done },
            decided: None,
        };
        let effect = if waits {
            RightsEffect::RightsAsk(change.clone())
        } else {
            RightsEffect::RightsDone(change.clone())
        };
        self.about_rights(ctx, if waits { "rights.ask" } else { "rights.change" }, change.id, effect).await?;
        Ok(change)
    }

    /// The second person's word. Errors: `Denied`, `StepUpNeeded`, `NotFound`; `Rule` `second-person-needed` for the one
    /// who asked; `Duplicate` for what is settled.
    pub async fn decide_right(&self, ctx: &Ctx, id: Uuid, agree: bool) -> Result<(), Error> {
        let Some(user) = ctx.user().filter(|_| policy::may(ctx, Capability::ManageRights)) else {
            return Err(self.denied(ctx, "rights.decide", "").await);
        };
        self.require_fresh(ctx, FRESH_MINUTES, true)?;
        let change = self.reading(move |tx| Ok(store::rights::load(tx, &id)?)).await?;
        let change = change.ok_or(Error::NotFound)?;
        // Whoever asked may take it back, never grant it.
        if agree {
            super::second::another(ctx, Some(change.account))?;
        }
        let cell = agree.then_some(change.cell);
        let effect = RightsEffect::RightsDecide { id, cell, by: user.account, at: self.now() };
        self.about_rights(ctx, if agree { "rights.agree" } else { "rights.refuse" }, id, effect).await
    }

    async fn about_rights(
        &self,
        ctx: &Ctx,
        name: &'static str,
        id: Uuid,
        effect: RightsEffect,
    ) -> Result<(), Error> {
        let basic = TypeId::from_name("Basic").unwrap_or(TypeId::PATIENT);
        let set = ChangeSet {
            effects: vec![Effect::Rights(effect)],
            events: vec![Event {
                topic: "rights.changed",
                subject: ResourceKey::new(basic, format!("rights-{id}")),
                data: json!({"change": id.to_string()}),
            }],
            ..ChangeSet::default()
        };
        self.command(ctx, name, set).await?;
        self.forget_standing(None);
        Ok(())
    }
}

fn rule(code: &'static str, text: &str, at: &'static str) -> Error {
    Error::Rule(Rule::new(code, text).at(at))
}
