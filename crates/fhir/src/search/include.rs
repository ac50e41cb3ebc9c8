//! `_include` and `_revinclude` (<http://hl7.org/fhir/R4/search.html#revinclude>).

use super::Include;
use super::condition::Conditions;
use super::operand::Problem;
use crate::suggest::nearest;
use crate::{IssueCode, TypeId};

fn resource_type(text: &str) -> Result<TypeId, Problem> {
    TypeId::from_name(text).ok_or_else(|| {
        let hint = nearest(text, TypeId::all().map(TypeId::name));
        let hint = hint.map(|n| format!(" Did you mean `{n}`?")).unwrap_or_default();
        Problem::new(IssueCode::Value, format!("`{text}` is no FHIR R4 resource type.{hint}"))
    })
}

/// Reads one value. Errors: unknown types and parameters, a parameter that is no reference, and what could
/// never find anything because it has nothing to do with the type that is searched for.
pub(super) fn read(
    conditions: &Conditions<'_>,
    kind: TypeId,
    reverse: bool,
    modifier: Option<&str>,
    value: &str,
) -> Result<Include, Problem> {
    let name = if reverse { "_revinclude" } else { "_include" };
    let iterate = match modifier {
        None => false,
        Some("iterate" | "recurse") => true,
        Some(other) => {
            let hint = if nearest(other, ["iterate", "recurse"].into_iter()).is_some() {
                " Did you mean `:iterate`?"
            } else {
                ""
            };
            let text = format!("`{name}` takes `:iterate`, not `:{other}`.{hint}");
            return Err(Problem::new(IssueCode::NotSupported, text));
        }
    };
    if value == "*" {
        if reverse {
            let text = "`_revinclude` takes `Type:parameter` or `Type:*`; say which type refers.";
            return Err(Problem::new(IssueCode::TooCostly, text));
        }
        return Ok(Include { reverse, iterate, source: None, param: None, target: None });
    }
    let parts: Vec<&str> = value.split(':').collect();
    let (source, code, target) = match parts[..] {
        [source, code] => (source, code, None),
        [source, code, target] if !target.is_empty() => (source, code, Some(target)),
        _ => {
            let text = format!(
                "`{name}` is written `Type:parameter` or `Type:parameter:TargetType`, e.g. `Observation:subject:Patient`."
            );
            return Err(Problem::new(IssueCode::Value, text));
        }
    };
    let source = resource_type(source)?;
    let target = target.map(resource_type).transpose()?;
    let aimed = match (reverse, target) {
        (true, Some(target)) => Some(target),
        (true, None) if !iterate => Some(kind),
        (false, target) => target,
        (true, None) => None,
    };
    let param = if code == "*" {
        None
    } else {
        let p = conditions.reference(source, code)?;
        if let Some(aimed) = aimed {
            conditions.points_at(p, aimed).or_else(|problem| {
                // Forwards, definitions can be followed by their URL.
                let by_url = p.targets.is_empty() || p.targets.contains(&aimed);
                if !reverse && by_url { Ok(()) } else { Err(problem) }
            })?;
        }
        Some(p.id)
    };
    if !iterate && !reverse && source != kind {
        return Err(Problem::new(
            IssueCode::Value,
            format!(
                "`_include={value}` finds nothing in a search on {}; `_include:iterate={value}` follows what else was included.",
                kind.name()
            ),
        ));
    }
    if !iterate && reverse && target.is_some_and(|t| t != kind) {
        return Err(Problem::new(
            IssueCode::Value,
            format!(
                "`_revinclude={value}` finds nothing in a search on {}; `_revinclude:iterate={value}` follows what else was included.",
                kind.name()
            ),
        ));
    }
    Ok(Include { reverse, iterate, source: Some(source), param, target })
}
