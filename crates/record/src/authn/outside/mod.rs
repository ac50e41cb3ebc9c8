//! Signing in with an outside provider of identities.
//!
//! **Invariant:** a person of a provider is `issuer` and `subject`, nothing else: neither an e-mail address nor a name
//! leads to an account. She gets to an existing one when an administrator linked it, or when she was signed in to it and
//! had just shown herself.
//! **Invariant:** no role comes without a rule, and what the provider gives no more is gone with the next sign-in,
//! together with the sessions that had it.

mod link;
mod rules;
mod way;

pub use link::IdentityRow;
pub(super) use link::taken;
pub use rules::{ProviderRules, RoleRule, Trust, is_mappable};
pub use way::{Errand, WAY, Way};

use super::{Origin, SignIn, secret, session};
use crate::{Change, ChangeSet, Error, Record, Rule};
use access::{Ctx, Factor, Role};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fhir::{Resource, ResourceKey, TypeId};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use store::account::{Account, NewAccount, Update};
use store::audit::Outcome;
use store::outside::{Came, Identity};

/// An answer of a provider counts once within this time; its browser's cookie lives shorter.
const ANSWERS_KEPT: SignedDuration = SignedDuration::from_hours(1);
const MAX_NAME_CHARS: usize = 120;

/// Whom a provider vouches for; made by whoever checked its token.
#[derive(Clone)]
pub struct Vouched {
    pub issuer: String,
    /// With `issuer` it names the person for ever.
    pub subject: String,
    /// All that the provider says of her.
    pub claims: Value,
    /// Shown to the provider again when she signs out.
    pub id_token: String,
    /// The provider's own session.
    pub sid: Option<String>,
    pub authenticated_at: Option<Timestamp>,
    /// How she showed who she is: `acr` and `amr`.
    pub acr: Option<String>,
    pub amr: Vec<String>,
}

impl Vouched {
    fn text(&self, claim: &str) -> Option<&str> {
        self.claims[claim].as_str().map(str::trim).filter(|text| !text.is_empty())
    }

    /// For people: her name, else what comes nearest.
    fn display(&self) -> String {
        let full = || Some(format!("{} {}", self.text("given_name")?, self.text("family_name")?));
        let name = self.text("name").map(str::to_owned).or_else(full);
        let name = name.or_else(|| self.text("preferred_username").map(str::to_owned));
        let name = name.unwrap_or_else(|| self.subject.clone());
        name.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect()
    }

    /// Only one that the provider says is hers: notices go there.
    fn email(&self) -> Option<String> {
        let fits =
            |e: &&str| e.contains('@') && e.len() <= MAX_NAME_CHARS && !e.contains(char::is_whitespace);
        let verified = self.claims["email_verified"].as_bool() == Some(true);
        self.text("email").filter(fits).filter(|_| verified).map(str::to_lowercase)
    }

    /// Ids of what is made for her: the same however often it is tried.
    fn id(&self, of: &str) -> String {
        let hash = Sha256::digest(format!("outside {of}\n{}\n{}", self.issuer, self.subject).as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
    }
}

fn refuse(code: &'static str, text: &str) -> Error {
    Error::Rule(Rule::new(code, text))
}

fn place(issuer: &str, subject: &str) -> String {
    format!("outside-session/{issuer}\n{subject}")
}

/// Doctors and nurses are somebody in the record.
fn needs_practitioner(roles: &[Role]) -> bool {
    roles.iter().any(|role| matches!(role, Role::Doctor | Role::Nurse))
}

/// What a second step of the sign-in must know of the first.
pub(super) fn kept(base: &[Factor], came: Option<&Came>) -> Value {
    let came = came.map(|came| {
        json!({"issuer": came.issuer, "subject": came.subject, "sid": came.sid, "token": STANDARD.encode(&came.token)})
    });
    json!({"base": base.iter().map(|f| f.code()).collect::<Vec<_>>(), "came": came})
}

/// The inverse of [kept]; a password where nothing was kept.
pub(super) fn restored(payload: &Value) -> (Vec<Factor>, Option<Came>) {
    let base: Vec<Factor> = payload["base"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|code| Factor::from_code(code.as_str()?))
        .collect();
    let came = &payload["came"];
    let came = came["issuer"].as_str().zip(came["subject"].as_str()).map(|(issuer, subject)| Came {
        issuer: issuer.to_owned(),
        subject: subject.to_owned(),
        sid: came["sid"].as_str().map(str::to_owned),
        token: came["token"].as_str().and_then(|t| STANDARD.decode(t).ok()).unwrap_or_default(),
        expires: Timestamp::UNIX_EPOCH,
    });
    (if base.is_empty() { vec![Factor::Password] } else { base }, came)
}

impl Record {
    fn provider_ctx(&self, from: &Origin) -> Ctx {
        let mut ctx = Ctx::system("identity-provider", self.now());
        ctx.address = from.address;
        ctx.request_id.clone_from(&from.request_id);
        ctx
    }

    /// Errors: `Rule` `sign-in-expired` for an answer that came before.
    async fn use_answer(&self, state: &str) -> Result<(), Error> {
        let hash = secret::hash(&format!("outside-answer\n{state}"));
        let until = self.now().checked_add(ANSWERS_KEPT).unwrap_or(Timestamp::MAX);
        let first = self.writing(move |tx| Ok(store::outside::use_once(tx, &hash, until)?)).await?;
        if first { Ok(()) } else { Err(super::second::expired()) }
    }

    /// Signs in whom a provider vouches for. `state`: of the request that the provider answered, used once. Roles are
    /// brought to what its claims give. Errors: `Rule` `sign-in-expired`, `identity-unknown` where no account is linked
    /// and none is made, `no-role`, `account-disabled`.
    pub async fn outside_sign_in(
        &self,
        rules: &ProviderRules,
        who: &Vouched,
        state: &str,
        from: &Origin,
    ) -> Result<SignIn, Error> {
        self.use_answer(state).await?;
        let account = self.outside_account(rules, who, from).await?;
        let factors = rules.factors_of(who);
        let came = Came {
            issuer: who.issuer.clone(),
            subject: who.subject.clone(),
            sid: who.sid.clone(),
            token: self.seal(who.id_token.as_bytes(), &place(&who.issuer, &who.subject))?,
            expires: Timestamp::UNIX_EPOCH,
        };
        let is_strong = factors.iter().any(|factor| factor.is_strong());
        if !account.factors.is_empty() && !is_strong {
            let pending = self.begin_second_factor_after(&account, from, &factors, Some(&came)).await?;
            return Ok(SignIn::SecondFactor(pending));
        }
        let mut opening = session::Opening::sign_in(factors, from, self.now());
        opening.came = Some(came);
        Ok(SignIn::Open(self.open_session(&account, opening).await?))
    }

    /// The account of this person with the roles that she has now. Errors: as [Record::outside_sign_in].
    async fn outside_account(
        &self,
        rules: &ProviderRules,
        who: &Vouched,
        from: &Origin,
    ) -> Result<Account, Error> {
        let ctx = self.provider_ctx(from);
        let what = format!("provider/{}", rules.id);
        let mapped = rules.roles_of(&who.claims);
        // Two of one person at once: one makes the account, the other finds it.
        for _ in 0..2 {
            let (issuer, subject) = (who.issuer.clone(), who.subject.clone());
            let found = self
                .reading(move |tx| {
                    let Some(identity) = store::outside::find(tx, &issuer, &subject)? else {
                        return Ok(None);
                    };
                    Ok(store::account::load(tx, identity.account)?.map(|account| (identity, account)))
                })
                .await?;
            if let Some((identity, account)) = found {
                return self.outside_update(&ctx, account, identity, who, &mapped).await;
            }
            if !rules.creates_accounts {
                self.audit_one(&ctx, "login", Outcome::Denied, &what, &[]).await?;
                let text = "No account here is linked to this person; ask an administrator.";
                return Err(refuse("identity-unknown", text));
            }
            if mapped.is_empty() {
                self.audit_one(&ctx, "login", Outcome::Denied, &what, &[]).await?;
                return Err(refuse("no-role", "The provider gives this person no role here."));
            }
            if let Some(account) = self.outside_create(&ctx, rules, who, &mapped).await? {
                return Ok(account);
            }
        }
        Err(Error::Busy)
    }

    async fn outside_update(
        &self,
        ctx: &Ctx,
        account: Account,
        identity: Identity,
        who: &Vouched,
        mapped: &[Role],
    ) -> Result<Account, Error> {
        let id = account.id;
        let what = format!("account/{id}");
        if account.disabled {
            self.audit_one(ctx, "login", Outcome::Denied, &what, &[]).await?;
            return Err(refuse("account-disabled", "This account is disabled; ask an administrator."));
        }
        let (roles, given) = rules::plan(&account.roles, &identity.roles, mapped);
        let practitioner = match needs_practitioner(&roles) && account.practitioner.is_none() {
            true => Some(self.outside_practitioner(who).await?),
            false => None,
        };
        let is_changed = roles != account.roles;
        let update = Update {
            account: id,
            roles: is_changed.then(|| roles.clone()),
            practitioner: practitioner.map(Some),
            ..Update::default()
        };
        let has_none = roles.is_empty();
        let event = self.audit_event(ctx, "account.update", Outcome::Success, &what, &[]);
        let now = self.now();
        let account = self
            .writing(move |tx| {
                store::account::update(tx, &update).map_err(crate::write::account_error)?;
                store::outside::used(tx, identity.id, &given, now)?;
                if is_changed {
                    store::session::end_all(tx, id, None)?;
                    if has_none {
                        store::oauth::revoke_of_account(tx, id, now)?;
                    }
                    store::audit::append(tx, std::slice::from_ref(&event))?;
                }
                store::account::load(tx, id)?.ok_or(Error::NotFound)
            })
            .await?;
        if is_changed {
            self.forget_account(id);
        }
        if has_none {
            self.audit_one(ctx, "login", Outcome::Denied, &what, &[]).await?;
            return Err(refuse("no-role", "The provider gives this person no role here."));
        }
        Ok(account)
    }

    /// `None` if somebody else just made it.
    async fn outside_create(
        &self,
        ctx: &Ctx,
        rules: &ProviderRules,
        who: &Vouched,
        roles: &[Role],
    ) -> Result<Option<Account>, Error> {
        let practitioner = match needs_practitioner(roles) {
            true => Some(self.outside_practitioner(who).await?),
            false => None,
        };
        let now = self.now();
        let new = NewAccount {
            login: None,
            phone: None,
            email: who.email(),
            display: who.display(),
            password_hash: None,
            roles: roles.to_vec(),
            patient: None,
            practitioner,
            language: rules.language.clone(),
            created: now,
        };
        let (issuer, subject) = (who.issuer.clone(), who.subject.clone());
        let mut event = self.audit_event(ctx, "account.create", Outcome::Success, "", &[]);
        let made = self
            .writing(move |tx| {
                if store::outside::find(tx, &issuer, &subject)?.is_some() {
                    return Ok(None);
                }
                let id = store::account::create(tx, &new).map_err(crate::write::account_error)?;
                // Of two at once the second finds nothing of its own: the account goes with the transaction.
                let identity =
                    store::outside::link(tx, &issuer, &subject, id, None, now)?.ok_or(Error::Busy)?;
                store::outside::used(tx, identity, &new.roles, now)?;
                event.what = format!("account/{id}");
                store::audit::append(tx, std::slice::from_ref(&event))?;
                Ok(store::account::load(tx, id)?)
            })
            .await;
        match made {
            Err(Error::Busy) => Ok(None),
            other => other,
        }
    }

    /// The Practitioner of this person, made where there is none.
    async fn outside_practitioner(&self, who: &Vouched) -> Result<ResourceKey, Error> {
        let key = |kind: &str, id: String| {
            let kind = TypeId::from_name(kind).ok_or_else(|| Error::Internal(format!("no type {kind}")))?;
            Ok::<_, Error>(ResourceKey::new(kind, id))
        };
        let (id, role_id) = (who.id("practitioner"), who.id("practitioner-role"));
        let practitioner = key("Practitioner", id.clone())?;
        let ctx = Ctx::system("identity-provider", self.now());
        if self.load(&ctx, &practitioner).await?.is_some() {
            return Ok(practitioner);
        }
        let display = who.display();
        let (given, family) = display.rsplit_once(' ').unwrap_or(("", &display));
        let family = who.text("family_name").unwrap_or(family);
        let given = who.text("given_name").unwrap_or(given);
        let mut name = json!({"use": "official", "text": display, "family": family});
        if !given.is_empty() {
            name["given"] = json!([given]);
        }
        let parse = |value: Value| Resource::from_value(value).map_err(Error::Malformed);
        let changes = vec![
            Change::Create {
                resource: parse(json!({
                    "resourceType": "Practitioner", "id": id, "active": true, "name": [name],
                    "identifier": [{"system": who.issuer, "value": who.subject}],
                }))?,
            },
            Change::Create {
                resource: parse(json!({
                    "resourceType": "PractitionerRole", "id": role_id, "active": true,
                    "practitioner": {"reference": format!("Practitioner/{id}")},
                }))?,
            },
        ];
        let made =
            self.command(&ctx, "account.practitioner", ChangeSet { changes, ..ChangeSet::default() }).await;
        match made {
            Ok(_) => Ok(practitioner),
            // Two of one person at once.
            Err(_) if self.load(&ctx, &practitioner).await?.is_some() => Ok(practitioner),
            Err(error) => Err(error),
        }
    }

    /// A signed-in person shows by her provider that it is still she. `since`: when she was sent there. Errors:
    /// `Unauthenticated`; `Rule` `sign-in-expired`, `identity-unknown` for somebody else or an answer that says nothing
    /// about the time; `StepUpNeeded` where her own second factor is needed.
    pub async fn outside_step_up(
        &self,
        ctx: &Ctx,
        rules: &ProviderRules,
        who: &Vouched,
        state: &str,
        since: Timestamp,
    ) -> Result<(), Error> {
        let id = ctx.user().ok_or(Error::Unauthenticated)?.account;
        let session = ctx.session.clone().ok_or(Error::Unauthenticated)?;
        self.use_answer(state).await?;
        let (issuer, subject) = (who.issuer.clone(), who.subject.clone());
        let identity = self.reading(move |tx| Ok(store::outside::find(tx, &issuer, &subject)?)).await?;
        let what = format!("account/{id}");
        // Clocks differ a little.
        let earliest = since.checked_sub(SignedDuration::from_mins(1)).unwrap_or(since);
        let is_now = who.authenticated_at.is_some_and(|at| at >= earliest);
        if identity.is_none_or(|identity| identity.account != id) || !is_now {
            self.audit_one(ctx, "step-up", Outcome::Denied, &what, &[]).await?;
            let text = "The provider vouches for somebody else, or did not ask again.";
            return Err(refuse("identity-unknown", text));
        }
        let shown = rules.factors_of(who);
        let policy = self.security_policy().await?;
        let needs_passkey = ctx.user().is_some_and(|user| policy.needs_passkey(&user.roles));
        let enough =
            |factor: &Factor| if needs_passkey { factor.is_phishing_resistant() } else { factor.is_strong() };
        if !session.enrolled.is_empty() && !shown.iter().any(enough) {
            let (factors, minutes) = (session.enrolled.clone(), super::SENSITIVE_MINUTES);
            return Err(Error::StepUpNeeded { factors, minutes });
        }
        let mut factors = session.factors.clone();
        factors.extend(shown.into_iter().filter(|factor| !session.factors.contains(factor)));
        let event = self.audit_event(ctx, "step-up", Outcome::Success, &what, &[]);
        let now = self.now();
        self.writing(move |tx| {
            if !store::session::authenticated(tx, id, &session.id, now, &factors)? {
                return Err(Error::Unauthenticated);
            }
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        self.forget_account(id);
        Ok(())
    }

    /// The provider ended sessions of its own: those that came of them end here. `hash` names its token, which counts
    /// once until `until`. Returns account and session of each. Errors: `Rule` `sign-in-expired` for a token seen before.
    pub async fn outside_logout(
        &self,
        issuer: &str,
        subject: Option<&str>,
        sid: Option<&str>,
        hash: [u8; 32],
        until: Timestamp,
    ) -> Result<Vec<(i64, [u8; 8])>, Error> {
        let issuer = issuer.to_owned();
        let (subject, sid) = (subject.map(str::to_owned), sid.map(str::to_owned));
        let ctx = self.provider_ctx(&Origin::default());
        let record = self.clone();
        let ended = self
            .writing(move |tx| {
                if !store::outside::use_once(tx, &hash, until)? {
                    return Err(super::second::expired());
                }
                let ended = store::outside::end_sessions(tx, &issuer, subject.as_deref(), sid.as_deref())?;
                for (account, _) in &ended {
                    let what = format!("account/{account}");
                    let event = record.audit_event(&ctx, "session.end", Outcome::Success, &what, &[]);
                    store::audit::append(tx, std::slice::from_ref(&event))?;
                }
                Ok(ended)
            })
            .await?;
        for (account, _) in &ended {
            self.forget_account(*account);
        }
        Ok(ended)
    }

    /// The issuer of a session that came of a provider.
    pub async fn outside_issuer(&self, account: i64, session: [u8; 8]) -> Result<Option<String>, Error> {
        let found = self.reading(move |tx| Ok(store::outside::session(tx, account, &session)?)).await?;
        Ok(found.map(|came| came.issuer))
    }

    /// Issuer and ID token of a session that came of a provider, for telling it that the person signs out.
    pub async fn outside_token(
        &self,
        account: i64,
        session: [u8; 8],
    ) -> Result<Option<(String, String)>, Error> {
        let found = self.reading(move |tx| Ok(store::outside::session(tx, account, &session)?)).await?;
        let Some(came) = found else { return Ok(None) };
        let token = self.unseal(&came.token, &place(&came.issuer, &came.subject))?;
        let token =
            String::from_utf8(token).map_err(|_| Error::Internal("a kept token is no text".into()))?;
        Ok(Some((came.issuer, token)))
    }
}
