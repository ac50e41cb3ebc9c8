//! SNOMED CT Expression Constraint Language: `<` `<<` `<!` `>` `>>` `>!` `^` `*`, concepts with their terms, AND, OR, MINUS,
//! brackets, refinements by attributes (`: attribute = value, …`) with attribute groups (`{ … }`) and cardinalities
//! (`[0..1]`), and filters by description (`{{ term = "heart att", language = en, type = syn }}`) and by concept
//! (`{{ C active = true }}`). <http://snomed.org/ecl>
//!
//! What the index knows is answered by sets of numbers. Groups, cardinalities and most filters are about single concepts:
//! the index narrows them down, then each of at most [MAX_CHECKED] is read.

mod check;
mod read;

use super::refuse;
use super::system::System;
use super::words;
use crate::Error;
use fhir::IssueCode;
use read::{Attribute, Comparison, Filter, Refinement, Times, Tree, Walk};
use store::Tx;
use store::terminology::{Concept, Ranges, Union};

/// Characters of an expression.
const MAX_LENGTH: usize = 8_000;
/// Values of an attribute that are looked up one by one; for more, all values in use are gone through.
const FEW_VALUES: usize = 2_000;
/// Concepts that are read one by one for one group, cardinality or filter.
const MAX_CHECKED: usize = 50_000;
/// Concepts that are held at once for that.
const CHECKED_AT_ONCE: usize = 1_000;

/// The numbers that an expression selects. Errors: `value` with the place where it cannot be read; a concept that is
/// not in the system; parts of the language that are not supported, by name; `too-costly` for groups, cardinalities and
/// filters of too many concepts.
pub(crate) fn evaluate(tx: &mut dyn Tx, system: &System, expression: &str) -> Result<Ranges, Error> {
    if expression.len() > MAX_LENGTH {
        return Err(refuse(
            IssueCode::TooLong,
            format!("An expression has at most {MAX_LENGTH} characters."),
        ));
    }
    let tree = read::expression(expression)?;
    Evaluator { system }.numbers(tx, &tree)
}

struct Evaluator<'s> {
    system: &'s System,
}

impl Evaluator<'_> {
    fn numbers(&self, tx: &mut dyn Tx, tree: &Tree) -> Result<Ranges, Error> {
        let system = self.system;
        Ok(match tree {
            Tree::Any => system.all(),
            Tree::Concept(code) => match system.place(tx, code)? {
                Some((number, _)) => Ranges::one(number),
                None => {
                    return Err(refuse(
                        IssueCode::CodeInvalid,
                        format!("The expression names `{code}`, which is no concept of `{}`.", system.url()),
                    ));
                }
            },
            Tree::Walk(walk, inner) => {
                // The usual case needs one row.
                if let (Tree::Concept(code), Walk::Below | Walk::BelowOrThis) = (&**inner, walk)
                    && let Some((number, below)) = system.place(tx, code)?
                {
                    return Ok(match walk {
                        Walk::Below => below,
                        _ => below.union(&Ranges::one(number)),
                    });
                }
                let from = self.numbers(tx, inner)?;
                self.walk(tx, *walk, &from)?
            }
            Tree::Members(inner) => {
                let sets = self.numbers(tx, inner)?;
                let mut codes = Vec::new();
                if sets == system.all() {
                    system.postings(tx, "m:", &mut |key, _| {
                        codes.extend(key.strip_prefix("m:").map(str::to_owned))
                    })?;
                } else {
                    system.brief(tx, &sets, &mut |_, code, _| codes.push(code.to_owned()))?;
                }
                let mut found = Ranges::new();
                for code in codes {
                    found = found.union(&system.posting(tx, &format!("m:{code}"))?);
                }
                found
            }
            Tree::And(all) => {
                let mut found = system.all();
                for one in all {
                    found = found.intersect(&self.numbers(tx, one)?);
                }
                found
            }
            Tree::Or(all) => {
                let mut found = Ranges::new();
                for one in all {
                    found = found.union(&self.numbers(tx, one)?);
                }
                found
            }
            Tree::Minus(one, other) => self.numbers(tx, one)?.minus(&self.numbers(tx, other)?),
            Tree::Refined(focus, refinement) => {
                let found = self.numbers(tx, focus)?;
                self.refine(tx, found, refinement)?
            }
            Tree::Filtered(focus, filter) => {
                let found = self.numbers(tx, focus)?;
                self.filter(tx, found, filter)?
            }
        })
    }

    fn walk(&self, tx: &mut dyn Tx, walk: Walk, from: &Ranges) -> Result<Ranges, Error> {
        let system = self.system;
        if *from == system.all() {
            // `<< *` is everything, `< *` all that have a parent.
            return match walk {
                Walk::Below | Walk::Children => system.any_posting(tx, "p:parent="),
                Walk::Above | Walk::Parents => {
                    let mut codes = Vec::new();
                    system.postings(tx, "p:parent=", &mut |key, _| {
                        codes.extend(key.strip_prefix("p:parent=").map(str::to_owned));
                    })?;
                    let mut found = Vec::with_capacity(codes.len());
                    for code in codes {
                        found.extend(system.place(tx, &code)?.map(|(number, _)| number));
                    }
                    Ok(Ranges::of(found))
                }
                _ => Ok(system.all()),
            };
        }
        let mut found = match walk {
            Walk::BelowOrThis | Walk::ChildrenOrThis | Walk::AboveOrThis | Walk::ParentsOrThis => {
                from.clone()
            }
            _ => Ranges::new(),
        };
        match walk {
            Walk::Below | Walk::BelowOrThis => {
                let mut all = Union::default();
                all.add(&found);
                for concept in system.concepts(tx, from)? {
                    all.add(&concept.descendants);
                }
                found = all.finish();
            }
            Walk::Children | Walk::ChildrenOrThis => {
                let mut codes = Vec::new();
                system.brief(tx, from, &mut |_, code, _| codes.push(code.to_owned()))?;
                let mut all = Union::default();
                all.add(&found);
                for code in codes {
                    all.add(&system.posting(tx, &format!("p:parent={code}"))?);
                }
                found = all.finish();
            }
            Walk::Above | Walk::AboveOrThis => {
                found = found.union(&system.above(tx, from)?);
            }
            Walk::Parents | Walk::ParentsOrThis => {
                for concept in system.concepts(tx, from)? {
                    found = found.union(&concept.parents);
                }
            }
        }
        Ok(found)
    }

    /// Those of `focus` that meet the refinement.
    fn refine(&self, tx: &mut dyn Tx, focus: Ranges, refinement: &Refinement) -> Result<Ranges, Error> {
        match refinement {
            Refinement::All(all) => all.iter().try_fold(focus, |found, one| self.refine(tx, found, one)),
            Refinement::Any(all) => {
                let mut found = Ranges::new();
                for one in all {
                    found = found.union(&self.refine(tx, focus.clone(), one)?);
                }
                Ok(found)
            }
            Refinement::Attribute(attribute) => {
                let with = focus.intersect(&self.having(tx, attribute)?);
                match attribute.times {
                    Times { least: 0, most: None } => Ok(focus),
                    Times { least: 0, most: Some(0) } => Ok(focus.minus(&with)),
                    Times { least: 1, most: None } => Ok(with),
                    times => {
                        let check = check::Check::attribute(self, tx, attribute)?;
                        let mut places = check::Places::default();
                        self.counted(tx, &focus, &with, times, &mut |tx, concept| {
                            check.count(self, tx, &mut places, &check::relations(concept))
                        })
                    }
                }
            }
            Refinement::Group { times, inner } => {
                let with = focus.intersect(&self.possible(tx, inner)?);
                let check = check::Check::new(self, tx, inner)?;
                let mut places = check::Places::default();
                self.counted(tx, &focus, &with, *times, &mut |tx, concept| {
                    let mut met = 0;
                    for group in check::groups(concept) {
                        met += u32::from(check.holds(self, tx, &mut places, &group)?);
                    }
                    Ok(met)
                })
            }
        }
    }

    /// Those of `focus` that have what `count` counts so many times. Only those `with` have it at all.
    fn counted(
        &self,
        tx: &mut dyn Tx,
        focus: &Ranges,
        with: &Ranges,
        times: Times,
        count: &mut dyn FnMut(&mut dyn Tx, &Concept) -> Result<u32, Error>,
    ) -> Result<Ranges, Error> {
        let without = if times.allows(0) { focus.minus(with) } else { Ranges::new() };
        let met = self.checked(tx, with, &mut |tx, concept| Ok(times.allows(count(tx, concept)?)))?;
        Ok(without.union(&met))
    }

    /// Those of the concepts that meet a test which needs to read them.
    fn checked(
        &self,
        tx: &mut dyn Tx,
        concepts: &Ranges,
        test: &mut dyn FnMut(&mut dyn Tx, &Concept) -> Result<bool, Error>,
    ) -> Result<Ranges, Error> {
        let count = concepts.len();
        if count > MAX_CHECKED {
            return Err(super::too_costly("What a group, cardinality or filter must look at", MAX_CHECKED));
        }
        let mut met = Vec::new();
        for start in (0..count).step_by(CHECKED_AT_ONCE) {
            for concept in self.system.concepts(tx, &concepts.slice(start, CHECKED_AT_ONCE))? {
                if test(tx, &concept)? {
                    met.push(concept.number);
                }
            }
        }
        Ok(Ranges::of(met))
    }

    /// All that might have a group which meets this.
    fn possible(&self, tx: &mut dyn Tx, inner: &Refinement) -> Result<Ranges, Error> {
        Ok(match inner {
            Refinement::All(all) => {
                let mut found = self.system.all();
                for one in all {
                    found = found.intersect(&self.possible(tx, one)?);
                }
                found
            }
            Refinement::Any(all) => {
                let mut found = Ranges::new();
                for one in all {
                    found = found.union(&self.possible(tx, one)?);
                }
                found
            }
            Refinement::Attribute(attribute) if !attribute.times.allows(0) => self.having(tx, attribute)?,
            Refinement::Attribute(_) | Refinement::Group { .. } => self.system.all(),
        })
    }

    /// Those of `focus` that have a description, or are themselves, as the filter wants.
    fn filter(&self, tx: &mut dyn Tx, focus: Ranges, filter: &Filter) -> Result<Ranges, Error> {
        match filter {
            Filter::Active { is } => {
                let inactive = self.system.inactive(tx)?;
                Ok(if *is { focus.minus(&inactive) } else { focus.intersect(&inactive) })
            }
            Filter::Descriptions(comparisons) => {
                let mut found = focus;
                for comparison in comparisons {
                    if let Comparison::Term { is_equal: true, any } = comparison {
                        let mut possible = Union::default();
                        for term in any {
                            possible.add(&self.with_words(tx, &found, &term.words)?);
                        }
                        found = found.intersect(&possible.finish());
                    }
                }
                self.checked(tx, &found, &mut |_, concept| Ok(check::is_described(concept, comparisons)))
            }
        }
    }

    /// Those with words that begin so, in whichever of their descriptions.
    fn with_words(&self, tx: &mut dyn Tx, focus: &Ranges, beginnings: &[String]) -> Result<Ranges, Error> {
        let mut found = focus.clone();
        for word in beginnings {
            if found.is_empty() {
                break;
            }
            found = found.intersect(&self.system.any_posting(tx, &format!("w:{word}"))?);
        }
        Ok(found)
    }

    /// Codes of the attributes that a name stands for.
    fn attributes(&self, tx: &mut dyn Tx, name: &Tree) -> Result<Vec<String>, Error> {
        let names = self.numbers(tx, name)?;
        if names == self.system.all() {
            return Err(refuse(IssueCode::NotSupported, "`*` as an attribute is not supported.".to_owned()));
        }
        let mut codes = Vec::new();
        self.system.brief(tx, &names, &mut |_, code, _| codes.push(code.to_owned()))?;
        Ok(codes)
    }

    /// All that have the attribute at least once.
    fn having(&self, tx: &mut dyn Tx, attribute: &Attribute) -> Result<Ranges, Error> {
        let Attribute { name, is_equal, value, .. } = attribute;
        let (system, is_equal) = (self.system, *is_equal);
        let attributes = self.attributes(tx, name)?;
        let any = matches!(value, Tree::Any);
        let wanted = if any { Ranges::new() } else { self.numbers(tx, value)? };
        let mut found = Ranges::new();
        for attribute in attributes {
            if any && is_equal {
                found = found.union(&system.posting(tx, &format!("p:{attribute}"))?);
                continue;
            }
            let prefix = format!("p:{attribute}=");
            if is_equal && wanted.len() <= FEW_VALUES {
                let mut codes = Vec::with_capacity(wanted.len());
                system.brief(tx, &wanted, &mut |_, code, _| codes.push(code.to_owned()))?;
                let mut all = Union::default();
                all.add(&found);
                for code in codes {
                    all.add(&system.posting(tx, &format!("{prefix}{code}"))?);
                }
                found = all.finish();
                continue;
            }
            let mut pairs: Vec<(String, Ranges)> = Vec::new();
            system.postings(tx, &prefix, &mut |key, numbers| {
                pairs.extend(key.strip_prefix(&prefix).map(|code| (code.to_owned(), numbers)));
            })?;
            let mut all = Union::default();
            all.add(&found);
            for (code, numbers) in pairs {
                let is_wanted = system.place(tx, &code)?.is_some_and(|(number, _)| wanted.contains(number));
                if is_wanted == is_equal {
                    all.add(&numbers);
                }
            }
            found = all.finish();
        }
        Ok(found)
    }
}
