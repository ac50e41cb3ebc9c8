//! The index of `_text` and `_content`, behind the changes.

use super::{Failure, Registry};
use std::time::Duration;

/// When nothing wakes it.
const EVERY: Duration = Duration::from_secs(5);
/// Between two batches of a long way to catch up: the index may take a few percent of the machine, not more.
const PAUSE: Duration = Duration::from_millis(60);

pub fn register(registry: &mut Registry) {
    registry.poll("words", EVERY, |app| async move {
        let done = app.record.index_words().await.map_err(Failure::from)?;
        if done > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(done)
    });
}
