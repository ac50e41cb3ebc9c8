//! `application/x-www-form-urlencoded` bodies with a bound on their size.

/// A form body that is read at all.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Fields that are read; the rest is ignored.
const FIELDS_MAX: usize = 64;

/// Decoded name and value pairs. Invalid UTF-8 becomes U+FFFD; an oversized body reads as empty.
pub struct Form(Vec<(String, String)>);

impl Form {
    pub fn parse(body: &[u8]) -> Form {
        if body.len() > BODY_BYTES_MAX {
            return Form(Vec::new());
        }
        Form(form_urlencoded::parse(body).into_owned().take(FIELDS_MAX).collect())
    }

    /// The first value of that name, trimmed; `None` when absent or empty.
    pub fn get(&self, name: &str) -> Option<String> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
    }

    /// The first value of that name as sent, empty when absent: for message texts.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Encodes the pairs whose value is present.
pub fn encode(pairs: &[(&str, Option<&str>)]) -> String {
    let mut serializer = form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        if let Some(value) = value {
            serializer.append_pair(name, value);
        }
    }
    serializer.finish()
}
