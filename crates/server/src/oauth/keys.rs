//! Key sets of clients that are registered by address.

use parking_lot::Mutex;
use reach::egress::{Client, Request, Rules};
use record::oauth::Fetch;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A set may be taken from memory so long.
const FRESH: Duration = Duration::from_secs(60);
/// Sets kept at once.
const KEPT: usize = 1_000;

/// How sets are fetched, by the checked client. Errors: the TLS backend cannot be made.
pub fn fetch(rules: Rules) -> Result<Fetch, record::Error> {
    let client = Client::new(rules)?;
    let kept: Arc<Mutex<HashMap<String, (Instant, String)>>> = Arc::default();
    Ok(Arc::new(move |url| {
        let (client, kept) = (client.clone(), kept.clone());
        Box::pin(async move {
            let known =
                kept.lock().get(&url).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, text)| text.clone());
            if let Some(text) = known {
                return Ok(text);
            }
            let answer = client.send(Request::get(&url)).await.map_err(|e| e.to_string())?;
            if !answer.status.is_success() {
                return Err(format!("the endpoint answered {}", answer.status.as_u16()));
            }
            let text = String::from_utf8(answer.body).map_err(|_| "the key set is not UTF-8".to_owned())?;
            let mut kept = kept.lock();
            kept.retain(|_, (at, _)| at.elapsed() < FRESH);
            if kept.len() < KEPT {
                kept.insert(url, (Instant::now(), text.clone()));
            }
            Ok(text)
        })
    }))
}
