//! A bounded queue between the runtime and the threads that own connections.

use crate::{Error, Result};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::time::Duration;

pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    ready: Condvar,
    capacity: usize,
}

struct State<T> {
    items: VecDeque<T>,
    closed: bool,
}

impl<T> Queue<T> {
    pub fn new(capacity: usize) -> Queue<T> {
        Queue {
            state: Mutex::new(State { items: VecDeque::new(), closed: false }),
            ready: Condvar::new(),
            capacity,
        }
    }

    /// Errors: [Error::Busy] if it is full, [Error::Closed].
    pub fn push(&self, item: T) -> Result<()> {
        self.try_push(item).map_err(|(error, _)| error)
    }

    /// As [Queue::push], and gives back what was not taken.
    pub fn try_push(&self, item: T) -> std::result::Result<(), (Error, T)> {
        let mut state = self.state.lock();
        if state.closed {
            return Err((Error::Closed, item));
        }
        if state.items.len() >= self.capacity {
            return Err((Error::Busy, item));
        }
        state.items.push_back(item);
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// Waits for an item; `None` once the queue is closed and empty.
    pub fn pop(&self) -> Option<T> {
        let mut state = self.state.lock();
        loop {
            if let Some(item) = state.items.pop_front() {
                return Some(item);
            }
            if state.closed {
                return None;
            }
            self.ready.wait(&mut state);
        }
    }

    /// An item if one waits.
    pub fn try_pop(&self) -> Option<T> {
        self.state.lock().items.pop_front()
    }

    /// An item if one comes within this time.
    pub fn pop_within(&self, time: Duration) -> Option<T> {
        let mut state = self.state.lock();
        if state.items.is_empty() && !state.closed {
            self.ready.wait_for(&mut state, time);
        }
        state.items.pop_front()
    }

    pub fn len(&self) -> usize {
        self.state.lock().items.len()
    }

    /// What waits is still handed out.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.ready.notify_all();
    }

    /// Closed and empty.
    pub fn is_closed(&self) -> bool {
        let state = self.state.lock();
        state.closed && state.items.is_empty()
    }
}

/// A flag that one thread raises and another waits for; raising it again before it was seen changes nothing.
pub(super) struct Signal {
    state: Mutex<(bool, bool)>,
    ready: Condvar,
}

impl Signal {
    pub fn new() -> Signal {
        Signal { state: Mutex::new((false, false)), ready: Condvar::new() }
    }
    pub fn raise(&self) {
        self.state.lock().0 = true;
        self.ready.notify_one();
    }
    pub fn close(&self) {
        self.state.lock().1 = true;
        self.ready.notify_all();
    }
    /// Waits until raised (true) or closed (false).
    pub fn wait(&self) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.1 {
                return false;
            }
            if std::mem::take(&mut state.0) {
                return true;
            }
            self.ready.wait(&mut state);
        }
    }
    /// As [Signal::wait], but also ends, true, after this time.
    pub fn wait_within(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.0 && !state.1 {
            self.ready.wait_for(&mut state, time);
        }
        state.0 = false;
        !state.1
    }
    /// Waits at most this long for the close; true if closed.
    pub fn closed_within(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.1 {
            self.ready.wait_for(&mut state, time);
        }
        state.1
    }
}
