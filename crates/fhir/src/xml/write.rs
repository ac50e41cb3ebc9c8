//! JSON to XML text.

use super::{FHIR, XHTML, is_xml_char};
use crate::definitions::{Class, Definitions, Element, ElementType, Primitive, TypeDef};
use crate::{IssueCode, MAX_DEPTH, Outcome, TypeId};
use quick_xml::events::Event;
use quick_xml::reader::Reader;
use serde_json::{Map, Value};

/// Errors: see [super::write].
pub(super) fn document(resource: &Value, pretty: bool) -> Result<String, Outcome> {
    let mut writer = Writer { out: String::with_capacity(4096), path: Vec::new(), pretty, open: 0 };
    writer.out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    writer.resource(resource, true).map_err(|text| {
        let path = writer.path.join(".");
        Outcome::one(IssueCode::Structure, path, format!("The resource cannot be written as XML: {text}."))
    })?;
    if pretty {
        writer.out.push('\n');
    }
    Ok(writer.out)
}

struct Writer {
    out: String,
    /// For messages: the elements on the way here, without indexes.
    path: Vec<String>,
    pretty: bool,
    /// Open elements.
    open: usize,
}

type Written = Result<(), String>;

impl Writer {
    fn resource(&mut self, resource: &Value, root: bool) -> Written {
        let Value::Object(object) = resource else { return Err("a resource is a JSON object".to_owned()) };
        let kind = object.get("resourceType").and_then(Value::as_str).and_then(TypeId::from_name);
        let Some((_, t)) = kind.and_then(|k| Definitions::get().resource(k)) else {
            return Err("`resourceType` names no R4 type".to_owned());
        };
        if root {
            self.path.push(t.name.to_owned());
        }
        self.start(t.name);
        if root {
            self.attribute("xmlns", FHIR)?;
        }
        self.rest(t.name, |writer| writer.children(t, object))
    }

    /// The elements of `object` in the order of the definitions.
    fn children(&mut self, t: &'static TypeDef, object: &Map<String, Value>) -> Written {
        if self.path.len() > MAX_DEPTH {
            return Err("nested too deeply".to_owned());
        }
        let mut present: Vec<(usize, &Element, &ElementType, &str)> = Vec::with_capacity(object.len());
        for key in object.keys() {
            let name = key.strip_prefix('_').unwrap_or(key);
            if key == "resourceType" && t.kind.is_some() {
                continue;
            }
            if is_attribute(t, name) {
                match name.len() == key.len() {
                    true => continue,
                    false => return Err(format!("`{name}` is an attribute and has no extensions in XML")),
                }
            }
            let Some((number, element, option)) = t.lookup(name) else {
                return Err(format!("{} has an unknown element", t.name));
            };
            // `_name` with its `name` is written once.
            if name.len() == key.len() || !object.contains_key(name) {
                present.push((number, element, option, name));
            }
        }
        present.sort_by_key(|p| p.0);
        for (_, element, option, name) in present {
            self.path.push(name.to_owned());
            self.element(element, option, name, object)?;
            self.path.pop();
        }
        Ok(())
    }

    fn element(
        &mut self,
        element: &Element,
        option: &ElementType,
        name: &str,
        object: &Map<String, Value>,
    ) -> Written {
        let t = Definitions::get().type_def(option.number);
        let value = object.get(name);
        if t.primitive().is_some() {
            let beside = object.get(&format!("_{name}"));
            return self.primitives(t, element, name, value, beside);
        }
        let beside = object.contains_key(&format!("_{name}"));
        match value {
            _ if beside => Err("only values of primitive types have a name with an underscore".to_owned()),
            Some(Value::Array(items)) if element.is_list() => {
                items.iter().try_for_each(|item| self.item(t, name, item))
            }
            Some(item) if !element.is_list() => self.item(t, name, item),
            Some(_) => Err("an element that repeats is an array".to_owned()),
            None => Ok(()),
        }
    }

    fn item(&mut self, t: &'static TypeDef, name: &str, item: &Value) -> Written {
        if matches!(t.class, Class::AbstractResource | Class::Resource) {
            self.start(name);
            return self.rest(name, |writer| writer.resource(item, false));
        }
        let Value::Object(object) = item else { return Err("a JSON object was expected".to_owned()) };
        self.start(name);
        self.attributes(t, object)?;
        self.rest(name, |writer| writer.children(t, object))
    }

    fn attributes(&mut self, t: &TypeDef, object: &Map<String, Value>) -> Written {
        for key in ["id", "url"] {
            match object.get(key) {
                Some(Value::String(text)) if is_attribute(t, key) => self.attribute(key, text)?,
                Some(_) if is_attribute(t, key) => return Err(format!("`{key}` is a text")),
                _ => {}
            }
        }
        Ok(())
    }

    fn primitives(
        &mut self,
        t: &TypeDef,
        element: &Element,
        name: &str,
        value: Option<&Value>,
        beside: Option<&Value>,
    ) -> Written {
        if !element.is_list() {
            return self.primitive(t, name, value, beside);
        }
        let list = |v: Option<&Value>| match v {
            None => Ok(0),
            Some(Value::Array(items)) => Ok(items.len()),
            Some(_) => Err("an element that repeats is an array".to_owned()),
        };
        let count = list(value)?.max(list(beside)?);
        for n in 0..count {
            let at = |v: Option<&'_ Value>| v.and_then(|v| v.get(n)).cloned();
            self.primitive(t, name, at(value).as_ref(), at(beside).as_ref())?;
        }
        Ok(())
    }

    fn primitive(
        &mut self,
        t: &TypeDef,
        name: &str,
        value: Option<&Value>,
        beside: Option<&Value>,
    ) -> Written {
        if t.class == Class::Primitive(Primitive::Xhtml) {
            return match value {
                Some(Value::String(text)) if beside.is_none() => self.narrative(text),
                _ => Err("a narrative's `div` is a text and has no extensions in XML".to_owned()),
            };
        }
        self.start(name);
        let extension = match beside {
            None | Some(Value::Null) => None,
            Some(Value::Object(object)) => Some(object),
            Some(_) => return Err("extensions of a value are a JSON object".to_owned()),
        };
        let element = Definitions::get().by_name("Element");
        if let (Some(object), Some(t)) = (extension, element) {
            self.attributes(t, object)?;
        }
        match value {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => self.attribute("value", text)?,
            Some(Value::Bool(b)) => self.attribute("value", if *b { "true" } else { "false" })?,
            Some(Value::Number(n)) => self.attribute("value", n.as_str())?,
            Some(_) => return Err("a value of a primitive type is no object or array".to_owned()),
        }
        self.rest(name, |writer| match (extension, element) {
            (Some(object), Some(t)) => writer.children(t, object),
            _ => Ok(()),
        })
    }

    /// Markup goes in as it is, after a look at whether it can.
    fn narrative(&mut self, text: &str) -> Written {
        let text = numeric_entities(text)?;
        well_formed(&text)?;
        self.line();
        self.out.push_str(&text);
        Ok(())
    }

    fn start(&mut self, name: &str) {
        self.line();
        self.open += 1;
        self.out.push('<');
        self.out.push_str(name);
    }

    /// Ends the start tag, writes the content and the end tag; without content the element is empty.
    fn rest(&mut self, name: &str, content: impl FnOnce(&mut Writer) -> Written) -> Written {
        let at = self.out.len();
        self.out.push('>');
        content(self)?;
        self.open = self.open.saturating_sub(1);
        if self.out.len() == at + 1 {
            self.out.truncate(at);
            self.out.push_str("/>");
            return Ok(());
        }
        self.line();
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
        Ok(())
    }

    fn line(&mut self) {
        if self.pretty {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n("  ", self.open));
        }
    }

    fn attribute(&mut self, name: &str, value: &str) -> Written {
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("=\"");
        for c in value.chars() {
            match c {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '"' => self.out.push_str("&quot;"),
                // A parser would make spaces of them.
                '\n' => self.out.push_str("&#10;"),
                '\r' => self.out.push_str("&#13;"),
                '\t' => self.out.push_str("&#9;"),
                c if is_xml_char(c) => self.out.push(c),
                _ => return Err("a text has a control character that XML cannot carry".to_owned()),
            }
        }
        self.out.push('"');
        Ok(())
    }
}

/// As in [super::read]: ids of elements and the URLs of extensions.
fn is_attribute(t: &TypeDef, key: &str) -> bool {
    (key == "id" && t.kind.is_none()) || (key == "url" && t.name == "Extension")
}

/// JSON narrative may use the names of HTML's entities; XML knows only its own five.
fn numeric_entities(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let end = rest[at..].find(';').ok_or("the narrative has a `&` that is no entity")?;
        let name = &rest[at + 1..at + end];
        if name.starts_with('#') || matches!(name, "amp" | "lt" | "gt" | "quot" | "apos") {
            out.push_str(&rest[at..=at + end]);
        } else {
            let characters = quick_xml::escape::resolve_html5_entity(name)
                .ok_or("the narrative has an entity that HTML does not define")?;
            for c in characters.chars() {
                out.push_str(&format!("&#{};", u32::from(c)));
            }
        }
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// One well-formed `div` of XHTML, so that the document around it stays well-formed.
fn well_formed(text: &str) -> Written {
    let wrong = || Err("the narrative is no well-formed `div`".to_owned());
    if !text.chars().all(is_xml_char) {
        return wrong();
    }
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_comments = true;
    let (mut depth, mut roots) = (0usize, 0usize);
    loop {
        let event = match reader.read_event() {
            Ok(event) => event,
            Err(_) => return wrong(),
        };
        match event {
            Event::Start(start) | Event::Empty(start) if depth == 0 && !is_div(&start) => return wrong(),
            Event::Start(start) => {
                if start.attributes().any(|a| a.is_err()) {
                    return wrong();
                }
                roots += usize::from(depth == 0);
                depth += 1;
            }
            Event::Empty(start) => {
                if start.attributes().any(|a| a.is_err()) {
                    return wrong();
                }
                roots += usize::from(depth == 0);
            }
            Event::End(_) => depth = depth.saturating_sub(1),
            Event::Text(text) if depth > 0 || text.trim().is_empty() => {}
            Event::GeneralRef(_) | Event::CData(_) if depth > 0 => {}
            Event::Comment(_) => {}
            Event::Eof if depth == 0 && roots == 1 => return Ok(()),
            _ => return wrong(),
        }
    }
}

fn is_div(start: &quick_xml::events::BytesStart) -> bool {
    start.name().0 == "div"
        && start.attributes().flatten().any(|a| a.key.0 == "xmlns" && a.value.as_ref() == XHTML)
}
