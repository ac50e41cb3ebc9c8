//! Restore drills: whether the newest backup can be restored, before somebody needs it.

use super::{Backups, Facts, Kind, Opening, Run, history, is_stopped, prove_audit};
use crate::{keys, storage};
use backup::{Wanted, Watch};
use jiff::Timestamp;
use store::backup::{Part, Problem};

impl Backups {
    /// Restores the newest state whose counts are known into a scratch folder, checks it and throws it away. The result
    /// is kept, whatever it is. Errors: it cannot be stored; stopped.
    pub fn drill(&self, by: &str, watch: &Watch<'_>) -> anyhow::Result<Run> {
        let begun = Timestamp::now();
        let place = self.config.backup.drill_folder.as_ref().unwrap_or(&self.config.data);
        let scratch = place.join(format!("restore-drill-{}", std::process::id()));
        // Of a process that was killed in the middle.
        drop(std::fs::remove_dir_all(&scratch));
        let outcome = self.doing(Kind::Drill, by, watch, |watch| {
            let wanted = Wanted { at: None, counted: true };
            let database = storage::database_file(&self.config);
            let keys = keys::open(&self.config, database.as_deref())?.keys;
            let keys = Opening { database: keys.database, files: keys.files };
            let restored =
                self.repository()?.restore(&wanted, &scratch, storage::DATABASE, &keys.database, watch)?;
            let known = self.store.read_blocking(store::audit::tree::keys)?;
            prove_audit(restored.folder(), &keys, Some(&known))?;
            Ok(restored.discard()?)
        });
        drop(std::fs::remove_dir_all(&scratch));
        let (facts, is_good) = match outcome {
            Ok(restored) => {
                let notes: Vec<Problem> =
                    restored.notes.iter().map(|note| Problem::new(Part::Restored, note)).collect();
                let mut checks = history::checks(&[]);
                if let (Some(check), false) = (checks.first_mut(), notes.is_empty()) {
                    (check.is_good, check.detail) = (false, Some(restored.notes.join("; ")));
                }
                let facts = Facts {
                    bytes: Some(restored.bytes),
                    files: Some(restored.files),
                    until: Some(restored.until),
                    checks,
                    problems: history::texts(&notes),
                    ..Facts::default()
                };
                (facts, notes.is_empty())
            }
            Err(error) if is_stopped(&error) => return Err(error),
            Err(error) => {
                let problems = match error.downcast_ref() {
                    Some(backup::Error::Unsound(problems)) => problems.clone(),
                    _ => vec![Problem::new(Part::Restored, format!("{error:#}"))],
                };
                let (checks, problems) = (history::checks(&problems), history::texts(&problems));
                (Facts { checks, problems, ..Facts::default() }, false)
            }
        };
        match is_good {
            true => tracing::info!(bytes = facts.bytes, "restore drill: the backup is good"),
            false => {
                tracing::error!(problems = facts.problems.join("; "), "restore drill: the backup is NOT good")
            }
        }
        let run = self.write_down(&history::row(Kind::Drill, by, begun, is_good, &facts)?)?;
        let run = run.ok_or_else(|| anyhow::anyhow!("the drill's result cannot be read again"))?;
        let mut state = self.state.lock();
        state.drill = Some(run.clone());
        if is_good {
            state.last_good = Some(begun);
        }
        Ok(run)
    }
}
