//! Calls that a provider makes to its customer: sent once, never retried, answer logged.

use crate::log::Flow;
use crate::state::Sandbox;
use std::time::Duration;

/// How long a provider waits for the answer to a callback; Safaricom cuts validation off at about 8 s.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What a callback was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// At most 64 KiB.
    pub body: Vec<u8>,
}

impl Sandbox {
    /// Posts `body` to `url` once. Errors: why there was no answer.
    pub(crate) async fn post(
        &self,
        flow: Flow,
        url: &str,
        content_type: &str,
        body: String,
    ) -> Result<Answer, String> {
        let entry = self.log_open(flow, "POST", url, body.as_bytes());
        let answer = self.send(url, content_type, body).await;
        match &answer {
            Ok(answer) => self.log_close(entry, Some(answer.status), &answer.body),
            Err(reason) => {
                tracing::warn!(callback.reason = %reason, "a callback got no answer");
                self.log_close(entry, None, reason.as_bytes());
            }
        }
        answer
    }

    async fn send(&self, url: &str, content_type: &str, body: String) -> Result<Answer, String> {
        let _permit = self.0.callbacks.acquire().await.map_err(|_| "stopping".to_owned())?;
        let request = self.0.http.post(url).timeout(TIMEOUT).header("content-type", content_type).body(body);
        // The URL may carry a secret token: keep it out of the reason.
        let reason = |error: reqwest::Error| {
            let error = error.without_url();
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        };
        let mut response = request.send().await.map_err(reason)?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        // A body that breaks off does not undo the status: the receiver has answered.
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = ANSWER_BYTES_MAX - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() >= room {
                break;
            }
        }
        Ok(Answer { status, body })
    }

    pub(crate) async fn post_json(&self, url: &str, body: &serde_json::Value) -> Result<Answer, String> {
        self.post(Flow::Callback, url, "application/json", body.to_string()).await
    }

    pub(crate) async fn post_form(&self, url: &str, body: String) -> Result<Answer, String> {
        self.post(Flow::Callback, url, "application/x-www-form-urlencoded", body).await
    }
}
