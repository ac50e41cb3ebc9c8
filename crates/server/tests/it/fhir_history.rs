//! Histories and wider searches over HTTP.

use crate::harness::{Signed, World};
use serde_json::{Value, json};

fn link(bundle: &Value, relation: &str) -> Option<String> {
    let links = bundle["link"].as_array()?;
    links.iter().find(|l| l["relation"] == relation).and_then(|l| l["url"].as_str()).map(str::to_owned)
}

/// `method id/version` of every entry, over all pages.
async fn entries(world: &World, client: &Signed, path: &str) -> Vec<String> {
    let (mut path, mut all) = (path.to_owned(), Vec::new());
    loop {
        let (status, page) = client.get(&path).await;
        assert_eq!(status, 200, "{path}: {page}");
        assert_eq!((&page["resourceType"], &page["type"]), (&json!("Bundle"), &json!("history")));
        let parsed = fhir::Resource::from_value(page.clone()).unwrap();
        assert!(fhir::validate::validate(&parsed).is_empty(), "{page}");
        for entry in page["entry"].as_array().cloned().unwrap_or_default() {
            let id = entry["fullUrl"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
            let version =
                entry["response"]["etag"].as_str().unwrap().trim_matches(['W', '/', '"']).to_owned();
            assert!(entry["response"]["lastModified"].is_string());
            assert_eq!(entry.get("resource").is_none(), entry["request"]["method"] == "DELETE");
            all.push(format!("{} {id}/{version}", entry["request"]["method"].as_str().unwrap()));
        }
        match link(&page, "next") {
            Some(next) => path = next.strip_prefix(world.url()).unwrap().to_owned(),
            None => return all,
        }
    }
}

#[tokio::test]
async fn of_an_instance_a_type_and_the_system() {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    let put = async |kind: &str, id: &str, active: bool| {
        let value = json!({"resourceType": kind, "id": id, "active": active, "name":
            if kind == "Patient" { json!([{"family": "F"}]) } else { json!("Clinic") }});
        let (status, made) = client.put(&format!("/fhir/R4/{kind}/{id}"), value).await;
        assert!(status < 300, "{made}");
        made["meta"]["lastUpdated"].as_str().unwrap().to_owned()
    };
    put("Patient", "a", true).await;
    put("Organization", "o", true).await;
    put("Patient", "b", true).await;
    put("Patient", "a", false).await;
    client.delete("/fhir/R4/Patient/b").await;
    let last = put("Organization", "o", false).await;
    assert_eq!(entries(&world, &client, "/fhir/R4/Patient/a/_history").await, ["PUT a/2", "POST a/1"]);
    let patients = ["DELETE b/2", "PUT a/2", "POST b/1", "POST a/1"];
    assert_eq!(entries(&world, &client, "/fhir/R4/Patient/_history").await, patients);
    assert_eq!(entries(&world, &client, "/fhir/R4/Patient/_history?_count=1").await, patients);
    let all = ["PUT o/2", "DELETE b/2", "PUT a/2", "POST b/1", "POST o/1", "POST a/1"];
    let found = entries(&world, &client, "/fhir/R4/_history?_count=4").await;
    let found: Vec<&String> = found.iter().filter(|e| all.contains(&e.as_str())).collect();
    assert_eq!(found, all);
    let since = entries(&world, &client, &format!("/fhir/R4/_history?_since={last}")).await;
    assert!(since.contains(&"PUT o/2".to_owned()), "{since:?}");
    let none = entries(&world, &client, "/fhir/R4/Patient/_history?_since=2099-01-01T00:00:00Z").await;
    assert!(none.is_empty());
    let then = entries(&world, &client, "/fhir/R4/Patient/a/_history?_at=2099").await;
    assert_eq!(then, ["PUT a/2"], "what is current now will be current then");
    for (query, place) in [
        ("_since=yesterday", "_since"),
        ("_at=soon", "_at"),
        ("_count=0", "_count"),
        ("_cursor=x", ""),
        ("name=x", "name"),
    ] {
        let (status, outcome) = client.get(&format!("/fhir/R4/Patient/_history?{query}")).await;
        assert_eq!(status, 400, "{query}: {outcome}");
        if !place.is_empty() {
            assert_eq!(outcome["issue"][0]["expression"][0], place, "{query}");
        }
    }
    let (_, part) = client.get("/fhir/R4/Patient/a/_history?_elements=id").await;
    assert_eq!(part["entry"][0]["resource"].get("name"), None, "{part}");
    world.stop().await;
}

#[tokio::test]
async fn searches_of_compartments_and_the_system() {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    for (kind, id, more) in [
        ("Patient", "p", json!({})),
        ("Patient", "q", json!({})),
        (
            "Observation",
            "o1",
            json!({"status": "final", "code": {"text": "x"}, "subject": {"reference": "Patient/p"}}),
        ),
        (
            "Observation",
            "o2",
            json!({"status": "final", "code": {"text": "x"}, "subject": {"reference": "Patient/q"}}),
        ),
        ("Condition", "c1", json!({"subject": {"reference": "Patient/p"}})),
    ] {
        let mut value = json!({"resourceType": kind, "id": id});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(client.put(&format!("/fhir/R4/{kind}/{id}"), value).await.0, 201);
    }
    let found = async |method: &str, path: &str, form: &str| -> Vec<String> {
        let mut request = client.request(method, path);
        if method == "POST" {
            request =
                request.header("content-type", "application/x-www-form-urlencoded").body(form.to_owned());
        }
        let (status, page) = crate::harness::read(request.send().await.unwrap()).await;
        assert_eq!(status, 200, "{path}: {page}");
        let mut ids: Vec<String> = page["entry"]
            .as_array()
            .unwrap_or(&Vec::new())
            .iter()
            .map(|e| e["resource"]["id"].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids
    };
    assert_eq!(found("GET", "/fhir/R4/Patient/p/Observation", "").await, ["o1"]);
    assert_eq!(found("GET", "/fhir/R4/Patient/p/Observation?status=final", "").await, ["o1"]);
    assert!(found("GET", "/fhir/R4/Patient/p/Observation?status=amended", "").await.is_empty());
    assert_eq!(found("POST", "/fhir/R4/Patient/p/Observation/_search", "status=final").await, ["o1"]);
    assert_eq!(found("GET", "/fhir/R4/Patient/p/*", "").await, ["c1", "o1", "p"]);
    assert_eq!(found("GET", "/fhir/R4?_type=Observation,Condition", "").await, ["c1", "o1", "o2"]);
    assert_eq!(found("POST", "/fhir/R4/_search", "_type=Patient&_id=q").await, ["q"]);
    let (_, included) = client.get("/fhir/R4/Observation?_id=o1&_include=Observation:subject").await;
    let modes: Vec<&str> =
        included["entry"].as_array().unwrap().iter().filter_map(|e| e["search"]["mode"].as_str()).collect();
    assert_eq!(modes, ["match", "include"], "{included}");
    // A search that finds nothing is no error; that nobody has this compartment is said beside it.
    for inside in ["*", "Observation", "*?_summary=count"] {
        let (status, none) = client.get(&format!("/fhir/R4/Patient/nobody/{inside}")).await;
        let outcome = &none["entry"][0];
        assert_eq!((status, &outcome["search"]["mode"]), (200, &json!("outcome")), "{none}");
        assert_eq!(outcome["resource"]["issue"][0]["code"], "not-found", "{none}");
        assert_eq!(none["entry"].as_array().unwrap().len(), 1, "{none}");
    }
    assert_eq!(client.get("/fhir/R4/Patient/nobody/$everything").await.0, 404);
    for (path, status) in [
        ("/fhir/R4/Observation/o1/Patient", 404),
        ("/fhir/R4/Patient/p/Nonsense", 404),
        ("/fhir/R4?_type=Nonsense", 400),
        ("/fhir/R4/Patient/p/$nonsense", 404),
    ] {
        assert_eq!(client.get(path).await.0, status, "{path}");
    }
    world.stop().await;
}

#[tokio::test]
async fn audit_events_by_search_and_id() {
    let world = World::start().await;
    let amina = world.patient("Amina").await;
    let officer = world.staff("officer", access::Role::PrivacyOfficer).await;
    amina.get(&format!("/fhir/R4/Patient/{}", amina.id())).await;
    let path = format!("/fhir/R4/AuditEvent?patient={}", amina.id());
    let (status, page) = amina.get(&path).await;
    assert_eq!(status, 200, "{page}");
    let event = page["entry"][0].clone();
    let id = event["resource"]["id"].as_str().unwrap();
    assert!(event["fullUrl"].as_str().unwrap().ends_with(&format!("/AuditEvent/{id}")));
    let own = format!("/fhir/R4/AuditEvent/{id}");
    let (status, found) = amina.get(&own).await;
    assert_eq!((status, &found), (200, &event["resource"]));
    // The officer sees from where as well.
    let (status, found) = officer.get(&own).await;
    assert_eq!((status, &found["id"]), (200, &event["resource"]["id"]));
    assert!(found["agent"][0]["network"].is_object() && event["resource"]["agent"][0]["network"].is_null());
    let zawadi = world.patient("Zawadi").await;
    let doctor = world.staff("doctor", access::Role::Doctor).await;
    assert_eq!((zawadi.get(&own).await.0, doctor.get(&own).await.0), (404, 403));
    assert_eq!(officer.get("/fhir/R4/AuditEvent/audit-999999999").await.0, 404);
    assert_eq!(officer.get("/fhir/R4/AuditEvent/_history").await.0, 405);
    let xml = amina.request("GET", &format!("{path}&_format=xml")).send().await.unwrap();
    assert!(crate::harness::header(&xml, "content-type").contains("xml"));
    world.stop().await;
}
