//! Terms known to be committed, shared by all connections.

use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;

/// Terms in memory; beyond this the cache starts anew.
const MAX_TERMS: usize = 50_000;

#[derive(Default)]
pub(super) struct Terms {
    maps: RwLock<Maps>,
}

#[derive(Default)]
struct Maps {
    numbers: HashMap<Arc<str>, i64>,
    texts: HashMap<i64, Arc<str>>,
}

impl Terms {
    pub fn number(&self, text: &str) -> Option<i64> {
        self.maps.read().numbers.get(text).copied()
    }
    pub fn text(&self, number: i64) -> Option<String> {
        self.maps.read().texts.get(&number).map(|text| text.to_string())
    }
    /// Only what is committed: a number that is rolled back may be given to another text.
    pub fn add(&self, terms: impl IntoIterator<Item = (String, i64)>) {
        let mut maps = self.maps.write();
        for (text, number) in terms {
            if maps.numbers.len() >= MAX_TERMS {
                *maps = Maps::default();
            }
            let text: Arc<str> = text.into();
            maps.numbers.insert(text.clone(), number);
            maps.texts.insert(number, text);
        }
    }
}
