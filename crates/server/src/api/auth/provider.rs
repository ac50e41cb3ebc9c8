//! Signing in with an outside provider of identities: browsers go there and come back.

use super::opening::{cookies, known_device};
use crate::api::{Answer, AnySession, ApiRouter, Json, MaybeCaller, Path, SessionCaller, SigningIn};
use crate::http::origin;
use crate::outside::Outside;
use crate::state::{App, AppState};
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use reach::oidc::{Asking, OidcError};
use record::authn::outside::{Errand, Way};
use record::authn::{Origin, SENSITIVE_MINUTES, SignIn, Vouched};
use record::{Error, Rule};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::routes;

/// Longest path to return to, characters.
const RETURN_CHARS: usize = 1500;
/// Longest query or form of a provider, bytes.
const ANSWER_BYTES: usize = 20 * 1024;
/// Where people sign in.
const SIGN_IN: &str = "/sign-in";

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(list_identity_providers))
        .routes(routes!(start_provider))
        .routes(routes!(finish_provider))
        .routes(routes!(provider_logout))
        .routes(routes!(link_provider))
        .routes(routes!(step_up_provider))
}

/// A provider to sign in with.
#[derive(Serialize, ToSchema)]
pub(super) struct IdentityProviderName {
    pub id: String,
    pub name: String,
}

#[derive(Serialize, ToSchema)]
struct IdentityProviderNames {
    items: Vec<IdentityProviderName>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProviderErrand {
    /// Path of ours to come back to; `?provider-done=` or `?provider-error=` is added.
    r#return: String,
}

#[derive(Serialize, ToSchema)]
struct ProviderAddress {
    /// For `location.assign`.
    location: String,
}

pub(super) fn name(set: &Arc<Outside>) -> IdentityProviderName {
    IdentityProviderName { id: set.rules.id.clone(), name: set.rules.name.clone() }
}

fn find(app: &App, id: &str) -> Result<Arc<Outside>, Error> {
    app.parts.outside.iter().find(|set| set.rules.id == id).cloned().ok_or(Error::NotFound)
}

/// A path of ours, never another site's.
fn own_path(text: &str) -> String {
    let is_own = text.starts_with('/')
        && !text.starts_with("//")
        && text.len() <= RETURN_CHARS
        && text.bytes().all(|b| b > 0x20 && b != 0x7f && b != b'\\');
    if is_own { text.to_owned() } else { "/".to_owned() }
}

/// `path` with a parameter more.
fn with(path: &str, name: &str, value: &str) -> String {
    let (path, fragment) = path.split_once('#').map_or((path, None), |(p, f)| (p, Some(f)));
    let sign = if path.contains('?') { '&' } else { '?' };
    let fragment = fragment.map(|f| format!("#{f}")).unwrap_or_default();
    format!("{path}{sign}{name}={value}{fragment}")
}

fn see(mut headers: HeaderMap, location: &str) -> Response {
    match HeaderValue::from_str(location) {
        Ok(location) => {
            headers.insert(header::LOCATION, location);
            (StatusCode::SEE_OTHER, headers).into_response()
        }
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// What the page is told, by what went wrong.
fn code(error: &Error) -> &'static str {
    match error {
        Error::Rule(rule) | Error::Duplicate(rule) => rule.code,
        Error::Unauthenticated => "session-changed",
        Error::StepUpNeeded { .. } => "step-up-needed",
        Error::Throttled { .. } | Error::Busy => "provider-unreachable",
        _ => "provider-invalid",
    }
}

fn oidc_code(error: &OidcError) -> &'static str {
    match error {
        OidcError::Unreachable(_) => "provider-unreachable",
        OidcError::Refused(_) => "provider-refused",
        OidcError::Invalid(_) | OidcError::Wrong(_) => "provider-invalid",
    }
}

/// Outside providers to sign in with.
#[utoipa::path(get, path = "/api/v1/auth/providers", tag = "auth",
    responses((status = 200, body = IdentityProviderNames)))]
async fn list_identity_providers(State(app): State<AppState>) -> Json<IdentityProviderNames> {
    Json(IdentityProviderNames { items: app.parts.outside.iter().map(name).collect() })
}

/// Asks the provider for an address and makes what the browser keeps meanwhile.
async fn begin(
    app: &App,
    set: &Outside,
    errand: Errand,
    return_to: &str,
) -> Result<(String, HeaderMap), OidcError> {
    let asking = if matches!(errand, Errand::StepUp(_)) { Asking::Again } else { Asking::SignIn };
    let begun = set.provider.begin(asking).await;
    set.note(&begun, app.record.now());
    let begun = begun.inspect_err(|error| {
        tracing::warn!(provider = %set.rules.id, %error, "nobody can be sent to an identity provider");
    })?;
    let way = Way {
        provider: set.rules.id.clone(),
        errand,
        state: begun.state,
        nonce: begun.nonce,
        verifier: begun.verifier,
        return_to: own_path(return_to),
        begun: app.record.now(),
    };
    let kept = app.record.seal_way(&way).map_err(|error| OidcError::Wrong(error.to_string()))?;
    let mut headers = HeaderMap::new();
    origin::set_way(&mut headers, app, &kept);
    Ok((begun.url, headers))
}

/// Sends the browser to the provider. `?return=` is a path of ours to come back to.
#[utoipa::path(get, path = "/api/v1/auth/providers/{id}/start", tag = "auth",
    params(("id" = String, Path), ("return" = Option<String>, Query)), responses((status = 303)))]
async fn start_provider(
    State(app): State<AppState>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer<Response> {
    let set = find(&app, &id)?;
    let query = query.unwrap_or_default();
    let return_to = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "return");
    let return_to = return_to.map(|(_, path)| path.into_owned()).unwrap_or_default();
    Ok(match begin(&app, &set, Errand::SignIn, &return_to).await {
        Ok((url, headers)) => see(headers, &url),
        Err(error) => see(HeaderMap::new(), &with(SIGN_IN, "provider-error", oidc_code(&error))),
    })
}

/// What a provider's answer has.
#[derive(Default)]
struct Answered {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

impl Answered {
    fn parse(query: &str) -> Answered {
        let mut answered = Answered::default();
        if query.len() > ANSWER_BYTES {
            return answered;
        }
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "code" => &mut answered.code,
                "state" => &mut answered.state,
                "iss" => &mut answered.iss,
                "error" => &mut answered.error,
                _ => continue,
            };
            // Twice the same name means nothing good: then it is none.
            *place = if place.is_none() { Some(value.into_owned()) } else { Some(String::new()) };
        }
        answered
    }
}

/// Where the provider sends the browser back to. Signs in, links or steps up, and sends it on.
#[utoipa::path(get, path = "/api/v1/auth/providers/{id}/callback", tag = "auth",
    params(("id" = String, Path), ("code" = Option<String>, Query), ("state" = Option<String>, Query),
        ("iss" = Option<String>, Query), ("error" = Option<String>, Query)),
    responses((status = 303)))]
async fn finish_provider(
    State(app): State<AppState>,
    caller: MaybeCaller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    SigningIn(from): SigningIn,
    headers: HeaderMap,
) -> Answer<Response> {
    let set = find(&app, &id)?;
    let answered = Answered::parse(&query.unwrap_or_default());
    let mut out = HeaderMap::new();
    // Used now, whatever comes of it.
    origin::set_way(&mut out, &app, "");
    // An answer without this browser's own request is somebody else's sign-in.
    let way = origin::way(&headers, &app).and_then(|text| app.record.open_way(text));
    let way = way.filter(|way| way.provider == id && answered.state.as_deref() == Some(way.state.as_str()));
    let Some(way) = way else {
        return Ok(see(out, &with(SIGN_IN, "provider-error", "sign-in-expired")));
    };
    let failed = match way.errand {
        Errand::SignIn => SIGN_IN,
        Errand::Link(_) | Errand::StepUp(_) => way.return_to.as_str(),
    };
    let who = match vouched(&app, &set, &answered, &way).await {
        Ok(who) => who,
        Err(error) => {
            tracing::warn!(provider = %id, %error, "an identity provider vouched for nobody");
            return Ok(see(out, &with(failed, "provider-error", oidc_code(&error))));
        }
    };
    let (rules, state) = (&set.rules, &way.state);
    let done = match way.errand {
        Errand::SignIn => sign_in(&app, &set, &who, &way, known_device(from)?, &mut out).await,
        Errand::Link(session) => app
            .record
            .link_own_identity(&caller.0, rules, &who, state, session)
            .await
            .map(|()| with(&way.return_to, "provider-done", "link")),
        Errand::StepUp(session) if caller.0.session.as_ref().map(|s| s.id) != Some(session) => {
            Err(Error::Unauthenticated)
        }
        Errand::StepUp(_) => app
            .record
            .outside_step_up(&caller.0, rules, &who, state, way.begun)
            .await
            .map(|()| with(&way.return_to, "provider-done", "step-up")),
    };
    Ok(match done {
        Ok(location) => see(out, &location),
        Err(error) => {
            if let Error::Internal(text) = &error {
                tracing::error!(%text, "a sign-in by an identity provider failed");
            }
            see(out, &with(failed, "provider-error", code(&error)))
        }
    })
}

async fn vouched(app: &App, set: &Outside, answered: &Answered, way: &Way) -> Result<Vouched, OidcError> {
    let result = async {
        set.provider.check_issuer(answered.iss.as_deref()).await?;
        if let Some(error) = &answered.error {
            let known = error.chars().all(|c| c.is_ascii_lowercase() || c == '_') && error.len() <= 60;
            return Err(OidcError::Refused(if known { error.clone() } else { "error".into() }));
        }
        let code = answered.code.as_deref().filter(|code| !code.is_empty());
        let code = code.ok_or_else(|| OidcError::Invalid("there is no code".into()))?;
        set.provider.finish(code, &way.nonce, &way.verifier, app.record.now()).await
    }
    .await;
    set.note(&result, app.record.now());
    result
}

/// Where to go next; cookies into `out`.
async fn sign_in(
    app: &App,
    set: &Outside,
    who: &Vouched,
    way: &Way,
    from: Origin,
    out: &mut HeaderMap,
) -> Result<String, Error> {
    match app.record.outside_sign_in(&set.rules, who, &way.state, &from).await? {
        SignIn::Open(session) => {
            cookies(app, &session, &from, out);
            Ok(way.return_to.clone())
        }
        SignIn::SecondFactor(pending) => {
            let factors: Vec<&str> = pending.factors.iter().map(|factor| factor.code()).collect();
            let mut fragment = form_urlencoded::Serializer::new(String::new());
            fragment.append_pair("second-factor", &pending.id);
            fragment.append_pair("factors", &factors.join(","));
            fragment.append_pair("return", &way.return_to);
            // Behind `#`: no server's log has it.
            Ok(format!("{SIGN_IN}#{}", fragment.finish()))
        }
    }
}

/// The provider ended a session of its own (OpenID Connect Back-Channel Logout): ours that came of it ends.
#[utoipa::path(post, path = "/api/v1/auth/providers/{id}/logout", tag = "auth", params(("id" = String, Path)),
    responses((status = 200), (status = 400)))]
async fn provider_logout(
    State(app): State<AppState>,
    Path(id): Path<String>,
    request: Request,
) -> Answer<Response> {
    let set = find(&app, &id)?;
    let body = axum::body::to_bytes(request.into_body(), ANSWER_BYTES).await.unwrap_or_default();
    let token = form_urlencoded::parse(&body).find(|(name, _)| name == "logout_token");
    let checked = match token {
        Some((_, token)) => set.provider.check_logout(&token, app.record.now()).await,
        None => Err(OidcError::Invalid("there is no logout token".into())),
    };
    let token = match checked {
        Ok(token) => token,
        Err(error) => {
            tracing::warn!(provider = %id, %error, "a logout token does not hold");
            let text =
                Error::Rule(Rule::new("logout-token-invalid", "This is no logout token for this client."));
            return Err(text.into());
        }
    };
    let issuer = &set.provider.settings().issuer;
    let (subject, sid) = (token.subject.as_deref(), token.sid.as_deref());
    let ended = app.record.outside_logout(issuer, subject, sid, token.hash, token.expires_at).await?;
    for (account, session) in ended {
        app.sockets.close_session_id(account, session);
    }
    Ok(StatusCode::OK.into_response())
}

/// Begins to link a person of the provider to the own account; she must have shown herself lately.
#[utoipa::path(post, path = "/api/v1/auth/providers/{id}/link", tag = "auth", params(("id" = String, Path)),
    request_body = ProviderErrand, responses((status = 200, body = ProviderAddress)))]
async fn link_provider(
    State(app): State<AppState>,
    caller: SessionCaller,
    Path(id): Path<String>,
    Json(body): Json<ProviderErrand>,
) -> Answer<(HeaderMap, Json<ProviderAddress>)> {
    let set = find(&app, &id)?;
    app.record.require_fresh(&caller.ctx, SENSITIVE_MINUTES, true)?;
    errand(&app, &set, Errand::Link(caller.info.facts.id), &body.r#return).await
}

/// Begins to show again by the provider who the caller is, for what answered `step-up-needed` with `outside`.
#[utoipa::path(post, path = "/api/v1/auth/providers/{id}/step-up", tag = "auth", params(("id" = String, Path)),
    request_body = ProviderErrand, responses((status = 200, body = ProviderAddress)))]
async fn step_up_provider(
    State(app): State<AppState>,
    AnySession(caller): AnySession,
    Path(id): Path<String>,
    Json(body): Json<ProviderErrand>,
) -> Answer<(HeaderMap, Json<ProviderAddress>)> {
    let set = find(&app, &id)?;
    errand(&app, &set, Errand::StepUp(caller.info.facts.id), &body.r#return).await
}

async fn errand(
    app: &App,
    set: &Outside,
    errand: Errand,
    return_to: &str,
) -> Answer<(HeaderMap, Json<ProviderAddress>)> {
    match begin(app, set, errand, return_to).await {
        Ok((location, headers)) => Ok((headers, Json(ProviderAddress { location }))),
        Err(error) => {
            let text = "The provider cannot be asked now; try again later.";
            Err(Error::Rule(Rule::new(oidc_code(&error), text)).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_site() {
        let cases = [
            ("/", "/"),
            ("/authorize?request=a.b&x=1#part", "/authorize?request=a.b&x=1#part"),
            ("", "/"),
            ("home", "/"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("\\/evil.example", "/"),
            ("https://evil.example", "/"),
            ("/a\r\nset-cookie: x", "/"),
            ("/a b", "/"),
            ("/\t/evil.example", "/"),
        ];
        for (asked, expected) in cases {
            assert_eq!(own_path(asked), expected, "{asked:?}");
        }
        assert_eq!(own_path(&format!("/{}", "a".repeat(RETURN_CHARS))), "/");
    }

    #[test]
    fn parameters_go_before_the_fragment() {
        assert_eq!(with("/a", "x", "1"), "/a?x=1");
        assert_eq!(with("/a?b=c", "x", "1"), "/a?b=c&x=1");
        assert_eq!(with("/a?b#part", "x", "1"), "/a?b&x=1#part");
    }
}
