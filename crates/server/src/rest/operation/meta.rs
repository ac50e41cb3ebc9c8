//! `$meta`, `$meta-add`, `$meta-delete`: profiles, tags and security labels of a resource.

use super::{Answer, Call, Kinds, Levels, Operation, Output, Parameter, wrong};
use ::fhir::{IssueCode, Outcome, Resource};
use record::{Change, ChangeSet, Error};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const META: Parameter =
    Parameter::new("meta", "Meta", "Profiles, tags and security labels; the rest of it is the server's.")
        .required();
const RETURN: Parameter = Parameter::new("return", "Meta", "The metadata as it is now.").out().required();

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        code: "meta",
        id: "Resource-meta",
        url: "http://hl7.org/fhir/OperationDefinition/Resource-meta",
        title: "Profiles, tags and labels in use",
        text: "Returns the metadata of one resource; of a type or of the whole system the profiles, tags and security labels \
               that the resources have which the caller may find.",
        levels: Levels::ALL,
        kinds: Kinds::Every,
        affects_state: false,
        parameters: &[RETURN],
        handler: |call| Box::pin(show(call)),
    },
    Operation {
        code: "meta-add",
        id: "Resource-meta-add",
        url: "http://hl7.org/fhir/OperationDefinition/Resource-meta-add",
        title: "Add profiles, tags and labels",
        text: "Adds what is not there yet. A change makes a new version of the resource.",
        levels: Levels::INSTANCE,
        kinds: Kinds::Every,
        affects_state: true,
        parameters: &[META, RETURN],
        handler: |call| Box::pin(change(call, add)),
    },
    Operation {
        code: "meta-delete",
        id: "Resource-meta-delete",
        url: "http://hl7.org/fhir/OperationDefinition/Resource-meta-delete",
        title: "Remove profiles, tags and labels",
        text: "Removes what is there of those named; codings are told apart by system and code. A change makes a new \
               version of the resource.",
        levels: Levels::INSTANCE,
        kinds: Kinds::Every,
        affects_state: true,
        parameters: &[META, RETURN],
        handler: |call| Box::pin(change(call, remove)),
    },
];

/// The lists that these operations are about.
const LISTS: [&str; 3] = ["profile", "security", "tag"];

/// Tagged, and labelled, resources of one type that are looked at.
const MAX_TAGGED: u32 = 5_000;

async fn show(call: Call) -> Answer {
    if call.key.is_none() {
        return in_use(call).await;
    }
    let stored = call.app.record.read(&call.ctx, call.key()?).await?;
    Ok(meta_of(&stored.parse()?))
}

/// Of a type, or of all.
async fn in_use(call: Call) -> Answer {
    let (record, ctx) = (&call.app.record, &call.ctx);
    let kinds = match call.kind {
        Some(kind) => vec![kind],
        None => record.kinds_to_scan(ctx).await?,
    };
    let mut profiles = BTreeSet::new();
    let (mut security, mut tags) = (BTreeMap::new(), BTreeMap::new());
    for kind in kinds {
        profiles.extend(record.profiles_in_use(ctx, kind).await?);
        for (list, known) in [("security", &mut security), ("tag", &mut tags)] {
            let missing = format!("_{list}:missing");
            let found = record.find(ctx, kind.name(), &[(&missing, "false")], MAX_TAGGED + 1).await?;
            if found.len() > MAX_TAGGED as usize {
                let text = format!(
                    "More than {MAX_TAGGED} resources of {} have a `meta.{list}`: too many to look at; search by `_{list}`.",
                    kind.name()
                );
                return Err(Error::Malformed(Outcome::one(IssueCode::TooCostly, "", text)).into());
            }
            for (resource, _) in &found {
                for coding in resource.get("meta").and_then(|m| m.get(list)?.as_array()).into_iter().flatten()
                {
                    let text =
                        |name: &str| coding.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                    known.entry((text("system"), text("code"))).or_insert_with(|| coding.clone());
                }
            }
        }
    }
    let mut meta = json!({});
    if !profiles.is_empty() {
        meta["profile"] = json!(profiles);
    }
    for (list, known) in [("security", security), ("tag", tags)] {
        if !known.is_empty() {
            meta[list] = known.into_values().collect();
        }
    }
    Ok(Output::Parameters(vec![Output::entry("return", "Meta", meta)]))
}

async fn change(call: Call, edit: fn(&mut Vec<Value>, &[Value])) -> Answer {
    let given = call.input.value("meta").cloned().unwrap_or_default();
    let given = wanted(&given)?;
    let stored = call.app.record.read(&call.ctx, call.key()?).await?;
    let mut resource = stored.parse()?;
    let before = resource.get("meta").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut meta = before.clone();
    for (list, items) in &given {
        let mut now = meta.get(*list).and_then(Value::as_array).cloned().unwrap_or_default();
        edit(&mut now, items);
        match now.is_empty() {
            true => meta.shift_remove(*list),
            false => meta.insert((*list).to_owned(), Value::Array(now)),
        };
    }
    if meta == before {
        return Ok(meta_of(&resource));
    }
    resource.set("meta", Value::Object(meta));
    let change = Change::Update { resource, if_match: Some(stored.version) };
    let set = ChangeSet { changes: vec![change], ..ChangeSet::default() };
    let committed = call.app.record.write(&call.ctx, set).await?;
    let written = committed.written.into_iter().next().and_then(|w| w.resource);
    written.map(|r| meta_of(&r)).ok_or_else(|| Error::Denied.into())
}

fn meta_of(resource: &Resource) -> Output {
    let meta = resource.get("meta").cloned().unwrap_or_else(|| json!({}));
    Output::Parameters(vec![Output::entry("return", "Meta", meta)])
}

/// Errors: 400 for lists of the wrong form.
fn wanted(meta: &Value) -> Result<Vec<(&'static str, Vec<Value>)>, crate::http::error::FhirError> {
    let empty = Map::new();
    let meta = meta.as_object().unwrap_or(&empty);
    let mut lists = Vec::new();
    for list in LISTS {
        let Some(value) = meta.get(list) else { continue };
        let items = value.as_array().ok_or_else(|| wrong("meta", format!("meta.{list} must be a list.")))?;
        let is_right = |item: &Value| if list == "profile" { item.is_string() } else { item.is_object() };
        if !items.iter().all(is_right) {
            let what = if list == "profile" { "canonicals" } else { "Codings" };
            return Err(wrong("meta", format!("meta.{list} is a list of {what}.")));
        }
        lists.push((list, items.clone()));
    }
    Ok(lists)
}

fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(_), Value::Object(_)) => {
            a.get("system") == b.get("system") && a.get("code") == b.get("code")
        }
        _ => a == b,
    }
}

fn add(now: &mut Vec<Value>, items: &[Value]) {
    for item in items {
        if !now.iter().any(|old| is_same(old, item)) {
            now.push(item.clone());
        }
    }
}

fn remove(now: &mut Vec<Value>, items: &[Value]) {
    now.retain(|old| !items.iter().any(|item| is_same(old, item)));
}
