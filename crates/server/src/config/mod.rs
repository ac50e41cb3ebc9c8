//! One typed configuration: a TOML file below, `UZIMA_*` variables above, everything checked at start.
//!
//! **Invariant:** an unknown key or variable stops the program; a secret never prints.

mod audit;
mod backup;
mod identity;
mod load;
mod secret;
mod variables;

pub use audit::Audit;
pub use backup::Backup;
pub use identity::{IdentityProvider, IdentityProviders, IdentityRole};
pub use load::{ConfigError, load};
pub use secret::Secret;
pub use variables::{VARIABLES, Variable, print_variables};

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// The effective configuration. Serialises with secrets as `***`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of the database, blobs and import reports.
    pub data: PathBuf,
    /// Where HTTP is served; port 0 picks a free one.
    pub listen: SocketAddr,
    /// `sqlite:PATH` or `postgres://…`; unset: `uzima.db` in the data folder.
    pub database_url: Option<Secret>,
    /// How browsers reach this server, without a trailing slash; unset: made from `listen`. Needed where `listen` is no address that browsers use.
    pub public_url: Option<String>,
    pub key: Key,
    pub tls: Tls,
    pub proxy: Proxy,
    pub limits: Limits,
    pub http: Http,
    pub fhir: Fhir,
    pub bulk: Bulk,
    pub clinic: Clinic,
    pub daraja: Daraja,
    pub africastalking: AfricasTalking,
    pub turn: Turn,
    pub subscriptions: Subscriptions,
    pub mail: Mail,
    /// Outside providers that people may sign in with.
    pub identity_providers: IdentityProviders,
    pub audit: Audit,
    pub worker: Worker,
    pub backup: Backup,
    pub residency: Residency,
    pub log: Log,
}

/// Where the key comes from that seals the keyring in the data folder; at most one of these.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Key {
    /// File with the key; unset: a file beside the data folder named after it with `.key` behind, made on first start.
    pub file: Option<PathBuf>,
    /// The key itself, 64 hexadecimal digits.
    pub value: Option<Secret>,
    /// Name of a credential of systemd (`LoadCredentialEncrypted=`).
    pub credential: Option<String>,
    /// Program and arguments that ask a key service or a smart card; see the guide on encryption.
    pub program: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// PEM file with the certificate chain; set together with `private_key`.
    pub certificate: Option<PathBuf>,
    /// PEM file with the private key.
    pub private_key: Option<PathBuf>,
    /// Also speaks TLS 1.2 (with ECDHE and AEAD ciphers only), for old phones and devices.
    pub allow_tls12: bool,
    /// Second address without TLS that sends everybody to the first.
    pub redirect_listen: Option<SocketAddr>,
    /// Names to get a certificate for by ACME, instead of `certificate`; needs `redirect_listen`, which the authority must
    /// reach at port 80 of each name.
    pub acme_names: Vec<String>,
    /// E-mail address that the authority writes to when something is wrong.
    pub acme_contact: Option<String>,
    /// Directory of the authority.
    pub acme_directory: String,
    /// PEM file with the authority that signed the directory's own certificate; unset: those of the system.
    pub acme_root: Option<PathBuf>,
    /// PEM file with the authorities of other machines' certificates. A machine that shows one is let in only if it is
    /// signed by these and not over; who shows none is let in as before.
    pub client_authority: Option<PathBuf>,
    /// Lets nobody in without a certificate of `client_authority`; for networks of machines only.
    pub client_required: bool,
}

impl Default for Tls {
    fn default() -> Tls {
        Tls {
            certificate: None,
            private_key: None,
            allow_tls12: false,
            redirect_listen: None,
            acme_names: Vec::new(),
            acme_contact: None,
            acme_directory: "https://acme-v02.api.letsencrypt.org/directory".into(),
            acme_root: None,
            client_authority: None,
            client_required: false,
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Proxy {
    /// Header in which a trusted proxy passes the client's address, e.g. `x-forwarded-for`; its last entry counts.
    pub address_header: Option<String>,
    /// Addresses of the proxies that are believed; from others the header is ignored.
    pub trusted: Vec<IpAddr>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest JSON body, bytes.
    pub json_bytes: usize,
    /// Largest file that is sent as it is, to `Binary`, bytes.
    pub upload_bytes: usize,
    /// Largest FHIR batch or transaction, bytes.
    pub bundle_bytes: usize,
    /// Longest time for one request, seconds.
    pub request_seconds: u64,
    /// Longest time for a FHIR batch or transaction, seconds.
    pub bundle_seconds: u64,
    /// Requests worked on at once; more are answered 503.
    pub concurrent_requests: usize,
    /// Open WebSockets; more are answered 503.
    pub sockets: usize,
    /// Open WebSockets of one account.
    pub sockets_per_account: usize,
    /// Time to finish open requests at shutdown, seconds.
    pub drain_seconds: u64,
    /// Requests of one person, a second in the long run; 0: no limit. More are answered 429.
    pub user_per_second: u32,
    /// Requests that one person may send at once.
    pub user_burst: u32,
    /// Requests of one OAuth client, a second in the long run; 0: no limit.
    pub client_per_second: u32,
    /// Requests that one OAuth client may send at once.
    pub client_burst: u32,
    /// Requests of one address (of IPv6: one /64) that come without a session or token that works, a second in the long
    /// run; 0: no limit. A clinic's people behind one address do not share this once they are signed in.
    pub address_per_second: u32,
    /// Such requests that one address may send at once.
    pub address_burst: u32,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Origins whose pages may call `/fhir` and `/oauth` from a browser, e.g. `https://app.example`; `*` for any.
    pub cors_origins: Vec<String>,
    /// Where ClamAV listens, `HOST:PORT` or `unix:PATH`: every file is scanned before it is stored, and none is stored
    /// while it does not answer. Unset: files are not scanned.
    pub clamd: Option<String>,
    /// Bearer token with which `/metrics` may be read from other machines; unset: from this machine only.
    pub metrics_token: Option<Secret>,
    /// Whom to tell of a hole that was found, `mailto:`, `https:` or `tel:`; named in `/.well-known/security.txt`.
    pub security_contacts: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fhir {
    /// Whether one conditional delete may remove several resources.
    pub conditional_delete: ConditionalDelete,
    /// Most resources that one conditional delete may remove, if it may remove several.
    pub conditional_delete_most: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConditionalDelete {
    /// Refused if the condition matches more than one.
    Single,
    Multiple,
}

impl Default for Fhir {
    fn default() -> Fhir {
        Fhir { conditional_delete: ConditionalDelete::Single, conditional_delete_most: 100 }
    }
}

impl Fhir {
    /// Most resources that one conditional delete may remove.
    pub fn deletes_at_once(&self) -> u32 {
        match self.conditional_delete {
            ConditionalDelete::Single => 1,
            ConditionalDelete::Multiple => self.conditional_delete_most.max(1),
        }
    }
}

/// Exports, imports and views that run in the background.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bulk {
    /// Beginnings of addresses that `$import` may fetch files from, e.g. `https://exports.example.org/`.
    pub import_from: Vec<String>,
    /// Hours that the files of a finished job stay.
    pub keep_hours: u32,
    /// Unfinished jobs of one client or account.
    pub jobs_per_owner: u32,
    /// Unfinished jobs of all.
    pub jobs: u32,
    /// Resources of one file of an export; also what a kill costs at most.
    pub part_resources: u64,
}

impl Default for Bulk {
    fn default() -> Bulk {
        Bulk { import_from: Vec::new(), keep_hours: 1, jobs_per_owner: 3, jobs: 10, part_resources: 100_000 }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clinic {
    /// Name on screens, receipts and in messages.
    pub name: String,
    /// Phone that patients may call, any form.
    pub phone: String,
    /// IANA time zone of the clinic.
    pub timezone: String,
    /// ISO 4217 code of prices.
    pub currency: String,
}

/// Safaricom Daraja (M-PESA). Off until `consumer_key` is set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Daraja {
    /// e.g. `https://api.safaricom.co.ke`
    pub base_url: String,
    pub consumer_key: Option<Secret>,
    pub consumer_secret: Option<Secret>,
    /// Paybill or till number.
    pub shortcode: String,
    pub passkey: Option<Secret>,
    /// Public address under which Daraja reaches `/hooks/daraja`; unset: `public_url`.
    pub callback_base_url: Option<String>,
    /// Addresses callbacks may come from; empty: any (the callback's own secret still decides).
    pub ip_allow_list: Vec<IpAddr>,
    /// Tells Daraja at start to report paybill payments to this server. Off where another system has the paybill.
    pub register_paybill: bool,
}

/// Africa's Talking SMS. Off until `api_key` is set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AfricasTalking {
    /// e.g. `https://api.africastalking.com`
    pub base_url: String,
    pub username: String,
    pub api_key: Option<Secret>,
    /// Sender id or short code; empty: the provider's own.
    pub sender: String,
    /// Secret part of the delivery report address `/hooks/africastalking/{token}/…`.
    pub callback_token: Option<Secret>,
}

/// The relay for calls, part of this program.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Turn {
    /// UDP address to listen on; unset: no relay.
    pub listen: Option<SocketAddr>,
    /// Address that clients reach the relay at; unset: that of `listen`.
    pub public_ip: Option<IpAddr>,
    pub realm: String,
    /// Secret for the clients' short-lived passwords; unset: random at each start.
    pub secret: Option<Secret>,
    /// First UDP port of relayed streams.
    pub port_min: u16,
    /// Last UDP port of relayed streams.
    pub port_max: u16,
    /// Lets clients relay to private addresses; only for tests and closed networks.
    pub allow_private_relays: bool,
}

/// Where notifications of FHIR Subscriptions may go.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Subscriptions {
    /// Lets endpoints be plain http; anybody on the way reads what is sent.
    pub allow_http: bool,
    /// Lets endpoints be in private networks and on this machine.
    pub allow_private: bool,
    /// If given, the only hosts that endpoints may have; `.example.org` stands for all below it.
    pub hosts: Vec<String>,
    /// Wait after the first failed delivery, seconds; doubles each time.
    pub retry_seconds: u32,
    /// Failures in a row after which a subscription is in error.
    pub max_failures: u32,
}

/// The country the record stays in.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Residency {
    /// Two letters, e.g. `KE`: the record is served from there and nowhere else. Unset: not pinned.
    pub region: Option<String>,
    /// Country of the database where it is on another machine.
    pub database: Option<String>,
    /// Country of the backups where they are not in a folder of this machine.
    pub backup: Option<String>,
}

/// The clinic's mail server. Off until `url` is set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mail {
    /// `smtps://user:password@host` or `smtp://host:587?tls=required`.
    pub url: Option<Secret>,
    /// Sender, e.g. `Uzima Clinic <clinic@example.org>`.
    pub from: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Worker {
    /// Runs the worker inside `uzima serve`.
    pub enabled: bool,
    /// Jobs worked on at once.
    pub concurrency: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `tracing` filter, e.g. `info,server=debug`.
    pub filter: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Json,
    Text,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            data: PathBuf::from("uzima-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            database_url: None,
            public_url: None,
            key: Key::default(),
            tls: Tls::default(),
            proxy: Proxy::default(),
            limits: Limits::default(),
            http: Http::default(),
            fhir: Fhir::default(),
            bulk: Bulk::default(),
            clinic: Clinic::default(),
            daraja: Daraja::default(),
            africastalking: AfricasTalking::default(),
            turn: Turn::default(),
            subscriptions: Subscriptions::default(),
            mail: Mail::default(),
            identity_providers: IdentityProviders::default(),
            audit: Audit::default(),
            worker: Worker::default(),
            backup: Backup::default(),
            residency: Residency::default(),
            log: Log::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            json_bytes: 2 * 1024 * 1024,
            upload_bytes: 10 * 1024 * 1024,
            bundle_bytes: 32 * 1024 * 1024,
            request_seconds: 30,
            bundle_seconds: 120,
            concurrent_requests: 1024,
            sockets: 20_000,
            sockets_per_account: 20,
            drain_seconds: 20,
            user_per_second: 50,
            user_burst: 500,
            client_per_second: 5_000,
            client_burst: 20_000,
            address_per_second: 20,
            address_burst: 600,
        }
    }
}

impl Default for Clinic {
    fn default() -> Clinic {
        Clinic {
            name: "Uzima Clinic".into(),
            phone: String::new(),
            timezone: "Africa/Nairobi".into(),
            currency: "KES".into(),
        }
    }
}

impl Default for Turn {
    fn default() -> Turn {
        Turn {
            listen: None,
            public_ip: None,
            realm: "uzima".into(),
            secret: None,
            port_min: 49_160,
            port_max: 49_999,
            allow_private_relays: false,
        }
    }
}

impl Default for Subscriptions {
    fn default() -> Subscriptions {
        Subscriptions {
            allow_http: false,
            allow_private: false,
            hosts: Vec::new(),
            retry_seconds: 5,
            max_failures: 12,
        }
    }
}

impl Default for Worker {
    fn default() -> Worker {
        Worker { enabled: true, concurrency: 16 }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log { filter: "info".into(), format: LogFormat::Json }
    }
}

impl Config {
    /// A server for tests: its data in `data`, a free port of 127.0.0.1, text logs.
    pub fn local(data: impl Into<PathBuf>) -> Config {
        Config {
            data: data.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            log: Log { filter: "warn".into(), format: LogFormat::Text },
            ..Config::default()
        }
    }
    /// Whether a certificate is given or will be got.
    pub fn has_tls(&self) -> bool {
        self.tls.certificate.is_some() || !self.tls.acme_names.is_empty()
    }
}
