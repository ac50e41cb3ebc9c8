//! An expression as a tree.

use super::MAX_LENGTH;
use super::words;
use crate::Error;
use crate::terminology::refuse;
use fhir::IssueCode;
use fhir::search::fold;

/// Brackets within brackets.
const MAX_DEPTH: usize = 40;
const SOME: Times = Times { least: 1, most: None };
const DESCRIPTION_TYPES: &[(&str, &str)] = &[("syn", "900000000000013009"), ("fsn", "900000000000003001")];

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Walk {
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
pub(super) enum Tree {
    Any,
    Concept(String),
    Walk(Walk, Box<Tree>),
    Members(Box<Tree>),
    And(Vec<Tree>),
    Or(Vec<Tree>),
    Minus(Box<Tree>, Box<Tree>),
    Refined(Box<Tree>, Box<Refinement>),
    Filtered(Box<Tree>, Filter),
}

#[derive(Debug)]
pub(super) enum Refinement {
    Attribute(Attribute),
    /// Attribute groups that meet `inner`; in it are no groups.
    Group {
        times: Times,
        inner: Box<Refinement>,
    },
    All(Vec<Refinement>),
    Any(Vec<Refinement>),
}

#[derive(Debug)]
pub(super) struct Attribute {
    pub times: Times,
    pub name: Tree,
    pub is_equal: bool,
    pub value: Tree,
}

/// How often something must be there; [SOME] if nothing is said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Times {
    pub least: u32,
    /// `None`: any number.
    pub most: Option<u32>,
}

impl Times {
    pub fn allows(self, count: u32) -> bool {
        count >= self.least && self.most.is_none_or(|most| count <= most)
    }
}

#[derive(Debug)]
pub(super) enum Filter {
    Active {
        is: bool,
    },
    /// All are about one description.
    Descriptions(Vec<Comparison>),
}

/// Something about a description; any of the values will do, or none may if not `is_equal`.
#[derive(Debug)]
pub(super) enum Comparison {
    Term {
        is_equal: bool,
        any: Vec<Term>,
    },
    Language {
        is_equal: bool,
        any: Vec<String>,
    },
    /// Codes of description types.
    Type {
        is_equal: bool,
        any: Vec<&'static str>,
    },
}

#[derive(Debug)]
pub(super) struct Term {
    /// A pattern with `*`, folded; `None`: all words must begin words.
    pub wild: Option<String>,
    /// Folded words, each of which begins a word of what matches.
    pub words: Vec<String>,
}

/// Errors: `value` with the place where it cannot be read.
pub(super) fn expression(text: &str) -> Result<Tree, Error> {
    debug_assert!(text.len() <= MAX_LENGTH);
    let mut parser = Parser { text, at: 0, depth: 0, is_in_group: false };
    let tree = parser.constraint()?;
    parser.blank()?;
    if parser.at < text.len() {
        return Err(parser.wrong("the expression should end"));
    }
    Ok(tree)
}

struct Parser<'e> {
    text: &'e str,
    at: usize,
    depth: usize,
    is_in_group: bool,
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
        if self.take(":")? {
            let refinement = self.refinement()?;
            return Ok(Tree::Refined(Box::new(focus), Box::new(refinement)));
        }
        if self.rest().starts_with('.') {
            return Err(self.wrong("dotted attributes are not supported"));
        }
        Ok(focus)
    }

    /// What may stand as a value: an operator, a concept or brackets, and filters behind them.
    fn simple(&mut self) -> Result<Tree, Error> {
        let mut tree = self.walk()?;
        while self.take("{{")? {
            tree = self.filters(tree)?;
        }
        Ok(tree)
    }

    fn walk(&mut self) -> Result<Tree, Error> {
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
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.wrong("brackets are nested too deep"));
        }
        let first = self.attribute()?;
        let refinement = if self.take_word("OR")? {
            let mut all = vec![first, self.attribute()?];
            while self.take_word("OR")? {
                all.push(self.attribute()?);
            }
            Refinement::Any(all)
        } else {
            let mut all = vec![first];
            while self.take(",")? || self.take_word("AND")? {
                all.push(self.attribute()?);
            }
            if all.len() == 1 { all.remove(0) } else { Refinement::All(all) }
        };
        self.depth -= 1;
        Ok(refinement)
    }

    fn attribute(&mut self) -> Result<Refinement, Error> {
        let times = self.cardinality()?;
        if self.take("{")? {
            if self.is_in_group {
                return Err(self.wrong("a group has no groups in it"));
            }
            self.is_in_group = true;
            let inner = self.refinement()?;
            self.is_in_group = false;
            if !self.take("}")? {
                return Err(self.wrong("a group is not closed"));
            }
            return Ok(Refinement::Group { times: times.unwrap_or(SOME), inner: Box::new(inner) });
        }
        if times.is_none() && self.take("(")? {
            let inner = self.refinement()?;
            if !self.take(")")? {
                return Err(self.wrong("a bracket is not closed"));
            }
            return Ok(inner);
        }
        let name = self.simple()?;
        let Some(is_equal) = self.equality()? else {
            return Err(self.wrong("`=` or `!=` should follow the attribute"));
        };
        self.blank()?;
        if self.rest().starts_with(['#', '"']) {
            return Err(self.wrong("numbers and texts as values are not supported"));
        }
        let times = times.unwrap_or(SOME);
        // A group within the value's own refinement would be another one.
        let is_in_group = std::mem::replace(&mut self.is_in_group, false);
        let value = self.simple()?;
        self.is_in_group = is_in_group;
        Ok(Refinement::Attribute(Attribute { times, name, is_equal, value }))
    }

    fn equality(&mut self) -> Result<Option<bool>, Error> {
        Ok(if self.take("!=")? {
            Some(false)
        } else if self.take("=")? {
            Some(true)
        } else {
            None
        })
    }

    /// `[1..3]`, `[0..*]`
    fn cardinality(&mut self) -> Result<Option<Times>, Error> {
        if !self.take("[")? {
            return Ok(None);
        }
        let form = "a cardinality is written `[0..1]` or `[1..*]`";
        let Some(least) = self.number()? else { return Err(self.wrong(form)) };
        if !self.take("..")? && !self.take_word("to")? {
            return Err(self.wrong(form));
        }
        let most = match self.take("*")? {
            true => None,
            false => Some(self.number()?.ok_or_else(|| self.wrong(form))?),
        };
        if !self.take("]")? || most.is_some_and(|most| most < least) {
            return Err(self.wrong(form));
        }
        Ok(Some(Times { least, most }))
    }

    fn number(&mut self) -> Result<Option<u32>, Error> {
        self.blank()?;
        let digits: String = self.rest().chars().take_while(char::is_ascii_digit).collect();
        self.at += digits.len();
        Ok(digits.parse().ok())
    }

    /// Behind `{{`.
    fn filters(&mut self, focus: Tree) -> Result<Tree, Error> {
        if self.take_word("C")? {
            return self.concept_filters(focus);
        }
        if self.take_word("M")? {
            return Err(self.wrong("filters of members are not supported"));
        }
        self.take_word("D")?;
        let mut all = Vec::new();
        loop {
            all.push(self.comparison()?);
            if self.take("}}")? {
                return Ok(Tree::Filtered(Box::new(focus), Filter::Descriptions(all)));
            }
            if !self.take(",")? {
                return Err(self.wrong("a filter ends with }}"));
            }
        }
    }

    fn concept_filters(&mut self, focus: Tree) -> Result<Tree, Error> {
        let mut tree = focus;
        loop {
            if !self.take_word("active")? {
                return Err(self.wrong("of filters of concepts only `active` is supported"));
            }
            let Some(is_equal) = self.equality()? else {
                return Err(self.wrong("`=` or `!=` should stand here"));
            };
            let is = if self.take_word("true")? || self.take_word("1")? {
                true
            } else if self.take_word("false")? || self.take_word("0")? {
                false
            } else {
                return Err(self.wrong("`active` is true or false"));
            };
            tree = Tree::Filtered(Box::new(tree), Filter::Active { is: is == is_equal });
            if self.take("}}")? {
                return Ok(tree);
            }
            if !self.take(",")? {
                return Err(self.wrong("a filter ends with }}"));
            }
        }
    }

    fn comparison(&mut self) -> Result<Comparison, Error> {
        let name = ["term", "language", "type"]
            .into_iter()
            .find_map(|name| self.take_word(name).map(|found| found.then_some(name)).transpose())
            .transpose()?;
        let Some(name) = name else {
            return Err(
                self.wrong("of filters of descriptions only `term`, `language` and `type` are supported")
            );
        };
        let Some(is_equal) = self.equality()? else {
            return Err(self.wrong("`=` or `!=` should stand here"));
        };
        Ok(match name {
            "term" => Comparison::Term { is_equal, any: self.several(Self::term)? },
            "language" => Comparison::Language { is_equal, any: self.several(Self::word)? },
            _ => {
                let words = self.several(Self::word)?;
                let mut any = Vec::with_capacity(words.len());
                for word in words {
                    match DESCRIPTION_TYPES.iter().find(|(name, _)| *name == word) {
                        Some((_, code)) => any.push(*code),
                        None => return Err(self.wrong("a type is `syn` or `fsn`")),
                    }
                }
                Comparison::Type { is_equal, any }
            }
        })
    }

    /// One, or several in brackets with white space between them.
    fn several<T>(&mut self, one: fn(&mut Self) -> Result<T, Error>) -> Result<Vec<T>, Error> {
        if !self.take("(")? {
            return Ok(vec![one(self)?]);
        }
        let mut all = vec![one(self)?];
        while !self.take(")")? {
            all.push(one(self)?);
        }
        Ok(all)
    }

    /// Letters, in lower case.
    fn word(&mut self) -> Result<String, Error> {
        self.blank()?;
        let word: String = self.rest().chars().take_while(char::is_ascii_alphabetic).collect();
        if word.is_empty() {
            return Err(self.wrong("a word should stand here"));
        }
        self.at += word.len();
        Ok(word.to_ascii_lowercase())
    }

    /// `"text"`, `match:"text"`, `wild:"te*t"`
    fn term(&mut self) -> Result<Term, Error> {
        let is_wild = self.take_word("wild")?;
        if (is_wild || self.take_word("match")?) && !self.take(":")? {
            return Err(self.wrong("`:` should follow `match` and `wild`"));
        }
        if !self.take("\"")? {
            return Err(self.wrong("a text in quotes should stand here"));
        }
        let (mut text, mut escaped, mut length) = (String::new(), false, None);
        for (at, c) in self.rest().char_indices() {
            match c {
                c if escaped => {
                    text.push(c);
                    escaped = false;
                }
                '\\' => escaped = true,
                '"' => {
                    length = Some(at + 1);
                    break;
                }
                c => text.push(c),
            }
        }
        let Some(length) = length else { return Err(self.wrong("a text does not end")) };
        self.at += length;
        let text = fold(&text);
        let words = if is_wild {
            words_of_pattern(&text)
        } else {
            words::split(&text).map(words::cut).map(str::to_owned).collect()
        };
        if !is_wild && words.is_empty() {
            return Err(self.wrong("the text has no words"));
        }
        Ok(Term { wild: is_wild.then_some(text), words })
    }
}

/// Whole words of a pattern that no `*` touches: each must stand in what it matches.
fn words_of_pattern(pattern: &str) -> Vec<String> {
    pattern
        .split_whitespace()
        .filter(|part| !part.contains('*'))
        .flat_map(|part| words::split(part).map(words::cut).map(str::to_owned).collect::<Vec<_>>())
        .collect()
}
