//! Bundles over HTTP: every class of wrong input has its own answer, good ones do what each entry would do alone.

use crate::harness::{Signed, World, read};
use base64::Engine as _;
use serde_json::{Value, json};

async fn world() -> (World, Signed) {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    (world, client)
}

fn bundle(kind: &str, entries: Vec<Value>) -> Value {
    json!({"resourceType": "Bundle", "type": kind, "entry": entries})
}

fn entry(method: &str, url: &str, resource: Value) -> Value {
    let mut entry = json!({"request": {"method": method, "url": url}});
    if !resource.is_null() {
        entry["resource"] = resource;
    }
    entry
}

fn with(mut entry: Value, element: &str, value: &str) -> Value {
    match element.split_once('.') {
        Some((first, second)) => entry[first][second] = json!(value),
        None => entry[element] = json!(value),
    }
    entry
}

fn patient(mrn: &str) -> Value {
    json!({"resourceType": "Patient", "identifier": [{"system": "urn:mrn", "value": mrn}], "name": [{"family": "Bundle"}]})
}

fn observation(subject: &str) -> Value {
    json!({"resourceType": "Observation", "status": "final", "code": {"text": "pulse"},
        "subject": {"reference": subject}})
}

fn statuses(answer: &Value) -> Vec<String> {
    let entries = answer["entry"].as_array().unwrap();
    entries.iter().map(|e| e["response"]["status"].as_str().unwrap()[..3].to_owned()).collect()
}

#[tokio::test]
async fn each_wrong_transaction_has_its_own_answer() {
    let (world, client) = world().await;
    client.put("/fhir/R4/Patient/p", json!({"resourceType": "Patient", "id": "p"})).await;
    for _ in 0..2 {
        client.post("/fhir/R4/Patient", patient("twin")).await;
    }
    let urn = "urn:uuid:0b4ddfa0-1111-4222-8333-444455556666";
    let good = || with(entry("POST", "Patient", patient("new")), "fullUrl", urn);
    let put = |id: &str| entry("PUT", &format!("Patient/{id}"), json!({"resourceType": "Patient", "id": id}));
    let if_none = |mrn: &str| {
        with(entry("POST", "Patient", patient(mrn)), "request.ifNoneExist", &format!("identifier={mrn}"))
    };
    let mut deep = json!({"url": "http://example.org/x", "valueBoolean": true});
    for _ in 0..70 {
        deep = json!({"url": "http://example.org/x", "extension": [deep]});
    }
    let mut nested = patient("deep");
    nested["extension"] = json!([deep]);
    let many: Vec<Value> = (0..10_001).map(|_| entry("DELETE", "Patient/none", Value::Null)).collect();
    let e1 = |element: &str| format!("Bundle.entry[1].{element}");
    // What is wrong, the entries, status, code, place.
    let cases: Vec<(&str, Vec<Value>, u16, &str, String)> = vec![
        ("no request", vec![good(), json!({"resource": patient("x")})], 400, "structure", e1("request")),
        (
            "no method",
            vec![good(), json!({"request": {"url": "Patient"}})],
            400,
            "structure",
            e1("request.method"),
        ),
        (
            "no such method",
            vec![good(), entry("TRACE", "Patient", Value::Null)],
            400,
            "not-supported",
            e1("request.method"),
        ),
        ("no url", vec![good(), json!({"request": {"method": "GET"}})], 400, "structure", e1("request.url")),
        (
            "a foreign url",
            vec![good(), entry("GET", "https://other.example/Patient/1", Value::Null)],
            400,
            "structure",
            e1("request.url"),
        ),
        (
            "no such type",
            vec![good(), entry("POST", "Patent", patient("x"))],
            400,
            "structure",
            e1("request.url"),
        ),
        (
            "no resource",
            vec![good(), entry("POST", "Patient", Value::Null)],
            400,
            "structure",
            e1("resource"),
        ),
        (
            "another type",
            vec![good(), entry("POST", "Observation", patient("x"))],
            400,
            "structure",
            e1("request.url"),
        ),
        (
            "another id",
            vec![good(), entry("PUT", "Patient/x", json!({"resourceType": "Patient", "id": "y"}))],
            400,
            "structure",
            e1("resource.id"),
        ),
        (
            "no resource type",
            vec![good(), entry("POST", "Patient", json!({"name": []}))],
            400,
            "structure",
            e1("resource"),
        ),
        (
            "an invalid resource",
            vec![good(), entry("POST", "Patient", json!({"resourceType": "Patient", "gender": "f"}))],
            422,
            "code-invalid",
            e1("resource.gender"),
        ),
        (
            "a bad version",
            vec![good(), with(put("p"), "request.ifMatch", "x")],
            400,
            "structure",
            e1("request.ifMatch"),
        ),
        (
            "a stale version",
            vec![good(), with(put("p"), "request.ifMatch", "W/\"7\"")],
            412,
            "conflict",
            "Bundle.entry[1]".into(),
        ),
        (
            "the same fullUrl",
            vec![good(), with(entry("POST", "Patient", patient("y")), "fullUrl", urn)],
            400,
            "duplicate",
            e1("fullUrl"),
        ),
        (
            "an unresolvable urn",
            vec![
                good(),
                entry("POST", "Observation", observation("urn:uuid:99999999-9999-4999-8999-999999999999")),
            ],
            422,
            "not-found",
            e1("resource.subject.reference"),
        ),
        (
            "a reference to nothing",
            vec![good(), entry("POST", "Observation", observation("Patient/none"))],
            422,
            "not-found",
            e1("resource.subject.reference"),
        ),
        (
            "a conditional reference to nothing",
            vec![good(), entry("POST", "Observation", observation("Patient?identifier=none"))],
            422,
            "not-found",
            e1("resource.subject.reference"),
        ),
        (
            "a conditional reference to several",
            vec![good(), entry("POST", "Observation", observation("Patient?identifier=twin"))],
            422,
            "multiple-matches",
            e1("resource.subject.reference"),
        ),
        (
            "a conditional reference that is wrong",
            vec![good(), entry("POST", "Observation", observation("Patient?identifer=x"))],
            400,
            "not-supported",
            e1("resource.subject.reference"),
        ),
        ("the same resource twice", vec![put("p"), put("p")], 400, "duplicate", e1("request.url")),
        (
            "changed and deleted",
            vec![put("p"), entry("DELETE", "Patient/p", Value::Null)],
            400,
            "duplicate",
            e1("request.url"),
        ),
        (
            "the same condition twice",
            vec![if_none("c"), if_none("c")],
            400,
            "conflict",
            e1("request.ifNoneExist"),
        ),
        (
            "a condition on several",
            vec![good(), if_none("twin")],
            412,
            "multiple-matches",
            e1("request.ifNoneExist"),
        ),
        (
            "an update of several",
            vec![good(), entry("PUT", "Patient?identifier=twin", patient("twin"))],
            412,
            "multiple-matches",
            e1("request.url"),
        ),
        (
            "a delete of several",
            vec![good(), entry("DELETE", "Patient?identifier=twin", Value::Null)],
            412,
            "multiple-matches",
            e1("request.url"),
        ),
        (
            "an empty condition",
            vec![good(), entry("DELETE", "Patient?identifier=", Value::Null)],
            400,
            "value",
            e1("request.url"),
        ),
        (
            "ifNoneExist on PUT",
            vec![good(), with(put("p"), "request.ifNoneExist", "identifier=x")],
            400,
            "structure",
            e1("request.ifNoneExist"),
        ),
        (
            "ifNoneMatch on PUT",
            vec![good(), with(put("p"), "request.ifNoneMatch", "W/\"1\"")],
            400,
            "structure",
            e1("request.ifNoneMatch"),
        ),
        (
            "a patch that is none",
            vec![good(), entry("PATCH", "Patient/p", patient("x"))],
            400,
            "structure",
            e1("resource"),
        ),
        (
            "a patch of nothing",
            vec![good(), entry("PATCH", "Patient/none", json!({"resourceType": "Parameters"}))],
            404,
            "not-found",
            "Bundle.entry[1]".into(),
        ),
        (
            "an operation by POST",
            vec![good(), entry("POST", "Patient/$validate", json!({"resourceType": "Parameters"}))],
            400,
            "not-supported",
            e1("request.url"),
        ),
        ("too deep", vec![good(), entry("POST", "Patient", nested)], 400, "structure", String::new()),
        ("too many", many, 400, "too-costly", "Bundle.entry".into()),
    ];
    let mut failures = Vec::new();
    for (case, entries, status, code, place) in cases {
        let (found, outcome) = client.post("/fhir/R4", bundle("transaction", entries)).await;
        let issue = &outcome["issue"][0];
        let told = issue["expression"][0].as_str().unwrap_or_default();
        let helps = issue["diagnostics"].as_str().is_some_and(|text| text.len() > 15);
        if (found, issue["code"].as_str().unwrap_or_default(), told) != (status, code, place.as_str())
            || !helps
        {
            failures.push(format!("{case}: {found} {issue}, not {status} {code} {place}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let (_, found) = client.get("/fhir/R4/Patient?identifier=new&_summary=count").await;
    assert_eq!(found["total"], 0, "nothing of a refused transaction stays");
    for (kind, status) in [("collection", 400), ("transaction-response", 400), ("nonsense", 400)] {
        let (found, outcome) = client.post("/fhir/R4", bundle(kind, vec![good()])).await;
        assert_eq!((found, &outcome["issue"][0]["expression"][0]), (status, &json!("Bundle.type")), "{kind}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_transaction_in_full() {
    let (world, client) = world().await;
    let base = format!("{}/fhir/R4", world.url());
    client.put("/fhir/R4/Patient/old", json!({"resourceType": "Patient", "id": "old"})).await;
    client.put("/fhir/R4/Patient/patched", patient("patched")).await;
    client
        .put("/fhir/R4/Patient/patched", json!({"resourceType": "Patient", "id": "patched", "active": false}))
        .await;
    client
        .put("/fhir/R4/Patient/known", {
            let mut known = patient("known");
            known["id"] = json!("known");
            known
        })
        .await;
    let json_patch = base64::engine::general_purpose::STANDARD
        .encode(json!([{"op": "replace", "path": "/active", "value": true}]).to_string());
    let urn = |n: u32| format!("urn:uuid:00000000-0000-4000-8000-00000000000{n}");
    let oid = "urn:oid:1.2.3.4";
    let entries = vec![
        entry("GET", "Patient?active=true", Value::Null),
        // In an attachment too, and to an entry known by its condition.
        with(
            entry(
                "POST",
                "DocumentReference",
                json!({"resourceType": "DocumentReference", "status": "current",
            "subject": {"reference": urn(1)},
            "content": [{"attachment": {"contentType": "application/pdf", "url": urn(2)}}]}),
            ),
            "fullUrl",
            &urn(3),
        ),
        with(
            with(
                entry("POST", "Patient", patient("known")),
                "request.ifNoneExist",
                "identifier=urn:mrn|known",
            ),
            "fullUrl",
            &urn(1),
        ),
        with(
            entry(
                "POST",
                "Binary",
                json!({"resourceType": "Binary", "contentType": "application/pdf", "data": "JVBERi0xLjQ="}),
            ),
            "fullUrl",
            &urn(2),
        ),
        with(entry("PUT", "Patient?identifier=urn:mrn|fresh", patient("fresh")), "fullUrl", oid),
        entry("POST", "Observation", observation(oid)),
        entry("POST", "Observation", observation("Patient?identifier=urn:mrn|fresh")),
        // Relative to another server's entry.
        with(entry("POST", "Patient", patient("moved")), "fullUrl", "https://other.example/fhir/Patient/77"),
        with(
            entry("POST", "Observation", observation("Patient/77")),
            "fullUrl",
            "https://other.example/fhir/Observation/5",
        ),
        entry(
            "PATCH",
            "Patient/patched",
            json!({"resourceType": "Binary", "contentType": "application/json-patch+json", "data": json_patch}),
        ),
        entry("DELETE", "Patient/old", Value::Null),
        entry("DELETE", "Patient/never", Value::Null),
        entry("GET", "Patient/old", Value::Null),
        entry("GET", "metadata?_elements=fhirVersion", Value::Null),
        with(entry("GET", "Patient/known", Value::Null), "request.ifNoneMatch", "W/\"1\""),
    ];
    let (status, answer) = client.post("/fhir/R4", bundle("transaction", entries)).await;
    assert_eq!(status, 200, "{answer}");
    let expected = [
        "200", "201", "200", "201", "201", "201", "201", "201", "201", "200", "204", "204", "410", "200",
        "304",
    ];
    assert_eq!(statuses(&answer), expected, "{answer}");
    let entries = answer["entry"].as_array().unwrap();
    let location = |n: usize| {
        let full = entries[n]["response"]["location"].as_str().unwrap();
        full.strip_prefix(&format!("{base}/")).unwrap().split("/_history").next().unwrap().to_owned()
    };
    assert_eq!(location(2), "Patient/known");
    let stored = async |n: usize| client.get(&format!("/fhir/R4/{}", location(n))).await.1;
    let document = stored(1).await;
    assert_eq!(document["subject"]["reference"], "Patient/known");
    assert_eq!(document["content"][0]["attachment"]["url"], location(3));
    for n in [5, 6] {
        assert_eq!(stored(n).await["subject"]["reference"], location(4), "{n}");
    }
    assert_eq!(stored(8).await["subject"]["reference"], location(7));
    assert_eq!(stored(9).await["active"], true);
    let ids: Vec<&str> = entries[0]["resource"]["entry"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|e| e["resource"]["id"].as_str())
        .collect();
    assert_eq!(ids, ["patched"], "reads see what the transaction wrote");
    assert!(entries[0]["resource"]["link"][0]["url"].as_str().unwrap().ends_with("/Patient?active=true"));

    // What comes back is what was preferred.
    let post = |prefer: &'static str| {
        let body = bundle("transaction", vec![entry("POST", "Patient", patient("echo"))]);
        client.request("POST", "/fhir/R4").header("prefer", prefer).json(&body).send()
    };
    let (_, echoed) = read(post("return=representation").await.unwrap()).await;
    assert_eq!(echoed["entry"][0]["resource"]["resourceType"], "Patient");
    let (_, told) = read(post("return=OperationOutcome").await.unwrap()).await;
    assert_eq!(told["entry"][0]["response"]["outcome"]["resourceType"], "OperationOutcome");
    let (_, bare) = read(post("return=minimal").await.unwrap()).await;
    assert_eq!(bare["entry"][0].get("resource"), None);
    world.stop().await;
}

#[tokio::test]
async fn a_batch_stands_alone_entry_by_entry() {
    let (world, client) = world().await;
    let (_, made) = client.post("/fhir/R4/Patient", patient("b")).await;
    let id = made["id"].as_str().unwrap();
    let entries = vec![
        entry("GET", &format!("Patient/{id}"), Value::Null),
        entry("GET", "Patient/none", Value::Null),
        entry("GET", &format!("Patient/{id}/_history"), Value::Null),
        entry("GET", "Patient?nonsense=x", Value::Null),
        entry("POST", "Patient/_search?family=bundle", Value::Null),
        entry("POST", "Observation", observation(&format!("Patient/{id}"))),
        entry("POST", "Observation", json!({"resourceType": "Observation", "status": "perhaps"})),
        with(entry("POST", "Patient", patient("b")), "request.ifNoneExist", "identifier=b"),
        entry("PUT", "Patient?identifier=b", patient("b")),
        entry("DELETE", "Patient/never", Value::Null),
        entry("GET", &format!("Patient/{id}/$meta"), Value::Null),
        entry("GET", "Patient/$nonsense", Value::Null),
        json!({"request": {"method": "PUT"}}),
    ];
    let (status, answer) = client.post("/fhir/R4", bundle("batch", entries)).await;
    assert_eq!(status, 200, "{answer}");
    let expected =
        ["200", "404", "200", "400", "200", "201", "422", "200", "200", "204", "200", "404", "400"];
    assert_eq!(statuses(&answer), expected, "{answer}");
    let entries = answer["entry"].as_array().unwrap();
    assert_eq!(entries[2]["resource"]["type"], "history");
    let issue = &entries[6]["response"]["outcome"]["issue"][0];
    assert_eq!(issue["expression"][0], "Bundle.entry[6].resource.status");
    assert_eq!(
        entries[12]["response"]["outcome"]["issue"][0]["expression"][0],
        "Bundle.entry[12].request.url"
    );
    // The rights of the caller are those of each entry.
    let reader = world.client("system/Patient.rs").await;
    let entries = vec![entry("GET", "Observation", Value::Null), entry("GET", "Patient", Value::Null)];
    let (_, answer) = reader.post("/fhir/R4", bundle("batch", entries)).await;
    assert_eq!(statuses(&answer), ["403", "200"]);
    world.stop().await;
}

/// A bundle is no way round the limits: a hundred looks are not one.
#[tokio::test]
async fn entries_cost_what_requests_cost() {
    let world = World::start_with(|config| {
        config.limits.user_burst = 30;
        config.limits.user_per_second = 1;
    })
    .await;
    let person = world.patient("Amina").await;
    let look = |_| entry("GET", &format!("Patient/{}", person.id()), Value::Null);
    let (status, answer) = person.post("/fhir/R4", bundle("batch", (0..100).map(look).collect())).await;
    assert_eq!(status, 200, "{answer}");
    let all = statuses(&answer);
    let count = |wanted: &str| all.iter().filter(|status| *status == wanted).count();
    assert!((20..=40).contains(&count("200")) && count("200") + count("429") == 100, "{all:?}");
    let told = &answer["entry"][99]["response"]["outcome"]["issue"][0];
    assert_eq!(told["code"], "throttled", "{told}");
    world.stop().await;
}

/// One key with another condition is another request.
#[tokio::test]
async fn an_idempotency_key_is_bound_to_the_condition() {
    let (world, client) = world().await;
    let make = async |condition: &str, query: &str| {
        let request = client.request("POST", &format!("/fhir/R4/Patient{query}"));
        let request = request.header("idempotency-key", "one").header("if-none-exist", condition);
        let request = if condition.is_empty() {
            client.request("POST", &format!("/fhir/R4/Patient{query}")).header("idempotency-key", "one")
        } else {
            request
        };
        read(request.json(&patient("bound")).send().await.unwrap()).await.0
    };
    assert_eq!(make("identifier=bound", "").await, 201);
    assert_eq!(make("identifier=bound", "").await, 201, "a repeat");
    for (condition, query) in [("identifier=other", ""), ("", ""), ("", "?identifier=other")] {
        assert_eq!(make(condition, query).await, 409, "{condition} {query}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_large_transaction() {
    let (world, client) = world().await;
    let urn = |n: usize| format!("urn:uuid:00000000-0000-4000-8000-{n:012}");
    let mut entries = vec![with(entry("POST", "Patient", patient("large")), "fullUrl", &urn(0))];
    for n in 1..3000 {
        let mut value = observation(&urn(0));
        value["note"] = json!([{"text": "x".repeat(700)}]);
        entries.push(with(entry("POST", "Observation", value), "fullUrl", &urn(n)));
    }
    let sent = bundle("transaction", entries);
    assert!(sent.to_string().len() > 2 * 1024 * 1024, "more than a plain body may have");
    let (status, answer) = client.post("/fhir/R4", sent).await;
    assert_eq!(status, 200, "{}", answer.to_string().chars().take(300).collect::<String>());
    assert!(statuses(&answer).iter().all(|status| status == "201"));
    let (_, count) = client.get("/fhir/R4/Observation?patient.identifier=large&_summary=count").await;
    assert_eq!(count["total"], 2999, "{count}");
    world.stop().await;
}

#[tokio::test]
async fn bundles_have_their_own_size_limit() {
    let world = World::start_with(|config| {
        config.limits.json_bytes = 1024;
        config.limits.bundle_bytes = 4096;
    })
    .await;
    let client = world.client("system/*.cruds").await;
    let long = |length: usize| {
        let mut value = patient("long");
        value["name"][0]["text"] = json!("x".repeat(length));
        value
    };
    for (path, length, status) in [
        ("/fhir/R4/Patient", 500, 201),
        ("/fhir/R4/Patient", 2000, 413),
        ("/fhir/R4", 2000, 200),
        ("/fhir/R4/", 2000, 200),
        ("/fhir/R4", 5000, 413),
    ] {
        let body = match path {
            "/fhir/R4/Patient" => long(length),
            _ => bundle("batch", vec![entry("POST", "Patient", long(length))]),
        };
        // The key makes another layer read the body first.
        for key in ["", "one"] {
            let mut request = client.request("POST", path).json(&body);
            if !key.is_empty() {
                request = request.header("idempotency-key", format!("{key}{path}{length}"));
            }
            let (found, outcome) = read(request.send().await.unwrap()).await;
            assert_eq!(found, status, "{path} {length} {key}: {outcome}");
        }
    }
    world.stop().await;
}
