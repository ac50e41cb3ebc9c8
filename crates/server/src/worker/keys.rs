//! The tenant key is changed when it is time.

use super::{Failure, Registry};
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(60 * 60);

pub fn register(registry: &mut Registry) {
    registry.poll("keys", EVERY, |app| async move {
        let keys = app.record.rotate_tenant_key_when_due().await.map_err(Failure::from)?;
        if keys > 0 {
            tracing::info!(keys, "the tenant key was changed");
        }
        Ok(0)
    });
}
