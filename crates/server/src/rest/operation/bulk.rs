//! `$export` and `$import`: how they begin. Status, files and the end are in `rest::bulk`.

use super::{
    Answer, Call, Direct, Kinds, Levels, Operation, Output, Parameter, PendingResponse, never, wrong,
};
use crate::http::body;
use crate::http::error::{FhirError, Refusal, RefusalKind};
use crate::rest::bulk::{accepted, kinds_of, reference_ids, wants_async};
use crate::rest::negotiate::ACCEPTED_BODIES;
use ::fhir::{IssueCode, Outcome, TypeId};
use axum::http::{Method, header};
use axum::response::Response;
use futures_util::StreamExt as _;
use insight::export::{ExportRequest, Level, parse_filter};
use insight::import::Input;
use jiff::Timestamp;
use serde_json::Value;

/// Media types of a file that comes with `$import`.
const NDJSON: &[&str] = &["application/fhir+ndjson", "application/ndjson", "application/x-ndjson"];
/// What `_outputFormat` may say.
const OUTPUT_FORMATS: &[&str] = &["application/fhir+ndjson", "application/ndjson", "ndjson"];
/// Bytes of an upload gathered before they go to the disk.
const LOT: usize = 1 << 20;

const FORMAT: Parameter =
    Parameter::new("_outputFormat", "string", "application/fhir+ndjson, which is what there is.");
const SINCE: Parameter = Parameter::new(
    "_since",
    "instant",
    "Only what changed at or after this time; deletions since then come as well, except for a Group or named patients.",
);
const UNTIL: Parameter =
    Parameter::new("_until", "instant", "Only what changed last at or before this time.");
const TYPES: Parameter =
    Parameter::new("_type", "string", "Only these types, separated by commas or repeated.").many();
const FILTERS: Parameter = Parameter::new(
    "_typeFilter",
    "string",
    "A type and search parameters, e.g. Observation?status=final; several of one type are alternatives.",
)
.many();
const ELEMENTS: Parameter =
    Parameter::new("_elements", "string", "Only these root elements, separated by commas.").many();
const ASSOCIATED: Parameter = Parameter::new(
    "includeAssociatedData",
    "code",
    "Refused: Provenance and other types are asked for by _type.",
)
.many();
const PATIENTS: Parameter =
    Parameter::new("patient", "Reference", "Only these patients; by POST only.").many();

const EXPORT: &str = "Begins an export in the background and answers 202 with the address of its status. Send `Prefer: \
                      respond-async`. The export shows the record as it stood when it was asked for.";

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        code: "export",
        id: "system-export",
        url: "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export",
        title: "Everything as NDJSON",
        text: EXPORT,
        levels: Levels::SYSTEM,
        kinds: Kinds::Every,
        affects_state: false,
        parameters: &[FORMAT, SINCE, UNTIL, TYPES, FILTERS, ELEMENTS, ASSOCIATED],
        handler: |call| Box::pin(export(call)),
    },
    Operation {
        code: "export",
        id: "patient-export",
        url: "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/patient-export",
        title: "Data of all patients as NDJSON",
        text: EXPORT,
        levels: Levels::KIND,
        kinds: Kinds::These(&["Patient"]),
        affects_state: false,
        parameters: &[FORMAT, SINCE, UNTIL, TYPES, FILTERS, ELEMENTS, ASSOCIATED, PATIENTS],
        handler: |call| Box::pin(export(call)),
    },
    Operation {
        code: "export",
        id: "group-export",
        url: "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/group-export",
        title: "Data of the patients of a group as NDJSON",
        text: EXPORT,
        levels: Levels::INSTANCE,
        kinds: Kinds::These(&["Group"]),
        affects_state: false,
        parameters: &[FORMAT, SINCE, UNTIL, TYPES, FILTERS, ELEMENTS, ASSOCIATED, PATIENTS],
        handler: |call| Box::pin(export(call)),
    },
    Operation {
        code: "import",
        id: "system-import",
        url: "",
        title: "Import NDJSON",
        text: "Begins an import in the background and answers 202 with the address of its status. Send the file itself as \
               application/fhir+ndjson (`?_type=` says what all lines are), or Parameters that name files to fetch from \
               addresses the operator allows. Each line is taken or refused by itself; refusals are in the errors of \
               the result.",
        levels: Levels::SYSTEM,
        kinds: Kinds::Every,
        affects_state: true,
        parameters: &[
            Parameter::new("inputFormat", "code", "application/fhir+ndjson, which is what there is."),
            Parameter::new("inputSource", "uri", "Where the data comes from, for the audit."),
            Parameter::new("input", "", "A file.").many().parts(&[
                Parameter::new("type", "code", "What every line of the file is."),
                Parameter::new("url", "uri", "Where to fetch it.").required(),
            ]),
            Parameter::new("_type", "code", "What every line of the file in the body is."),
        ],
        handler: never,
    },
];

async fn export(call: Call) -> Answer {
    wants_async(&call.headers)?;
    let input = &call.input;
    if input.texts(ASSOCIATED.name).next().is_some() {
        let text = "Associated data is not chosen by itself: name Provenance and other types in _type.";
        return Err(Outcome::one(IssueCode::NotSupported, ASSOCIATED.name, text).into());
    }
    if let Some(format) = input.text(FORMAT.name) {
        let essence = format.split(';').next().unwrap_or_default().trim().replace(' ', "+");
        if !OUTPUT_FORMATS.contains(&essence.as_str()) {
            return Err(wrong(FORMAT.name, "Exports are application/fhir+ndjson."));
        }
    }
    let time = |name: &str| -> Result<Option<Timestamp>, FhirError> {
        let parsed = input.text(name).map(|text| text.parse::<Timestamp>());
        parsed
            .transpose()
            .map_err(|_| wrong(name, "This is an instant with a zone, e.g. 2026-03-04T05:06:07Z."))
    };
    let record = &call.app.record;
    let filters = input.texts(FILTERS.name).flat_map(split_filters);
    let filters: Vec<(TypeId, String)> =
        filters.map(|text| parse_filter(record, &text)).collect::<Result<_, _>>()?;
    let kinds = kinds_of(input.texts(TYPES.name))?;
    if let Some((kind, _)) = filters.iter().find(|(kind, _)| !kinds.is_empty() && !kinds.contains(kind)) {
        return Err(wrong(
            FILTERS.name,
            format!("{} is filtered, but not among the types asked for.", kind.name()),
        ));
    }
    let elements = input.texts(ELEMENTS.name).flat_map(|text| text.split(','));
    let references = input.values(PATIENTS.name).cloned().collect::<Vec<_>>();
    let level = match (&call.key, call.kind) {
        (Some(group), _) => Level::Group(group.id.clone()),
        (None, Some(_)) => Level::Patient,
        (None, None) => Level::System,
    };
    let place = match &level {
        Level::Group(id) => format!("{}/Group/{id}/$export", call.base()),
        Level::Patient => format!("{}/Patient/$export", call.base()),
        Level::System => format!("{}/$export", call.base()),
    };
    let url = if call.query.is_empty() { place } else { format!("{place}?{}", call.query) };
    let ask = ExportRequest {
        url,
        level,
        kinds,
        since: time(SINCE.name)?,
        until: time(UNTIL.name)?,
        filters,
        patients: reference_ids(PATIENTS.name, &references)?,
        // `Type.element` restricts the element to the type; the root is what counts here.
        elements: elements.map(|e| e.trim().to_owned()).filter(|e| !e.is_empty()).collect(),
    };
    let id = call.app.parts.insight.start_export(&call.ctx, ask).await?;
    Ok(Output::Raw(accepted(&call.app, id)))
}

/// Several filters may come in one text, separated by commas before a type and its question mark.
fn split_filters(text: &str) -> Vec<String> {
    let mut filters: Vec<String> = Vec::new();
    for piece in text.split(',') {
        let begins = piece.split_once('?').is_some_and(|(kind, _)| TypeId::from_name(kind.trim()).is_some());
        match filters.last_mut() {
            Some(last) if !begins => {
                last.push(',');
                last.push_str(piece);
            }
            _ => filters.push(piece.trim().to_owned()),
        }
    }
    filters
}

pub(super) fn import(direct: Direct) -> PendingResponse {
    Box::pin(begin_import(direct))
}

async fn begin_import(direct: Direct) -> Result<Response, FhirError> {
    let Direct { app, ctx, request, .. } = direct;
    if request.method() != Method::POST {
        return Err(Refusal::new(RefusalKind::MethodNotAllowed, "$import is called by POST.").into());
    }
    wants_async(request.headers())?;
    let query = request.uri().query().unwrap_or_default().to_owned();
    let url = match query.as_str() {
        "" => format!("{}/$import", app.fhir_base()),
        query => format!("{}/$import?{query}", app.fhir_base()),
    };
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned();
    if NDJSON.iter().any(|kind| kind.eq_ignore_ascii_case(&essence)) {
        let mut kind = None;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "_type" => kind = kinds_of(std::iter::once(value.as_ref()))?.first().copied(),
                "inputSource" => {}
                _ => return Err(wrong(&name, "With a file there are the parameters _type and inputSource.")),
            }
        }
        let mut upload = app.parts.insight.upload(&ctx).await?;
        let mut stream = request.into_body().into_data_stream();
        let mut lot: Vec<u8> = Vec::with_capacity(LOT);
        loop {
            let next = stream.next().await;
            let ended = next.is_none();
            if let Some(bytes) = next {
                let broken = |_| Refusal::new(RefusalKind::BodyMalformed, "The body broke off.");
                lot.extend_from_slice(&bytes.map_err(broken)?);
            }
            if ended || lot.len() >= LOT {
                let full = std::mem::take(&mut lot);
                let written = tokio::task::spawn_blocking(move || (upload.write(&full), upload)).await;
                let (done, back) = written.map_err(|e| record::Error::Internal(format!("an upload: {e}")))?;
                done?;
                upload = back;
            }
            if ended {
                break;
            }
        }
        let id = app.parts.insight.start_upload(&ctx, upload, url, kind).await?;
        return Ok(accepted(&app, id));
    }
    body::require_json(request.headers(), ACCEPTED_BODIES).map_err(|_| {
        let text = "Send a file as application/fhir+ndjson, or Parameters as application/fhir+json.";
        Refusal::new(RefusalKind::MediaTypeUnsupported, text)
    })?;
    let bytes = body::read(request, app.config.limits.json_bytes).await?;
    let parameters = ::fhir::Resource::parse(&bytes)?;
    let inputs = inputs(parameters.value())?;
    let id = app.parts.insight.start_import(&ctx, url, &inputs).await?;
    Ok(accepted(&app, id))
}

/// The files that Parameters name. Errors: 400.
fn inputs(parameters: &Value) -> Result<Vec<Input>, FhirError> {
    if parameters.get("resourceType").and_then(Value::as_str) != Some("Parameters") {
        return Err(wrong("resourceType", "$import takes a Parameters resource."));
    }
    let mut inputs = Vec::new();
    for entry in parameters.get("parameter").and_then(Value::as_array).into_iter().flatten() {
        let name = entry.get("name").and_then(Value::as_str).unwrap_or_default();
        match name {
            "inputFormat" => {
                let format = text_of(entry).unwrap_or_default();
                if !NDJSON.contains(&format) {
                    return Err(wrong(name, "Files are application/fhir+ndjson."));
                }
            }
            "inputSource" => {}
            "input" => {
                let parts =
                    entry.get("part").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                let part = |wanted: &str| {
                    let found = parts.iter().find(|p| p.get("name").and_then(Value::as_str) == Some(wanted));
                    found.and_then(text_of)
                };
                let url =
                    part("url").ok_or_else(|| wrong("input.url", "The address of the file is missing."))?;
                let kind = kinds_of(part("type").into_iter())?.first().copied();
                inputs.push(Input { kind, url: url.to_owned() });
            }
            _ => return Err(wrong(name, "There are the parameters inputFormat, inputSource and input.")),
        }
    }
    Ok(inputs)
}

/// The text of `valueCode`, `valueUri` and their like.
fn text_of(entry: &Value) -> Option<&str> {
    entry
        .as_object()?
        .iter()
        .find(|(name, _)| name.starts_with("value"))
        .and_then(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_told_apart_by_their_types() {
        let cases: &[(&str, &[&str])] = &[
            ("Observation?status=final", &["Observation?status=final"]),
            ("Observation?code=a,b", &["Observation?code=a,b"]),
            ("Observation?code=a,b,Patient?active=true", &["Observation?code=a,b", "Patient?active=true"]),
            ("Patient", &["Patient"]),
        ];
        for (text, expected) in cases {
            assert_eq!(split_filters(text), *expected, "{text}");
        }
    }
}
