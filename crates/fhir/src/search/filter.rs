//! `_filter`: the filter language of <http://hl7.org/fhir/R4/search_filter.html> as a tree of conditions.
//!
//! `and` binds tighter than `or`; `not (…)` and parentheses nest. A path is a search parameter, chained with dots; a
//! filter in brackets behind a reference says what else holds of the very resource that the reference points at:
//! `subject[gender eq male].name co "ann"`. Values of strings compare without case and accents.

use super::condition::{Conditions, all, any, too_many_links};
use super::operand::Problem;
use super::{Condition, Filter, MAX_CHAIN, Match};
use crate::definitions::ParamType;
use crate::suggest::nearest;
use crate::{IssueCode, TypeId};

/// Nested parentheses.
const MAX_DEPTH: usize = 16;
/// Comparisons in one filter.
const MAX_COMPARISONS: usize = 64;

const OPERATORS: &[&str] = &[
    "eq", "ne", "co", "sw", "ew", "gt", "lt", "ge", "le", "ap", "sa", "eb", "pr", "po", "ss", "sb", "in",
    "ni", "re",
];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token<'t> {
    Open,
    Close,
    OpenBracket,
    CloseBracket,
    /// A path, an operator, a word of logic, or a value without quotes.
    Word(&'t str),
    Text(String),
}

/// A filter that has not met its type yet.
#[derive(Debug)]
enum Expression<'t> {
    All(Vec<Expression<'t>>),
    Any(Vec<Expression<'t>>),
    Not(Box<Expression<'t>>),
    Comparison { path: Vec<Step<'t>>, operator: &'t str, value: String },
}

/// Part of a path: parameters with dots between them, and what holds where they lead.
#[derive(Debug)]
struct Step<'t> {
    links: &'t str,
    /// In the last step there is none.
    filter: Option<Expression<'t>>,
}

fn wrong<T>(text: impl Into<String>) -> Result<T, Vec<Problem>> {
    Err(vec![Problem::new(IssueCode::Value, text)])
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>, Vec<Problem>> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(c) = rest.chars().next() {
        let (token, length) = match c {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '[' => (Token::OpenBracket, 1),
            ']' => (Token::CloseBracket, 1),
            '"' => {
                let (value, length) = quoted(rest)?;
                (Token::Text(value), length)
            }
            _ => {
                let end = rest
                    .find(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '"' | '[' | ']'))
                    .unwrap_or(rest.len());
                (Token::Word(&rest[..end]), end)
            }
        };
        out.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(out)
}

/// The text between the quotes and the length with them; JSON escapes.
fn quoted(text: &str) -> Result<(String, usize), Vec<Problem>> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => {
                return match serde_json::from_str(&text[..=at]) {
                    Ok(value) => Ok((value, at + 1)),
                    Err(_) => wrong("`_filter` has a text in quotes that is no JSON string."),
                };
            }
            _ => {}
        }
    }
    wrong("`_filter` has a text without closing quote.")
}

/// Reads a filter on resources of `kind`.
pub(super) fn read(conditions: &Conditions<'_>, kind: TypeId, text: &str) -> Result<Condition, Vec<Problem>> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, comparisons: 0 };
    let expression = parser.either(0)?;
    match parser.tokens.get(parser.at) {
        None => Maker { conditions }.condition(kind, &expression, 0),
        Some(Token::Close) => wrong("`_filter` has a `)` too many."),
        Some(Token::CloseBracket) => wrong("`_filter` has a `]` too many."),
        Some(_) => wrong("`_filter` needs `and` or `or` between its parts."),
    }
}

struct Parser<'t> {
    tokens: Vec<Token<'t>>,
    at: usize,
    comparisons: usize,
}

impl<'t> Parser<'t> {
    fn word(&self) -> Option<&'t str> {
        match self.tokens.get(self.at) {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    /// Whether this token comes next; it is taken.
    fn takes(&mut self, token: &Token<'_>) -> bool {
        let takes = self.tokens.get(self.at) == Some(token);
        self.at += usize::from(takes);
        takes
    }

    fn either(&mut self, depth: usize) -> Result<Expression<'t>, Vec<Problem>> {
        let mut parts = vec![self.both(depth)?];
        while self.word() == Some("or") {
            self.at += 1;
            parts.push(self.both(depth)?);
        }
        Ok(Expression::Any(parts))
    }

    fn both(&mut self, depth: usize) -> Result<Expression<'t>, Vec<Problem>> {
        let mut parts = vec![self.one(depth)?];
        while self.word() == Some("and") {
            self.at += 1;
            parts.push(self.one(depth)?);
        }
        Ok(Expression::All(parts))
    }

    fn one(&mut self, depth: usize) -> Result<Expression<'t>, Vec<Problem>> {
        if depth > MAX_DEPTH {
            return Err(vec![Problem::new(
                IssueCode::TooCostly,
                format!("`_filter` nests at most {MAX_DEPTH} parentheses and brackets."),
            )]);
        }
        if self.word() == Some("not") && self.tokens.get(self.at + 1) == Some(&Token::Open) {
            self.at += 1;
            return Ok(Expression::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.takes(&Token::Open) {
            let inner = self.either(depth + 1)?;
            return if self.takes(&Token::Close) { Ok(inner) } else { wrong("`_filter` lacks a `)`.") };
        }
        self.comparison(depth)
    }

    fn comparison(&mut self, depth: usize) -> Result<Expression<'t>, Vec<Problem>> {
        self.comparisons += 1;
        if self.comparisons > MAX_COMPARISONS {
            return Err(vec![Problem::new(
                IssueCode::TooCostly,
                format!("`_filter` takes at most {MAX_COMPARISONS} comparisons."),
            )]);
        }
        let path = self.path(depth)?;
        let name = shown(&path);
        let operator = match self.word() {
            Some(word) if OPERATORS.contains(&word) => word,
            Some(word) => {
                let hint = nearest(word, OPERATORS.iter().copied()).map(|n| format!(" Did you mean `{n}`?"));
                return wrong(format!(
                    "`{name}` in `_filter` needs an operator, one of {}.{}",
                    OPERATORS.join(", "),
                    hint.unwrap_or_default()
                ));
            }
            None => return wrong(format!("`{name}` in `_filter` needs an operator and a value.")),
        };
        self.at += 1;
        let value = match self.tokens.get(self.at) {
            Some(Token::Word(word)) => (*word).to_owned(),
            Some(Token::Text(text)) => text.clone(),
            _ => return wrong(format!("`{name} {operator}` in `_filter` needs a value.")),
        };
        self.at += 1;
        Ok(Expression::Comparison { path, operator, value })
    }

    /// `a.b[filter].c`
    fn path(&mut self, depth: usize) -> Result<Vec<Step<'t>>, Vec<Problem>> {
        let mut path: Vec<Step<'t>> = Vec::new();
        loop {
            let links = match self.word() {
                // Behind a bracket the dot is the word's first character.
                Some(word) if path.is_empty() => Some(word),
                Some(word) => word.strip_prefix('.'),
                None => None,
            };
            let Some(links) = links.filter(|links| !links.is_empty()) else {
                return match path.is_empty() {
                    true => wrong("`_filter` is written `parameter operator value`, e.g. `name co \"ann\"`."),
                    false => wrong(
                        "Behind a filter in brackets comes a dot and a parameter: `subject[gender eq male].name co ann`.",
                    ),
                };
            };
            self.at += 1;
            if !self.takes(&Token::OpenBracket) {
                path.push(Step { links, filter: None });
                return Ok(path);
            }
            let filter = self.either(depth + 1)?;
            if !self.takes(&Token::CloseBracket) {
                return wrong("`_filter` lacks a `]`.");
            }
            path.push(Step { links, filter: Some(filter) });
        }
    }
}

fn shown(path: &[Step<'_>]) -> String {
    path.iter().map(|step| step.links).collect::<Vec<_>>().join("[…].")
}

/// Makes conditions for a type of what was read.
struct Maker<'p> {
    conditions: &'p Conditions<'p>,
}

impl Maker<'_> {
    fn condition(
        &self,
        kind: TypeId,
        expression: &Expression<'_>,
        depth: usize,
    ) -> Result<Condition, Vec<Problem>> {
        let every = |parts: &[Expression<'_>]| -> Result<Vec<Condition>, Vec<Problem>> {
            parts.iter().map(|part| self.condition(kind, part, depth)).collect()
        };
        match expression {
            Expression::All(parts) => every(parts).map(all),
            Expression::Any(parts) => every(parts).map(any),
            Expression::Not(inner) => Ok(Condition::Not(Box::new(self.condition(kind, inner, depth)?))),
            Expression::Comparison { path, operator, value } => match path.split_first() {
                Some((first, others)) => {
                    self.walk(kind, (first.links, first.filter.as_ref(), others), operator, value, depth)
                }
                None => wrong("`_filter` has a comparison without a path."),
            },
        }
    }

    /// What is left of a path: the links of its step, the filter behind them, and the other steps.
    fn walk(
        &self,
        kind: TypeId,
        (links, filter, others): (&str, Option<&Expression<'_>>, &[Step<'_>]),
        operator: &str,
        value: &str,
        depth: usize,
    ) -> Result<Condition, Vec<Problem>> {
        if depth > MAX_CHAIN {
            return Err(too_many_links());
        }
        if links.starts_with("_has:") {
            return self.conditions.backwards(kind, links, &mut |source, rest| {
                self.walk(source, (rest, filter, others), operator, value, depth + 1)
            });
        }
        if let Some((link, rest)) = links.split_once('.') {
            return self.conditions.follow(kind, link, rest, &mut |target| {
                self.walk(target, (rest, filter, others), operator, value, depth + 1)
            });
        }
        let (Some(filter), Some((next, others))) = (filter, others.split_first()) else {
            return self.leaf(kind, links, operator, value);
        };
        self.conditions.follow(kind, links, next.links, &mut |target| {
            let step = (next.links, next.filter.as_ref(), others);
            Ok(all(vec![
                self.condition(target, filter, depth + 1)?,
                self.walk(target, step, operator, value, depth + 1)?,
            ]))
        })
    }

    fn leaf(&self, kind: TypeId, name: &str, operator: &str, value: &str) -> Result<Condition, Vec<Problem>> {
        let read = |name: &str, value: &str| self.conditions.named(kind, name, value, 0);
        let with = |modifier: &str, value: &str| read(&format!("{name}:{modifier}"), value);
        // A comma is a comma here.
        let plain = value.replace('\\', "\\\\").replace(',', "\\,");
        if operator == "pr" {
            return match value {
                "true" => with("missing", "false"),
                "false" => with("missing", "true"),
                _ => wrong(format!("`{name} pr` in `_filter` takes `true` or `false`.")),
            };
        }
        let code = name.split(':').next().unwrap_or(name);
        let param_type = match code {
            "_id" => Some(ParamType::Token),
            "_lastUpdated" => Some(ParamType::Date),
            _ => self.conditions.params.param(kind, code).map(|p| p.param_type),
        };
        let refuse = |takes: &str| {
            Err(vec![Problem::new(
                IssueCode::NotSupported,
                format!(
                    "`{operator}` does not fit the {} parameter `{name}` in `_filter`, which takes {takes}.",
                    param_type.map_or("special", ParamType::code)
                ),
            )])
        };
        let not = |condition: Condition| Condition::Not(Box::new(condition));
        let matching = |matching: Match| read(name, &plain).map(|condition| rematched(condition, matching));
        match param_type {
            Some(ParamType::String) => match operator {
                "eq" => matching(Match::Whole),
                "ne" => matching(Match::Whole).map(not),
                "co" => with("contains", &plain),
                "sw" => read(name, &plain),
                "ew" => matching(Match::Ends),
                _ => refuse("eq, ne, co, sw, ew and pr"),
            },
            Some(ParamType::Token) => match operator {
                "eq" => read(name, &plain),
                "ne" => read(name, &plain).map(not),
                "in" => with("in", &plain),
                "ni" => with("not-in", &plain),
                // The value subsumes a concept of the resource, or is subsumed by one.
                "ss" => with("below", &plain),
                "sb" => with("above", &plain),
                _ => refuse("eq, ne, in, ni, ss, sb and pr"),
            },
            Some(date @ (ParamType::Date | ParamType::Number | ParamType::Quantity)) => match operator {
                "eq" | "ne" | "gt" | "lt" | "ge" | "le" | "ap" | "sa" | "eb" => {
                    read(name, &format!("{operator}{plain}"))
                }
                "po" if date == ParamType::Date => read(name, &format!("ap{plain}")),
                _ => refuse("eq, ne, gt, lt, ge, le, ap, sa, eb and pr"),
            },
            Some(ParamType::Reference) => match operator {
                "eq" | "re" => read(name, &plain),
                "ne" => read(name, &plain).map(not),
                "ss" => with("below", &plain),
                "sb" => with("above", &plain),
                _ => refuse("eq, ne, re, ss, sb and pr"),
            },
            Some(ParamType::Uri) => match operator {
                "eq" => read(name, &plain),
                "ne" => read(name, &plain).map(not),
                "ss" => with("below", &plain),
                "sb" => with("above", &plain),
                _ => refuse("eq, ne, ss, sb and pr"),
            },
            Some(ParamType::Composite | ParamType::Special) | None => match operator {
                "eq" => read(name, &plain),
                "ne" => read(name, &plain).map(not),
                // Says what is wrong with the name, if there is no such parameter.
                _ => read(name, &plain).and_then(|_| refuse("eq and ne")),
            },
        }
    }
}

/// The plain filters of a string, compared in another way.
fn rematched(condition: Condition, matching: Match) -> Condition {
    match condition {
        Condition::Filter(filter) if filter.matching == Match::Default => {
            Condition::Filter(Filter { matching, ..filter })
        }
        other => other,
    }
}
