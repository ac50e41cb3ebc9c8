//! What providers were asked and what they called back: a bounded ring, for people who look for a
//! mistake. It holds bodies, so it stays in memory and is never written to the process's own log.

use jiff::Timestamp;
use serde::Serialize;
use std::collections::VecDeque;

/// Entries that are kept.
pub const ENTRIES_MAX: usize = 500;
/// Bytes of a body that are kept.
const BODY_BYTES_MAX: usize = 2_048;

/// Who called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Flow {
    /// A call to the provider.
    Request,
    /// A call by the provider.
    Callback,
    /// A callback that somebody forged through the control API.
    Forged,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Increases.
    pub id: u64,
    /// When it began.
    pub at: Timestamp,
    /// Who called.
    pub flow: Flow,
    /// HTTP method.
    pub method: String,
    /// Path of a request, URL of a callback.
    pub target: String,
    /// Body of the call, cut at 2 KiB.
    pub request: String,
    /// HTTP status of the answer; `None` while there is none.
    pub status: Option<u16>,
    /// Body of the answer, cut at 2 KiB, or why there is none.
    pub response: String,
}

#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: VecDeque<Entry>,
}

impl Log {
    pub fn open(&mut self, entry: Entry) {
        if self.entries.len() >= ENTRIES_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    pub fn close(&mut self, id: u64, status: Option<u16>, response: String) {
        if let Some(entry) = self.entries.iter_mut().rev().find(|entry| entry.id == id) {
            entry.status = status;
            entry.response = response;
        }
    }

    pub fn after(&self, id: u64) -> Vec<Entry> {
        self.entries.iter().filter(|entry| entry.id > id).cloned().collect()
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

pub(crate) fn cut(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(BODY_BYTES_MAX)]).into_owned()
}
