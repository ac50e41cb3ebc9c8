//! Audit rows as FHIR AuditEvents after IHE Basic Audit Log Patterns 1.1.

use super::AuditRow;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const INTERACTION: &str = "http://hl7.org/fhir/restful-interaction";
const EVENT_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-event-type";
const DICOM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const ENTITY_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
const OBJECT_ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
const BALP: &str = "https://profiles.ihe.net/ITI/BALP/StructureDefinition";
/// Commands of the product, e.g. `appointment.book`.
const COMMAND: &str = "https://uzima.health/fhir/CodeSystem/command";

/// The row as a FHIR AuditEvent; its id is `audit-` and the sequence number, with `-` and the patient's number where it is
/// presented for one of several.
pub fn to_fhir(row: &AuditRow) -> Value {
    let (letter, interaction, profile) = interaction(row);
    let mut event = json!({
        "resourceType": "AuditEvent",
        "id": match row.part {
            Some(part) => format!("audit-{}-{part}", row.seq),
            None => format!("audit-{}", row.seq),
        },
        "meta": {"versionId": "1", "lastUpdated": format!("{:.3}", row.at)},
        "type": if interaction == "login" || interaction == "logout" {
            json!({"system": DICOM, "code": "110114", "display": "User Authentication"})
        } else {
            json!({"system": EVENT_TYPE, "code": "rest", "display": "Restful Operation"})
        },
        "subtype": [subtype(row, interaction)],
        "action": letter,
        "recorded": format!("{:.3}", row.at),
        "outcome": match row.outcome.as_str() { "success" => "0", "denied" => "4", _ => "8" },
        "purposeOfEvent": [{"coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": row.purpose}]}],
        "agent": agents(row),
        "source": {"site": "uzima", "observer": {"display": "Uzima"},
            "type": [{"system": "http://terminology.hl7.org/CodeSystem/security-source-type", "code": "4",
                "display": "Application Server"}]},
        "entity": entities(row),
    });
    if let Some(profile) = profile {
        event["meta"]["profile"] = json!([format!("{BALP}/{profile}")]);
    }
    if row.outcome != "success" {
        event["outcomeDesc"] = json!(row.outcome);
    }
    event
}

/// AuditEvent.action, interaction code, and the BALP profile.
fn interaction(row: &AuditRow) -> (&'static str, &'static str, Option<&'static str>) {
    // The patient profiles ask for exactly one patient; a search that found several is a plain query naming them all.
    let patient = row.patients.len() == 1;
    let pick = |with: &'static str, without: &'static str| Some(if patient { with } else { without });
    match row.action.as_str() {
        "read" => ("R", "read", pick("IHE.BasicAudit.PatientRead", "IHE.BasicAudit.Read")),
        "vread" => ("R", "vread", pick("IHE.BasicAudit.PatientRead", "IHE.BasicAudit.Read")),
        "history" => ("R", "history-instance", pick("IHE.BasicAudit.PatientRead", "IHE.BasicAudit.Read")),
        "query" => ("E", "search-type", pick("IHE.BasicAudit.PatientQuery", "IHE.BasicAudit.Query")),
        "create" => ("C", "create", pick("IHE.BasicAudit.PatientCreate", "IHE.BasicAudit.Create")),
        "update" => ("U", "update", pick("IHE.BasicAudit.PatientUpdate", "IHE.BasicAudit.Update")),
        "delete" => ("D", "delete", pick("IHE.BasicAudit.PatientDelete", "IHE.BasicAudit.Delete")),
        "login" => ("E", "login", None),
        "logout" => ("E", "logout", None),
        _ => ("E", "operation", None),
    }
}

fn subtype(row: &AuditRow, interaction: &str) -> Value {
    match interaction {
        "login" => json!({"system": DICOM, "code": "110122", "display": "Login"}),
        "logout" => json!({"system": DICOM, "code": "110123", "display": "Logout"}),
        "operation" => json!({"system": COMMAND, "code": row.action}),
        code => json!({"system": INTERACTION, "code": code}),
    }
}

fn agents(row: &AuditRow) -> Value {
    let mut who =
        json!({"identifier": {"system": "https://uzima.health/fhir/identifier/agent", "value": row.agent}});
    if !row.agent_display.is_empty() {
        who["display"] = json!(row.agent_display);
    }
    let mut agent = json!({
        "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP",
            "display": "information recipient"}]},
        "who": who,
        "requestor": true,
    });
    if !row.role.is_empty() {
        agent["role"] = row
            .role
            .split(',')
            .map(|code| json!({"coding": [{"system": "https://uzima.health/fhir/CodeSystem/role", "code": code}]}))
            .collect();
    }
    if let Some(address) = &row.address {
        // <http://hl7.org/fhir/R4/codesystem-network-type.html>: 2 is an IP address.
        agent["network"] = json!({"address": address, "type": "2"});
    }
    let server = json!({
        "type": {"coding": [{"system": DICOM, "code": "110152", "display": "Destination Role ID"}]},
        "who": {"display": "Uzima"},
        "requestor": false,
    });
    let mut agents = vec![agent, server];
    if let Some(client) = &row.client {
        // The application in which she did it, as BALP's patterns for SMART have it.
        agents.push(json!({
            "type": {"coding": [{"system": DICOM, "code": "110150", "display": "Application"}]},
            "who": {"identifier": {"system": "https://uzima.health/fhir/identifier/client", "value": client}},
            "requestor": false,
        }));
    }
    Value::Array(agents)
}

fn entities(row: &AuditRow) -> Value {
    let mut entities = Vec::new();
    for patient in &row.patients {
        entities.push(json!({
            "what": {"reference": format!("Patient/{patient}")},
            "type": {"system": ENTITY_TYPE, "code": "1", "display": "Person"},
            "role": {"system": OBJECT_ROLE, "code": "1", "display": "Patient"}}));
    }
    if row.action == "query" {
        entities.push(json!({
            "type": {"system": ENTITY_TYPE, "code": "2", "display": "System Object"},
            "role": {"system": OBJECT_ROLE, "code": "24", "display": "Query"},
            "query": STANDARD.encode(&row.what)}));
    } else if !row.what.is_empty() {
        entities.push(json!({
            "what": {"reference": row.what},
            "type": {"system": ENTITY_TYPE, "code": "2", "display": "System Object"},
            "role": {"system": OBJECT_ROLE, "code": "4", "display": "Domain Resource"}}));
    }
    if !row.request_id.is_empty() {
        entities.push(json!({
            "what": {"identifier": {"value": row.request_id}},
            "type": {"system": "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType",
                "code": "XrequestId"}}));
    }
    Value::Array(entities)
}
