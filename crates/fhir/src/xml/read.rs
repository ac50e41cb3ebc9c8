//! XML text to JSON.

use super::{FHIR, MAX_BYTES, SCHEMA_INSTANCE, XHTML, is_xml_char};
use crate::definitions::{Class, Definitions, Element, Primitive, TypeDef};
use crate::suggest::nearest;
use crate::{IssueCode, MAX_DEPTH, Outcome, TypeId};
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, PrefixDeclaration, ResolveResult};
use quick_xml::reader::NsReader;
use serde_json::{Map, Number, Value, json};

/// Characters of a name that a message repeats.
const MAX_SHOWN: usize = 64;
/// Open elements within one narrative.
const MAX_NARRATIVE_DEPTH: usize = 100;
/// Attributes of one narrative element that has to be written anew.
const MAX_NARRATIVE_ATTRIBUTES: usize = 64;

/// Errors: see [super::parse].
pub(super) fn document(bytes: &[u8]) -> Result<Value, Outcome> {
    let refuse = |text: &str| Err(Outcome::one(IssueCode::Structure, "", text));
    if bytes.len() > MAX_BYTES {
        return Err(Outcome::one(IssueCode::TooLong, "", "The XML document is longer than 64 MiB."));
    }
    if bytes.starts_with(&[0xff, 0xfe])
        || bytes.starts_with(&[0xfe, 0xff])
        || bytes.iter().take(4).any(|b| *b == 0)
    {
        return refuse("The XML document must be in UTF-8.");
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => return refuse(&format!("The XML document is not UTF-8 at byte {}.", e.valid_up_to())),
    };
    if !text.chars().all(is_xml_char) {
        return refuse("The XML document has characters that XML does not allow.");
    }
    let mut xml = NsReader::from_str(text);
    let config = xml.config_mut();
    config.expand_empty_elements = true;
    config.check_comments = true;
    let mut reader = Reader { text, xml, path: Vec::new() };
    reader.document().map_err(|fault| reader.outcome(fault))
}

struct Fault {
    code: IssueCode,
    text: String,
}

fn fault<T>(text: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { code: IssueCode::Structure, text: text.into() })
}

impl From<quick_xml::Error> for Fault {
    fn from(error: quick_xml::Error) -> Fault {
        use quick_xml::errors::IllFormedError as I;
        // The errors of the parser quote the document; what they mean is said here without it.
        let text = match error {
            quick_xml::Error::IllFormed(I::MismatchedEndTag { .. } | I::UnmatchedEndTag(_)) => {
                "an end tag closes an element that is not open"
            }
            quick_xml::Error::IllFormed(I::MissingEndTag(_)) => "an element is not closed",
            quick_xml::Error::IllFormed(I::DoubleHyphenInComment) => "a comment has `--` inside",
            quick_xml::Error::InvalidAttr(_) => "an attribute is not well-formed",
            quick_xml::Error::Escape(_) => {
                "an entity that XML itself does not define, or a `&` that must be written `&amp;`"
            }
            quick_xml::Error::Namespace(_) => {
                "a namespace prefix is not declared, or there are too many declarations"
            }
            _ => "not well-formed",
        };
        Fault { code: IssueCode::Structure, text: text.to_owned() }
    }
}

impl From<quick_xml::events::attributes::AttrError> for Fault {
    fn from(error: quick_xml::events::attributes::AttrError) -> Fault {
        Fault::from(quick_xml::Error::InvalidAttr(error))
    }
}

/// Which vocabulary a name belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Space {
    Fhir,
    Xhtml,
    Other,
}

enum Next<'a> {
    Start { space: Space, start: BytesStart<'a>, at: usize },
    End,
    Eof,
}

struct Step {
    name: String,
    index: Option<usize>,
}

struct Reader<'a> {
    text: &'a str,
    xml: NsReader<&'a [u8]>,
    /// Where in the resource the reader is.
    path: Vec<Step>,
}

/// What stands in the attributes of one element.
#[derive(Default)]
struct Attributes {
    value: Option<String>,
    id: Option<String>,
    url: Option<String>,
}

impl<'a> Reader<'a> {
    fn outcome(&self, fault: Fault) -> Outcome {
        let at = usize::try_from(self.xml.error_position().max(self.xml.buffer_position())).unwrap_or(0);
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
        let mut path = String::new();
        for (n, step) in self.path.iter().enumerate() {
            if n > 0 {
                path.push('.');
            }
            path.push_str(&step.name);
            if let Some(index) = step.index {
                path.push_str(&format!("[{index}]"));
            }
        }
        let text = fault.text;
        Outcome::one(
            fault.code,
            path,
            format!("The XML document cannot be read: {text} (line {line} column {column})."),
        )
    }

    fn document(&mut self) -> Result<Value, Fault> {
        let resource = match self.next()? {
            Next::Start { space, start, .. } => self.resource(space, &start, 1)?,
            Next::End | Next::Eof => return fault("it has no element"),
        };
        match self.next()? {
            Next::Eof => Ok(resource),
            _ => fault("a second element follows the resource"),
        }
    }

    /// The next tag; white space, comments and processing instructions are skipped.
    fn next(&mut self) -> Result<Next<'a>, Fault> {
        loop {
            let at = usize::try_from(self.xml.buffer_position()).unwrap_or(0);
            match self.xml.read_event()? {
                Event::Start(start) | Event::Empty(start) => {
                    let space = self.space(&start)?;
                    return Ok(Next::Start { space, start, at });
                }
                Event::End(_) => return Ok(Next::End),
                Event::Eof => return Ok(Next::Eof),
                Event::Comment(_) | Event::PI(_) => {}
                Event::Text(text) if text.trim().is_empty() => {}
                Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {
                    return fault("text between elements; values stand in the attribute `value`");
                }
                Event::Decl(declaration) => {
                    if at != 0 {
                        return fault("the XML declaration must come first");
                    }
                    match declaration.version() {
                        Ok(version) if version == "1.0" => {}
                        _ => return fault("only XML 1.0 is read"),
                    }
                    if let Some(encoding) = declaration.encoding() {
                        let encoding = encoding?;
                        if !encoding.eq_ignore_ascii_case("utf-8")
                            && !encoding.eq_ignore_ascii_case("us-ascii")
                        {
                            return fault("the XML document must be in UTF-8");
                        }
                    }
                }
                Event::DocType(_) => return fault("a document type (DOCTYPE) is not allowed"),
            }
        }
    }

    fn space(&self, start: &BytesStart) -> Result<Space, Fault> {
        match self.xml.resolver().resolve_element(start.name()).0 {
            ResolveResult::Bound(Namespace(FHIR)) => Ok(Space::Fhir),
            ResolveResult::Bound(Namespace(XHTML)) => Ok(Space::Xhtml),
            ResolveResult::Unknown(_) => fault("a namespace prefix is not declared"),
            _ => Ok(Space::Other),
        }
    }

    fn fhir(&self, space: Space) -> Result<(), Fault> {
        if space == Space::Fhir {
            Ok(())
        } else {
            fault(format!("elements of FHIR are in the namespace {FHIR}"))
        }
    }

    /// The attributes of an element of FHIR. Errors: any that the element does not have.
    fn attributes(&self, start: &BytesStart, value: bool, id: bool, url: bool) -> Result<Attributes, Fault> {
        let mut found = Attributes::default();
        for attribute in start.attributes() {
            let attribute = attribute?;
            match attribute.key.as_namespace_binding() {
                Some(PrefixDeclaration::Default | PrefixDeclaration::Named(_)) => continue,
                None => {}
            }
            let (space, local) = self.xml.resolver().resolve_attribute(attribute.key);
            if space == ResolveResult::Bound(Namespace(SCHEMA_INSTANCE)) && local.as_ref() == "schemaLocation"
            {
                continue;
            }
            let slot = match (space, local.as_ref()) {
                (ResolveResult::Unbound, "value") if value => &mut found.value,
                (ResolveResult::Unbound, "id") if id => &mut found.id,
                (ResolveResult::Unbound, "url") if url => &mut found.url,
                _ => {
                    let name = shown(attribute.key.0);
                    return fault(format!("an attribute `{name}` that this element does not have"));
                }
            };
            let text = attribute.normalized_value(XmlVersion::Implicit1_0)?;
            if !text.chars().all(is_xml_char) {
                return fault("a character reference that XML does not allow");
            }
            *slot = Some(text.into_owned());
        }
        Ok(found)
    }

    /// A resource whose start tag was read; `depth` is that of its JSON object.
    fn resource(&mut self, space: Space, start: &BytesStart, depth: usize) -> Result<Value, Fault> {
        self.fhir(space)?;
        let name = start.local_name();
        let d = Definitions::get();
        let Some((_, t)) = TypeId::from_name(name.as_ref()).and_then(|kind| d.resource(kind)) else {
            return fault(format!("`{}` is no FHIR R4 resource type", shown(name.as_ref())));
        };
        self.attributes(start, false, false, false)?;
        if self.path.is_empty() {
            self.path.push(Step { name: t.name.to_owned(), index: None });
        }
        let mut object = Map::new();
        object.insert("resourceType".to_owned(), json!(t.name));
        self.children(t, &mut object, depth)?;
        Ok(Value::Object(object))
    }

    /// Everything up to the end tag of an element of type `t`.
    fn children(
        &mut self,
        t: &'static TypeDef,
        object: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return fault("nested too deeply");
        }
        // Lists of primitives of which some have extensions: evened out at the end.
        let mut extended: Vec<&'static str> = Vec::new();
        loop {
            let (space, start, at) = match self.next()? {
                Next::Start { space, start, at } => (space, start, at),
                Next::End => break,
                Next::Eof => return fault("it ends too early"),
            };
            let local = start.local_name();
            let name = local.as_ref();
            let Some((number, element, option)) = t.lookup(name) else { return self.unknown(t, name) };
            let key = key_of(t, element, number, name);
            if is_attribute(t, key) {
                return fault(format!("`{key}` is an attribute here, not an element"));
            }
            let definition = Definitions::get().type_def(option.number);
            let index = match object.get(key) {
                Some(Value::Array(items)) => items.len(),
                Some(_) => return fault(format!("`{key}` may be given only once")),
                None if element.is_list() => 0,
                None if object.contains_key(&format!("_{key}")) => {
                    return fault(format!("`{key}` may be given only once"));
                }
                None => 0,
            };
            self.path.push(Step { name: key.to_owned(), index: element.is_list().then_some(index) });
            if definition.class == Class::Primitive(Primitive::Xhtml) {
                if space != Space::Xhtml {
                    return fault(format!("the narrative's `div` is in the namespace {XHTML}"));
                }
                let markup = self.narrative(&start, at)?;
                object.insert(key.to_owned(), Value::String(markup));
                self.path.pop();
                continue;
            }
            self.fhir(space)?;
            match definition.class {
                Class::Primitive(p) => {
                    let (value, extension) =
                        self.primitive(p, &start, depth + 1 + usize::from(element.is_list()))?;
                    put_primitive(object, key, element, value, extension, &mut extended);
                }
                Class::AbstractResource | Class::Resource => {
                    self.attributes(&start, false, false, false)?;
                    let inner = depth + 1 + usize::from(element.is_list());
                    let resource = match self.next()? {
                        Next::Start { space, start, .. } => self.resource(space, &start, inner)?,
                        _ => return fault(format!("`{key}` holds one resource")),
                    };
                    match self.next()? {
                        Next::End => {}
                        _ => return fault(format!("`{key}` holds one resource only")),
                    }
                    put(object, key, element, resource);
                }
                _ => {
                    let value =
                        self.complex(definition, &start, depth + 1 + usize::from(element.is_list()))?;
                    put(object, key, element, value);
                }
            }
            self.path.pop();
        }
        for key in extended {
            even_out(object, key);
        }
        Ok(())
    }

    fn unknown<T>(&mut self, t: &TypeDef, name: &str) -> Result<T, Fault> {
        let name = shown(name);
        fault(match nearest(&name, t.keys.keys().map(|(k, _, _)| k)) {
            Some(near) => format!("{} has no element `{name}`. Did you mean `{near}`?", t.name),
            None => format!("{} has no element `{name}`", t.name),
        })
    }

    fn complex(&mut self, t: &'static TypeDef, start: &BytesStart, depth: usize) -> Result<Value, Fault> {
        let attributes = self.attributes(start, false, true, t.name == "Extension")?;
        let mut object = Map::new();
        for (key, value) in [("id", attributes.id), ("url", attributes.url)] {
            if let Some(text) = value {
                object.insert(key.to_owned(), Value::String(text));
            }
        }
        self.children(t, &mut object, depth)?;
        Ok(Value::Object(object))
    }

    /// Value, and id and extensions.
    fn primitive(
        &mut self,
        p: Primitive,
        start: &BytesStart,
        depth: usize,
    ) -> Result<(Option<Value>, Option<Value>), Fault> {
        let attributes = self.attributes(start, true, true, false)?;
        let value = attributes.value.map(|text| typed(p, text)).transpose()?;
        let mut extension = Map::new();
        if let Some(id) = attributes.id {
            extension.insert("id".to_owned(), Value::String(id));
        }
        let Some(t) = Definitions::get().by_name("Element") else { return fault("no definitions") };
        self.children(t, &mut extension, depth)?;
        if value.is_none() && extension.is_empty() {
            return fault("an element without `value` and without extensions");
        }
        Ok((value, (!extension.is_empty()).then_some(Value::Object(extension))))
    }

    /// The narrative as it is written, if that can stand alone; else with the prefixes resolved.
    fn narrative(&mut self, start: &BytesStart, at: usize) -> Result<String, Fault> {
        let alone = start.name().prefix().is_none()
            && start
                .attributes()
                .with_checks(false)
                .flatten()
                .any(|a| matches!(a.key.as_namespace_binding(), Some(PrefixDeclaration::Default)));
        let mut markup = Markup { text: String::new(), plain: alone };
        markup.start(start, true)?;
        let mut depth = 1;
        while depth > 0 {
            match self.xml.read_event()? {
                Event::Start(start) | Event::Empty(start) => {
                    if self.space(&start)? != Space::Xhtml {
                        return fault("the narrative has elements that are not XHTML");
                    }
                    depth += 1;
                    if depth > MAX_NARRATIVE_DEPTH {
                        return fault("the narrative is nested too deeply");
                    }
                    markup.start(&start, false)?;
                }
                Event::End(end) => {
                    depth -= 1;
                    markup.push(&format!("</{}>", end.local_name().as_ref()));
                }
                Event::Text(text) => markup.push(&text),
                Event::GeneralRef(reference) => {
                    let known = match reference.resolve_char_ref()? {
                        Some(c) => is_xml_char(c),
                        None => matches!(reference.as_ref(), "amp" | "lt" | "gt" | "quot" | "apos"),
                    };
                    if !known {
                        return fault(
                            "an entity that XML itself does not define; write it as a character, or as `&#…;`",
                        );
                    }
                    markup.push(&format!("&{};", reference.as_ref()));
                }
                // Not part of what may stand in a narrative's JSON text.
                Event::CData(text) => {
                    markup.plain = false;
                    markup.push(&quick_xml::escape::minimal_escape(text.into_inner().as_ref()));
                }
                Event::Comment(_) => {}
                Event::PI(_) | Event::Decl(_) => markup.plain = false,
                Event::DocType(_) => return fault("a document type (DOCTYPE) is not allowed"),
                Event::Eof => return fault("it ends too early"),
            }
        }
        if markup.plain {
            let end = usize::try_from(self.xml.buffer_position()).unwrap_or(0);
            return Ok(self.text.get(at..end).unwrap_or_default().to_owned());
        }
        Ok(markup.text)
    }
}

/// A narrative written anew, for documents that give XHTML a prefix.
struct Markup {
    text: String,
    /// Nothing had to be changed, so that the original text serves.
    plain: bool,
}

impl Markup {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn start(&mut self, start: &BytesStart, root: bool) -> Result<(), Fault> {
        self.plain &= start.name().prefix().is_none();
        self.text.push('<');
        self.text.push_str(start.local_name().as_ref());
        if root {
            self.push(&format!(" xmlns=\"{XHTML}\""));
        }
        for (n, attribute) in start.attributes().with_checks(false).enumerate() {
            let attribute = attribute?;
            if n >= MAX_NARRATIVE_ATTRIBUTES {
                return fault("an element of the narrative has too many attributes");
            }
            if attribute.key.as_namespace_binding().is_none() {
                let value = attribute.value.replace('"', "&quot;");
                self.push(&format!(" {}=\"{value}\"", attribute.key.0));
            }
        }
        self.text.push('>');
        Ok(())
    }
}

fn shown(name: &str) -> String {
    name.chars().take(MAX_SHOWN).collect()
}

/// The name with the lifetime of the definitions, as JSON spells it.
fn key_of(t: &'static TypeDef, element: &'static Element, number: usize, name: &str) -> &'static str {
    if !element.choice {
        return element.name;
    }
    let found = t.keys.keys().find(|(k, e, _)| usize::from(*e) == number && *k == name);
    found.map_or(element.name, |(k, _, _)| k)
}

/// Element ids and the URLs of extensions are attributes; the id of a resource is an element.
fn is_attribute(t: &TypeDef, key: &str) -> bool {
    (key == "id" && t.kind.is_none()) || (key == "url" && t.name == "Extension")
}

fn put(object: &mut Map<String, Value>, key: &str, element: &Element, value: Value) {
    if !element.is_list() {
        object.insert(key.to_owned(), value);
        return;
    }
    match object.get_mut(key) {
        Some(Value::Array(items)) => items.push(value),
        _ => {
            object.insert(key.to_owned(), Value::Array(vec![value]));
        }
    }
}

fn put_primitive(
    object: &mut Map<String, Value>,
    key: &'static str,
    element: &Element,
    value: Option<Value>,
    extension: Option<Value>,
    extended: &mut Vec<&'static str>,
) {
    if !element.is_list() {
        if let Some(value) = value {
            object.insert(key.to_owned(), value);
        }
        if let Some(extension) = extension {
            object.insert(format!("_{key}"), extension);
        }
        return;
    }
    put(object, key, element, value.unwrap_or(Value::Null));
    let Some(extension) = extension else { return };
    let index = object.get(key).and_then(Value::as_array).map_or(0, |items| items.len().saturating_sub(1));
    let beside = object.entry(format!("_{key}")).or_insert_with(|| json!([]));
    if let Value::Array(items) = beside {
        items.resize(index, Value::Null);
        items.push(extension);
    }
    if !extended.contains(&key) {
        extended.push(key);
    }
}

/// `name` and `_name` get the same length; a `name` of nothing but null goes away.
fn even_out(object: &mut Map<String, Value>, key: &str) {
    let Some(values) = object.get(key).and_then(Value::as_array) else { return };
    let (count, empty) = (values.len(), values.iter().all(Value::is_null));
    if let Some(Value::Array(items)) = object.get_mut(&format!("_{key}")) {
        items.resize(count, Value::Null);
    }
    if empty {
        object.shift_remove(key);
    }
}

/// The JSON value for the text of a primitive. Errors: the text is no boolean or number.
fn typed(p: Primitive, text: String) -> Result<Value, Fault> {
    match p {
        Primitive::Boolean => match text.as_str() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(Fault { code: IssueCode::Value, text: "a boolean is `true` or `false`".to_owned() }),
        },
        Primitive::Integer | Primitive::PositiveInt | Primitive::UnsignedInt | Primitive::Decimal => {
            // XML allows a plus sign, JSON does not.
            let text = text.strip_prefix('+').unwrap_or(&text);
            if is_number(text, p == Primitive::Decimal) {
                // Keeps the digits as written; the text was checked.
                Ok(Value::Number(Number::from_string_unchecked(text.to_owned())))
            } else {
                Err(Fault { code: IssueCode::Value, text: "a number is not well-formed".to_owned() })
            }
        }
        _ => Ok(Value::String(text)),
    }
}

/// `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?`
fn is_number(text: &str, decimal: bool) -> bool {
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((m, e)) => (m, Some(e)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((w, f)) => (w, Some(f)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|e| digits(e.strip_prefix(['+', '-']).unwrap_or(e)))
        && (decimal || fraction.is_none() && exponent.is_none())
}
