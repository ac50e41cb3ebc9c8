//! Which of a concept's names to show.

use store::terminology::{Concept, Designation};

/// Uses that are a display: SNOMED CT's synonym, FHIR's `display`, and names without use.
fn is_display(d: &Designation) -> bool {
    matches!(
        d.use_code.as_str(),
        "" | "display"
            | "preferredForLanguage"
            | "900000000000013009"
            | "LONG_COMMON_NAME"
            | "title"
            | "preferred"
    )
}

/// How well a language tag answers a wish: `None` not at all, smaller is better. `en` answers `en-GB` and the other way.
fn distance(tag: &str, wish: &str) -> Option<u8> {
    let (tag, wish) = (tag.to_ascii_lowercase(), wish.to_ascii_lowercase());
    let primary = |t: &str| t.split('-').next().unwrap_or_default().to_owned();
    if tag == wish {
        Some(0)
    } else if primary(&tag) != primary(&wish) || tag.is_empty() {
        None
    } else if tag.len() < wish.len() {
        Some(1)
    } else {
        Some(2)
    }
}

/// Languages wished for, best first: `displayLanguage` is written like Accept-Language.
pub(super) fn wishes(text: &str) -> Vec<String> {
    let mut all: Vec<(u32, String)> = text
        .split(',')
        .filter_map(|part| {
            let (tag, rest) = part.split_once(';').unwrap_or((part, ""));
            let weight = rest
                .trim()
                .strip_prefix("q=")
                .map_or(1000, |q| (q.parse::<f64>().unwrap_or(0.0).clamp(0.0, 1.0) * 1000.0) as u32);
            let tag = tag.trim();
            (!tag.is_empty() && tag != "*" && weight > 0).then(|| (1000 - weight, tag.to_owned()))
        })
        .collect();
    all.sort_by_key(|(weight, _)| *weight);
    all.into_iter().map(|(_, tag)| tag).collect()
}

/// The name to show: in the first language wished for that has one; else the system's own display.
/// `extra` are names that a value set gives for the concept; they go before the system's.
pub(super) fn display(
    concept: Option<&Concept>,
    own: Option<&str>,
    extra: &[Designation],
    wishes: &[String],
    system_language: Option<&str>,
) -> Option<String> {
    // FHIR's own systems are English and do not say so.
    let system_language = system_language.or(Some("en"));
    let fallback = own.or(concept.map(|c| c.display.as_str())).filter(|d| !d.is_empty());
    for wish in wishes {
        let mut best: Option<((u8, bool, bool), &str)> = None;
        let names = extra.iter().chain(concept.into_iter().flat_map(|c| &c.detail.designations));
        for d in names.filter(|d| is_display(d)) {
            if let Some(far) = distance(&d.language, wish) {
                let mine = (far, !d.preferred, d.use_code.is_empty());
                if best.as_ref().is_none_or(|(b, _)| mine < *b) {
                    best = Some((mine, &d.value));
                }
            }
        }
        match best {
            // The system's own display is in the wished language as well, and is the one it prefers.
            Some(_) if system_language.and_then(|l| distance(l, wish)) == Some(0) => {
                return fallback.map(str::to_owned);
            }
            Some((_, value)) => return Some(value.to_owned()),
            None if system_language.is_some_and(|l| distance(l, wish).is_some()) => break,
            None => {}
        }
    }
    fallback.map(str::to_owned)
}

/// Whether `name` is one of the concept's names; blanks and case aside.
pub(super) fn is_name(concept: &Concept, extra: &[&str], name: &str) -> bool {
    let folded = fhir::search::fold(name);
    std::iter::once(concept.display.as_str())
        .chain(concept.detail.designations.iter().map(|d| d.value.as_str()))
        .chain(extra.iter().copied())
        .any(|n| fhir::search::fold(n) == folded)
}
