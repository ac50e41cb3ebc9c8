//! ClaML (CEN/TS 14463): WHO's XML of ICD-10 and of other classifications.

use super::{Fault, Item, Name, Sink, Value};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use std::cell::Cell;
use std::io::{BufRead, Read};
use std::rc::Rc;

/// Characters of one label.
const MAX_LABEL: usize = 100_000;

/// What the file says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Title {
    pub name: String,
    pub version: String,
    pub date: String,
    pub text: String,
}

/// Counts the lines that have been read.
struct Counted<'r> {
    input: &'r mut dyn BufRead,
    lines: Rc<Cell<u64>>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.input.read(buffer)?;
        let ends = buffer.get(..read).unwrap_or_default().iter().filter(|b| **b == b'\n').count();
        self.lines.set(self.lines.get() + ends as u64);
        Ok(read)
    }
}

impl BufRead for Counted<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.input.fill_buf()
    }
    fn consume(&mut self, amount: usize) {
        if let Ok(buffer) = self.input.fill_buf() {
            let ends = buffer.get(..amount).unwrap_or_default().iter().filter(|b| **b == b'\n').count();
            self.lines.set(self.lines.get() + ends as u64);
        }
        self.input.consume(amount);
    }
}

/// The class that is open.
#[derive(Default)]
struct Class {
    code: String,
    kind: String,
    usage: String,
    display: String,
    rubric: String,
    language: String,
    label: String,
    in_label: bool,
}

/// Reads the file; returns its title. Kinds other than category are concepts that only group. Modifiers are passed over:
/// where they matter, WHO lists the classes they make. Errors: what is no XML or no ClaML, by line.
pub fn read(file: &str, input: &mut dyn BufRead, sink: &mut dyn Sink) -> Result<Title, Fault> {
    let lines = Rc::new(Cell::new(0));
    let mut reader = Reader::from_reader(Counted { input, lines: lines.clone() });
    reader.config_mut().check_end_names = true;
    let fault = |text: String| Fault::line(file, lines.get() + 1, text);
    let mut title = Title::default();
    let mut class: Option<Class> = None;
    let (mut is_claml, mut in_title) = (false, false);
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        let event = reader.read_event_into(&mut buffer).map_err(|e| fault(format!("no XML: {e}")))?;
        let is_empty = matches!(event, Event::Empty(_));
        match event {
            Event::Start(e) | Event::Empty(e) => match e.local_name().as_ref() {
                "ClaML" => is_claml = true,
                _ if !is_claml => return Err(fault("the document is no ClaML".to_owned())),
                "Title" => {
                    title.name = attribute(&e, "name").map_err(fault)?;
                    title.version = attribute(&e, "version").map_err(fault)?;
                    title.date = attribute(&e, "date").map_err(fault)?;
                    in_title = !is_empty;
                }
                "Class" => {
                    let code = attribute(&e, "code").map_err(fault)?;
                    if code.is_empty() {
                        return Err(fault("a Class has no code".to_owned()));
                    }
                    let open = Class {
                        code,
                        kind: attribute(&e, "kind").map_err(fault)?,
                        usage: attribute(&e, "usage").map_err(fault)?,
                        ..Class::default()
                    };
                    if is_empty {
                        end_class(&open, sink)?;
                    } else {
                        class = Some(open);
                    }
                }
                "SuperClass" => {
                    if let Some(class) = &class {
                        let parent = attribute(&e, "code").map_err(fault)?;
                        sink.take(Item::Parent { code: &class.code, parent: &parent })?;
                    }
                }
                "Rubric" => {
                    if let Some(class) = &mut class {
                        class.rubric = attribute(&e, "kind").map_err(fault)?;
                    }
                }
                "Label" => {
                    if let Some(class) = &mut class {
                        class.language = attribute(&e, "xml:lang").map_err(fault)?;
                        class.label.clear();
                        class.in_label = !is_empty;
                    }
                }
                // References and paragraphs within a label are part of its text.
                "Reference" | "Para" | "Fragment" | "Term" | "ListItem" => {
                    if let Some(class) = class.as_mut().filter(|c| c.in_label && !c.label.is_empty()) {
                        class.label.push(' ');
                    }
                }
                _ => {}
            },
            Event::End(e) => match e.local_name().as_ref() {
                "Title" => in_title = false,
                "Label" => {
                    if let Some(class) = class.as_mut() {
                        class.in_label = false;
                        end_label(class, sink)?;
                    }
                }
                "Class" => {
                    if let Some(class) = class.take() {
                        end_class(&class, sink)?;
                    }
                }
                _ => {}
            },
            Event::Text(text) => take_text(&text, in_title, &mut title, &mut class),
            Event::CData(text) => {
                take_text(text.into_inner().as_ref(), in_title, &mut title, &mut class);
            }
            Event::GeneralRef(reference) => {
                let name: &str = reference.as_ref();
                let text = match quick_xml::escape::unescape(&format!("&{name};")) {
                    Ok(text) => text.into_owned(),
                    Err(_) => return Err(fault(format!("`&{name};` is not known"))),
                };
                take_text(&text, in_title, &mut title, &mut class);
            }
            Event::Eof => break,
            _ => {}
        }
    }
    if !is_claml {
        return Err(Fault::file(file, "the document is no ClaML"));
    }
    if class.is_some() {
        return Err(fault("the document ends within a Class".to_owned()));
    }
    Ok(title)
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Result<String, String> {
    let found =
        element.try_get_attribute(name).map_err(|e| format!("an attribute that cannot be read: {e}"))?;
    match found {
        None => Ok(String::new()),
        Some(found) => {
            let text = quick_xml::escape::unescape(&found.value).map_err(|e| e.to_string())?;
            Ok(text.into_owned())
        }
    }
}

fn take_text(text: &str, in_title: bool, title: &mut Title, class: &mut Option<Class>) {
    if in_title {
        title.text.push_str(text.trim());
    } else if let Some(class) = class.as_mut().filter(|c| c.in_label && c.label.len() < MAX_LABEL) {
        class.label.push_str(text);
    }
}

fn end_label(class: &mut Class, sink: &mut dyn Sink) -> Result<(), Fault> {
    let text = class.label.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        return Ok(());
    }
    let code = class.code.as_str();
    let (use_code, preferred) = match class.rubric.as_str() {
        "preferred" => ("preferred", true),
        "preferredLong" => ("preferredLong", false),
        "inclusion" => ("inclusion", false),
        "definition" => return sink.take(Item::Definition { code, text: &text }),
        other => {
            let name = if other.is_empty() { "rubric" } else { other };
            return sink.take(Item::Property { code, name, value: Value::Text(&text) });
        }
    };
    let name = Name {
        language: &class.language,
        use_system: "",
        use_code,
        use_display: "",
        value: &text,
        preferred,
        display_rank: 0,
    };
    sink.take(Item::Designation { code, name })?;
    if preferred {
        class.display = text;
    }
    Ok(())
}

fn end_class(class: &Class, sink: &mut dyn Sink) -> Result<(), Fault> {
    let code = class.code.as_str();
    sink.take(Item::Concept {
        code,
        display: &class.display,
        definition: "",
        inactive: false,
        is_abstract: matches!(class.kind.as_str(), "chapter" | "block"),
    })?;
    for (name, value) in [("kind", &class.kind), ("usage", &class.usage)] {
        if !value.is_empty() {
            sink.take(Item::Property { code, name, value: Value::Code(value) })?;
        }
    }
    Ok(())
}
