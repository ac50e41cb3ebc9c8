//! Types and their elements, laid out for fast lookup by JSON key.

use super::TypeId;

/// Position of a type in the loaded definitions; not stable across builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TypeNumber(pub u16);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Resource,
    /// Resource, DomainResource.
    AbstractResource,
    Complex,
    /// Nested elements of one type, named by path, e.g. `Observation.component`.
    Backbone,
    /// SimpleQuantity, MoneyQuantity: a type with less allowed; its `base` is what FHIRPath sees.
    Profile,
    Primitive(Primitive),
}

/// <http://hl7.org/fhir/R4/datatypes.html#primitive>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Primitive {
    Base64Binary,
    Boolean,
    Canonical,
    Code,
    Date,
    DateTime,
    Decimal,
    Id,
    Instant,
    Integer,
    Markdown,
    Oid,
    PositiveInt,
    String,
    Time,
    UnsignedInt,
    Uri,
    Url,
    Uuid,
    Xhtml,
}

impl Primitive {
    pub fn from_name(name: &str) -> Option<Primitive> {
        Some(match name {
            "base64Binary" => Primitive::Base64Binary,
            "boolean" => Primitive::Boolean,
            "canonical" => Primitive::Canonical,
            "code" => Primitive::Code,
            "date" => Primitive::Date,
            "dateTime" => Primitive::DateTime,
            "decimal" => Primitive::Decimal,
            "id" => Primitive::Id,
            "instant" => Primitive::Instant,
            "integer" => Primitive::Integer,
            "markdown" => Primitive::Markdown,
            "oid" => Primitive::Oid,
            "positiveInt" => Primitive::PositiveInt,
            "string" => Primitive::String,
            "time" => Primitive::Time,
            "unsignedInt" => Primitive::UnsignedInt,
            "uri" => Primitive::Uri,
            "url" => Primitive::Url,
            "uuid" => Primitive::Uuid,
            "xhtml" => Primitive::Xhtml,
            _ => return None,
        })
    }
    /// uri and everything that derives from it.
    pub fn is_uri(self) -> bool {
        matches!(
            self,
            Primitive::Uri | Primitive::Url | Primitive::Canonical | Primitive::Oid | Primitive::Uuid
        )
    }
}

#[derive(Debug)]
pub(crate) struct TypeDef {
    /// `Patient`, `HumanName`, `code`, `Observation.component`.
    pub name: &'static str,
    pub class: Class,
    pub base: Option<TypeNumber>,
    /// Set for concrete resources.
    pub kind: Option<TypeId>,
    pub elements: Vec<Element>,
    pub keys: KeyTable,
}

impl TypeDef {
    pub fn primitive(&self) -> Option<Primitive> {
        match self.class {
            Class::Primitive(p) => Some(p),
            _ => None,
        }
    }
    /// The element and the type that the JSON key stands for, e.g. `valueQuantity`.
    pub fn lookup(&self, key: &str) -> Option<(usize, &Element, &ElementType)> {
        let (element, option) = self.keys.get(key)?;
        let e = &self.elements[usize::from(element)];
        Some((usize::from(element), e, &e.types[usize::from(option)]))
    }
    /// By element name, `value` for `value[x]`.
    pub fn element(&self, name: &str) -> Option<&Element> {
        self.elements.iter().find(|e| e.name == name)
    }
}

#[derive(Debug)]
pub(crate) struct Element {
    /// Without `[x]`.
    pub name: &'static str,
    pub choice: bool,
    pub min: u32,
    /// `None` = unbounded.
    pub max: Option<u32>,
    /// Code list of a required binding.
    pub binding: Option<u16>,
    /// `isSummary`
    pub summary: bool,
    /// `isModifier`
    pub modifier: bool,
    /// At least one.
    pub types: Vec<ElementType>,
}

impl Element {
    pub fn is_list(&self) -> bool {
        self.max != Some(1)
    }
}

#[derive(Debug)]
pub(crate) struct ElementType {
    /// What a choice key ends in (with a capital), e.g. `Quantity` also for SimpleQuantity.
    pub code: &'static str,
    pub number: TypeNumber,
    /// Allowed types of a Reference; empty = any.
    pub targets: Vec<TypeId>,
}

/// A closed code list of a required binding.
#[derive(Debug)]
pub(crate) struct CodeSet {
    pub url: &'static str,
    /// System and its codes, sorted.
    pub systems: Vec<(&'static str, Vec<&'static str>)>,
}

impl CodeSet {
    pub fn contains(&self, code: &str) -> bool {
        self.systems.iter().any(|(_, codes)| codes.binary_search(&code).is_ok())
    }
    pub fn contains_in(&self, system: &str, code: &str) -> bool {
        self.systems.iter().any(|(s, codes)| *s == system && codes.binary_search(&code).is_ok())
    }
}

/// Open-addressed table from JSON key to element and choice type.
#[derive(Debug, Default)]
pub(crate) struct KeyTable {
    slots: Vec<Option<(&'static str, u8, u8)>>,
}

impl KeyTable {
    pub fn build(elements: &[Element]) -> KeyTable {
        let count: usize = elements.iter().map(|e| e.types.len()).sum();
        let mut table = KeyTable { slots: vec![None; (count * 2).next_power_of_two().max(2)] };
        // u8 is enough: no R4 type has more than 100 elements or 60 choices.
        for (n, e) in elements.iter().enumerate() {
            for (o, t) in e.types.iter().enumerate() {
                let key: &'static str = if e.choice {
                    let mut key = String::with_capacity(e.name.len() + t.code.len());
                    key.push_str(e.name);
                    let mut rest = t.code.chars();
                    key.extend(rest.next().map(|c| c.to_ascii_uppercase()));
                    key.push_str(rest.as_str());
                    // Leaked once per process, with the rest of the definitions.
                    Box::leak(key.into_boxed_str())
                } else {
                    e.name
                };
                table.insert(key, n as u8, o as u8);
                if !e.choice {
                    break;
                }
            }
        }
        table
    }

    fn insert(&mut self, key: &'static str, element: u8, option: u8) {
        let mask = self.slots.len() - 1;
        let mut at = hash(key) & mask;
        while self.slots[at].is_some() {
            at = (at + 1) & mask;
        }
        self.slots[at] = Some((key, element, option));
    }

    pub fn get(&self, key: &str) -> Option<(u8, u8)> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash(key) & mask;
        loop {
            // The table is at most half full, so the probe ends.
            let (found, element, option) = self.slots[at]?;
            if found == key {
                return Some((element, option));
            }
            at = (at + 1) & mask;
        }
    }

    /// All keys, for suggestions.
    pub fn keys(&self) -> impl Iterator<Item = (&'static str, u8, u8)> {
        self.slots.iter().flatten().copied()
    }
}

/// The first and last eight bytes and the length tell the keys of one type apart well enough.
fn hash(key: &str) -> usize {
    let bytes = key.as_bytes();
    let word = |part: &[u8]| part.iter().fold(0u64, |w, b| (w << 8) | u64::from(*b));
    let (first, last) = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(f), Some(l)) => (u64::from_le_bytes(*f), u64::from_le_bytes(*l)),
        _ => (word(bytes), 0),
    };
    let mixed = (first ^ last.rotate_left(29) ^ (bytes.len() as u64)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 40) as usize
}
