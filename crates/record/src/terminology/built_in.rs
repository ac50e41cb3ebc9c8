//! The code systems, value sets and concept maps of FHIR R4 itself: in the program, unpacked when first asked for.

use serde_json::Value as Json;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use super::Kind;

/// Made by `cargo xtask codegen`: lines of kind, URL, version, resource.
static DATA: &[u8] = include_bytes!("../../data/terminology.zst");
/// Unpacked; guards the decompressor's allocation.
const MAX_BYTES: usize = 32 << 20;

struct BuiltIn {
    text: String,
    /// Version, and where the resource stands.
    places: HashMap<(Kind, String), (String, std::ops::Range<usize>)>,
}

static BUILT_IN: LazyLock<BuiltIn> = LazyLock::new(|| {
    let text = zstd::bulk::decompress(DATA, MAX_BYTES)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_default();
    assert!(!text.is_empty(), "the built-in terminology cannot be unpacked");
    let mut places = HashMap::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let mut fields = line.trim_end().splitn(4, '\t');
        let (Some(kind), Some(url), Some(version), Some(json)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let kind = match kind {
            "C" => Kind::CodeSystem,
            "V" => Kind::ValueSet,
            _ => Kind::ConceptMap,
        };
        let from = start + kind_length(url, version);
        places.insert((kind, url.to_owned()), (version.to_owned(), from..from + json.len()));
    }
    BuiltIn { text, places }
});

/// Bytes before the resource: kind, URL, version and their tabs.
fn kind_length(url: &str, version: &str) -> usize {
    1 + 1 + url.len() + 1 + version.len() + 1
}

/// The version of what FHIR itself defines under this URL.
pub(crate) fn version(kind: Kind, url: &str) -> Option<&'static str> {
    BUILT_IN.places.get(&(kind, url.to_owned())).map(|(version, _)| version.as_str())
}

/// The resource.
pub(crate) fn resource(kind: Kind, url: &str) -> Option<Arc<Json>> {
    let (_, place) = BUILT_IN.places.get(&(kind, url.to_owned()))?;
    let text = BUILT_IN.text.get(place.clone())?;
    serde_json::from_str(text).ok().map(Arc::new)
}

/// All URLs of a kind, with versions, sorted.
pub(crate) fn urls(kind: Kind) -> Vec<(&'static str, &'static str)> {
    let mut all: Vec<(&str, &str)> = BUILT_IN
        .places
        .iter()
        .filter(|((k, _), _)| *k == kind)
        .map(|((_, url), (version, _))| (url.as_str(), version.as_str()))
        .collect();
    all.sort_unstable();
    all
}
