//! What a sandbox is started with, and what can be changed while it runs.

use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};

/// Consumer key that the sandbox's Daraja accepts unless told otherwise.
pub const CONSUMER_KEY: &str = "uzima-sandbox-key";
/// Consumer secret that the sandbox's Daraja accepts unless told otherwise.
pub const CONSUMER_SECRET: &str = "uzima-sandbox-secret";
/// Safaricom's own paybill for tests.
pub const SHORTCODE: &str = "174379";
/// Passkey of [SHORTCODE] unless told otherwise.
pub const PASSKEY: &str = "uzima-sandbox-passkey";
/// Africa's Talking user name; the vendor's sandbox uses the same word.
pub const SMS_USERNAME: &str = "sandbox";
/// Africa's Talking API key unless told otherwise.
pub const SMS_API_KEY: &str = "uzima-sandbox-api-key";

/// Shortest time a prompt may wait for its answer, in milliseconds.
pub const PROMPT_TIMEOUT_MS_MIN: u64 = 100;
/// Longest time a prompt may wait for its answer, in milliseconds.
pub const PROMPT_TIMEOUT_MS_MAX: u64 = 600_000;
/// Longest pause that can be set between an answer and its callback, in milliseconds.
pub const PROCESSING_MS_MAX: u64 = 60_000;

/// How to start. Every field can be given as a flag or a variable; none of the credentials is a
/// secret, because no money and no message leaves this process.
#[derive(Clone, clap::Args)]
pub struct Config {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, env = "UZIMA_SANDBOX_LISTEN", default_value = "127.0.0.1:7100")]
    pub listen: SocketAddr,
    /// Address of the mail server; none without it.
    #[arg(long, env = "UZIMA_SANDBOX_SMTP_LISTEN")]
    pub smtp_listen: Option<SocketAddr>,
    /// The address under which people reach the pages, when it is not the listening one.
    #[arg(long, env = "UZIMA_SANDBOX_PUBLIC_URL")]
    pub public_url: Option<String>,
    /// Daraja consumer key.
    #[arg(long, env = "UZIMA_SANDBOX_CONSUMER_KEY", default_value = CONSUMER_KEY)]
    pub consumer_key: String,
    /// Daraja consumer secret.
    #[arg(long, env = "UZIMA_SANDBOX_CONSUMER_SECRET", default_value = CONSUMER_SECRET)]
    pub consumer_secret: String,
    /// The paybill, five to seven digits.
    #[arg(long, env = "UZIMA_SANDBOX_SHORTCODE", default_value = SHORTCODE)]
    pub shortcode: String,
    /// Passkey of the paybill.
    #[arg(long, env = "UZIMA_SANDBOX_PASSKEY", default_value = PASSKEY)]
    pub passkey: String,
    /// Africa's Talking user name.
    #[arg(long, env = "UZIMA_SANDBOX_SMS_USERNAME", default_value = SMS_USERNAME)]
    pub sms_username: String,
    /// Africa's Talking API key.
    #[arg(long, env = "UZIMA_SANDBOX_SMS_API_KEY", default_value = SMS_API_KEY)]
    pub sms_api_key: String,
    /// Whether callbacks accept certificates that nobody has signed.
    #[arg(long, env = "UZIMA_SANDBOX_ACCEPT_INVALID_CERTS", default_value_t = false)]
    pub accept_invalid_certs: bool,
    /// What can be changed later.
    #[command(flatten)]
    pub settings: Settings,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            smtp_listen: None,
            public_url: None,
            consumer_key: CONSUMER_KEY.to_owned(),
            consumer_secret: CONSUMER_SECRET.to_owned(),
            shortcode: SHORTCODE.to_owned(),
            passkey: PASSKEY.to_owned(),
            sms_username: SMS_USERNAME.to_owned(),
            sms_api_key: SMS_API_KEY.to_owned(),
            accept_invalid_certs: false,
            settings: Settings::default(),
        }
    }
}

/// What the query says while a prompt is open; Daraja was seen to say both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum PendingAnswer {
    /// HTTP 500 with code 500.001.1001 "The transaction is being processed".
    #[serde(rename = "500.001.1001")]
    #[value(name = "500.001.1001")]
    Error,
    /// HTTP 200 with `ResultCode` 4999.
    #[serde(rename = "4999")]
    #[value(name = "4999")]
    Code4999,
}

/// What can be changed while the sandbox runs (`/control/settings`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, clap::Args)]
pub struct Settings {
    /// Name of the paybill's owner, shown in prompts and messages.
    #[arg(long, env = "UZIMA_SANDBOX_BUSINESS_NAME", default_value = "UZIMA HOSPITAL")]
    pub business_name: String,
    /// How long a prompt waits for its answer, in milliseconds, 100 to 600,000.
    #[arg(long, env = "UZIMA_SANDBOX_PROMPT_TIMEOUT_MS", default_value_t = 60_000)]
    pub prompt_timeout_ms: u64,
    /// Pause between an answer and its callback, and between acceptance and delivery of an SMS, in
    /// milliseconds.
    #[arg(long, env = "UZIMA_SANDBOX_PROCESSING_MS", default_value_t = 300)]
    pub processing_ms: u64,
    /// What a query says while a prompt is open.
    #[arg(long, env = "UZIMA_SANDBOX_PENDING_ANSWER", default_value = "500.001.1001")]
    pub pending_answer: PendingAnswer,
    /// Where SMS delivery reports are posted; none without it.
    #[arg(long, env = "UZIMA_SANDBOX_SMS_REPORT_URL")]
    pub sms_report_url: Option<String>,
    /// Where messages sent from handsets are posted; none without it.
    #[arg(long, env = "UZIMA_SANDBOX_SMS_INBOUND_URL")]
    pub sms_inbound_url: Option<String>,
    /// Whether C2B payments are validated first; off at Safaricom unless asked for.
    #[arg(long, env = "UZIMA_SANDBOX_C2B_VALIDATION", default_value_t = false)]
    pub c2b_validation: bool,
    /// Whether registering C2B URLs a second time is refused, as in production.
    #[arg(long, env = "UZIMA_SANDBOX_C2B_REGISTER_ONCE", default_value_t = false)]
    pub c2b_register_once: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            business_name: "UZIMA HOSPITAL".to_owned(),
            prompt_timeout_ms: 60_000,
            processing_ms: 300,
            pending_answer: PendingAnswer::Error,
            sms_report_url: None,
            sms_inbound_url: None,
            c2b_validation: false,
            c2b_register_once: false,
        }
    }
}

/// A change of [Settings]; absent fields stay, an empty URL clears.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields of Settings, each optional")]
pub struct SettingsChange {
    pub business_name: Option<String>,
    pub prompt_timeout_ms: Option<u64>,
    pub processing_ms: Option<u64>,
    pub pending_answer: Option<PendingAnswer>,
    pub sms_report_url: Option<String>,
    pub sms_inbound_url: Option<String>,
    pub c2b_validation: Option<bool>,
    pub c2b_register_once: Option<bool>,
}

impl SettingsChange {
    /// Applies the change. Errors: a sentence that names the wrong field; then nothing is changed.
    pub fn apply(self, settings: &mut Settings) -> Result<(), String> {
        let mut changed = settings.clone();
        if let Some(business_name) = self.business_name {
            if business_name.trim().is_empty() || business_name.chars().count() > 60 {
                return Err("business_name must have 1 to 60 characters".to_owned());
            }
            changed.business_name = business_name;
        }
        if let Some(prompt_timeout_ms) = self.prompt_timeout_ms {
            if !(PROMPT_TIMEOUT_MS_MIN..=PROMPT_TIMEOUT_MS_MAX).contains(&prompt_timeout_ms) {
                return Err(format!(
                    "prompt_timeout_ms must be {PROMPT_TIMEOUT_MS_MIN} to {PROMPT_TIMEOUT_MS_MAX}"
                ));
            }
            changed.prompt_timeout_ms = prompt_timeout_ms;
        }
        if let Some(processing_ms) = self.processing_ms {
            if processing_ms > PROCESSING_MS_MAX {
                return Err(format!("processing_ms must be at most {PROCESSING_MS_MAX}"));
            }
            changed.processing_ms = processing_ms;
        }
        changed.pending_answer = self.pending_answer.unwrap_or(changed.pending_answer);
        changed.sms_report_url = url(self.sms_report_url, changed.sms_report_url, "sms_report_url")?;
        changed.sms_inbound_url = url(self.sms_inbound_url, changed.sms_inbound_url, "sms_inbound_url")?;
        changed.c2b_validation = self.c2b_validation.unwrap_or(changed.c2b_validation);
        changed.c2b_register_once = self.c2b_register_once.unwrap_or(changed.c2b_register_once);
        *settings = changed;
        Ok(())
    }
}

fn url(new: Option<String>, old: Option<String>, name: &str) -> Result<Option<String>, String> {
    match new {
        None => Ok(old),
        Some(url) if url.is_empty() => Ok(None),
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => Ok(Some(url)),
        Some(_) => Err(format!("{name} must be an http or https URL, or empty for none")),
    }
}
