//! `Patient/$match`, `Patient/$merge`, `Patient/$unmerge`.

use super::{Answer, Call, Kinds, Levels, Operation, Output, Parameter, wrong};
use crate::http::error::FhirError;
use ::fhir::{Issue, IssueCode, Outcome, ResourceKey, Severity, TypeId};
use record::operation::{Match, Merge, Merged};
use serde_json::{Value, json};

const KINDS: Kinds = Kinds::These(&["Patient"]);
const GRADE: &str = "http://hl7.org/fhir/StructureDefinition/match-grade";
const DEFAULT_MATCHES: i64 = 10;
const MAX_MATCHES: i64 = 50;

const SOURCE: Parameter =
    Parameter::new("source-patient", "Reference", "The record that goes out of use, by `reference`.");
const SOURCE_IDENTIFIER: Parameter = Parameter::new(
    "source-patient-identifier",
    "Identifier",
    "The record that goes out of use, by its number.",
)
.many();
const TARGET: Parameter =
    Parameter::new("target-patient", "Reference", "The record that stays, by `reference`.");
const TARGET_IDENTIFIER: Parameter =
    Parameter::new("target-patient-identifier", "Identifier", "The record that stays, by its number.").many();
const OUTCOME: Parameter = Parameter::new("outcome", "OperationOutcome", "What was done.").out().required();
const RESULT: Parameter = Parameter::new("result", "Patient", "The record that stays.").out();

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        code: "match",
        id: "Patient-match",
        url: "http://hl7.org/fhir/OperationDefinition/Patient-match",
        title: "Find the patient whom facts describe",
        text: "Each fact that agrees or differs weighs as much as it tells (names in any order and spelling, birth date, \
               phone, e-mail, identifiers, sex, address); `search.score` is the probability. Patients out of reach come cut \
               down to what finding a patient shows, tagged SUBSETTED.",
        levels: Levels::KIND,
        kinds: KINDS,
        affects_state: false,
        parameters: &[
            Parameter::new("resource", "Patient", "What is known of the person.").required(),
            Parameter::new(
                "onlyCertainMatches",
                "boolean",
                "Only a match that is certain; none if two records are certain.",
            ),
            Parameter::new("count", "integer", "Most matches to return, 10 unless given; at most 50."),
            Parameter::new("return", "Bundle", "A searchset, the likeliest first.").out().required(),
        ],
        handler: |call| Box::pin(find(call)),
    },
    Operation {
        code: "merge",
        id: "Patient-merge",
        url: "http://hl7.org/fhir/OperationDefinition/Patient-merge",
        title: "Merge two records of one person",
        text: "After the draft of R6. In one transaction everything that refers to the source comes to refer to the target, in \
               new versions; the source goes out of use and is linked `replaced-by`; accounts, payments and messages follow. \
               For those who resolve duplicates. Taken back by $unmerge.",
        levels: Levels::KIND,
        kinds: KINDS,
        affects_state: true,
        parameters: &[
            SOURCE,
            SOURCE_IDENTIFIER,
            TARGET,
            TARGET_IDENTIFIER,
            Parameter::new(
                "result-patient",
                "Patient",
                "How the record that stays is to look: the target's id, the identifiers of both. Without it the target \
                 takes over what only the source knows.",
            ),
            Parameter::new("preview", "boolean", "Only tell what would happen."),
            Parameter::new("input", "Parameters", "What was asked.").out(),
            OUTCOME,
            RESULT,
        ],
        handler: |call| Box::pin(merge(call)),
    },
    Operation {
        code: "unmerge",
        id: "Patient-unmerge",
        url: "",
        title: "Take a merge back",
        text: "What nobody has changed since the merge becomes exactly what it was, in a new version; what was changed keeps the \
               change and gets its patient back; what was recorded since stays with the target.",
        levels: Levels::KIND,
        kinds: KINDS,
        affects_state: true,
        parameters: &[
            SOURCE,
            SOURCE_IDENTIFIER,
            TARGET,
            TARGET_IDENTIFIER,
            OUTCOME,
            RESULT,
            Parameter::new("source", "Patient", "The record that is in use again.").out(),
        ],
        handler: |call| Box::pin(unmerge(call)),
    },
];

async fn find(call: Call) -> Answer {
    let described = call.input.resource("resource").ok_or_else(|| wrong("resource", "Send a Patient."))?;
    let count = call.input.number("count").unwrap_or(DEFAULT_MATCHES);
    if !(1..=MAX_MATCHES).contains(&count) {
        return Err(wrong("count", format!("count is 1 to {MAX_MATCHES}.")));
    }
    let only_certain = call.input.flag("onlyCertainMatches") == Some(true);
    let found = call.app.record.match_patients(&call.ctx, described, only_certain, count as usize).await?;
    let base = call.base();
    let mut bundle = json!({"resourceType": "Bundle", "type": "searchset", "total": found.len()});
    let entry: Vec<Value> = found.into_iter().map(|m| entry(&base, m)).collect();
    if !entry.is_empty() {
        bundle["entry"] = Value::Array(entry);
    }
    Ok(Output::Json(bundle))
}

fn entry(base: &str, found: Match) -> Value {
    let grade = found.likeness.grade().code();
    // Three decimals: 0.9995 is not 1.
    let score = (found.likeness.0 * 1000.0).floor() / 1000.0;
    let url = format!("{base}/Patient/{}", found.patient.id().unwrap_or_default());
    let mut patient = found.patient.into_value();
    if !found.in_reach {
        let tag = json!({"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"});
        match patient["meta"]["tag"].as_array_mut() {
            Some(tags) => tags.push(tag),
            None => patient["meta"]["tag"] = json!([tag]),
        }
        // FHIR allows no empty arrays.
        if let Some(object) = patient.as_object_mut() {
            object.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
        }
    }
    json!({"fullUrl": url, "resource": patient, "search": {
        "extension": [{"url": GRADE, "valueCode": grade}], "mode": "match", "score": score}})
}

/// The Patient that a pair of parameters names. Errors: 400 for none or two, 404, 422.
async fn named(call: &Call, role: &str) -> Result<Option<ResourceKey>, FhirError> {
    let name = format!("{role}-patient");
    let by_number = format!("{name}-identifier");
    if let Some(reference) = call.input.value(&name) {
        let text = reference["reference"].as_str().unwrap_or_default();
        let base = format!("{}/", call.base());
        let key = ResourceKey::parse(text.strip_prefix(&base).unwrap_or(text));
        return match key.filter(|key| key.kind == TypeId::PATIENT) {
            Some(key) => Ok(Some(key)),
            None => Err(wrong(&name, "Name a Patient of this server, e.g. `Patient/123`.")),
        };
    }
    let numbers: Vec<&Value> = call.input.values(&by_number).collect();
    if numbers.is_empty() {
        return Ok(None);
    }
    let escape =
        |text: &str| text.replace('\\', "\\\\").replace(',', "\\,").replace('|', "\\|").replace('$', "\\$");
    let mut found: Option<ResourceKey> = None;
    for number in numbers {
        let value =
            number["value"].as_str().ok_or_else(|| wrong(&by_number, "An identifier needs a value."))?;
        let token = match number["system"].as_str() {
            Some(system) => format!("{}|{}", escape(system), escape(value)),
            None => escape(value),
        };
        let query = [("identifier", token.as_str())];
        for (patient, _) in call.app.record.find(&call.ctx, "Patient", &query, 2).await? {
            match (&found, patient.key()) {
                (Some(known), Some(key)) if *known != key => {
                    return Err(wrong(&by_number, "More than one Patient has these identifiers."));
                }
                (_, key) => found = key,
            }
        }
    }
    found.map(Some).ok_or_else(|| wrong(&by_number, "No Patient has this identifier."))
}

async fn pair(call: &Call) -> Result<(ResourceKey, Option<ResourceKey>), FhirError> {
    let source = named(call, "source").await?;
    let source = source.ok_or_else(|| {
        wrong("source-patient", "Say which record goes out of use: `source-patient` or its identifier.")
    })?;
    Ok((source, named(call, "target").await?))
}

async fn merge(call: Call) -> Answer {
    let (source, target) = pair(&call).await?;
    let target = target.ok_or_else(|| {
        wrong("target-patient", "Say which record stays: `target-patient` or its identifier.")
    })?;
    let preview = call.input.flag("preview") == Some(true);
    let merge = Merge {
        source: source.clone(),
        target: target.clone(),
        result: call.input.resource("result-patient").cloned(),
        preview,
    };
    let merged = call.app.record.merge_patients(&call.ctx, &merge).await?;
    let entries = vec![
        Output::resource_entry("input", input(&source, &target, preview)),
        Output::resource_entry("outcome", outcome(vec![told(&merged, &source, &target, preview)])),
        Output::resource_entry("result", merged.result.into_value()),
    ];
    Ok(Output::Parameters(entries))
}

fn input(source: &ResourceKey, target: &ResourceKey, preview: bool) -> Value {
    json!({"resourceType": "Parameters", "parameter": [
        {"name": "source-patient", "valueReference": {"reference": source.to_string()}},
        {"name": "target-patient", "valueReference": {"reference": target.to_string()}},
        {"name": "preview", "valueBoolean": preview},
    ]})
}

fn told(merged: &Merged, source: &ResourceKey, target: &ResourceKey, preview: bool) -> String {
    let moved: usize = merged.moved.values().sum();
    let kinds: Vec<String> = merged.moved.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    let verb = if preview { "would move" } else { "moved" };
    format!(
        "{verb} {moved} resources{kinds}, {} accounts, {} payments and {} messages from {source} to {target}.",
        merged.accounts, merged.payments, merged.messages
    )
}

fn outcome(texts: Vec<String>) -> Value {
    let issue = |text: String| Issue {
        severity: Severity::Information,
        code: IssueCode::Informational,
        text,
        expression: String::new(),
    };
    Outcome { issues: texts.into_iter().map(issue).collect() }.to_json()
}

async fn unmerge(call: Call) -> Answer {
    let (source, target) = pair(&call).await?;
    let undone = call.app.record.unmerge_patients(&call.ctx, &source, target.as_ref()).await?;
    let mut texts = vec![format!(
        "{} resources are {source}'s again, {} of them with changes made since.",
        undone.restored,
        undone.changed.len()
    )];
    if !undone.left.is_empty() {
        let keys: Vec<String> = undone.left.iter().map(ToString::to_string).collect();
        texts.push(format!(
            "Changed since, and both patients stood in them before; look at them: {}.",
            keys.join(", ")
        ));
    }
    Ok(Output::Parameters(vec![
        Output::resource_entry("outcome", outcome(texts)),
        Output::resource_entry("result", undone.target.into_value()),
        Output::resource_entry("source", undone.source.into_value()),
    ]))
}
