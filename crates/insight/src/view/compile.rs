//! From a ViewDefinition's JSON to a [View], with every mistake named by its place.

use super::{Column, Constant, Each, MAX_COLUMNS, MAX_DEPTH, Path, Select, View, ViewError};
use fhir::TypeId;
use fhir::path::Expr;
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Names that FHIRPath itself knows behind `%`.
const BUILT_IN: &[&str] = &["resource", "rootResource", "context", "ucum", "sct", "loinc", "rowIndex"];

/// FHIR types a constant may have: `valueString` is `string`.
const CONSTANT_TYPES: &[&str] = &[
    "base64Binary",
    "boolean",
    "canonical",
    "code",
    "date",
    "dateTime",
    "decimal",
    "id",
    "instant",
    "integer",
    "integer64",
    "oid",
    "string",
    "positiveInt",
    "time",
    "unsignedInt",
    "uri",
    "url",
    "uuid",
];

/// Longest path, bytes.
const MAX_PATH_BYTES: usize = 10_000;

fn wrong<T>(at: &str, text: impl Into<String>) -> Result<T, ViewError> {
    Err(ViewError::Definition { at: at.to_owned(), text: text.into() })
}

pub(super) fn compile(definition: &Value) -> Result<View, ViewError> {
    let at = "ViewDefinition";
    let Some(object) = definition.as_object() else { return wrong(at, "a ViewDefinition is a JSON object") };
    if let Some(other) = object.get("resourceType").filter(|t| t.as_str() != Some(at)) {
        return wrong("ViewDefinition.resourceType", format!("{other} is no ViewDefinition"));
    }
    let kind = match text(object, "resource", at)? {
        None => return wrong("ViewDefinition.resource", "the type of resource is missing"),
        Some(name) => match TypeId::from_name(name) {
            Some(kind) => kind,
            None => return wrong("ViewDefinition.resource", "this is no FHIR R4 resource type"),
        },
    };
    let constants = constants(object)?;
    let known: HashSet<String> = constants.iter().map(|c| c.name.clone()).collect();
    let mut compiler = Compiler { known, columns: Vec::new() };
    let mut filters = Vec::new();
    for (n, filter) in list(object, "where", at)?.iter().enumerate() {
        let at = format!("{at}.where[{n}]");
        let Some(filter) = filter.as_object() else {
            return wrong(&at, "this must be an object with `path`");
        };
        filters.push(compiler.path(filter, "path", &at)?);
    }
    let list = list(object, "select", at)?;
    if list.is_empty() {
        return wrong("ViewDefinition.select", "at least one select is needed");
    }
    let selects = compiler.selects(list, &format!("{at}.select"), 0)?;
    let columns = compiler.columns;
    if columns.is_empty() {
        return wrong("ViewDefinition.select", "the view has no column");
    }
    let mut names = HashSet::new();
    for column in &columns {
        if !names.insert(column.name.as_str()) {
            return wrong("ViewDefinition.select", format!("two columns are named {}", column.name));
        }
    }
    let name = text(object, "name", at)?.unwrap_or_default().to_owned();
    Ok(View { name, kind, columns, filters, constants, selects })
}

struct Compiler {
    known: HashSet<String>,
    columns: Vec<Column>,
}

impl Compiler {
    fn selects(&mut self, list: &[Value], at: &str, depth: usize) -> Result<Vec<Select>, ViewError> {
        list.iter().enumerate().map(|(n, select)| self.select(select, &format!("{at}[{n}]"), depth)).collect()
    }

    fn select(&mut self, value: &Value, at: &str, depth: usize) -> Result<Select, ViewError> {
        let Some(object) = value.as_object() else { return wrong(at, "a select is an object") };
        if depth >= MAX_DEPTH {
            return wrong(at, format!("selects are nested deeper than {MAX_DEPTH}"));
        }
        let each = self.each(object, at)?;
        let first = self.columns.len();
        let mut columns = Vec::new();
        for (n, column) in list(object, "column", at)?.iter().enumerate() {
            columns.push(self.column(column, &format!("{at}.column[{n}]"))?);
        }
        let selects = self.selects(list(object, "select", at)?, &format!("{at}.select"), depth + 1)?;
        let unions = self.unions(list(object, "unionAll", at)?, &format!("{at}.unionAll"), depth + 1)?;
        let width = self.columns.len() - first;
        if width == 0 {
            return wrong(at, "a select needs columns, selects or a unionAll");
        }
        Ok(Select { each, columns, selects, unions, width })
    }

    fn each(&self, object: &Map<String, Value>, at: &str) -> Result<Each, ViewError> {
        let given: Vec<&str> = ["forEach", "forEachOrNull", "repeat"]
            .into_iter()
            .filter(|name| object.get(*name).is_some_and(|v| !v.is_null()))
            .collect();
        Ok(match given.as_slice() {
            [] => Each::Context,
            ["forEach"] => Each::Item(self.path(object, "forEach", at)?),
            ["forEachOrNull"] => Each::ItemOrNull(self.path(object, "forEachOrNull", at)?),
            ["repeat"] => {
                let at = format!("{at}.repeat");
                let paths = list(object, "repeat", &at)?;
                if paths.is_empty() {
                    return wrong(&at, "at least one path is needed");
                }
                let parse = |(n, path): (usize, &Value)| self.parse(path, &format!("{at}[{n}]"));
                Each::Repeat(paths.iter().enumerate().map(parse).collect::<Result<_, _>>()?)
            }
            _ => return wrong(at, format!("only one of {} can be used in a select", given.join(", "))),
        })
    }

    /// All branches make the same columns; those of the first are kept.
    fn unions(&mut self, list: &[Value], at: &str, depth: usize) -> Result<Vec<Select>, ViewError> {
        let first = self.columns.len();
        let mut branches = Vec::new();
        let mut columns: Option<Vec<Column>> = None;
        for (n, branch) in list.iter().enumerate() {
            let at = format!("{at}[{n}]");
            branches.push(self.select(branch, &at, depth)?);
            let made = self.columns.split_off(first);
            match &columns {
                None => columns = Some(made),
                Some(columns) => {
                    let names = |columns: &[Column]| -> Vec<(String, bool)> {
                        columns.iter().map(|c| (c.name.clone(), c.collection)).collect()
                    };
                    if names(columns) != names(&made) {
                        return wrong(
                            &at,
                            "the branches of a unionAll must have the same columns in the same order",
                        );
                    }
                    let differs = columns.iter().zip(&made).find(|(a, b)| a.kind != b.kind);
                    if let Some((column, _)) = differs {
                        let text = format!("column {} has another type in another branch", column.name);
                        return wrong(&at, text);
                    }
                }
            }
        }
        self.columns.extend(columns.unwrap_or_default());
        Ok(branches)
    }

    fn column(&mut self, value: &Value, at: &str) -> Result<Path, ViewError> {
        let Some(object) = value.as_object() else { return wrong(at, "a column is an object") };
        let Some(name) = text(object, "name", at)? else { return wrong(at, "the column has no name") };
        if !is_name(name) {
            return wrong(
                &format!("{at}.name"),
                "a name has letters, digits and underscores and begins with a letter",
            );
        }
        let collection = match object.get("collection") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(b)) => *b,
            Some(_) => return wrong(&format!("{at}.collection"), "this is true or false"),
        };
        let kind = text(object, "type", at)?.unwrap_or_default();
        // A type may be given as a URL.
        let kind = kind.rsplit('/').next().unwrap_or_default().to_owned();
        let mut ansi = String::new();
        for tag in list(object, "tag", at)? {
            if tag.get("name").and_then(Value::as_str) == Some("ansi/type") {
                ansi = tag.get("value").and_then(Value::as_str).unwrap_or_default().to_owned();
            }
        }
        if self.columns.len() >= MAX_COLUMNS {
            return wrong(at, format!("a view has at most {MAX_COLUMNS} columns"));
        }
        let description = text(object, "description", at)?.unwrap_or_default().to_owned();
        let expression = self.path(object, "path", at)?;
        self.columns.push(Column { name: name.to_owned(), kind, collection, description, ansi });
        Ok(Path { name: name.to_owned(), expression, collection })
    }

    fn path(&self, object: &Map<String, Value>, element: &str, at: &str) -> Result<Expr, ViewError> {
        match object.get(element) {
            None | Some(Value::Null) => wrong(at, format!("`{element}` is missing")),
            Some(value) => self.parse(value, &format!("{at}.{element}")),
        }
    }

    fn parse(&self, value: &Value, at: &str) -> Result<Expr, ViewError> {
        let Some(text) = value.as_str() else { return wrong(at, "a path is a string") };
        if text.len() > MAX_PATH_BYTES {
            return wrong(at, format!("a path has at most {MAX_PATH_BYTES} bytes"));
        }
        let expression = match fhir::path::parse(text) {
            Ok(expression) => expression,
            Err(error) => return wrong(at, error.to_string()),
        };
        for name in expression.variables() {
            let built_in =
                BUILT_IN.contains(&name.as_str()) || name.starts_with("vs-") || name.starts_with("ext-");
            if !built_in && !self.known.contains(&name) {
                return wrong(at, format!("the constant %{name} is not defined"));
            }
        }
        Ok(expression)
    }
}

fn constants(object: &Map<String, Value>) -> Result<Vec<Constant>, ViewError> {
    let mut found: Vec<Constant> = Vec::new();
    for (n, constant) in list(object, "constant", "ViewDefinition")?.iter().enumerate() {
        let at = format!("ViewDefinition.constant[{n}]");
        let Some(constant) = constant.as_object() else { return wrong(&at, "a constant is an object") };
        let Some(name) = text(constant, "name", &at)?.filter(|name| is_name(name)) else {
            return wrong(
                &format!("{at}.name"),
                "the constant needs a name of letters, digits and underscores",
            );
        };
        if found.iter().any(|c| c.name == name) {
            return wrong(&at, format!("two constants are named {name}"));
        }
        let mut values = constant.iter().filter_map(|(key, value)| {
            let kind = key.strip_prefix("value")?;
            Some((kind, value))
        });
        let (Some((suffix, value)), None) = (values.next(), values.next()) else {
            return wrong(&at, "the constant needs exactly one value, e.g. valueString");
        };
        let kind = CONSTANT_TYPES.iter().find(|t| {
            t.len() == suffix.len() && t[..1].eq_ignore_ascii_case(&suffix[..1]) && t[1..] == suffix[1..]
        });
        let Some(kind) = kind.filter(|_| suffix.starts_with(|c: char| c.is_ascii_uppercase())) else {
            return wrong(&at, format!("value{suffix} is no type a constant can have"));
        };
        let fits = match *kind {
            "boolean" => value.is_boolean(),
            "integer" | "positiveInt" | "unsignedInt" | "integer64" => value.is_i64() || value.is_u64(),
            "decimal" => value.is_number(),
            _ => value.is_string(),
        };
        if !fits {
            return wrong(&at, format!("this is no {kind}"));
        }
        // R4 has no integer64; FHIRPath treats both alike.
        let kind = if *kind == "integer64" { "integer" } else { kind };
        found.push(Constant { name: name.to_owned(), kind: kind.to_owned(), value: value.clone() });
    }
    Ok(found)
}

fn is_name(text: &str) -> bool {
    text.len() <= 255
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn text<'v>(object: &'v Map<String, Value>, element: &str, at: &str) -> Result<Option<&'v str>, ViewError> {
    match object.get(element) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => wrong(&format!("{at}.{element}"), "this must be a string"),
    }
}

fn list<'v>(object: &'v Map<String, Value>, element: &str, at: &str) -> Result<&'v [Value], ViewError> {
    match object.get(element) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => wrong(&format!("{at}.{element}"), "this must be a list"),
    }
}
