//! Open WebSockets: bounded in number, found by account and session so that they can be ended.

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
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
    /// First bytes of the SHA-256 of the session's token; 0 if there is none.
    session: u64,
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

    /// Takes a place for a socket of this account; `token` is the session's, so that sign-out ends the socket.
    pub fn seat(&self, account: i64, token: Option<&str>) -> Result<Seat, Full> {
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
        let session = token.map(fingerprint).unwrap_or_default();
        entries.insert(number, Entry { account, session, end: end.clone() });
        Ok(Seat { inner: self.inner.clone(), number, end })
    }

    /// Ends all sockets of an account: it was disabled, got other roles or another password.
    pub fn close_account(&self, account: i64) {
        self.inner.entries.lock().values().filter(|e| e.account == account).for_each(|e| e.end.cancel());
    }
    /// Ends the sockets of one session: it was signed out.
    pub fn close_session(&self, token: &str) {
        let session = fingerprint(token);
        self.inner.entries.lock().values().filter(|e| e.session == session).for_each(|e| e.end.cancel());
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

fn fingerprint(token: &str) -> u64 {
    let digest = Sha256::digest(token.as_bytes());
    let mut first = [0_u8; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first) | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_counted_and_ended() {
        let sockets = Sockets::new(3, 2);
        let first = sockets.seat(1, Some("a")).unwrap();
        let second = sockets.seat(1, Some("b")).unwrap();
        assert!(matches!(sockets.seat(1, None), Err(Full::Account)));
        let third = sockets.seat(2, None).unwrap();
        assert!(matches!(sockets.seat(3, None), Err(Full::Server)));
        sockets.close_session("a");
        assert!(first.end.is_cancelled() && !second.end.is_cancelled());
        sockets.close_account(1);
        assert!(second.end.is_cancelled() && !third.end.is_cancelled());
        drop(first);
        assert_eq!(sockets.len(), 2);
    }
}
