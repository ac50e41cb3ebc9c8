//! TerminologyCapabilities: `GET /metadata?mode=terminology`.

use super::operation;
use crate::http::error::FhirError;
use crate::state::App;
use access::Ctx;
use serde_json::{Value, json};

/// What the terminology operations can do here, and the code systems they know.
pub async fn statement(app: &App) -> Result<Value, FhirError> {
    let base = app.fhir_base();
    // Which code systems are loaded is no secret: the statement is for anybody.
    let ctx = Ctx::system("metadata", app.record.now());
    let systems: Vec<Value> = app
        .record
        .code_systems(&ctx)
        .await?
        .into_iter()
        .map(|(url, versions)| {
            let mut system = json!({"uri": url, "subsumption": true});
            let versions: Vec<Value> = versions
                .iter()
                .enumerate()
                .filter(|(_, code)| !code.is_empty())
                .map(|(n, code)| json!({"code": code, "isDefault": n == 0}))
                .collect();
            if !versions.is_empty() {
                system["version"] = Value::Array(versions);
            }
            system
        })
        .collect();
    let mut statement = json!({
        "resourceType": "TerminologyCapabilities",
        "id": "uzima-terminology",
        "url": format!("{base}/metadata?mode=terminology"),
        "version": env!("CARGO_PKG_VERSION"),
        "name": "UzimaTerminology",
        "status": "active",
        "date": format!("{:.0}", app.started),
        "kind": "instance",
        "software": {"name": "Uzima", "version": env!("CARGO_PKG_VERSION")},
        "implementation": {"description": app.config.clinic.name, "url": base},
    });
    if !systems.is_empty() {
        statement["codeSystem"] = Value::Array(systems);
    }
    // As the table of operations has it: what does not run is not named.
    let named = |code: &str| operation::all().find(|operation| operation.code == code);
    if let Some(expand) = named("expand") {
        let parameter: Vec<Value> =
            expand.inputs().map(|p| json!({"name": p.name, "documentation": p.text})).collect();
        statement["expansion"] = json!({
            "hierarchical": false,
            "paging": expand.input("offset").is_some() && expand.input("count").is_some(),
            "incomplete": false,
            "parameter": parameter,
            "textFilter": "Beginnings of words of any name in any language, or of the code; the best answers first.",
        });
    }
    statement["codeSearch"] = json!("all");
    if named("validate-code").is_some() {
        statement["validateCode"] = json!({"translations": false});
    }
    if named("translate").is_some() {
        statement["translation"] = json!({"needsMap": false});
    }
    statement["closure"] = json!({"translation": false});
    if named("closure").is_none() {
        statement.as_object_mut().map(|o| o.shift_remove("closure"));
    }
    Ok(statement)
}
