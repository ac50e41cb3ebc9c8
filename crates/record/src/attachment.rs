//! Files inside what is written: Binary, and every Attachment with its content in it.
//!
//! **Invariant:** no way of writing leads past this: what is stored is what its media type says, and where a scanner is set
//! up, it was scanned before.

use crate::{Change, Error, Record, Rule};
use base64::Engine as _;
use fhir::{Issue, IssueCode, Resource};
use serde_json::Value;
use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// What a scanner says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scanned {
    Clean,
    Harmful,
    /// It does not answer; nothing is stored unscanned.
    Unavailable,
}

/// Asks a virus scanner about a file's content.
pub type Scanner = Arc<dyn Fn(Vec<u8>) -> Pin<Box<dyn Future<Output = Scanned> + Send>> + Send + Sync>;

/// Every file with its content in it: place, media type and Base64.
fn each<'a>(resource: &'a Resource, found: &mut dyn FnMut(&str, &'a str, &'a str)) {
    walk(resource.value(), &mut resource.kind().name().to_owned(), found);
}

fn walk<'a>(value: &'a Value, place: &mut String, found: &mut dyn FnMut(&str, &'a str, &'a str)) {
    let length = place.len();
    match value {
        Value::Object(object) => {
            // Signatures and sampled data have `data`, but no `contentType`: they are no files.
            if let (Some(Value::String(kind)), Some(Value::String(data))) =
                (object.get("contentType"), object.get("data"))
            {
                found(place, kind, data);
            }
            for (name, member) in object {
                if matches!(member, Value::Object(_) | Value::Array(_)) {
                    place.push('.');
                    place.push_str(name);
                    walk(member, place, found);
                    place.truncate(length);
                }
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                if matches!(item, Value::Object(_) | Value::Array(_)) {
                    place.push_str(&format!("[{n}]"));
                    walk(item, place, found);
                    place.truncate(length);
                }
            }
        }
        _ => {}
    }
}

/// `None` for what is no Base64, which validation tells by itself.
fn decoded(data: &str) -> Option<Vec<u8>> {
    let plain: Cow<'_, str> = match data.bytes().any(|b| b.is_ascii_whitespace()) {
        true => data.split_ascii_whitespace().collect::<String>().into(),
        false => data.into(),
    };
    base64::engine::general_purpose::STANDARD.decode(plain.as_bytes()).ok()
}

/// What is wrong with the files of a resource, one issue each.
pub(crate) fn problems(resource: &Resource) -> Vec<Issue> {
    let mut issues = Vec::new();
    each(resource, &mut |place, kind, data| {
        let Some(bytes) = decoded(data) else { return };
        if let Err(refusal) = wire::attachment::check(kind, &bytes) {
            let text = format!("This file is not taken: {refusal}.");
            issues.push(Issue::error(IssueCode::Value, format!("{place}.data"), text));
        }
    });
    issues
}

impl Record {
    /// Has every file that is written from now on scanned before. The first call counts.
    pub fn set_scanner(&self, scanner: Scanner) {
        let _ = self.inner.scanner.set(scanner);
    }

    /// Before a write. Errors: `Rule` `file-harmful`; `Busy` while the scanner does not answer.
    pub(crate) async fn scan_files(&self, changes: &[Change]) -> Result<(), Error> {
        let Some(scanner) = self.inner.scanner.get() else { return Ok(()) };
        let mut files: Vec<(String, Vec<u8>)> = Vec::new();
        for change in changes {
            let (Change::Create { resource } | Change::Update { resource, .. }) = change else { continue };
            each(resource, &mut |place, _, data| {
                files.extend(decoded(data).map(|bytes| (format!("{place}.data"), bytes)));
            });
        }
        for (place, bytes) in files {
            match scanner(bytes).await {
                Scanned::Clean => {}
                Scanned::Unavailable => return Err(Error::Busy),
                Scanned::Harmful => {
                    tracing::warn!("a file was refused: the scanner found it harmful");
                    let rule =
                        Rule::new("file-harmful", "This file was found to be harmful and is not stored.");
                    return Err(Error::Rule(rule.at(place)));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn files_are_found_wherever_they_are() {
        let text = base64::engine::general_purpose::STANDARD.encode("<html><script>alert(1)</script>");
        let file = |kind: &str| json!({"contentType": kind, "data": text});
        let cases = [
            (
                json!({"resourceType": "Binary", "contentType": "image/png", "data": text}),
                vec!["Binary.data"],
            ),
            (json!({"resourceType": "Binary", "contentType": "text/html", "data": text}), vec![]),
            (
                json!({"resourceType": "DocumentReference", "status": "current",
                    "content": [{"attachment": file("text/html")}, {"attachment": file("application/pdf")}]}),
                vec!["DocumentReference.content[1].attachment.data"],
            ),
            (
                json!({"resourceType": "Patient", "photo": [file("image/jpeg")],
                    "contained": [{"resourceType": "Media", "content": file("video/mp4")}],
                    "extension": [{"url": "http://x", "valueAttachment": file("audio/mpeg")}]}),
                vec![
                    "Patient.photo[0].data",
                    "Patient.contained[0].content.data",
                    "Patient.extension[0].valueAttachment.data",
                ],
            ),
            // No files: a signature, waves, a link.
            (
                json!({"resourceType": "Provenance", "signature": [{"sigFormat": "image/png", "data": text}]}),
                vec![],
            ),
            (json!({"resourceType": "Observation", "valueSampledData": {"data": "E 1 2"}}), vec![]),
            (
                json!({"resourceType": "Patient", "photo": [{"contentType": "image/png", "url": "Binary/1"}]}),
                vec![],
            ),
        ];
        for (value, expected) in cases {
            let resource = Resource::from_value(value.clone()).unwrap();
            let found: Vec<String> = problems(&resource).into_iter().map(|issue| issue.expression).collect();
            assert_eq!(found, expected, "{value}");
        }
    }
}
