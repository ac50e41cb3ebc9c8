//! What only the concept itself can tell: its attribute groups, how often it has an attribute, its descriptions.

use super::Evaluator;
use super::read::{Attribute, Comparison, Refinement, Term, Times, Tree};
use super::words;
use crate::Error;
use fhir::search::fold;
use std::collections::HashMap;
use store::Tx;
use store::terminology::{Concept, Ranges, Value};
use wire::terminology::rf2::ROLE_GROUP;

/// Numbers of codes that were looked up.
pub(super) type Places = HashMap<String, Option<u32>>;

/// Attribute and value.
type Relation<'c> = (&'c str, &'c str);

/// A refinement with its parts evaluated.
pub(super) enum Check {
    Attribute {
        times: Times,
        names: Vec<String>,
        is_equal: bool,
        /// `None`: any value.
        wanted: Option<Ranges>,
    },
    All(Vec<Check>),
    Any(Vec<Check>),
}

impl Check {
    pub fn new(evaluator: &Evaluator<'_>, tx: &mut dyn Tx, refinement: &Refinement) -> Result<Check, Error> {
        let mut every = |parts: &[Refinement]| -> Result<Vec<Check>, Error> {
            parts.iter().map(|part| Check::new(evaluator, tx, part)).collect()
        };
        Ok(match refinement {
            Refinement::All(all) => Check::All(every(all)?),
            Refinement::Any(any) => Check::Any(every(any)?),
            // The parser lets no group into a group.
            Refinement::Group { inner, .. } => Check::new(evaluator, tx, inner)?,
            Refinement::Attribute(attribute) => Check::attribute(evaluator, tx, attribute)?,
        })
    }

    pub fn attribute(
        evaluator: &Evaluator<'_>,
        tx: &mut dyn Tx,
        attribute: &Attribute,
    ) -> Result<Check, Error> {
        let wanted = match &attribute.value {
            Tree::Any => None,
            value => Some(evaluator.numbers(tx, value)?),
        };
        Ok(Check::Attribute {
            times: attribute.times,
            names: evaluator.attributes(tx, &attribute.name)?,
            is_equal: attribute.is_equal,
            wanted,
        })
    }

    /// Whether these relations, all of one group, meet it.
    pub fn holds(
        &self,
        evaluator: &Evaluator<'_>,
        tx: &mut dyn Tx,
        places: &mut Places,
        relations: &[Relation<'_>],
    ) -> Result<bool, Error> {
        match self {
            Check::Attribute { times, .. } => Ok(times.allows(self.count(evaluator, tx, places, relations)?)),
            Check::All(all) => {
                for one in all {
                    if !one.holds(evaluator, tx, places, relations)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Check::Any(any) => {
                for one in any {
                    if one.holds(evaluator, tx, places, relations)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    /// How many of the relations are those that the attribute asks for.
    pub fn count(
        &self,
        evaluator: &Evaluator<'_>,
        tx: &mut dyn Tx,
        places: &mut Places,
        relations: &[Relation<'_>],
    ) -> Result<u32, Error> {
        let Check::Attribute { names, is_equal, wanted, .. } = self else { return Ok(0) };
        let mut count = 0;
        for (name, value) in relations {
            if !names.iter().any(|known| known == name) {
                continue;
            }
            let is_wanted = match wanted {
                None => true,
                Some(wanted) => {
                    let number = match places.get(*value) {
                        Some(number) => *number,
                        None => {
                            let number = evaluator.system.place(tx, value)?.map(|(number, _)| number);
                            places.insert((*value).to_owned(), number);
                            number
                        }
                    };
                    number.is_some_and(|number| wanted.contains(number))
                }
            };
            count += u32::from(is_wanted == *is_equal);
        }
        Ok(count)
    }
}

/// All attributes of a concept, each pair of attribute and value once.
pub(super) fn relations(concept: &Concept) -> Vec<Relation<'_>> {
    let mut all: Vec<Relation<'_>> = Vec::new();
    for property in &concept.detail.properties {
        if let Value::Code(value) | Value::Coding { code: value, .. } = &property.value {
            let relation = (property.code.as_str(), value.as_str());
            if !all.contains(&relation) {
                all.push(relation);
            }
        }
    }
    all
}

/// The attribute groups of a concept. What is in no group is a group of its own.
pub(super) fn groups(concept: &Concept) -> Vec<Vec<Relation<'_>>> {
    let mut groups: Vec<(&str, Vec<Relation<'_>>)> = Vec::new();
    for property in concept.detail.properties.iter().filter(|p| p.code == ROLE_GROUP) {
        let Some((group, relation)) = property.value.plain().split_once(' ') else { continue };
        let Some(relation) = relation.split_once('=') else { continue };
        match groups.iter_mut().find(|(known, _)| *known == group) {
            Some((_, relations)) => relations.push(relation),
            None => groups.push((group, vec![relation])),
        }
    }
    let mut all: Vec<Vec<Relation<'_>>> = groups.into_iter().map(|(_, relations)| relations).collect();
    let alone: Vec<Relation<'_>> = relations(concept)
        .into_iter()
        .filter(|relation| !all.iter().any(|group| group.contains(relation)))
        .collect();
    all.extend(alone.into_iter().map(|relation| vec![relation]));
    all
}

/// Whether one of the concept's descriptions is as all comparisons want it. The display is one, in no known language, if
/// it stands nowhere else.
pub(super) fn is_described(concept: &Concept, comparisons: &[Comparison]) -> bool {
    let designations = &concept.detail.designations;
    let display = (!designations.iter().any(|d| d.value == concept.display)).then_some((
        "",
        "",
        concept.display.as_str(),
    ));
    designations
        .iter()
        .map(|d| (d.language.as_str(), d.use_code.as_str(), d.value.as_str()))
        .chain(display)
        .any(|description| comparisons.iter().all(|comparison| fits(comparison, description)))
}

fn fits(comparison: &Comparison, (language, kind, text): (&str, &str, &str)) -> bool {
    match comparison {
        Comparison::Term { is_equal, any } => {
            let folded = fold(text);
            any.iter().any(|term| matches(term, &folded)) == *is_equal
        }
        Comparison::Language { is_equal, any } => {
            let primary = language.split('-').next().unwrap_or(language);
            any.iter().any(|wanted| primary.eq_ignore_ascii_case(wanted)) == *is_equal
        }
        Comparison::Type { is_equal, any } => any.contains(&kind) == *is_equal,
    }
}

fn matches(term: &Term, folded: &str) -> bool {
    match &term.wild {
        Some(pattern) => is_like(pattern, folded),
        None => {
            term.words.iter().all(|start| words::split(folded).any(|word| word.starts_with(start.as_str())))
        }
    }
}

/// Whether the text is the pattern, in which `*` stands for any characters.
fn is_like(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::is_like;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("heart", "heart", true),
            ("heart", "hearts", false),
            ("heart*", "hearts", true),
            ("*art*", "heart attack", true),
            ("h*t*k", "heart attack", true),
            ("*aa", "a", false),
            ("a*a", "a", false),
            ("*", "", true),
            ("", "x", false),
        ] {
            assert_eq!(is_like(pattern, text), expected, "{pattern} {text}");
        }
    }
}
