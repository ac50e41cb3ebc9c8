//! The mapping file: which table becomes which resources. See docs/guides/import.md.

use super::template::{Surroundings, Template};
use super::{Row, reference, stable_id};
use fhir::{Resource, ResourceKey, TypeId};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Why a mapping cannot be used; the text names the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MappingError(String);

/// A mapping file, checked.
#[derive(Debug)]
pub struct Mapping {
    /// Names the other system in the ids made here.
    source: String,
    zone: jiff::tz::TimeZone,
    maps: BTreeMap<String, BTreeMap<String, String>>,
    tables: Vec<Table>,
    fingerprint: String,
}

#[derive(Debug)]
struct Table {
    name: String,
    /// File name; one `*` stands for anything.
    file: String,
    delimiter: u8,
    is_latin_1: bool,
    key: Template,
    skip_if_empty: Vec<String>,
    resources: Vec<(TypeId, Node)>,
}

/// JSON with templates in it.
#[derive(Debug)]
enum Node {
    Constant(Value),
    Text(Template),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
    /// `{"$ref": "table", "key": "…", "resource": n}`: table and resource by number.
    Reference {
        table: usize,
        key: Template,
        resource: usize,
    },
}

impl Mapping {
    /// Reads a mapping file (TOML). Errors: the first thing that is wrong, with its place.
    pub fn parse(text: &str) -> Result<Mapping, MappingError> {
        let fail = |why: String| MappingError(why);
        let document: toml::Table = text.parse().map_err(|e: toml::de::Error| fail(e.to_string()))?;
        known(&document, "the file", &["source", "zone", "maps", "table"]).map_err(fail)?;
        let zone_name = string(&document, "zone").map_err(fail)?.unwrap_or_else(|| "UTC".to_owned());
        let zone = jiff::tz::TimeZone::get(&zone_name)
            .map_err(|_| fail(format!("zone: `{zone_name}` is no IANA time zone")))?;
        let source = string(&document, "source")
            .map_err(fail)?
            .ok_or_else(|| fail("source: name the system that the tables come from".to_owned()))?;
        let maps = maps(&document).map_err(fail)?;
        let raw: Vec<&toml::Table> = document
            .get("table")
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(toml::Value::as_table)
            .collect();
        if raw.is_empty() {
            return Err(fail("there is no [[table]]".to_owned()));
        }
        let mut headers = Vec::new();
        for (n, table) in raw.iter().enumerate() {
            headers.push(header(table).map_err(|why| fail(format!("table {}: {why}", n + 1)))?);
        }
        // References name tables that may stand below.
        let shapes: Vec<(String, Vec<TypeId>)> = headers
            .iter()
            .map(|(name, json)| (name.clone(), json.iter().map(|(kind, _)| *kind).collect()))
            .collect();
        let mut tables = Vec::new();
        for (table, (name, json)) in raw.iter().zip(headers) {
            let place = format!("table `{name}`");
            tables.push(
                self::table(table, name, json, &shapes).map_err(|why| fail(format!("{place}: {why}")))?,
            );
        }
        for table in &tables {
            for map in table.templates().into_iter().flat_map(Template::maps) {
                if !maps.contains_key(map) {
                    return Err(fail(format!("table `{}`: there is no [maps.{map}]", table.name)));
                }
            }
        }
        let fingerprint = Sha256::digest(text).iter().map(|b| format!("{b:02x}")).collect();
        Ok(Mapping { source, zone, maps, tables, fingerprint })
    }

    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    pub(super) fn table_of(&self, file: &str) -> Option<usize> {
        let file = file.to_lowercase();
        let file = file.strip_suffix(".gz").unwrap_or(&file);
        self.tables.iter().position(|table| match table.file.split_once('*') {
            Some((start, end)) => {
                file.len() >= start.len() + end.len() && file.starts_with(start) && file.ends_with(end)
            }
            None => table.file == file,
        })
    }

    pub(super) fn delimiter(&self, table: usize) -> u8 {
        self.tables[table].delimiter
    }
    pub(super) fn is_latin_1(&self, table: usize) -> bool {
        self.tables[table].is_latin_1
    }
    pub(super) fn columns(&self, table: usize) -> Vec<String> {
        let table = &self.tables[table];
        let mut columns: Vec<String> =
            table.templates().into_iter().flat_map(Template::columns).map(str::to_owned).collect();
        columns.extend(table.skip_if_empty.iter().cloned());
        columns.sort();
        columns.dedup();
        columns
    }

    pub(super) fn resources(&self, table: usize, row: &Row<'_>) -> Result<Vec<Resource>, String> {
        let number = table;
        let table = &self.tables[table];
        if table.skip_if_empty.iter().any(|column| row.get(column).is_empty()) {
            return Ok(Vec::new());
        }
        let around = Surroundings { maps: &self.maps, zone: &self.zone };
        let key = match table.key.fill(row, &around)? {
            Some(Value::String(key)) => key,
            Some(other) => other.to_string(),
            None => return Err("the columns of `key` are empty".to_owned()),
        };
        let mut resources = Vec::with_capacity(table.resources.len());
        for (n, (_, node)) in table.resources.iter().enumerate() {
            let Some(value) = self.fill(node, row, &around)?.value else { continue };
            let mut resource = Resource::from_value(value).map_err(|outcome| outcome.to_string())?;
            resource.set_id(&self.key(number, n, &key).id);
            resources.push(resource);
        }
        Ok(resources)
    }

    fn key(&self, table: usize, resource: usize, key: &str) -> ResourceKey {
        let table = &self.tables[table];
        let kind = table.resources[resource].0;
        ResourceKey::new(kind, stable_id(&[&self.source, &table.name, &resource.to_string(), key]))
    }

    fn fill(&self, node: &Node, row: &Row<'_>, around: &Surroundings<'_>) -> Result<Filled, String> {
        Ok(match node {
            Node::Constant(value) => Filled { value: Some(value.clone()), from_row: None },
            Node::Text(template) => {
                let value = template.fill(row, around)?;
                let found = template.columns().next().is_some().then_some(value.is_some());
                Filled { value, from_row: found }
            }
            Node::Reference { table, key, resource } => {
                let key = key.fill(row, around)?;
                let found = key.is_some();
                let value = key.map(|key| {
                    let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                    reference(&self.key(*table, *resource, &key))
                });
                Filled { value, from_row: Some(found) }
            }
            Node::Array(items) => {
                let mut all = Vec::new();
                let mut from_row = None;
                for item in items {
                    let filled = self.fill(item, row, around)?;
                    from_row = either(from_row, filled.from_row);
                    all.extend(filled.value);
                }
                Filled {
                    value: (!all.is_empty() && from_row != Some(false)).then_some(Value::Array(all)),
                    from_row,
                }
            }
            Node::Object(members) => {
                let mut object = Map::new();
                let mut from_row = None;
                for (name, member) in members {
                    let filled = self.fill(member, row, around)?;
                    from_row = either(from_row, filled.from_row);
                    if let Some(value) = filled.value {
                        object.insert(name.clone(), value);
                    }
                }
                // An identifier's system without its value, a unit without a number: nothing was there.
                Filled {
                    value: (!object.is_empty() && from_row != Some(false)).then_some(Value::Object(object)),
                    from_row,
                }
            }
        })
    }
}

/// A filled node, and whether the row gave it anything; `None` if it asks nothing of the row.
struct Filled {
    value: Option<Value>,
    from_row: Option<bool>,
}

fn either(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a || b),
        (a, b) => a.or(b),
    }
}

impl Table {
    fn templates(&self) -> Vec<&Template> {
        let mut all = vec![&self.key];
        for (_, node) in &self.resources {
            collect(node, &mut all);
        }
        all
    }
}

fn collect<'a>(node: &'a Node, all: &mut Vec<&'a Template>) {
    match node {
        Node::Constant(_) => {}
        Node::Text(template) | Node::Reference { key: template, .. } => all.push(template),
        Node::Array(items) => items.iter().for_each(|item| collect(item, all)),
        Node::Object(members) => members.iter().for_each(|(_, member)| collect(member, all)),
    }
}

/// Name and resources as JSON.
type Header = (String, Vec<(TypeId, Value)>);

fn header(table: &toml::Table) -> Result<Header, String> {
    known(table, "a table", &["name", "file", "delimiter", "encoding", "key", "skip_if_empty", "resources"])?;
    let name = string(table, "name")?.ok_or("name is missing")?;
    let texts = strings(table, "resources")?;
    if texts.is_empty() {
        return Err("resources is missing: a list of JSON texts".to_owned());
    }
    let mut resources = Vec::new();
    for (n, text) in texts.iter().enumerate() {
        let value: Value = serde_json::from_str(text).map_err(|e| format!("resources[{n}]: {e}"))?;
        let kind = value["resourceType"].as_str().unwrap_or_default();
        let kind =
            TypeId::from_name(kind).ok_or_else(|| format!("resources[{n}]: `{kind}` is no resource type"))?;
        resources.push((kind, value));
    }
    Ok((name, resources))
}

fn table(
    table: &toml::Table,
    name: String,
    json: Vec<(TypeId, Value)>,
    shapes: &[(String, Vec<TypeId>)],
) -> Result<Table, String> {
    if shapes.iter().filter(|(other, _)| *other == name).count() > 1 {
        return Err("there is another table of this name".to_owned());
    }
    let delimiter = string(table, "delimiter")?.unwrap_or_else(|| ",".to_owned());
    let [delimiter] = *delimiter.as_bytes() else {
        return Err("delimiter is one ASCII character".to_owned());
    };
    let is_latin_1 = match string(table, "encoding")?.as_deref() {
        None | Some("utf-8") => false,
        Some("latin-1") => true,
        Some(other) => return Err(format!("encoding `{other}`: there are utf-8 and latin-1")),
    };
    let mut resources = Vec::new();
    for (n, (kind, value)) in json.into_iter().enumerate() {
        resources.push((kind, node(value, shapes).map_err(|why| format!("resources[{n}]: {why}"))?));
    }
    let file = string(table, "file")?.unwrap_or_else(|| format!("{name}.csv")).to_lowercase();
    Ok(Table {
        key: Template::parse(
            &string(table, "key")?.ok_or("key is missing: what tells one row from another")?,
        )?,
        skip_if_empty: strings(table, "skip_if_empty")?,
        name,
        file,
        delimiter,
        is_latin_1,
        resources,
    })
}

fn node(value: Value, shapes: &[(String, Vec<TypeId>)]) -> Result<Node, String> {
    Ok(match value {
        Value::String(text) if text.contains("${") => Node::Text(Template::parse(&text)?),
        Value::Array(items) => {
            Node::Array(items.into_iter().map(|v| node(v, shapes)).collect::<Result<_, _>>()?)
        }
        Value::Object(object) if object.contains_key("$ref") => {
            let target = object["$ref"].as_str().ok_or("$ref is the name of a table")?;
            let table = shapes
                .iter()
                .position(|(name, _)| name == target)
                .ok_or_else(|| format!("$ref: there is no table `{target}`"))?;
            let resource = object.get("resource").and_then(Value::as_u64).unwrap_or(0) as usize;
            if resource >= shapes[table].1.len() {
                return Err(format!("$ref: `{target}` has no resource {resource}"));
            }
            let key =
                object.get("key").and_then(Value::as_str).ok_or("$ref needs the `key` of the other row")?;
            Node::Reference { table, key: Template::parse(key)?, resource }
        }
        Value::Object(object) => Node::Object(
            object
                .into_iter()
                .map(|(name, v)| Ok((name, node(v, shapes)?)))
                .collect::<Result<_, String>>()?,
        ),
        other => Node::Constant(other),
    })
}

fn maps(document: &toml::Table) -> Result<BTreeMap<String, BTreeMap<String, String>>, String> {
    let mut maps = BTreeMap::new();
    let Some(tables) = document.get("maps") else { return Ok(maps) };
    for (name, map) in tables.as_table().ok_or("maps is a table of tables")? {
        let map = map.as_table().ok_or_else(|| format!("maps.{name} is no table"))?;
        let mut entries = BTreeMap::new();
        for (from, to) in map {
            let to = to.as_str().ok_or_else(|| format!("maps.{name}.{from} is no text"))?;
            entries.insert(from.clone(), to.to_owned());
            entries.entry(from.to_lowercase()).or_insert_with(|| to.to_owned());
        }
        maps.insert(name.clone(), entries);
    }
    Ok(maps)
}

fn known(table: &toml::Table, what: &str, names: &[&str]) -> Result<(), String> {
    match table.keys().find(|name| !names.contains(&name.as_str())) {
        Some(name) => Err(format!("`{name}` is unknown in {what}; known are {}", names.join(", "))),
        None => Ok(()),
    }
}

fn string(table: &toml::Table, name: &str) -> Result<Option<String>, String> {
    match table.get(name) {
        None => Ok(None),
        Some(value) => value.as_str().map(|s| Some(s.to_owned())).ok_or_else(|| format!("{name} is no text")),
    }
}

fn strings(table: &toml::Table, name: &str) -> Result<Vec<String>, String> {
    let Some(value) = table.get(name) else { return Ok(Vec::new()) };
    let items = value.as_array().ok_or_else(|| format!("{name} is no list"))?;
    items
        .iter()
        .map(|v| v.as_str().map(str::to_owned).ok_or_else(|| format!("{name} has something that is no text")))
        .collect()
}
