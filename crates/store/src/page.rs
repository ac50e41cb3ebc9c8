//! Keyset pages of plain lists.

use crate::{Error, Result};

/// Rows in order, and the cursor of the next page if there is one.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    pub rows: Vec<T>,
    pub next: Option<String>,
}

/// Rows in one page of any list, whatever the caller asks for.
pub const MAX_ROWS: u32 = 1000;

impl<T> Page<T> {
    /// From up to `limit` + 1 rows: the extra row only shows that there is more.
    pub(crate) fn cut(mut rows: Vec<T>, limit: u32, cursor: impl Fn(&T) -> Cursor) -> Page<T> {
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = if more { rows.last().map(|last| cursor(last).to_text()) } else { None };
        Page { rows, next }
    }
}

pub(crate) fn clamp(limit: u32) -> u32 {
    limit.clamp(1, MAX_ROWS)
}

/// A time and a row number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub time_us: i64,
    pub number: i64,
}

impl Cursor {
    /// Before everything when the newest comes first.
    pub const NEWEST: Cursor = Cursor { time_us: i64::MAX, number: i64::MAX };

    pub fn to_text(self) -> String {
        format!("{:x}.{:x}", self.time_us, self.number)
    }
    /// Errors: [Error::Invalid].
    pub fn newest_or(text: Option<&str>) -> Result<Cursor> {
        let Some(text) = text else { return Ok(Cursor::NEWEST) };
        let number = |part: &str| u64::from_str_radix(part, 16).map(|n| n as i64);
        text.split_once('.')
            .and_then(|(a, b)| Some(Cursor { time_us: number(a).ok()?, number: number(b).ok()? }))
            .ok_or(Error::Invalid("cursor"))
    }
}
