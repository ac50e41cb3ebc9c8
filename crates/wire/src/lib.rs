//! Codecs for the protocols that Uzima speaks with outside providers.
//!
//! Each module turns bytes that a provider sent into typed values, and typed values into the bytes
//! that the provider expects. What arrives is read tolerantly (numbers as strings, any order, unknown
//! names, missing parts); what leaves is strict.
//!
//! **Invariants:** a parser never panics, never loops over unbounded input and never looks at a clock:
//! callers pass bytes, status and time. Money is an `i64` in minor units (cents), never a float.
//!
//! **Must never depend on** tokio, SQL, an HTTP client or server, a clock or randomness. The same
//! types serve both ends: `billing` and `reach` as the client, `sandbox` as the provider.

pub mod address;
pub mod africastalking;
pub mod attachment;
pub mod daraja;
pub mod money;
pub mod msisdn;
pub mod pdf;
pub mod phone;
pub mod sms;
pub mod terminology;

mod form;
mod json;
