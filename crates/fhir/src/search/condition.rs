//! One search parameter to a [Condition]: plain parameters, chains, `_has`, `_list` and the parameters of all types.

use super::modifier::{self, Modifier};
use super::operand::{Problem, Reads, composite, operands, prefixed_date, problem, split, unescape};
use super::plan::Source;
use super::{Condition, Filter, MAX_ALTERNATIVES, MAX_CHAIN, Match, Operand, Params, fold};
use crate::definitions::{self, Param, ParamType};
use crate::resource::valid_id;
use crate::suggest::nearest;
use crate::{IssueCode, ParamId, ResourceKey, TypeId};
use std::cell::Cell;

/// An id that no resource has: what is left of ids that no resource can have.
pub(super) const NO_ID: &str = "";
/// Types that a chain may be followed to without being told which.
const MAX_CHAIN_TYPES: usize = 40;
/// Links that a query follows at most, each type that one leads to counted.
const MAX_LINKS: usize = 5_000;
/// Words of one `_text` or `_content` value.
const MAX_WORDS: usize = 16;
/// Parameters that hold for every type and are columns of their own or no values at all.
pub(super) const COMMON: &[&str] = &["_id", "_lastUpdated", "_text", "_content", "_list", "_has", "_filter"];

/// Parameters and their values.
type Criteria = &'static [(&'static str, &'static str)];

/// The functional lists that follow from what each resource says of itself: name, type, conditions. Those of one name
/// stand together.
const FUNCTIONAL_LISTS: &[(&str, &str, Criteria)] = &[
    (
        "$current-problems",
        "Condition",
        &[
            ("clinical-status", "active,recurrence,relapse"),
            ("verification-status:not", "refuted,entered-in-error"),
        ],
    ),
    ("$current-medications", "MedicationStatement", &[("status", "active")]),
    ("$current-medications", "MedicationRequest", &[("status", "active"), ("intent:not", "proposal,plan")]),
    ("$current-allergies", "AllergyIntolerance", CURRENT_ALLERGIES),
    (
        "$current-drug-allergies",
        "AllergyIntolerance",
        &[CURRENT_ALLERGIES[0], CURRENT_ALLERGIES[1], ("category", "medication")],
    ),
];
const CURRENT_ALLERGIES: Criteria =
    &[("clinical-status", "active"), ("verification-status:not", "refuted,entered-in-error")];

/// All that hold at once: one alone stays as it is.
pub(super) fn all(mut conditions: Vec<Condition>) -> Condition {
    match conditions.pop() {
        Some(only) if conditions.is_empty() => only,
        Some(last) => {
            conditions.push(last);
            Condition::All(conditions)
        }
        None => Condition::All(conditions),
    }
}

/// Any that holds: one alone stays as it is.
pub(super) fn any(mut conditions: Vec<Condition>) -> Condition {
    match conditions.pop() {
        Some(only) if conditions.is_empty() => only,
        Some(last) => {
            conditions.push(last);
            Condition::Any(conditions)
        }
        None => Condition::Any(conditions),
    }
}

/// What a parameter came to, or all that is wrong with it.
type Read = Result<Condition, Vec<Problem>>;

/// Reads parameters of resources; the same at the top, in chains and in `_filter`.
pub(super) struct Conditions<'p> {
    pub params: &'p Params,
    /// Links that may still be followed, of the whole query: one without a type leads to every type there is, and from
    /// each of them on, so a few words come to millions.
    left: Cell<usize>,
}

impl<'p> Conditions<'p> {
    pub fn new(params: &'p Params) -> Conditions<'p> {
        Conditions { params, left: Cell::new(MAX_LINKS) }
    }

    /// `name=value` on resources of `kind`, `depth` links away from what is searched for.
    pub fn named(
        &self,
        kind: TypeId,
        name: &str,
        value: &str,
        depth: usize,
    ) -> Result<Condition, Vec<Problem>> {
        if depth > MAX_CHAIN {
            return Err(too_many_links());
        }
        if name == "_has" || name.starts_with("_has:") {
            return self.has(kind, name, value, depth);
        }
        match name.split_once('.') {
            Some((link, rest)) => self.chain(kind, link, rest, value, depth),
            None => {
                let (code, modifier) = match name.split_once(':') {
                    Some((code, modifier)) => (code, Some(modifier)),
                    None => (name, None),
                };
                self.leaf(kind, code, modifier, value)
            }
        }
    }

    /// The parameter, or what to tell who asked for it.
    fn param(&self, kind: TypeId, code: &str) -> Result<&'p Param, Problem> {
        if let Some(p) = self.params.param(kind, code) {
            return if p.is_searchable() {
                Ok(p)
            } else {
                Err(Problem::unknown(format!(
                    "R4 does not say what `{code}` looks at, so it cannot be searched for."
                )))
            };
        }
        if self.params.is_building(kind, code) {
            return Err(Problem::new(
                IssueCode::Transient,
                format!("`{code}` is still being indexed. Try again when that is done."),
            ));
        }
        let known = self.params.of(kind).map(|p| p.code).chain(COMMON.iter().copied());
        let hint = nearest(code, known).map(|n| format!(" Did you mean `{n}`?")).unwrap_or_default();
        Err(Problem::unknown(format!("{} has no search parameter `{code}`.{hint}", kind.name())))
    }

    fn leaf(
        &self,
        kind: TypeId,
        code: &str,
        modifier: Option<&str>,
        value: &str,
    ) -> Result<Condition, Vec<Problem>> {
        let values: Vec<&str> = split(value, ',').into_iter().filter(|v| !v.is_empty()).collect();
        if values.len() > MAX_ALTERNATIVES {
            let text = format!("`{code}` takes at most {MAX_ALTERNATIVES} values.");
            return Err(vec![Problem::new(IssueCode::TooCostly, text)]);
        }
        if values.is_empty() {
            return problem(format!("`{code}` has no value between its commas.")).map_err(|p| vec![p]);
        }
        let one = |result: Result<Condition, Problem>| result.map_err(|p| vec![p]);
        match (code, modifier) {
            ("_id", None) => Ok(ids(&values)),
            ("_id", Some("not")) => Ok(Condition::Not(Box::new(ids(&values)))),
            ("_lastUpdated", None) => one(last_updated(&values)),
            ("_list", None) => self.list(kind, &values),
            ("_text" | "_content", None) => one(words(code == "_content", value)),
            ("_id" | "_lastUpdated" | "_list" | "_text" | "_content", Some(modifier)) => {
                let hint = if code == "_id" { " but `:not`" } else { "" };
                Err(vec![Problem::new(
                    IssueCode::NotSupported,
                    format!("`{code}` takes no modifier{hint}, so `:{modifier}` says nothing."),
                )])
            }
            _ => {
                let p = self.param(kind, code).map_err(|p| vec![p])?;
                self.filter(p, modifier, &values)
            }
        }
    }

    fn filter(&self, p: &Param, modifier: Option<&str>, values: &[&str]) -> Result<Condition, Vec<Problem>> {
        let reads = Reads::of(self.params, p);
        let modifier = modifier::read(&reads, modifier).map_err(|p| vec![p])?;
        if p.param_type == ParamType::Composite {
            return self.composite(p, modifier, values);
        }
        let (mut any, mut problems) = (Vec::new(), Vec::new());
        for raw in values {
            match operands(self.params, reads, modifier, raw) {
                Ok(found) => any.extend(found),
                Err(problem) if problems.contains(&problem) => {}
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        dedup(&mut any);
        Ok(Condition::Filter(Filter { param: p.id, matching: modifier.matching(), any }))
    }

    fn composite(&self, p: &Param, modifier: Modifier, values: &[&str]) -> Result<Condition, Vec<Problem>> {
        let Some((sources, readings)) = self.params.composite(p) else {
            return Err(vec![Problem::unknown(format!("`{}` is not supported.", p.code))]);
        };
        if modifier == Modifier::Missing {
            let present = any(sources.iter().map(present).collect());
            return match values {
                ["false"] => Ok(present),
                ["true"] => Ok(Condition::Not(Box::new(present))),
                _ => problem("`:missing` takes `true` or `false`.").map_err(|p| vec![p]),
            };
        }
        let parts: Vec<Reads<'_>> = readings
            .iter()
            .map(|r| Reads { code: r.code, param_type: r.param_type, types: &r.types, targets: &r.targets })
            .collect();
        let (mut alternatives, mut problems) = (Vec::new(), Vec::new());
        for raw in values {
            match composite(p.code, &parts, raw) {
                Ok(combinations) => {
                    alternatives.extend(sources.iter().map(|source| of_source(source, &combinations)));
                }
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(any(merged(alternatives))) } else { Err(problems) }
    }

    /// `subject:Patient.name`
    fn chain(
        &self,
        kind: TypeId,
        link: &str,
        rest: &str,
        value: &str,
        depth: usize,
    ) -> Result<Condition, Vec<Problem>> {
        self.follow(kind, link, rest, &mut |target| self.named(target, rest, value, depth + 1))
    }

    /// Rows of `kind` whose reference `link` (`subject`, `subject:Patient`) points at something that meets what `inner`
    /// makes of its type. `rest` is what stands behind the link, for messages.
    pub fn follow(
        &self,
        kind: TypeId,
        link: &str,
        rest: &str,
        inner: &mut dyn FnMut(TypeId) -> Read,
    ) -> Read {
        let (code, only) = match link.split_once(':') {
            Some((code, only)) => (code, Some(only)),
            None => (link, None),
        };
        let one = |problem: Problem| vec![problem];
        let p = self.param(kind, code).map_err(one)?;
        if p.param_type != ParamType::Reference {
            return Err(one(Problem::new(
                IssueCode::NotSupported,
                format!(
                    "`{code}` is a {} parameter; only references can be followed with a dot.",
                    p.param_type.code()
                ),
            )));
        }
        let reads = Reads::of(self.params, p);
        let all_types: Vec<TypeId> =
            if p.targets.is_empty() { TypeId::all().collect() } else { p.targets.clone() };
        let types = match only {
            None => all_types,
            Some(name) => match TypeId::from_name(name) {
                Some(kind) if all_types.contains(&kind) => vec![kind],
                _ => {
                    let names = all_types.iter().map(|t| t.name());
                    let hint = nearest(name, names).map(|n| format!(" Did you mean `{code}:{n}`?"));
                    return Err(one(Problem::new(
                        IssueCode::NotSupported,
                        format!("`{code}` points at no `{name}`.{}", hint.unwrap_or_default()),
                    )));
                }
            },
        };
        let canonical = reads.is_canonical();
        let (mut found, mut problems) = (Vec::new(), Vec::new());
        for target in types {
            match self.left.get().checked_sub(1) {
                Some(left) => self.left.set(left),
                None => {
                    let text = format!(
                        "The chains of this search lead to too many types; say which: `{code}:Patient.{rest}`."
                    );
                    return Err(one(Problem::new(IssueCode::TooCostly, text)));
                }
            }
            match inner(target) {
                Ok(condition) => found.extend(self.link(p, target, canonical, condition)),
                Err(more) => problems.extend(more),
            }
        }
        if found.len() > MAX_CHAIN_TYPES {
            return Err(one(Problem::new(
                IssueCode::TooCostly,
                format!("`{code}` may point at very many types; say which: `{code}:Patient.{rest}`."),
            )));
        }
        if !found.is_empty() {
            // Of several types only those count that have the parameter.
            return Ok(any(found));
        }
        // What is wrong with a value says more than that some type lacks the parameter.
        let worst = problems.iter().position(|p| !p.unknown).unwrap_or(0);
        Err(one(if problems.is_empty() {
            Problem::unknown(format!("`{code}` cannot be followed with a dot."))
        } else {
            problems.swap_remove(worst)
        }))
    }

    fn link(&self, p: &Param, kind: TypeId, canonical: bool, condition: Condition) -> Option<Condition> {
        let condition = Box::new(condition);
        if !canonical {
            return Some(Condition::Chain { param: p.id, kind, condition });
        }
        let url = self.params.param(kind, "url").filter(|p| p.param_type == ParamType::Uri)?.id;
        Some(Condition::CanonicalChain { param: p.id, kind, url, condition })
    }

    /// `_has:Observation:patient:code`
    fn has(&self, kind: TypeId, name: &str, value: &str, depth: usize) -> Result<Condition, Vec<Problem>> {
        self.backwards(kind, name, &mut |source, rest| self.named(source, rest, value, depth + 1))
    }

    /// Rows of `kind` that something points at which meets what `inner` makes of its type and of what stands behind
    /// `_has:Type:reference:` in `name`.
    pub fn backwards(&self, kind: TypeId, name: &str, inner: &mut dyn FnMut(TypeId, &str) -> Read) -> Read {
        let form = || {
            Problem::new(
                IssueCode::Value,
                "`_has` is written `_has:Type:reference:parameter`, e.g. `_has:Observation:patient:code`.",
            )
        };
        let mut parts = name.splitn(4, ':').skip(1);
        let (Some(source), Some(code), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(vec![form()]);
        };
        let Some(source) = TypeId::from_name(source) else {
            let hint = nearest(source, TypeId::all().map(TypeId::name));
            let hint = hint.map(|n| format!(" Did you mean `{n}`?")).unwrap_or_default();
            let text = format!("`{source}` is no FHIR R4 resource type.{hint}");
            return Err(vec![Problem::new(IssueCode::NotSupported, text)]);
        };
        let p = self.param(source, code).map_err(|p| vec![p])?;
        if let Err(problem) = self.points_at(p, kind) {
            return Err(vec![problem]);
        }
        if rest.is_empty() {
            return Err(vec![form()]);
        }
        let condition = Box::new(inner(source, rest)?);
        Ok(Condition::Has { kind: source, param: p.id, condition })
    }

    /// Errors: the parameter is no reference that can point at `kind`.
    pub fn points_at(&self, p: &Param, kind: TypeId) -> Result<(), Problem> {
        let text = if p.param_type != ParamType::Reference {
            format!("`{}` is a {} parameter, no reference.", p.code, p.param_type.code())
        } else if Reads::of(self.params, p).is_canonical() {
            format!("`{}` names definitions by URL and cannot be followed backwards.", p.code)
        } else if !p.targets.is_empty() && !p.targets.contains(&kind) {
            let names: Vec<&str> = p.targets.iter().map(|t| t.name()).collect();
            format!(
                "`{}` of {} never points at {}; it points at {}.",
                p.code,
                p.kind.name(),
                kind.name(),
                names.join(", ")
            )
        } else {
            return Ok(());
        };
        Err(Problem::new(IssueCode::NotSupported, text))
    }

    /// As [Conditions::param], for includes.
    pub fn reference(&self, kind: TypeId, code: &str) -> Result<&'p Param, Problem> {
        let p = self.param(kind, code)?;
        if p.param_type == ParamType::Reference {
            return Ok(p);
        }
        let references: Vec<&str> =
            self.params.of(kind).filter(|p| p.param_type == ParamType::Reference).map(|p| p.code).collect();
        Err(Problem::new(
            IssueCode::NotSupported,
            format!(
                "`{code}` is a {} parameter, no reference. References of {}: {}.",
                p.param_type.code(),
                kind.name(),
                references.join(", ")
            ),
        ))
    }

    fn list(&self, kind: TypeId, values: &[&str]) -> Result<Condition, Vec<Problem>> {
        let list = TypeId::LIST;
        let (mut found, mut alternatives) = (Vec::new(), Vec::new());
        for raw in values {
            let text = unescape(raw);
            if text.starts_with('$') {
                alternatives.push(self.functional_list(kind, &text)?);
                continue;
            }
            let id = text.strip_prefix("List/").unwrap_or(&text);
            found.push(if valid_id(id) { id.to_owned() } else { NO_ID.to_owned() });
        }
        if !found.is_empty() {
            let item = self.param(list, "item").map_err(|p| vec![p])?;
            self.points_at(item, kind).map_err(|p| vec![p])?;
            let condition = Box::new(Condition::Ids(found));
            alternatives.push(Condition::Has { kind: list, param: item.id, condition });
        }
        Ok(any(alternatives))
    }

    /// `$current-problems`: what is current by its own status. <http://hl7.org/fhir/R4/lifecycle.html#current>
    fn functional_list(&self, kind: TypeId, name: &str) -> Result<Condition, Vec<Problem>> {
        let of_name = || FUNCTIONAL_LISTS.iter().filter(|(list, ..)| *list == name);
        if let Some((.., conditions)) = of_name().find(|(_, of, _)| *of == kind.name()) {
            let one = |(name, value): &(&str, &str)| self.named(kind, name, value, 0);
            return Ok(all(conditions.iter().map(one).collect::<Result<_, _>>()?));
        }
        let types: Vec<&str> = of_name().map(|(_, of, _)| *of).collect();
        let text = if types.is_empty() {
            let mut known: Vec<String> =
                FUNCTIONAL_LISTS.iter().map(|(list, ..)| format!("`{list}`")).collect();
            known.dedup();
            format!("`_list` takes the id of a List, or one of {}.", known.join(", "))
        } else {
            format!("`{name}` is a list of {}, not of {}.", types.join(" and "), kind.name())
        };
        Err(vec![Problem::new(IssueCode::NotSupported, text)])
    }
}

pub(super) fn too_many_links() -> Vec<Problem> {
    vec![Problem::new(IssueCode::TooCostly, format!("A search follows at most {MAX_CHAIN} links."))]
}

fn dedup(operands: &mut Vec<Operand>) {
    let mut kept: Vec<Operand> = Vec::with_capacity(operands.len());
    for operand in operands.drain(..) {
        if !kept.contains(&operand) {
            kept.push(operand);
        }
    }
    *operands = kept;
}

fn present(source: &Source) -> Condition {
    let one = |param: ParamId| {
        Condition::Filter(Filter { param, matching: Match::Missing, any: vec![Operand::Missing(false)] })
    };
    match source {
        Source::All(params) => all(params.iter().map(|p| one(*p)).collect()),
        Source::Entries(param) => one(*param),
    }
}

/// All combinations against one source. They are a product, so the parts of a conjunction are independent.
fn of_source(source: &Source, combinations: &[Vec<Operand>]) -> Condition {
    match source {
        Source::All(params) => {
            let one = |(n, param): (usize, &ParamId)| {
                let mut any: Vec<Operand> = combinations.iter().filter_map(|c| c.get(n).cloned()).collect();
                dedup(&mut any);
                Condition::Filter(Filter { param: *param, matching: Match::Default, any })
            };
            all(params.iter().enumerate().map(one).collect())
        }
        Source::Entries(param) => {
            let any = combinations.iter().map(|c| Operand::Composite(c.clone())).collect();
            Condition::Filter(Filter { param: *param, matching: Match::Default, any })
        }
    }
}

/// Filters on the same composite entries become one with all their operands.
fn merged(conditions: Vec<Condition>) -> Vec<Condition> {
    let mut out: Vec<Condition> = Vec::new();
    for condition in conditions {
        if let Condition::Filter(new) = &condition
            && let Some(Condition::Filter(old)) = out.iter_mut().find(
                |c| matches!(c, Condition::Filter(f) if f.param == new.param && f.matching == new.matching),
            )
        {
            old.any.extend(new.any.iter().cloned());
        } else {
            out.push(condition);
        }
    }
    out
}

fn ids(values: &[&str]) -> Condition {
    let mut ids: Vec<String> = values.iter().map(|id| unescape(id)).filter(|id| valid_id(id)).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        ids.push(NO_ID.to_owned());
    }
    Condition::Ids(ids)
}

fn last_updated(values: &[&str]) -> Result<Condition, Problem> {
    let one = |raw: &&str| {
        prefixed_date(raw).map(|(prefix, low_us, high_us)| Condition::LastUpdated { prefix, low_us, high_us })
    };
    Ok(any(values.iter().map(one).collect::<Result<Vec<_>, _>>()?))
}

/// Words side by side must all occur; `OR` and commas part alternatives, `AND` says what is meant anyway.
fn words(content: bool, value: &str) -> Result<Condition, Problem> {
    let mut found: Vec<Vec<String>> = Vec::new();
    for alternative in split(value, ',') {
        for alternative in unescape(alternative).split(" OR ") {
            let mut list: Vec<String> = Vec::new();
            for word in alternative.split_whitespace().filter(|w| *w != "AND") {
                let (word, prefix) = match word.strip_suffix('*') {
                    Some(start) => (start, "*"),
                    None => (word, ""),
                };
                let parts: Vec<String> = super::words::split(&fold(word)).map(str::to_owned).collect();
                let last = parts.len().saturating_sub(1);
                for (n, part) in parts.into_iter().enumerate() {
                    let part = if n == last { part + prefix } else { part };
                    if !list.contains(&part) {
                        list.push(part);
                    }
                }
            }
            if list.len() > MAX_WORDS {
                let text = format!("`_text` and `_content` take at most {MAX_WORDS} words.");
                return Err(Problem::new(IssueCode::TooCostly, text));
            }
            if !list.is_empty() && !found.contains(&list) {
                found.push(list);
            }
        }
    }
    if found.is_empty() {
        return problem("`_text` and `_content` need words to look for.");
    }
    Ok(Condition::Words { content, any: found })
}

/// The resources of `kind` in the compartment of `owner`, e.g. for `GET /Encounter/1/Observation`. `None` if the
/// type takes no part in that compartment, or `owner` has none
/// (<http://hl7.org/fhir/R4/compartmentdefinition.html>).
pub fn in_compartment(owner: &ResourceKey, kind: TypeId) -> Option<Condition> {
    if !definitions::COMPARTMENTS.contains(&owner.kind) {
        return None;
    }
    let params = definitions::in_compartment(owner.kind, kind);
    if owner.kind == TypeId::PATIENT {
        // R4 forgot the tasks for a patient; the stored membership has them.
        let part = kind == TypeId::PATIENT || kind == TypeId::TASK || !params.is_empty();
        return part.then(|| Condition::Compartment(owner.clone()));
    }
    let mut found: Vec<Condition> = Vec::new();
    if owner.kind == kind {
        found.push(Condition::Ids(vec![owner.id.clone()]));
    }
    found.extend(params.iter().map(|param| {
        let target = Operand::Reference { kinds: vec![owner.kind], id: owner.id.clone() };
        Condition::Filter(Filter { param: *param, matching: Match::Default, any: vec![target] })
    }));
    (!found.is_empty()).then(|| any(found))
}
