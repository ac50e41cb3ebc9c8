//! Batch and transaction bundles.

use crate::{Error, Record};
use access::Ctx;
use fhir::Resource;

/// Most entries one bundle may have.
pub const MAX_ENTRIES: usize = 10_000;

impl Record {
    /// Runs a `batch` or `transaction` Bundle and returns the response Bundle. `base_url` is the server's own FHIR
    /// base without a trailing slash, e.g. `https://clinic.example/fhir/R4`.
    /// Errors: a transaction fails as a whole with the error of its first bad entry (issues carry
    /// `Bundle.entry[n]…` expressions); a batch answers each entry by itself and fails only as a whole when the
    /// Bundle itself is wrong.
    pub async fn bundle(&self, ctx: &Ctx, bundle: Resource, base_url: &str) -> Result<Resource, Error> {
        let _ = (ctx, bundle, base_url);
        Err(Error::Internal("not built".into()))
    }
}
