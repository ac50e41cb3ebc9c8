//! `uzima terminology import`: published terminologies into the database, beside what runs.
//!
//! A version is loaded under a number of its own, and put in use in one transaction when it is whole; if the import is
//! stopped before, nothing has changed, and the next import removes what was left. Memory is needed for the codes of
//! the system, not for its texts: those wait in temporary files until their concept's turn comes.

mod archive;
mod detect;
mod load;
mod resources;
mod spool;

use crate::{Error, Record};
use access::{Capability, Ctx};
use archive::Archive;
use detect::Distribution;
use load::Loader;
use std::path::PathBuf;
use std::sync::Arc;
use store::terminology::{self, Entry, Kind, State};
use wire::terminology::Fault;

/// What to import.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub paths: Vec<PathBuf>,
    /// URL of the code system, where the files do not say it or say another.
    pub system: Option<String>,
    /// Its version, likewise.
    pub version: Option<String>,
    /// Reads and checks everything, writes nothing.
    pub dry_run: bool,
    /// Have the imported version be meant when none is named, also where another is now.
    pub use_it: bool,
}

/// What an import tells while it runs.
#[derive(Debug, Clone)]
pub enum Progress {
    /// A file is being read; `round` 1 finds the hierarchy, 2 everything else.
    Reading {
        file: String,
        round: u8,
        bytes: u64,
    },
    Concepts {
        system: String,
        count: u64,
    },
    /// So many rows will be written.
    Writing {
        rows: u64,
    },
    Written {
        rows: u64,
    },
    Indexing {
        keys: u64,
    },
    Indexed {
        keys: u64,
    },
    Resources {
        count: u64,
    },
}

/// What became of one code system, concept map or package.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loaded {
    /// e.g. `SNOMED CT`, `FHIR`.
    pub format: &'static str,
    pub url: String,
    pub version: String,
    pub concepts: u64,
    pub names: u64,
    pub properties: u64,
    pub members: u64,
    /// URL and number of mappings.
    pub maps: Vec<(String, u64)>,
    /// CodeSystem, ValueSet and ConceptMap resources taken, and those that were there already.
    pub resources: u64,
    pub unchanged: u64,
    /// What was refused, and why.
    pub refused: Vec<String>,
    pub warnings: Vec<String>,
}

/// Why nothing was imported. The text says in which file and line.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("{0}")]
    Fault(#[from] Fault),
    #[error("{file}: {text}")]
    File { file: String, text: String },
    #[error("{0}")]
    Refused(String),
    #[error("database: {0}")]
    Store(#[from] store::Error),
    #[error("{0}")]
    Record(Error),
}

impl From<Error> for ImportError {
    fn from(error: Error) -> ImportError {
        ImportError::Record(error)
    }
}

impl Record {
    /// Imports published terminologies. `ctx` must be the program itself or an administrator's.
    /// Errors: [ImportError]; a path that was imported before the one with the error stays.
    pub async fn import_terminology(
        &self,
        ctx: &Ctx,
        request: Request,
        progress: Arc<dyn Fn(Progress) + Send + Sync>,
    ) -> Result<Vec<Loaded>, ImportError> {
        if !access::policy::may(ctx, Capability::Import) {
            return Err(self.denied(ctx, "terminology-import", "").await.into());
        }
        let (record, ctx) = (self.clone(), ctx.clone());
        let runtime = tokio::runtime::Handle::current();
        let work = move || {
            record.sweep()?;
            let mut done = Vec::new();
            for path in &request.paths {
                let archive = Archive::open(path)?;
                let distributions = detect::distributions(&archive, &request)?;
                for distribution in distributions {
                    done.extend(record.import_one(
                        &ctx,
                        &archive,
                        &distribution,
                        &request,
                        &*progress,
                        &runtime,
                    )?);
                }
            }
            record.sweep()?;
            Ok(done)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) => Err(ImportError::Refused(format!("the import ended unexpectedly: {error}"))),
        }
    }

    fn import_one(
        &self,
        ctx: &Ctx,
        archive: &Archive,
        distribution: &Distribution,
        request: &Request,
        progress: &dyn Fn(Progress),
        runtime: &tokio::runtime::Handle,
    ) -> Result<Vec<Loaded>, ImportError> {
        let loader = Loader { record: self, progress, now: self.now() };
        match distribution {
            Distribution::Resources => resources::import(&loader, ctx, archive, request, runtime),
            other => Ok(vec![detect::load(&loader, archive, other, request)?]),
        }
    }

    /// Removes what stopped imports have left, and versions that are no longer in use. Blocks.
    fn sweep(&self) -> Result<(), ImportError> {
        let store = &self.inner.store;
        let entries = store.read_blocking(terminology::list)?;
        for entry in entries.into_iter().filter(|e| e.state != State::InUse) {
            while store.write_blocking(move |tx| terminology::remove_some(tx, entry.id))? {}
        }
        Ok(())
    }

    /// Every loaded code system and concept map. Errors: `Denied`; of the database.
    pub async fn loaded_terminologies(&self, ctx: &Ctx) -> Result<Vec<Entry>, Error> {
        if !access::policy::may(ctx, Capability::Import) {
            return Err(self.denied(ctx, "terminology-list", "").await);
        }
        self.reading(|tx| {
            let mut all = terminology::list(tx)?;
            all.retain(|e| e.state == State::InUse);
            Ok(all)
        })
        .await
    }

    /// Takes a loaded version out of use and removes it; without `version` there must be only one. Returns what was
    /// removed. Errors: `NotFound`, `Denied`; `Rule` if there are several.
    pub async fn remove_terminology(
        &self,
        ctx: &Ctx,
        url: &str,
        version: Option<&str>,
    ) -> Result<Entry, Error> {
        if !access::policy::may(ctx, Capability::Import) {
            return Err(self.denied(ctx, "terminology-remove", url).await);
        }
        let (url, version) = (url.to_owned(), version.map(str::to_owned));
        let entry = self
            .writing(move |tx| {
                let entry = one(tx, &url, version.as_deref())?;
                terminology::retire(tx, entry.id)?;
                Ok(entry)
            })
            .await?;
        let id = entry.id;
        while self.writing(move |tx| Ok(terminology::remove_some(tx, id)?)).await? {}
        Ok(entry)
    }

    /// Has a loaded version be meant when none is named. Errors: `NotFound`, `Denied`.
    pub async fn use_terminology(&self, ctx: &Ctx, url: &str, version: &str) -> Result<Entry, Error> {
        if !access::policy::may(ctx, Capability::Import) {
            return Err(self.denied(ctx, "terminology-use", url).await);
        }
        let (url, version) = (url.to_owned(), version.to_owned());
        self.writing(move |tx| {
            let entry = one(tx, &url, Some(&version))?;
            terminology::make_default(tx, entry.kind, &url, entry.id)?;
            Ok(entry)
        })
        .await
    }
}

/// The one entry meant.
fn one(tx: &mut dyn store::Tx, url: &str, version: Option<&str>) -> Result<Entry, Error> {
    let mut found = Vec::new();
    for kind in [Kind::CodeSystem, Kind::ConceptMap] {
        found.extend(terminology::in_use(tx, kind)?.into_iter().filter(|e| e.url == url));
    }
    if let Some(version) = version {
        found.retain(|e| e.version == version);
    }
    match found.len() {
        0 => Err(Error::NotFound),
        1 => found.pop().ok_or(Error::NotFound),
        _ => Err(Error::Rule(crate::Rule::new(
            "terminology-ambiguous",
            format!(
                "`{url}` is loaded in several versions; name one of: {}.",
                found.iter().map(|e| e.version.as_str()).collect::<Vec<_>>().join(", ")
            ),
        ))),
    }
}
