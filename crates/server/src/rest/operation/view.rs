//! `$viewdefinition-run` and `$viewdefinition-export`: rows of SQL-on-FHIR views.

use super::{Direct, Kinds, Levels, Operation, Parameter, PendingResponse, never, wrong};
use crate::http::body;
use crate::http::error::{FhirError, Refusal, RefusalKind};
use crate::rest::bulk::{accepted, reference_ids, wants_async};
use crate::rest::negotiate::ACCEPTED_BODIES;
use crate::state::AppState;
use access::Ctx;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, header};
use axum::response::Response;
use insight::Format;
use insight::export::ViewRequest;
use insight::run::RunRequest;
use jiff::Timestamp;
use serde_json::{Value, json};

const VIEW: Parameter =
    Parameter::new("viewReference", "Reference", "A view that is kept: ViewDefinition/name.");
const GIVEN: Parameter = Parameter::new("viewResource", "Resource", "The ViewDefinition itself.");
const FORMAT: Parameter = Parameter::new(
    "_format",
    "code",
    "csv, ndjson, json or parquet; without it as Accept says, else ndjson.",
);
const HEADER: Parameter =
    Parameter::new("header", "boolean", "Whether CSV begins with the names of the columns; true by default.");
const PATIENTS: Parameter = Parameter::new("patient", "Reference", "Only these patients' resources.").many();
const GROUP: Parameter = Parameter::new("group", "Reference", "Only the members' resources.").many();
const SINCE: Parameter = Parameter::new("_since", "instant", "Only what changed at or after this time.");
const LIMIT: Parameter = Parameter::new("_limit", "integer", "Rows at most.");
const RESOURCES: Parameter =
    Parameter::new("resource", "Resource", "Run on these resources instead of the record's.").many();

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        code: "viewdefinition-run",
        id: "ViewDefinition-run",
        url: "http://sql-on-fhir.org/OperationDefinition/$viewdefinition-run",
        title: "Rows of a view, now",
        text: "Streams the rows that a SQL-on-FHIR v2 view gives on the resources the caller may read. Also at \
               ViewDefinition/$run and ViewDefinition/{name}/$run.",
        levels: Levels::SYSTEM,
        kinds: Kinds::Every,
        affects_state: false,
        parameters: &[VIEW, GIVEN, FORMAT, HEADER, PATIENTS, GROUP, SINCE, LIMIT, RESOURCES],
        handler: never,
    },
    Operation {
        code: "viewdefinition-export",
        id: "ViewDefinition-export",
        url: "http://sql-on-fhir.org/OperationDefinition/$viewdefinition-export",
        title: "Rows of a view as files",
        text: "Writes the rows of a view to files in the background; status, files and cancelling as for $export.",
        levels: Levels::SYSTEM,
        kinds: Kinds::Every,
        affects_state: false,
        parameters: &[VIEW, GIVEN, FORMAT, PATIENTS, GROUP, SINCE],
        handler: never,
    },
];

pub(super) fn run_view(direct: Direct) -> PendingResponse {
    Box::pin(run(direct.app, direct.ctx, None, direct.request))
}

pub(super) fn export_view(direct: Direct) -> PendingResponse {
    Box::pin(export(direct.app, direct.ctx, direct.request))
}

/// What a request says.
#[derive(Default)]
struct Asked {
    definition: Option<Value>,
    /// Name of a kept view.
    name: Option<String>,
    format: Option<Format>,
    header: Option<bool>,
    patients: Vec<Value>,
    groups: Vec<Value>,
    since: Option<Timestamp>,
    limit: Option<u64>,
    resources: Vec<Value>,
}

impl Asked {
    fn text(&mut self, name: &str, text: &str) -> Result<(), FhirError> {
        match name {
            "_format" => {
                let format = Format::parse(text);
                self.format =
                    Some(format.ok_or_else(|| wrong(name, "Formats are csv, ndjson, json and parquet."))?);
            }
            "header" => {
                self.header = Some(text.parse().map_err(|_| wrong(name, "This is true or false."))?);
            }
            "_limit" => {
                let limit = text.parse().ok().filter(|n| *n > 0);
                self.limit = Some(limit.ok_or_else(|| wrong(name, "A number of rows, 1 or more."))?);
            }
            "_since" => {
                let since = text
                    .parse()
                    .map_err(|_| wrong(name, "An instant with a zone, e.g. 2026-03-04T05:06:07Z."));
                self.since = Some(since?);
            }
            "patient" => self.patients.push(json!(text)),
            "group" => self.groups.push(json!(text)),
            "viewReference" => self.refer(text)?,
            _ => {
                let text = "There are viewReference, viewResource, _format, header, patient, group, _since, _limit and resource.";
                return Err(wrong(name, text));
            }
        }
        Ok(())
    }

    fn refer(&mut self, text: &str) -> Result<(), FhirError> {
        let name = text.rsplit_once("ViewDefinition/").map(|(_, name)| name);
        let name = name.filter(|name| insight::stored::is_view_name(name));
        self.name =
            Some(name.ok_or_else(|| wrong("viewReference", "Refer to ViewDefinition/name."))?.to_owned());
        Ok(())
    }

    fn entry(&mut self, entry: &Value) -> Result<(), FhirError> {
        let name = entry.get("name").and_then(Value::as_str).unwrap_or_default();
        match (name, entry.get("resource")) {
            ("viewResource", Some(resource)) => self.definition = Some(resource.clone()),
            ("resource", Some(resource)) => self.resources.push(resource.clone()),
            ("viewResource" | "resource", None) => return Err(wrong(name, "The resource is missing.")),
            _ => {
                let fields = entry.as_object().into_iter().flatten();
                let value = fields.filter(|(key, _)| key.starts_with("value")).map(|(_, value)| value).next();
                match value {
                    Some(Value::String(text)) => self.text(name, text)?,
                    Some(Value::Bool(truth)) => self.text(name, &truth.to_string())?,
                    Some(Value::Number(number)) => self.text(name, &number.to_string())?,
                    Some(reference @ Value::Object(_)) => {
                        let text = reference.get("reference").and_then(Value::as_str).unwrap_or_default();
                        self.text(name, text)?;
                    }
                    _ => return Err(wrong(name, "The value is missing.")),
                }
            }
        }
        Ok(())
    }
}

async fn asked(app: &AppState, request: Request) -> Result<Asked, FhirError> {
    let mut asked = Asked::default();
    let accept = request.headers().get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    // FHIR's own types say how errors come back, not what a table is.
    let accepted = accept.split(',').filter(|range| !range.contains("fhir+")).find_map(Format::parse);
    let query = request.uri().query().unwrap_or_default().to_owned();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        asked.text(&name, &value)?;
    }
    match *request.method() {
        Method::GET | Method::HEAD => {}
        Method::POST => {
            let headers = request.headers().clone();
            let bytes = body::read(request, app.config.limits.json_bytes).await?;
            if !bytes.iter().all(u8::is_ascii_whitespace) {
                body::require_json(&headers, ACCEPTED_BODIES)?;
                let value: Value = serde_json::from_slice(&bytes)
                    .map_err(|_| Refusal::new(RefusalKind::BodyMalformed, "The body is no JSON."))?;
                match value.get("resourceType").and_then(Value::as_str) {
                    Some("Parameters") => {
                        for entry in value.get("parameter").and_then(Value::as_array).into_iter().flatten() {
                            asked.entry(entry)?;
                        }
                    }
                    Some("ViewDefinition") => asked.definition = Some(value),
                    _ => return Err(wrong("resourceType", "Send Parameters or a ViewDefinition.")),
                }
            }
        }
        _ => return Err(Refusal::new(RefusalKind::MethodNotAllowed, "Use GET or POST.").into()),
    }
    asked.format = asked.format.or(accepted);
    Ok(asked)
}

/// The definition that is to be run, and whose resources.
async fn settle(
    app: &AppState,
    ctx: &Ctx,
    name: Option<String>,
    asked: &mut Asked,
) -> Result<(Value, Option<Vec<String>>), FhirError> {
    let insight = &app.parts.insight;
    let definition = match (name.or(asked.name.take()), asked.definition.take()) {
        (None, None) => {
            return Err(wrong(
                "viewResource",
                "Send the view as viewResource, or name one by viewReference.",
            ));
        }
        (Some(_), Some(_)) => return Err(wrong("viewResource", "Either viewResource or viewReference.")),
        (Some(name), None) => insight.stored_view(ctx, &name).await?.definition,
        (None, Some(definition)) => definition,
    };
    let mut patients =
        if asked.patients.is_empty() { None } else { Some(reference_ids("patient", &asked.patients)?) };
    for group in &asked.groups {
        let key =
            group.as_str().and_then(::fhir::ResourceKey::parse).filter(|key| key.kind.name() == "Group");
        let key = key.ok_or_else(|| wrong("group", "Name groups as Group/id."))?;
        let members = insight.members(ctx, &key.id).await?;
        patients.get_or_insert_default().extend(members);
    }
    Ok((definition, patients))
}

/// Runs a view; `name` is that of a kept one.
pub async fn run(
    app: AppState,
    ctx: Ctx,
    name: Option<String>,
    request: Request,
) -> Result<Response, FhirError> {
    let mut asked = asked(&app, request).await?;
    let (definition, patients) = settle(&app, &ctx, name, &mut asked).await?;
    let ask = RunRequest {
        definition,
        format: asked.format.unwrap_or(Format::Ndjson),
        header: asked.header.unwrap_or(true),
        limit: asked.limit,
        since: asked.since,
        patients,
        resources: (!asked.resources.is_empty()).then_some(asked.resources),
        limits: None,
    };
    let run = app.parts.insight.run_view(&ctx, ask).await?;
    let media_type = run.media_type;
    let pages = futures_util::stream::try_unfold(run, |mut run| async move {
        let page = run.next().await.map_err(|error| {
            tracing::info!(%error, "a view ended early");
            std::io::Error::other("the view ended early")
        })?;
        Ok::<_, std::io::Error>(page.map(|bytes| (Bytes::from(bytes), run)))
    });
    let mut response = Response::new(Body::from_stream(pages));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    Ok(response)
}

async fn export(app: AppState, ctx: Ctx, request: Request) -> Result<Response, FhirError> {
    wants_async(request.headers())?;
    let query = request.uri().query().map(|q| format!("?{q}")).unwrap_or_default();
    let mut asked = asked(&app, request).await?;
    let (definition, patients) = settle(&app, &ctx, None, &mut asked).await?;
    let ask = ViewRequest {
        url: format!("{}/$viewdefinition-export{query}", app.fhir_base()),
        definition,
        format: asked.format.unwrap_or(Format::Ndjson),
        since: asked.since,
        patients: patients.unwrap_or_default(),
    };
    let id = app.parts.insight.start_view(&ctx, ask).await?;
    Ok(accepted(&app, id))
}
