//! Long-lived parts of the domain crates, made once at start.
//!
//! A crate that needs a shared object (a provider's client, a registry of rooms) adds one field here and makes it
//! in [Parts::start]; handlers reach it as `app.parts.<field>`.

use crate::config::Config;
use record::Record;

/// One field per part.
pub struct Parts {}

impl Parts {
    /// `public_url` has no trailing slash. Errors: what keeps the server from starting, in words for the operator.
    pub async fn start(config: &Config, record: &Record, public_url: &str) -> anyhow::Result<Parts> {
        let _ = (config, record, public_url);
        Ok(Parts {})
    }

    /// Called once after the last request at shutdown.
    pub async fn stop(&self) {}
}
