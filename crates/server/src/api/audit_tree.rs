//! The audit trail as evidence: its signed heads, proofs, and whose records were touched after a breach.

use super::audit::{csv_line, file, instant};
use super::{Answer, ApiRouter, Caller, Json, Params, Path};
use crate::http::error::{ApiError, Refusal, RefusalKind};
use crate::state::AppState;
use crate::worker;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use record::audit::{Affected, AuditHead, Suspect, hex, unhex};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(get_audit_tree))
        .routes(routes!(seal_audit))
        .routes(routes!(list_audit_heads))
        .routes(routes!(prove_audit_entry))
        .routes(routes!(prove_audit_growth))
        .routes(routes!(list_affected_patients))
}

/// A signed head: the tree was so at that time.
#[derive(Serialize, ToSchema)]
struct AuditTreeHead {
    /// Entries.
    size: u64,
    /// Hexadecimal.
    root: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Number of the last entry's row.
    row: i64,
    /// Id of the key.
    key: String,
    /// What to keep elsewhere; all lines but the last are what is signed with Ed25519.
    text: String,
}

impl From<AuditHead> for AuditTreeHead {
    fn from(head: AuditHead) -> AuditTreeHead {
        AuditTreeHead {
            size: head.size,
            root: hex(&head.root),
            at: head.at,
            row: head.row,
            key: hex(&head.key),
            text: head.text(),
        }
    }
}

#[derive(Serialize, ToSchema)]
struct AuditTreeKey {
    id: String,
    /// Ed25519, hexadecimal.
    public: String,
    /// Size of the tree when it came.
    since: i64,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The key before it signed that this one follows; false for the first.
    is_endorsed: bool,
}

/// A place that heads are taken to.
#[derive(Serialize, ToSchema)]
struct AuditAnchor {
    /// `file|https|mail`
    place: String,
    /// Entries of the last head that arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct AuditTree {
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<AuditTreeHead>,
    /// Entries wait to be sealed since.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    waiting_since: Option<Timestamp>,
    /// Entries whose rows were removed after their time.
    pruned: u64,
    keys: Vec<AuditTreeKey>,
    /// The places of the configuration.
    anchors: Vec<AuditAnchor>,
    /// What is wrong with sealing or anchoring, in words; empty if nothing is.
    alarms: Vec<String>,
}

/// How it stands with the tree over the audit trail. Administrator and privacy officer.
#[utoipa::path(get, path = "/api/v1/admin/audit/tree", tag = "administration",
    responses((status = 200, body = AuditTree)))]
async fn get_audit_tree(State(app): State<AppState>, caller: Caller) -> Answer<Json<AuditTree>> {
    Ok(Json(tree(&app, &caller.0).await?))
}

/// Seals the entries that wait and takes the head to its places now, e.g. before an inspection. Administrator and privacy
/// officer. 503 if this server cannot sign; the alarms of the tree say why.
#[utoipa::path(post, path = "/api/v1/admin/audit/seal", tag = "administration",
    responses((status = 200, body = AuditTree)))]
async fn seal_audit(State(app): State<AppState>, caller: Caller) -> Answer<Json<AuditTree>> {
    // Who may not see the tree may not move it either.
    app.record.audit_tree(&caller.0).await?;
    if let Err(error) = worker::audit::at_once(&app).await {
        tracing::error!(error = format!("{error:#}"), "the audit trail is not sealed");
        return Err(record::Error::Busy.into());
    }
    Ok(Json(tree(&app, &caller.0).await?))
}

async fn tree(app: &AppState, ctx: &access::Ctx) -> Result<AuditTree, ApiError> {
    let standing = app.record.audit_tree(ctx).await?;
    let mut alarms = worker::audit::alarms(&app.config.audit, &standing, app.record.now());
    let feeds = app.record.audit_feeds(&worker::feed::PLACES).await?;
    alarms.extend(worker::feed::alarms(&feeds, app.record.now()));
    let places = worker::audit::places(&app.config.audit);
    let anchors =
        standing.places.into_iter().filter(|known| places.iter().any(|(place, _)| *place == known.place));
    let key = |key: store::audit::tree::Key| AuditTreeKey {
        id: hex(&key.id),
        public: hex(&key.public),
        since: key.since,
        at: key.made,
        is_endorsed: key.endorsement.is_some(),
    };
    Ok(AuditTree {
        head: standing.head.map(AuditTreeHead::from),
        waiting_since: standing.waiting_since,
        pruned: standing.pruned,
        keys: standing.keys.into_iter().map(key).collect(),
        anchors: anchors
            .map(|known| AuditAnchor {
                place: known.place,
                size: known.arrived.map(|(size, _)| size),
                at: known.arrived.map(|(_, at)| at),
                error: known.failed.map(|(error, _)| error),
            })
            .collect(),
        alarms,
    })
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditHeadParams {
    /// Only heads of trees with fewer entries.
    below: Option<u64>,
    /// 1 to 100; 25 if not given.
    limit: Option<u32>,
}

/// Signed heads, newest first. Administrator and privacy officer.
#[utoipa::path(get, path = "/api/v1/admin/audit/heads", tag = "administration", params(AuditHeadParams),
    responses((status = 200, body = Vec<AuditTreeHead>)))]
async fn list_audit_heads(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<AuditHeadParams>,
) -> Answer<Json<Vec<AuditTreeHead>>> {
    let heads = app.record.audit_heads(&caller.0, params.below, super::types::limit(params.limit)).await?;
    Ok(Json(heads.into_iter().map(AuditTreeHead::from).collect()))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct InclusionParams {
    /// Entries of the head to prove it by; the newest if not given.
    size: Option<u64>,
}

/// RFC 9162 §2.1.3: hashes are hexadecimal.
#[derive(Serialize, ToSchema)]
struct AuditInclusion {
    row: i64,
    entry: u64,
    leaf: String,
    path: Vec<String>,
    head: AuditTreeHead,
    /// Whether the path leads from the row as it is now to the head.
    holds: bool,
}

/// Proof that an entry is in the tree. Administrator and privacy officer.
#[utoipa::path(get, path = "/api/v1/admin/audit/inclusion/{row}", tag = "administration",
    params(("row" = i64, Path, description = "`seq` of the entry"), InclusionParams),
    responses((status = 200, body = AuditInclusion)))]
async fn prove_audit_entry(
    State(app): State<AppState>,
    caller: Caller,
    Path(row): Path<i64>,
    Params(params): Params<InclusionParams>,
) -> Answer<Json<AuditInclusion>> {
    let proof = app.record.audit_inclusion(&caller.0, row, params.size).await?;
    Ok(Json(AuditInclusion {
        row: proof.row,
        entry: proof.entry,
        leaf: hex(&proof.leaf),
        path: proof.path.iter().map(|hash| hex(hash)).collect(),
        head: proof.head.into(),
        holds: proof.holds,
    }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct GrowthParams {
    /// Entries of the older tree.
    from: u64,
    /// Entries of the newer tree.
    to: u64,
}

/// RFC 9162 §2.1.4: hashes are hexadecimal.
#[derive(Serialize, ToSchema)]
struct AuditGrowth {
    from: u64,
    from_root: String,
    to: u64,
    to_root: String,
    path: Vec<String>,
    /// Whether the path proves that the newer tree begins with the older.
    holds: bool,
}

/// Proof that nothing was rewritten between two sizes of the tree. Administrator and privacy officer.
#[utoipa::path(get, path = "/api/v1/admin/audit/consistency", tag = "administration", params(GrowthParams),
    responses((status = 200, body = AuditGrowth)))]
async fn prove_audit_growth(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<GrowthParams>,
) -> Answer<Json<AuditGrowth>> {
    let proof = app.record.audit_consistency(&caller.0, (params.from, params.to)).await?;
    Ok(Json(AuditGrowth {
        from: proof.sizes.0,
        from_root: hex(&proof.roots.0),
        to: proof.sizes.1,
        to_root: hex(&proof.roots.1),
        path: proof.path.iter().map(|hash| hex(hash)).collect(),
        holds: proof.holds,
    }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AffectedParams {
    /// As in `agent` of an audit entry, e.g. `account/7`. At least one of agent, client, session and address is needed.
    agent: Option<String>,
    /// Id of an OAuth client.
    client: Option<String>,
    /// As in `session` of an audit entry: 16 hexadecimal digits.
    session: Option<String>,
    /// Network address, whole.
    address: Option<String>,
    /// First instant, RFC 3339, or first day.
    from: String,
    /// First instant no longer wanted, or last day.
    to: String,
}

#[derive(Serialize, ToSchema)]
struct AffectedPatient {
    patient_id: String,
    /// Accesses that happened.
    count: u64,
    #[schema(value_type = String, format = DateTime)]
    first_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    last_at: Timestamp,
    /// Accesses by action and type, e.g. `read Observation`.
    categories: BTreeMap<String, u64>,
}

/// An access that names no patient, such as an export.
#[derive(Serialize, ToSchema)]
struct AffectedOther {
    seq: i64,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    action: String,
    what: String,
}

#[derive(Serialize, ToSchema)]
struct AffectedPatients {
    /// Those with most accesses first; all of them.
    patients: Vec<AffectedPatient>,
    /// Entries that fit.
    events: u64,
    /// Those of them that were refused or failed; they are in no count.
    refused: u64,
    /// Entries without a patient: exports may concern everybody. The first thousand.
    others: Vec<AffectedOther>,
    other_count: u64,
}

/// After a breach: every patient whose record was touched by an account, client, session or address within a time. With
/// `Accept: text/csv` as CSV. Administrator and privacy officer; noted in the audit trail.
#[utoipa::path(get, path = "/api/v1/admin/audit/affected-patients", tag = "administration", params(AffectedParams),
    responses((status = 200, content((AffectedPatients = "application/json"), (String = "text/csv")))))]
async fn list_affected_patients(
    State(app): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    Params(params): Params<AffectedParams>,
) -> Answer<Response> {
    let wrong =
        |field: &str, text: &str| ApiError::from(Refusal::new(RefusalKind::ParameterWrong, text).at(field));
    let session = match &params.session {
        None => None,
        Some(text) => Some(unhex(text).ok_or_else(|| wrong("session", "Expected 16 hexadecimal digits."))?),
    };
    let address = match &params.address {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| wrong("address", "Expected an IP address."))?),
    };
    if params.agent.is_none() && params.client.is_none() && session.is_none() && address.is_none() {
        return Err(wrong("agent", "Name an agent, a client, a session or an address."));
    }
    let suspect = Suspect {
        agent: params.agent,
        client: params.client,
        session,
        address,
        from: instant(&app, "from", &params.from, false)?,
        until: instant(&app, "to", &params.to, true)?,
    };
    let found = app.record.audit_affected(&caller.0, suspect, &mut |_, _| {}).await?;
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("text/csv") {
        return Ok(file("text/csv; charset=utf-8", "affected-patients.csv", Body::from(csv(&found))));
    }
    let patient = |patient: store::audit::affected::Patient| AffectedPatient {
        patient_id: patient.id,
        count: patient.count,
        first_at: patient.first,
        last_at: patient.last,
        categories: patient.categories,
    };
    let other = |(seq, at, action, what)| AffectedOther { seq, at, action, what };
    let answer = AffectedPatients {
        patients: found.patients.into_iter().map(patient).collect(),
        events: found.events,
        refused: found.refused,
        others: found.others.into_iter().map(other).collect(),
        other_count: found.other_count,
    };
    Ok(Json(answer).into_response())
}

fn csv(found: &Affected) -> String {
    let mut text = "patient,accesses,first,last,categories\r\n".to_owned();
    for patient in &found.patients {
        let categories: Vec<String> =
            patient.categories.iter().map(|(category, count)| format!("{category}: {count}")).collect();
        text.push_str(&csv_line(&[
            &patient.id,
            &patient.count.to_string(),
            &format!("{:.6}", patient.first),
            &format!("{:.6}", patient.last),
            &categories.join("; "),
        ]));
    }
    text
}
