//! TerminologyCapabilities: `GET /metadata?mode=terminology`.

use crate::http::error::FhirError;
use crate::state::App;
use serde_json::{Value, json};

/// What the terminology operations can do here, and the code systems they know.
pub async fn statement(app: &App) -> Result<Value, FhirError> {
    let base = app.fhir_base();
    Ok(json!({
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
    }))
}
