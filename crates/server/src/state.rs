//! What every handler shares.

use crate::config::Config;
use crate::http::metrics::Metrics;
use crate::parts::Parts;
use crate::web::Web;
use crate::ws::hub::Hub;
use crate::ws::registry::Sockets;
use record::Record;
use std::sync::Arc;

/// Everything a handler, socket or job may use. Cloning is cheap.
pub type AppState = Arc<App>;

/// One running server (or worker).
pub struct App {
    pub config: Config,
    /// The one way to read and write. Handlers plan with the domain crates and commit here.
    pub record: Record,
    /// How browsers reach the server, without a trailing slash, e.g. `https://clinic.example`.
    pub public_url: String,
    /// The clinic's zone, from `config.clinic.timezone`.
    pub timezone: jiff::tz::TimeZone,
    pub metrics: Metrics,
    /// How many requests people, clients and addresses may send.
    pub rates: crate::http::rate::Rates,
    /// The files of the web client.
    pub web: Web,
    /// When this process began.
    pub started: jiff::Timestamp,
    /// Open WebSockets; ends those of a disabled account.
    pub sockets: Sockets,
    /// Live updates.
    pub hub: Hub,
    /// Long-lived parts of the domain crates: provider clients, call rooms, the relay.
    pub parts: Parts,
    /// The country the record is held in, and what was found about it at the start.
    pub residency: record::subject::ResidencyState,
    /// Names this process in leases.
    pub worker_name: String,
    /// Set once when the server begins to stop; sockets and long loops end on it.
    pub stopping: tokio_util::sync::CancellationToken,
}

impl App {
    /// Base of the FHIR API without a trailing slash.
    pub fn fhir_base(&self) -> String {
        format!("{}{}", self.public_url, crate::rest::BASE)
    }
    /// Whether cookies are for HTTPS only.
    pub fn is_secure(&self) -> bool {
        self.public_url.starts_with("https://")
    }
    /// Name of the session cookie; the `__Host-` prefix binds it to this host and to HTTPS.
    pub fn cookie_name(&self) -> &'static str {
        if self.is_secure() { "__Host-uzima" } else { "uzima" }
    }
}
