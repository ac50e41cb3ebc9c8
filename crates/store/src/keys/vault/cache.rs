//! A bounded map: what was not asked for during a whole generation is dropped.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

pub(super) struct Cache<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// Of each of the two.
    capacity: usize,
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    pub fn new(capacity: usize) -> Cache<K, V> {
        Cache { young: HashMap::new(), old: HashMap::new(), capacity: (capacity / 2).max(1) }
    }

    pub fn get<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.put(key, value.clone());
        Some(value)
    }

    pub fn put(&mut self, key: K, value: V) {
        if self.young.len() >= self.capacity {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    pub fn remove<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.young.remove(key);
        self.old.remove(key);
    }

    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_small_and_keeps_what_is_asked_for() {
        let mut cache = Cache::new(100);
        cache.put(0, 0);
        for n in 1..1000 {
            assert_eq!(cache.get(&0), Some(0), "{n}");
            cache.put(n, n);
            assert!(cache.young.len() + cache.old.len() <= 100);
        }
        assert_eq!((cache.get(&1), cache.get(&999)), (None, Some(999)));
        cache.remove(&999);
        assert_eq!(cache.get(&999), None);
        cache.clear();
        assert_eq!(cache.get(&0), None);
    }
}
