//! Which subscriptions a WebSocket is bound to.

use super::owner;
use crate::authn::secret;
use crate::{Error, Record};
use access::Ctx;
use fhir::{ResourceKey, TypeId};
use jiff::{SignedDuration, Timestamp};
use store::subscription::State;

/// How long a token can be used; a socket that is bound stays bound.
const TOKEN_TIME: SignedDuration = SignedDuration::from_secs(5 * 60);

/// One subscription that a socket follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    pub id: String,
    /// Follows a topic: notifications are Bundles; else `ping`.
    pub is_topic: bool,
    /// Events up to here were before the binding.
    pub after: i64,
    pub heartbeat_s: Option<u64>,
}

impl Record {
    /// `$get-ws-binding-token`: a token that binds a socket to these subscriptions, and until when it can be used.
    /// Errors: as [Record::read]; `Denied` unless the caller owns them, for they tell what the owner may see;
    /// `Rule` `channel-wrong` for one that has no websocket channel or is off.
    pub async fn subscription_token(&self, ctx: &Ctx, ids: &[String]) -> Result<(String, Timestamp), Error> {
        for id in ids {
            self.own_socket(ctx, id).await?;
        }
        let token = secret::token()?;
        let (hash, ids) = (secret::hash(&token), ids.to_vec());
        let expires = self
            .writing(move |tx| {
                let expires = tx.now()?.checked_add(TOKEN_TIME).unwrap_or(Timestamp::MAX);
                store::subscription::allow(tx, &hash, &ids, expires)?;
                Ok(expires)
            })
            .await?;
        Ok((token, expires))
    }

    /// What a token binds to; empty for one that is unknown or too old. Errors: `Busy`, `Internal`.
    pub async fn subscriptions_bound(&self, token: &str) -> Result<Vec<Bound>, Error> {
        let hash = secret::hash(token);
        let ids = self.reading(move |tx| Ok(store::subscription::allowed(tx, &hash)?)).await?;
        let mut bound = Vec::new();
        for id in ids {
            bound.extend(self.bound(&id).await?);
        }
        Ok(bound)
    }

    /// R4's own `bind [id]`. Errors: as [Record::subscription_token].
    pub async fn bind_subscription(&self, ctx: &Ctx, id: &str) -> Result<Bound, Error> {
        self.own_socket(ctx, id).await?;
        self.bound(id).await?.ok_or(Error::NotFound)
    }

    async fn bound(&self, id: &str) -> Result<Option<Bound>, Error> {
        let of = id.to_owned();
        let Some(row) = self.reading(move |tx| Ok(store::subscription::load(tx, &of)?)).await? else {
            return Ok(None);
        };
        let Some(definition) = self.definition(&row).await? else { return Ok(None) };
        Ok(Some(Bound {
            id: id.to_owned(),
            is_topic: definition.topic.is_some(),
            after: row.events,
            heartbeat_s: definition.heartbeat_s,
        }))
    }

    async fn own_socket(&self, ctx: &Ctx, id: &str) -> Result<(), Error> {
        self.read(ctx, &ResourceKey::new(TypeId::SUBSCRIPTION, id)).await?;
        let of = id.to_owned();
        let row =
            self.reading(move |tx| Ok(store::subscription::load(tx, &of)?)).await?.ok_or(Error::NotFound)?;
        if row.owner != owner::of(ctx).0 {
            return Err(Error::Denied);
        }
        if row.pushed || row.state == State::Off {
            let text = "This subscription has no websocket channel, or it is off.";
            return Err(Error::Rule(crate::Rule::new("channel-wrong", text)));
        }
        Ok(())
    }
}
