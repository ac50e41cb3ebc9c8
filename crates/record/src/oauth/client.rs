//! Registered applications. What lets one read facts for itself takes two people, see [crate::authn::four_eyes].

use super::{MAX_TEXT_CHARS, jose, key, scope};
use crate::authn::four_eyes::{self, About, AccountChangeRow, Act, Alone, Application};
use crate::authn::secret;
use crate::rights::notice::Told;
use crate::{Error, Record, Rule};
use access::{Capability, Ctx};
use jiff::Timestamp;
use serde_json::json;
use store::Tx;
use store::audit::Outcome;
use store::oauth::{Authentication, Client, Facts};

const MAX_NAME_CHARS: usize = 100;
const MAX_REDIRECTS: usize = 20;

/// An application as administrators see it.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientRow {
    pub client_id: String,
    pub name: String,
    pub scopes: Vec<String>,
    pub disabled: bool,
    pub created_at: Timestamp,
    pub facts: Facts,
}

/// An application to register.
#[derive(Debug, Clone, Default)]
pub struct ClientSpec {
    pub name: String,
    /// `system/…` for one that acts for itself; `patient/…`, `user/…`, `openid` and its kin for one that people use.
    pub scopes: Vec<String>,
    /// [Authentication::Secret] by default.
    pub authentication: Authentication,
    /// For people: where they are sent back to.
    pub redirects: Vec<String>,
    pub launch_url: Option<String>,
    /// A JWK Set, by value; for [Authentication::Key] this or `jwks_url`.
    pub jwks: Option<String>,
    pub jwks_url: Option<String>,
    /// `RS256` (default) or `ES384`.
    pub id_token_algorithm: Option<String>,
}

/// `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClientChange {
    pub name: Option<String>,
    pub scopes: Option<Vec<String>>,
    pub redirects: Option<Vec<String>>,
    pub launch_url: Option<String>,
    pub jwks: Option<String>,
    pub jwks_url: Option<String>,
    pub disabled: Option<bool>,
}

impl From<Client> for ClientRow {
    fn from(client: Client) -> ClientRow {
        ClientRow {
            client_id: client.id,
            name: client.name,
            scopes: client.scopes,
            disabled: client.disabled,
            created_at: client.created,
            facts: client.facts,
        }
    }
}

/// The host of an `http(s)` address, without port; `None` for what is none.
fn host_of(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => authority.split(':').next()?,
    };
    (!authority.contains('@') && !host.is_empty()).then_some((scheme, host))
}

fn is_plain(url: &str) -> bool {
    url.chars().count() <= MAX_TEXT_CHARS
        && url.chars().all(|c| c.is_ascii_graphic())
        && !url.contains(['#', '\\'])
}

/// HTTPS, plain HTTP to the device itself, or an application's own scheme (RFC 8252 §7: a reversed domain name).
fn is_redirect(url: &str) -> bool {
    if !is_plain(url) {
        return false;
    }
    match host_of(url) {
        Some(("https", _)) => true,
        Some(("http", host)) => matches!(host, "127.0.0.1" | "::1" | "localhost"),
        _ => url.split_once(':').is_some_and(|(scheme, rest)| {
            let fits = scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+'));
            scheme.contains('.') && fits && !rest.is_empty()
        }),
    }
}

fn check(application: &Application) -> Result<(), Error> {
    let Application { name, scopes, facts, .. } = application;
    let wrong =
        |code: &'static str, field: &str, text: String| Err(Error::Rule(Rule::new(code, text).at(field)));
    if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        return wrong("name-required", "/name", "Give the client a name of 1–100 characters.".into());
    }
    if let Err(text) = scope::check(scopes) {
        return wrong("scope-invalid", "/scopes", text);
    }
    let for_itself = scopes.iter().any(|s| s.starts_with("system/"));
    let for_people = scopes.iter().any(|s| !s.starts_with("system/") && !s.starts_with("sens/"));
    if !for_itself && !for_people {
        return wrong("scope-invalid", "/scopes", "Give at least one scope for resources.".into());
    }
    if for_people && facts.redirects.is_empty() {
        let text = "Scopes for people (`patient/…`, `user/…`, `openid` …) need a redirect URI; a client that acts for \
                    itself has `system/…` scopes only.";
        return wrong("scope-invalid", "/scopes", text.into());
    }
    if for_itself && facts.authentication == Authentication::None {
        return wrong("scope-invalid", "/scopes", "A public client has no `system/…` scopes.".into());
    }
    if facts.redirects.len() > MAX_REDIRECTS || !facts.redirects.iter().all(|url| is_redirect(url)) {
        let text = "Redirect URIs are https, http on this device (127.0.0.1, ::1, localhost) or an own scheme such as \
                    org.example.app:/callback; whole, and without a fragment.";
        return wrong("redirect-invalid", "/redirect_uris", text.into());
    }
    let is_web = |url: &String| {
        is_plain(url)
            && matches!(host_of(url), Some(("https", _)) | Some(("http", "127.0.0.1" | "::1" | "localhost")))
    };
    if !facts.launch_url.as_ref().is_none_or(is_web) {
        return wrong("url-invalid", "/launch_url", "The launch URL is https.".into());
    }
    if !facts.jwks_url.as_ref().is_none_or(is_web) {
        return wrong("url-invalid", "/jwks_url", "The address of the key set is https.".into());
    }
    if let Some(Err(text)) = facts.jwks.as_deref().map(jose::check_set) {
        return wrong("keys-invalid", "/jwks", text.into());
    }
    if facts.authentication == Authentication::Key && facts.jwks.is_none() && facts.jwks_url.is_none() {
        return wrong("keys-invalid", "/jwks", "Give the client's key set, or where it is.".into());
    }
    if facts.algorithm.is_empty() { Ok(()) } else { key::check_algorithm(&facts.algorithm) }
}

impl Record {
    async fn may_manage_clients(&self, ctx: &Ctx, action: &'static str) -> Result<(), Error> {
        match access::policy::may(ctx, Capability::ManageClients) {
            true => Ok(()),
            false => Err(self.denied(ctx, action, "").await),
        }
    }

    /// Registers a client that acts for itself by a secret, and enters it as a recipient in the country of the
    /// installation: for programs of the same machine, demonstrations and tests. Returns id and secret (shown once).
    /// Errors: as [Record::register_client] and [Record::register_recipient].
    pub async fn create_client(
        &self,
        ctx: &Ctx,
        name: &str,
        scopes: &[String],
    ) -> Result<(String, String), Error> {
        let spec = ClientSpec { name: name.to_owned(), scopes: scopes.to_vec(), ..ClientSpec::default() };
        let (row, secret) = self.register_client(ctx, spec).await?;
        let recipient = crate::subject::NewRecipient {
            kind: store::subject::recipient::Kind::Client,
            name: row.client_id.clone(),
            title: row.name.clone(),
            country: self.region().unwrap_or("ZZ").to_owned(),
            basis: String::new(),
            note: String::new(),
        };
        self.register_recipient(ctx, recipient).await?;
        Ok((row.client_id, secret.unwrap_or_default()))
    }

    /// Registers an application; System principals and administrators. Returns it and its secret, if it has one, shown
    /// once. Errors: `Denied`, `StepUpNeeded`; `Rule` `scope-invalid`, `name-required`, `redirect-invalid`,
    /// `url-invalid`, `keys-invalid`, `algorithm-invalid`, `second-person-needed` (see [Record::ask_new_client]).
    pub async fn register_client(
        &self,
        ctx: &Ctx,
        spec: ClientSpec,
    ) -> Result<(ClientRow, Option<String>), Error> {
        let application = self.new_application(ctx, spec).await?;
        let act = Act::Register(Box::new(application.clone()));
        let alone = self.guard(ctx, &act, About::Nothing).await?;
        // Also clients without a secret have one that nobody knows.
        let secret = secret::token()?;
        let client = application.client(secret::hash(&secret), self.now());
        let alone = alone.map(|alone| alone.about_client(&client.id));
        let row = ClientRow::from(client.clone());
        let what = format!("client/{}", client.id);
        let event = self.audit_event(ctx, "client.create", Outcome::Success, &what, &[]);
        let by = ctx.user().map(|user| user.account);
        self.writing(move |tx| {
            store::oauth::create_client(tx, &client)?;
            four_eyes::note(tx, alone.as_ref())?;
            tell(tx, &client.id, None, &application, by, client.created)?;
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        let shown = (row.facts.authentication == Authentication::Secret).then_some(secret);
        Ok((row, shown))
    }

    /// Asks for an application that reads facts for itself. `None`: nobody else needs to agree, so register it. Errors: as
    /// [Record::register_client] and [Record::ask_second_person].
    pub async fn ask_new_client(
        &self,
        ctx: &Ctx,
        spec: ClientSpec,
        reason: &str,
    ) -> Result<Option<AccountChangeRow>, Error> {
        let application = self.new_application(ctx, spec).await?;
        self.ask_about(ctx, About::Nothing, Act::Register(Box::new(application)), reason).await
    }

    /// What is to be registered, checked. Errors: as [Record::register_client].
    async fn new_application(&self, ctx: &Ctx, spec: ClientSpec) -> Result<Application, Error> {
        self.may_manage_clients(ctx, "client.create").await?;
        self.require_fresh(ctx, crate::authn::SENSITIVE_MINUTES, true)?;
        let application = Application {
            name: spec.name.trim().to_owned(),
            scopes: scope::words(spec.scopes.iter().map(String::as_str)),
            disabled: false,
            facts: Facts {
                authentication: spec.authentication,
                redirects: spec.redirects,
                launch_url: spec.launch_url,
                jwks: spec.jwks,
                jwks_url: spec.jwks_url,
                algorithm: spec.id_token_algorithm.unwrap_or_else(|| key::ALGORITHMS[0].to_owned()),
            },
        };
        check(&application)?;
        Ok(application)
    }

    /// All clients, oldest first. Errors: `Denied`.
    pub async fn clients(&self, ctx: &Ctx) -> Result<Vec<ClientRow>, Error> {
        self.may_manage_clients(ctx, "client.list").await?;
        let clients = self.reading(move |tx| Ok(store::oauth::clients(tx)?)).await?;
        Ok(clients.into_iter().map(ClientRow::from).collect())
    }

    /// Changes an application; what people granted stays, but never counts for more than it is registered for now.
    /// Errors: `Denied`, `StepUpNeeded`, `NotFound`, and those of [Record::register_client]; `Rule` `changed-meanwhile`
    /// if somebody else changed it at the same time.
    pub async fn change_client(&self, ctx: &Ctx, id: &str, change: ClientChange) -> Result<ClientRow, Error> {
        let (client, after) = self.changed_application(ctx, id, change).await?;
        let alone = self.guard(ctx, &Act::Application(Box::new(after.clone())), &client).await?;
        let row = ClientRow::from(after.put_on(&client));
        let event = self.audit_event(ctx, "client.update", Outcome::Success, &format!("client/{id}"), &[]);
        let (by, now) = (ctx.user().map(|user| user.account), self.now());
        self.writing(move |tx| {
            put_change(tx, &client, &after, now)?;
            four_eyes::note(tx, alone.as_ref())?;
            tell(tx, &client.id, Some(&Application::of(&client)), &after, by, now)?;
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        self.forget_holders();
        Ok(row)
    }

    /// Asks for a change of an application that reads facts for itself, or would. `None`: nobody else needs to agree, so
    /// change it. Until then it goes on as it is. Errors: as [Record::change_client] and [Record::ask_second_person].
    pub async fn ask_client_change(
        &self,
        ctx: &Ctx,
        id: &str,
        change: ClientChange,
        reason: &str,
    ) -> Result<Option<AccountChangeRow>, Error> {
        let (client, after) = self.changed_application(ctx, id, change).await?;
        self.ask_about(ctx, &client, Act::Application(Box::new(after)), reason).await
    }

    /// The client as it is and as it is to be, checked. Errors: as [Record::change_client].
    async fn changed_application(
        &self,
        ctx: &Ctx,
        id: &str,
        change: ClientChange,
    ) -> Result<(Client, Application), Error> {
        self.may_manage_clients(ctx, "client.update").await?;
        self.require_fresh(ctx, crate::authn::SENSITIVE_MINUTES, true)?;
        let client = self.client_row(id).await?.ok_or(Error::NotFound)?;
        let mut after = Application::of(&client);
        if let Some(name) = change.name {
            after.name = name.trim().to_owned();
        }
        if let Some(scopes) = change.scopes {
            after.scopes = scope::words(scopes.iter().map(String::as_str));
        }
        if let Some(redirects) = change.redirects {
            after.facts.redirects = redirects;
        }
        after.facts.launch_url = change.launch_url.or(after.facts.launch_url);
        after.facts.jwks = change.jwks.or(after.facts.jwks);
        after.facts.jwks_url = change.jwks_url.or(after.facts.jwks_url);
        after.disabled = change.disabled.unwrap_or(after.disabled);
        check(&after)?;
        Ok((client, after))
    }

    async fn client_row(&self, id: &str) -> Result<Option<Client>, Error> {
        let id = id.to_owned();
        self.reading(move |tx| Ok(store::oauth::client(tx, &id)?)).await
    }

    /// A new secret; the old one stops working at once. Errors: `Denied`, `StepUpNeeded`, `NotFound` (also for clients
    /// without a secret); `Rule` `second-person-needed`.
    pub async fn renew_client_secret(&self, ctx: &Ctx, id: &str) -> Result<String, Error> {
        let client = self.client_with_secret(ctx, id).await?;
        let alone = self.guard(ctx, &Act::Secret, &client).await?;
        self.put_new_secret(ctx, id, alone).await
    }

    /// Asks for a new secret of an application that reads facts for itself. `None`: nobody else needs to agree, so renew
    /// it. Errors: as [Record::renew_client_secret] and [Record::ask_second_person].
    pub async fn ask_client_secret(
        &self,
        ctx: &Ctx,
        id: &str,
        reason: &str,
    ) -> Result<Option<AccountChangeRow>, Error> {
        let client = self.client_with_secret(ctx, id).await?;
        self.ask_about(ctx, &client, Act::Secret, reason).await
    }

    async fn client_with_secret(&self, ctx: &Ctx, id: &str) -> Result<Client, Error> {
        self.may_manage_clients(ctx, "client.secret").await?;
        self.require_fresh(ctx, crate::authn::SENSITIVE_MINUTES, true)?;
        let client = self.client_row(id).await?;
        client.filter(|client| client.facts.authentication == Authentication::Secret).ok_or(Error::NotFound)
    }

    /// Of a client that has one, for who may renew it. Errors: `Busy`, `Internal`.
    pub(crate) async fn new_client_secret(&self, ctx: &Ctx, id: &str) -> Result<String, Error> {
        self.put_new_secret(ctx, id, None).await
    }

    async fn put_new_secret(&self, ctx: &Ctx, id: &str, alone: Option<Alone>) -> Result<String, Error> {
        let secret = secret::token()?;
        let (id, hash) = (id.to_owned(), secret::hash(&secret));
        let event = self.audit_event(ctx, "client.secret", Outcome::Success, &format!("client/{id}"), &[]);
        self.writing(move |tx| {
            store::oauth::set_secret(tx, &id, &hash)?;
            four_eyes::note(tx, alone.as_ref())?;
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        Ok(secret)
    }

    /// Disabling ends the client's tokens and all that was granted to it; enabling is a change like others. Errors:
    /// `Denied`, `NotFound`; to enable as [Record::change_client].
    pub async fn disable_client(&self, ctx: &Ctx, client_id: &str, disabled: bool) -> Result<(), Error> {
        if !disabled {
            let change = ClientChange { disabled: Some(false), ..ClientChange::default() };
            return self.change_client(ctx, client_id, change).await.map(drop);
        }
        self.may_manage_clients(ctx, "client.disable").await?;
        let (id, now) = (client_id.to_owned(), self.now());
        let event = self.audit_event(ctx, "client.disable", Outcome::Success, &format!("client/{id}"), &[]);
        let known = self
            .writing(move |tx| {
                let known = put_disabled(tx, &id, now)?;
                store::audit::append(tx, std::slice::from_ref(&event))?;
                Ok(known)
            })
            .await?;
        self.forget_holders();
        if known { Ok(()) } else { Err(Error::NotFound) }
    }
}

/// Ends its tokens and all that was granted to it.
fn put_disabled(tx: &mut dyn Tx, id: &str, now: Timestamp) -> Result<bool, Error> {
    let known = store::oauth::set_disabled(tx, id, true)?;
    store::oauth::revoke_of_client(tx, id, now)?;
    Ok(known)
}

/// Registers what was agreed to; its secret is one that nobody knows until who asked fetches one. Returns its id.
pub(crate) fn put_new(tx: &mut dyn Tx, new: &Application, now: Timestamp) -> Result<String, Error> {
    let client = new.client(secret::hash(&secret::token()?), now);
    store::oauth::create_client(tx, &client)?;
    Ok(client.id)
}

/// Changes `before` into `after`. Errors: `Rule` `changed-meanwhile` if it is not as in `before` any more.
pub(crate) fn put_change(
    tx: &mut dyn Tx,
    before: &Client,
    after: &Application,
    now: Timestamp,
) -> Result<(), Error> {
    if !store::oauth::change_client(tx, before, &after.put_on(before))? {
        return Err(four_eyes::changed());
    }
    match (before.disabled, after.disabled) {
        (_, true) => put_disabled(tx, &before.id, now).map(drop),
        (true, false) => store::oauth::set_disabled(tx, &before.id, false).map(drop).map_err(Error::from),
        (false, false) => Ok(()),
    }
}

/// An application for people is one person's act, since nobody lends it anything unasked. But she may be led to agree: whoever
/// watches over privacy is told where one leads now.
fn tell(
    tx: &mut dyn Tx,
    id: &str,
    before: Option<&Application>,
    after: &Application,
    by: Option<i64>,
    now: Timestamp,
) -> Result<(), Error> {
    let known = |url: &String| {
        before.is_some_and(|b| b.facts.redirects.contains(url) || b.facts.launch_url.as_ref() == Some(url))
    };
    let leads_elsewhere = after.facts.redirects.iter().chain(&after.facts.launch_url).any(|url| !known(url));
    if by.is_none() || !leads_elsewhere {
        return Ok(());
    }
    let data = json!({"account": by, "client": id, "name": after.name});
    Told::officers("client.leads", now, id).with(data).by(by).write(tx)
}

#[cfg(test)]
mod tests {
    use super::is_redirect;

    #[test]
    fn redirects_are_whole_and_safe() {
        let cases = [
            ("https://app.example/callback", true),
            ("https://app.example/callback?x=1", true),
            ("http://127.0.0.1:8000/cb", true),
            ("http://[::1]:8000/cb", true),
            ("http://app.example/callback", false),
            ("https://app.example/callback#x", false),
            ("https://user@app.example/", false),
            ("org.example.app:/callback", true),
            ("javascript:alert(1)", false),
            ("data:text/html,x", false),
            ("/callback", false),
            ("https://", false),
            ("http://localhost.evil.example/", false),
            ("https://app.example\\@evil.example/", false),
        ];
        for (url, expected) in cases {
            assert_eq!(is_redirect(url), expected, "{url}");
        }
    }
}
