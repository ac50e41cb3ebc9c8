//! `/.well-known/security.txt` (RFC 9116): whom to tell of a hole that was found.

use super::error::{ApiError, Refusal, RefusalKind};
use crate::state::AppState;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};

/// How long the text counts after it was fetched; the RFC asks for less than a year.
const VALID: SignedDuration = SignedDuration::from_hours(180 * 24);

/// 404 where the clinic has named nobody: an address that nobody reads is worse than none.
pub async fn show(State(app): State<AppState>) -> Response {
    let contacts = &app.config.http.security_contacts;
    if contacts.is_empty() {
        let refusal = Refusal::new(RefusalKind::RouteUnknown, "There is no such file.");
        return ApiError::from(refusal).into_response();
    }
    let text = text(contacts, &app.public_url, app.record.now());
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

fn text(contacts: &[String], public_url: &str, now: Timestamp) -> String {
    let mut lines: Vec<String> = contacts.iter().map(|contact| format!("Contact: {contact}")).collect();
    // The same all day, so that two who fetch it can compare.
    let day = (now + VALID).strftime("%Y-%m-%dT00:00:00Z");
    lines.push(format!("Expires: {day}"));
    lines.push("Preferred-Languages: en, sw".to_owned());
    // Only https addresses may stand here (§2.5.2).
    if public_url.starts_with("https://") {
        lines.push(format!("Canonical: {public_url}/.well-known/security.txt"));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_that_of_the_rfc() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let contacts = ["mailto:security@clinic.example".to_owned(), "tel:+254700000000".to_owned()];
        assert_eq!(
            text(&contacts, "https://clinic.example", now),
            "Contact: mailto:security@clinic.example\nContact: tel:+254700000000\nExpires: 2027-05-21T00:00:00Z\n\
             Preferred-Languages: en, sw\nCanonical: https://clinic.example/.well-known/security.txt\n"
        );
        assert!(!text(&contacts, "http://127.0.0.1:8080", now).contains("Canonical"));
    }
}
