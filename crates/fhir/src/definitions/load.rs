//! Reads the embedded extract that `cargo xtask codegen` makes. One line per fact, tab-separated:
//! `V format`, `S url` + `s system code…`, `T name class base` + `E name min max set flags types`,
//! `P id kind code type expression targets url` + `K code expression` (components), `C compartment kind codes`.

use super::element::{Class, CodeSet, Element, ElementType, KeyTable, Primitive, TypeDef, TypeNumber};
use super::{Component, Param, ParamId, ParamType, TypeId};
use std::collections::HashMap;
use std::io::Read;
use std::sync::OnceLock;

static PACKED: &[u8] = include_bytes!("../../data/r4.txt.gz");
const FORMAT: &str = "2";

/// Everything the extract says, ready for lookup.
#[derive(Default)]
pub(crate) struct Definitions {
    pub types: Vec<TypeDef>,
    pub code_sets: Vec<CodeSet>,
    /// Sorted by kind and code.
    pub params: Vec<Param>,
    numbers: HashMap<&'static str, TypeNumber>,
    /// By [TypeId].
    resources: Vec<TypeNumber>,
    /// By [TypeId]: start and end in `params`.
    param_ranges: Vec<(usize, usize)>,
    /// By [ParamId]: position in `params`.
    param_positions: Vec<Option<u32>>,
    /// By the compartment's type and the resource's.
    compartments: HashMap<(TypeId, TypeId), Vec<ParamId>>,
}

impl Definitions {
    pub fn get() -> &'static Definitions {
        static LOADED: OnceLock<Definitions> = OnceLock::new();
        LOADED.get_or_init(|| {
            let loaded = load();
            assert!(loaded.is_some(), "the embedded R4 definitions are damaged");
            loaded.unwrap_or_default()
        })
    }

    pub fn number(&self, name: &str) -> Option<TypeNumber> {
        self.numbers.get(name).copied()
    }
    pub fn by_name(&self, name: &str) -> Option<&TypeDef> {
        self.number(name).map(|n| self.type_def(n))
    }
    pub fn type_def(&self, number: TypeNumber) -> &TypeDef {
        &self.types[usize::from(number.0)]
    }
    /// The definition of a resource type.
    pub fn resource(&self, kind: TypeId) -> Option<(TypeNumber, &TypeDef)> {
        let number = *self.resources.get(usize::from(kind.0))?;
        Some((number, self.type_def(number)))
    }
    pub fn params_of(&self, kind: TypeId) -> &[Param] {
        match self.param_ranges.get(usize::from(kind.0)) {
            Some(&(start, end)) => &self.params[start..end],
            None => &[],
        }
    }
    pub fn param_by_id(&self, id: ParamId) -> Option<&Param> {
        let position = (*self.param_positions.get(usize::from(id.0))?)?;
        self.params.get(position as usize)
    }
    pub fn compartment(&self, of: TypeId, kind: TypeId) -> &[ParamId] {
        self.compartments.get(&(of, kind)).map_or(&[], Vec::as_slice)
    }
    /// Whether `number` is `ancestor` or derives from it.
    pub fn is_a(&self, number: TypeNumber, ancestor: TypeNumber) -> bool {
        let mut current = Some(number);
        while let Some(n) = current {
            if n == ancestor {
                return true;
            }
            current = self.type_def(n).base;
        }
        false
    }
}

fn load() -> Option<Definitions> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(PACKED).read_to_string(&mut text).ok()?;
    // Leaked on purpose: names are handed out as `&'static str` for the life of the process.
    let text: &'static str = Box::leak(text.into_boxed_str());
    let mut lines = text.lines();
    if lines.next()?.strip_prefix("V\t")? != FORMAT {
        return None;
    }
    let mut d = Definitions::default();
    for (n, line) in text.lines().filter(|l| l.starts_with("T\t")).enumerate() {
        let name = line.split('\t').nth(1)?;
        d.numbers.insert(name, TypeNumber(u16::try_from(n).ok()?));
    }
    for line in lines {
        let (tag, rest) = line.split_once('\t')?;
        match tag {
            "S" => d.code_sets.push(CodeSet { url: rest, systems: Vec::new() }),
            "s" => {
                let mut words = rest.split('\t');
                let system = words.next()?;
                d.code_sets.last_mut()?.systems.push((system, words.collect()));
            }
            "T" => {
                let t = type_line(&d, rest)?;
                d.types.push(t);
            }
            "E" => {
                let e = element_line(&d, rest)?;
                d.types.last_mut()?.elements.push(e);
            }
            "P" => {
                let p = param_line(rest)?;
                d.params.push(p);
            }
            "K" => {
                let (code, expression) = rest.split_once('\t')?;
                d.params.last_mut()?.components.push(Component { code, expression });
            }
            "C" => {}
            _ => return None,
        }
    }
    for t in &mut d.types {
        t.keys = KeyTable::build(&t.elements);
    }
    for kind in TypeId::all() {
        d.resources.push(d.number(kind.name())?);
    }
    index_params(&mut d, text)?;
    Some(d)
}

fn type_line(d: &Definitions, line: &'static str) -> Option<TypeDef> {
    let mut words = line.split('\t');
    let name = words.next()?;
    let class = match words.next()? {
        "r" => Class::Resource,
        "a" => Class::AbstractResource,
        "c" => Class::Complex,
        "b" => Class::Backbone,
        "q" => Class::Profile,
        "p" => Class::Primitive(Primitive::from_name(name)?),
        _ => return None,
    };
    let base = words.next().and_then(|b| d.number(b));
    Some(TypeDef {
        name,
        class,
        base,
        kind: TypeId::from_name(name),
        elements: Vec::new(),
        keys: KeyTable::default(),
    })
}

fn element_line(d: &Definitions, line: &'static str) -> Option<Element> {
    let mut words = line.split('\t');
    let name = words.next()?;
    let min = words.next()?.parse().ok()?;
    let max: u32 = words.next()?.parse().ok()?;
    let binding = match words.next()? {
        "" => None,
        n => Some(n.parse().ok()?),
    };
    let flags = words.next()?;
    let (summary, modifier) = (flags.contains('s'), flags.contains('m'));
    let mut types = Vec::new();
    for word in words.next()?.split(' ') {
        let (word, targets) = match word.split_once(':') {
            Some((w, t)) => (w, t.split(',').filter_map(TypeId::from_name).collect()),
            None => (word, Vec::new()),
        };
        let word = word.trim_start_matches('@');
        let (code, actual) = word.split_once('=').unwrap_or((word, word));
        types.push(ElementType { code, number: d.number(actual)?, targets });
    }
    let (name, choice) = match name.strip_suffix("[x]") {
        Some(n) => (n, true),
        None => (name, false),
    };
    Some(Element { name, choice, min, max: (max > 0).then_some(max), binding, summary, modifier, types })
}

fn param_line(line: &'static str) -> Option<Param> {
    let mut words = line.split('\t');
    Some(Param {
        id: ParamId(words.next()?.parse().ok()?),
        kind: TypeId::from_name(words.next()?)?,
        code: words.next()?,
        param_type: ParamType::from_code(words.next()?)?,
        expression: words.next()?,
        targets: words.next()?.split(',').filter_map(TypeId::from_name).collect(),
        url: words.next()?,
        components: Vec::new(),
    })
}

fn index_params(d: &mut Definitions, text: &'static str) -> Option<()> {
    d.params.sort_by(|a, b| (a.kind, a.code).cmp(&(b.kind, b.code)));
    let highest = d.params.iter().map(|p| usize::from(p.id.0)).max()?;
    d.param_positions = vec![None; highest + 1];
    d.param_ranges = vec![(0, 0); d.resources.len()];
    for (n, p) in d.params.iter().enumerate() {
        d.param_positions[usize::from(p.id.0)] = Some(u32::try_from(n).ok()?);
        let range = &mut d.param_ranges[usize::from(p.kind.0)];
        if range.1 == 0 {
            range.0 = n;
        }
        range.1 = n + 1;
    }
    for line in text.lines().filter_map(|l| l.strip_prefix("C\t")) {
        let mut words = line.split('\t');
        let (of, kind) = (TypeId::from_name(words.next()?)?, TypeId::from_name(words.next()?)?);
        let params = d.params_of(kind);
        let ids = words.next()?.split(',').filter_map(|c| params.iter().find(|p| p.code == c)).map(|p| p.id);
        let ids = ids.collect();
        d.compartments.insert((of, kind), ids);
    }
    Some(())
}
