//! The words of resources, for `_text` and `_content`: an index behind the changes.

use crate::keys::blind;
use crate::resource::{self, Stored};
use crate::{Error, Result, Tx, params};
use fhir::TypeId;
use std::collections::BTreeMap;

/// Where a word stands.
const TEXT: &str = "word.text";
/// Words of which those with a beginning are looked for.
const MAX_ALIKE: usize = 100;
/// Words of one resource beyond which no more are kept.
const MAX_WORDS: usize = 5_000;

/// What the index is to hold of one version.
#[derive(Debug, Clone)]
pub struct Indexed {
    pub rid: i64,
    pub kind: TypeId,
    /// Words of all its text, folded; empty for a deleted resource.
    pub content: Vec<String>,
    /// Those of its narrative.
    pub narrative: Vec<String>,
}

/// What the follower has to do next.
#[derive(Debug, Clone)]
pub struct Batch {
    from: i64,
    until: i64,
    pub resources: Vec<Stored>,
}

fn position(tx: &mut dyn Tx, lock: &str) -> Result<i64> {
    let sql = format!("SELECT seq FROM word_follower WHERE id = 1{lock}");
    tx.one(&sql, &[], |row| row.int(0))?.ok_or_else(|| Error::Corrupt("word follower".into()))
}

/// The resources of the next `limit` changes. On PostgreSQL call it in [crate::Store::write] (see [resource::changes]).
pub fn next(tx: &mut dyn Tx, limit: u32) -> Result<Batch> {
    let from = position(tx, "")?;
    let changes = resource::changes(tx, from, limit)?;
    let until = changes.last().map_or(from, |change| change.seq);
    let mut resources = Vec::with_capacity(changes.len());
    for change in changes {
        resources.extend(resource::load(tx, &change.key)?);
    }
    Ok(Batch { from, until, resources })
}

/// Writes the words of a batch. Returns `false`, and writes nothing, if another follower was faster.
pub fn put(tx: &mut dyn Tx, batch: &Batch, words: &[Indexed]) -> Result<bool> {
    let lock = tx.dialect().for_update();
    if position(tx, lock)? != batch.from {
        return Ok(false);
    }
    let mut numbers: BTreeMap<&str, i64> = BTreeMap::new();
    // By word: rows of one word lie together.
    let mut gone: Vec<(i64, i64, i64)> = Vec::new();
    let mut new: Vec<(i64, i64, i64, i64)> = Vec::new();
    for row in words {
        let mut own: BTreeMap<i64, i64> = BTreeMap::new();
        for word in row.content.iter().chain(&row.narrative).take(MAX_WORDS) {
            let number = match numbers.get(word.as_str()) {
                Some(number) => *number,
                None => {
                    let number = number_of(tx, word)?;
                    numbers.insert(word, number);
                    number
                }
            };
            let narrative = i64::from(row.narrative.binary_search(word).is_ok());
            own.insert(number, narrative);
        }
        let list =
            own.iter().flat_map(|(n, narrative)| (((*n as u32) << 1) | *narrative as u32).to_be_bytes());
        let list: Vec<u8> = list.collect();
        let before = tx.one("SELECT list FROM word_list WHERE rid = $1", params![row.rid], |r| {
            Ok(r.bytes(0)?.to_vec())
        })?;
        if before.as_deref().unwrap_or_default() == list {
            continue;
        }
        let kind = i64::from(row.kind.0);
        for item in before.as_deref().unwrap_or_default().chunks_exact(4) {
            let item = item.try_into().map_or(0, u32::from_be_bytes);
            let (number, narrative) = (i64::from(item >> 1), i64::from(item & 1));
            if own.get(&number) == Some(&narrative) {
                own.remove(&number);
            } else {
                gone.push((number, kind, row.rid));
            }
        }
        new.extend(own.into_iter().map(|(number, narrative)| (number, kind, row.rid, narrative)));
        tx.execute(
            "INSERT INTO word_list (rid, list) VALUES ($1, $2) ON CONFLICT (rid) DO UPDATE SET list = excluded.list",
            params![row.rid, &list],
        )?;
    }
    gone.sort_unstable();
    new.sort_unstable();
    for (word, kind, rid) in gone {
        tx.execute(
            "DELETE FROM word_row WHERE word = $1 AND type_id = $2 AND rid = $3",
            params![word, kind, rid],
        )?;
    }
    let mut values = Vec::with_capacity(new.len() * 4);
    for (word, kind, rid, narrative) in new {
        values.extend_from_slice(params![word, kind, rid, narrative]);
    }
    tx.insert_many(
        "INSERT INTO word_row (word, type_id, rid, narrative)",
        "ON CONFLICT DO NOTHING",
        4,
        &values,
    )?;
    tx.execute("UPDATE word_follower SET seq = $1 WHERE id = 1", params![batch.until])?;
    Ok(true)
}

/// The wanted words as they stand in the table, where they are encrypted: a word that stands for a beginning (`*` at its
/// end) becomes those that begin so, at most [MAX_ALIKE] of each list.
pub(crate) fn encrypted(tx: &mut dyn Tx, any: &[Vec<String>]) -> Result<Vec<Vec<String>>> {
    let mut known: Option<Vec<String>> = None;
    let mut all = Vec::new();
    for words in any {
        let mut lists = vec![Vec::with_capacity(words.len())];
        for word in words {
            let Some(start) = word.strip_suffix('*') else {
                let word = blind::value(tx, TEXT, word)?.into_owned();
                lists.iter_mut().for_each(|list| list.push(word.clone()));
                continue;
            };
            if known.is_none() {
                let vault = tx.sealing().vault.clone();
                known = Some(
                    tx.all("SELECT text FROM word", &[], |row| blind::read(&vault, TEXT, row.text(0)?))?,
                );
            }
            let mut alike: Vec<&String> =
                known.iter().flatten().filter(|text| text.starts_with(start)).collect();
            alike.sort_unstable();
            let mut next = Vec::new();
            for list in &lists {
                for text in alike.iter().take(MAX_ALIKE / lists.len().max(1)) {
                    let mut list = list.clone();
                    list.push(blind::value(tx, TEXT, text)?.into_owned());
                    next.push(list);
                }
            }
            lists = next;
        }
        all.extend(lists);
    }
    Ok(all)
}

fn number_of(tx: &mut dyn Tx, word: &str) -> Result<i64> {
    let word = &*blind::value(tx, TEXT, word)?;
    let find = "SELECT id FROM word WHERE text = $1";
    if let Some(number) = tx.one(find, params![word], |row| row.int(0))? {
        return Ok(number);
    }
    tx.execute("INSERT INTO word (text) VALUES ($1) ON CONFLICT DO NOTHING", params![word])?;
    tx.one(find, params![word], |row| row.int(0))?.ok_or_else(|| Error::Corrupt("word".into()))
}

/// About how many changes the index does not know yet; 0 if it knows all.
pub fn behind(tx: &mut dyn Tx) -> Result<u64> {
    let position = position(tx, "")?;
    let mut last = 0;
    for kind in crate::history::kinds(tx)? {
        let sql = "SELECT max(seq) FROM resource WHERE type_id = $1";
        let own = tx.one(sql, params![kind.0], |row| row.opt_int(0))?.flatten();
        last = last.max(own.unwrap_or(0));
    }
    Ok(u64::try_from(last - position).unwrap_or(0))
}

/// Begins anew, after the index was emptied or the words are read in another way.
pub fn restart(tx: &mut dyn Tx) -> Result<()> {
    for table in ["word_row", "word_list"] {
        tx.execute(&format!("DELETE FROM {table}"), &[])?;
    }
    tx.execute("UPDATE word_follower SET seq = 0 WHERE id = 1", &[])?;
    Ok(())
}
