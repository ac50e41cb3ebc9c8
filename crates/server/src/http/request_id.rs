//! The id of the request that this task works on.

tokio::task_local! {
    pub(super) static CURRENT: String;
}

/// The id of the request in whose task this is called; empty outside of requests.
pub fn current() -> String {
    CURRENT.try_with(Clone::clone).unwrap_or_default()
}

/// Whether a client's own `X-Request-Id` may be used: 8 to 64 of `A–Z a–z 0–9 - _`.
pub(super) fn acceptable(text: &str) -> bool {
    (8..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
