//! The server's description of itself against the server: what it names runs, what it does not name is refused.

use crate::harness::{Signed, World, read};
use crate::operations_chart::keys;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn names<'a>(value: &'a Value, list: &str, field: &str) -> Vec<&'a str> {
    let items = value[list].as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(|item| item[field].as_str()).collect()
}

/// A value that a parameter of this type takes.
fn sample(kind: &str) -> &'static str {
    match kind {
        "date" => "2026-01-01",
        "number" | "quantity" => "1",
        "uri" => "http://example.org/x",
        "reference" => "x",
        _ => "true",
    }
}

/// The status with the first problem.
async fn status(who: &Signed, method: &str, path: &str, body: Option<Value>) -> (u16, String) {
    let mut request = who.request(method, path);
    if let Some(body) = body {
        request = request.header("content-type", "application/fhir+json").body(body.to_string());
    }
    let (status, outcome) = read(request.send().await.unwrap()).await;
    (status, outcome["issue"][0]["diagnostics"].as_str().unwrap_or_default().to_owned())
}

/// Whether the server understood and did not say "that is not supported here".
fn is_run(status: u16) -> bool {
    !matches!(status, 405 | 501) && status < 500
}

#[tokio::test]
async fn every_search_parameter_is_understood() {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    let statement = world.anonymous().get("/fhir/R4/metadata").await.1;
    let params = world.app().record.params();
    let mut wrong = Vec::new();
    for resource in statement["rest"][0]["resource"].as_array().unwrap() {
        let kind = resource["type"].as_str().unwrap();
        if kind == "AuditEvent" {
            continue;
        }
        let type_id = fhir::TypeId::from_name(kind).unwrap();
        let try_parse = |name: &str, value: &str| {
            let pairs = [(name.to_owned(), value.to_owned())];
            fhir::search::parse(&params, type_id, &pairs, fhir::search::Handling::Strict)
        };
        for parameter in resource["searchParam"].as_array().unwrap() {
            let (name, of) = (parameter["name"].as_str().unwrap(), parameter["type"].as_str().unwrap());
            let values: &[&str] = match (name, of) {
                ("_filter", _) => &["_id eq x"],
                ("_has", _) => continue,
                ("_list", _) => &["x"],
                ("near", _) => &["-1.2|36.8|5|km"],
                (_, "composite") => continue,
                (_, of) => &[sample(of), "x"],
            };
            if let Some(outcome) =
                values.iter().map(|v| try_parse(name, v).err()).reduce(|a, b| a.and(b)).flatten()
            {
                wrong.push(format!("{kind}?{name}: {outcome}"));
            }
        }
        for (list, name) in [("searchInclude", "_include"), ("searchRevInclude", "_revinclude")] {
            for value in resource[list].as_array().into_iter().flatten() {
                let value = value.as_str().unwrap();
                if let Err(outcome) = try_parse(name, value) {
                    wrong.push(format!("{kind}?{name}={value}: {outcome}"));
                }
            }
        }
        // What is not named: a parameter of no type.
        assert!(try_parse("no-such-parameter", "1").is_err());
        // All of a type on the running server, as many as one search takes.
        let simple: Vec<String> = resource["searchParam"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|p| !p["name"].as_str().unwrap().starts_with('_'))
            .filter(|p| {
                matches!(
                    p["type"].as_str().unwrap(),
                    "date" | "number" | "quantity" | "uri" | "string" | "reference"
                )
            })
            .map(|p| format!("{}={}", p["name"].as_str().unwrap(), sample(p["type"].as_str().unwrap())))
            .take(20)
            .collect();
        let path = format!("/fhir/R4/{kind}?{}", simple.join("&"));
        let (status, text) = status(&client, "GET", &path, None).await;
        if status != 200 {
            wrong.push(format!("GET {path}: {status} {text}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
    world.stop().await;
}

#[tokio::test]
async fn every_interaction_runs_and_no_other() {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    let statement = world.anonymous().get("/fhir/R4/metadata").await.1;
    let rest = &statement["rest"][0];
    let mut wrong = Vec::new();
    let all: &[(&str, &str, &str)] = &[
        ("read", "GET", "/x"),
        ("vread", "GET", "/x/_history/1"),
        ("update", "PUT", "/x"),
        ("patch", "PATCH", "/x"),
        ("delete", "DELETE", "/x"),
        ("history-instance", "GET", "/x/_history"),
        ("history-type", "GET", "/_history"),
        ("create", "POST", ""),
        ("search-type", "GET", ""),
    ];
    for resource in rest["resource"].as_array().unwrap() {
        let kind = resource["type"].as_str().unwrap();
        let named: BTreeSet<&str> = names(resource, "interaction", "code").into_iter().collect();
        for (code, method, tail) in all {
            // Bodies that cannot be stored: what matters is who gets as far as reading them.
            let body = matches!(*method, "PUT" | "PATCH" | "POST").then(|| json!({"resourceType": "Frog"}));
            let (status, text) = status(&client, method, &format!("/fhir/R4/{kind}{tail}"), body).await;
            if is_run(status) != named.contains(code) {
                wrong.push(format!("{kind} {code}: {status} {text}"));
            }
        }
    }
    let listed: BTreeSet<&str> = names(rest, "resource", "type").into_iter().collect();
    for kind in fhir::TypeId::all().map(fhir::TypeId::name).filter(|kind| !listed.contains(kind)) {
        assert_eq!(status(&client, "GET", &format!("/fhir/R4/{kind}"), None).await.0, 404, "{kind}");
        assert_eq!(status(&client, "GET", &format!("/fhir/R4/{kind}/x"), None).await.0, 404, "{kind}");
    }
    let system: BTreeSet<&str> = names(rest, "interaction", "code").into_iter().collect();
    assert_eq!(system, ["batch", "history-system", "search-system", "transaction"].into());
    for (method, path, body) in [
        ("GET", "/fhir/R4/_history", None),
        ("GET", "/fhir/R4?_type=Patient", None),
        ("POST", "/fhir/R4", Some(json!({"resourceType": "Bundle", "type": "batch"}))),
        ("POST", "/fhir/R4", Some(json!({"resourceType": "Bundle", "type": "transaction"}))),
    ] {
        let (status, text) = status(&client, method, path, body).await;
        if status != 200 {
            wrong.push(format!("{method} {path}: {status} {text}"));
        }
    }
    for (method, path) in [
        ("DELETE", "/fhir/R4"),
        ("PUT", "/fhir/R4"),
        ("PATCH", "/fhir/R4"),
        ("DELETE", "/fhir/R4/Patient/x/_history"),
    ] {
        let (status, _) = status(&client, method, path, None).await;
        if status != 405 {
            wrong.push(format!("{method} {path}: {status}"));
        }
    }
    for compartment in rest["compartment"].as_array().unwrap() {
        let id = compartment.as_str().unwrap().rsplit('/').next().unwrap();
        let (status, definition) = client.get(&format!("/fhir/R4/CompartmentDefinition/{id}")).await;
        assert_eq!((status, &definition["url"]), (200, compartment));
        let kind = definition["code"].as_str().unwrap();
        let (status, text) =
            self::status(&client, "GET", &format!("/fhir/R4/{kind}/x/Observation"), None).await;
        if status != 200 {
            wrong.push(format!("compartment {kind}: {status} {text}"));
        }
    }
    assert_eq!(status(&client, "GET", "/fhir/R4/Location/x/Observation", None).await.0, 404);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    world.stop().await;
}

#[tokio::test]
async fn every_operation_runs_where_it_says_and_nowhere_else() {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    let statement = world.anonymous().get("/fhir/R4/metadata").await.1;
    let rest = &statement["rest"][0];
    let operations: Vec<&server::rest::operation::Operation> = server::rest::operation::all().collect();
    let codes: BTreeSet<&str> = operations.iter().map(|o| o.code).collect();
    let mut wrong = Vec::new();
    let ids: BTreeSet<&str> = operations.iter().map(|o| o.id).collect();
    assert_eq!(ids.len(), operations.len(), "ids are unique");

    let system: BTreeSet<&str> = names(rest, "operation", "name").into_iter().collect();
    for code in &codes {
        let (status, text) = status(
            &client,
            "POST",
            &format!("/fhir/R4/${code}"),
            Some(json!({"resourceType": "Parameters"})),
        )
        .await;
        if (status == 404 && text.contains("does not run here")) == system.contains(code) || status >= 500 {
            wrong.push(format!("/${code}: {status} {text}"));
        }
    }
    for resource in rest["resource"].as_array().unwrap() {
        let kind = resource["type"].as_str().unwrap();
        let type_id = fhir::TypeId::from_name(kind).unwrap();
        let named: BTreeSet<&str> = names(resource, "operation", "name").into_iter().collect();
        for code in &codes {
            let mut runs = false;
            for (instance, path) in
                [(false, format!("/fhir/R4/{kind}/${code}")), (true, format!("/fhir/R4/{kind}/x/${code}"))]
            {
                let expected = operations.iter().any(|o| o.code == *code && o.runs(Some(type_id), instance));
                // The refusal comes before anything is looked at, so one type of many that share it is enough …
                if !expected && kind > "C" {
                    continue;
                }
                let body = Some(json!({"resourceType": "Parameters"}));
                let (status, text) = status(&client, "POST", &path, body).await;
                let refused = status == 404 && text.contains("does not run here");
                if refused == expected || status >= 500 {
                    wrong.push(format!("{path}: {status} {text}"));
                }
                runs |= expected;
            }
            if runs && !named.contains(code) {
                wrong.push(format!("{kind} does not name ${code}"));
            }
        }
        for definition in names(resource, "operation", "definition") {
            if !operations.iter().any(|o| definition.ends_with(&format!("/{}", o.id)) || definition == o.url)
            {
                wrong.push(format!("{kind}: {definition}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));

    // Each has a definition that says the same, and takes what it says it takes.
    for operation in operations {
        let (status, definition) =
            client.get(&format!("/fhir/R4/OperationDefinition/{}", operation.id)).await;
        assert_eq!((status, &definition["code"]), (200, &json!(operation.code)), "{}", operation.id);
        assert_eq!(definition["system"], operation.levels.system);
        let inputs =
            definition["parameter"].as_array().into_iter().flatten().filter(|p| p["use"] == "in").count();
        assert_eq!(inputs, operation.inputs().count(), "{}", operation.id);
    }
    world.stop().await;
}

#[tokio::test]
async fn definitions_are_read_and_found_beside_stored_ones() {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    let (status, name) = client.get("/fhir/R4/SearchParameter/Patient-name").await;
    assert_eq!((status, &name["code"], &name["base"]), (200, &json!("name"), &json!(["Patient"])));
    assert_eq!(client.get("/fhir/R4/CompartmentDefinition/patient").await.1["code"], "Patient");
    let everything = client.get("/fhir/R4/OperationDefinition/Patient-everything").await.1;
    assert_eq!((&everything["affectsState"], &everything["instance"]), (&json!(false), &json!(true)));
    // Whoever is signed in may look.
    let amina = world.patient("Amina").await;
    assert_eq!(amina.get("/fhir/R4/SearchParameter/Patient-name").await.0, 200);
    assert_eq!(
        keys(&amina.get("/fhir/R4/CompartmentDefinition?code=Patient").await.1),
        ["CompartmentDefinition/patient"]
    );

    let cases: &[(&str, &[&str])] = &[
        ("SearchParameter?base=Patient&code=birthdate", &["SearchParameter/individual-birthdate"]),
        (
            "SearchParameter?url=http://hl7.org/fhir/SearchParameter/Patient-name",
            &["SearchParameter/Patient-name"],
        ),
        (
            "SearchParameter?_id=Patient-name,Patient-link",
            &["SearchParameter/Patient-link", "SearchParameter/Patient-name"],
        ),
        ("OperationDefinition?code=lastn", &["OperationDefinition/Observation-lastn"]),
        ("CompartmentDefinition?code=Device", &["CompartmentDefinition/device"]),
        ("SearchParameter?code=no-such", &[]),
    ];
    for (query, expected) in cases {
        let (status, found) = client.get(&format!("/fhir/R4/{query}")).await;
        assert_eq!(
            (status, keys(&found)),
            (200, expected.iter().map(|k| (*k).to_owned()).collect()),
            "{query}"
        );
    }
    // Stored ones come first, then the built-ins; one that somebody stores under the same id takes its place.
    let own = json!({"resourceType": "OperationDefinition", "id": "mine", "name": "Mine", "status": "draft", "kind": "operation",
        "code": "mine", "system": true, "type": false, "instance": false});
    assert_eq!(client.put("/fhir/R4/OperationDefinition/mine", own.clone()).await.0, 201);
    let (mut seen, mut path) =
        (Vec::new(), "/fhir/R4/OperationDefinition?_count=7&_total=accurate".to_owned());
    let total = client.get(&path).await.1["total"].as_u64().unwrap();
    loop {
        let page = client.get(&path).await.1;
        seen.extend(keys(&page));
        let Some(next) = page["link"].as_array().unwrap().iter().find(|l| l["relation"] == "next") else {
            break;
        };
        path = next["url"].as_str().unwrap().strip_prefix(world.url()).unwrap().to_owned();
    }
    assert_eq!(seen[0], "OperationDefinition/mine");
    let set: BTreeSet<&String> = seen.iter().collect();
    assert_eq!((set.len() as u64, seen.len() as u64), (total, total), "{seen:?}");
    assert_eq!(total, server::rest::operation::all().count() as u64 + 1);
    let mut replaced = own;
    replaced["id"] = json!("Patient-everything");
    assert_eq!(client.put("/fhir/R4/OperationDefinition/Patient-everything", replaced).await.0, 201);
    assert_eq!(client.get("/fhir/R4/OperationDefinition/Patient-everything").await.1["name"], "Mine");
    let found = client.get("/fhir/R4/OperationDefinition?_summary=count").await.1;
    assert_eq!(found["total"], total);
    world.stop().await;
}

#[tokio::test]
async fn the_statement_can_be_cut_and_asked_for_terminology() {
    let world = World::start().await;
    let nobody = world.anonymous();
    let (status, summary) = nobody.get("/fhir/R4/metadata?_summary=true").await;
    assert_eq!(status, 200);
    assert!(
        summary["fhirVersion"].is_string() && summary["meta"]["tag"].to_string().contains("SUBSETTED"),
        "{summary}"
    );
    let (status, terms) = nobody.get("/fhir/R4/metadata?mode=terminology").await;
    assert_eq!((status, &terms["resourceType"]), (200, &json!("TerminologyCapabilities")));
    assert_eq!(nobody.get("/fhir/R4/metadata?mode=nonsense").await.0, 400);
    assert_eq!(nobody.get("/fhir/R4/metadata?nonsense=1").await.0, 400);
    let full = nobody.get("/fhir/R4/metadata").await.1;
    let resource = fhir::Resource::from_value(full).unwrap();
    let issues: Vec<String> = fhir::validate::validate(&resource)
        .into_iter()
        .filter(|i| matches!(i.severity, fhir::Severity::Error | fhir::Severity::Fatal))
        .map(|i| format!("{} {}", i.expression, i.text))
        .collect();
    assert!(issues.is_empty(), "{}", issues.join("\n"));
    let xml = nobody
        .request("GET", "/fhir/R4/metadata")
        .header("accept", "application/fhir+xml")
        .send()
        .await
        .unwrap();
    assert!(xml.text().await.unwrap().starts_with("<"));
    world.stop().await;
}
