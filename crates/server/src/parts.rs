//! Long-lived parts of the domain crates, made once at start.
//!
//! A crate that needs a shared object (a provider's client, a registry of rooms) adds one field here and makes it
//! in [Parts::start]; handlers reach it as `app.parts.<field>`.

use crate::config::Config;
use crate::config::Secret;
use crate::ws::consultation::Calls;
use anyhow::Context as _;
use jiff::Timestamp;
use record::Record;
use std::sync::Arc;

/// How the last calls of an outside provider went, since this process began.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderHealth {
    pub name: &'static str,
    pub last_ok: Option<Timestamp>,
    /// When, and in the provider's words.
    pub last_error: Option<(Timestamp, String)>,
}

impl ProviderHealth {
    /// No error, or none since the last success.
    pub fn is_healthy(&self) -> bool {
        match (&self.last_ok, &self.last_error) {
            (_, None) => true,
            (Some(ok), Some((failed, _))) => ok >= failed,
            (None, Some(_)) => false,
        }
    }
}

/// One field per part.
pub struct Parts {
    /// Rooms and relay of video visits.
    pub calls: Calls,
    pub billing: billing::Billing,
    /// Exports, imports and views.
    pub insight: insight::Insight,
    /// Who came and went in the calls of this process, until it is written.
    pub call_log: care::consultation::LogBook,
    /// `None` where no SMS provider is configured: messages wait in the queue.
    pub sms: Option<Arc<reach::sms::Sms>>,
    /// Notifications of FHIR Subscriptions on their way.
    pub notifications: crate::worker::subscriptions::Notifications,
    /// Outside providers of identities.
    pub outside: Vec<Arc<crate::outside::Outside>>,
    /// Copies of the embedded database elsewhere.
    pub backups: Arc<crate::backups::Backups>,
}

impl Parts {
    /// `public_url` has no trailing slash. Errors: what keeps the server from starting, in words for the operator.
    pub async fn start(config: &Config, record: &Record, public_url: &str) -> anyhow::Result<Parts> {
        let billing = billing::Billing::start(record.clone(), clinic(config)?, mpesa(config, public_url)?)
            .await
            .context("billing cannot start")?;
        let sms =
            sms(config)?.map(reach::sms::Sms::new).transpose().context("SMS cannot start")?.map(Arc::new);
        let call_log = care::consultation::LogBook::default();
        let insight = insight(config, record)?;
        let notifications = crate::worker::subscriptions::Notifications::start(config, record)
            .context("notifications cannot start")?;
        let backups = Arc::new(crate::backups::Backups::new(config, record.store()));
        let outside = crate::outside::start(config, public_url)?;
        Ok(Parts {
            outside,
            calls: Calls::start(config).await?,
            billing,
            insight,
            call_log,
            sms,
            notifications,
            backups,
        })
    }

    /// The outside providers that are set up.
    pub fn providers(&self) -> Vec<ProviderHealth> {
        let mpesa = self.billing.mpesa_health().map(|health| ProviderHealth {
            name: "daraja",
            last_ok: health.last_ok,
            last_error: health.last_error,
        });
        let sms = self.sms.as_ref().map(|sms| sms.health()).map(|health| ProviderHealth {
            name: "africastalking",
            last_ok: health.last_ok,
            last_error: health.last_error,
        });
        mpesa.into_iter().chain(sms).collect()
    }

    /// Called once after the last request at shutdown.
    pub async fn stop(&self) {
        self.notifications.stop().await;
        self.calls.stop();
    }
}

/// Bulk work on this installation's folder. Errors: the key of the files cannot be read.
pub(crate) fn insight(config: &Config, record: &Record) -> anyhow::Result<insight::Insight> {
    let key = crate::storage::file_key(config)?;
    let mut bulk =
        insight::Config::new(config.data.join("bulk"), insight::FileKey::of_installation(key.as_bytes())?);
    bulk.part_resources = config.bulk.part_resources.max(1);
    bulk.keep = jiff::SignedDuration::from_hours(i64::from(config.bulk.keep_hours.max(1)));
    bulk.jobs_per_owner = i64::from(config.bulk.jobs_per_owner);
    bulk.jobs = i64::from(config.bulk.jobs);
    bulk.import_from.clone_from(&config.bulk.import_from);
    insight::Insight::new(record.clone(), bulk).context("bulk work cannot start")
}

fn clinic(config: &Config) -> anyhow::Result<billing::Clinic> {
    Ok(billing::Clinic {
        name: config.clinic.name.clone(),
        phone: config.clinic.phone.clone(),
        country: COUNTRY.into(),
        currency: config.clinic.currency.clone(),
        timezone: jiff::tz::TimeZone::get(&config.clinic.timezone)?,
    })
}

/// Numbers without a country code are Kenyan.
pub const COUNTRY: &str = "KE";

/// `None` without a consumer key. Errors: M-PESA is half configured.
fn mpesa(config: &Config, public_url: &str) -> anyhow::Result<Option<billing::mpesa::Config>> {
    let daraja = &config.daraja;
    let Some(key) = &daraja.consumer_key else { return Ok(None) };
    let need = |secret: &Option<Secret>, name: &str| {
        secret.as_ref().map(|s| s.expose().to_owned()).with_context(|| format!("daraja.{name} is missing"))
    };
    Ok(Some(billing::mpesa::Config {
        base_url: daraja.base_url.trim_end_matches('/').to_owned(),
        consumer_key: key.expose().to_owned(),
        consumer_secret: need(&daraja.consumer_secret, "consumer_secret")?,
        shortcode: daraja.shortcode.clone(),
        passkey: need(&daraja.passkey, "passkey")?,
        callback_base_url: daraja
            .callback_base_url
            .as_deref()
            .unwrap_or(public_url)
            .trim_end_matches('/')
            .to_owned(),
    }))
}

/// `None` without an API key.
fn sms(config: &Config) -> anyhow::Result<Option<reach::sms::Config>> {
    let provider = &config.africastalking;
    let Some(key) = &provider.api_key else { return Ok(None) };
    anyhow::ensure!(!provider.base_url.is_empty(), "africastalking.base_url is missing");
    Ok(Some(reach::sms::Config {
        base_url: provider.base_url.trim_end_matches('/').to_owned(),
        username: provider.username.clone(),
        api_key: key.expose().to_owned(),
        sender: provider.sender.clone(),
    }))
}
