//! Authorized, audited reads.

use crate::{Error, Record};
use access::Ctx;
use fhir::{Resource, ResourceKey};
use jiff::Timestamp;
use std::sync::Arc;

/// One version as stored: the JSON can go out as it is.
#[derive(Debug, Clone)]
pub struct Stored {
    pub key: ResourceKey,
    pub version: u32,
    pub last_updated: Timestamp,
    /// The resource as JSON, UTF-8, with `id` and `meta`.
    pub content: Arc<[u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Created,
    Updated,
    Deleted,
}

#[derive(Debug, Clone)]
pub struct HistoryEntry {
    pub version: u32,
    pub last_updated: Timestamp,
    pub method: Method,
    /// `None` for a deletion.
    pub content: Option<Arc<[u8]>>,
}

/// Newest first.
#[derive(Debug, Clone)]
pub struct HistoryPage {
    pub key: ResourceKey,
    pub entries: Vec<HistoryEntry>,
    /// Cursor of the next page.
    pub next: Option<String>,
}

#[derive(Debug, Clone)]
pub struct SearchPage {
    pub items: Vec<Stored>,
    pub next: Option<String>,
    /// Only when the query asked for it.
    pub total: Option<u64>,
}

/// What front desk and clinicians see of a patient that is not (yet) in their care.
#[derive(Debug, Clone, PartialEq)]
pub struct DirectoryRow {
    /// The parsed Patient; callers show name, sex, birth date, record number and phone, nothing else.
    pub patient: Arc<Resource>,
    pub version: u32,
    /// Whether the caller may open the chart.
    pub in_reach: bool,
}

impl Stored {
    /// Errors: [Error::Internal] if the database holds something that is no resource.
    pub fn parse(&self) -> Result<Resource, Error> {
        Resource::parse(&self.content).map_err(|o| Error::Internal(format!("stored {}: {o}", self.key)))
    }
}

impl Record {
    /// The current version. Errors: `NotFound` (also where its existence is private), `Denied`, `Gone`, `Busy`.
    pub async fn read(&self, ctx: &Ctx, key: &ResourceKey) -> Result<Stored, Error> {
        let _ = (ctx, key);
        Err(Error::Internal("not built".into()))
    }
    /// One version; rights are checked on that version's content as well as on the current one.
    pub async fn vread(&self, ctx: &Ctx, key: &ResourceKey, version: u32) -> Result<Stored, Error> {
        let _ = (ctx, key, version);
        Err(Error::Internal("not built".into()))
    }
    /// Versions, newest first. `count` is cut to [fhir::search::MAX_PAGE].
    pub async fn history(
        &self,
        ctx: &Ctx,
        key: &ResourceKey,
        cursor: Option<&str>,
        count: u32,
    ) -> Result<HistoryPage, Error> {
        let _ = (ctx, key, cursor, count);
        Err(Error::Internal("not built".into()))
    }
    /// Errors: `Denied` if the caller may see no resource of the type at all; `Malformed` for a bad cursor.
    pub async fn search(&self, ctx: &Ctx, query: fhir::search::Query) -> Result<SearchPage, Error> {
        let _ = (ctx, query);
        Err(Error::Internal("not built".into()))
    }

    /// For planners: the current version parsed, `None` if it does not exist, is deleted or not readable for `ctx`.
    pub async fn load(&self, ctx: &Ctx, key: &ResourceKey) -> Result<Option<(Resource, u32)>, Error> {
        let _ = (ctx, key);
        Err(Error::Internal("not built".into()))
    }
    /// For planners: a search by name and value as in a URL, e.g.
    /// `find(ctx, "Appointment", &[("patient", "Patient/1"), ("_sort", "-date")], 20)`; rows readable for `ctx`.
    /// Errors: `Malformed` for an unknown parameter.
    pub async fn find(
        &self,
        ctx: &Ctx,
        kind: &str,
        parameters: &[(&str, &str)],
        limit: u32,
    ) -> Result<Vec<(Resource, u32)>, Error> {
        let _ = (ctx, kind, parameters, limit);
        Err(Error::Internal("not built".into()))
    }
    /// Patients by name, phone or record number, for front desk and clinicians; audited as a query.
    /// Returns the rows and the cursor of the next page.
    pub async fn directory(
        &self,
        ctx: &Ctx,
        text: &str,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<(Vec<DirectoryRow>, Option<String>), Error> {
        let _ = (ctx, text, limit, cursor);
        Err(Error::Internal("not built".into()))
    }
    /// Reads the product's own tables (ledger, payments, jobs, claims, …) in one read transaction. Not for resources,
    /// accounts or audit; the caller has checked the right (e.g. [access::policy::may]).
    pub async fn store_read<T, F>(&self, read: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn store::Tx) -> Result<T, store::Error> + Send + 'static,
    {
        let _ = read;
        Err(Error::Internal("not built".into()))
    }
}
