//! FHIR operations (`$name`): one table, from which the routes, the checks of what comes in, the CapabilityStatement
//! and the OperationDefinition resources are made.
//!
//! **To add one:** a `pub(super) const OPERATIONS: &[Operation]` in the family's own file, its name in [FAMILIES].
//! A handler gets a [Call] whose [Input] has already been checked against the table, acts through `record` (rights and
//! audit are there), and returns an [Output].
//!
//! **Invariant:** an operation that is in the table runs; one that is not is refused with 404.

mod bulk;
mod closure;
mod document;
mod everything;
mod input;
mod meta;
mod observation;
mod patient;
mod reply;
mod search_parameter;
mod subscription;
mod table;
mod terminology;
mod validate;
pub mod view;

pub use input::{Given, Input};
pub use reply::Output;
pub use table::{Kinds, Levels, Operation, Parameter, Use};

use super::negotiate::{self, Wishes};
use super::{Segments, key_of, printable, type_of};
use crate::http::FhirCaller;
use crate::http::error::{FhirError, Refusal, RefusalKind};
use crate::state::AppState;
use ::fhir::{ResourceKey, TypeId};
use access::Ctx;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use axum::routing::any;
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;

/// Every operation of the server, family by family.
const FAMILIES: &[&[Operation]] = &[
    bulk::OPERATIONS,
    view::OPERATIONS,
    document::OPERATIONS,
    everything::OPERATIONS,
    meta::OPERATIONS,
    observation::OPERATIONS,
    patient::OPERATIONS,
    search_parameter::OPERATIONS,
    subscription::OPERATIONS,
    terminology::OPERATIONS,
    closure::OPERATIONS,
    validate::OPERATIONS,
];

/// Operations that read their request and make their answer themselves (streams, files, formats that are not FHIR's), by
/// [Operation::id]. Their `handler` is [never].
const DIRECT: &[(&str, DirectHandler)] = &[
    ("system-import", bulk::import),
    ("ViewDefinition-run", view::run_view),
    ("ViewDefinition-export", view::export_view),
];

/// What a handler returns: write `handler: |call| Box::pin(name(call))` for an `async fn name(call: Call) -> Answer`.
pub type Pending = Pin<Box<dyn Future<Output = Answer> + Send>>;
/// Errors become OperationOutcomes; use [wrong] for a parameter's value.
pub type Answer = Result<Output, FhirError>;

pub type PendingResponse = Pin<Box<dyn Future<Output = Result<Response, FhirError>> + Send>>;

/// What handles an operation of [DIRECT].
type DirectHandler = fn(Direct) -> PendingResponse;

/// One request for an operation of [DIRECT]: only level, type and id have been checked.
pub struct Direct {
    pub app: AppState,
    pub ctx: Ctx,
    pub operation: &'static Operation,
    pub kind: Option<TypeId>,
    pub key: Option<ResourceKey>,
    pub request: Request,
}

/// The `handler` of operations in [DIRECT].
pub fn never(_: Call) -> Pending {
    Box::pin(async { Err(record::Error::Internal("a direct operation was called as another".into()).into()) })
}

/// One request for an operation, checked.
pub struct Call {
    pub app: AppState,
    /// The caller; every read and write goes through `record` with it.
    pub ctx: Ctx,
    pub operation: &'static Operation,
    /// `None` on the system level.
    pub kind: Option<TypeId>,
    /// Only on the instance level.
    pub key: Option<ResourceKey>,
    pub input: Input,
    /// By GET: nothing may change.
    pub is_get: bool,
    pub wishes: Wishes,
    pub headers: HeaderMap,
    /// The query as it came, percent-encoded, for links to further pages.
    pub query: String,
}

impl Call {
    /// The instance. Errors: 404; the routes see to it that an instance operation has one.
    pub fn key(&self) -> Result<&ResourceKey, FhirError> {
        self.key.as_ref().ok_or_else(|| record::Error::NotFound.into())
    }
    /// Base of the FHIR API without a trailing slash.
    pub fn base(&self) -> String {
        self.app.fhir_base()
    }
}

/// All operations, in the order of the table.
pub fn all() -> impl Iterator<Item = &'static Operation> {
    FAMILIES.iter().flat_map(|family| family.iter())
}

/// 400: the value of a parameter does not do. `text` tells what would.
pub fn wrong(name: &str, text: impl Into<String>) -> FhirError {
    Refusal::new(RefusalKind::ParameterWrong, text).at(name).into()
}

/// 422: understood, but the record cannot do it. `code` is the issue's.
pub fn refused(code: ::fhir::IssueCode, text: impl Into<String>) -> FhirError {
    record::Error::Invalid(::fhir::Outcome::one(code, "", text)).into()
}

/// Routes of every operation. A `$` may come as `%24`.
pub fn router() -> Router<AppState> {
    let codes: BTreeSet<&'static str> = all().map(|operation| operation.code).collect();
    let mut router = Router::new();
    for code in codes {
        for mark in ["$", "%24"] {
            router = router
                .route(
                    &format!("/fhir/R4/{mark}{code}"),
                    any(move |State(app): State<AppState>, FhirCaller(ctx): FhirCaller, request: Request| {
                        run(app, ctx, code, None, None, request)
                    }),
                )
                .route(
                    &format!("/fhir/R4/{{type}}/{mark}{code}"),
                    any(
                        move |State(app): State<AppState>,
                              FhirCaller(ctx): FhirCaller,
                              Segments(kind): Segments<String>,
                              request: Request| {
                            run(app, ctx, code, Some(kind), None, request)
                        },
                    ),
                )
                .route(
                    &format!("/fhir/R4/{{type}}/{{id}}/{mark}{code}"),
                    any(
                        move |State(app): State<AppState>,
                              FhirCaller(ctx): FhirCaller,
                              Segments((kind, id)): Segments<(String, String)>,
                              request: Request| {
                            run(app, ctx, code, Some(kind), Some(id), request)
                        },
                    ),
                );
        }
    }
    router
}

/// 404 for a name that starts with `$` and is in no table.
pub fn unknown(name: &str) -> FhirError {
    Refusal::new(
        RefusalKind::RouteUnknown,
        format!("There is no operation `{}` here; see /fhir/R4/metadata.", printable(name)),
    )
    .into()
}

async fn run(
    app: AppState,
    ctx: Ctx,
    code: &'static str,
    kind: Option<String>,
    id: Option<String>,
    request: Request,
) -> Result<Response, FhirError> {
    let (kind, key) = match (&kind, &id) {
        (Some(kind), Some(id)) => {
            let key = key_of(kind, id)?;
            (Some(key.kind), Some(key))
        }
        (Some(kind), None) => (Some(type_of(kind)?), None),
        _ => (None, None),
    };
    let operation = find(code, kind, key.is_some())?;
    if let Some((_, direct)) = DIRECT.iter().find(|(id, _)| *id == operation.id) {
        return direct(Direct { app, ctx, operation, kind, key, request }).await;
    }
    let query = request.uri().query().unwrap_or_default().to_owned();
    let headers = request.headers().clone();
    let asked = negotiate::negotiate(&headers, &query)?;
    let is_get = request.method() != Method::POST;
    let input = match *request.method() {
        Method::GET | Method::HEAD if operation.takes_get() => Input::from_query(operation, &asked.pairs)?,
        Method::GET | Method::HEAD => {
            let text = format!("${code} changes something or takes what a URL cannot say: use POST.");
            return Err(Refusal::new(RefusalKind::MethodNotAllowed, text).into());
        }
        Method::POST => Input::from_body(&app, operation, &asked.pairs, request).await?,
        _ => {
            let text = format!("${code} is called by GET or POST.");
            return Err(Refusal::new(RefusalKind::MethodNotAllowed, text).into());
        }
    };
    let wishes = asked.wishes;
    let call = Call { app, ctx, operation, kind, key, input, is_get, wishes, headers, query };
    let output = (operation.handler)(call).await?;
    reply::response(output, wishes)
}

/// The operation of this name that runs on this level and type. Errors: 404, with the levels or types it has.
fn find(code: &str, kind: Option<TypeId>, instance: bool) -> Result<&'static Operation, FhirError> {
    let mut named = all().filter(|o| o.code == code).peekable();
    if named.peek().is_none() {
        return Err(unknown(&format!("${code}")));
    }
    let mut places = Vec::new();
    for operation in named {
        if operation.runs(kind, instance) {
            return Ok(operation);
        }
        places.push(operation.places());
    }
    let text = format!("${code} does not run here, but on {}.", places.join("; "));
    Err(Refusal::new(RefusalKind::RouteUnknown, text).into())
}
