//! To whom data may go, and the refusal of everybody else.

use super::{SubjectEffect, law, refuse};
use crate::{ChangeSet, Effect, Error, Record, Rule};
use access::{Ctx, Principal};
use serde_json::json;
use store::audit::Outcome;
use store::subject::recipient::{self, Kind, Recipient};
use uuid::Uuid;

const MAX_TITLE: usize = 200;
const MAX_NAME: usize = 500;

/// Somebody that data is about to go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination<'a> {
    /// Id of an OAuth client.
    Client(&'a str),
    /// URL of an endpoint, or `mailto:`.
    Endpoint(&'a str),
}

/// An entry to make.
#[derive(Debug, Clone)]
pub struct NewRecipient {
    pub kind: Kind,
    /// Id of the client, host, name of the gateway.
    pub name: String,
    pub title: String,
    /// ISO 3166-1, two letters.
    pub country: String,
    /// Of [law::BASES]; needed for another country than that of the installation.
    pub basis: String,
    pub note: String,
}

/// A client that is not in the register, so that an entry can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unregistered {
    pub kind: Kind,
    pub name: String,
    pub title: String,
}

impl Record {
    /// Makes an entry; one in force for the same recipient ends. Privacy officer, freshly signed in; the program for the
    /// demonstration. Errors: `Denied`, `StepUpNeeded`; `Rule` `name-required`, `country-wrong`, `basis-needed`,
    /// `basis-unknown`.
    pub async fn register_recipient(&self, ctx: &Ctx, new: NewRecipient) -> Result<Recipient, Error> {
        let by = match &ctx.principal {
            Principal::System(_) => None,
            _ => Some(self.require_officer(ctx, "recipient.register", &new.name).await?),
        };
        self.require_fresh(ctx, super::FRESH_MINUTES, true)?;
        let name = match new.kind {
            Kind::Endpoint => new.name.trim().trim_end_matches('.').to_ascii_lowercase(),
            Kind::Client | Kind::Gateway | Kind::Backup => new.name.trim().to_owned(),
        };
        let title = new.title.trim().to_owned();
        let fits = |text: &str, most: usize| {
            !text.is_empty() && text.chars().count() <= most && !text.chars().any(char::is_control)
        };
        if !fits(&name, MAX_NAME) || !fits(&title, MAX_TITLE) {
            return Err(refuse("name-required", "Name the recipient.", "/title"));
        }
        let country = country(&new.country)?;
        let basis = new.basis.trim().to_owned();
        if !basis.is_empty() && !law::BASES.contains(&basis.as_str()) {
            return Err(refuse("basis-unknown", "Choose one of the bases.", "/basis"));
        }
        if basis.is_empty() && self.region().is_some_and(|home| home != country) {
            let text = "Data may go to another country only on one of the bases the law names.";
            return Err(refuse("basis-needed", text, "/basis"));
        }
        let recipient = Recipient {
            id: Uuid::now_v7(),
            kind: new.kind,
            name,
            title,
            country,
            basis,
            note: new.note.trim().chars().take(super::MAX_WORDS).collect(),
            registered: self.now(),
            registered_by: by,
            ended: None,
            ended_by: None,
        };
        let set = ChangeSet {
            effects: vec![Effect::Subject(SubjectEffect::Register(recipient.clone()))],
            ..ChangeSet::default()
        };
        self.settle_subject(ctx, "recipient.register", set).await?;
        let what = format!("{}/{} {}", recipient.kind.code(), recipient.name, recipient.country);
        self.audit_one(ctx, "recipient.register", Outcome::Success, &what, &[]).await?;
        Ok(recipient)
    }

    /// From now on nothing goes there. Errors: `Denied`; `Duplicate` `already-settled`.
    pub async fn end_recipient(&self, ctx: &Ctx, id: Uuid) -> Result<(), Error> {
        let by = self.require_officer(ctx, "recipient.end", "").await?;
        let effect = SubjectEffect::EndRecipient { id, by: Some(by), at: self.now() };
        let set = ChangeSet { effects: vec![Effect::Subject(effect)], ..ChangeSet::default() };
        self.settle_subject(ctx, "recipient.end", set).await?;
        self.audit_one(ctx, "recipient.end", Outcome::Success, &format!("recipient/{id}"), &[]).await
    }

    /// The register, those in force first; and OAuth clients that are not in it. Errors: `Denied`.
    pub async fn recipients(&self, ctx: &Ctx) -> Result<(Vec<Recipient>, Vec<Unregistered>), Error> {
        self.require_officer(ctx, "recipient.list", "").await?;
        let (list, clients) =
            self.reading(|tx| Ok((recipient::list(tx)?, store::oauth::clients(tx)?))).await?;
        let known = |kind: Kind, name: &str| {
            list.iter().any(|one| one.ended.is_none() && one.kind == kind && one.name == name)
        };
        let missing =
            clients.into_iter().filter(|client| !client.disabled && !known(Kind::Client, &client.id));
        let missing =
            missing.map(|client| Unregistered { kind: Kind::Client, name: client.id, title: client.name });
        let missing = missing.collect();
        self.audit_one(ctx, "recipient.list", Outcome::Success, "", &[]).await?;
        Ok((list, missing))
    }

    /// Whether data may go there: on this machine, or in the register and not abroad without a basis. A refusal is
    /// audited under `action`.
    /// Errors: `Rule` `recipient-unregistered`, `recipient-abroad`.
    pub async fn check_destination(&self, ctx: &Ctx, action: &str, to: Destination<'_>) -> Result<(), Error> {
        let Err(rule) = self.may_go_to(to).await? else { return Ok(()) };
        let what = match to {
            Destination::Client(id) => format!("client/{id}"),
            Destination::Endpoint(url) => format!("endpoint/{}", host(url).unwrap_or_default()),
        };
        self.audit_refusal(ctx, action, Outcome::Denied, &what, &[]).await;
        Err(Error::Rule(rule))
    }

    /// As [Record::check_destination] for the caller itself: an OAuth client. People fetch their own rights' worth.
    pub async fn check_own_destination(&self, ctx: &Ctx, action: &str) -> Result<(), Error> {
        match &ctx.principal {
            Principal::Client { client_id, .. } => {
                self.check_destination(ctx, action, Destination::Client(client_id)).await
            }
            Principal::Anonymous | Principal::User(_) | Principal::System(_) => Ok(()),
        }
    }

    /// Whether a notification may still go where it is meant to; refusals are audited. Errors: why not, without anything of
    /// the message.
    pub async fn check_delivery(&self, channel: &crate::subscription::Channel) -> Result<(), String> {
        let Some(to) = channel.address() else { return Ok(()) };
        let ctx = Ctx::system("subscriptions", self.now());
        let checked = self.check_destination(&ctx, "subscription.deliver", Destination::Endpoint(to)).await;
        checked.map_err(|error| match error {
            Error::Rule(rule) => rule.text,
            other => other.to_string(),
        })
    }

    pub(crate) async fn may_go_to(&self, to: Destination<'_>) -> Result<Result<(), Rule>, Error> {
        let (kind, name) = match to {
            Destination::Client(id) => (Kind::Client, id.to_owned()),
            Destination::Endpoint(url) => match host(url) {
                Some(host) if is_this_machine(&host) => return Ok(Ok(())),
                Some(host) => (Kind::Endpoint, host),
                None => (Kind::Endpoint, url.chars().take(MAX_NAME).collect()),
            },
        };
        let wanted = name.clone();
        let found = self.reading(move |tx| Ok(recipient::find(tx, kind, &wanted)?)).await?;
        let details = json!({"kind": kind.code(), "name": name});
        Ok(match found {
            None => {
                let text =
                    "This recipient is not in the register of recipients; a privacy officer enters it.";
                Err(Rule::new("recipient-unregistered", text).with(details))
            }
            Some(one) if one.basis.is_empty() && self.region().is_some_and(|home| home != one.country) => {
                let text =
                    "This recipient is in another country, and no basis for the transfer is registered.";
                Err(Rule::new("recipient-abroad", text).with(details))
            }
            Some(_) => Ok(()),
        })
    }
}

/// Two letters, upper case. Errors: `Rule` `country-wrong`.
pub(super) fn country(text: &str) -> Result<String, Error> {
    let country = text.trim().to_ascii_uppercase();
    if country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase()) {
        return Ok(country);
    }
    Err(refuse("country-wrong", "Two letters, such as KE.", "/country"))
}

/// The host of a URL, the domain of a mail address; lower case.
fn host(url: &str) -> Option<String> {
    if let Some(address) = url.strip_prefix("mailto:").or((!url.contains("://")).then_some(url)) {
        return address.rsplit_once('@').map(|(_, domain)| domain.to_ascii_lowercase());
    }
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit('@').next()?;
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => authority.split(':').next()?,
    };
    Some(host.trim_end_matches('.').to_ascii_lowercase()).filter(|host| !host.is_empty())
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::{host, is_this_machine};

    #[test]
    fn hosts_are_read_out_of_addresses() {
        for (url, expected, here) in [
            ("https://Board.example.org./notify?x=1", "board.example.org", false),
            ("http://127.0.0.1:9000/x", "127.0.0.1", true),
            ("http://[::1]:9000", "::1", true),
            ("http://user@localhost/x", "localhost", true),
            ("https://localhost.example.org/", "localhost.example.org", false),
            ("https://127.0.0.1.example.org/", "127.0.0.1.example.org", false),
            ("mailto:nurse@Clinic.example", "clinic.example", false),
            ("nurse@clinic.example", "clinic.example", false),
        ] {
            let found = host(url).unwrap();
            assert_eq!((found.as_str(), is_this_machine(&found)), (expected, here), "{url}");
        }
    }
}
