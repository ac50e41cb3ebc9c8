//! M-PESA by Daraja: prompts (STK push), callbacks, queries, paybill payments (C2B).
//!
//! The intent is stored before Daraja is called. A callback is believed only if its secret address, its
//! CheckoutRequestID and its amount match and a query does not contradict it; whatever else arrives ends as
//! `unknown` for a person to look at. Callbacks may come first, twice, late, or never.

mod address;
mod c2b;
mod callback;
mod client;
mod prompt;

pub use client::{Client, Health};
pub(crate) use prompt::SETTLE_ATTEMPTS;

/// Kinds of jobs that [crate::Billing::run_job] does.
pub const JOBS: &[&str] = &[SUBMIT, CHECK, CALLBACK, C2B_CONFIRMATION];
pub(crate) const SUBMIT: &str = "mpesa.submit";
pub(crate) const CHECK: &str = "mpesa.check";
pub(crate) const CALLBACK: &str = "mpesa.callback";
pub(crate) const C2B_CONFIRMATION: &str = "mpesa.c2b";

/// How M-PESA is reached. Debug output hides the secrets.
#[derive(Clone)]
pub struct Config {
    /// e.g. `https://api.safaricom.co.ke`
    pub base_url: String,
    pub consumer_key: String,
    pub consumer_secret: String,
    pub shortcode: String,
    pub passkey: String,
    /// Public address under which Daraja reaches `/hooks/daraja/…`, without trailing slash.
    pub callback_base_url: String,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("mpesa::Config").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}
