//! `_include` and `_revinclude`: rows that go with a page.

use super::builder::Values;
use super::check::{Subject, padded as list, reference};
use super::rights::Rights;
use super::wanted::{Scope, Wanted};
use super::{BUDGET, unlimited};
use crate::ids::{decode_key, encode_id, encode_key};
use crate::index::param_number;
use crate::resource::{COLUMNS, Stored, more_patients, read_stored};
use crate::{Result, Tx};
use fhir::definitions::{ParamType, param};
use fhir::search::Include;
use fhir::{ParamId, ResourceKey, TypeId};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashSet};

/// Included rows of one page.
pub const MAX_INCLUDED: usize = 1_000;
/// Rows that one statement starts from.
const CHUNK: usize = 256;
/// Links followed one after the other; each step may be a large list, so there is an end before [MAX_INCLUDED] as well.
const MAX_STEPS: usize = 32;

/// What goes with a page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Included {
    /// Each once, and none that is on the page.
    pub rows: Vec<Stored>,
    /// There were more.
    pub cut: bool,
}

/// The rows that `includes` ask for beside `page`; only those that `rights` allow. At most [MAX_INCLUDED]. Errors:
/// [crate::Error::TooCostly].
pub fn included(
    tx: &mut dyn Tx,
    page: &[Stored],
    includes: &[Include],
    rights: &Rights,
    now: Timestamp,
) -> Result<Included> {
    if page.is_empty() || includes.is_empty() {
        return Ok(Included::default());
    }
    tx.limit(Some(BUDGET))?;
    let scope = Scope::new(rights, now.as_microsecond(), tx.dialect());
    let mut gathering = Gathering {
        scope: &scope,
        seen: page.iter().map(|row| row.key.clone()).collect(),
        found: Included::default(),
    };
    let done = gathering.gather(tx, page, includes);
    unlimited(tx, done).map(|()| gathering.found)
}

/// A row that includes start from.
#[derive(Clone)]
struct Start {
    rid: i64,
    key: ResourceKey,
}

impl Start {
    fn of(row: &Stored) -> Start {
        Start { rid: row.rid, key: row.key.clone() }
    }
}

struct Gathering<'a> {
    scope: &'a Scope<'a>,
    seen: HashSet<ResourceKey>,
    found: Included,
}

impl Gathering<'_> {
    fn gather(&mut self, tx: &mut dyn Tx, page: &[Stored], includes: &[Include]) -> Result<()> {
        let mut starts: Vec<Start> = page.iter().map(Start::of).collect();
        for step in 0..MAX_STEPS {
            let before = self.found.rows.len();
            for include in includes.iter().filter(|include| step == 0 || include.iterate) {
                for chunk in starts.chunks(CHUNK) {
                    if include.reverse {
                        self.reverse(tx, chunk, include)?;
                    } else {
                        self.forward(tx, chunk, include)?;
                    }
                    if self.found.cut {
                        return Ok(());
                    }
                }
            }
            starts = self.found.rows[before..].iter().map(Start::of).collect();
            if starts.is_empty() {
                return Ok(());
            }
        }
        self.found.cut = includes.iter().any(|include| include.iterate);
        Ok(())
    }

    fn forward(&mut self, tx: &mut dyn Tx, starts: &[Start], include: &Include) -> Result<()> {
        let rids: Vec<i64> = starts
            .iter()
            .filter(|start| include.source.is_none_or(|kind| kind == start.key.kind))
            .map(|start| start.rid)
            .collect();
        if rids.is_empty() {
            return Ok(());
        }
        let mut values = Values::default();
        let list = list(&rids).into_iter().map(|rid| values.bind(rid)).collect::<Vec<_>>().join(", ");
        let of_param = |values: &mut Values, column: &str| match include.param {
            Some(param) => format!("{column} = {}", values.bind(param_number(param))),
            None => format!("{column} > 0"),
        };
        let param = of_param(&mut values, "l.param");
        let mut sql = format!("SELECT DISTINCT l.target FROM link l WHERE l.rid IN ({list}) AND {param}");
        if include.target.is_none_or(|kind| kind == TypeId::PATIENT) {
            let own = of_param(&mut values, "x.param").replacen("x.param = ", "", 1);
            let look_up = self.scope.dialect.look_up();
            let is_param = |target: &str| {
                if include.param.is_some() {
                    reference(target, "q.type_id", "q.sort_date_us", "q.rid", &own, look_up)
                } else {
                    reference(target, "q.type_id", "q.sort_date_us", "q.rid", "0", look_up)
                        .replace("x.param = 0", "x.param > 0")
                }
            };
            let (first, others) = (is_param("q.patient"), is_param("m.patient"));
            sql.push_str(&format!(
                " UNION SELECT q.patient FROM resource q WHERE q.rid IN ({list}) AND q.patient IS NOT NULL AND {first} \
                 UNION SELECT m.patient FROM resource q CROSS JOIN compartment m WHERE q.rid IN ({list}) \
                 AND q.more_patients > 0 AND m.rid = q.rid AND {others}"
            ));
        }
        let targets = tx.all(&sql, &values.params(), |row| decode_key(row.bytes(0)?))?;
        let mut by_kind: BTreeMap<TypeId, Vec<ResourceKey>> = BTreeMap::new();
        for key in targets {
            if include.target.is_none_or(|kind| kind == key.kind) && !self.seen.contains(&key) {
                by_kind.entry(key.kind).or_default().push(key);
            }
        }
        for (kind, keys) in by_kind {
            for keys in keys.chunks(CHUNK) {
                self.by_id(tx, kind, keys)?;
            }
        }
        match include.param {
            Some(param) => self.canonical(tx, &rids, param, include.target),
            None => Ok(()),
        }
    }

    fn by_id(&mut self, tx: &mut dyn Tx, kind: TypeId, keys: &[ResourceKey]) -> Result<()> {
        self.fetch(tx, kind, keys.len(), &mut |values| {
            let ids: Vec<&ResourceKey> = keys.iter().collect();
            let ids: Vec<String> = list(&ids).iter().map(|key| values.bind(encode_id(&key.id))).collect();
            ("resource r".to_owned(), format!("r.id IN ({})", ids.join(", ")))
        })
    }

    /// Targets by canonical: definitions with the `url` that a row names.
    fn canonical(
        &mut self,
        tx: &mut dyn Tx,
        rids: &[i64],
        own: ParamId,
        target: Option<TypeId>,
    ) -> Result<()> {
        let number = param_number(own);
        let any = tx.one("SELECT 1 FROM uri WHERE param = $1 LIMIT 1", &[number.into()], |_| Ok(()))?;
        if any.is_none() {
            return Ok(());
        }
        let mut values = Values::default();
        let number = values.bind(number);
        let rids = list(rids).into_iter().map(|rid| values.bind(rid)).collect::<Vec<_>>().join(", ");
        let limit = values.bind(MAX_INCLUDED as i64);
        let sql = format!(
            "SELECT DISTINCT value FROM uri WHERE param = {number} AND rid IN ({rids}) LIMIT {limit}"
        );
        let urls = tx.all(&sql, &values.params(), |row| row.string(0))?;
        if urls.is_empty() {
            return Ok(());
        }
        let kinds: Vec<TypeId> = target.map_or_else(|| TypeId::all().collect(), |kind| vec![kind]);
        for kind in kinds {
            let Some(url) = param(kind, "url").filter(|p| p.param_type == ParamType::Uri) else { continue };
            for urls in urls.chunks(CHUNK) {
                self.fetch(tx, kind, urls.len(), &mut |values| {
                    let number = values.bind(param_number(url.id));
                    let urls: Vec<&String> = urls.iter().collect();
                    let urls: Vec<String> = list(&urls).iter().map(|url| values.bind(url.as_str())).collect();
                    let urls = urls.join(", ");
                    (
                        "uri d CROSS JOIN resource r".to_owned(),
                        format!("d.param = {number} AND d.value IN ({urls}) AND r.rid = d.rid"),
                    )
                })?;
            }
        }
        Ok(())
    }

    fn reverse(&mut self, tx: &mut dyn Tx, starts: &[Start], include: &Include) -> Result<()> {
        let keys: Vec<Vec<u8>> = starts
            .iter()
            .filter(|start| include.target.is_none_or(|kind| kind == start.key.kind))
            .map(|start| encode_key(&start.key))
            .collect();
        if keys.is_empty() {
            return Ok(());
        }
        let kinds = match include.source {
            Some(kind) => vec![kind],
            None => {
                let mut values = Values::default();
                let keys = list(&keys).into_iter().map(|key| values.bind(key)).collect::<Vec<_>>().join(", ");
                let sql = format!(
                    "SELECT DISTINCT type_id FROM reference WHERE target IN ({keys}) AND param > 0 ORDER BY type_id"
                );
                tx.all(&sql, &values.params(), |row| Ok(TypeId(row.int(0)? as u16)))?
            }
        };
        for kind in kinds {
            self.fetch(tx, kind, usize::MAX, &mut |values| {
                let keys = list(&keys).into_iter().map(|key| values.bind(key)).collect::<Vec<_>>().join(", ");
                let type_id = values.bind(i64::from(kind.0));
                let param = match include.param {
                    Some(param) => format!("d.param = {}", values.bind(param_number(param))),
                    None => "d.param > 0".to_owned(),
                };
                let test =
                    format!("d.target IN ({keys}) AND d.type_id = {type_id} AND {param} AND r.rid = d.rid");
                ("reference d CROSS JOIN resource r".to_owned(), test)
            })?;
        }
        Ok(())
    }

    /// Adds the allowed rows of `resource r` that FROM and condition name; at most `expected` different ones.
    fn fetch(
        &mut self,
        tx: &mut dyn Tx,
        kind: TypeId,
        expected: usize,
        from: &mut dyn FnMut(&mut Values) -> (String, String),
    ) -> Result<()> {
        let wanted = Wanted::new(tx, self.scope, kind, &[])?;
        if self.found.cut || wanted.is_never() {
            return Ok(());
        }
        let mut values = Values::default();
        let (from, test) = from(&mut values);
        let type_id = values.bind(i64::from(kind.0));
        let rights = Subject::joined(self.scope, kind, "r").all_of(tx, &mut values, &wanted)?;
        // Those that are here already come again, and one more tells that there are more.
        let room = MAX_INCLUDED - self.found.rows.len() + self.seen.len() + 1;
        let limit = values.bind(expected.min(room).next_power_of_two() as i64);
        let sql = format!(
            "SELECT {COLUMNS} FROM (SELECT DISTINCT r.rid FROM {from} WHERE {test} AND r.type_id = {type_id} \
             AND r.deleted = 0 AND {rights} LIMIT {limit}) s CROSS JOIN resource r WHERE r.rid = s.rid"
        );
        for (mut row, more) in tx.all(&sql, &values.params(), read_stored)? {
            if row.deleted || !self.seen.insert(row.key.clone()) {
                continue;
            }
            if self.found.rows.len() >= MAX_INCLUDED {
                self.found.cut = true;
                return Ok(());
            }
            more_patients(tx, row.rid, more, &mut row.patients)?;
            self.found.rows.push(row);
        }
        Ok(())
    }
}
