//! `$expand`, `$lookup`, `$validate-code`, `$translate`, `$subsumes` over everything that [record::terminology] knows.

use super::{Answer, Call, Kinds, Levels, Operation, Output, Parameter, wrong};
use crate::http::error::FhirError;
use record::terminology::{
    Concept, Contains, Designation, Expand, Expansion, Given, Lookup, Property, Source, Translate,
    Translation, ValidateCode, Validation, Value as Found,
};
use serde_json::{Value, json};
use std::sync::Arc;

const LANGUAGE: Parameter = Parameter::new(
    "displayLanguage",
    "code",
    "Languages for the displays, as in Accept-Language; where there is none, the code system's own.",
);
const VERSION: Parameter =
    Parameter::new("version", "string", "Version of the code system; the one in use if it is not said.");
const CODING: Parameter =
    Parameter::new("coding", "Coding", "A code with its system, instead of both apart.");
const CONCEPT: Parameter =
    Parameter::new("codeableConcept", "CodeableConcept", "Several codings, of which one must be right.");
const VALUE_SET: Parameter =
    Parameter::new("valueSet", "ValueSet", "The value set itself, instead of `url`.");
const SYSTEM_VERSION: Parameter = Parameter::new(
    "system-version",
    "canonical",
    "`system|version`: the version of a code system where the value set names none.",
)
.many();

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        code: "lookup",
        id: "CodeSystem-lookup",
        url: "http://hl7.org/fhir/OperationDefinition/CodeSystem-lookup",
        title: "Look a code up",
        text: "Tells what a code system says of a code: display, designations, properties, parents and children.",
        levels: Levels::KIND,
        kinds: Kinds::These(&["CodeSystem"]),
        affects_state: false,
        parameters: &[
            Parameter::new("code", "code", "The code."),
            Parameter::new("system", "uri", "Its code system."),
            VERSION,
            CODING,
            LANGUAGE,
            Parameter::new("property", "code", "Properties to tell; all of them if none is named.").many(),
            Parameter::new("name", "string", "Name of the code system.").out().required(),
            Parameter::new("version", "string", "Its version.").out(),
            Parameter::new("display", "string", "The display.").out().required(),
            Parameter::new("definition", "string", "What the code means.").out(),
            Parameter::new("designation", "", "Other names.").out().many().parts(&[
                Parameter::new("language", "code", "Its language.").out(),
                Parameter::new("use", "Coding", "What it is for.").out(),
                Parameter::new("value", "string", "The name.").out().required(),
            ]),
            Parameter::new("property", "", "A property.").out().many().parts(&[
                Parameter::new("code", "code", "Which.").out().required(),
                Parameter::new("value", "Element", "Its value, of whatever type.").out(),
                Parameter::new("description", "string", "The display of a code that is the value.").out(),
            ]),
        ],
        handler: |call| Box::pin(lookup(call)),
    },
    Operation {
        code: "subsumes",
        id: "CodeSystem-subsumes",
        url: "http://hl7.org/fhir/OperationDefinition/CodeSystem-subsumes",
        title: "Compare two codes",
        text: "Tells whether one code is above the other in the hierarchy of their code system.",
        levels: Levels::KIND,
        kinds: Kinds::These(&["CodeSystem"]),
        affects_state: false,
        parameters: &[
            Parameter::new("codeA", "code", "The first code."),
            Parameter::new("codeB", "code", "The second."),
            Parameter::new("system", "uri", "The code system of both."),
            VERSION,
            Parameter::new("codingA", "Coding", "The first code with its system."),
            Parameter::new("codingB", "Coding", "The second code with its system."),
            Parameter::new("outcome", "code", "equivalent, subsumes, subsumed-by or not-subsumed.")
                .out()
                .required(),
        ],
        handler: |call| Box::pin(subsumes(call)),
    },
    Operation {
        code: "validate-code",
        id: "CodeSystem-validate-code",
        url: "http://hl7.org/fhir/OperationDefinition/CodeSystem-validate-code",
        title: "Check a code against its code system",
        text: "Tells whether a code is one of the code system, and whether the display is one of its names.",
        levels: Levels::KIND_AND_INSTANCE,
        kinds: Kinds::These(&["CodeSystem"]),
        affects_state: false,
        parameters: &[
            Parameter::new("url", "uri", "The code system; needed unless an instance or a coding says it."),
            Parameter::new("code", "code", "The code."),
            VERSION,
            Parameter::new("display", "string", "The display to check."),
            CODING,
            CONCEPT,
            ABSTRACT,
            LANGUAGE,
            RESULT,
            MESSAGE,
            DISPLAY,
        ],
        handler: |call| Box::pin(check_in_system(call)),
    },
    Operation {
        code: "expand",
        id: "ValueSet-expand",
        url: "http://hl7.org/fhir/OperationDefinition/ValueSet-expand",
        title: "Expand a value set",
        text: "Lists the codes of a value set, as pages if `count` is given. With `filter` the best answers come first. The \
               implicit value sets of SNOMED CT (`?fhir_vs…`, with expressions) and LOINC (`http://loinc.org/vs…`) are \
               known. The list is always flat. More codes than 10,000 are refused without `count`, and no page has more.",
        levels: Levels::KIND_AND_INSTANCE,
        kinds: Kinds::These(&["ValueSet"]),
        affects_state: false,
        parameters: &[
            Parameter::new("url", "uri", "The value set."),
            VALUE_SET,
            Parameter::new("valueSetVersion", "string", "Version of the value set."),
            Parameter::new("filter", "string", "Beginnings of words of a name, or of the code."),
            Parameter::new("offset", "integer", "Codes to leave out before the page."),
            Parameter::new("count", "integer", "Codes of the page; 0 only counts."),
            Parameter::new("includeDesignations", "boolean", "With all names."),
            Parameter::new("activeOnly", "boolean", "Without codes that are no longer active."),
            Parameter::new("excludeNested", "boolean", "The list is flat either way."),
            Parameter::new("excludeNotForUI", "boolean", "Without codes that only group others."),
            LANGUAGE,
            Parameter::new("exclude-system", "canonical", "Code systems to leave out.").many(),
            SYSTEM_VERSION,
            Parameter::new("return", "ValueSet", "The value set with its expansion.").out().required(),
        ],
        handler: |call| Box::pin(expand(call)),
    },
    Operation {
        code: "validate-code",
        id: "ValueSet-validate-code",
        url: "http://hl7.org/fhir/OperationDefinition/ValueSet-validate-code",
        title: "Check a code against a value set",
        text: "Tells whether a code is in the value set, and whether the display is one of its names. Without `system` the \
               value set must make clear which is meant.",
        levels: Levels::KIND_AND_INSTANCE,
        kinds: Kinds::These(&["ValueSet"]),
        affects_state: false,
        parameters: &[
            Parameter::new("url", "uri", "The value set."),
            VALUE_SET,
            Parameter::new("valueSetVersion", "string", "Version of the value set."),
            Parameter::new("code", "code", "The code."),
            Parameter::new("system", "uri", "Its code system."),
            Parameter::new("systemVersion", "string", "Version of the code system."),
            Parameter::new("display", "string", "The display to check."),
            CODING,
            CONCEPT,
            ABSTRACT,
            LANGUAGE,
            SYSTEM_VERSION,
            RESULT,
            MESSAGE,
            DISPLAY,
        ],
        handler: |call| Box::pin(check_in_set(call)),
    },
    Operation {
        code: "translate",
        id: "ConceptMap-translate",
        url: "http://hl7.org/fhir/OperationDefinition/ConceptMap-translate",
        title: "Translate a code",
        text: "Tells what a code is in another code system, by one concept map or by all that fit.",
        levels: Levels::KIND_AND_INSTANCE,
        kinds: Kinds::These(&["ConceptMap"]),
        affects_state: false,
        parameters: &[
            Parameter::new("url", "uri", "The concept map; all that fit if none is named."),
            Parameter::new("conceptMap", "ConceptMap", "The concept map itself."),
            Parameter::new("conceptMapVersion", "string", "Version of the concept map."),
            Parameter::new("code", "code", "The code."),
            Parameter::new("system", "uri", "Its code system."),
            VERSION,
            CODING,
            CONCEPT,
            Parameter::new("source", "uri", "The value set that the map must be from."),
            Parameter::new("target", "uri", "The value set that the map must lead to."),
            Parameter::new("targetsystem", "uri", "The code system to translate to."),
            Parameter::new("reverse", "boolean", "From the target of the map to its source."),
            RESULT,
            MESSAGE,
            Parameter::new("match", "", "A code it was translated to.").out().many().parts(&[
                Parameter::new("equivalence", "code", "How near the codes are.").out(),
                Parameter::new("concept", "Coding", "The code.").out(),
                Parameter::new("source", "uri", "The concept map.").out(),
            ]),
        ],
        handler: |call| Box::pin(translate(call)),
    },
];

const ABSTRACT: Parameter = Parameter::new(
    "abstract",
    "boolean",
    "Whether a code that only groups others will do; true if it is not said.",
);
const RESULT: Parameter = Parameter::new("result", "boolean", "Whether it is so.").out().required();
const MESSAGE: Parameter = Parameter::new("message", "string", "What is wrong, or worth knowing.").out();
const DISPLAY: Parameter = Parameter::new("display", "string", "The right display.").out();

fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name).and_then(Value::as_str)
}

/// A Coding as given; its system may be missing.
fn given(coding: &Value) -> Result<Given, FhirError> {
    let code = text(coding, "code").ok_or_else(|| wrong("coding", "A Coding needs `code`."))?;
    Ok(Given {
        system: text(coding, "system").unwrap_or_default().to_owned(),
        version: text(coding, "version").map(str::to_owned),
        code: code.to_owned(),
        display: text(coding, "display").map(str::to_owned),
    })
}

/// The codings of `code`, `coding` or `codeableConcept`, and which of them it was. Errors: none or several of them.
fn codings(call: &Call, system: &str, version: &str) -> Result<(Vec<Given>, &'static str), FhirError> {
    let input = &call.input;
    let given_ways =
        ["code", "coding", "codeableConcept"].into_iter().filter(|n| input.get(n).is_some()).count();
    if given_ways != 1 {
        return Err(wrong("code", "Say the code by one of `code`, `coding` and `codeableConcept`."));
    }
    if let Some(code) = input.text("code") {
        let one = Given {
            system: input.text(system).unwrap_or_default().to_owned(),
            version: input.text(version).map(str::to_owned),
            code: code.to_owned(),
            display: input.text("display").map(str::to_owned),
        };
        return Ok((vec![one], ""));
    }
    if let Some(coding) = input.value("coding") {
        return Ok((vec![given(coding)?], "Coding"));
    }
    let concept = input.value("codeableConcept").and_then(|c| c.get("coding")).and_then(Value::as_array);
    let all: Vec<Given> = concept.into_iter().flatten().map(given).collect::<Result<_, _>>()?;
    if all.is_empty() {
        return Err(wrong("codeableConcept", "The CodeableConcept has no coding."));
    }
    Ok((all, "CodeableConcept"))
}

fn language(call: &Call) -> String {
    if let Some(language) = call.input.text("displayLanguage") {
        return language.to_owned();
    }
    // What the caller reads, as HTTP says it.
    let accepted = call.headers.get(axum::http::header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok());
    accepted.unwrap_or_default().to_owned()
}

/// The resource that is the instance, given inline, or named by `url`.
async fn source(call: &Call, inline: &str, version: &str) -> Result<Option<Source>, FhirError> {
    if call.key.is_some() {
        if call.input.get("url").is_some() || call.input.get(inline).is_some() {
            return Err(wrong(
                "url",
                format!("The instance is the {inline}; leave `url` and `{inline}` out."),
            ));
        }
        let stored = call.app.record.read(&call.ctx, call.key()?).await?;
        return Ok(Some(Source::Resource(Arc::new(stored.parse()?.into_value()))));
    }
    match (call.input.text("url"), call.input.resource(inline)) {
        (Some(_), Some(_)) => Err(wrong("url", format!("Give either `url` or `{inline}`."))),
        (Some(url), None) => Ok(Some(Source::Url(match call.input.text(version) {
            Some(version) if !url.contains('|') => format!("{url}|{version}"),
            _ => url.to_owned(),
        }))),
        (None, Some(resource)) => Ok(Some(Source::Resource(Arc::new(resource.value().clone())))),
        (None, None) => Ok(None),
    }
}

async fn lookup(call: Call) -> Answer {
    let (system, code, version) = match (call.input.value("coding"), call.input.text("code")) {
        (Some(_), Some(_)) => return Err(wrong("coding", "Give either `coding` or `code` with `system`.")),
        (Some(coding), None) => {
            let one = given(coding)?;
            (one.system, one.code, one.version)
        }
        (None, Some(code)) => (
            call.input.text("system").unwrap_or_default().to_owned(),
            code.to_owned(),
            call.input.text("version").map(str::to_owned),
        ),
        (None, None) => return Err(wrong("code", "Give `code` with `system`, or `coding`.")),
    };
    if system.is_empty() {
        return Err(wrong("system", "Say of which code system the code is."));
    }
    let request = Lookup {
        system,
        code,
        version,
        display_language: language(&call),
        properties: call.input.texts("property").map(str::to_owned).collect(),
    };
    let found = call.app.record.lookup(&call.ctx, request).await?;
    Ok(Output::Parameters(described(&found)))
}

fn described(found: &Concept) -> Vec<Value> {
    let mut entries = vec![Output::entry("name", "String", found.name.as_str())];
    if !found.version.is_empty() {
        entries.push(Output::entry("version", "String", found.version.as_str()));
    }
    entries.push(Output::entry("display", "String", found.display.as_str()));
    if !found.definition.is_empty() {
        entries.push(Output::entry("definition", "String", found.definition.as_str()));
    }
    for designation in &found.designations {
        let mut parts = Vec::new();
        if !designation.language.is_empty() {
            parts.push(Output::entry("language", "Code", designation.language.as_str()));
        }
        if let Some(usage) = usage(designation) {
            parts.push(Output::entry("use", "Coding", usage));
        }
        parts.push(Output::entry("value", "String", designation.value.as_str()));
        entries.push(Output::part_entry("designation", parts));
    }
    entries.extend(found.properties.iter().map(property));
    entries
}

fn usage(designation: &Designation) -> Option<Value> {
    let mut usage = json!({});
    for (name, value) in [
        ("system", &designation.use_system),
        ("code", &designation.use_code),
        ("display", &designation.use_display),
    ] {
        if !value.is_empty() {
            usage[name] = json!(value);
        }
    }
    usage.as_object().is_some_and(|o| !o.is_empty()).then_some(usage)
}

fn property(property: &Property) -> Value {
    let mut parts = vec![Output::entry("code", "Code", property.code.as_str())];
    let number = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|_| json!(text));
    match &property.value {
        // Codes of the same system are told as codes, with the display beside: so R4 has it.
        Found::Coding { code, display, .. } => {
            parts.push(Output::entry("value", "Code", code.as_str()));
            if !display.is_empty() {
                parts.push(Output::entry("description", "String", display.as_str()));
            }
        }
        Found::Code(text) => parts.push(Output::entry("value", "Code", text.as_str())),
        Found::Text(text) => parts.push(Output::entry("value", "String", text.as_str())),
        Found::Integer(text) => parts.push(Output::entry("value", "Integer", number(text))),
        Found::Decimal(text) => parts.push(Output::entry("value", "Decimal", number(text))),
        Found::Boolean(is) => parts.push(Output::entry("value", "Boolean", *is)),
        Found::Date(text) => parts.push(Output::entry("value", "DateTime", text.as_str())),
    }
    Output::part_entry("property", parts)
}

async fn subsumes(call: Call) -> Answer {
    let one = |code: &str, coding: &str| -> Result<Given, FhirError> {
        match (call.input.text(code), call.input.value(coding)) {
            (Some(text), None) => Ok(Given { code: text.to_owned(), ..Given::default() }),
            (None, Some(value)) => given(value),
            _ => Err(wrong(code, format!("Give either `{code}` with `system`, or `{coding}`."))),
        }
    };
    let (a, b) = (one("codeA", "codingA")?, one("codeB", "codingB")?);
    let mut systems: Vec<&str> =
        [a.system.as_str(), b.system.as_str(), call.input.text("system").unwrap_or_default()]
            .into_iter()
            .filter(|s| !s.is_empty())
            .collect();
    systems.dedup();
    let system = match systems[..] {
        [] => return Err(wrong("system", "Say of which code system the codes are.")),
        [system] => system.to_owned(),
        _ => return Err(wrong("system", "Both codes must be of one code system.")),
    };
    let version = call.input.text("version").map(str::to_owned).or(a.version).or(b.version);
    let found = call.app.record.subsumes(&call.ctx, &system, version.as_deref(), &a.code, &b.code).await?;
    Ok(Output::Parameters(vec![Output::entry("outcome", "Code", found.code())]))
}

async fn check_in_system(call: Call) -> Answer {
    let (mut all, path) = codings(&call, "url", "version")?;
    if call.key.is_some() {
        let stored = call.app.record.read(&call.ctx, call.key()?).await?;
        let resource = stored.parse()?;
        let url = resource.text("url").unwrap_or_default();
        let version = resource.text("version").map(str::to_owned);
        if url.is_empty() {
            return Err(wrong("url", "This code system has no url, so nothing can be checked against it."));
        }
        for one in &mut all {
            if !one.system.is_empty() && one.system != url {
                return Err(wrong("system", format!("The code system of the instance is `{url}`.")));
            }
            one.system = url.to_owned();
            one.version = one.version.take().or_else(|| version.clone());
        }
    } else if let Some(url) = call.input.text("url") {
        if path != "CodeableConcept" && all.iter().any(|one| !one.system.is_empty() && one.system != url) {
            return Err(wrong("url", "The coding is of another code system than `url`."));
        }
        // Of a CodeableConcept, only the codings of this system count.
        all.retain(|one| one.system.is_empty() || one.system == url);
        for one in &mut all {
            one.system = url.to_owned();
        }
        if all.is_empty() {
            return Err(wrong("codeableConcept", format!("No coding is of `{url}`.")));
        }
    }
    if all.iter().any(|one| one.system.is_empty()) {
        return Err(wrong("url", "Say of which code system the code is."));
    }
    check(&call, None, all, path).await
}

async fn check_in_set(call: Call) -> Answer {
    let (all, path) = codings(&call, "system", "systemVersion")?;
    let Some(source) = source(&call, "valueSet", "valueSetVersion").await? else {
        return Err(wrong("url", "Say which value set by `url` or `valueSet`."));
    };
    check(&call, Some(source), all, path).await
}

async fn check(call: &Call, value_set: Option<Source>, codings: Vec<Given>, path: &str) -> Answer {
    let request = ValidateCode {
        value_set,
        codings,
        display_language: language(call),
        is_abstract_allowed: call.input.flag("abstract").unwrap_or(true),
        system_versions: call.input.texts("system-version").map(str::to_owned).collect(),
        path: path.to_owned(),
    };
    let found = call.app.record.validate_code(&call.ctx, request).await?;
    Ok(Output::Parameters(judged(found)))
}

fn judged(found: Validation) -> Vec<Value> {
    let mut entries = vec![Output::entry("result", "Boolean", found.result)];
    if let Some(message) = &found.message {
        entries.push(Output::entry("message", "String", message.as_str()));
    }
    if let Some(display) = found.display.filter(|d| !d.is_empty()) {
        entries.push(Output::entry("display", "String", display));
    }
    if let Some(coding) = found.coding {
        entries.push(Output::entry("code", "Code", coding.code));
        if !coding.system.is_empty() {
            entries.push(Output::entry("system", "Uri", coding.system));
        }
        if let Some(version) = coding.version {
            entries.push(Output::entry("version", "String", version));
        }
    }
    if !found.issues.is_empty() {
        let outcome = ::fhir::Outcome { issues: found.issues };
        entries.push(Output::resource_entry("issues", outcome.to_json()));
    }
    entries
}

async fn expand(call: Call) -> Answer {
    let Some(source) = source(&call, "valueSet", "valueSetVersion").await? else {
        return Err(wrong("url", "Say which value set by `url` or `valueSet`."));
    };
    let count_of = |name: &str| -> Result<Option<usize>, FhirError> {
        match call.input.number(name) {
            None => Ok(None),
            Some(number) => usize::try_from(number)
                .map(Some)
                .map_err(|_| wrong(name, format!("`{name}` is not negative."))),
        }
    };
    let mut request = Expand::new(source.clone());
    request.filter = call.input.text("filter").map(str::to_owned);
    request.offset = count_of("offset")?.unwrap_or(0);
    request.count = count_of("count")?;
    request.display_language = language(&call);
    request.include_designations = call.input.flag("includeDesignations").unwrap_or(false);
    request.active_only = call.input.flag("activeOnly").unwrap_or(false);
    request.exclude_not_for_ui = call.input.flag("excludeNotForUI").unwrap_or(false);
    request.system_versions = call.input.texts("system-version").map(str::to_owned).collect();
    request.exclude_systems = call.input.texts("exclude-system").map(str::to_owned).collect();
    let expansion = call.app.record.expand(&call.ctx, request.clone()).await?;
    let head = match &source {
        Source::Resource(resource) => Some(resource.clone()),
        Source::Url(url) => call.app.record.terminology_resource(&call.ctx, "ValueSet", url).await?,
    };
    Ok(Output::Json(expanded(&call, &request, head.as_deref(), expansion)))
}

/// The ValueSet with its expansion, without its definition.
fn expanded(call: &Call, request: &Expand, head: Option<&Value>, expansion: Expansion) -> Value {
    let mut set = json!({"resourceType": "ValueSet"});
    match head {
        Some(head) => {
            for name in
                ["id", "url", "version", "name", "title", "status", "experimental", "publisher", "date"]
            {
                if let Some(value) = head.get(name) {
                    set[name] = value.clone();
                }
            }
        }
        None => {
            if let Source::Url(url) = &request.value_set {
                set["url"] = json!(url.split('|').next().unwrap_or(url));
            }
        }
    }
    if set.get("status").is_none() {
        set["status"] = json!("active");
    }
    let mut parameters: Vec<Value> = call
        .input
        .pairs()
        .filter(|(name, _)| !matches!(*name, "valueSet" | "url"))
        .filter_map(|(name, given)| {
            let value = given.value()?;
            let kind = match value {
                Value::Bool(_) => "Boolean",
                Value::Number(_) => "Integer",
                _ => "String",
            };
            Some(Output::entry(name, kind, value.clone()))
        })
        .collect();
    parameters
        .extend(expansion.used_systems.iter().map(|s| Output::entry("used-codesystem", "Uri", s.as_str())));
    parameters
        .extend(expansion.used_value_sets.iter().map(|s| Output::entry("used-valueset", "Uri", s.as_str())));
    let mut body = json!({
        "identifier": format!("urn:uuid:{}", uuid::Uuid::new_v4()),
        "timestamp": format!("{:.3}", call.ctx.now),
        "total": expansion.total,
    });
    if request.count.is_some() || request.offset > 0 {
        body["offset"] = json!(request.offset);
    }
    if !parameters.is_empty() {
        body["parameter"] = Value::Array(parameters);
    }
    if !expansion.contains.is_empty() {
        body["contains"] = expansion.contains.iter().map(entry).collect();
    }
    set["expansion"] = body;
    set
}

fn entry(one: &Contains) -> Value {
    let mut entry = json!({"system": one.system});
    if one.is_abstract {
        entry["abstract"] = json!(true);
    }
    if one.inactive {
        entry["inactive"] = json!(true);
    }
    if !one.version.is_empty() {
        entry["version"] = json!(one.version);
    }
    entry["code"] = json!(one.code);
    if let Some(display) = &one.display {
        entry["display"] = json!(display);
    }
    if !one.designations.is_empty() {
        let all = one.designations.iter().filter(|d| !d.value.is_empty()).map(|d| {
            let mut designation = json!({});
            if !d.language.is_empty() {
                designation["language"] = json!(d.language);
            }
            if let Some(usage) = usage(d) {
                designation["use"] = usage;
            }
            designation["value"] = json!(d.value);
            designation
        });
        entry["designation"] = all.collect();
    }
    entry
}

async fn translate(call: Call) -> Answer {
    let (all, _) = codings(&call, "system", "version")?;
    if all.iter().any(|one| one.system.is_empty()) {
        return Err(wrong("system", "Say of which code system the code is."));
    }
    let map = source(&call, "conceptMap", "conceptMapVersion").await?;
    let mut whole = Translation { result: false, message: None, matches: Vec::new() };
    for one in all {
        let request = Translate {
            map: map.clone(),
            system: one.system,
            code: one.code,
            source: call.input.text("source").map(str::to_owned),
            target: call.input.text("target").map(str::to_owned),
            target_system: call.input.text("targetsystem").map(str::to_owned),
            reverse: call.input.flag("reverse").unwrap_or(false),
        };
        let found = call.app.record.translate(&call.ctx, request).await?;
        whole.result |= found.result;
        whole.message = whole.message.or(found.message);
        whole.matches.extend(found.matches);
    }
    if whole.result {
        whole.message = None;
    }
    Ok(Output::Parameters(translated(&whole)))
}

fn translated(found: &Translation) -> Vec<Value> {
    let mut entries = vec![Output::entry("result", "Boolean", found.result)];
    if let Some(message) = &found.message {
        entries.push(Output::entry("message", "String", message.as_str()));
    }
    for one in &found.matches {
        let mut parts = vec![Output::entry("equivalence", "Code", one.equivalence.as_str())];
        if !one.code.is_empty() {
            let mut coding = json!({"system": one.system, "code": one.code});
            if let Some(display) = &one.display {
                coding["display"] = json!(display);
            }
            parts.push(Output::entry("concept", "Coding", coding));
        }
        if !one.map.is_empty() {
            parts.push(Output::entry("source", "Uri", one.map.as_str()));
        }
        entries.push(Output::part_entry("match", parts));
    }
    entries
}
