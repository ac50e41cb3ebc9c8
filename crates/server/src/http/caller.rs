//! Who sends the request: session cookie or bearer token, through `record::authn`.

use super::address::ClientAddress;
use super::error::{ApiError, FhirError};
use super::idempotency::IdempotencyKey;
use crate::state::{App, AppState};
use access::{Ctx, Principal, Purpose, Role, ScopeSet, SessionFacts};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use record::Error;
use record::authn::SessionInfo;
use std::convert::Infallible;
use std::net::IpAddr;

/// A signed-in caller; 401 otherwise. Rights are checked in `record` (and by [Caller::require] for what is no resource).
pub struct Caller(pub Ctx);

/// Like [Caller] for `/fhir`: errors are OperationOutcomes.
pub struct FhirCaller(pub Ctx);

/// Anybody; a wrong or old token counts as anonymous.
pub struct MaybeCaller(pub Ctx);

/// A caller with a session, and the session's token. 401 for OAuth clients and anonymous callers.
pub struct SessionCaller {
    pub ctx: Ctx,
    pub info: SessionInfo,
    pub token: String,
}

/// Like [SessionCaller], and also for a session that is good for nothing before something is done: what does it.
pub struct AnySession(pub SessionCaller);

/// The language of texts made by the server: the signed-in user's, else the best of `Accept-Language`, else `en`.
pub struct Language(pub String);

/// Languages the server has texts in.
pub const LANGUAGES: &[&str] = &["en", "sw"];

/// Kept in the request's extensions for the log: what kind of caller it was, never who.
#[derive(Debug, Clone, Copy)]
pub struct PrincipalKind(pub &'static str);

impl Caller {
    /// Errors: `Denied` unless the user has one of `roles`.
    pub fn require(&self, roles: &[Role]) -> Result<(), ApiError> {
        if roles.iter().any(|role| self.0.has_role(*role)) { Ok(()) } else { Err(Error::Denied.into()) }
    }
    /// Errors: `Denied` for OAuth clients.
    pub fn user(&self) -> Result<&access::User, ApiError> {
        self.0.user().ok_or_else(|| Error::Denied.into())
    }
}

/// Where the token came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    Bearer(String),
    Cookie(String),
}

/// The token of the request, a bearer token before a cookie.
pub fn credential(headers: &HeaderMap, cookie_name: &str) -> Option<Credential> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| Credential::Bearer(token.trim().to_owned()));
    }
    let cookies =
        headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';'));
    cookies
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == cookie_name)
        .map(|(_, value)| Credential::Cookie(value.to_owned()))
}

/// Who sends a request, and by what.
pub struct Known {
    pub principal: Principal,
    pub session: Option<SessionFacts>,
    /// Of the token, where a person's application asks.
    pub scopes: Option<ScopeSet>,
    /// That application.
    pub client: Option<String>,
}

impl Known {
    fn anonymous() -> Known {
        Known { principal: Principal::Anonymous, session: None, scopes: None, client: None }
    }
    /// Errors: `Denied` for an application: its scopes are about FHIR, all else is for the person herself.
    fn herself(self) -> Result<Known, Error> {
        if self.scopes.is_some() { Err(Error::Denied) } else { Ok(self) }
    }
}

/// The caller of a request. Errors: `Unauthenticated` for a token that does not (or no longer) work, `Busy`, `Internal`.
pub async fn authenticate(app: &App, headers: &HeaderMap, address: Option<IpAddr>) -> Result<Known, Error> {
    let token = match credential(headers, app.cookie_name()) {
        None => return Ok(Known::anonymous()),
        Some(Credential::Cookie(token)) => token,
        Some(Credential::Bearer(token)) => match app.record.holder(&token).await? {
            Some(holder) => {
                let client = holder.scopes.is_some().then_some(holder.client);
                return Ok(Known {
                    principal: holder.principal,
                    session: None,
                    scopes: holder.scopes,
                    client,
                });
            }
            None => token,
        },
    };
    let info = app.record.session_from(&token, address).await?;
    Ok(Known { principal: Principal::User(info.user), session: Some(info.facts), ..Known::anonymous() })
}

/// Errors: `Due` for a session that is good for nothing before something is done.
fn check_due(session: Option<&SessionFacts>) -> Result<(), Error> {
    match session.and_then(|s| s.due) {
        Some(due) => Err(Error::Due(due)),
        None => Ok(()),
    }
}

/// A context for `principal` with what the request says about itself.
pub fn context(app: &App, known: Known, parts: &Parts) -> Ctx {
    let Known { principal, session, scopes, client } = known;
    let purpose = purpose(&principal);
    Ctx {
        principal,
        purpose,
        now: app.record.now(),
        request_id: super::request_id::current(),
        idempotency_key: parts.extensions.get::<IdempotencyKey>().map(|key| key.0.clone()),
        address: ClientAddress::of(parts).0,
        session,
        scopes,
        client,
        ..Ctx::system("request", app.record.now())
    }
}

fn purpose(principal: &Principal) -> Purpose {
    match principal {
        Principal::Anonymous => Purpose::PatientRequest,
        Principal::System(_) => Purpose::System,
        Principal::Client { .. } => Purpose::Operations,
        Principal::User(user) => {
            let has = |roles: &[Role]| roles.iter().any(|role| user.roles.contains(role));
            if has(&[Role::Doctor, Role::Nurse, Role::Lab, Role::Pharmacist, Role::FrontDesk]) {
                Purpose::Treatment
            } else if has(&[Role::Cashier]) {
                Purpose::Payment
            } else if has(&[Role::Administrator, Role::PrivacyOfficer, Role::It, Role::Integration]) {
                Purpose::Operations
            } else {
                Purpose::PatientRequest
            }
        }
    }
}

fn kind_of(principal: &Principal) -> PrincipalKind {
    PrincipalKind(match principal {
        Principal::Anonymous => "anonymous",
        Principal::Client { .. } => "client",
        Principal::System(_) => "system",
        Principal::User(user) if user.patient.is_some() && user.practitioner.is_none() => "patient",
        Principal::User(_) => "staff",
    })
}

async fn known(parts: &mut Parts, app: &App) -> Result<Known, Error> {
    let known = authenticate(app, &parts.headers, ClientAddress::of(parts).0).await?;
    super::observe::note_principal(kind_of(&known.principal));
    if known.principal == Principal::Anonymous {
        return Err(Error::Unauthenticated);
    }
    check_due(known.session.as_ref())?;
    super::rate::admit(app, &known.principal, &parts.headers)?;
    Ok(known)
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        Ok(Caller(context(app, known(parts, app).await?.herself()?, parts)))
    }
}

/// In the extensions of a request that the server itself makes for an entry of a bundle: whose bundle it is.
#[derive(Clone)]
pub(crate) struct OnBehalf(pub Ctx);

impl FromRequestParts<AppState> for FhirCaller {
    type Rejection = FhirError;
    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, FhirError> {
        if let Some(OnBehalf(ctx)) = parts.extensions.get::<OnBehalf>() {
            return Ok(FhirCaller(ctx.clone()));
        }
        Ok(FhirCaller(context(app, known(parts, app).await?, parts)))
    }
}

impl FromRequestParts<AppState> for MaybeCaller {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let known = match authenticate(app, &parts.headers, ClientAddress::of(parts).0).await {
            Ok(known) if known.session.as_ref().is_some_and(|s| s.due.is_some()) => Known::anonymous(),
            // An application is nobody here: its scopes are about FHIR.
            Ok(known) if known.scopes.is_some() => Known::anonymous(),
            Ok(known) => known,
            Err(Error::Unauthenticated) => Known::anonymous(),
            Err(other) => return Err(other.into()),
        };
        super::observe::note_principal(kind_of(&known.principal));
        super::rate::admit(app, &known.principal, &parts.headers)?;
        Ok(MaybeCaller(context(app, known, parts)))
    }
}

impl FromRequestParts<AppState> for SessionCaller {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let AnySession(caller) = AnySession::from_request_parts(parts, app).await?;
        check_due(caller.ctx.session.as_ref())?;
        Ok(caller)
    }
}

impl FromRequestParts<AppState> for AnySession {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let token = match credential(&parts.headers, app.cookie_name()) {
            Some(Credential::Cookie(token) | Credential::Bearer(token)) => token,
            None => return Err(Error::Unauthenticated.into()),
        };
        let info = app.record.session_from(&token, ClientAddress::of(parts).0).await?;
        let principal = Principal::User(info.user.clone());
        super::observe::note_principal(kind_of(&principal));
        super::rate::admit(app, &principal, &parts.headers)?;
        let session = Some(info.facts.clone());
        let ctx = context(app, Known { principal, session, ..Known::anonymous() }, parts);
        Ok(AnySession(SessionCaller { ctx, info, token }))
    }
}

impl FromRequestParts<AppState> for Language {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Infallible> {
        let user = match authenticate(app, &parts.headers, None).await {
            Ok(Known { principal: Principal::User(user), .. }) => Some(user.language),
            _ => None,
        };
        let known = user.filter(|language| LANGUAGES.contains(&language.as_str()));
        let wanted =
            parts.headers.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        Ok(Language(known.unwrap_or_else(|| best_language(wanted).to_owned())))
    }
}

/// The first of [LANGUAGES] by the weights of `Accept-Language`; `en` if none fits.
pub fn best_language(accept: &str) -> &'static str {
    let mut best = ("en", 0.0_f32);
    for range in accept.split(',').take(20) {
        let mut pieces = range.split(';');
        let tag = pieces.next().unwrap_or_default().trim();
        let primary = tag.split('-').next().unwrap_or_default();
        let weight = pieces.find_map(|p| p.trim().strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
        if let Some(language) = LANGUAGES.iter().find(|l| l.eq_ignore_ascii_case(primary))
            && weight > best.1
        {
            best = (language, weight);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn languages_follow_their_weights() {
        let cases = [
            ("", "en"),
            ("sw", "sw"),
            ("sw-KE,en;q=0.5", "sw"),
            ("en, sw;q=0.9", "en"),
            ("fr, de", "en"),
            ("sw;q=0", "en"),
        ];
        for (accept, expected) in cases {
            assert_eq!(best_language(accept), expected, "{accept}");
        }
    }

    #[test]
    fn bearer_goes_before_the_cookie() {
        let mut headers = HeaderMap::new();
        assert_eq!(credential(&headers, "uzima"), None);
        headers.insert(header::COOKIE, HeaderValue::from_static("a=b; uzima=abc; c=d"));
        assert_eq!(credential(&headers, "uzima"), Some(Credential::Cookie("abc".into())));
        assert_eq!(credential(&headers, "__Host-uzima"), None);
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("bearer xyz"));
        assert_eq!(credential(&headers, "uzima"), Some(Credential::Bearer("xyz".into())));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Basic xyz"));
        assert_eq!(credential(&headers, "uzima"), None);
    }
}
