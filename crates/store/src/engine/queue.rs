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
    /// What is done when nothing else waits.
    later: VecDeque<T>,
    /// Items for which the thread at the other end is worth waking.
    wanted: usize,
    closed: bool,
}

impl<T> Queue<T> {
    pub fn new(capacity: usize) -> Queue<T> {
        Queue {
            state: Mutex::new(State {
                items: VecDeque::new(),
                later: VecDeque::new(),
                wanted: 1,
                closed: false,
            }),
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
        self.put(item, false)
    }

    /// As [Queue::try_push], behind everything that others push, whenever they do.
    pub fn try_push_later(&self, item: T) -> std::result::Result<(), (Error, T)> {
        self.put(item, true)
    }

    fn put(&self, item: T, is_later: bool) -> std::result::Result<(), (Error, T)> {
        let mut state = self.state.lock();
        if state.closed {
            return Err((Error::Closed, item));
        }
        let items = if is_later { &mut state.later } else { &mut state.items };
        if items.len() >= self.capacity {
            return Err((Error::Busy, item));
        }
        items.push_back(item);
        let is_enough = is_later || state.items.len() >= state.wanted;
        drop(state);
        if is_enough {
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Waits for an item; `None` once the queue is closed and empty.
    pub fn pop(&self) -> Option<T> {
        let mut state = self.state.lock();
        loop {
            if let Some(item) = state.items.pop_front().or_else(|| state.later.pop_front()) {
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

    /// An item of [Queue::try_push_later] if one waits.
    pub fn try_pop_later(&self) -> Option<T> {
        self.state.lock().later.pop_front()
    }

    /// Waits until so many items are there, or for this time: one waking instead of one for each. For queues with one
    /// thread at the other end.
    pub fn gather(&self, count: usize, time: Duration) {
        let mut state = self.state.lock();
        if state.items.len() < count && !state.closed {
            state.wanted = count;
            self.ready.wait_for(&mut state, time);
            state.wanted = 1;
        }
    }

    /// An item if one comes within this time.
    pub fn pop_within(&self, time: Duration) -> Option<T> {
        let mut state = self.state.lock();
        if state.items.is_empty() && !state.closed {
            self.ready.wait_for(&mut state, time);
        }
        state.items.pop_front()
    }

    /// Without what was pushed for later.
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
        state.closed && state.items.is_empty() && state.later.is_empty()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_later_comes_behind_what_came_after_it() {
        let queue = Queue::new(2);
        queue.try_push_later(1).unwrap();
        queue.try_push_later(2).unwrap();
        assert_eq!(queue.try_push_later(3), Err((Error::Busy, 3)));
        queue.push(4).unwrap();
        queue.push(5).unwrap();
        assert_eq!(queue.push(6), Err(Error::Busy));
        assert_eq!(queue.len(), 2);
        assert_eq!((queue.pop(), queue.try_pop_later()), (Some(4), Some(1)));
        queue.close();
        assert_eq!(queue.try_push_later(7), Err((Error::Closed, 7)));
        assert_eq!((queue.try_pop(), queue.try_pop()), (Some(5), None));
        assert!(!queue.is_closed());
        assert_eq!((queue.pop(), queue.pop()), (Some(2), None));
        assert!(queue.is_closed());
    }

    #[test]
    fn gathering_ends_when_enough_is_there_or_with_the_time() {
        let queue = std::sync::Arc::new(Queue::new(8));
        queue.gather(1, Duration::from_millis(1));
        assert_eq!(queue.try_pop(), None);
        let pushing = queue.clone();
        let pusher = std::thread::spawn(move || (0..3).for_each(|n| pushing.push(n).unwrap()));
        // Far longer than the test may take: it ends by the third item.
        while queue.len() < 3 {
            queue.gather(3, Duration::from_secs(60));
        }
        pusher.join().unwrap();
        // Whoever waits for one afterwards is woken by one.
        (0..3).for_each(|n| assert_eq!(queue.try_pop(), Some(n)));
        let popping = queue.clone();
        let popper = std::thread::spawn(move || popping.pop());
        queue.push(9).unwrap();
        assert_eq!(popper.join().unwrap(), Some(9));
    }
}
