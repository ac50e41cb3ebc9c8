//! Queries parsed from URL parameters (<http://hl7.org/fhir/R4/search.html>).

use super::condition::{COMMON, Conditions, NO_ID};
use super::operand::Problem;
use super::{Condition, DEFAULT_PAGE, MAX_PAGE, Params, Query, Sort, Total, filter, include};
use crate::definitions::ParamType;
use crate::suggest::nearest;
use crate::{Issue, IssueCode, Outcome, TypeId};

/// Parameters of one search.
pub const MAX_PARAMETERS: usize = 64;
/// Alternatives of one parameter (`a,b,c`).
pub const MAX_ALTERNATIVES: usize = 500;
/// Keys of `_sort`.
pub const MAX_SORT_KEYS: usize = 4;
/// Links of one chain, dots and `_has` together.
pub const MAX_CHAIN: usize = 5;
/// `_include` and `_revinclude` of one search.
pub const MAX_INCLUDES: usize = 16;
/// Conditions of one search, chains over several types and the parts of `_filter` counted one by one.
pub const MAX_CONDITIONS: usize = 500;

/// Read by the HTTP layer, without meaning for the search itself.
/// `_totalMethod` is what one client sends beside `_total`.
const ELSEWHERE: &[&str] = &["_format", "_pretty", "_elements", "_totalMethod"];
/// What parameters of the result are called, for "did you mean".
const OF_RESULT: &[&str] = &[
    "_sort",
    "_count",
    "_total",
    "_summary",
    "_elements",
    "_include",
    "_revinclude",
    "_contained",
    "_containedType",
    "_type",
    "_format",
    "_pretty",
];

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
/// `_format`, `_pretty`, `_elements` and `_summary` (but for `count`) are the caller's and skipped here; parameters that
/// the caller answers itself must be taken out before.
///
/// Errors: [Outcome] with every problem found. Values of the wrong form and modifiers that do not fit are
/// errors under either handling, because ignoring them would widen the result.
pub fn parse(
    params: &Params,
    kind: TypeId,
    pairs: &[(String, String)],
    handling: Handling,
) -> Result<(Query, Vec<Issue>), Outcome> {
    let mut parser = Parser {
        handling,
        conditions: Conditions::new(params),
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
    if parser.errors.is_empty() && parser.query.conditions.iter().map(weight).sum::<usize>() > MAX_CONDITIONS
    {
        let text = format!(
            "The search comes to more than {MAX_CONDITIONS} conditions; say which types its chains lead to."
        );
        return Err(Outcome::one(IssueCode::TooCostly, "", text));
    }
    if parser.errors.is_empty() {
        Ok((parser.query, parser.warnings))
    } else {
        Err(Outcome { issues: parser.errors })
    }
}

fn weight(condition: &Condition) -> usize {
    match condition {
        Condition::All(all) | Condition::Any(all) => all.iter().map(weight).sum(),
        Condition::Not(inner) => weight(inner),
        Condition::Chain { condition, .. }
        | Condition::CanonicalChain { condition, .. }
        | Condition::Has { condition, .. } => 1 + weight(condition),
        _ => 1,
    }
}

struct Parser<'p> {
    handling: Handling,
    conditions: Conditions<'p>,
    query: Query,
    /// Result parameters already given; they may not repeat.
    seen: Vec<&'static str>,
    warnings: Vec<Issue>,
    errors: Vec<Issue>,
}

impl Parser<'_> {
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

    fn problem(&mut self, name: &str, problem: Problem) {
        if problem.unknown {
            self.ignored(name, problem.text);
        } else {
            self.error(name, problem.code, problem.text);
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
            ("_sort", None | Some("asc" | "desc")) => self.sort(value, modifier == Some("desc")),
            ("_count", None) => self.count(value),
            ("_total", None) => self.total(value),
            ("_summary", None) => self.summary(value),
            ("_type", None) => self.only_type(value),
            ("_contained", None) => self.contained(value),
            ("_cursor", None) => {
                if self.once("_cursor") {
                    self.query.cursor = Some(value.to_owned());
                }
            }
            ("_include" | "_revinclude", _) => self.include(code == "_revinclude", modifier, name, value),
            ("_filter", None) => self.filter(value),
            (
                "_sort" | "_count" | "_total" | "_summary" | "_cursor" | "_type" | "_contained" | "_filter",
                Some(_),
            ) => {
                self.error(name, IssueCode::NotSupported, format!("`{code}` takes no modifier here."));
            }
            ("_query" | "_containedType" | "_score", _) => {
                self.ignored(name, format!("`{code}` is not supported."));
            }
            _ => self.condition(name, value),
        }
    }

    fn condition(&mut self, name: &str, value: &str) {
        match self.conditions.named(self.query.kind, name, value, 0) {
            Ok(condition) => self.add(condition),
            Err(problems) => {
                for mut problem in problems {
                    if problem.unknown
                        && let Some(near) =
                            name.starts_with('_').then(|| self.result_parameter(name)).flatten()
                    {
                        problem.text.push_str(&format!(" Did you mean `{near}`?"));
                    }
                    self.problem(name, problem);
                }
            }
        }
    }

    fn result_parameter(&self, name: &str) -> Option<&'static str> {
        let code = name.split([':', '.']).next().unwrap_or(name);
        if nearest(code, COMMON.iter().copied()).is_some() {
            return None;
        }
        nearest(code, OF_RESULT.iter().copied())
    }

    /// What the store has faster ways for stands apart.
    fn add(&mut self, condition: Condition) {
        match condition {
            Condition::Filter(filter) => {
                if !self.query.filters.contains(&filter) {
                    self.query.filters.push(filter);
                }
            }
            Condition::Ids(ids) => self.narrow(ids),
            Condition::LastUpdated { prefix, low_us, high_us } => {
                self.query.last_updated.push((prefix, low_us, high_us));
            }
            Condition::All(all) => all.into_iter().for_each(|c| self.add(c)),
            other => {
                if !self.query.conditions.contains(&other) {
                    self.query.conditions.push(other);
                }
            }
        }
    }

    fn narrow(&mut self, mut ids: Vec<String>) {
        if !self.query.ids.is_empty() {
            ids.retain(|id| self.query.ids.contains(id));
        }
        if ids.is_empty() {
            ids.push(NO_ID.to_owned());
        }
        self.query.ids = ids;
    }

    fn filter(&mut self, value: &str) {
        match filter::read(&self.conditions, self.query.kind, value) {
            Ok(condition) => self.add(condition),
            // A filter that is skipped in part would mean something else.
            Err(problems) => problems.into_iter().for_each(|p| self.error("_filter", p.code, p.text)),
        }
    }

    fn include(&mut self, reverse: bool, modifier: Option<&str>, name: &str, value: &str) {
        if self.query.includes.len() >= MAX_INCLUDES {
            let text = format!("A search takes at most {MAX_INCLUDES} `_include` and `_revinclude`.");
            return self.error(name, IssueCode::TooCostly, text);
        }
        match include::read(&self.conditions, self.query.kind, reverse, modifier, value) {
            Ok(include) => {
                if !self.query.includes.contains(&include) {
                    self.query.includes.push(include);
                }
            }
            Err(problem) => self.ignored(name, problem.text),
        }
    }

    fn once(&mut self, name: &'static str) -> bool {
        if self.seen.contains(&name) {
            self.error(name, IssueCode::Value, format!("`{name}` is given more than once."));
            return false;
        }
        self.seen.push(name);
        true
    }

    fn sort(&mut self, value: &str, reversed: bool) {
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
                Some(code) => (!reversed, code),
                None => (reversed, key),
            };
            let params = self.conditions.params;
            match code {
                "_id" => self.query.sort.push(Sort::Id { descending }),
                "_lastUpdated" => self.query.sort.push(Sort::LastUpdated { descending }),
                _ => match params.param(self.query.kind, code) {
                    Some(p)
                        if p.is_searchable()
                            && !matches!(p.param_type, ParamType::Composite | ParamType::Special) =>
                    {
                        self.query.sort.push(Sort::Param {
                            param: p.id,
                            param_type: p.param_type,
                            descending,
                        });
                    }
                    found => {
                        let hint = match found {
                            Some(p) => {
                                format!(" It is a {} parameter, which has no order.", p.param_type.code())
                            }
                            None => nearest(code, params.of(self.query.kind).map(|p| p.code))
                                .map(|n| format!(" Did you mean `{n}`?"))
                                .unwrap_or_default(),
                        };
                        let text = format!("{} cannot be sorted by `{code}`.{hint}", self.query.kind.name());
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
            "estimate" if self.query.count > 0 => self.query.total = Total::Estimate,
            "accurate" | "estimate" => self.query.total = Total::Accurate,
            _ => self.error("_total", IssueCode::Value, "`_total` is `none`, `estimate` or `accurate`."),
        }
    }

    /// The forms other than `count` are the caller's.
    fn summary(&mut self, value: &str) {
        match value {
            "count" => self.only_total(),
            "false" | "true" | "text" | "data" => {}
            _ => self.error(
                "_summary",
                IssueCode::Value,
                "`_summary` is `true`, `text`, `data`, `count` or `false`.",
            ),
        }
    }

    fn only_type(&mut self, value: &str) {
        if value.split(',').any(|name| name.trim() != self.query.kind.name()) {
            let text = format!(
                "A search on {} finds no other types; ask the base address with `_type` for several.",
                self.query.kind.name()
            );
            self.error("_type", IssueCode::Value, text);
        }
    }

    fn contained(&mut self, value: &str) {
        match value {
            "false" => {}
            "true" | "both" => self.ignored(
                "_contained",
                format!("`_contained={value}` is not supported: contained resources are found with what contains them."),
            ),
            _ => self.error("_contained", IssueCode::Value, "`_contained` is `false`, `true` or `both`."),
        }
    }
}
