//! Files inside resources: Attachments with data, and Binaries.

use serde_json::Value;

/// How deep they are looked for.
const MAX_DEPTH: usize = 32;
/// Letters of a file's name before its ending.
const MAX_NAME: usize = 60;

/// One file.
pub struct Found {
    pub title: String,
    pub media_type: String,
    pub bytes: Vec<u8>,
}

fn walk<'v>(value: &'v Value, depth: usize, each: &mut impl FnMut(&'v Value, &'v str, &'v str)) {
    if depth > MAX_DEPTH {
        return;
    }
    match value {
        Value::Object(map) => {
            let text = |name: &str| map.get(name).and_then(Value::as_str);
            if let (Some(media_type), Some(data)) = (text("contentType"), text("data")) {
                each(value, media_type, data);
            }
            for inner in map.values() {
                walk(inner, depth + 1, each);
            }
        }
        Value::Array(list) => {
            for inner in list {
                walk(inner, depth + 1, each);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether the resource carries a file.
pub fn any(resource: &Value) -> bool {
    let mut found = false;
    walk(resource, 0, &mut |_, _, _| found = true);
    found
}

/// The files of a resource; what is no base64 is left in the Bundle.
pub fn all(resource: &Value) -> Vec<Found> {
    let mut found = Vec::new();
    walk(resource, 0, &mut |attachment, media_type, data| {
        if let Some(bytes) = decode(data) {
            let title = attachment.get("title").and_then(Value::as_str).unwrap_or_default();
            found.push(Found { title: title.to_owned(), media_type: media_type.to_owned(), bytes });
        }
    });
    found
}

/// Base64 as FHIR has it, blanks between allowed.
fn decode(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let plain: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    base64::engine::general_purpose::STANDARD.decode(plain).ok()
}

/// `files/003-x-ray.jpg`: nothing of the title but letters, digits and dashes.
pub fn file_name(number: usize, title: &str, media_type: &str) -> String {
    let mut name = String::new();
    for letter in title.chars().flat_map(char::to_lowercase) {
        if letter.is_alphanumeric() {
            name.push(letter);
        } else if !name.ends_with('-') && !name.is_empty() {
            name.push('-');
        }
        if name.chars().count() >= MAX_NAME {
            break;
        }
    }
    let name = name.trim_end_matches('-');
    let dash = if name.is_empty() { "" } else { "-" };
    format!("files/{number:03}{dash}{name}.{}", ending(media_type))
}

fn ending(media_type: &str) -> &'static str {
    let bare = media_type.split(';').next().unwrap_or_default().trim();
    match bare {
        "application/pdf" => "pdf",
        "image/jpeg" => "jpg",
        "image/png" => "png",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "image/tiff" => "tiff",
        "application/dicom" => "dcm",
        "audio/mpeg" => "mp3",
        "audio/ogg" => "ogg",
        "video/mp4" => "mp4",
        "video/webm" => "webm",
        "text/csv" => "csv",
        "application/json" | "application/fhir+json" => "json",
        "application/xml" | "text/xml" | "application/fhir+xml" => "xml",
        // Pages would run in a browser that opens them from the folder.
        _ if bare.starts_with("text/") => "txt",
        _ => "bin",
    }
}

#[cfg(test)]
mod tests {
    use super::{all, any, file_name};
    use serde_json::json;

    #[test]
    fn files_are_found_and_named_without_harm() {
        let value = json!({"resourceType": "DocumentReference", "content": [
            {"attachment": {"contentType": "text/plain", "data": "aGVs bG8=", "title": "../../X ray (left)"}},
            {"attachment": {"contentType": "text/plain", "url": "https://x.example/y"}},
            {"attachment": {"contentType": "text/plain", "data": "***"}}]});
        assert!(any(&value));
        let found = all(&value);
        assert_eq!((found.len(), found[0].bytes.as_slice()), (1, &b"hello"[..]));
        assert_eq!(file_name(3, &found[0].title, "text/html"), "files/003-x-ray-left.txt");
        assert_eq!(file_name(4, "", "application/x-msdownload"), "files/004.bin");
    }
}
