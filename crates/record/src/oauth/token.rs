//! The token endpoint: codes, refresh tokens and clients' own tokens; what a token is; introspection and revocation.

use super::{CODE, OFFLINE, TOKEN_S, jose, plus, proof, refuse, scope};
use crate::authn::{AccessToken, secret};
use crate::{Error, Record};
use access::{Ctx, Principal, Purpose, ScopeSet, User};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::net::IpAddr;
use store::account::Account;
use store::audit::{Event, Outcome};
use store::oauth::{Client, Found, Grant, NewToken, Refresh};

/// A token's holder may be taken from memory so long: revocation on another server shows within it.
const CACHE_MS: i128 = 500;
const CACHE_TOKENS: usize = 50_000;

/// Who a client says it is.
#[derive(Clone)]
pub struct ClientClaim {
    pub id: Option<String>,
    pub proof: Proof,
}

/// And how it shows it.
#[derive(Clone)]
pub enum Proof {
    None,
    Secret(String),
    /// `private_key_jwt`
    Assertion(String),
}

/// What a token stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct Holder {
    pub principal: Principal,
    /// For a person: what her application may do; never more than she may.
    pub scopes: Option<ScopeSet>,
    /// The application.
    pub client: String,
    /// All scopes as granted, also those of no resource.
    pub granted: Vec<String>,
}

/// Holders of tokens seen lately, by the token's hash.
pub(crate) type Holders = Mutex<HashMap<[u8; 32], (Timestamp, Holder)>>;

/// An answer of the token endpoint.
#[derive(Clone)]
pub struct TokenAnswer {
    pub access_token: String,
    pub expires_in_s: u32,
    /// What was granted, space separated.
    pub scope: String,
    pub refresh_token: Option<String>,
    pub id_token: Option<String>,
    /// Launch context: `patient`, `encounter`, `fhirContext`, `need_patient_banner`, `intent`.
    pub context: serde_json::Map<String, Value>,
}

/// What the token endpoint says of a launch.
const TOLD: [&str; 5] = ["patient", "encounter", "fhirContext", "need_patient_banner", "intent"];

fn parsed(context: &str) -> Value {
    serde_json::from_str(context).unwrap_or_default()
}

/// The scopes that a person's token has, about the patient of its launch.
fn scope_set(scopes: &[String], context: &Value) -> ScopeSet {
    let set = ScopeSet::parse_known(scopes.iter().map(String::as_str));
    match context.get("patient").and_then(Value::as_str) {
        Some(patient) => set.with_patient(patient),
        None => set,
    }
}

fn invalid(text: &'static str) -> Error {
    refuse("invalid-grant", text)
}

/// Of a code or refresh token that is none, any more or yet: which of these is nobody's business.
const OVER: &str = "This is no valid code or token of this client.";
const REPLAYED: &str =
    "This was used before; everything that came of it has ended. The person must agree again.";

/// New tokens of a family.
struct Fresh {
    access: String,
    refresh: Option<String>,
    token: NewToken,
    next: Option<Refresh>,
}

impl Fresh {
    fn make(client: &Client, grant: &str, scopes: &[String], now: Timestamp) -> Result<Fresh, Error> {
        let access = secret::token()?;
        let refresh = secret::token()?;
        let token = NewToken {
            token_hash: secret::hash(&access),
            client: client.id.clone(),
            scopes: scopes.to_vec(),
            expires: plus(now, SignedDuration::from_secs(i64::from(TOKEN_S))),
            grant: Some(grant.to_owned()),
        };
        let next = Refresh {
            token_hash: secret::hash(&refresh),
            grant: grant.to_owned(),
            client: client.id.clone(),
            expires: now,
            used: 0,
        };
        Ok(Fresh { access, refresh: Some(refresh), token, next: Some(next) })
    }

    /// As far as the grant allows.
    fn within(mut self, grant: &Grant, now: Timestamp) -> Fresh {
        self.token.expires = self.token.expires.min(grant.expires);
        let is_offline = scope::has(&grant.scopes, "offline_access");
        if is_offline || scope::has(&grant.scopes, "online_access") {
            let until = if is_offline { plus(now, OFFLINE) } else { grant.expires };
            self.next = self.next.map(|next| Refresh { expires: until, ..next });
        } else {
            (self.refresh, self.next) = (None, None);
        }
        self
    }

    fn insert(&self, tx: &mut dyn store::Tx, grant: &Grant, now: Timestamp) -> Result<(), store::Error> {
        store::oauth::insert_token(tx, &self.token)?;
        if let Some(next) = &self.next {
            store::oauth::insert_refresh(tx, next)?;
            store::oauth::extend(tx, &grant.id, next.expires)?;
        }
        store::oauth::touch(tx, &grant.id, now)
    }
}

/// How a redemption inside a transaction ended; both are committed.
type Redeemed = Result<(Grant, Account, Fresh), &'static str>;

impl Record {
    /// A context for what happens at the token endpoint. `person`: for whom.
    fn token_ctx(&self, client: &Client, address: Option<IpAddr>) -> Ctx {
        let mut ctx = Ctx::system("oauth", self.now());
        let (client_id, name) = (client.id.clone(), client.name.clone());
        ctx.principal = Principal::Client { client_id, name, scopes: client.scopes.clone() };
        ctx.purpose = Purpose::Operations;
        ctx.address = address;
        ctx
    }

    /// Redeems a code. Errors: `Unauthenticated`, `Throttled`, `Rule` `invalid-grant`.
    pub async fn redeem_code(
        &self,
        claim: &ClientClaim,
        code: &str,
        redirect: &str,
        verifier: &str,
        address: Option<IpAddr>,
    ) -> Result<TokenAnswer, Error> {
        let client = self.authenticate_client(claim, address).await?;
        let now = self.now();
        let is_verifier = (43..=128).contains(&verifier.len())
            && verifier.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
        let challenge = jose::encode(&Sha256::digest(verifier.as_bytes()));
        let hash = secret::hash(code);
        let template =
            self.audit_event(&self.token_ctx(&client, address), "oauth.token", Outcome::Success, "", &[]);
        let (own, redirect) = (client.clone(), redirect.to_owned());
        let redeemed = self
            .writing(move |tx| -> Result<Redeemed, Error> {
                let Some(used) = store::oauth::use_code(tx, &hash)? else { return Ok(Err(OVER)) };
                let code = &used.code;
                if !used.is_first {
                    end_family(tx, &template, &code.grant, "oauth.replay", now)?;
                    return Ok(Err(REPLAYED));
                }
                let fits = code.client == own.id
                    && code.redirect == redirect
                    && is_verifier
                    && code.challenge == challenge
                    && code.expires > now;
                if !fits {
                    // Whoever brings a right code wrongly did not get it rightly.
                    end_family(tx, &template, &code.grant, "oauth.refuse", now)?;
                    return Ok(Err(OVER));
                }
                let Some((grant, account)) = live(tx, &code.grant, &own.id, now)? else {
                    return Ok(Err(OVER));
                };
                let scopes = scope::covered(&own.scopes, &grant.scopes);
                let fresh = Fresh::make(&own, &grant.id, &scopes, now)?.within(&grant, now);
                fresh.insert(tx, &grant, now)?;
                store::audit::append(tx, &[of_person(&template, &account, &grant, "oauth.token")])?;
                Ok(Ok((grant, account, fresh)))
            })
            .await?;
        let (grant, account, fresh) = redeemed.map_err(|text| {
            self.forget_holders();
            invalid(text)
        })?;
        let id_token = match scope::has(&fresh.token.scopes, "openid") {
            true => Some(self.id_token(&client, &account, &grant, &fresh).await?),
            false => None,
        };
        Ok(answer(fresh, &grant, id_token, now))
    }

    /// Exchanges a refresh token for new tokens. `asked`: less than was granted. Errors: `Unauthenticated`,
    /// `Throttled`, `Rule` `invalid-grant`, `invalid-scope`.
    pub async fn refresh_token(
        &self,
        claim: &ClientClaim,
        token: &str,
        asked: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<TokenAnswer, Error> {
        let client = self.authenticate_client(claim, address).await?;
        let now = self.now();
        let hash = secret::hash(token);
        let template =
            self.audit_event(&self.token_ctx(&client, address), "oauth.token", Outcome::Success, "", &[]);
        let (own, asked) = (client.clone(), asked.map(str::to_owned));
        let redeemed = self
            .writing(move |tx| -> Result<Redeemed, Error> {
                let Some(used) = store::oauth::use_refresh(tx, &hash, &own.id)? else { return Ok(Err(OVER)) };
                if used.used > 1 {
                    end_family(tx, &template, &used.grant, "oauth.replay", now)?;
                    return Ok(Err(REPLAYED));
                }
                if used.expires <= now {
                    return Ok(Err(OVER));
                }
                let Some((grant, account)) = live(tx, &used.grant, &own.id, now)? else {
                    return Ok(Err(OVER));
                };
                // An error here takes the use back: the client may ask again, rightly.
                let scopes = scope::narrowed(&grant.scopes, asked.as_deref())?;
                let scopes = scope::covered(&own.scopes, &scopes);
                let fresh = Fresh::make(&own, &grant.id, &scopes, now)?.within(&grant, now);
                fresh.insert(tx, &grant, now)?;
                store::audit::append(tx, &[of_person(&template, &account, &grant, "oauth.refresh")])?;
                Ok(Ok((grant, account, fresh)))
            })
            .await?;
        let (grant, _, fresh) = redeemed.map_err(|text| {
            self.forget_holders();
            invalid(text)
        })?;
        Ok(answer(fresh, &grant, None, now))
    }

    /// OAuth client credentials by a secret. `scope` `None`: all of the client's. Errors: as
    /// [Record::client_token].
    pub async fn token(
        &self,
        client_id: &str,
        secret: &str,
        scope: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<AccessToken, Error> {
        let claim = ClientClaim { id: Some(client_id.to_owned()), proof: Proof::Secret(secret.to_owned()) };
        self.client_token(&claim, scope, address).await
    }

    /// A token for a client that acts for itself. Errors: `Unauthenticated`, `Rule` `invalid-scope`,
    /// `unauthorized-client`, `Throttled`.
    pub async fn client_token(
        &self,
        claim: &ClientClaim,
        scope: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<AccessToken, Error> {
        let client = self.authenticate_client(claim, address).await?;
        proof::check_for_itself(&client)?;
        let now = self.now();
        let is_own = |text: &&str| text.starts_with("system/") || text.starts_with("sens/");
        let registered = ScopeSet::parse_known(client.scopes.iter().map(String::as_str).filter(is_own));
        let granted = match scope.map(str::trim).filter(|s| !s.is_empty()) {
            None => registered,
            Some(asked) => {
                let asked = ScopeSet::parse(asked.split_whitespace())
                    .map_err(|e| refuse("invalid-scope", e.to_string()))?;
                registered.grant(&asked)
            }
        };
        if granted.is_empty() {
            return Err(refuse("invalid-scope", "The client is not registered for any of these scopes."));
        }
        let token = secret::token()?;
        let scope = granted.to_string();
        let new = NewToken {
            token_hash: secret::hash(&token),
            client: client.id.clone(),
            scopes: scope.split(' ').map(str::to_owned).collect(),
            expires: plus(now, SignedDuration::from_secs(i64::from(TOKEN_S))),
            grant: None,
        };
        let event = self.audit_event(&self.token_ctx(&client, address), "login", Outcome::Success, "", &[]);
        self.writing(move |tx| {
            store::oauth::insert_token(tx, &new)?;
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        Ok(AccessToken { token, expires_in_s: TOKEN_S, scope })
    }

    /// Who this token of a client, or of a person's session, is. A token that a person's application holds is nobody
    /// here: it has scopes, see [Record::holder]. Errors: `Unauthenticated`.
    pub async fn bearer(&self, token: &str) -> Result<Principal, Error> {
        match self.holder(token).await? {
            Some(Holder { principal, scopes: None, .. }) => Ok(principal),
            Some(_) => Err(Error::Unauthenticated),
            None => Ok(Principal::User(self.session(token).await?.user)),
        }
    }

    /// What an access token stands for, as things are now; `None` if it is none. Errors: `Busy`, `Internal`.
    pub async fn holder(&self, token: &str) -> Result<Option<Holder>, Error> {
        let hash = secret::hash(token);
        let now = self.now();
        if let Some((at, holder)) = self.inner.holders.lock().get(&hash)
            && (0..CACHE_MS).contains(&now.duration_since(*at).as_millis())
        {
            return Ok(Some(holder.clone()));
        }
        let found = self.reading(move |tx| Ok(store::oauth::find_token(tx, &hash, now)?)).await?;
        let Some(found) = found else { return Ok(None) };
        let holder = self.holder_of(found).await?;
        let mut cache = self.inner.holders.lock();
        if cache.len() >= CACHE_TOKENS {
            cache.retain(|_, (at, _)| now.duration_since(*at).as_millis() < CACHE_MS);
        }
        if cache.len() < CACHE_TOKENS {
            cache.insert(hash, (now, holder.clone()));
        }
        Ok(Some(holder))
    }

    async fn holder_of(&self, found: Found) -> Result<Holder, Error> {
        let Found { client, scopes: granted, person, .. } = found;
        Ok(match person {
            None => Holder {
                principal: Principal::Client {
                    client_id: client.id.clone(),
                    name: client.name,
                    scopes: granted.clone(),
                },
                scopes: None,
                client: client.id,
                granted,
            },
            Some((grant, account)) => Holder {
                principal: Principal::User(self.user_now(&account).await?),
                // Never more than the client is registered for today.
                scopes: Some(scope_set(&scope::covered(&client.scopes, &granted), &parsed(&grant.context))),
                client: client.id,
                granted,
            },
        })
    }

    async fn user_now(&self, account: &Account) -> Result<User, Error> {
        let mut user = crate::authn::user(account);
        user.standing = self.standing(&user).await?;
        Ok(user)
    }

    /// Forgets what tokens stand for, after something about clients, grants or people changed.
    pub(crate) fn forget_holders(&self) {
        self.inner.holders.lock().clear();
    }

    /// RFC 7662: what a token of the asking client is; of others' nothing. Errors: `Unauthenticated`, `Throttled`,
    /// `Rule` `unauthorized-client` for public clients.
    pub async fn introspect(
        &self,
        claim: &ClientClaim,
        token: &str,
        address: Option<IpAddr>,
    ) -> Result<Value, Error> {
        let client = self.authenticate_client(claim, address).await?;
        proof::check_for_itself(&client)?;
        let (hash, now, issuer) = (secret::hash(token), self.now(), self.issuer()?.to_owned());
        let (found, refresh) = self
            .reading(move |tx| {
                Ok((store::oauth::find_token(tx, &hash, now)?, store::oauth::refresh(tx, &hash, now)?))
            })
            .await?;
        let nothing = json!({"active": false});
        if let Some(found) = found.filter(|f| f.client.id == client.id) {
            let mut told = json!({"active": true, "client_id": client.id, "iss": issuer, "token_type": "Bearer",
                "scope": found.scopes.join(" "), "exp": found.expires.as_second()});
            match &found.person {
                None => told["sub"] = json!(client.id),
                Some((grant, account)) => {
                    told["sub"] = json!(account.id.to_string());
                    let context = parsed(&grant.context);
                    for name in ["patient", "encounter", "intent"] {
                        if let Some(value) = context.get(name) {
                            told[name] = value.clone();
                        }
                    }
                    if scope::has(&found.scopes, "fhirUser")
                        && let Some(url) = self.fhir_user(account)
                    {
                        told["fhirUser"] = json!(url);
                    }
                }
            }
            return Ok(told);
        }
        Ok(match refresh.filter(|g| g.client == client.id && g.is_live(now)) {
            Some(grant) => json!({"active": true, "client_id": client.id, "iss": issuer,
                "scope": grant.scopes.join(" "), "sub": grant.account.to_string(), "exp": grant.expires.as_second()}),
            None => nothing,
        })
    }

    /// RFC 7009: ends a token of the client; with a refresh token all of its family. Unknown tokens are fine.
    /// Errors: `Unauthenticated`, `Throttled`.
    pub async fn revoke_token(
        &self,
        claim: &ClientClaim,
        token: &str,
        address: Option<IpAddr>,
    ) -> Result<(), Error> {
        let client = self.authenticate_client(claim, address).await?;
        let (hash, now) = (secret::hash(token), self.now());
        let template =
            self.audit_event(&self.token_ctx(&client, address), "oauth.revoke", Outcome::Success, "", &[]);
        self.writing(move |tx| {
            let family = store::oauth::family(tx, &hash)?.filter(|g| g.client == client.id);
            if let Some(grant) = family {
                end_family(tx, &template, &grant.id, "oauth.revoke", now)?;
            } else if store::oauth::end_token(tx, &hash, &client.id)? {
                store::audit::append(tx, std::slice::from_ref(&template))?;
            }
            Ok(())
        })
        .await?;
        self.forget_holders();
        Ok(())
    }

    /// OpenID Connect's userinfo. Errors: `Denied` without the scope `openid`.
    pub async fn userinfo(&self, holder: &Holder) -> Result<Value, Error> {
        let Principal::User(user) = &holder.principal else { return Err(Error::Denied) };
        if !scope::has(&holder.granted, "openid") {
            return Err(Error::Denied);
        }
        let id = user.account;
        let account =
            self.reading(move |tx| Ok(store::account::load(tx, id)?)).await?.ok_or(Error::Unauthenticated)?;
        let mut told = json!({"sub": account.id.to_string()});
        self.tell(&mut told, &account, &holder.granted);
        Ok(told)
    }

    fn tell(&self, claims: &mut Value, account: &Account, scopes: &[String]) {
        if scope::has(scopes, "fhirUser")
            && let Some(url) = self.fhir_user(account)
        {
            claims["fhirUser"] = json!(url);
        }
        if scope::has(scopes, "profile") {
            claims["name"] = json!(account.display);
            claims["locale"] = json!(account.language);
        }
    }

    /// The address of the Practitioner or Patient that the person is.
    fn fhir_user(&self, account: &Account) -> Option<String> {
        let key = account.practitioner.as_ref().or(account.patient.as_ref())?;
        Some(format!("{}/{}/{}", self.base()?, key.kind.name(), key.id))
    }

    async fn id_token(
        &self,
        client: &Client,
        account: &Account,
        grant: &Grant,
        fresh: &Fresh,
    ) -> Result<String, Error> {
        let now = self.now();
        let context = parsed(&grant.context);
        let mut claims = json!({
            "iss": self.issuer()?,
            "sub": account.id.to_string(),
            "aud": client.id,
            "iat": now.as_second(),
            "exp": now.as_second() + i64::from(TOKEN_S),
        });
        for name in ["nonce", "auth_time"] {
            if let Some(value) = context.get(name).filter(|v| !v.is_null()) {
                claims[name] = value.clone();
            }
        }
        self.tell(&mut claims, account, &fresh.token.scopes);
        self.sign_jwt(&client.facts.algorithm, &claims).await
    }
}

/// The live grant of this client and its person.
fn live(
    tx: &mut dyn store::Tx,
    id: &str,
    client: &str,
    now: Timestamp,
) -> Result<Option<(Grant, Account)>, store::Error> {
    let Some(grant) = store::oauth::grant(tx, id)?.filter(|g| g.is_live(now) && g.client == client) else {
        return Ok(None);
    };
    let account = store::account::load(tx, grant.account)?.filter(|a| !a.disabled);
    Ok(account.map(|account| (grant, account)))
}

/// The event as the person's, through the client.
fn of_person(template: &Event, account: &Account, grant: &Grant, action: &str) -> Event {
    let user = Principal::User(crate::authn::user(account));
    Event {
        action: action.to_owned(),
        agent: user.agent(),
        agent_display: user.display().to_owned(),
        role: user.role_codes(),
        client: grant.client.clone(),
        what: format!("client/{}", grant.client),
        patients: parsed(&grant.context)["patient"].as_str().map(str::to_owned).into_iter().collect(),
        ..template.clone()
    }
}

/// Revokes a family and says so in the audit trail.
fn end_family(
    tx: &mut dyn store::Tx,
    template: &Event,
    grant: &str,
    action: &str,
    now: Timestamp,
) -> Result<(), store::Error> {
    store::oauth::revoke(tx, grant, now)?;
    let account = match store::oauth::grant(tx, grant)? {
        Some(grant) => store::account::load(tx, grant.account)?.map(|account| (grant, account)),
        None => None,
    };
    let mut event = match account {
        Some((grant, account)) => of_person(template, &account, &grant, action),
        None => Event { action: action.to_owned(), ..template.clone() },
    };
    if action != "oauth.revoke" {
        event.outcome = Outcome::Denied;
    }
    store::audit::append(tx, std::slice::from_ref(&event))?;
    Ok(())
}

fn answer(fresh: Fresh, grant: &Grant, id_token: Option<String>, now: Timestamp) -> TokenAnswer {
    let told = parsed(&grant.context);
    let context =
        TOLD.iter().filter_map(|name| Some(((*name).to_owned(), told.get(name)?.clone()))).collect();
    let left = fresh.token.expires.duration_since(now).as_secs().clamp(0, i64::from(TOKEN_S));
    TokenAnswer {
        access_token: fresh.access,
        expires_in_s: u32::try_from(left).unwrap_or(TOKEN_S),
        scope: fresh.token.scopes.join(" "),
        refresh_token: fresh.refresh,
        id_token,
        context,
    }
}

/// For a grant without refresh tokens: until its last access token ends.
pub(super) fn once(now: Timestamp) -> Timestamp {
    plus(plus(now, CODE), SignedDuration::from_secs(i64::from(TOKEN_S)))
}
