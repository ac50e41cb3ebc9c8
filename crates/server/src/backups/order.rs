//! `uzima backup`, by this process or in the server that runs.

use super::{Backups, keyring, repository};
use crate::{keys, storage};
use anyhow::Context as _;
use backup::{Outline, Progress, Watch};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What `uzima backup` asks of a running server; also a message of the control socket.
#[derive(Clone, Serialize, Deserialize)]
pub struct Order {
    /// Elsewhere than where the server's backups go.
    pub to: Option<String>,
    /// The key goes along, sealed by this.
    pub passphrase: Option<String>,
    /// A restore drill afterwards.
    pub drill: bool,
}

/// Who asks for what is asked for at the command line.
const OPERATOR: &str = "uzima backup";

/// Makes a whole copy now: of a running server or of a database that this process has opened. Blocks. Returns lines to be
/// printed. Errors: in words for the operator.
pub fn now(backups: &Backups, order: &Order, watch: &Watch<'_>) -> anyhow::Result<Vec<String>> {
    let config = &backups.config;
    let is_usual = order.to.is_none() || order.to == config.backup.to;
    let (made, repository) = if is_usual && backups.capture().is_some() {
        (backups.base(OPERATOR, watch)?, backups.repository()?)
    } else {
        let to = order.to.as_deref().or(config.backup.to.as_deref());
        let to = to.context("say where to: --to, or backup.to in the configuration")?;
        let database = storage::database_file(config)
            .context("PostgreSQL has backups of its own: see docs/guides/postgresql.md")?;
        let capture = backups.store.capture().context("the database is closed")?;
        let repository = Arc::new(repository(config, to, &storage::file_key(config)?)?);
        let mut outline = Outline::new(&config.data, &database, env!("CARGO_PKG_VERSION"));
        let made = outline.base(&repository, &capture, watch)?;
        keyring::put(config, repository.target(), made.point.at)?;
        (made, repository)
    };
    let mut lines = vec![
        format!("{} at {:.0}", repository.target().describe(), made.point.at),
        format!("  {:<22} {:>14}", "database bytes", made.bytes),
        format!("  {:<22} {:>14}", "files", made.files),
        format!("  {:<22} {:>14}", "bytes sent", made.sent),
        format!("  {:<22} {:>14}", "audit entries up to", made.point.audit),
    ];
    if let Some(passphrase) = &order.passphrase {
        let source = keys::source(config)?;
        let bare = source.bare().context("the key is held by a program, which does not give it away")?;
        backup::keep_key(&repository, bare, passphrase, Timestamp::now())?;
        lines.push("  the key is kept under the passphrase for 35 days".into());
    }
    if order.drill {
        let drill = backups.drill(OPERATOR, watch)?;
        match drill.is_good {
            true => lines.push(format!("  restored, checked and found good in {} s", drill.seconds)),
            false => anyhow::bail!("the restore drill failed: {}", drill.problems.join("; ")),
        }
    }
    Ok(lines)
}

/// As [crate::terminologies::Step], for a bar that shows bytes.
pub fn step(progress: Progress) -> crate::terminologies::Step {
    use crate::terminologies::Step;
    match progress {
        Progress::Doing(text) => Step::Doing(text.to_owned()),
        Progress::Begin(bytes) => Step::Begin(bytes),
        Progress::Done(bytes) => Step::Done(bytes),
    }
}
