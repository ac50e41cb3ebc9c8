//! A StructureDefinition made ready for checking: one tree of constraints, from its snapshot or from its
//! differential on top of the profile it derives from. What the base definitions say is not repeated; the walk
//! over the structure checks that.

use super::Profiles;
use super::invariant::{Rule, Rules};
use crate::definitions::{Class, Definitions, TypeDef, TypeNumber};
use crate::{IssueCode, Outcome};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Elements of one StructureDefinition; the largest published ones have a tenth of it.
const MAX_ELEMENTS: usize = 20_000;
/// Steps and slices from the root to an element; the walk over resources ends at this depth too.
const MAX_STEPS: usize = crate::MAX_DEPTH;
/// Profiles that derive from each other.
const MAX_CHAIN: usize = 16;

/// Where the types that FHIR itself defines have their profiles.
const BASE: &str = "http://hl7.org/fhir/StructureDefinition/";

/// The type that a canonical of FHIR's own names, whatever its version.
pub(super) fn base_type(canonical: &str) -> Option<&'static str> {
    let name = canonical.split('|').next().unwrap_or(canonical).strip_prefix(BASE)?;
    Definitions::get().by_name(name).map(|t| t.name)
}

/// A profile or an extension's definition, ready for checking.
#[derive(Debug)]
pub struct Profile {
    pub url: String,
    pub version: Option<String>,
    /// The type it constrains, such as `Observation` or `Extension`.
    pub kind: String,
    pub(super) number: TypeNumber,
    pub(super) root: Arc<Element>,
    /// Where an extension may stand; empty for anything else.
    pub(super) contexts: Vec<Context>,
}

#[derive(Debug)]
pub(super) struct Context {
    /// `element`, `extension` or `fhirpath`.
    pub kind: String,
    pub expression: String,
}

/// What the profile says of one element; what it leaves out is not restricted.
#[derive(Debug, Clone, Default)]
pub(super) struct Element {
    pub min: Option<u32>,
    /// The inner `None` is `*`.
    pub max: Option<Option<u32>>,
    pub types: Vec<Type>,
    pub fixed: Option<Value>,
    pub pattern: Option<Value>,
    pub binding: Option<Binding>,
    pub rules: Vec<Arc<Rule>>,
    pub max_length: Option<usize>,
    pub least: Option<Bound>,
    pub greatest: Option<Bound>,
    pub slicing: Option<Slicing>,
    pub slices: Vec<(String, Arc<Element>)>,
    /// By element name without `[x]`.
    pub children: Vec<(String, Arc<Element>)>,
    /// Path of the element that says what this one contains, such as `Questionnaire.item`.
    pub content: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Type {
    pub code: String,
    pub profiles: Vec<String>,
    pub targets: Vec<String>,
}

/// Type suffix and value of `minValue[x]` and `maxValue[x]`.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    pub kind: String,
    pub value: Value,
}

#[derive(Debug, Clone)]
pub(super) struct Binding {
    pub strength: String,
    pub value_set: String,
}

#[derive(Debug, Clone)]
pub(super) struct Slicing {
    /// Kind (value, exists, pattern, type, profile) and path.
    pub discriminators: Vec<(String, String)>,
    /// closed, open, openAtEnd
    pub rules: String,
    pub ordered: bool,
}

impl Element {
    pub fn child(&self, name: &str) -> Option<&Arc<Element>> {
        self.children.iter().find(|(n, _)| n == name).map(|(_, e)| e)
    }

    fn merge(&mut self, json: &Value) {
        let text = |v: &Value| v.as_str().map(str::to_owned);
        if let Some(min) = json["min"].as_u64() {
            self.min = u32::try_from(min).ok();
        }
        if let Some(max) = json["max"].as_str() {
            self.max = Some(max.parse().ok());
        }
        if let Some(types) = json["type"].as_array() {
            self.types = types.iter().filter_map(one_type).collect();
        }
        for (key, value) in json.as_object().into_iter().flatten() {
            let bound = |prefix: &str| {
                key.strip_prefix(prefix).map(|kind| Bound { kind: kind.to_owned(), value: value.clone() })
            };
            if key.starts_with("fixed") {
                self.fixed = Some(value.clone());
            } else if key.starts_with("pattern") {
                self.pattern = Some(value.clone());
            } else if let Some(bound) = bound("minValue") {
                self.least = Some(bound);
            } else if let Some(bound) = bound("maxValue") {
                self.greatest = Some(bound);
            }
        }
        let binding = &json["binding"];
        if let (Some(strength), Some(value_set)) = (text(&binding["strength"]), text(&binding["valueSet"])) {
            self.binding = Some(Binding { strength, value_set });
        }
        for c in json["constraint"].as_array().into_iter().flatten() {
            let (Some(key), Some(expression)) = (c["key"].as_str(), c["expression"].as_str()) else {
                continue;
            };
            // A snapshot repeats the rules of the base, sometimes in a later wording; they have run.
            if Rules::get().has(key, expression) || c["source"].as_str().and_then(base_type).is_some() {
                continue;
            }
            let human = c["human"].as_str().unwrap_or(expression);
            let rule = Arc::new(Rule::new(key, human, c["severity"] != "warning", expression));
            match self.rules.iter_mut().find(|r| r.key == key) {
                Some(known) => *known = rule,
                None => self.rules.push(rule),
            }
        }
        if let Some(length) = json["maxLength"].as_u64() {
            self.max_length = usize::try_from(length).ok();
        }
        if let Some(content) = json["contentReference"].as_str() {
            self.content = Some(content.rsplit('#').next().unwrap_or(content).to_owned());
        }
        if let Some(slicing) = json.get("slicing") {
            let all = slicing["discriminator"].as_array().into_iter().flatten();
            self.slicing = Some(Slicing {
                discriminators: all.filter_map(|d| Some((text(&d["type"])?, text(&d["path"])?))).collect(),
                rules: text(&slicing["rules"]).unwrap_or_else(|| "open".to_owned()),
                ordered: slicing["ordered"] == true,
            });
        }
    }
}

fn one_type(json: &Value) -> Option<Type> {
    let list = |key: &str| -> Vec<String> {
        json[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let code = json["code"].as_str()?;
    // The id of an element and the value of a primitive have FHIRPath types, which restrict nothing.
    let code = code.strip_prefix("http://hl7.org/fhirpath/System.").map_or(code, |_| "");
    Some(Type { code: code.to_owned(), profiles: list("profile"), targets: list("targetProfile") })
}

/// One step from an element to the next: its name and the slice, if any; the type that a slice of a choice
/// has by its name alone.
struct Segment {
    name: String,
    slice: Option<String>,
    implied: Option<&'static str>,
}

impl Segment {
    fn new(name: &str, slice: Option<&str>) -> Segment {
        Segment { name: name.to_owned(), slice: slice.map(str::to_owned), implied: None }
    }
}

impl Profile {
    /// From a StructureDefinition: its snapshot, or else its differential over what `profiles` has under its
    /// `baseDefinition`.
    ///
    /// Errors: it is no constraint on an R4 type, its base is not known, or it is too large.
    pub fn compile(definition: &Value, profiles: &dyn Profiles) -> Result<Profile, Outcome> {
        let refuse =
            |expression: &str, text: String| Err(Outcome::one(IssueCode::NotSupported, expression, text));
        let text = |key: &str| definition[key].as_str();
        let Some(url) = text("url") else {
            return refuse("StructureDefinition.url", "A profile needs `url`.".to_owned());
        };
        let kind = text("type").map(|t| t.strip_prefix(BASE).unwrap_or(t)).unwrap_or_default();
        let d = Definitions::get();
        let known = d.number(kind).filter(|n| !matches!(d.type_def(*n).class, Class::Backbone));
        let (Some(number), true) = (known, text("derivation") != Some("specialization")) else {
            let text = format!("Profiles constrain R4 types; `{kind}` is none or is specialized.");
            return refuse("StructureDefinition.type", text);
        };
        let list = |key: &str| definition[key]["element"].as_array().filter(|e| !e.is_empty());
        let (elements, mut root) = match (list("snapshot"), list("differential")) {
            (Some(elements), _) => (elements.as_slice(), Element::default()),
            (None, differential) => {
                let base = text("baseDefinition").unwrap_or_default();
                let root = if base_type(base).is_some() {
                    Element::default()
                } else if let Some(base) = profiles.profile(base) {
                    base.root.as_ref().clone()
                } else {
                    let text = format!("The profile derives from {base}, which is not known here.");
                    return refuse("StructureDefinition.baseDefinition", text);
                };
                (differential.map_or(&[][..], Vec::as_slice), root)
            }
        };
        if elements.len() > MAX_ELEMENTS {
            return refuse("StructureDefinition", format!("A profile has at most {MAX_ELEMENTS} elements."));
        }
        let mut open: HashMap<String, String> = HashMap::new();
        for element in elements {
            let Some(path) = element["path"].as_str() else { continue };
            let mut segments = segments(element, path, &mut open);
            let slices = |s: &Segment| s.slice.as_ref().map_or(0, |slice| slice.split('/').count());
            if segments.iter().map(|s| 1 + slices(s)).sum::<usize>() > MAX_STEPS {
                return refuse("StructureDefinition", "An element is nested too deeply.".to_owned());
            }
            normalize(d.type_def(number), &mut segments);
            let node = place(&mut root, &segments);
            node.merge(element);
        }
        let contexts = definition["context"].as_array().into_iter().flatten();
        Ok(Profile {
            url: url.to_owned(),
            version: text("version").map(str::to_owned),
            kind: kind.to_owned(),
            number,
            root: Arc::new(root),
            contexts: contexts
                .filter_map(|c| {
                    let part = |key: &str| c[key].as_str().map(str::to_owned);
                    Some(Context { kind: part("type")?, expression: part("expression")? })
                })
                .collect(),
        })
    }
}

/// The way from the root to the element, by its id or, where that is missing, by path and slice name and the
/// slices that are open at this point of the list.
fn segments(element: &Value, path: &str, open: &mut HashMap<String, String>) -> Vec<Segment> {
    let slice_name = element["sliceName"].as_str();
    // What was open at this path or below it ends here.
    open.retain(|p, _| p != path && !p.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')));
    if let Some(name) = slice_name {
        open.insert(path.to_owned(), name.to_owned());
    }
    let by_id: Option<Vec<Segment>> = element["id"].as_str().map(|id| {
        let segment = |s: &str| match s.split_once(':') {
            Some((name, slice)) => Segment::new(name, Some(slice)),
            None => Segment::new(s, None),
        };
        id.split('.').map(segment).collect()
    });
    if let Some(segments) = by_id {
        let plain: Vec<&str> = segments.iter().map(|s| s.name.as_str()).collect();
        let slice = segments.last().and_then(|s| s.slice.as_deref());
        if plain.join(".") == path && slice == slice_name {
            return segments.into_iter().skip(1).collect();
        }
    }
    let mut so_far = String::new();
    let mut out = Vec::new();
    for (n, name) in path.split('.').enumerate() {
        if n > 0 {
            so_far.push('.');
        }
        so_far.push_str(name);
        if n > 0 {
            out.push(Segment::new(name, open.get(&so_far).map(String::as_str)));
        }
    }
    out
}

/// `value[x]` becomes `value`, and the short form `valueQuantity` its slice for that type.
fn normalize(root: &'static TypeDef, segments: &mut [Segment]) {
    let d = Definitions::get();
    let mut at = Some(root);
    for Segment { name, slice, implied } in segments {
        if let Some(plain) = name.strip_suffix("[x]") {
            *name = plain.to_owned();
        }
        let found = at.and_then(|t| {
            let element = t.element(name).map(|e| (e, e.types.first()));
            element.or_else(|| t.lookup(name).map(|(_, e, option)| (e, Some(option))))
        });
        let Some((element, option)) = found else {
            at = None;
            continue;
        };
        if element.choice && element.name != name {
            slice.get_or_insert_with(|| name.clone());
            *name = element.name.to_owned();
        }
        // Below a choice the slice's name says the type, as in `value[x]:valueQuantity.code`.
        let sliced = slice
            .as_deref()
            .and_then(|s| at.and_then(|t| t.lookup(s)))
            .filter(|(_, found, _)| found.choice && found.name == element.name)
            .map(|(_, _, option)| option);
        *implied = sliced.map(|o| o.code);
        at = sliced.or(option).map(|o| d.type_def(o.number));
    }
}

fn place<'e>(root: &'e mut Element, segments: &[Segment]) -> &'e mut Element {
    let mut at = root;
    for Segment { name, slice, implied } in segments {
        at = entry(&mut at.children, name);
        let Some(slice) = slice else { continue };
        if implied.is_some() && at.slicing.is_none() {
            at.slicing = Some(Slicing {
                discriminators: vec![("type".to_owned(), "$this".to_owned())],
                rules: "open".to_owned(),
                ordered: false,
            });
        }
        // `a/b` slices the slice `a` again.
        let mut so_far = String::new();
        for part in slice.split('/') {
            if !so_far.is_empty() {
                so_far.push('/');
            }
            so_far.push_str(part);
            at = entry(&mut at.slices, &so_far);
            if let Some(code) = implied.filter(|_| at.types.is_empty()) {
                at.types = vec![Type { code: code.to_owned(), profiles: Vec::new(), targets: Vec::new() }];
            }
        }
    }
    at
}

fn entry<'e>(list: &'e mut Vec<(String, Arc<Element>)>, name: &str) -> &'e mut Element {
    let at = match list.iter().position(|(n, _)| n == name) {
        Some(at) => at,
        None => {
            list.push((name.to_owned(), Arc::default()));
            list.len() - 1
        }
    };
    Arc::make_mut(&mut list[at].1)
}

/// StructureDefinitions in memory, compiled when first asked for.
#[derive(Default)]
pub struct Library {
    definitions: HashMap<String, Arc<Value>>,
    compiled: Mutex<HashMap<String, Option<Arc<Profile>>>>,
}

impl Library {
    /// Those that are no StructureDefinition with a URL are left out.
    pub fn new(definitions: impl IntoIterator<Item = Arc<Value>>) -> Library {
        let mut library = Library::default();
        for d in definitions.into_iter().filter(|d| d["resourceType"] == "StructureDefinition") {
            if let Some(url) = d["url"].as_str() {
                library.definitions.insert(url.to_owned(), d.clone());
            }
        }
        library
    }
    /// The StructureDefinition as it was given.
    pub fn definition(&self, canonical: &str) -> Option<&Arc<Value>> {
        self.definitions.get(canonical.split('|').next().unwrap_or(canonical))
    }

    fn compiled(&self, canonical: &str, depth: usize) -> Option<Arc<Profile>> {
        let (url, version) = match canonical.split_once('|') {
            Some((url, version)) => (url, Some(version)),
            None => (canonical, None),
        };
        let known = self.compiled.lock().unwrap_or_else(PoisonError::into_inner).get(url).cloned();
        let found = match known {
            Some(found) => found,
            None => {
                if depth > MAX_CHAIN {
                    return None;
                }
                let definition = self.definitions.get(url)?;
                let found = Profile::compile(definition, &Chain { library: self, depth }).ok().map(Arc::new);
                let mut all = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
                all.insert(url.to_owned(), found.clone());
                found
            }
        };
        found.filter(|p| version.is_none_or(|v| p.version.as_deref() == Some(v)))
    }
}

impl Profiles for Library {
    fn profile(&self, canonical: &str) -> Option<Arc<Profile>> {
        self.compiled(canonical, 0)
    }
}

/// Ends chains of profiles that derive from each other in a circle.
struct Chain<'l> {
    library: &'l Library,
    depth: usize,
}

impl Profiles for Chain<'_> {
    fn profile(&self, canonical: &str) -> Option<Arc<Profile>> {
        self.library.compiled(canonical, self.depth + 1)
    }
}
