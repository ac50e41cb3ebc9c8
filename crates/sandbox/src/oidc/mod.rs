//! A provider of identities that speaks OpenID Connect: discovery, authorization code with PKCE, userinfo, sign-out by the
//! browser and by the back channel. People are picked by a click; nobody has a password.
//!
//! It checks its client to the letter (redirect URI, PKCE, secret, a code once), and can be told to answer wrongly.

mod control;
mod token;

pub use token::OidcFault;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Json};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use token::Key;

/// The one client.
pub const CLIENT_ID: &str = "uzima";
/// And its secret; guards nothing.
pub const CLIENT_SECRET: &str = "uzima-sandbox-oidc-secret";
/// Path of the issuer below the sandbox's address.
pub const PATH: &str = "/oidc";

/// Codes that wait for their client.
const CODES_MAX: usize = 1_000;
const PEOPLE_MAX: usize = 100;
/// Tokens that open userinfo.
const TOKENS_MAX: usize = 1_000;

/// Somebody the provider knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Person {
    /// `sub`
    pub subject: String,
    /// Full name.
    pub name: String,
    /// E-mail address.
    #[serde(default)]
    pub email: String,
    /// Whether the provider vouches for the address.
    #[serde(default)]
    pub email_verified: bool,
    /// In the claim `groups`.
    #[serde(default)]
    pub groups: Vec<String>,
    /// How she signs in.
    #[serde(default)]
    pub acr: Option<String>,
    /// And by what.
    #[serde(default)]
    pub amr: Vec<String>,
}

impl Person {
    /// Somebody in these groups.
    pub fn new(subject: &str, name: &str, groups: &[&str]) -> Person {
        Person {
            subject: subject.to_owned(),
            name: name.to_owned(),
            email: format!("{subject}@staff.example"),
            email_verified: true,
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            acr: None,
            amr: vec!["pwd".to_owned()],
        }
    }
}

/// Whom the demonstration knows.
fn people() -> Vec<Person> {
    vec![
        Person::new("s-1001", "Wambui Kariuki", &["doctors"]),
        Person::new("s-1002", "Peter Odhiambo", &["cashiers"]),
        Person::new("s-1003", "Grace Achieng", &["visitors"]),
        Person::new("s-1004", "Amina Hassan", &["administrators", "front-desk"]),
    ]
}

/// What was agreed to, behind a code.
#[derive(Clone)]
struct Grant {
    person: Person,
    nonce: Option<String>,
    redirect_uri: String,
    challenge: String,
    sid: String,
    at: Timestamp,
    used: bool,
}

#[derive(Default)]
struct Memory {
    people: Vec<Person>,
    codes: HashMap<String, Grant>,
    tokens: HashMap<String, String>,
    faults: VecDeque<OidcFault>,
    /// Codes redeemed so far.
    redeemed: u64,
    /// `post_logout_redirect_uri` of those who signed out here.
    signed_out: Vec<String>,
}

struct Inner {
    issuer: String,
    key: Mutex<Key>,
    memory: Mutex<Memory>,
}

/// The provider; cloning is cheap.
#[derive(Clone)]
pub struct Issuer(Arc<Inner>);

fn random() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

impl Issuer {
    /// `base`: the sandbox's own address.
    pub(crate) fn new(base: &str) -> Issuer {
        let memory = Memory { people: people(), ..Memory::default() };
        let inner = Inner {
            issuer: format!("{base}{PATH}"),
            key: Mutex::new(Key::new()),
            memory: Mutex::new(memory),
        };
        Issuer(Arc::new(inner))
    }

    /// `iss`, and where discovery begins.
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Makes somebody known, or changes her.
    pub fn put_person(&self, person: Person) {
        let mut memory = self.0.memory.lock();
        memory.people.retain(|known| known.subject != person.subject);
        if memory.people.len() < PEOPLE_MAX {
            memory.people.push(person);
        }
    }

    /// The next answers are wrong in these ways, one each.
    pub fn fault(&self, fault: OidcFault) {
        self.0.memory.lock().faults.push_back(fault);
    }

    /// Signs by a new key from now on; the old one is gone from the key set.
    pub fn rotate(&self) {
        *self.0.key.lock() = Key::new();
    }

    /// Codes redeemed so far.
    pub fn redeemed(&self) -> u64 {
        self.0.memory.lock().redeemed
    }

    /// Where browsers went after they signed out here.
    pub fn signed_out(&self) -> Vec<String> {
        self.0.memory.lock().signed_out.clone()
    }

    /// A logout token; `change` has the last word on its claims.
    pub fn logout_token(
        &self,
        subject: Option<&str>,
        sid: Option<&str>,
        change: impl FnOnce(&mut Value),
    ) -> String {
        let now = Timestamp::now().as_second();
        let mut claims = json!({
            "iss": self.issuer(), "aud": CLIENT_ID, "iat": now, "exp": now + 120, "jti": random(),
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        });
        if let Some(subject) = subject {
            claims["sub"] = json!(subject);
        }
        if let Some(sid) = sid {
            claims["sid"] = json!(sid);
        }
        change(&mut claims);
        self.0.key.lock().sign(&json!({"typ": "logout+jwt"}), &claims)
    }

    /// The next fault if it is one of these.
    fn take(&self, fits: impl Fn(&OidcFault) -> bool) -> Option<OidcFault> {
        let mut memory = self.0.memory.lock();
        if memory.faults.front().is_some_and(fits) { memory.faults.pop_front() } else { None }
    }
}

pub(crate) fn router(issuer: Issuer) -> Router {
    let routes = Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/keys", get(keys))
        .route("/authorize", get(authorize))
        .route("/token", post(redeem))
        .route("/userinfo", get(userinfo))
        .route("/logout", get(logout))
        .merge(control::router())
        .with_state(issuer);
    Router::new().nest(PATH, routes)
}

async fn discovery(State(issuer): State<Issuer>) -> Json<Value> {
    let at = |path: &str| format!("{}/{path}", issuer.issuer());
    Json(json!({
        "issuer": issuer.issuer(),
        "authorization_endpoint": at("authorize"),
        "token_endpoint": at("token"),
        "userinfo_endpoint": at("userinfo"),
        "jwks_uri": at("keys"),
        "end_session_endpoint": at("logout"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        "authorization_response_iss_parameter_supported": true,
        "backchannel_logout_supported": true,
        "backchannel_logout_session_supported": true,
    }))
}

async fn keys(State(issuer): State<Issuer>) -> Json<Value> {
    Json(json!({"keys": [issuer.0.key.lock().public()]}))
}

#[derive(Deserialize)]
struct Asked {
    response_type: String,
    client_id: String,
    redirect_uri: String,
    scope: String,
    state: String,
    nonce: Option<String>,
    code_challenge: String,
    code_challenge_method: String,
    /// The person that was clicked on; `-`: nobody.
    r#as: Option<String>,
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Without `as` a page to pick a person, else back to the client.
async fn authorize(
    State(issuer): State<Issuer>,
    axum::extract::RawQuery(query): axum::extract::RawQuery,
    Query(asked): Query<Asked>,
) -> Response {
    let is_right = asked.response_type == "code"
        && asked.client_id == CLIENT_ID
        && asked.code_challenge_method == "S256"
        && asked.scope.split(' ').any(|scope| scope == "openid")
        && (asked.redirect_uri.starts_with("http://") || asked.redirect_uri.starts_with("https://"));
    if !is_right {
        return (StatusCode::BAD_REQUEST, "This is no request of the sandbox's client.").into_response();
    }
    let Some(picked) = &asked.r#as else { return picker(&issuer, &query.unwrap_or_default()) };
    let back = |pairs: &[(&str, &str)]| {
        let mut url = asked.redirect_uri.clone();
        for (n, (name, value)) in
            pairs.iter().chain(&[("state", asked.state.as_str()), ("iss", issuer.issuer())]).enumerate()
        {
            url.push(if n == 0 && !asked.redirect_uri.contains('?') { '?' } else { '&' });
            url.push_str(&format!("{name}={}", encoded(value)));
        }
        Redirect::to(&url).into_response()
    };
    let person = issuer.0.memory.lock().people.iter().find(|person| person.subject == *picked).cloned();
    let refused = issuer.take(|fault| matches!(fault, OidcFault::RefuseSignIn)).is_some();
    let Some(person) = person.filter(|_| !refused) else { return back(&[("error", "access_denied")]) };
    let grant = Grant {
        person,
        nonce: asked.nonce.clone(),
        redirect_uri: asked.redirect_uri.clone(),
        challenge: asked.code_challenge.clone(),
        sid: random(),
        at: Timestamp::now(),
        used: false,
    };
    let code = random();
    let mut memory = issuer.0.memory.lock();
    if memory.codes.len() >= CODES_MAX {
        memory.codes.clear();
    }
    memory.codes.insert(code.clone(), grant);
    drop(memory);
    back(&[("code", &code)])
}

/// For a query: everything but letters and digits as `%XX`.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

fn picker(issuer: &Issuer, query: &str) -> Response {
    let people = issuer.0.memory.lock().people.clone();
    let link = |subject: &str, words: &str| {
        format!(
            "<p><a href=\"authorize?{}&amp;as={}\">{}</a></p>",
            escaped(query),
            encoded(subject),
            escaped(words)
        )
    };
    let mut body = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Sandbox identity provider</title><h1>Who are you?</h1>\
         <p>This provider is a stand-in: pick somebody.</p>",
    );
    for person in &people {
        body.push_str(&link(&person.subject, &format!("{} ({})", person.name, person.groups.join(", "))));
    }
    body.push_str(&link("-", "Nobody: refuse"));
    let policy = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy), (header::CACHE_CONTROL, "no-store")], Html(body))
        .into_response()
}

#[derive(Deserialize)]
struct Redeeming {
    grant_type: String,
    code: String,
    redirect_uri: String,
    code_verifier: String,
}

fn refused(code: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({"error": code}))).into_response()
}

/// HTTP Basic with both parts form-encoded (RFC 6749 §2.3.1); neither has anything to encode but `-`.
fn is_client(headers: &HeaderMap) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given =
        given.and_then(|value| value.strip_prefix("Basic ")).and_then(|text| STANDARD.decode(text).ok());
    let given = given.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    given.replace("%2D", "-") == format!("{CLIENT_ID}:{CLIENT_SECRET}")
}

async fn redeem(State(issuer): State<Issuer>, headers: HeaderMap, Form(form): Form<Redeeming>) -> Response {
    if let Some(OidcFault::Delay { ms }) = issuer.take(|fault| matches!(fault, OidcFault::Delay { .. })) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    if !is_client(&headers) {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"}))).into_response();
    }
    if issuer.take(|fault| matches!(fault, OidcFault::RefuseToken)).is_some() {
        return refused("invalid_grant");
    }
    if issuer.take(|fault| matches!(fault, OidcFault::Broken)).is_some() {
        return (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], "{\"access_token\":")
            .into_response();
    }
    let grant = {
        let mut memory = issuer.0.memory.lock();
        let twice = memory.faults.front() == Some(&OidcFault::CodeTwice);
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(form.code_verifier.as_bytes()));
        let Some(grant) = memory.codes.get_mut(&form.code) else { return refused("invalid_grant") };
        let is_right = form.grant_type == "authorization_code"
            && form.redirect_uri == grant.redirect_uri
            && challenge == grant.challenge
            && (!grant.used || twice);
        if !is_right {
            return refused("invalid_grant");
        }
        grant.used = true;
        let grant = grant.clone();
        memory.redeemed += 1;
        grant
    };
    let access_token = random();
    {
        let mut memory = issuer.0.memory.lock();
        if memory.tokens.len() >= TOKENS_MAX {
            memory.tokens.clear();
        }
        memory.tokens.insert(access_token.clone(), grant.person.subject.clone());
    }
    let fault = issuer.take(OidcFault::is_of_token);
    let id_token = issuer.id_token(&grant, &access_token, fault.as_ref());
    let mut answer = json!({"access_token": access_token, "token_type": "Bearer", "expires_in": 300});
    if fault != Some(OidcFault::NoIdToken) {
        answer["id_token"] = json!(id_token);
    }
    ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}

async fn userinfo(State(issuer): State<Issuer>, headers: HeaderMap) -> Response {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let memory = issuer.0.memory.lock();
    let subject = memory.tokens.get(token).cloned();
    let person = memory.people.iter().find(|person| Some(&person.subject) == subject.as_ref()).cloned();
    drop(memory);
    let Some(person) = person else { return StatusCode::UNAUTHORIZED.into_response() };
    let other = issuer.take(|fault| matches!(fault, OidcFault::UserinfoOfAnother)).is_some();
    let subject = if other { "somebody-else".to_owned() } else { person.subject.clone() };
    Json(json!({"sub": subject, "name": person.name, "email": person.email, "groups_by_userinfo": person.groups}))
        .into_response()
}

#[derive(Deserialize)]
struct SigningOut {
    id_token_hint: Option<String>,
    post_logout_redirect_uri: Option<String>,
}

async fn logout(State(issuer): State<Issuer>, Query(asked): Query<SigningOut>) -> Response {
    let known = asked.id_token_hint.is_some_and(|token| issuer.0.key.lock().has_signed(&token));
    match asked.post_logout_redirect_uri.filter(|_| known) {
        Some(url) => {
            issuer.0.memory.lock().signed_out.push(url.clone());
            Redirect::to(&url).into_response()
        }
        None => Html("<!doctype html><title>Signed out</title><h1>You are signed out</h1>").into_response(),
    }
}
