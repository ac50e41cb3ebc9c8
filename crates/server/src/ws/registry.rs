//! Open WebSockets: bounded in number, found by account and session so that they can be ended.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio_util::sync::CancellationToken;

/// Why a socket was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    Server,
    Account,
}

struct Entry {
    account: i64,
    /// As [access::SessionFacts::id]; `None` without a session.
    session: Option<[u8; 8]>,
    end: CancellationToken,
}

#[derive(Default)]
struct Inner {
    entries: Mutex<HashMap<u64, Entry>>,
    next: AtomicU64,
}

/// All sockets of this process, of every kind. Cloning is cheap.
#[derive(Clone)]
pub struct Sockets {
    inner: Arc<Inner>,
    most: usize,
    most_per_account: usize,
}

/// One socket's place; dropping it frees the place. The socket must end when [Seat::ended] resolves.
pub struct Seat {
    inner: Arc<Inner>,
    number: u64,
    end: CancellationToken,
}

impl Sockets {
    pub fn new(most: usize, most_per_account: usize) -> Sockets {
        Sockets { inner: Arc::default(), most, most_per_account }
    }

    /// Takes a place for a socket of this account; `session` is the session's id, so that sign-out ends the socket.
    pub fn seat(&self, account: i64, session: Option<[u8; 8]>) -> Result<Seat, Full> {
        let mut entries = self.inner.entries.lock();
        if entries.len() >= self.most {
            return Err(Full::Server);
        }
        // Only counted when there are many: an index by account would cost every socket memory.
        if entries.len() >= self.most_per_account
            && entries.values().filter(|e| e.account == account).count() >= self.most_per_account
        {
            return Err(Full::Account);
        }
        let number = self.inner.next.fetch_add(1, Relaxed);
        let end = CancellationToken::new();
        entries.insert(number, Entry { account, session, end: end.clone() });
        Ok(Seat { inner: self.inner.clone(), number, end })
    }

    /// Ends all sockets of an account: it was disabled, got other roles or another password.
    pub fn close_account(&self, account: i64) {
        self.inner.entries.lock().values().filter(|e| e.account == account).for_each(|e| e.end.cancel());
    }
    /// Ends the sockets of one session: it was signed out.
    pub fn close_session_id(&self, account: i64, id: [u8; 8]) {
        let entries = self.inner.entries.lock();
        let of = entries.values().filter(|e| e.account == account && e.session == Some(id));
        of.for_each(|e| e.end.cancel());
    }
    /// The sessions behind open sockets of these accounts, each once.
    pub fn sessions_of(&self, accounts: &[i64]) -> Vec<(i64, [u8; 8])> {
        let entries = self.inner.entries.lock();
        let mut found: Vec<(i64, [u8; 8])> = entries
            .values()
            .filter(|e| accounts.contains(&e.account))
            .filter_map(|e| Some((e.account, e.session?)))
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
    pub fn len(&self) -> usize {
        self.inner.entries.lock().len()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Seat {
    /// Resolves when the socket must end because its session did.
    pub async fn ended(&self) {
        self.end.cancelled().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.inner.entries.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_counted_and_ended() {
        let sockets = Sockets::new(3, 2);
        let first = sockets.seat(1, Some([1; 8])).unwrap();
        let second = sockets.seat(1, Some([2; 8])).unwrap();
        assert!(matches!(sockets.seat(1, None), Err(Full::Account)));
        let third = sockets.seat(2, None).unwrap();
        assert!(matches!(sockets.seat(3, None), Err(Full::Server)));
        sockets.close_session_id(1, [1; 8]);
        assert!(first.end.is_cancelled() && !second.end.is_cancelled());
        sockets.close_account(1);
        assert!(second.end.is_cancelled() && !third.end.is_cancelled());
        drop(first);
        assert_eq!(sockets.len(), 2);
    }
}
