//! Where an element stands in the JSON of a resource.

use crate::definitions::{Class, Definitions, Element, TypeDef};
use serde_json::{Map, Value};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// The steps from `root` to the very value that `target` refers to.
pub(super) fn locate(root: &Value, target: &Value) -> Option<Vec<Step>> {
    fn walk(value: &Value, target: &Value, steps: &mut Vec<Step>) -> bool {
        if std::ptr::eq(value, target) {
            return true;
        }
        match value {
            Value::Object(object) => object.iter().any(|(key, v)| {
                steps.push(Step::Key(key.clone()));
                let found = walk(v, target, steps);
                if !found {
                    steps.pop();
                }
                found
            }),
            Value::Array(items) => items.iter().enumerate().any(|(n, v)| {
                steps.push(Step::Index(n));
                let found = walk(v, target, steps);
                if !found {
                    steps.pop();
                }
                found
            }),
            _ => false,
        }
    }
    let mut steps = Vec::new();
    walk(root, target, &mut steps).then_some(steps)
}

pub(super) fn at<'a>(root: &'a mut Value, steps: &[Step]) -> Option<&'a mut Value> {
    let mut current = root;
    for step in steps {
        current = match (step, current) {
            (Step::Key(key), Value::Object(object)) => object.get_mut(key)?,
            (Step::Index(n), Value::Array(items)) => items.get_mut(*n)?,
            _ => return None,
        };
    }
    Some(current)
}

/// The type of the element at `steps`. Nested resources say theirs in `resourceType`.
pub(super) fn type_at(root: &Value, steps: &[Step]) -> Option<&'static TypeDef> {
    let d = Definitions::get();
    let own = |v: &Value| v.get("resourceType").and_then(Value::as_str).and_then(|n| d.by_name(n));
    let mut t = own(root)?;
    let mut value = root;
    for step in steps {
        match step {
            Step::Key(key) => {
                value = value.get(key)?;
                t = match key.strip_prefix('_') {
                    Some(_) => d.by_name("Element")?,
                    None => {
                        let (_, _, option) = t.lookup(key)?;
                        d.type_def(option.number)
                    }
                };
            }
            Step::Index(n) => value = value.get(n)?,
        }
        if matches!(t.class, Class::AbstractResource) && value.is_object() {
            t = own(value)?;
        }
    }
    Some(t)
}

/// Items of a list element; some may have nothing but extensions.
pub(super) fn length(object: &Map<String, Value>, key: &str) -> usize {
    let count = |key: &str| object.get(key).and_then(Value::as_array).map_or(0, Vec::len);
    count(key).max(count(&format!("_{key}")))
}

pub(super) fn get<'a>(root: &'a Value, steps: &[Step]) -> Option<&'a Value> {
    steps.iter().try_fold(root, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(n) => value.get(n),
    })
}

/// A list element of an object: the values and what stands beside them under the underscored name.
pub(super) struct List<'a> {
    object: &'a mut Map<String, Value>,
    key: &'a str,
}

impl<'a> List<'a> {
    pub fn of(object: &'a mut Map<String, Value>, key: &'a str) -> List<'a> {
        List { object, key }
    }

    fn values(&self, key: &str) -> Vec<Value> {
        self.object.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
    }

    pub fn len(&self) -> usize {
        length(self.object, self.key)
    }

    /// Both lists, of equal length; written back by `change`.
    fn edit(&mut self, change: impl FnOnce(&mut Vec<(Value, Value)>)) {
        let beside = format!("_{}", self.key);
        let count = self.len();
        let (mut values, mut extensions) = (self.values(self.key), self.values(&beside));
        values.resize(count, Value::Null);
        extensions.resize(count, Value::Null);
        let mut both: Vec<(Value, Value)> = values.into_iter().zip(extensions).collect();
        change(&mut both);
        let (values, extensions): (Vec<Value>, Vec<Value>) = both.into_iter().unzip();
        for (key, items) in [(self.key, values), (beside.as_str(), extensions)] {
            if items.iter().all(Value::is_null) {
                self.object.shift_remove(key);
            } else {
                self.object.insert(key.to_owned(), Value::Array(items));
            }
        }
    }

    pub fn insert(&mut self, index: usize, value: Value, extension: Option<Value>) {
        self.edit(|both| both.insert(index.min(both.len()), (value, extension.unwrap_or(Value::Null))));
    }
    pub fn replace(&mut self, index: usize, value: Value, extension: Option<Value>) {
        self.edit(|both| {
            if let Some(slot) = both.get_mut(index) {
                *slot = (value, extension.unwrap_or(Value::Null));
            }
        });
    }
    pub fn remove(&mut self, index: usize) {
        self.edit(|both| {
            if index < both.len() {
                both.remove(index);
            }
        });
    }
    pub fn shift(&mut self, from: usize, to: usize) {
        self.edit(|both| {
            if from < both.len() && to < both.len() {
                let moved = both.remove(from);
                both.insert(to, moved);
            }
        });
    }
}

/// The JSON key for a value of `type_code` in this element; `None` if the choice does not have the type.
pub(super) fn choice_key(element: &Element, type_code: &str) -> Option<String> {
    if !element.choice {
        return Some(element.name.to_owned());
    }
    let option = element.types.iter().find(|t| t.code.eq_ignore_ascii_case(type_code))?;
    let mut key = element.name.to_owned();
    let mut rest = option.code.chars();
    key.extend(rest.next().map(|c| c.to_ascii_uppercase()));
    key.push_str(rest.as_str());
    Some(key)
}

/// The key under which a choice element stands in `object`, if it does.
pub(super) fn present_key(element: &Element, object: &Map<String, Value>) -> Option<String> {
    let mut keys = element.types.iter().filter_map(|t| choice_key(element, t.code));
    keys.find(|key| object.contains_key(key) || object.contains_key(&format!("_{key}")))
}
