//! What a parsed query needs before the store can run it: the codes of value sets and hierarchies.

use crate::terminology::{Expand, Source};
use crate::{Error, Record};
use access::policy::is_sealable;
use access::{Class, Ctx};
use fhir::search::{Condition, Filter, Operand, Params, Query};
use fhir::{IssueCode, Outcome, ParamId, ResourceKey};
use store::Tx;

/// Codes that a value set or a hierarchy may bring into one search.
pub const MAX_CODES: usize = 5_000;

/// Whether an operand stands for codes that terminology must name.
fn is_open(operand: &Operand) -> bool {
    matches!(operand, Operand::ValueSet(_) | Operand::Hierarchy { .. })
}

fn open_filters<'q>(condition: &'q mut Condition, found: &mut Vec<&'q mut Filter>) {
    match condition {
        Condition::Filter(filter) => {
            if filter.any.iter().any(is_open) {
                found.push(filter);
            }
        }
        Condition::Chain { condition, .. }
        | Condition::Has { condition, .. }
        | Condition::CanonicalChain { condition, .. }
        | Condition::Not(condition) => open_filters(condition, found),
        Condition::All(all) | Condition::Any(all) => all.iter_mut().for_each(|one| open_filters(one, found)),
        Condition::Ids(_)
        | Condition::LastUpdated { .. }
        | Condition::Compartment(_)
        | Condition::Words { .. } => {}
    }
}

fn all_open(query: &mut Query) -> Vec<&mut Filter> {
    let mut open: Vec<&mut Filter> =
        query.filters.iter_mut().filter(|filter| filter.any.iter().any(is_open)).collect();
    for condition in &mut query.conditions {
        open_filters(condition, &mut open);
    }
    open
}

/// The operands that name one row of a type that can be sealed.
fn named(query: &mut Query) -> Vec<&mut Operand> {
    let mut filters: Vec<&mut Filter> = query.filters.iter_mut().collect();
    for condition in &mut query.conditions {
        all_filters(condition, &mut filters);
    }
    filters
        .into_iter()
        .flat_map(|filter| &mut filter.any)
        .filter(|operand| key_of(operand).is_some())
        .collect()
}

fn all_filters<'q>(condition: &'q mut Condition, found: &mut Vec<&'q mut Filter>) {
    match condition {
        Condition::Filter(filter) => found.push(filter),
        Condition::Chain { condition, .. }
        | Condition::Has { condition, .. }
        | Condition::CanonicalChain { condition, .. }
        | Condition::Not(condition) => all_filters(condition, found),
        Condition::All(all) | Condition::Any(all) => all.iter_mut().for_each(|one| all_filters(one, found)),
        Condition::Ids(_)
        | Condition::LastUpdated { .. }
        | Condition::Compartment(_)
        | Condition::Words { .. } => {}
    }
}

fn key_of(operand: &Operand) -> Option<ResourceKey> {
    match operand {
        Operand::Reference { kinds, id } => match kinds.as_slice() {
            [kind] if is_sealable(Class::of(*kind)) => Some(ResourceKey::new(*kind, id.clone())),
            _ => None,
        },
        _ => None,
    }
}

impl Record {
    /// A reference to a sealed row that the caller may not know leads nowhere in what she reads, so it does in what she
    /// asks.
    async fn forget_hidden(&self, ctx: &Ctx, query: &mut Query) -> Result<(), Error> {
        if matches!(ctx.principal, access::Principal::System(_)) {
            return Ok(());
        }
        let keys: Vec<ResourceKey> = named(query).iter().filter_map(|operand| key_of(operand)).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let mut veil = self.veil(ctx).await?;
        let hidden = self.reading(move |tx| veil.hidden_among(tx, &keys.iter().collect::<Vec<_>>())).await?;
        for operand in named(query) {
            if key_of(operand).is_some_and(|key| hidden.contains(&key))
                && let Operand::Reference { kinds, .. } = operand
            {
                kinds.clear();
            }
        }
        Ok(())
    }

    /// Puts codes in the place of value sets (`:in`) and hierarchies (`:below`). Errors: `Denied` where the query asks about
    /// types of which the caller may see nothing at all; `Malformed` for a value set that
    /// is not known or has more than [MAX_CODES] codes.
    pub(crate) async fn prepare_query(&self, ctx: &Ctx, query: &mut Query) -> Result<(), Error> {
        super::reach::check(ctx, &self.params(), query)?;
        self.forget_hidden(ctx, query).await?;
        let params = self.params();
        let wanted: Vec<Operand> =
            all_open(query).iter().flat_map(|filter| filter.any.clone()).filter(is_open).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let terminology = self.terminology().clone();
        let codes = self
            .reading(move |tx| {
                let mut codes = Vec::with_capacity(wanted.len());
                for operand in wanted {
                    let own = match codes_of(&terminology, tx, &operand) {
                        // What is wrong is the query, not a resource.
                        Err(Error::Invalid(outcome)) => return Err(Error::Malformed(outcome)),
                        own => own?,
                    };
                    codes.push((operand, own));
                }
                Ok(codes)
            })
            .await?;
        for filter in all_open(query) {
            let mut any = Vec::new();
            for operand in std::mem::take(&mut filter.any) {
                match codes.iter().find(|(open, _)| *open == operand) {
                    Some((_, codes)) => {
                        any.extend(codes.iter().map(|code| for_param(&params, filter.param, code)))
                    }
                    None => any.push(operand),
                }
            }
            filter.any = any;
        }
        Ok(())
    }
}

/// Plain codes are indexed without the system that their binding implies.
fn for_param(params: &Params, param: ParamId, operand: &Operand) -> Operand {
    match operand {
        Operand::Token { code, .. } if params.by_id(param).is_some_and(|p| !params.has_system(p)) => {
            Operand::Token { system: None, code: code.clone() }
        }
        other => other.clone(),
    }
}

fn codes_of(
    terminology: &crate::terminology::Terminology,
    tx: &mut dyn Tx,
    operand: &Operand,
) -> Result<Vec<Operand>, Error> {
    let codes: Vec<(String, String)> = match operand {
        Operand::ValueSet(url) => {
            let mut request = Expand::new(Source::Url(url.clone()));
            request.count = Some(MAX_CODES + 1);
            let expansion = terminology.expand(tx, &request)?;
            expansion.contains.into_iter().map(|one| (one.system, one.code)).collect()
        }
        Operand::Hierarchy { system, code, up } => {
            let codes = terminology.hierarchy(tx, system, code, *up, MAX_CODES + 1)?;
            codes.into_iter().map(|one| (one.system, one.code)).collect()
        }
        _ => Vec::new(),
    };
    if codes.len() > MAX_CODES {
        let text = format!(
            "It stands for more than {MAX_CODES} codes; name a smaller value set or a narrower code."
        );
        return Err(Error::Malformed(Outcome::one(IssueCode::TooCostly, "", text)));
    }
    let operand = |(system, code)| Operand::Token { system: Some(system), code: Some(code) };
    Ok(codes.into_iter().map(operand).collect())
}
