//! What happens to a database that was put back, before it gets its place: its audit trail is proven, gets a signing key of
//! its own, and tells of the restore.

use super::{Facts, Kind, history};
use crate::config::Config;
use crate::{audit_key, audit_work, storage};
use anyhow::Context as _;
use backup::Restored;
use jiff::Timestamp;
use record::Record;
use record::audit::{AuditHead, AuditKey, hex};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::audit::tree;
use store::backup::{Part, Problem};
use store::keys::vault_file;
use store::{Secret32, Store, StoreConfig};

/// Newest head of a trail that holds.
pub struct Proven {
    pub head: Option<AuditHead>,
}

/// What opens a restored database.
pub struct Opening {
    pub database: Secret32,
    /// Of the files, and of the key store beside the database.
    pub files: Secret32,
}

fn open(folder: &Path, keys: &Opening) -> anyhow::Result<(Store, Record)> {
    let url = format!("sqlite:{}", folder.join(storage::DATABASE).display());
    let config = StoreConfig::new(url, Some(keys.database.clone()));
    let store = Store::open(StoreConfig { files: Some(keys.files.clone()), ..config })?;
    let record = Record::new(store.clone(), crate::start::clock());
    Ok((store, record))
}

/// Recomputes the audit trail of a restored folder and holds it against its signed heads. `known` are the keys of this
/// installation, where they are at hand: one of them must have signed the newest head. Blocks, on a thread inside the
/// runtime. Errors: [backup::Error::Unsound] with what is wrong.
pub fn prove_audit(folder: &Path, keys: &Opening, known: Option<&[tree::Key]>) -> anyhow::Result<Proven> {
    let (store, record) = open(folder, keys)?;
    let runtime = tokio::runtime::Handle::current();
    let proven = runtime.block_on(prove(&record, known));
    drop(record);
    store.close();
    proven
}

async fn prove(record: &Record, known: Option<&[tree::Key]>) -> anyhow::Result<Proven> {
    let unsound = |lines: Vec<String>| {
        let problems = lines.into_iter().map(|line| Problem::new(Part::Audit, line)).collect();
        anyhow::Error::from(backup::Error::Unsound(problems))
    };
    let head = record.audit_head().await?;
    let mut key = None;
    if let (Some(head), Some(known)) = (&head, known) {
        let found = known.iter().find(|known| known.id == head.key);
        let found = found.ok_or_else(|| {
            unsound(vec![format!("the newest head is signed by key {}, which is not ours", hex(&head.key))])
        })?;
        key = Some(hex(&found.public));
    }
    let work = audit_work::Work::Verify { files: Vec::new(), key };
    let ended = audit_work::run(record, work, Arc::new(|_| {})).await?;
    if ended.is_clean { Ok(Proven { head }) } else { Err(unsound(ended.lines)) }
}

/// A signing key that waits for its place beside the data folder.
pub struct Settled {
    made: PathBuf,
    file: PathBuf,
    /// To be told when it has its place.
    lines: Vec<String>,
}

/// Gives the restored database in `folder` a new signing key, has the trail tell of it, and notes the restore among the
/// backups. `usual` is the configuration as it was given, `data` the folder that the database is for. Blocks, on a thread
/// inside the runtime. Errors: in words for the operator.
pub fn settle(
    usual: &Config,
    data: &Path,
    folder: &Path,
    keys: &Opening,
    restored: &Restored,
    begun: Timestamp,
) -> anyhow::Result<Settled> {
    let is_usual = std::path::absolute(&usual.data)? == data;
    let mut own = Config { data: data.to_owned(), ..usual.clone() };
    let mut lines = Vec::new();
    if !is_usual && own.audit.key_file.take().is_some() {
        // The configured file is that of the installation that is looked at, which may be running.
        lines.push(
            "the audit trail's new key is not in audit.key_file, because that is another folder's".to_owned(),
        );
    }
    let file = audit_key::path(&own);
    let made = aside(&file, "restoring")?;
    // Of a restore that was stopped.
    match std::fs::remove_file(&made) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", made.display()));
        }
        _ => {}
    }
    let new = audit_key::make(&made)?;
    // Without it the trail tells of a key that nobody endorsed; with it of one that the old one did.
    let old = audit_key::read(usual).unwrap_or_default();
    let (store, record) = open(folder, keys)?;
    let runtime = tokio::runtime::Handle::current();
    let sealed = runtime.block_on(take_over(&record, &new, old.as_ref(), restored.until));
    let facts = Facts {
        bytes: Some(restored.bytes),
        files: Some(restored.files),
        until: Some(restored.until),
        checks: history::checks(&[]),
        problems: restored.notes.clone(),
        ..Facts::default()
    };
    let row = history::row(Kind::Restore, "uzima restore", begun, true, &facts)?;
    let noted = store.write_blocking(move |tx| store::backup_run::insert(tx, &row));
    drop(record);
    store.close();
    sealed?;
    noted?;
    lines.insert(
        0,
        format!(
            "the audit trail is signed by a new key, {}: keep a copy of its file {}",
            hex(&new.id),
            file.display()
        ),
    );
    Ok(Settled { made, file, lines })
}

async fn take_over(
    record: &Record,
    new: &AuditKey,
    old: Option<&AuditKey>,
    until: Timestamp,
) -> anyhow::Result<()> {
    let active = record.audit_standing().await?.keys.last().map(|key| key.id);
    let old = old.filter(|old| Some(old.id) == active);
    let endorsement = old.map(|old| old.endorse(&new.public));
    record.audit_restored(new.public, endorsement, until).await?;
    while record.audit_seal(new, true).await?.is_some() {}
    Ok(())
}

/// The file's name with something behind it.
fn aside(file: &Path, what: &str) -> anyhow::Result<PathBuf> {
    let mut name = file.file_name().context("the audit trail's key file has no name")?.to_owned();
    name.push(".");
    name.push(what);
    Ok(file.with_file_name(name))
}

impl Settled {
    /// Puts the key where the server looks for it; one that is there goes aside. Returns lines to be printed.
    pub fn place(mut self, now: Timestamp) -> anyhow::Result<Vec<String>> {
        if self.file.exists() {
            let to = aside(&self.file, &format!("replaced-{}", now.as_second()))?;
            std::fs::rename(&self.file, &to)
                .with_context(|| format!("cannot rename {}", self.file.display()))?;
            self.lines.push(format!("the key before is now {}", to.display()));
        }
        std::fs::rename(&self.made, &self.file)
            .with_context(|| format!("rename {} to {} by hand", self.made.display(), self.file.display()))?;
        Ok(self.lines)
    }
}

/// Beside a restored database lies the newest key store of the backup; where the folder that is replaced has one that has
/// seen more, that is taken: an erasure that had not been backed up yet stays done. Errors: of the disk.
pub fn keep_newer_keys(existing: &Path, restored: &Path) -> anyhow::Result<()> {
    let (old, new) = (vault_file(existing), vault_file(restored));
    let Ok(ours) = std::fs::read(&old) else { return Ok(()) };
    let is_newer = match std::fs::read(&new) {
        // Of another database it is of no use.
        Ok(theirs) => store::keys::newer(&ours, &theirs).unwrap_or(false),
        Err(_) => true,
    };
    if is_newer {
        std::fs::write(&new, ours).with_context(|| format!("cannot write {}", new.display()))?;
        std::fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    }
    Ok(())
}
