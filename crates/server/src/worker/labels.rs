//! Labels of stored rows after the rules of sealing changed.

use super::{Failure, Registry};
use std::time::Duration;

/// When nothing wakes it.
const EVERY: Duration = Duration::from_secs(5);
/// Between two steps: the walk may take a part of the machine, not all of it.
const PAUSE: Duration = Duration::from_millis(20);

pub fn register(registry: &mut Registry) {
    registry.poll("labels", EVERY, |app| async move {
        let done = app.record.label_rows().await.map_err(Failure::from)?;
        if done > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(done)
    });
}
