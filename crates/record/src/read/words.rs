//! The follower that keeps the words of resources for `_text` and `_content`.

use crate::{Error, Record};
use fhir::Resource;
use fhir::search::words;
use store::word::{self, Indexed};

/// Changes of one batch: a few milliseconds of the one writer.
const BATCH: u32 = 64;

impl Record {
    /// Adds the words of the next changes to the index of `_text` and `_content`; returns how many changes were done, 0
    /// when it knows all. Call it again until then, with pauses: it takes part in the one queue of writes.
    /// Errors: `Busy`, `Internal`.
    pub async fn index_words(&self) -> Result<usize, Error> {
        let batch = match self.store().dialect() {
            store::Dialect::Sqlite => self.reading(|tx| Ok(word::next(tx, BATCH)?)).await?,
            store::Dialect::Postgres => self.writing(|tx| Ok(word::next(tx, BATCH)?)).await?,
        };
        if batch.resources.is_empty() {
            return Ok(0);
        }
        let rids: Vec<i64> = batch.resources.iter().map(|row| row.rid).collect();
        let veiled = self.reading(move |tx| Ok(store::sealed::veiled_among(tx, &rids)?)).await?;
        let (batch, indexed) = tokio::task::spawn_blocking(move || {
            let indexed: Vec<Indexed> =
                batch.resources.iter().map(|row| indexed(row, veiled.contains(&row.rid))).collect();
            (batch, indexed)
        })
        .await
        .map_err(|e| Error::Internal(e.to_string()))?;
        let count = batch.resources.len();
        let put = self.writing(move |tx| Ok(word::put(tx, &batch, &indexed)?)).await?;
        // Another server did it.
        Ok(if put { count } else { 1 })
    }

    /// About how many changes `_text` and `_content` do not see yet. Errors: `Busy`, `Internal`.
    pub async fn words_behind(&self) -> Result<u64, Error> {
        self.reading(|tx| Ok(word::behind(tx)?)).await
    }
}

/// Of a row of which some see less than others no word is kept: nothing tells whose it is.
fn indexed(row: &store::resource::Stored, veiled: bool) -> Indexed {
    let mut indexed =
        Indexed { rid: row.rid, kind: row.key.kind, content: Vec::new(), narrative: Vec::new() };
    // What is stored parses; if it ever did not, searching its words would be the least of the troubles.
    if !row.deleted
        && !veiled
        && let Ok(resource) = Resource::parse(&row.content)
    {
        indexed.content = words(&resource, true);
        indexed.narrative = words(&resource, false);
    }
    indexed
}
