//! What running a view may cost: one allowance for all of its expressions and resources together.

use super::ViewError;
use serde_json::Value;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Most that one run may cost, over all its resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Steps of FHIRPath.
    pub steps: u64,
    pub rows: u64,
    /// Of the rows' values, about as long as they are as JSON.
    pub bytes: u64,
    /// Spent on evaluating; waiting for the database or the reader does not count.
    pub time: Duration,
}

impl Limits {
    /// For somebody who waits: a minute of evaluating.
    pub const RUN: Limits =
        Limits { steps: 4_000_000_000, rows: 50_000_000, bytes: 8 << 30, time: Duration::from_secs(60) };
    /// For work in the background: an hour.
    pub const BACKGROUND: Limits = Limits {
        steps: 400_000_000_000,
        rows: 5_000_000_000,
        bytes: 1 << 40,
        time: Duration::from_secs(60 * 60),
    };
}

/// What has been used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    pub steps: u64,
    pub rows: u64,
    pub bytes: u64,
    pub time: Duration,
}

/// Steps that one resource may take.
pub const MAX_STEPS: u64 = 20_000_000;
/// Bytes that the rows of one resource may have, those in between included: they are in memory together.
pub const MAX_BYTES: u64 = 32 << 20;
/// Evaluations between two looks at the clock.
const CLOCK_EVERY: u32 = 64;

/// The allowance of one run. [super::View::rows] takes from it.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    spent: Cell<Spent>,
    /// Of the resource at hand.
    pub(super) steps_left: Cell<u64>,
    steps_given: Cell<u64>,
    bytes: Cell<u64>,
    until: Cell<Option<Instant>>,
    until_clock: Cell<u32>,
}

impl Budget {
    pub fn new(limits: Limits) -> Budget {
        Budget::after(limits, Spent::default())
    }

    /// Goes on where an earlier piece of the same run stopped.
    pub fn after(limits: Limits, spent: Spent) -> Budget {
        Budget {
            limits,
            spent: Cell::new(spent),
            steps_left: Cell::new(0),
            steps_given: Cell::new(0),
            bytes: Cell::new(0),
            until: Cell::new(None),
            until_clock: Cell::new(0),
        }
    }

    pub fn spent(&self) -> Spent {
        self.spent.get()
    }

    /// Begins a resource; returns when that was.
    pub(super) fn begin(&self) -> Result<Instant, ViewError> {
        let (now, spent) = (Instant::now(), self.spent.get());
        let steps = self.limits.steps.saturating_sub(spent.steps).min(MAX_STEPS);
        self.steps_left.set(steps);
        self.steps_given.set(steps);
        self.bytes.set(0);
        self.until.set(now.checked_add(self.limits.time.saturating_sub(spent.time)));
        self.until_clock.set(CLOCK_EVERY);
        match (spent.steps >= self.limits.steps, spent.time >= self.limits.time) {
            (true, _) => Err(self.used_up("steps")),
            (_, true) => Err(self.used_up("time")),
            _ => Ok(now),
        }
    }

    /// Ends the resource that gave so many rows. Errors: [ViewError::UsedUp].
    pub(super) fn end(&self, begun: Instant, rows: usize) -> Result<(), ViewError> {
        let mut spent = self.spent.get();
        spent.steps = spent.steps.saturating_add(self.steps_given.get() - self.steps_left.get());
        spent.rows = spent.rows.saturating_add(rows as u64);
        spent.bytes = spent.bytes.saturating_add(self.bytes.get());
        spent.time = spent.time.saturating_add(begun.elapsed());
        self.spent.set(spent);
        if spent.rows > self.limits.rows {
            return Err(self.used_up("rows"));
        }
        if spent.bytes > self.limits.bytes {
            return Err(self.used_up("bytes"));
        }
        Ok(())
    }

    /// After an evaluation that failed: whether it was for lack of steps.
    pub(super) fn step(&self) -> Result<(), ViewError> {
        if self.steps_left.get() > 0 {
            return Ok(());
        }
        if self.steps_given.get() < MAX_STEPS {
            return Err(self.used_up("steps"));
        }
        Err(ViewError::TooMuch {
            at: "select".to_owned(),
            text: format!("one resource takes more than {MAX_STEPS} steps"),
        })
    }

    /// Before an evaluation. Errors: [ViewError::UsedUp] when the time is over.
    pub(super) fn tick(&self) -> Result<(), ViewError> {
        let left = self.until_clock.get();
        self.until_clock.set(left.saturating_sub(1));
        if left > 0 {
            return Ok(());
        }
        self.until_clock.set(CLOCK_EVERY);
        match self.until.get() {
            Some(until) if Instant::now() >= until => Err(self.used_up("time")),
            _ => Ok(()),
        }
    }

    /// Values that are kept. Errors: [ViewError::TooMuch], [ViewError::UsedUp].
    pub(super) fn keep(&self, cells: &[Value]) -> Result<(), ViewError> {
        let bytes = self.bytes.get().saturating_add(cells.iter().map(size).sum());
        self.bytes.set(bytes);
        if bytes > MAX_BYTES {
            let text = format!("the rows of one resource have more than {} MiB", MAX_BYTES >> 20);
            return Err(ViewError::TooMuch { at: "select".to_owned(), text });
        }
        if self.spent.get().bytes.saturating_add(bytes) > self.limits.bytes {
            return Err(self.used_up("bytes"));
        }
        Ok(())
    }

    fn used_up(&self, what: &str) -> ViewError {
        let most = match what {
            "steps" => format!("{} steps of FHIRPath", self.limits.steps),
            "rows" => format!("{} rows", self.limits.rows),
            "bytes" => format!("{} bytes of values", self.limits.bytes),
            _ => format!("{} s of evaluating", self.limits.time.as_secs_f64()),
        };
        ViewError::UsedUp { most }
    }
}

/// About as long as it is as JSON.
fn size(value: &Value) -> u64 {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(number) => number.as_str().len() as u64,
        Value::String(text) => text.len() as u64 + 2,
        Value::Array(list) => 2 + list.iter().map(size).sum::<u64>(),
        Value::Object(object) => 2 + object.iter().map(|(k, v)| k.len() as u64 + 4 + size(v)).sum::<u64>(),
    }
}
