//! Turns: who plans on the same resource or the same condition waits for those who came before.
//!
//! A plan that another one overtakes is void and made again. Of fifty patches of one resource each round would write
//! one and void all others; in a line each is planned on what the one before has left, and none is overtaken but by
//! other servers on the same database.

use crate::{Error, Record};
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

/// Lines in all. Names that share one only wait for each other.
const LINES: usize = 1024;
/// Names of one request beyond which it takes its chances: a large bundle would hold up everybody.
const MOST: usize = 32;
/// How long somebody waits before being asked to come again.
const PATIENCE: Duration = Duration::from_secs(20);

/// The lines of one process. Each is first come, first served.
pub(crate) struct Turns {
    lines: Box<[Mutex<()>]>,
    /// Drawn anew at every start: nobody can make names that all stand in one line.
    hash: RandomState,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns { lines: (0..LINES).map(|_| Mutex::new(())).collect(), hash: RandomState::new() }
    }
}

/// Held while a request plans and writes.
pub(crate) type Turn<'a> = Vec<MutexGuard<'a, ()>>;

impl Record {
    /// Waits for the turn at everything that is named. Errors: `Busy` when that takes too long.
    pub(crate) async fn wait_turn(&self, names: &[String]) -> Result<Turn<'_>, Error> {
        if names.len() > MOST {
            return Ok(Turn::new());
        }
        // Everybody lines up in the same order, so nobody waits in a circle.
        let mut lines: Vec<usize> = names.iter().map(|name| self.inner.turns.line(name)).collect();
        lines.sort_unstable();
        lines.dedup();
        let wait = async {
            let mut turn = Turn::with_capacity(lines.len());
            for line in lines {
                if let Some(line) = self.inner.turns.lines.get(line) {
                    turn.push(line.lock().await);
                }
            }
            turn
        };
        tokio::time::timeout(PATIENCE, wait).await.map_err(|_| Error::Busy)
    }
}

impl Turns {
    fn line(&self, name: &str) -> usize {
        (self.hash.hash_one(name) % LINES as u64) as usize
    }
}
