//! What people may ask about their own data, and the desk where it is answered.

mod copy;
mod desk;
mod erase;
mod request;
mod shown;

use super::ApiRouter;
use record::Error;
use uuid::Uuid;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .merge(request::routes())
        .merge(desk::routes())
        .merge(erase::routes())
        .merge(copy::routes())
}

fn parse(id: &str) -> Result<Uuid, Error> {
    Uuid::try_parse(id).map_err(|_| Error::NotFound)
}
