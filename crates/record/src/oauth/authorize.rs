//! A person is asked whether an application may act for her.
//!
//! What the application asked is carried, sealed, by the person's browser: whoever floods the endpoint writes nothing.

use super::token::once;
use super::{CODE, MAX_TEXT_CHARS, OFFLINE, REQUEST, jose, plus, refuse, scope};
use crate::authn::secret;
use crate::{Error, Record};
use access::{Ctx, User};
use fhir::{ResourceKey, TypeId};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use store::audit::Outcome;
use store::oauth::{Client, Grant, NewCode};

/// What the seal of a request is bound to.
const PLACE: &str = "oauth-request";

/// Parameters of the authorization endpoint, as they came.
#[derive(Debug, Clone, Default)]
pub struct AuthorizeParams {
    pub response_type: Option<String>,
    pub response_mode: Option<String>,
    pub client_id: Option<String>,
    pub redirect_uri: Option<String>,
    pub scope: Option<String>,
    pub state: Option<String>,
    /// SMART: the FHIR base that the application wants to use.
    pub aud: Option<String>,
    pub code_challenge: Option<String>,
    pub code_challenge_method: Option<String>,
    pub nonce: Option<String>,
    pub launch: Option<String>,
    pub prompt: Option<String>,
    pub max_age: Option<String>,
    /// Request objects, which are not supported.
    pub request: Option<String>,
    pub request_uri: Option<String>,
}

/// Why no one is asked.
#[derive(Debug)]
pub enum AuthorizeError {
    /// Client or redirect are not known: the person is told, nobody is sent anywhere.
    Shown(&'static str),
    /// The address that tells the application.
    Back(String),
    Record(Error),
}

impl From<Error> for AuthorizeError {
    fn from(error: Error) -> AuthorizeError {
        AuthorizeError::Record(error)
    }
}

/// What a person is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthorizationView {
    pub client_id: String,
    pub client_name: String,
    /// Where she is sent back to.
    pub redirect_uri: String,
    /// What would be granted; she may take some away.
    pub scopes: Vec<String>,
    /// The patient of the launch, by id.
    pub patient: Option<String>,
    /// A patient must be chosen.
    pub needs_patient: bool,
    /// Ids among which she chooses; staff find any patient they may read.
    pub patients: Vec<String>,
    pub expires_at: Timestamp,
}

/// What the person says.
#[derive(Debug, Clone, Default)]
pub struct Decision {
    pub is_approved: bool,
    /// Fewer than asked; `None`: all.
    pub scopes: Option<Vec<String>>,
    /// Id of the Patient.
    pub patient: Option<String>,
}

/// A request, as it is sealed.
struct Request {
    client: Client,
    redirect: String,
    state: Option<String>,
    challenge: String,
    scopes: Vec<String>,
    nonce: Option<String>,
    max_age_minutes: Option<u32>,
    /// For whom a launch was made, and its context.
    launch: Option<(i64, Map<String, Value>)>,
    expires: Timestamp,
}

/// `redirect` with parameters added.
fn back(redirect: &str, issuer: &str, state: Option<&str>, pairs: &[(&str, &str)]) -> String {
    let mut url = redirect.to_owned();
    let state = state.map(|state| ("state", state));
    for (name, value) in pairs.iter().copied().chain(state).chain([("iss", issuer)]) {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(name);
        url.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    url.push(char::from(byte))
                }
                _ => url.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    url
}

impl Record {
    /// Checks what an application asks. Returns the id under which a person decides: opaque, up to some thousand
    /// characters. Errors: [AuthorizeError].
    pub async fn begin_authorization(&self, asked: AuthorizeParams) -> Result<String, AuthorizeError> {
        let id = asked.client_id.clone().unwrap_or_default();
        let client = self.reading(move |tx| Ok(store::oauth::client(tx, &id)?)).await?;
        let client = client
            .filter(|c| !c.disabled && !c.facts.redirects.is_empty())
            .ok_or(AuthorizeError::Shown("This application is not known here."))?;
        let redirect = asked.redirect_uri.as_ref().filter(|uri| client.facts.redirects.contains(uri)).ok_or(
            AuthorizeError::Shown(
                "This application is not registered for the address it wants to return to.",
            ),
        )?;
        let issuer = self.issuer()?;
        let state = asked.state.as_deref().filter(|s| s.chars().count() <= MAX_TEXT_CHARS);
        let told = |error: &str, text: &str| {
            AuthorizeError::Back(back(
                redirect,
                issuer,
                state,
                &[("error", error), ("error_description", text)],
            ))
        };
        let wrong = |text: &str| told("invalid_request", text);
        if state.is_none() && asked.state.is_some() {
            return Err(wrong("state is too long."));
        }
        match asked.response_type.as_deref() {
            Some("code") => {}
            None => return Err(wrong("response_type is missing.")),
            Some(_) => {
                return Err(told("unsupported_response_type", "Only response_type=code is supported."));
            }
        }
        if asked.response_mode.as_deref().is_some_and(|mode| mode != "query") {
            return Err(wrong("Only response_mode=query is supported."));
        }
        if asked.request.is_some() {
            return Err(told("request_not_supported", "Request objects are not supported."));
        }
        if asked.request_uri.is_some() {
            return Err(told("request_uri_not_supported", "Request objects are not supported."));
        }
        if asked.code_challenge_method.as_deref() != Some("S256") {
            return Err(wrong("PKCE is required: send code_challenge with code_challenge_method=S256."));
        }
        let challenge = asked.code_challenge.as_deref().unwrap_or_default();
        if jose::decode(challenge).is_none_or(|bytes| bytes.len() != 32) {
            return Err(wrong("code_challenge is the base64url of a SHA-256."));
        }
        if asked.nonce.as_ref().is_some_and(|n| n.chars().count() > MAX_TEXT_CHARS) {
            return Err(wrong("nonce is too long."));
        }
        let words = scope::words(asked.scope.as_deref());
        let scopes = scope::personal(scope::covered(&client.scopes, &words));
        if scopes.is_empty() {
            return Err(told("invalid_scope", "The application is registered for none of these scopes."));
        }
        // A token for another server must not be had here, nor one from here be shown there.
        let base = self.base().unwrap_or_default();
        match asked.aud.as_deref() {
            Some(aud) if aud.trim_end_matches('/') == base => {}
            Some(_) => return Err(wrong("aud is not the FHIR base of this server.")),
            None if scopes.iter().all(|s| scope::NAMED.contains(&s.as_str())) => {}
            None => return Err(wrong("aud is missing: the FHIR base of this server.")),
        }
        if asked.prompt.as_deref().is_some_and(|p| p.split(' ').any(|p| p == "none")) {
            return Err(told("interaction_required", "The person must be asked."));
        }
        let max_age_minutes = match asked.max_age.as_deref().map(str::parse::<u32>) {
            None => None,
            Some(Ok(seconds)) => Some(seconds.div_ceil(60)),
            Some(Err(_)) => return Err(wrong("max_age is a number of seconds.")),
        };
        let launch = match asked.launch.as_deref() {
            None if scope::has(&words, "launch") => return Err(wrong("launch is missing.")),
            None => Value::Null,
            Some(launch) => match self.opened_launch(launch, &client.id) {
                Some((account, context)) => json!({"account": account, "context": context}),
                None => return Err(wrong("This launch is over, or was for another application.")),
            },
        };
        let expires = plus(self.now(), REQUEST);
        let request = json!({
            "client": client.id, "redirect": redirect, "state": state, "challenge": challenge, "scopes": scopes,
            "nonce": asked.nonce, "max_age": max_age_minutes, "launch": launch, "expires": expires.as_second(),
        });
        Ok(jose::encode(&self.seal(request.to_string().as_bytes(), PLACE)?))
    }

    async fn opened_request(&self, id: &str) -> Result<Request, Error> {
        let sealed = jose::decode(id).ok_or(Error::NotFound)?;
        let text = self.unseal(&sealed, PLACE).map_err(|_| Error::NotFound)?;
        let value: Value = serde_json::from_slice(&text).map_err(|_| Error::NotFound)?;
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        let expires = value["expires"].as_i64().and_then(|s| Timestamp::from_second(s).ok());
        let expires = expires.filter(|at| *at > self.now()).ok_or(Error::NotFound)?;
        let wanted = text("client").ok_or(Error::NotFound)?;
        let client = self.reading(move |tx| Ok(store::oauth::client(tx, &wanted)?)).await?;
        let redirect = text("redirect").ok_or(Error::NotFound)?;
        // As it is registered now.
        let client =
            client.filter(|c| !c.disabled && c.facts.redirects.contains(&redirect)).ok_or(Error::NotFound)?;
        let scopes: Vec<String> = value["scopes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        let launch = value["launch"]["account"]
            .as_i64()
            .map(|account| (account, value["launch"]["context"].as_object().cloned().unwrap_or_default()));
        Ok(Request {
            scopes: scope::covered(&client.scopes, &scopes),
            client,
            redirect,
            state: text("state"),
            challenge: text("challenge").unwrap_or_default(),
            nonce: text("nonce"),
            max_age_minutes: value["max_age"].as_u64().and_then(|m| u32::try_from(m).ok()),
            launch,
            expires,
        })
    }

    /// The signed-in person herself: nobody's token may grant anything.
    fn granting(ctx: &Ctx) -> Result<&User, Error> {
        match (ctx.user(), &ctx.session, &ctx.scopes) {
            (Some(user), Some(_), None) => Ok(user),
            _ => Err(Error::Denied),
        }
    }

    /// What the person is asked. Errors: `Denied` unless she is signed in herself; `NotFound` for a request that is
    /// over; `StepUpNeeded` where the application wants her to have signed in lately; `Rule` `launch-other` if
    /// somebody else launched the application.
    pub async fn authorization(&self, ctx: &Ctx, id: &str) -> Result<AuthorizationView, Error> {
        let user = Self::granting(ctx)?;
        let request = self.opened_request(id).await?;
        self.check_person(ctx, user, &request)?;
        let patient =
            request.launch.as_ref().and_then(|(_, c)| c.get("patient")?.as_str().map(str::to_owned));
        let needs_patient = patient.is_none() && scope::needs_patient(&request.scopes);
        Ok(AuthorizationView {
            client_id: request.client.id,
            client_name: request.client.name,
            redirect_uri: request.redirect,
            patients: if needs_patient { own_patients(ctx, user) } else { Vec::new() },
            patient,
            needs_patient,
            scopes: request.scopes,
            expires_at: request.expires,
        })
    }

    fn check_person(&self, ctx: &Ctx, user: &User, request: &Request) -> Result<(), Error> {
        if request.launch.as_ref().is_some_and(|(account, _)| *account != user.account) {
            return Err(refuse("launch-other", "Somebody else launched this application; launch it again."));
        }
        match request.max_age_minutes {
            Some(minutes) => self.require_fresh(ctx, minutes.max(1), false),
            None => Ok(()),
        }
    }

    /// The person agrees or refuses. Returns the address to send her back to. Errors: as [Record::authorization];
    /// `Unauthenticated` for a session that has just ended; `Rule` `patient-required`, `patient-unknown`, `scope-required`.
    pub async fn decide_authorization(
        &self,
        ctx: &Ctx,
        id: &str,
        decision: Decision,
    ) -> Result<String, Error> {
        let user = Self::granting(ctx)?;
        let request = self.opened_request(id).await?;
        self.check_person(ctx, user, &request)?;
        let issuer = self.issuer()?;
        let state = request.state.as_deref();
        let what = format!("client/{}", request.client.id);
        if !decision.is_approved {
            self.audit_one(ctx, "oauth.refuse", Outcome::Success, &what, &[]).await?;
            return Ok(back(&request.redirect, issuer, state, &[("error", "access_denied")]));
        }
        let scopes = match &decision.scopes {
            None => request.scopes.clone(),
            Some(fewer) => request.scopes.iter().filter(|s| fewer.contains(s)).cloned().collect(),
        };
        if scopes.is_empty() {
            return Err(refuse("scope-required", "Leave at least one right, or refuse."));
        }
        // What lasts for months is not granted by whoever finds the desk unlocked.
        if scopes.iter().any(|scope| scope == "offline_access") {
            self.require_fresh(ctx, crate::authn::SENSITIVE_MINUTES, true)?;
        }
        let mut context = request.launch.as_ref().map(|(_, c)| c.clone()).unwrap_or_default();
        if scope::needs_patient(&scopes) && !context.contains_key("patient") {
            let own = own_patients(ctx, user);
            let chosen = match (decision.patient, own.as_slice()) {
                (Some(chosen), _) => chosen,
                (None, [one]) => one.clone(),
                (None, _) => return Err(refuse("patient-required", "Choose the patient this is about.")),
            };
            context.insert("patient".into(), json!(chosen));
        }
        let patient = context.get("patient").and_then(Value::as_str).map(str::to_owned);
        if let Some(patient) = &patient {
            self.check_patient(ctx, patient).await?;
            let is_own = user.patient.as_ref().is_some_and(|key| key.id == *patient);
            context.entry("need_patient_banner").or_insert(json!(!is_own));
        }
        if let Some(nonce) = request.nonce {
            context.insert("nonce".into(), json!(nonce));
        }
        if let Some(session) = &ctx.session {
            context.insert("auth_time".into(), json!(session.authenticated_at.as_second()));
        }
        let now = self.now();
        let expires = match &ctx.session {
            _ if scope::has(&scopes, "offline_access") => plus(now, OFFLINE),
            Some(session) if scope::has(&scopes, "online_access") => session.absolute,
            _ => once(now),
        };
        let code = secret::token()?;
        let grant = Grant {
            id: uuid::Uuid::now_v7().to_string(),
            account: user.account,
            client: request.client.id.clone(),
            scopes,
            context: Value::Object(context).to_string(),
            created: now,
            expires,
            last_used: None,
            revoked: None,
        };
        let new = NewCode {
            code_hash: secret::hash(&code),
            grant: grant.id.clone(),
            client: request.client.id.clone(),
            redirect: request.redirect.clone(),
            challenge: request.challenge.clone(),
            expires: plus(now, CODE),
        };
        let patients: Vec<String> = patient.into_iter().collect();
        let mut event = self.audit_event(ctx, "oauth.grant", Outcome::Success, &what, &patients);
        event.client = request.client.id.clone();
        let session = ctx.session.as_ref().map(|session| session.id);
        self.writing(move |tx| {
            // Who was signed out everywhere a moment ago grants nothing that lasts.
            store::account::hold(tx, grant.account)?;
            if let Some(session) = &session
                && !store::session::is_alive(tx, grant.account, session, now)?
            {
                return Err(Error::Unauthenticated);
            }
            store::oauth::insert_grant(tx, &grant)?;
            store::oauth::insert_code(tx, &new)?;
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        Ok(back(&request.redirect, issuer, state, &[("code", &code)]))
    }

    /// Nobody grants what she cannot read herself. Errors: `patient-unknown`.
    pub(super) async fn check_patient(&self, ctx: &Ctx, id: &str) -> Result<(), Error> {
        let unknown = || refuse("patient-unknown", "You can open no such patient.");
        let kind = TypeId::from_name("Patient").ok_or_else(unknown)?;
        if !fhir::resource::valid_id(id) {
            return Err(unknown());
        }
        match self.read(ctx, &ResourceKey::new(kind, id)).await {
            Ok(_) => Ok(()),
            Err(Error::NotFound | Error::Gone | Error::Denied) => Err(unknown()),
            Err(other) => Err(other),
        }
    }
}

/// The person as a patient, and those she acts for.
fn own_patients(ctx: &Ctx, user: &User) -> Vec<String> {
    let own = user.patient.as_ref().map(|key| key.id.clone());
    let proxied = user.standing.proxied_at(ctx.now).map(|p| p.patient.clone());
    own.into_iter().chain(proxied).collect()
}
