//! A thread that reads.

use super::transaction::{Counters, SqliteTx};
use crate::engine::queue::Queue;
use crate::engine::task::Task;
use crate::engine::terms::Terms;
use crate::keys::Sealing;
use crate::{Result, Tx as _};
use rusqlite::Connection;
use std::collections::HashMap;

/// Reads that one reader runs on one snapshot. Each commit empties the readers' page caches, so neighbours share.
const MAX_READ_BATCH: usize = 4;

/// `connect` gives it another connection when its own cannot read the file any more.
pub(super) fn reader(
    mut connection: Connection,
    connect: &dyn Fn() -> Result<Connection>,
    queue: &Queue<Task>,
    terms: &Terms,
    sealing: &mut Sealing,
    readers: usize,
) {
    let mut counters = Counters::default();
    let mut texts = HashMap::new();
    while let Some(first) = queue.pop() {
        // What waited before the snapshot may be answered from it; a fair share, so that the other readers have work.
        let mut batch = vec![first];
        while batch.len() < MAX_READ_BATCH.min(1 + queue.len() / readers) {
            let Some(task) = queue.try_pop() else { break };
            batch.push(task);
        }
        let mut tx = SqliteTx::new(&connection, &mut counters, terms, &mut texts, sealing);
        tx.usual = Some(crate::READ_LIMIT);
        let mut begun = tx.execute("BEGIN", &[]);
        for task in batch {
            let Task::Read(task) = task else { continue };
            if begun.is_ok() && connection.is_autocommit() {
                // An error of the engine has ended the snapshot under the task before.
                begun = tx.execute("BEGIN", &[]);
            }
            match &begun {
                Ok(_) => {
                    tx.limit = (tx.usual, None);
                    task.run(&mut tx);
                }
                Err(error) => task.fail(error.clone()),
            }
        }
        if !connection.is_autocommit()
            && let Err(error) = tx.execute("ROLLBACK", &[])
        {
            tracing::error!(%error, "a read transaction did not end");
        }
        if tx.is_lost {
            match connect() {
                Ok(new) => connection = new,
                Err(error) => tracing::error!(%error, "the database cannot be read; it is tried again"),
            }
        }
    }
}
