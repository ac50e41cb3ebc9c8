//! Reminders of booked visits.

use super::Registry;
use crate::api::directory::clinic;

pub fn register(registry: &mut Registry) {
    registry.job(care::appointment::REMINDER_QUEUE, |app, job| async move {
        care::appointment::remind(&app.record, &clinic(&app), job.id, &job.data).await?;
        Ok(())
    });
}
