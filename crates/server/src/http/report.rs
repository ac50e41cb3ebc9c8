//! `POST /csp-report`: browsers tell what a page's policy has stopped. Counted by directive, nothing else is kept: the
//! report names pages, and addresses of pages say who was looked at.

use super::body;
use crate::state::AppState;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde_json::Value;

/// Where reports go.
pub const PATH: &str = "/csp-report";
/// Largest report, bytes.
const REPORT_BYTES: usize = 16 * 1024;
/// Reports of one request that are counted.
const REPORTS_MAX: usize = 20;

/// Directives that are counted by name; the set bounds the metric.
const DIRECTIVES: &[&str] = &[
    "script-src",
    "script-src-elem",
    "script-src-attr",
    "style-src",
    "style-src-elem",
    "style-src-attr",
    "img-src",
    "media-src",
    "font-src",
    "connect-src",
    "worker-src",
    "manifest-src",
    "frame-src",
    "object-src",
    "base-uri",
    "form-action",
    "frame-ancestors",
    "require-trusted-types-for",
    "trusted-types",
    "default-src",
];

/// 204 whatever is sent: there is nothing to learn here. 413 for what is too large.
pub async fn receive(State(app): State<AppState>, request: Request) -> StatusCode {
    let Ok(bytes) = body::read(request, REPORT_BYTES).await else { return StatusCode::PAYLOAD_TOO_LARGE };
    let Ok(value) = serde_json::from_slice::<Value>(&bytes) else { return StatusCode::NO_CONTENT };
    for directive in directives(&value) {
        app.metrics.count("csp_violations", &format!("directive=\"{directive}\""), 1);
        tracing::warn!(directive, "a page's security policy stopped something");
    }
    StatusCode::NO_CONTENT
}

/// Of both forms: `{"csp-report": {…}}` of CSP 2, and the Reporting API's list.
fn directives(value: &Value) -> Vec<&'static str> {
    let known = |text: &Value| {
        let name = text.as_str()?.split(' ').next()?;
        Some(DIRECTIVES.iter().find(|known| **known == name).copied().unwrap_or("other"))
    };
    if let Some(report) = value.get("csp-report") {
        let named = report.get("effective-directive").or_else(|| report.get("violated-directive"));
        return named.and_then(known).into_iter().collect();
    }
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .take(REPORTS_MAX)
        .filter_map(|one| known(one.get("body")?.get("effectiveDirective")?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::directives;
    use serde_json::json;

    #[test]
    fn both_forms_are_read_and_names_are_bounded() {
        let cases = [
            (json!({"csp-report": {"effective-directive": "script-src-elem"}}), vec!["script-src-elem"]),
            (json!({"csp-report": {"violated-directive": "img-src 'self'"}}), vec!["img-src"]),
            (json!({"csp-report": {"effective-directive": "x\"} 1\n"}}), vec!["other"]),
            (
                json!([{"type": "csp-violation", "body": {"effectiveDirective": "connect-src"}}]),
                vec!["connect-src"],
            ),
            (json!([{"type": "csp-violation"}, 1]), vec![]),
            (json!("x"), vec![]),
        ];
        for (value, expected) in cases {
            assert_eq!(directives(&value), expected, "{value}");
        }
    }
}
