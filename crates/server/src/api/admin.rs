//! People, audit, jobs, messages and the state of the system.

use super::ApiRouter;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
}
