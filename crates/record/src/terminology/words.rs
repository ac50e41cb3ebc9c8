//! The keys under which a concept is found (see `store::terminology::posting`), and how well a name answers what was
//! typed.

use fhir::search::fold;
use store::terminology::Concept;
use store::terminology::posting::MAX_KEY;
use wire::terminology::rf2::ROLE_GROUP;

/// Characters of a word that count.
const MAX_WORD: usize = 40;
/// Words of a filter that count.
const MAX_WORDS: usize = 10;

/// Words of a folded text.
pub(crate) fn split(folded: &str) -> impl Iterator<Item = &str> {
    folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

pub(crate) fn cut(word: &str) -> &str {
    word.char_indices().nth(MAX_WORD).map_or(word, |(at, _)| &word[..at])
}

/// All keys of a concept; some may come twice. `parents` are the codes above it.
pub(crate) fn keys<'c>(
    concept: &'c Concept,
    parents: impl Iterator<Item = &'c str>,
    each: &mut dyn FnMut(String),
) {
    let names = std::iter::once(concept.display.as_str())
        .chain(concept.detail.designations.iter().map(|d| d.value.as_str()));
    let mut seen: Vec<String> = Vec::new();
    for name in names {
        let folded = fold(name);
        if folded.is_empty() || seen.contains(&folded) {
            continue;
        }
        for (n, word) in split(&folded).enumerate() {
            if n == 0 {
                each(format!("^:{}", cut(word)));
            }
            each(format!("w:{}", cut(word)));
        }
        seen.push(folded);
    }
    // Which attributes belong together is read from the concept itself.
    for property in concept.detail.properties.iter().filter(|p| p.code != ROLE_GROUP) {
        let value = property.value.plain();
        each(format!("p:{}", property.code));
        if property.code.len() + value.len() + 3 <= MAX_KEY {
            each(format!("p:{}={value}", property.code));
        }
        // LOINC filters name a part by its name or by its code.
        if let store::terminology::Value::Coding { display, .. } = &property.value
            && !display.is_empty()
            && property.code.len() + display.len() + 3 <= MAX_KEY
        {
            each(format!("p:{}={display}", property.code));
        }
    }
    for parent in parents {
        each(format!("p:parent={parent}"));
    }
    if concept.inactive {
        each(INACTIVE.to_owned());
    }
    if concept.is_abstract {
        each(ABSTRACT.to_owned());
    }
}

/// Concepts that are not active.
pub(crate) const INACTIVE: &str = "i:";
/// Concepts not to be chosen.
pub(crate) const ABSTRACT: &str = "a:";

/// What was typed into a filter.
pub(crate) struct Typed {
    pub text: String,
    pub words: Vec<String>,
}

impl Typed {
    /// `None` if nothing in it can be looked for.
    pub fn new(text: &str) -> Option<Typed> {
        let text = fold(text.trim());
        let words: Vec<String> = split(&text).take(MAX_WORDS).map(|w| cut(w).to_owned()).collect();
        (!words.is_empty()).then_some(Typed { text, words })
    }

    /// How well a concept answers: smaller is better, `None` not at all. A name that is what was typed comes before
    /// one that begins with it, that before one that has all words, that before a concept whose names together have
    /// them; among equals the shorter name wins, because what was typed is the larger part of it.
    pub fn rank<'n>(&self, code: &str, names: impl Iterator<Item = &'n str>) -> Option<(u8, usize)> {
        let code = fold(code);
        if code == self.text {
            return Some((0, 0));
        }
        let mut best: Option<(u8, usize)> = code.starts_with(&self.text).then_some((2, code.len()));
        let mut met = vec![false; self.words.len()];
        for name in names {
            let folded = fold(name);
            let length = folded.chars().count();
            let tier = if folded == self.text {
                1
            } else if folded.starts_with(&self.text) {
                2
            } else {
                let mut all = true;
                let mut first = false;
                for (n, typed) in self.words.iter().enumerate() {
                    let at = split(&folded).position(|word| word.starts_with(typed.as_str()));
                    match at {
                        Some(at) => {
                            met[n] = true;
                            first |= at == 0;
                        }
                        None => all = false,
                    }
                }
                match (all, first) {
                    (true, true) => 3,
                    (true, false) => 4,
                    _ => continue,
                }
            };
            let mine = (tier, length);
            if best.is_none_or(|b| mine < b) {
                best = Some(mine);
            }
        }
        best.or_else(|| met.iter().all(|m| *m).then_some((5, 0)))
    }
}
