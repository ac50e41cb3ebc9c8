//! Queries parsed from URL parameters (<http://hl7.org/fhir/R4/search.html>).

use super::operand::{Problem, operand, prefixed_date};
use super::{DEFAULT_PAGE, Filter, MAX_PAGE, Match, Operand, Params, Query, Sort, Total};
use crate::definitions::{Param, ParamType, param, params};
use crate::resource::valid_id;
use crate::{Issue, IssueCode, Outcome, TypeId};

/// Parameters of one search.
pub const MAX_PARAMETERS: usize = 64;
/// Alternatives of one parameter (`a,b,c`).
pub const MAX_ALTERNATIVES: usize = 500;
/// Keys of `_sort`.
pub const MAX_SORT_KEYS: usize = 4;
/// An id that no resource has: what contradicting `_id` parameters leave.
const NO_ID: &str = "";

/// Read by the HTTP layer, without meaning for the search itself.
const ELSEWHERE: &[&str] = &["_format", "_pretty"];

/// What to do with parameters this server does not know (`Prefer: handling=…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    /// An unknown or unsupported parameter is an error.
    Strict,
    /// It is ignored with a warning.
    Lenient,
}

/// Parses the query parameters of a search on `kind`; names and values are already percent-decoded.
/// Returns the query and a warning for each ignored parameter. Dates without a zone are UTC.
/// `_format` and `_pretty` are skipped; parameters that the caller answers itself must be taken out before.
///
/// Errors: [Outcome] with every problem found. Values of the wrong form and unsupported modifiers are
/// errors under either handling, because ignoring them would widen the result.
pub fn parse(
    _params: &Params,
    kind: TypeId,
    pairs: &[(String, String)],
    handling: Handling,
) -> Result<(Query, Vec<Issue>), Outcome> {
    let mut parser = Parser {
        handling,
        query: Query {
            kind,
            filters: Vec::new(),
            ids: Vec::new(),
            last_updated: Vec::new(),
            conditions: Vec::new(),
            includes: Vec::new(),
            sort: Vec::new(),
            count: DEFAULT_PAGE,
            cursor: None,
            total: Total::None,
        },
        seen: Vec::new(),
        warnings: Vec::new(),
        errors: Vec::new(),
    };
    if pairs.len() > MAX_PARAMETERS {
        let text = format!("A search has at most {MAX_PARAMETERS} parameters.");
        return Err(Outcome::one(IssueCode::TooCostly, "", text));
    }
    for (name, value) in pairs {
        parser.pair(name, value);
    }
    if parser.errors.is_empty() {
        Ok((parser.query, parser.warnings))
    } else {
        Err(Outcome { issues: parser.errors })
    }
}

struct Parser {
    handling: Handling,
    query: Query,
    /// Result parameters already given; they may not repeat.
    seen: Vec<&'static str>,
    warnings: Vec<Issue>,
    errors: Vec<Issue>,
}

impl Parser {
    fn error(&mut self, name: &str, code: IssueCode, text: impl Into<String>) {
        self.errors.push(Issue::error(code, format!("http.{name}"), text));
    }

    /// A parameter that would be skipped.
    fn ignored(&mut self, name: &str, text: String) {
        match self.handling {
            Handling::Strict => self.error(name, IssueCode::NotSupported, text),
            Handling::Lenient => self.warnings.push(Issue::warning(
                IssueCode::NotSupported,
                format!("http.{name}"),
                format!("{text} The parameter was ignored."),
            )),
        }
    }

    fn pair(&mut self, name: &str, value: &str) {
        if ELSEWHERE.contains(&name) {
            return;
        }
        if value.is_empty() {
            let text = format!("`{name}` has no value and was ignored.");
            self.warnings.push(Issue::warning(IssueCode::Value, format!("http.{name}"), text));
            return;
        }
        let (code, modifier) = match name.split_once(':') {
            Some((code, modifier)) => (code, Some(modifier)),
            None => (name, None),
        };
        match (code, modifier) {
            ("_id", None) => self.ids(value),
            ("_lastUpdated", None) => match prefixed_date(value) {
                Ok((prefix, low, high)) => self.query.last_updated.push((prefix, low, high)),
                Err(problem) => self.error(name, IssueCode::Value, problem.text),
            },
            ("_sort", None) => self.sort(value),
            ("_count", None) => self.count(value),
            ("_total", None) => self.total(value),
            ("_summary", None) => self.summary(value),
            ("_cursor", None) => {
                if self.once("_cursor") {
                    self.query.cursor = Some(value.to_owned());
                }
            }
            ("_id" | "_lastUpdated" | "_sort" | "_count" | "_total" | "_summary" | "_cursor", Some(_)) => {
                self.error(name, IssueCode::NotSupported, format!("`{code}` takes no modifier here."));
            }
            ("_include" | "_revinclude", _) => self.unsupported(name, "Included resources"),
            ("_has", _) => self.unsupported(name, "Reverse chaining with `_has`"),
            _ => self.filter(name, code, modifier, value),
        }
    }

    fn unsupported(&mut self, name: &str, what: &str) {
        self.ignored(name, format!("{what} (`{name}`) is not supported yet."));
    }

    fn once(&mut self, name: &'static str) -> bool {
        if self.seen.contains(&name) {
            self.error(name, IssueCode::Value, format!("`{name}` is given more than once."));
            return false;
        }
        self.seen.push(name);
        true
    }

    fn ids(&mut self, value: &str) {
        let mut ids: Vec<String> =
            split(value, ',').into_iter().map(unescape).filter(|id| valid_id(id)).collect();
        if ids.len() > MAX_ALTERNATIVES {
            return self.error(
                "_id",
                IssueCode::TooCostly,
                format!("`_id` takes at most {MAX_ALTERNATIVES} ids."),
            );
        }
        if !self.query.ids.is_empty() {
            ids.retain(|id| self.query.ids.contains(id));
        }
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            ids.push(NO_ID.to_owned());
        }
        self.query.ids = ids;
    }

    fn sort(&mut self, value: &str) {
        if !self.once("_sort") {
            return;
        }
        let keys: Vec<&str> = value.split(',').map(str::trim).filter(|k| !k.is_empty()).collect();
        if keys.len() > MAX_SORT_KEYS {
            return self.error(
                "_sort",
                IssueCode::TooCostly,
                format!("`_sort` takes at most {MAX_SORT_KEYS} keys."),
            );
        }
        for key in keys {
            let (descending, code) = match key.strip_prefix('-') {
                Some(code) => (true, code),
                None => (false, key),
            };
            match code {
                "_id" => self.query.sort.push(Sort::Id { descending }),
                "_lastUpdated" => self.query.sort.push(Sort::LastUpdated { descending }),
                _ => match param(self.query.kind, code) {
                    Some(p) if p.is_searchable() => {
                        self.query.sort.push(Sort::Param { param: p.id, param_type: p.param_type, descending })
                    }
                    _ => {
                        let text = format!("{} cannot be sorted by `{code}`.", self.query.kind.name());
                        self.ignored("_sort", text);
                    }
                },
            }
        }
    }

    fn count(&mut self, value: &str) {
        if !self.once("_count") {
            return;
        }
        match value.parse::<u32>() {
            Ok(0) => self.only_total(),
            Ok(n) => self.query.count = n.min(MAX_PAGE),
            // Larger than u32, but a number.
            Err(_) if value.bytes().all(|b| b.is_ascii_digit()) => self.query.count = MAX_PAGE,
            Err(_) => self.error("_count", IssueCode::Value, "`_count` is a whole number, 0 or more."),
        }
    }

    fn only_total(&mut self) {
        self.query.count = 0;
        self.query.total = Total::Accurate;
    }

    fn total(&mut self, value: &str) {
        if !self.once("_total") {
            return;
        }
        match value {
            "none" if self.query.count == 0 => {}
            "none" => self.query.total = Total::None,
            // An estimate may be exact.
            "accurate" | "estimate" => self.query.total = Total::Accurate,
            _ => self.error("_total", IssueCode::Value, "`_total` is `none`, `estimate` or `accurate`."),
        }
    }

    fn summary(&mut self, value: &str) {
        match value {
            "count" => self.only_total(),
            "false" => {}
            _ => self.ignored(
                "_summary",
                format!("`_summary={value}` is not supported yet; `count` and `false` are."),
            ),
        }
    }

    fn filter(&mut self, name: &str, code: &str, modifier: Option<&str>, value: &str) {
        let kind = self.query.kind;
        if code.contains('.') || modifier.is_some_and(|m| m.contains('.')) {
            return self.unsupported(name, "A chained parameter");
        }
        let Some(p) = param(kind, code) else {
            if code.starts_with('_') {
                return self.ignored(name, format!("`{code}` is not supported."));
            }
            let near = crate::suggest::nearest(code, params(kind).map(|p| p.code));
            let hint = near.map(|n| format!(" Did you mean `{n}`?")).unwrap_or_default();
            return self.ignored(name, format!("{} has no search parameter `{code}`.{hint}", kind.name()));
        };
        if !p.is_searchable() {
            let what = format!("A {} parameter", p.param_type.code());
            return self.unsupported(name, &what);
        }
        let (matching, only) = match matching(p, modifier) {
            Ok(m) => m,
            Err(text) => return self.error(name, IssueCode::NotSupported, text),
        };
        let values = split(value, ',');
        if values.len() > MAX_ALTERNATIVES {
            let text = format!("A parameter takes at most {MAX_ALTERNATIVES} values.");
            return self.error(name, IssueCode::TooCostly, text);
        }
        let mut any: Vec<Operand> = Vec::with_capacity(values.len());
        for raw in values {
            if raw.is_empty() {
                continue;
            }
            match operand(p, matching, only, raw) {
                Ok(o) if any.contains(&o) => {}
                Ok(o) => any.push(o),
                Err(Problem { text }) => self.error(name, IssueCode::Value, text),
            }
        }
        if any.is_empty() && self.errors.is_empty() {
            return self.error(name, IssueCode::Value, format!("`{name}` has no value between its commas."));
        }
        let filter = Filter { param: p.id, matching, any };
        if !self.query.filters.contains(&filter) {
            self.query.filters.push(filter);
        }
    }
}

/// What a modifier means for this parameter. Errors: text for the sender.
fn matching(p: &Param, modifier: Option<&str>) -> Result<(Match, Option<TypeId>), String> {
    let Some(modifier) = modifier else { return Ok((Match::Default, None)) };
    let plain = |m: Match| Ok((m, None));
    match (modifier, p.param_type) {
        ("missing", _) => plain(Match::Missing),
        ("exact", ParamType::String) => plain(Match::Exact),
        ("contains", ParamType::String) => plain(Match::Contains),
        ("not", ParamType::Token) => plain(Match::Not),
        ("below", ParamType::Uri) => plain(Match::Below),
        ("above", ParamType::Uri) => plain(Match::Above),
        (_, ParamType::Reference) if TypeId::from_name(modifier).is_some() => {
            let only = TypeId::from_name(modifier).filter(|t| p.targets.is_empty() || p.targets.contains(t));
            match only {
                Some(_) => Ok((Match::Default, only)),
                None => Err(format!("`{}` never points at {modifier}.", p.code)),
            }
        }
        _ => {
            let known = match p.param_type {
                ParamType::String => "`:exact`, `:contains` and `:missing`",
                ParamType::Token => "`:not` and `:missing`",
                ParamType::Reference => "`:missing` and a type such as `:Patient`",
                ParamType::Uri => "`:below`, `:above` and `:missing`",
                _ => "`:missing`",
            };
            Err(format!("The modifier `:{modifier}` is not supported for `{}`; {known} are.", p.code))
        }
    }
}

/// Splits at separators that no backslash precedes; the parts stay escaped.
pub(super) fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == separator {
            parts.push(&text[start..at]);
            start = at + c.len_utf8();
        }
    }
    parts.push(&text[start..]);
    parts
}

/// `\,` `\|` `\$` `\\` to the plain character; any other backslash stays.
pub(super) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some(e @ (',' | '|' | '$' | '\\')) => out.push(e),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => out.push('\\'),
        }
    }
    out
}
