//! Calls to Daraja: token cached and fetched once for all waiters, errors classified by `wire`.

use super::Config;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use record::Error;
use std::time::Duration;
use wire::daraja::{self, ApiError, Endpoint, Remedy, StkAccepted, StkPush, StkQuery, StkQueryReply};

/// Daraja answers within seconds or not at all.
const TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 256 * 1024;
/// A token is renewed this long before it ends.
const TOKEN_MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// How a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Nothing was sent: no route, refused, TLS.
    #[error("Daraja cannot be reached")]
    Unreached,
    /// Sent, but no answer was read: it may have been done.
    #[error("Daraja did not answer")]
    NoAnswer,
}

impl CallError {
    pub fn remedy(&self) -> Remedy {
        match self {
            CallError::Api(error) => error.remedy(),
            CallError::Unreached => Remedy::RetryLater,
            CallError::NoAnswer => Remedy::Reconcile,
        }
    }
}

/// What the administrator sees of the connection.
#[derive(Debug, Clone, Default)]
pub struct Health {
    pub last_ok: Option<Timestamp>,
    pub last_error: Option<(Timestamp, String)>,
}

pub struct Client {
    config: Config,
    http: reqwest::Client,
    token: tokio::sync::Mutex<Option<(String, Timestamp)>>,
    health: Mutex<Health>,
    pub(super) paybill: Mutex<Paybill>,
}

/// Whether Daraja knows where paybill payments are to be reported.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) enum Paybill {
    #[default]
    Untried,
    /// Tried in vain at this time.
    Failed(Timestamp),
    Registered,
}

impl Client {
    /// Errors: the TLS backend cannot be made.
    pub fn new(config: Config) -> Result<Client, Error> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| Error::Internal(format!("HTTP client for M-PESA: {e}")))?;
        Ok(Client {
            config,
            http,
            token: Default::default(),
            health: Default::default(),
            paybill: Default::default(),
        })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }
    pub fn shortcode(&self) -> &str {
        &self.config.shortcode
    }
    pub fn health(&self) -> Health {
        self.health.lock().clone()
    }

    /// Sends a prompt to a phone.
    pub async fn push(&self, push: &StkPush, now: Timestamp) -> Result<StkAccepted, CallError> {
        self.post(daraja::STK_PUSH_PATH, &push.to_json(), Endpoint::StkPush, now, daraja::parse_push).await
    }

    /// Asks how a prompt ended.
    pub async fn query(&self, checkout_request: &str, now: Timestamp) -> Result<StkQueryReply, CallError> {
        let query = StkQuery::new(&self.config.shortcode, &self.config.passkey, now, checkout_request);
        self.post(daraja::STK_QUERY_PATH, &query.to_json(), Endpoint::StkQuery, now, daraja::parse_query)
            .await
    }

    /// Tells Daraja where paybill payments are to be reported.
    pub async fn register_c2b(&self, body: &serde_json::Value, now: Timestamp) -> Result<String, CallError> {
        let path = daraja::C2bVersion::V2.register_path();
        self.post(path, body, Endpoint::C2bRegister, now, daraja::parse_register).await
    }

    async fn post<T>(
        &self,
        path: &str,
        body: &serde_json::Value,
        endpoint: Endpoint,
        now: Timestamp,
        parse: impl Fn(u16, &[u8]) -> Result<T, ApiError>,
    ) -> Result<T, CallError> {
        let mut refreshed = false;
        loop {
            let token = self.token(now).await.inspect_err(|e| self.note(Some(e), now))?;
            let request =
                self.http.post(format!("{}{path}", self.config.base_url)).bearer_auth(&token).json(body);
            let result = match answer(request, endpoint).await {
                Ok((status, bytes)) => parse(status, &bytes).map_err(CallError::Api),
                Err(error) => Err(error),
            };
            match result {
                Err(error) if error.remedy() == Remedy::RefreshToken && !refreshed => {
                    refreshed = true;
                    *self.token.lock().await = None;
                }
                Err(error) => {
                    self.note(Some(&error), now);
                    return Err(error);
                }
                Ok(value) => {
                    self.note(None, now);
                    return Ok(value);
                }
            }
        }
    }

    /// The lock is held while a token is fetched, so that waiters use the one that arrives.
    async fn token(&self, now: Timestamp) -> Result<String, CallError> {
        let mut cached = self.token.lock().await;
        if let Some((token, until)) = &*cached
            && now < *until
        {
            return Ok(token.clone());
        }
        let authorization =
            daraja::basic_authorization(&self.config.consumer_key, &self.config.consumer_secret);
        let url = format!("{}{}?grant_type=client_credentials", self.config.base_url, daraja::OAUTH_PATH);
        let request = self.http.get(url).header("Authorization", authorization);
        let (status, bytes) = answer(request, Endpoint::Token).await?;
        let token = daraja::parse_token(status, &bytes)?;
        let until = now + SignedDuration::from_secs(i64::from(token.expires_in_s)) - TOKEN_MARGIN;
        *cached = Some((token.token.clone(), until));
        Ok(token.token)
    }

    fn note(&self, error: Option<&CallError>, now: Timestamp) {
        let mut health = self.health.lock();
        match error {
            Some(error) => health.last_error = Some((now, error.to_string())),
            None => health.last_ok = Some(now),
        }
    }
}

/// Status and at most [ANSWER_MAX] bytes.
async fn answer(request: reqwest::RequestBuilder, endpoint: Endpoint) -> Result<(u16, Vec<u8>), CallError> {
    // A token request that got no answer moved no money and may simply be sent again.
    let lost = || if endpoint == Endpoint::StkPush { CallError::NoAnswer } else { CallError::Unreached };
    let mut response =
        request.send().await.map_err(|e| if e.is_connect() { CallError::Unreached } else { lost() })?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| lost())? {
        if bytes.len() + chunk.len() > ANSWER_MAX {
            break;
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((response.status().as_u16(), bytes))
}

/// Whether Daraja answered with this kind of error.
pub(super) fn is_kind(error: &CallError, kind: &wire::daraja::ErrorKind) -> bool {
    matches!(error, CallError::Api(api) if api.kind == *kind)
}
