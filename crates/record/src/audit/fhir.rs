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
const AGENT: &str = "https://uzima.health/fhir/identifier/agent";
/// What is no resource.
const TARGET: &str = "https://uzima.health/fhir/identifier/audit-target";
/// Commands of the product, e.g. `appointment.book`.
const COMMAND: &str = "https://uzima.health/fhir/CodeSystem/command";

/// The row as a FHIR AuditEvent; its id is `audit-` and the sequence number, with `-` and the patient's number where it is
/// presented for one of several. `base` is the address of this server's FHIR API.
pub fn to_fhir(row: &AuditRow, base: &str) -> Value {
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
        "agent": agents(row, interaction, base),
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
    // The profiles are about what succeeded, and ask for the client's address. Those with a patient ask for exactly one; a
    // search that found several is presented once for each.
    let patient = row.patients.len() == 1;
    let fits = row.outcome == "success" && row.address.is_some() && !row.what.is_empty();
    let pick =
        |with: &'static str, without: &'static str| fits.then_some(if patient { with } else { without });
    match row.action.as_str() {
        "read" => ("R", "read", pick("IHE.BasicAudit.PatientRead", "IHE.BasicAudit.Read")),
        "vread" => ("R", "vread", pick("IHE.BasicAudit.PatientRead", "IHE.BasicAudit.Read")),
        "history" => {
            let interaction = match row.what.split('/').count() {
                1 => "history-system",
                2 => "history-type",
                _ => "history-instance",
            };
            ("R", interaction, pick("IHE.BasicAudit.PatientRead", "IHE.BasicAudit.Read"))
        }
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

/// Client, server, and the person if there is one: BALP's three.
fn agents(row: &AuditRow, interaction: &str, base: &str) -> Value {
    let source = json!({"system": DICOM, "code": "110153", "display": "Source Role ID"});
    let destination = json!({"system": DICOM, "code": "110152", "display": "Destination Role ID"});
    let (client_type, server_type) = match interaction {
        // What is read flows to the client; what is asked or written flows to the server.
        "read" | "vread" | "history-instance" | "history-type" | "history-system" => (destination, source),
        "delete" => (
            json!({"system": DICOM, "code": "110150", "display": "Application"}),
            json!({"system": "http://terminology.hl7.org/CodeSystem/provenance-participant-type", "code": "custodian",
                "display": "Custodian"}),
        ),
        _ => (source, destination),
    };
    let person = row.agent.starts_with("account/");
    let mut client = json!({"type": {"coding": [client_type]}, "who": client(row), "requestor": !person});
    if let Some(address) = &row.address {
        // <http://hl7.org/fhir/R4/codesystem-network-type.html>: 2 is an IP address, 5 a URI.
        client["network"] = json!({"address": address, "type": "2"});
    }
    let server = json!({
        "type": {"coding": [server_type]},
        "who": {"identifier": {"value": base}, "display": "Uzima"},
        "requestor": false,
        "network": {"address": base, "type": "5"},
    });
    let mut agents = vec![client, server];
    if person {
        agents.push(user(row, interaction));
    }
    Value::Array(agents)
}

/// The application: an OAuth client, a job of this program, or the web client that people sign in to.
fn client(row: &AuditRow) -> Value {
    let id = row.client.as_deref().or_else(|| row.agent.strip_prefix("client/"));
    match id {
        Some(id) => {
            let mut who =
                json!({"identifier": {"system": "https://uzima.health/fhir/identifier/client", "value": id}});
            if row.client.is_none() && !row.agent_display.is_empty() {
                who["display"] = json!(row.agent_display);
            }
            who
        }
        None if row.agent.starts_with("account/") => json!({"display": "Web client"}),
        None => json!({"identifier": {"system": AGENT, "value": row.agent}}),
    }
}

fn user(row: &AuditRow, interaction: &str) -> Value {
    let (code, display) = match interaction {
        "create" | "update" => ("AUT", "author (originator)"),
        "delete" => ("CST", "custodian"),
        _ => ("IRCP", "information recipient"),
    };
    let mut who = json!({"identifier": {"system": AGENT, "value": row.agent}});
    let mut user = json!({
        "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": code,
            "display": display}]},
        "who": null,
    });
    if !row.agent_display.is_empty() {
        who["display"] = json!(row.agent_display);
        user["name"] = json!(row.agent_display);
    }
    user["who"] = who;
    user["requestor"] = json!(true);
    if !row.role.is_empty() {
        let role =
            |code| json!({"coding": [{"system": "https://uzima.health/fhir/CodeSystem/role", "code": code}]});
        user["role"] = row.role.split(',').map(role).collect();
    }
    user["purposeOfUse"] = json!([{"coding": [{
        "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": row.purpose}]}]);
    user
}

/// A reference where it is one to a resource or a version of one, its whole history being under its own name; else a name:
/// accounts, clients, copies, types, ways in.
fn what(text: &str) -> Value {
    let resource = text.strip_suffix("/_history").unwrap_or(text);
    let (key, version) = resource.split_once("/_history/").unwrap_or((resource, "1"));
    if ::fhir::ResourceKey::parse(key).is_some() && version.bytes().all(|b| b.is_ascii_digit()) {
        json!({"reference": resource})
    } else {
        json!({"identifier": {"system": TARGET, "value": text}})
    }
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
            "what": what(&row.what),
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
