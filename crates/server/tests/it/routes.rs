//! Every route of the document, tried by everybody who has no business there.

use crate::harness::{Signed, World};
use crate::openapi::operations;
use access::Role;
use std::collections::BTreeSet;

/// The path with ids that exist nowhere.
fn filled(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "0" } else { part }).collect::<Vec<_>>().join("/")
}

/// Asks with a `POST`, so that what is looked for stands in no address.
fn is_search(path: &str) -> bool {
    path.starts_with("/api/v1/") && path.ends_with("/search")
}

async fn status(who: &Signed, method: &str, path: &str) -> u16 {
    let request =
        who.request(&method.to_uppercase(), &filled(path)).header("content-type", "application/json");
    // No body that any route would take: what matters is who gets as far as reading it. Searches take anything.
    let body = if is_search(path) { "{}" } else { "{\"no\":\"such field\"}" };
    let request = if method == "get" || method == "delete" { request } else { request.body(body) };
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn nobody_gets_in_without_signing_in() {
    let world = World::start().await;
    let nobody = world.anonymous();
    let mut wrong = nobody.clone();
    wrong.token = "not-a-token".into();
    let mut open = Vec::new();
    for (method, path, _) in operations() {
        let is_public = server::api::PUBLIC.contains(&(method.as_str(), path.as_str()));
        for who in [&nobody, &wrong] {
            let status = status(who, &method, &path).await;
            if (status == 401) == is_public || status >= 500 {
                open.push(format!("{method} {path}: {status}"));
            }
        }
    }
    for (method, path) in [
        ("GET", "/fhir/R4/Patient"),
        ("GET", "/fhir/R4/Patient/1"),
        ("GET", "/fhir/R4/Patient/1/_history"),
        ("GET", "/fhir/R4/Patient/1/_history/1"),
        ("POST", "/fhir/R4"),
        ("GET", "/fhir/R4?_type=Patient"),
        ("GET", "/fhir/R4/_history"),
        ("POST", "/fhir/R4/_search"),
        ("GET", "/fhir/R4/Patient/_history"),
        ("PUT", "/fhir/R4/Patient?family=x"),
        ("PATCH", "/fhir/R4/Patient?family=x"),
        ("DELETE", "/fhir/R4/Patient?family=x"),
        ("PATCH", "/fhir/R4/Patient/1"),
        ("GET", "/fhir/R4/Patient/1/Observation"),
        ("GET", "/fhir/R4/Patient/1/*"),
        ("POST", "/fhir/R4/Patient/1/Observation/_search"),
        ("GET", "/fhir/R4/AuditEvent/audit-1"),
        ("POST", "/fhir/R4/Patient"),
        ("PUT", "/fhir/R4/Patient/1"),
        ("DELETE", "/fhir/R4/Patient/1"),
        ("POST", "/fhir/R4/Patient/_search"),
        ("GET", "/fhir/R4/AuditEvent"),
    ] {
        for who in [&nobody, &wrong] {
            let status = who.request(method, path).send().await.unwrap().status();
            if status != 401 {
                open.push(format!("{method} {path}: {status}"));
            }
        }
    }
    assert!(open.is_empty(), "{}", open.join("\n"));
    world.stop().await;
}

/// What this role may look at in an empty clinic.
fn may_look(role: Role) -> BTreeSet<&'static str> {
    let everybody = [
        "/api/v1/me",
        "/api/v1/specialties",
        "/api/v1/providers",
        "/api/v1/turn-credentials",
        "/api/v1/codes/diagnoses",
        "/api/v1/codes/medicines",
        "/api/v1/appointments",
        "/api/v1/consultations",
        "/api/v1/price-list",
        "/api/v1/invoices",
        "/api/v1/oauth/grants",
        "/api/v1/oauth/launchable",
        "/api/v1/emergency-access",
        "/api/v1/emergency-access/reasons",
        "/api/v1/me/acting-for",
        "/api/v1/notices",
        "/api/v1/notices/unseen",
    ];
    let more: &[&str] = match role {
        Role::It => &[
            "/api/v1/admin/attention",
            "/api/v1/admin/backups",
            "/api/v1/admin/backups/runs",
            "/api/v1/admin/jobs",
            "/api/v1/admin/labelling",
            "/api/v1/admin/messages",
            "/api/v1/admin/integrations",
        ],
        Role::Cashier => &["/api/v1/patients/search", "/api/v1/cashier/day"],
        Role::PrivacyOfficer => &[
            "/api/v1/admin/account-changes",
            "/api/v1/patients/search",
            "/api/v1/admin/audit",
            "/api/v1/admin/audit/export",
            "/api/v1/admin/audit/heads",
            "/api/v1/admin/audit/tree",
            "/api/v1/patients/{id}/who-saw",
            "/api/v1/patients/{id}/emergency-access",
            "/api/v1/emergency-access/queue",
            "/api/v1/patients/{id}/consents",
            "/api/v1/patients/{id}/proxies",
            "/api/v1/proxies/waiting",
            "/api/v1/admin/rights",
            "/api/v1/admin/sensitivity",
            "/api/v1/admin/people/search",
            "/api/v1/admin/attention",
            "/api/v1/privacy/erasures",
            "/api/v1/privacy/erasures/waiting",
            "/api/v1/privacy/holds",
            "/api/v1/privacy/patients/{id}/report",
            "/api/v1/privacy/patients/{id}/requests",
            "/api/v1/privacy/recipients",
            "/api/v1/privacy/region",
            "/api/v1/privacy/requests",
            "/api/v1/privacy/retention",
            "/api/v1/privacy/retention/due",
        ],
        Role::Patient => &["/api/v1/patients/{id}/consents"],
        _ => &[],
    };
    everybody.iter().chain(more).copied().collect()
}

#[tokio::test]
async fn no_role_reaches_what_is_not_its_own() {
    let world = World::start().await;
    let patient = world.patient("Amina").await;
    let it = world.staff("it", Role::It).await;
    let cashier = world.staff("cashier", Role::Cashier).await;
    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    let client = world.client("system/Patient.rs").await;
    let people = [
        (Role::Patient, &patient),
        (Role::It, &it),
        (Role::Cashier, &cashier),
        (Role::PrivacyOfficer, &officer),
    ];
    let mut wrong = Vec::new();
    for (method, path, _) in operations() {
        if path.starts_with("/api/v1/auth/") {
            continue;
        }
        for (role, who) in people {
            let status = status(who, &method, &path).await;
            let is_open = (200..300).contains(&status);
            let is_public = server::api::PUBLIC.contains(&(method.as_str(), path.as_str()));
            let seals = path == "/api/v1/admin/audit/seal" && role == Role::PrivacyOfficer;
            let may = is_public
                || seals
                || ((method == "get" || is_search(&path)) && may_look(role).contains(path.as_str()));
            if status >= 500 || (is_open && !may) {
                wrong.push(format!("{role:?} {method} {path}: {status}"));
            }
        }
        // A client's scopes are about FHIR; the product's API is for people.
        let status = status(&client, &method, &path).await;
        if status >= 500 || ((200..300).contains(&status) && path.starts_with("/api/v1/admin")) {
            wrong.push(format!("client {method} {path}: {status}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    for (path, who) in
        [("/fhir/R4/Patient", &it), ("/fhir/R4/Observation", &it), ("/fhir/R4/Observation", &cashier)]
    {
        assert_eq!(who.get(path).await.0, 403, "{path}");
    }
    world.stop().await;
}
