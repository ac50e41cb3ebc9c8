//! Expansion of the value sets that elements are bound to with strength `required`.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Deepest chain of value sets including value sets.
const MAX_INCLUDES: usize = 8;

#[derive(Default)]
pub struct Terminology {
    value_sets: HashMap<String, Value>,
    code_systems: HashMap<String, Value>,
}

/// Codes by system.
type Codes = BTreeMap<String, BTreeSet<String>>;

impl Terminology {
    pub fn add(&mut self, resources: Vec<Value>) {
        for r in resources {
            let Some(url) = r["url"].as_str().map(str::to_owned) else { continue };
            match r["resourceType"].as_str() {
                Some("ValueSet") => self.value_sets.insert(url, r),
                Some("CodeSystem") => self.code_systems.insert(url, r),
                _ => None,
            };
        }
    }

    /// `None` when a part of the value set is not in the packages, such as all MIME types.
    fn expand(&self, url: &str, depth: usize) -> Option<Codes> {
        let url = url.split('|').next().unwrap_or(url);
        let set = self.value_sets.get(url)?;
        if depth > MAX_INCLUDES {
            return None;
        }
        let mut codes = Codes::new();
        for include in set["compose"]["include"].as_array().into_iter().flatten() {
            for (system, more) in self.expand_include(include, depth)? {
                codes.entry(system).or_default().extend(more);
            }
        }
        for exclude in set["compose"]["exclude"].as_array().into_iter().flatten() {
            for (system, less) in self.expand_include(exclude, depth)? {
                if let Some(mine) = codes.get_mut(&system) {
                    mine.retain(|c| !less.contains(c));
                }
            }
        }
        codes.retain(|_, c| !c.is_empty());
        (!codes.is_empty()).then_some(codes)
    }

    fn expand_include(&self, include: &Value, depth: usize) -> Option<Codes> {
        let mut own: Option<Codes> = None;
        if let Some(system) = include["system"].as_str() {
            let listed = include["concept"].as_array();
            let codes: BTreeSet<String> = match listed {
                Some(concepts) => {
                    concepts.iter().filter_map(|c| c["code"].as_str()).map(str::to_owned).collect()
                }
                None => self.of_system(system, include["filter"].as_array())?,
            };
            own = Some(Codes::from([(system.to_owned(), codes)]));
        }
        // Several value sets, and a system beside them, mean their intersection.
        for nested in include["valueSet"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let other = self.expand(nested, depth + 1)?;
            own = Some(match own {
                None => other,
                Some(mine) => mine
                    .into_iter()
                    .filter_map(|(s, c)| {
                        let allowed = other.get(&s)?;
                        Some((s, c.into_iter().filter(|c| allowed.contains(c)).collect()))
                    })
                    .collect(),
            });
        }
        own
    }

    fn of_system(&self, system: &str, filters: Option<&Vec<Value>>) -> Option<BTreeSet<String>> {
        let code_system = self.code_systems.get(system)?;
        if code_system["content"] != "complete" {
            return None;
        }
        // Code, ancestors, abstract.
        let mut all: Vec<(String, Vec<String>)> = Vec::new();
        collect(&code_system["concept"], &[], &mut all);
        let parents: HashMap<String, Vec<String>> = all.iter().cloned().collect();
        let is_below = |code: &str, ancestor: &str| {
            let mut open = vec![code.to_owned()];
            let mut seen = BTreeSet::new();
            while let Some(c) = open.pop() {
                if c == ancestor {
                    return true;
                }
                if seen.insert(c.clone()) {
                    open.extend(parents.get(&c).cloned().unwrap_or_default());
                }
            }
            false
        };
        let mut codes: BTreeSet<String> = all.iter().map(|(c, _)| c.clone()).collect();
        for f in filters.into_iter().flatten() {
            let value = f["value"].as_str().unwrap_or_default();
            match (f["property"].as_str(), f["op"].as_str()) {
                (Some("concept"), Some("is-a")) => codes.retain(|c| is_below(c, value)),
                (Some("concept"), Some("descendent-of")) => {
                    codes.retain(|c| c != value && is_below(c, value))
                }
                (Some("concept"), Some("is-not-a")) => codes.retain(|c| !is_below(c, value)),
                _ => return None,
            }
        }
        Some(codes)
    }
}

fn collect(concepts: &Value, above: &[String], all: &mut Vec<(String, Vec<String>)>) {
    for c in concepts.as_array().into_iter().flatten() {
        let Some(code) = c["code"].as_str() else { continue };
        let mut parents: Vec<String> = above.last().cloned().into_iter().collect();
        for p in c["property"].as_array().into_iter().flatten() {
            if matches!(p["code"].as_str(), Some("subsumedBy" | "parent"))
                && let Some(parent) = p["valueCode"].as_str()
            {
                parents.push(parent.to_owned());
            }
        }
        all.push((code.to_owned(), parents));
        let mut path = above.to_vec();
        path.push(code.to_owned());
        collect(&c["concept"], &path, all);
    }
}

/// The code lists in use, numbered in order of first use.
pub struct CodeSets<'a> {
    terminology: &'a Terminology,
    numbers: HashMap<String, Option<usize>>,
    sets: Vec<(String, Codes)>,
    pub unexpanded: Vec<String>,
}

impl<'a> CodeSets<'a> {
    pub fn new(terminology: &'a Terminology) -> CodeSets<'a> {
        CodeSets { terminology, numbers: HashMap::new(), sets: Vec::new(), unexpanded: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.sets.len()
    }

    pub fn number(&mut self, url: &str) -> Option<usize> {
        if let Some(n) = self.numbers.get(url) {
            return *n;
        }
        let number = match self.terminology.expand(url, 0) {
            Some(codes) => {
                self.sets.push((url.to_owned(), codes));
                Some(self.sets.len() - 1)
            }
            None => {
                self.unexpanded.push(url.to_owned());
                None
            }
        };
        self.numbers.insert(url.to_owned(), number);
        number
    }

    /// `S url`, then per system `s system code code …`.
    pub fn write(&self, out: &mut String) {
        for (url, codes) in &self.sets {
            out.push_str("S\t");
            out.push_str(url);
            out.push('\n');
            for (system, codes) in codes {
                out.push_str("s\t");
                out.push_str(system);
                for code in codes {
                    out.push('\t');
                    out.push_str(code);
                }
                out.push('\n');
            }
        }
    }
}
