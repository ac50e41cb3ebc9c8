//! A resource is its JSON: parsed once, kept as sent.

use crate::{IssueCode, Outcome, TypeId};
use serde_json::{Map, Value, json};

/// A parsed resource. The root is an object whose `resourceType` is a known R4 type.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    kind: TypeId,
    value: Value,
}

/// Type and logical id, e.g. `Patient/0190…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceKey {
    pub kind: TypeId,
    pub id: String,
}

impl ResourceKey {
    pub fn new(kind: TypeId, id: impl Into<String>) -> ResourceKey {
        ResourceKey { kind, id: id.into() }
    }
    /// Parses `Type/id`. Errors: `None` for an unknown type or an id that breaks the R4 `id` pattern.
    pub fn parse(text: &str) -> Option<ResourceKey> {
        let (kind, id) = text.split_once('/')?;
        valid_id(id).then_some(())?;
        Some(ResourceKey { kind: TypeId::from_name(kind)?, id: id.to_owned() })
    }
}

impl std::fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind.name(), self.id)
    }
}

/// What `Reference.reference` (or a canonical/uri) points at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// `Patient/123`, `Patient/123/_history/2`, or an absolute URL under the server's own base.
    Local { key: ResourceKey, version: Option<u32> },
    /// `#contained`
    Contained(String),
    /// `urn:uuid:…` or `urn:oid:…`, resolvable only inside a bundle.
    Urn(String),
    /// Any other absolute URL.
    External(String),
    /// `Type?query`, resolved by the transaction that carries it.
    Conditional { kind: TypeId, query: String },
}

/// R4 `id`: `[A-Za-z0-9\-\.]{1,64}`.
pub fn valid_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

impl Resource {
    /// Errors: [Outcome] with `structure` for malformed JSON, duplicate keys at one level, nesting deeper than
    /// [MAX_DEPTH](crate::MAX_DEPTH), a root that is no object, or a missing or unknown `resourceType`.
    pub fn parse(bytes: &[u8]) -> Result<Resource, Outcome> {
        let value = crate::json::parse(bytes)?;
        Resource::from_value(value)
    }

    /// Errors: as [Resource::parse], except what only the text shows: duplicate keys and depth, which
    /// validation reports.
    pub fn from_value(value: Value) -> Result<Resource, Outcome> {
        let Some(name) = value.as_object().and_then(|o| o.get("resourceType")).and_then(Value::as_str) else {
            return Err(Outcome::one(
                IssueCode::Structure,
                "",
                "A resource is a JSON object with `resourceType`.",
            ));
        };
        let Some(kind) = TypeId::from_name(name) else {
            return Err(Outcome::one(
                IssueCode::Structure,
                "resourceType",
                format!("`{name}` is no FHIR R4 resource type."),
            ));
        };
        Ok(Resource { kind, value })
    }

    /// A new, empty resource of this type.
    pub fn new(kind: TypeId) -> Resource {
        Resource { kind, value: json!({"resourceType": kind.name()}) }
    }

    pub fn kind(&self) -> TypeId {
        self.kind
    }
    pub fn id(&self) -> Option<&str> {
        self.value.get("id").and_then(Value::as_str)
    }
    pub fn key(&self) -> Option<ResourceKey> {
        Some(ResourceKey::new(self.kind, self.id()?))
    }
    pub fn value(&self) -> &Value {
        &self.value
    }
    pub fn value_mut(&mut self) -> &mut Value {
        &mut self.value
    }
    pub fn into_value(self) -> Value {
        self.value
    }
    pub fn get(&self, element: &str) -> Option<&Value> {
        self.value.get(element)
    }
    pub fn text(&self, element: &str) -> Option<&str> {
        self.value.get(element).and_then(Value::as_str)
    }
    /// Sets a root element; `Value::Null` removes it.
    pub fn set(&mut self, element: &str, value: Value) {
        if let Some(o) = self.value.as_object_mut() {
            if value.is_null() {
                o.shift_remove(element);
            } else {
                o.insert(element.to_owned(), value);
            }
        }
    }
    /// Puts `id` right behind `resourceType`, as every server prints it.
    pub fn set_id(&mut self, id: &str) {
        self.insert_at(1, "id", json!(id));
    }
    /// Sets `meta.versionId` and `meta.lastUpdated`; profiles, tags and labels stay.
    pub fn set_version(&mut self, version: u32, last_updated: jiff::Timestamp) {
        let mut meta = match self.value.get("meta") {
            Some(Value::Object(m)) => m.clone(),
            _ => Map::new(),
        };
        meta.insert("versionId".into(), json!(version.to_string()));
        meta.insert("lastUpdated".into(), json!(format!("{last_updated:.3}")));
        self.insert_at(2, "meta", Value::Object(meta));
    }
    pub fn to_json(&self) -> String {
        crate::json_text(&self.value)
    }

    fn insert_at(&mut self, at: usize, element: &str, value: Value) {
        let Some(o) = self.value.as_object_mut() else { return };
        if let Some(existing) = o.get_mut(element) {
            *existing = value;
        } else {
            let at = at.min(o.len());
            o.shift_insert(at, element.to_owned(), value);
        }
    }
}
