//! SNOMED CT Expression Constraint Language, its core: `<` `<<` `<!` `>` `>>` `>!` `^` `*`, concepts with their terms,
//! AND, OR, MINUS, brackets, and refinements by attributes (`: attribute = value, …`) without groups and cardinalities.
//! <http://snomed.org/ecl>

use super::refuse;
use super::system::System;
use crate::Error;
use fhir::IssueCode;
use store::Tx;
use store::terminology::{Ranges, Union};

/// Characters of an expression.
const MAX_LENGTH: usize = 8_000;
/// Values of an attribute that are looked up one by one; for more, all values in use are gone through.
const FEW_VALUES: usize = 2_000;
/// Brackets within brackets.
const MAX_DEPTH: usize = 40;

/// The numbers that an expression selects. Errors: `value` with the place where it cannot be read; a concept that is
/// not in the system; parts of the language that are not supported, by name.
pub(crate) fn evaluate(tx: &mut dyn Tx, system: &System, expression: &str) -> Result<Ranges, Error> {
    if expression.len() > MAX_LENGTH {
        return Err(refuse(
            IssueCode::TooLong,
            format!("An expression has at most {MAX_LENGTH} characters."),
        ));
    }
    let mut parser = Parser { text: expression, at: 0, depth: 0 };
    let tree = parser.constraint()?;
    parser.blank()?;
    if parser.at < expression.len() {
        return Err(parser.wrong("the expression should end"));
    }
    Evaluator { system }.numbers(tx, &tree)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Walk {
    Below,
    BelowOrThis,
    Children,
    ChildrenOrThis,
    Above,
    AboveOrThis,
    Parents,
    ParentsOrThis,
}

#[derive(Debug)]
enum Tree {
    Any,
    Concept(String),
    Walk(Walk, Box<Tree>),
    Members(Box<Tree>),
    And(Vec<Tree>),
    Or(Vec<Tree>),
    Minus(Box<Tree>, Box<Tree>),
    Refined(Box<Tree>, Box<Refinement>),
}

#[derive(Debug)]
enum Refinement {
    Attribute { name: Tree, is_equal: bool, value: Tree },
    All(Vec<Refinement>),
    Any(Vec<Refinement>),
}

struct Parser<'e> {
    text: &'e str,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn wrong(&self, what: &str) -> Error {
        let place = self.text.get(..self.at).map_or(0, |t| t.chars().count()) + 1;
        refuse(IssueCode::Value, format!("The expression cannot be read at character {place}: {what}."))
    }
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }
    /// Passes white space and comments.
    fn blank(&mut self) -> Result<(), Error> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            let skipped = rest.len() - trimmed.len();
            if trimmed.starts_with("/*") {
                let Some(end) = trimmed.find("*/") else { return Err(self.wrong("a comment does not end")) };
                self.at += skipped + end + 2;
            } else {
                self.at += skipped;
                return Ok(());
            }
        }
    }
    fn take(&mut self, token: &str) -> Result<bool, Error> {
        self.blank()?;
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        Ok(found)
    }
    fn take_word(&mut self, word: &str) -> Result<bool, Error> {
        self.blank()?;
        let rest = self.rest();
        let found = rest.get(..word.len()).is_some_and(|w| w.eq_ignore_ascii_case(word))
            && !rest[word.len()..].starts_with(|c: char| c.is_alphanumeric());
        if found {
            self.at += word.len();
        }
        Ok(found)
    }

    fn constraint(&mut self) -> Result<Tree, Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.wrong("brackets are nested too deep"));
        }
        let first = self.refined()?;
        let tree = if self.take_word("MINUS")? {
            let second = self.refined()?;
            Tree::Minus(Box::new(first), Box::new(second))
        } else if self.take_word("OR")? {
            let mut all = vec![first, self.refined()?];
            while self.take_word("OR")? {
                all.push(self.refined()?);
            }
            Tree::Or(all)
        } else if self.take_word("AND")? || self.take(",")? {
            let mut all = vec![first, self.refined()?];
            while self.take_word("AND")? || self.take(",")? {
                all.push(self.refined()?);
            }
            Tree::And(all)
        } else {
            first
        };
        for other in ["AND", "OR", "MINUS"] {
            let before = self.at;
            if self.take_word(other)? {
                self.at = before;
                return Err(self.wrong("AND, OR and MINUS can only be mixed with brackets"));
            }
        }
        self.depth -= 1;
        Ok(tree)
    }

    fn refined(&mut self) -> Result<Tree, Error> {
        let focus = self.simple()?;
        if self.take("{{")? {
            return Err(self.wrong("filters in {{ }} are not supported"));
        }
        if self.take(":")? {
            let refinement = self.refinement()?;
            return Ok(Tree::Refined(Box::new(focus), Box::new(refinement)));
        }
        if self.rest().starts_with('.') {
            return Err(self.wrong("dotted attributes are not supported"));
        }
        Ok(focus)
    }

    fn simple(&mut self) -> Result<Tree, Error> {
        const WALKS: &[(&str, Walk)] = &[
            ("<<!", Walk::ChildrenOrThis),
            ("<<", Walk::BelowOrThis),
            ("<!", Walk::Children),
            ("<", Walk::Below),
            (">>!", Walk::ParentsOrThis),
            (">>", Walk::AboveOrThis),
            (">!", Walk::Parents),
            (">", Walk::Above),
        ];
        for (token, walk) in WALKS {
            if self.take(token)? {
                let inner =
                    if self.take("^")? { Tree::Members(Box::new(self.focus()?)) } else { self.focus()? };
                return Ok(Tree::Walk(*walk, Box::new(inner)));
            }
        }
        if self.take("^")? {
            return Ok(Tree::Members(Box::new(self.focus()?)));
        }
        self.focus()
    }

    fn focus(&mut self) -> Result<Tree, Error> {
        if self.take("(")? {
            let inner = self.constraint()?;
            if !self.take(")")? {
                return Err(self.wrong("a bracket is not closed"));
            }
            return Ok(inner);
        }
        if self.take("*")? {
            return Ok(Tree::Any);
        }
        self.blank()?;
        let digits: String = self.rest().chars().take_while(char::is_ascii_digit).collect();
        if digits.is_empty() {
            return Err(self.wrong("a concept id, `*` or a bracket should stand here"));
        }
        self.at += digits.len();
        if self.take("|")? {
            let Some(end) = self.rest().find('|') else {
                return Err(self.wrong("a term does not end with |"));
            };
            self.at += end + 1;
        }
        Ok(Tree::Concept(digits))
    }

    fn refinement(&mut self) -> Result<Refinement, Error> {
        let first = self.attribute()?;
        if self.take_word("OR")? {
            let mut all = vec![first, self.attribute()?];
            while self.take_word("OR")? {
                all.push(self.attribute()?);
            }
            return Ok(Refinement::Any(all));
        }
        let mut all = vec![first];
        while self.take(",")? || self.take_word("AND")? {
            all.push(self.attribute()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Refinement::All(all) })
    }

    fn attribute(&mut self) -> Result<Refinement, Error> {
        self.blank()?;
        if self.rest().starts_with(['{', '[']) {
            return Err(self.wrong("attribute groups and cardinalities are not supported"));
        }
        if self.take("(")? {
            let inner = self.refinement()?;
            if !self.take(")")? {
                return Err(self.wrong("a bracket is not closed"));
            }
            return Ok(inner);
        }
        let name = self.simple()?;
        let is_equal = if self.take("!=")? {
            false
        } else if self.take("=")? {
            true
        } else {
            return Err(self.wrong("`=` or `!=` should follow the attribute"));
        };
        self.blank()?;
        if self.rest().starts_with(['#', '"']) {
            return Err(self.wrong("numbers and texts as values are not supported"));
        }
        Ok(Refinement::Attribute { name, is_equal, value: self.simple()? })
    }
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
                found.intersect(&self.refine(tx, refinement)?)
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

    fn refine(&self, tx: &mut dyn Tx, refinement: &Refinement) -> Result<Ranges, Error> {
        match refinement {
            Refinement::All(all) => {
                let mut found = self.system.all();
                for one in all {
                    found = found.intersect(&self.refine(tx, one)?);
                }
                Ok(found)
            }
            Refinement::Any(all) => {
                let mut found = Ranges::new();
                for one in all {
                    found = found.union(&self.refine(tx, one)?);
                }
                Ok(found)
            }
            Refinement::Attribute { name, is_equal, value } => self.attribute(tx, name, *is_equal, value),
        }
    }

    fn attribute(&self, tx: &mut dyn Tx, name: &Tree, is_equal: bool, value: &Tree) -> Result<Ranges, Error> {
        let system = self.system;
        let names = self.numbers(tx, name)?;
        let mut attributes = Vec::new();
        if names == system.all() {
            return Err(refuse(IssueCode::NotSupported, "`*` as an attribute is not supported.".to_owned()));
        }
        system.brief(tx, &names, &mut |_, code, _| attributes.push(code.to_owned()))?;
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
