//! The index follows the server's own search parameters, and an extractor that changed with an upgrade.

use super::{Failure, Registry};
use std::time::Duration;

/// When nothing wakes it.
const EVERY: Duration = Duration::from_secs(2);
/// Between two steps: the walk may take a part of the machine, not all of it.
const PAUSE: Duration = Duration::from_millis(10);

pub fn register(registry: &mut Registry) {
    registry.poll("search-parameters", EVERY, |app| async move {
        let done = app.record.index_search_parameters().await.map_err(Failure::from)?;
        if done > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(done)
    });
}
