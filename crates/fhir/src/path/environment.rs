//! What an evaluation asks of its caller: references, terminology, profiles, variables, the clock.

use super::item::Item;
use serde_json::Value;
use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;

/// Reference text to the resource behind it.
pub type Resolve<'a> = &'a dyn Fn(&str) -> Option<&'a Value>;

/// Answers that only the caller has. Every method has a default that knows nothing, so an implementation
/// gives what it can. Values that are handed out live as long as the input; what is loaded on demand can be
/// kept in an [Arena].
pub trait Environment<'a> {
    /// `resolve()`: the resource behind a reference, a canonical or a URL. `#id` and entries of the bundle
    /// under evaluation are found without it.
    fn resolve(&self, _reference: &str) -> Option<&'a Value> {
        None
    }
    /// `memberOf()`: whether the code is in the value set; `None` if that is not known. A code without
    /// system comes from an element of type code.
    fn member_of(&self, _value_set: &str, _system: Option<&str>, _code: &str) -> Option<bool> {
        None
    }
    /// `subsumes()` and `subsumedBy()`: whether `code` is `ancestor` or lies below it; `None` if that is
    /// not known.
    fn is_below(&self, _system: &str, _ancestor: &str, _code: &str) -> Option<bool> {
        None
    }
    /// `conformsTo()`: whether the element or resource fits the profile; `None` if the profile is not known.
    fn conforms_to(&self, _profile: &str, _value: &Value) -> Option<bool> {
        None
    }
    /// `slice()`: whether the element belongs to the slice of this name in the profile; `None` if the profile is not known
    /// or has no such slice.
    fn in_slice(&self, _profile: &str, _slice: &str, _element: &Item<'_>) -> Option<bool> {
        None
    }
    /// `%name`, after [Env::variables] and before the built-in names.
    fn variable(&self, _name: &str) -> Option<Vec<Item<'a>>> {
        None
    }
    /// `trace(name)`: what passed through.
    fn trace(&self, _name: &str, _items: &[Item<'a>]) {}
}

/// What an evaluation may ask of its caller.
#[derive(Default, Clone)]
pub struct Env<'a> {
    /// `resolve()` as a plain function; asked before [Env::host].
    pub resolve: Option<Resolve<'a>>,
    /// Everything else that only the caller knows.
    pub host: Option<&'a dyn Environment<'a>>,
    /// `now()`, `today()`, `timeOfDay()`, all in UTC; without it these functions are errors.
    pub now: Option<jiff::Timestamp>,
    /// `%name`, beside the built-in `%resource`, `%context`, `%rootResource`, `%ucum`, `%sct`, `%loinc`,
    /// `%vs-name` and `%ext-name`; these names win over the built-in ones.
    pub variables: BTreeMap<String, Vec<Item<'a>>>,
    /// `%rootResource`, where the evaluated resource is contained in another; `#id` is looked up in it.
    pub root: Option<&'a Value>,
    /// Members that a type does not have are errors instead of empty.
    pub strict: bool,
    /// Steps this evaluation may take, at most and by default [MAX_WORK](super::MAX_WORK).
    pub work: Option<u64>,
    /// Steps left for this and other evaluations together; each takes what it uses. 0 when it was not enough.
    pub left: Option<&'a Cell<u64>>,
}

/// Chunks of doubling size; together they hold far more than any evaluation loads.
const CHUNKS: usize = 20;

/// Keeps values that are loaded while evaluating, so that they live as long as the arena.
#[derive(Default)]
pub struct Arena {
    chunks: [OnceCell<Box<[OnceCell<Value>]>>; CHUNKS],
    count: Cell<usize>,
}

impl Arena {
    pub fn new() -> Arena {
        Arena::default()
    }
    /// `None` after a million values.
    pub fn keep(&self, value: Value) -> Option<&Value> {
        let number = self.count.get();
        // Chunk n holds 2^n values and starts with number 2^n - 1.
        let chunk = (number + 1).ilog2() as usize;
        let place = number + 1 - (1 << chunk);
        let cells =
            self.chunks.get(chunk)?.get_or_init(|| (0..1 << chunk).map(|_| OnceCell::new()).collect());
        self.count.set(number + 1);
        Some(cells.get(place)?.get_or_init(|| value))
    }
}
