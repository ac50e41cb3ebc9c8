//! `_filter`: the filter language of <http://hl7.org/fhir/R4/search_filter.html> as a tree of conditions.
//!
//! `and` binds tighter than `or`; `not (…)` and parentheses nest. A path is a search parameter, chained with dots. What
//! the index cannot tell (`ew`, filters in brackets) is refused with a text that says so.

use super::condition::{Conditions, all, any};
use super::operand::Problem;
use super::{Condition, Params};
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
    /// A path, an operator, a word of logic, or a value without quotes.
    Word(&'t str),
    Text(String),
}

fn wrong<T>(text: impl Into<String>) -> Result<T, Vec<Problem>> {
    Err(vec![Problem::new(IssueCode::Value, text)])
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>, Vec<Problem>> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '(' => {
                out.push(Token::Open);
                1
            }
            ')' => {
                out.push(Token::Close);
                1
            }
            '"' => {
                let (value, length) = quoted(rest)?;
                out.push(Token::Text(value));
                length
            }
            '[' | ']' => {
                return wrong(
                    "`_filter` supports no brackets inside paths; chain the parameters with dots instead.",
                );
            }
            _ => {
                let end = rest
                    .find(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '"' | '[' | ']'))
                    .unwrap_or(rest.len());
                out.push(Token::Word(&rest[..end]));
                end
            }
        };
        rest = rest[length..].trim_start();
    }
    Ok(out)
}

/// The text between the quotes and the length with them; JSON escapes.
fn quoted(text: &str) -> Result<(String, usize), Vec<Problem>> {
    let mut out = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            out.push(match c {
                'n' => '\n',
                't' => '\t',
                other => other,
            });
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == '"' {
            return Ok((out, at + 1));
        } else {
            out.push(c);
        }
    }
    wrong("`_filter` has a text without closing quote.")
}

/// Reads a filter on resources of `kind`.
pub(super) fn read(params: &Params, kind: TypeId, text: &str) -> Result<Condition, Vec<Problem>> {
    let tokens = tokens(text)?;
    let mut parser = Parser { conditions: Conditions { params }, kind, tokens, at: 0, comparisons: 0 };
    let condition = parser.either(0)?;
    match parser.tokens.get(parser.at) {
        None => Ok(condition),
        Some(Token::Close) => wrong("`_filter` has a `)` too many."),
        Some(_) => wrong("`_filter` needs `and` or `or` between its parts."),
    }
}

struct Parser<'p> {
    conditions: Conditions<'p>,
    kind: TypeId,
    tokens: Vec<Token<'p>>,
    at: usize,
    comparisons: usize,
}

impl<'p> Parser<'p> {
    fn word(&self) -> Option<&'p str> {
        match self.tokens.get(self.at) {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn either(&mut self, depth: usize) -> Result<Condition, Vec<Problem>> {
        let mut parts = vec![self.both(depth)?];
        while self.word() == Some("or") {
            self.at += 1;
            parts.push(self.both(depth)?);
        }
        Ok(any(parts))
    }

    fn both(&mut self, depth: usize) -> Result<Condition, Vec<Problem>> {
        let mut parts = vec![self.one(depth)?];
        while self.word() == Some("and") {
            self.at += 1;
            parts.push(self.one(depth)?);
        }
        Ok(all(parts))
    }

    fn one(&mut self, depth: usize) -> Result<Condition, Vec<Problem>> {
        if depth > MAX_DEPTH {
            return Err(vec![Problem::new(
                IssueCode::TooCostly,
                format!("`_filter` nests at most {MAX_DEPTH} parentheses."),
            )]);
        }
        if self.word() == Some("not") && self.tokens.get(self.at + 1) == Some(&Token::Open) {
            self.at += 1;
            return Ok(Condition::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.tokens.get(self.at) == Some(&Token::Open) {
            self.at += 1;
            let inner = self.either(depth + 1)?;
            if self.tokens.get(self.at) != Some(&Token::Close) {
                return wrong("`_filter` lacks a `)`.");
            }
            self.at += 1;
            return Ok(inner);
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Condition, Vec<Problem>> {
        self.comparisons += 1;
        if self.comparisons > MAX_COMPARISONS {
            return Err(vec![Problem::new(
                IssueCode::TooCostly,
                format!("`_filter` takes at most {MAX_COMPARISONS} comparisons."),
            )]);
        }
        let Some(path) = self.word() else {
            return wrong("`_filter` is written `parameter operator value`, e.g. `name co \"ann\"`.");
        };
        self.at += 1;
        let operator = match self.word() {
            Some(word) if OPERATORS.contains(&word) => word,
            Some(word) => {
                let hint = nearest(word, OPERATORS.iter().copied()).map(|n| format!(" Did you mean `{n}`?"));
                return wrong(format!(
                    "`{path}` in `_filter` needs an operator, one of {}.{}",
                    OPERATORS.join(", "),
                    hint.unwrap_or_default()
                ));
            }
            None => return wrong(format!("`{path}` in `_filter` needs an operator and a value.")),
        };
        self.at += 1;
        let value = match self.tokens.get(self.at) {
            Some(Token::Word(word)) => (*word).to_owned(),
            Some(Token::Text(text)) => text.clone(),
            _ => return wrong(format!("`{path} {operator}` in `_filter` needs a value.")),
        };
        self.at += 1;
        self.apply(path, operator, &value)
    }

    fn apply(&self, path: &str, operator: &str, value: &str) -> Result<Condition, Vec<Problem>> {
        let read = |name: &str, value: &str| self.conditions.named(self.kind, name, value, 0);
        let with = |modifier: &str, value: &str| read(&format!("{path}:{modifier}"), value);
        // A comma is a comma here.
        let plain = value.replace('\\', "\\\\").replace(',', "\\,");
        if operator == "pr" {
            return match value {
                "true" => with("missing", "false"),
                "false" => with("missing", "true"),
                _ => wrong(format!("`{path} pr` in `_filter` takes `true` or `false`.")),
            };
        }
        let Some(param_type) = self.type_of(path) else {
            // Says what is wrong with the path.
            return read(path, &plain);
        };
        let refuse = |takes: &str| {
            Err(vec![Problem::new(
                IssueCode::NotSupported,
                format!(
                    "`{operator}` does not fit the {} parameter `{path}` in `_filter`, which takes {takes}.",
                    param_type.code()
                ),
            )])
        };
        match param_type {
            ParamType::String => match operator {
                "eq" => with("exact", &plain),
                "ne" => with("exact", &plain).map(negated),
                "co" => with("contains", &plain),
                "sw" => read(path, &plain),
                _ => refuse("eq, ne, co, sw and pr"),
            },
            ParamType::Token => match operator {
                "eq" => read(path, &plain),
                "ne" => read(path, &plain).map(negated),
                "in" => with("in", &plain),
                "ni" => with("not-in", &plain),
                "ss" => with("above", &plain),
                "sb" => with("below", &plain),
                _ => refuse("eq, ne, in, ni, ss, sb and pr"),
            },
            ParamType::Date | ParamType::Number | ParamType::Quantity => match operator {
                "eq" | "ne" | "gt" | "lt" | "ge" | "le" | "ap" | "sa" | "eb" => {
                    read(path, &format!("{operator}{plain}"))
                }
                "po" if param_type == ParamType::Date => read(path, &format!("ap{plain}")),
                _ => refuse("eq, ne, gt, lt, ge, le, ap, sa, eb and pr"),
            },
            ParamType::Reference => match operator {
                "eq" | "re" => read(path, &plain),
                "ne" => read(path, &plain).map(negated),
                "ss" => with("above", &plain),
                "sb" => with("below", &plain),
                _ => refuse("eq, ne, re, ss, sb and pr"),
            },
            ParamType::Uri => match operator {
                "eq" => read(path, &plain),
                "ne" => read(path, &plain).map(negated),
                "ss" => with("above", &plain),
                "sb" => with("below", &plain),
                _ => refuse("eq, ne, ss, sb and pr"),
            },
            ParamType::Composite | ParamType::Special => match operator {
                "eq" => read(path, &plain),
                _ => refuse("eq and pr"),
            },
        }
    }

    /// The type of the parameter at the end of the path; for a link to several types, that of the first which has it.
    fn type_of(&self, path: &str) -> Option<ParamType> {
        let mut kinds = vec![self.kind];
        let mut links = path.split('.').peekable();
        while let Some(link) = links.next() {
            let (code, only) = match link.split_once(':') {
                Some((code, only)) => (code, TypeId::from_name(only)),
                None => (link, None),
            };
            if links.peek().is_none() {
                return match code {
                    "_id" => Some(ParamType::Token),
                    "_lastUpdated" => Some(ParamType::Date),
                    _ => kinds
                        .iter()
                        .find_map(|k| self.conditions.params.param(*k, code))
                        .map(|p| p.param_type),
                };
            }
            let mut next = Vec::new();
            for p in kinds.iter().filter_map(|k| self.conditions.params.param(*k, code)) {
                match only {
                    Some(only) => next.push(only),
                    None if p.targets.is_empty() => next.extend(TypeId::all()),
                    None => next.extend(p.targets.iter().copied()),
                }
            }
            next.sort_unstable();
            next.dedup();
            kinds = next;
        }
        None
    }
}

/// Not so at the end of the chain: `subject.name ne x` is about subjects whose name is another.
fn negated(condition: Condition) -> Condition {
    match condition {
        Condition::Chain { param, kind, condition } => {
            Condition::Chain { param, kind, condition: Box::new(negated(*condition)) }
        }
        Condition::CanonicalChain { param, kind, url, condition } => {
            Condition::CanonicalChain { param, kind, url, condition: Box::new(negated(*condition)) }
        }
        Condition::Any(all) if all.iter().all(|c| matches!(c, Condition::Chain { .. })) => {
            Condition::Any(all.into_iter().map(negated).collect())
        }
        other => Condition::Not(Box::new(other)),
    }
}
