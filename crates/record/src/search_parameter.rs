//! A server's own search parameters: what stored SearchParameters define, and the index that follows in the background.
//!
//! Writing an active SearchParameter gives each of its types a number. From then on every write indexes by it, while a
//! walk through the older resources catches up, a small transaction at a time; only then can queries use it. A definition
//! that changes is a new number, and the old one's values are removed by a walk of the same kind.
//!
//! **Invariant:** a query uses a parameter only if every resource is indexed by it.
//! **Invariant:** nothing waits for a walk: its transactions are short, and searches and writes go on with what they have.

use crate::write::entries::{cut, entries_of, stored_entries};
use crate::{Error, Record, Rule};
use access::policy::{self, Action};
use access::{Ctx, Predicate};
use fhir::search::{Definition, EXTRACTOR_VERSION, Own, Params, State};
use fhir::{ParamId, Resource, ResourceKey, TypeId};
use jiff::{SignedDuration, Timestamp};
use parking_lot::RwLock;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use store::resource::Step;
use store::search_parameter::{self as stored, Parameter};
use store::{Dialect, Tx, setting};

/// One step of a walk: a few milliseconds of the one writer, or one large resource.
const STEP: Step = Step { resources: 100, bytes: 1024 * 1024 };
/// How often other servers' changes are looked for.
const REFRESH: Duration = Duration::from_millis(700);
/// Until then every other server writes by the new parameter: the refresh, and writes under way.
const HEAD_START: SignedDuration = SignedDuration::from_secs(3);
/// The extractor that made the index.
const EXTRACTOR: &str = "search.extractor";
/// Where the walk that makes it anew is.
const REBUILD: &str = "search.rebuild";
/// When to ask again for what needs the whole index; the walk of a large record takes minutes.
const REBUILD_RETRY_S: u32 = 30;

/// What is in force in this process.
#[derive(Debug, Default)]
pub(crate) struct Current {
    /// The generation of the table, and what it came to.
    loaded: RwLock<(i64, Params)>,
}

/// How far one parameter has come.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Id of the SearchParameter.
    pub resource: String,
    pub kind: TypeId,
    pub code: String,
    pub state: State,
    /// Resources looked at, of about `total`.
    pub done: i64,
    pub total: i64,
}

impl Record {
    /// The search parameters in force: R4's and those that stored SearchParameters define.
    pub fn params(&self) -> Params {
        self.inner.search_parameters.loaded.read().1.clone()
    }

    /// Reads the parameters anew if anything changed; at start, after a change, and again and again where several servers
    /// share a database. Errors: `Busy`, `Internal`.
    pub async fn load_search_parameters(&self) -> Result<(), Error> {
        let known = self.inner.search_parameters.loaded.read().0;
        let (found, is_new) = self
            .reading(move |tx| {
                let generation = stored::generation(tx)?;
                let found = if generation == known { None } else { Some((generation, stored::all(tx)?)) };
                Ok((found, setting::get(tx, EXTRACTOR)?.is_none()))
            })
            .await?;
        if is_new {
            self.begin_index().await?;
        }
        let Some((generation, parameters)) = found else { return Ok(()) };
        let params = Params::with(&own(&parameters));
        let mut loaded = self.inner.search_parameters.loaded.write();
        // Another task may have read more meanwhile.
        if generation > loaded.0 {
            *loaded = (generation, params);
        }
        Ok(())
    }

    /// As [Record::load_search_parameters] after a commit, which an error must not undo: the next look repeats it.
    pub(crate) async fn reload_search_parameters(&self) {
        if let Err(error) = self.load_search_parameters().await {
            tracing::warn!(%error, "search parameters cannot be read");
        }
    }

    /// Looks for other servers' changes until the record is gone; returns at once where there are no others.
    pub fn follow_search_parameters(&self) -> impl Future<Output = ()> + Send + 'static {
        let weak = Arc::downgrade(&self.inner);
        let alone = self.inner.store.dialect() == Dialect::Sqlite;
        async move {
            if alone {
                return;
            }
            loop {
                tokio::time::sleep(REFRESH).await;
                let Some(record) = weak.upgrade().map(|inner| Record { inner }) else { return };
                if let Err(error) = record.load_search_parameters().await {
                    tracing::debug!(%error, "search parameters cannot be looked at");
                }
            }
        }
    }

    /// The state of the server's own parameters, by resource and type. Errors: `Denied` for callers who may not search
    /// SearchParameters; `Busy`, `Internal`.
    pub async fn search_parameters(&self, ctx: &Ctx) -> Result<Vec<Progress>, Error> {
        if policy::predicate(ctx, Action::Search, TypeId::SEARCH_PARAMETER) == Predicate::Nothing {
            return Err(self.denied(ctx, "search", "SearchParameter").await);
        }
        let all = self.reading(|tx| Ok(stored::all(tx)?)).await?;
        Ok(all
            .into_iter()
            .map(|p| Progress {
                resource: p.resource,
                kind: p.kind,
                code: p.code,
                state: p.state,
                done: p.done,
                total: p.total,
            })
            .collect())
    }

    /// One step of the background work: of a walk for a parameter, of the one that makes the index anew after an upgrade
    /// whose extractor gives other values, or of the one that seals contents from before there were keys. Returns how many resources it did, or 1 for a walk that ended; 0 if there is
    /// nothing to do. Any number of servers may call it. Errors: `Busy`, `Internal`.
    pub async fn index_search_parameters(&self) -> Result<usize, Error> {
        let (due, extractor) =
            self.reading(|tx| Ok((stored::due(tx)?, setting::get(tx, EXTRACTOR)?))).await?;
        if extractor != Some(json!(EXTRACTOR_VERSION)) {
            return self.rebuild().await;
        }
        // Nothing to index: then what an older program stored is sealed.
        let Some(param) = due else { return self.seal_contents().await };
        self.load_search_parameters().await?;
        let record = self.clone();
        let (done, ended) = self.writing(move |tx| step(tx, &record.params(), param)).await?;
        if ended {
            self.load_search_parameters().await?;
        }
        Ok(done.max(usize::from(ended)))
    }

    /// In a database without any resource the index is complete: no walk is needed before it can be relied on.
    async fn begin_index(&self) -> Result<(), Error> {
        let one = Step { resources: 1, bytes: 1 };
        self.writing(move |tx| {
            let (_, last) = store::resource::complete_index(tx, 0, one, &mut |_| None)?;
            if last.is_none() && setting::get(tx, EXTRACTOR)?.is_none() {
                setting::put(tx, EXTRACTOR, &json!(EXTRACTOR_VERSION))?;
            }
            Ok(())
        })
        .await
    }

    /// Whether the index holds everything that the extractor of this program gives, also of what was stored before an
    /// upgrade. Errors: `NotReady` while the walk is under way; `Busy`.
    pub(crate) async fn needs_whole_index(&self) -> Result<(), Error> {
        let extractor = self.reading(|tx| Ok(setting::get(tx, EXTRACTOR)?)).await?;
        if extractor == Some(json!(EXTRACTOR_VERSION)) {
            return Ok(());
        }
        Err(Error::NotReady {
            text: "After an upgrade the index is being completed; until then references to a patient may be missed, so \
                   records are neither merged nor taken apart. Try again in some minutes.",
            retry_after_s: REBUILD_RETRY_S,
        })
    }

    /// Adds what the extractor of this program gives and the index lacks. What an older one gave and this one does not
    /// is removed when its resource is written again.
    async fn rebuild(&self) -> Result<usize, Error> {
        let record = self.clone();
        self.writing(move |tx| {
            let state = setting::get(tx, REBUILD)?.unwrap_or_default();
            let begun = state.get("version") == Some(&json!(EXTRACTOR_VERSION));
            let after = if begun { state.get("after").and_then(Value::as_i64).unwrap_or(0) } else { 0 };
            let params = record.params();
            let (done, last) = store::resource::complete_index(tx, after, STEP, &mut |row| {
                let resource = Resource::parse(&row.content).ok()?;
                Some(entries_of(&params, &resource))
            })?;
            match last {
                Some(last) => {
                    setting::put(tx, REBUILD, &json!({"version": EXTRACTOR_VERSION, "after": last}))?;
                    Ok(done.max(1))
                }
                None => {
                    setting::put(tx, EXTRACTOR, &json!(EXTRACTOR_VERSION))?;
                    Ok(1)
                }
            }
        })
        .await
    }
}

fn own(parameters: &[Parameter]) -> Vec<Own> {
    let one = |p: &Parameter| {
        Some(Own {
            id: p.param,
            kind: p.kind,
            state: p.state,
            definition: Arc::new(Definition::from_json(&p.definition)?),
        })
    };
    parameters.iter().filter_map(one).collect()
}

/// What a write of a SearchParameter changes; nothing for other types. `resource` is `None` for a deletion.
/// Errors: `Duplicate` if another SearchParameter has the code for one of the types.
pub(crate) fn after_write(
    tx: &mut dyn Tx,
    key: &ResourceKey,
    resource: Option<&Resource>,
    now: Timestamp,
) -> Result<(), Error> {
    if key.kind != TypeId::SEARCH_PARAMETER {
        return Ok(());
    }
    let all = stored::all(tx)?;
    // Of the others: what clashes with itself is a change.
    let others: Vec<Parameter> = all.iter().filter(|p| p.resource != key.id).cloned().collect();
    let definition = match resource {
        Some(resource) => Definition::read(&Params::with(&own(&others)), resource).map_err(Error::Invalid)?,
        None => None,
    };
    let start = match tx.dialect() {
        Dialect::Sqlite => tx.now()?,
        Dialect::Postgres => tx.now()?.checked_add(HEAD_START).unwrap_or(now),
    };
    let json = definition.as_ref().map(Definition::to_json);
    let mine = all.iter().filter(|p| p.resource == key.id && p.state != State::Dropping);
    let mut kept: Vec<TypeId> = Vec::new();
    for parameter in mine {
        let same = definition.as_ref().is_some_and(|d| d.kinds.contains(&parameter.kind))
            && json.as_ref().is_some_and(|j| works_alike(j, &parameter.definition));
        if same {
            kept.push(parameter.kind);
        } else {
            stored::drop(tx, parameter.param, start)?;
        }
    }
    let (Some(definition), Some(json)) = (definition, json) else { return Ok(()) };
    for kind in definition.kinds.iter().filter(|kind| !kept.contains(kind)) {
        let new =
            stored::New { resource: &key.id, kind: *kind, code: &definition.code, definition: &json, start };
        if stored::insert(tx, &new)?.is_none() {
            let text = format!("{} has a search parameter `{}` already.", kind.name(), definition.code);
            return Err(Error::Duplicate(Rule::new("code-taken", text).at("/code")));
        }
    }
    Ok(())
}

/// Whether the index is the same for both; more or fewer types change nothing for those that stay.
fn works_alike(a: &Value, b: &Value) -> bool {
    ["url", "code", "type", "target", "expression", "component"].iter().all(|key| a.get(key) == b.get(key))
}

/// One step of a parameter's walk: how many resources, and whether it ended.
fn step(tx: &mut dyn Tx, params: &Params, param: ParamId) -> Result<(usize, bool), Error> {
    let Some(parameter) = stored::lock_one(tx, param)?.filter(|p| p.state != State::Ready) else {
        return Ok((0, false));
    };
    // The parameters of this process may be older than the row; then it is this step's turn later.
    let known = params.by_id(param).is_some();
    if !known && parameter.state == State::Building {
        // Defined by something that works no longer, e.g. written by another version of the program.
        tracing::warn!(code = %parameter.code, "a search parameter cannot be indexed by this program");
        let now = tx.now()?;
        stored::drop(tx, param, now)?;
        return Ok((0, true));
    }
    let batch = stored::batch(tx, parameter.kind, parameter.after, STEP)?;
    let done = batch.rows.len();
    for row in &batch.rows {
        let Ok(resource) = Resource::parse(&row.content) else { continue };
        let (mut old, mut new) = (stored_entries(params, &resource), entries_of(params, &resource));
        match parameter.state {
            State::Dropping => new.retain(|entry| entry.param != param),
            _ => {
                old.retain(|entry| entry.param != param);
                cut(&mut new, param);
            }
        }
        stored::reindex(tx, row, &old, &new)?;
    }
    if batch.last {
        stored::finish(tx, &parameter)?;
        return Ok((done, true));
    }
    stored::advance(tx, &parameter, batch.end, done as i64)?;
    // A step that met nothing but what was deleted meanwhile is a step.
    Ok((done.max(1), false))
}
